"""MPEG-TS in RTP (RFC 2250 section 2): packets put in order, gaps told to the demuxer."""

from collections.abc import Sequence
from typing import Protocol

from protocols.rtp import Reception, RtpReceiver

CLOCK_HZ = 90_000
PACKETS = 7  # transport packets that an RTP packet mostly holds


class TsSink(Protocol):
    """What is used of `flux.bridges.mpegts.TsReceiver`."""

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float) -> None:
        """Take whole transport packets in order."""

    def gap(self, packets: int, now: float) -> None:
        """It is known that so many are missing here."""


class TsInRtp:
    """One RTP stream of transport packets. Sans-IO; `drops` counts what is not used, by reason."""

    def __init__(self, payload_type: int, sink: TsSink) -> None:
        self._sink = sink
        self._pieces: list[bytes] = []
        self._now = 0.0
        self._receiver: RtpReceiver[bytes] = RtpReceiver(
            payload_type, CLOCK_HZ, self._push, self, reliable=False
        )
        self.drops: dict[str, int] = {}

    @property
    def reception(self) -> Reception:
        """The counters of the RTP stream."""
        return self._receiver.reception

    def receive(self, datagrams: Sequence[bytes], now: float) -> None:
        """Take RTP packets in the order they came."""
        self._now = now
        self._receiver.receive(datagrams, now)
        self._flush()

    def get_timer(self) -> float | None:
        """When a packet that waits for another one must go on."""
        return self._receiver.get_timer()

    def handle_timer(self, now: float) -> None:
        """Let go on what has waited long enough."""
        self._now = now
        self._receiver.handle_timer(now)
        self._flush()

    # What the receiver calls.

    def deliver(
        self, units: Sequence[bytes], timestamp: int, arrived: float, arrived_before: float
    ) -> None:
        """Nothing: payloads are taken as they are pushed."""
        del units, timestamp, arrived, arrived_before

    def refused(self, reason: str, count: int) -> None:
        """Packets that are missing, or of no use."""
        self.drops[reason] = self.drops.get(reason, 0) + count
        if reason == "rtp-packet-lost":
            self._flush()
            self._sink.gap(count * PACKETS, self._now)

    def restarted(self, reason: str) -> None:
        """The sender began anew; the transport stream's own counters say what that means."""
        del reason

    def _push(self, payload: bytes, marker: bool, sequence: int, timestamp: int) -> Sequence[bytes]:
        del marker, sequence, timestamp
        self._pieces.append(payload)
        return ()

    def _flush(self) -> None:
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            self._sink.receive_datagrams(pieces, self._now)
