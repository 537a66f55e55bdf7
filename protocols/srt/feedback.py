"""What two peers tell each other about packets: acknowledgements both ways, questions, answers.

Most of what comes to a sender are acknowledgements that leave nothing to be done but an answer, at
the most. They are read here without further ado.
"""

from collections.abc import Sequence

from flux.base.errors import WireError
from protocols.srt.answers import Answers
from protocols.srt.control import Ack, serialize_ackack
from protocols.srt.packet import ControlPacket, ControlType, Run, destination_of, timestamp_at
from protocols.srt.parts import Parts
from protocols.srt.presence import Presence
from protocols.srt.runs import RunBuilder

ACK_HEAD = bytes((0x80, ControlType.ACK))  # the first bytes of an acknowledgement
NEVER = float("inf")


def are_acks(datagrams: Sequence[bytes]) -> bool:
    """Whether all of them are acknowledgements."""
    return [datagram[:2] for datagram in datagrams].count(ACK_HEAD) == len(datagrams)


class Feedback:
    """Of one connection."""

    __slots__ = ("_answers", "_parts", "_presence", "_reports_at")

    def __init__(self, parts: Parts, presence: Presence) -> None:
        self._parts = parts
        self._presence = presence
        self._answers = Answers()
        self._reports_at = 0.0  # when `report` has something; 0: it is not known

    @property
    def is_awaiting(self) -> bool:
        """Whether something that was sent is not acknowledged."""
        sender = self._parts.sender
        return sender.acknowledged < sender.buffer.unsent

    def stir(self) -> None:
        """Something came or went that `report` has to look at."""
        self._reports_at = 0.0

    def receive_ack(self, datagram: bytes, now: float) -> str:
        """Take an acknowledgement with its header; why it makes no sense, empty: it does."""
        parts = self._parts
        if destination_of(datagram) != parts.result.socket_id:
            return "foreign-socket-id"
        try:
            ack = Ack.read(datagram)
        except WireError as error:
            return error.reason
        sender = parts.sender
        acknowledged = sender.acknowledged
        if not sender.receive_ack(ack, now, parts.receiver.count.packets > 0):
            return ""
        if ack.rtt_us is not None:
            self._answers.hear(ack.number, now, sender.acknowledged < sender.buffer.unsent)
        if sender.acknowledged != acknowledged and self._presence.hear_life(now):
            return "shutdown-contradicted"
        return ""

    def answer(self, now: float, stamp: int, destination: int) -> bytes:
        """The ACKACK to send now; empty: there is none."""
        number = self._answers.take(now)
        return serialize_ackack(number, stamp, destination) if number else b""

    def take_answer(self, now: float) -> list[Run]:
        """The same by itself, for when it is all that is to be said."""
        result = self._parts.result
        answer = self.answer(now, timestamp_at(now, result.started_at), result.peer_socket_id)
        if not answer:
            return []
        self._presence.sent_at = now
        return [(result.peer, len(answer), answer)]

    def report(self, now: float, stamp: int, destination: int, builder: RunBuilder) -> None:
        """Put what our receiver tells, and key material, into the builder."""
        if now < self._reports_at:
            return
        parts, receiver = self._parts, self._parts.receiver
        ack = parts.acks.acknowledge(receiver.position, parts.inbox, now, stamp, destination)
        if ack is not None:
            builder.add(ack)
        for body in receiver.naks(now):
            builder.add(ControlPacket(ControlType.NAK, stamp, destination, body).serialize())
        for subtype, body in parts.crypto.controls_to_send(now, parts.rtt.rtt):
            packet = ControlPacket(ControlType.USER, stamp, destination, body, 0, subtype)
            builder.add(packet.serialize())
        self._reports_at = 0.0

    def get_timer(self) -> float:
        """When `report` has something."""
        parts, receiver = self._parts, self._parts.receiver
        if not self._reports_at:
            repeat_at = parts.acks.get_timer(receiver.position, parts.inbox)
            self._reports_at = min(receiver.get_timer(), repeat_at)
        key_at = parts.crypto.get_timer()  # sending moves it, too
        if key_at is not None and key_at < self._reports_at:
            self._reports_at = key_at
        return self._reports_at
