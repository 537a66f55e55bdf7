"""A receiver that asks as libsrt does: at once for a new gap, and then for its whole list by a
timer, whatever was answered meanwhile. All else is a connection of ours."""

from collections.abc import Sequence

from protocols.srt.connection import Connection
from protocols.srt.control import serialize_losses
from protocols.srt.packet import ControlPacket, ControlType, timestamp_at
from tests.support.simnet import Address, Run

LAP = 1 << 31
MIN_INTERVAL = 0.02  # seconds between two lists
LIST_WORDS = 364
NEVER = float("inf")


class LibsrtAsker:
    """Stands before a connection, and asks in its place. Public: `asked`, packets."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._latency = connection.result.receive_latency_ms / 1000
        self._peer = connection.result.peer_socket_id
        self._next = -1
        self._missing: dict[int, float] = {}  # since when
        self._fresh: list[tuple[int, int]] = []
        self._list_at = NEVER
        self.asked = 0

    @property
    def _interval(self) -> float:
        connection = self._connection
        return max((connection.rtt + 4 * connection.state.rtt_variance) / 2, MIN_INTERVAL)

    def receive_datagrams(self, datagrams: Sequence[bytes], address: Address, now: float) -> None:
        """See `Machine`."""
        for datagram in datagrams:
            if datagram[0] & 0x80:
                continue
            number = int.from_bytes(datagram[:4], "big")
            if self._next < 0:
                self._next = number
            ahead = (number - self._next) % LAP
            if ahead >= LAP // 2:
                self._missing.pop(number, None)
                continue
            if ahead:
                for each in range(ahead):
                    self._missing[(self._next + each) % LAP] = now
                self._fresh.append((self._next, (number - 1) % LAP))
                if self._list_at == NEVER:
                    self._list_at = now + self._interval
            self._next = (number + 1) % LAP
        self._connection.receive_datagrams(datagrams, address, now)

    def handle_timer(self, now: float) -> None:
        """See `Machine`."""
        timer = self._connection.get_timer()
        if timer is not None and timer <= now:
            self._connection.handle_timer(now)

    def get_timer(self) -> float | None:
        """See `Machine`."""
        timer = self._connection.get_timer()
        return self._list_at if timer is None else min(timer, self._list_at)

    def datagrams_to_send(self, now: float) -> list[Run]:
        """See `Machine`."""
        runs = [
            (address, segment, datagram)
            for address, segment, data in self._connection.datagrams_to_send(now)
            for datagram in _cut(data, segment)
            if datagram[:2] != b"\x80\x03"
        ]
        for old in [each for each, at in self._missing.items() if now > at + self._latency]:
            del self._missing[old]  # skipped
        questions = [[gap] for gap in self._fresh]
        self._fresh.clear()
        if now >= self._list_at:
            self._list_at = now + self._interval if self._missing else NEVER
            if self._missing:
                questions.append([(each, each) for each in sorted(self._missing)][:LIST_WORDS])
        result = self._connection.result
        stamp = timestamp_at(now, result.started_at)
        for losses in questions:
            self.asked += sum((last - first) % LAP + 1 for first, last in losses)
            body = serialize_losses(losses, LIST_WORDS)
            packet = ControlPacket(ControlType.NAK, stamp, self._peer, body).serialize()
            runs.append((result.peer, len(packet), packet))
        return runs


def _cut(data: bytes, segment: int) -> list[bytes]:
    return [data[at : at + segment] for at in range(0, len(data), segment)]
