"""Receives one RTP stream: order, loss, wrap-around, restarts, statistics; RFC 3550 A.1, A.3, A.8.

Theory of operation. A packet that is the next one of the known source and has a plain header takes
the short road (`_run`): one unpack, one comparison of the whole first header word, one slice,
one call of `push`. Every other packet goes through `_receive_other`:

    packet                           what happens
    ------------------------------   ------------------------------------------------------------
    not RTP, other payload type      refused by name
    other SSRC                       probation, then a restart: the new source is followed, and
                                     the old one refused while the new one is heard
    behind, at most MAX_MISORDER     duplicate or late: counted, not used
    ahead, less than MAX_DROPOUT     held until the gap before it is filled, at most so many
                                     packets and so long; then the gap is lost. A reliable
                                     transport holds nothing: the gap is lost at once
    any other sequence number        a jump: probation, then a restart

Probation is two packets in sequence (A.1), one on a reliable transport; its packets are used, so a
camera that reboots loses nothing. After a restart the unwrapped sequence numbers go on growing,
with a gap, so that an access unit in the making is dropped; timestamps are unwrapped to the
nearest.

Jitter is taken for every packet, in order of arrival, as A.8 says. The packets of one batch have
one arrival time, so that D is zero for all but the first of a batch or of a timestamp, and only the
decay is left to do. Transit is kept in 1/1024 ticks: an 8 kHz clock then loses no microseconds.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from struct import error as StructError
from typing import Generic, Protocol, TypeVar

from flux.base.errors import WireError
from flux.base.serial import distance, extend
from protocols.rtp.packet import HEADER_BYTES, payload_bounds
from protocols.rtp.probation import PROBATION, Probation
from protocols.rtp.reception import JITTER_SHIFT, TRANSIT_SHIFT, Reception, ReceptionState
from protocols.rtp.reorder import REORDER_PACKETS, REORDER_WAIT, HeldPacket, ReorderBuffer

MAX_DROPOUT = 3000  # A.1
MAX_MISORDER = 100  # A.1

WORDS = Struct("!III")  # V P X CC M PT sequence | timestamp | SSRC
PLAIN = 0x8000_0000  # version 2, no padding, no extension, no CSRC
MARKER = 0x0080_0000
NEVER = -1  # as the expected header word: no packet takes the short road

U = TypeVar("U")
U_contra = TypeVar("U_contra", contravariant=True)

# Takes a packet's (payload, marker, unwrapped sequence, unwrapped timestamp), answers whole units.
Push = Callable[[bytes, bool, int, int], Sequence[U]]


class Sink(Protocol[U_contra]):
    """What a receiver calls; all three synchronously and from within its verbs."""

    def deliver(
        self, units: Sequence[U_contra], timestamp: int, arrived: float, arrived_before: float
    ) -> None:
        """Take the units that a packet with this unwrapped timestamp completed.

        `arrived`: when the first packet of that timestamp came; `arrived_before`: the same of the
        timestamp before it, for a unit that ended because the timestamp changed.
        """

    def refused(self, reason: str, count: int) -> None:
        """Take note of packets that are missing or not used: `rtp-packet-lost`, ..."""

    def restarted(self, reason: str) -> None:
        """Take note that the source began anew: `ssrc-changed`, `sequence-jumped`."""


class RtpReceiver(Generic[U]):
    """One RTP stream of one payload type. `push` gets its packets in order, without duplicates."""

    __slots__ = (
        "_arrived",
        "_arrived_before",
        "_base",
        "_buffer",
        "_clock_rate",
        "_expected",
        "_head",
        "_heard_at",
        "_jitter",
        "_packets_before",
        "_probation",
        "_push",
        "_sink",
        "_ssrc",
        "_stamp",
        "_transit",
        "reception",
    )

    def __init__(
        self,
        payload_type: int,
        clock_rate: int,
        push: Push[U],
        sink: Sink[U],
        *,
        reliable: bool,
        reorder_packets: int = REORDER_PACKETS,
        reorder_wait: float = REORDER_WAIT,
    ) -> None:
        """`reliable`: the transport keeps the order (TCP), nothing is ever held."""
        self.reception = Reception()
        self._push = push
        self._sink = sink
        self._clock_rate = clock_rate
        self._head = PLAIN | payload_type << 16
        self._buffer = ReorderBuffer(0 if reliable else reorder_packets, reorder_wait)
        self._probation = Probation(1 if reliable else PROBATION)
        self._ssrc: int | None = None
        self._expected = 0  # unwrapped sequence number of the next packet to hand over
        self._base = 0  # the same of the first packet since the (re)start
        self._packets_before = 0  # reception.packets at the (re)start
        self._heard_at = 0.0
        self._stamp: int | None = None  # unwrapped timestamp of the last packet handed over
        self._arrived = 0.0  # of the first packet with that timestamp
        self._arrived_before = 0.0  # the same of the timestamp before
        self._transit = 0  # ticks << TRANSIT_SHIFT
        self._jitter = 0  # ticks << JITTER_SHIFT

    @property
    def ssrc(self) -> int | None:
        """The source that is followed; None before its first packet."""
        return self._ssrc

    @property
    def timestamp(self) -> int | None:
        """Unwrapped timestamp of the last packet handed over, or what it was seeded with."""
        return self._stamp

    def seed_timestamp(self, timestamp: int) -> int:
        """Say near which 32-bit timestamp the stream will start (RTP-Info); answer it unwrapped."""
        if self._stamp is None:
            self._stamp = timestamp
        return extend(timestamp, self._stamp, 32)

    def unwrap_timestamp(self, timestamp: int) -> int:
        """A 32-bit timestamp of this source (sender report) on the unwrapped scale."""
        return timestamp if self._stamp is None else extend(timestamp, self._stamp, 32)

    def state(self) -> ReceptionState | None:
        """What a receiver report says of this source; None before its first packet."""
        if self._ssrc is None:
            return None
        highest = self._buffer.highest(self._expected - 1)
        return ReceptionState(
            ssrc=self._ssrc,
            highest_sequence=(highest - (self._base & ~0xFFFF)) & 0xFFFF_FFFF,
            expected=highest - self._base + 1,
            received=self.reception.packets - self._packets_before,
            jitter=self._jitter >> JITTER_SHIFT,
            restarts=self.reception.restarts,
        )

    def get_timer(self) -> float | None:
        """When a held packet must go on; None if none is held."""
        return self._buffer.due_at()

    def handle_timer(self, now: float) -> None:
        """Give up the gaps that have been waited for long enough."""
        while (due_at := self._buffer.due_at()) is not None and now >= due_at:
            self._skip_to(self._buffer.lowest())
            self._drain()

    def receive(self, packets: Sequence[bytes], now: float) -> None:
        """Take packets in the order they came, all of them arrived at `now`. Never raises."""
        if self._buffer.held:
            self.handle_timer(now)
        done = self._run(packets, now)
        while done < len(packets):
            self._receive_other(packets[done], now)
            done += 1
            if done < len(packets):
                done += self._run(packets[done:], now)
        self.reception.octets += sum(map(len, packets))

    def _run(self, packets: Sequence[bytes], now: float) -> int:
        """The short road: take packets while they are what is expected; answer how many."""
        stamp = self._stamp
        ssrc = self._ssrc
        if ssrc is None or stamp is None or self._buffer.held:
            return 0
        push = self._push
        unpack = WORDS.unpack_from
        head = self._head
        first = expected = self._expected
        plain = head | (expected & 0xFFFF)
        transit = self._transit
        jitter = self._jitter
        arrival = int(now * (self._clock_rate << TRANSIT_SHIFT))
        current = NEVER  # the 32-bit timestamp whose packets have D = 0
        for data in packets:
            try:
                word, timestamp, source = unpack(data)
            except StructError:
                break
            marker = word & MARKER
            if word ^ marker != plain or source != ssrc:
                break
            if timestamp == current:
                jitter -= (jitter + 8) >> 4
            else:
                current = timestamp
                unwrapped = extend(timestamp, stamp, 32)
                if unwrapped != stamp:
                    stamp = unwrapped
                    self._arrived_before = self._arrived
                    self._arrived = now
                difference = arrival - (stamp << TRANSIT_SHIFT) - transit
                transit += difference
                jitter += abs(difference) - ((jitter + 8) >> 4)
            units = push(data[HEADER_BYTES:], marker != 0, expected, stamp)
            expected += 1
            plain = head | (expected & 0xFFFF)
            if units:
                self._sink.deliver(units, stamp, self._arrived, self._arrived_before)
        if expected != first:
            self._expected = expected
            self._stamp = stamp
            self._transit = transit
            self._jitter = jitter
            self._heard_at = now
            reception = self.reception
            reception.packets += expected - first
            reception.jitter = jitter / (self._clock_rate << JITTER_SHIFT)
        return expected - first

    def _receive_other(self, data: bytes, now: float) -> None:
        """Take one packet that is not simply the next one."""
        try:
            start, end = payload_bounds(data)
        except WireError as error:
            self._refuse(error.reason)
            return
        word, timestamp, ssrc = WORDS.unpack_from(data)
        sequence = word & 0xFFFF
        if (word ^ self._head) & 0x007F_0000:
            self._refuse("rtp-payload-type")
            return
        if self._ssrc is None:
            self._begin(ssrc, sequence, timestamp, now)
        elif ssrc != self._ssrc:
            if self._probation.is_straggler(ssrc, now - self._heard_at):
                self._refuse("rtp-old-source")
            else:
                self._try_restart("ssrc-changed", data, now)
            return
        step = distance(sequence, self._expected & 0xFFFF, 16)
        if not -MAX_MISORDER <= step < MAX_DROPOUT:
            self._try_restart("sequence-jumped", data, now)
            return
        self._count(timestamp, now)
        unwrapped = self._expected + step
        if step < 0:
            self._receive_behind(unwrapped)
            return
        packet = HeldPacket(data[start:end], word & MARKER != 0, timestamp, now)
        if step > 0:
            self._receive_ahead(unwrapped, packet, now)
            return
        if self._buffer.held:
            self.reception.reordered += 1
        self._hand_over(packet)
        self._drain()

    def _receive_behind(self, sequence: int) -> None:
        """A packet whose place has been passed."""
        reception = self.reception
        if self._buffer.was_skipped(sequence):
            reception.late += 1
            reception.reordered += 1
            reception.lost -= 1
        elif sequence < self._base:
            reception.late += 1
            reception.reordered += 1
        else:
            reception.duplicates += 1

    def _receive_ahead(self, sequence: int, packet: HeldPacket, now: float) -> None:
        """A packet with a gap before it."""
        buffer = self._buffer
        if not buffer.is_used:
            self._skip_to(sequence)
            self._hand_over(packet)
            return
        highest = buffer.highest(0)
        if not buffer.hold(sequence, packet):
            self.reception.duplicates += 1
            return
        if sequence < highest:
            self.reception.reordered += 1
        while buffer.is_full(self._expected):
            self._skip_to(buffer.lowest())
            self._drain()

    def _hand_over(self, packet: HeldPacket) -> None:
        """Push the packet whose turn it is."""
        stamp = extend(packet.timestamp, self._stamp or 0, 32)
        if stamp != self._stamp:
            self._stamp = stamp
            self._arrived_before = self._arrived
            self._arrived = packet.arrived
        sequence = self._expected
        self._expected = sequence + 1
        units = self._push(packet.payload, packet.marker, sequence, stamp)
        if units:
            self._sink.deliver(units, stamp, self._arrived, self._arrived_before)

    def _drain(self) -> None:
        """Push the held packets whose turn has come."""
        while (packet := self._buffer.take(self._expected)) is not None:
            self._hand_over(packet)

    def _skip_to(self, sequence: int) -> None:
        """Give up what is missing before `sequence`."""
        missing = sequence - self._expected
        self._buffer.skip(self._expected, sequence)
        self._expected = sequence
        self.reception.lost += missing
        self._sink.refused("rtp-packet-lost", missing)

    def _begin(self, ssrc: int, sequence: int, timestamp: int, now: float) -> None:
        """Follow a source from this packet on; A.1 init_seq."""
        self._arrived_before = now if self._ssrc is None else self._arrived
        self._arrived = now
        self._ssrc = ssrc
        # Two cycles up: the numbers grow on, and there is a gap whatever was expected.
        cycles = (self._expected >> 16) + 2 if self._expected else 0
        self._base = self._expected = cycles << 16 | sequence
        self._packets_before = self.reception.packets
        self._stamp = self.unwrap_timestamp(timestamp)
        self._transit = int(now * (self._clock_rate << TRANSIT_SHIFT)) - (
            self._stamp << TRANSIT_SHIFT
        )

    def _try_restart(self, reason: str, data: bytes, now: float) -> None:
        """Put a packet of another source, or far from what is expected, on probation."""
        word, timestamp, ssrc = WORDS.unpack_from(data)
        packets = self._probation.admit(ssrc, word & 0xFFFF, data)
        if refused := self._probation.take_refused():
            self._refuse("rtp-probation", refused)
        if not packets:
            return
        while self._buffer.held:
            self._skip_to(self._buffer.lowest())
            self._drain()
        if self._ssrc is not None and ssrc != self._ssrc:
            self._probation.retire(self._ssrc)
            self._jitter = 0
        word, timestamp, ssrc = WORDS.unpack_from(packets[0])
        self._begin(ssrc, word & 0xFFFF, timestamp, now)
        self.reception.restarts += 1
        self._sink.restarted(reason)
        for packet in packets:
            self._receive_other(packet, now)

    def _count(self, timestamp: int, now: float) -> None:
        """Statistics of one packet that is not on the short road; A.8."""
        arrival = int(now * (self._clock_rate << TRANSIT_SHIFT))
        difference = arrival - (self.unwrap_timestamp(timestamp) << TRANSIT_SHIFT) - self._transit
        self._transit += difference
        self._jitter += abs(difference) - ((self._jitter + 8) >> 4)
        self._heard_at = now
        self.reception.packets += 1
        self.reception.jitter = self._jitter / (self._clock_rate << JITTER_SHIFT)

    def _refuse(self, reason: str, count: int = 1) -> None:
        self.reception.refused += count
        self._sink.refused(reason, count)
