"""The sending half of a connection: new packets, packets again, and what the peer says of them.

Theory of operation. Packets wait in the send buffer until the pacer and the windows let them go:
what is in flight is bounded by the room that the peer reports and by the congestion control. In
live mode new packets go before repairs (as libsrt does from 1.5.5 on: late news are no news), in
file modes repairs go first.

A packet that is acknowledged stays for another latency in live mode, so that a forged ACK destroys
nothing; a NAK below what is kept is answered with a drop request. What nobody acknowledged within
max(latency + delay, 1 s) is given up in live mode. Nothing heard of the last packets: in live mode
the very last is sent again after a round trip and 20 ms, which shows the receiver what it misses;
in file modes all that is in flight is.
"""

from collections.abc import Sequence
from typing import Protocol

from protocols.srt.cipher import PacketCipher
from protocols.srt.congestion.bucket import TokenBucket
from protocols.srt.congestion.control import WIRE_OVERHEAD_BYTES, AckSample, CongestionControl
from protocols.srt.control import Ack, Range
from protocols.srt.filter import FilterSender
from protocols.srt.options import RepairOptions
from protocols.srt.packet import HEADER_BYTES, SEQUENCE_MASK, pack_header, timestamp_at
from protocols.srt.repair import RepairQueue
from protocols.srt.rtt import RttEstimator
from protocols.srt.runs import RunBuilder
from protocols.srt.send_buffer import SendBatch, SendBuffer
from protocols.srt.send_count import SendCount

LAP = 1 << 31
HALF_LAP = 1 << 30
MIN_DROP_AGE = 1.0  # seconds
DROP_MARGIN = 0.02
KEEP_MARGIN = 0.1  # seconds beyond the latency that acknowledged packets stay
PROBE_MARGIN = 0.02
MAX_PROBES = 3
MAX_TIMEOUTS = 6  # doublings
BURST_PACKETS = 64
BURST_SECONDS = 0.004
INPUT_SPAN, FIRST_INPUT_SPAN = 0.5, 0.1  # seconds that the input is measured over
WAIT = 0.001  # seconds at least, until the pacer is asked again
MAX_DROPS = 16  # drop requests that wait to be sent
NEVER = float("inf")


class SendKeys(Protocol):
    """What is asked of the keys: key flags and cipher of new packets, and that some were sent."""

    def sending(self) -> tuple[int, PacketCipher | None]:
        """See `crypto.Crypto`."""

    def count_sent(self, packets: int) -> None:
        """See `crypto.Crypto`."""


class Sender:
    """Public: `count`, `buffer`, `acknowledged` (unwrapped), `control`, `repair`, `drops`,
    `peer_window` in packets, `peer_capacity` in packets per second."""

    def __init__(
        self,
        first_sequence: int,
        destination: int,
        started_at: float,
        window: int,
        rtt: RttEstimator,
        control: CongestionControl,
        keys: SendKeys,
        now: float,
        *,
        latency: float = 0.0,
        repair: RepairOptions | None = None,
        repair_rate: int = -1,
        overhead_percent: int = 25,
        capacity: int = 8192,
        packet_filter: FilterSender | None = None,
    ) -> None:
        """`window` in packets; `latency` of the peer in seconds, 0: nothing is timed."""
        options = repair or RepairOptions()
        self.count = SendCount()
        self.buffer = SendBuffer(first_sequence)
        self.acknowledged = first_sequence
        self.control = control
        self.peer_window = float(window)
        self.peer_capacity = 0.0  # packets per second of the link, as the peer thinks
        self.drops: list[tuple[int, int, int]] = []  # to tell: message, first, last
        self.is_refusing = False
        self._destination = destination
        self._started_at = started_at
        self._rtt = rtt
        self._keys = keys
        self._latency = latency
        self._has_probes = options.has_tail_probe
        delay = options.send_drop_delay
        is_dropping = options.drops_late and delay >= 0
        drop_age = max(latency + delay, MIN_DROP_AGE) + DROP_MARGIN
        self._drop_age = drop_age if is_dropping else NEVER  # of what is not acknowledged
        self._capacity = capacity
        self._filter = packet_filter
        self._pacer = TokenBucket(control.rate, 1500.0 * BURST_PACKETS, now)
        self.repair = RepairQueue(
            self.buffer,
            rtt,
            self.count,
            latency,
            now,
            rate=repair_rate,
            overhead_percent=overhead_percent,
            doubles_last=options.doubles_last_chance,
        )
        self._heard_at = now  # something sent, or acknowledged: what probes count from
        self._probes = 0
        self._input = (0, now)  # unique bytes at the time of the last estimate
        self._input_rate = 0.0

    # -- from the application ----------------------------------------------------------------

    def room(self) -> int:
        """Packets that `send` would take."""
        buffer = self.buffer
        if self._latency and len(buffer) >= self._capacity:
            self._make_room()
        return max(self._capacity - len(buffer), 0)

    def send(self, payloads: Sequence[bytes], now: float, sent_at: float) -> int:
        """Take payloads, a packet and message each; how many."""
        room = self.room()
        count = len(payloads)
        if count > room:
            self.is_refusing = True
            self.count.refuse("send-buffer-full", count - room)
            payloads = payloads[:room]
            count = room
        if not count:
            return 0
        self._begin(now)
        self.buffer.append(payloads, sent_at, timestamp_at(sent_at, self._started_at))
        size = sum(map(len, payloads)) + WIRE_OVERHEAD_BYTES * count
        self.control.on_input(count, size, now)
        return count

    def send_message(
        self, pieces: Sequence[bytes], now: float, is_in_order: bool, expires_at: float
    ) -> bool:
        """Take a message that is cut into packets, if all of them have room."""
        if len(pieces) > self.room():
            self.is_refusing = True
            self.count.refuse("send-buffer-full", len(pieces))
            return False
        self._begin(now)
        stamp = timestamp_at(now, self._started_at)
        self.buffer.append_message(pieces, now, stamp, is_in_order, expires_at)
        return True

    def _begin(self, now: float) -> None:
        """Something is given after a pause: nobody was to be heard in it."""
        if self.buffer.end == self.acknowledged:
            self._heard_at = now
            self._probes = 0

    def jump(self, sequence: int, message: int) -> None:
        """Go on with other numbers; what is in the buffer is forgotten."""
        self.buffer.jump(self.unwrap(sequence), message)
        self.acknowledged = self.buffer.end
        self.repair.clear()

    def unwrap(self, sequence: int) -> int:
        """The unwrapped number that is closest to what is acknowledged."""
        offset = sequence - self.acknowledged & SEQUENCE_MASK
        return self.acknowledged + offset - (LAP if offset >= HALF_LAP else 0)

    # -- from the peer -----------------------------------------------------------------------

    def receive_ack(self, ack: Ack, now: float, is_smoothing: bool) -> bool:
        """An acknowledgement; whether it can be one of the peer's."""
        count, buffer = self.count, self.buffer
        position = self.unwrap(ack.sequence)
        if position > buffer.unsent:
            count.refuse("ack-beyond-sent")
            return False
        count.acks += 1
        covered = position - self.acknowledged
        if ack.rtt_us is not None:
            variance = (ack.rtt_variance_us or 0) * 1e-6
            self._rtt.adopt(ack.rtt_us * 1e-6, variance, now, is_smoothing)
        if covered < 0:
            return True
        if covered:
            self._heard_at = now
            self._probes = 0
            self.acknowledged = position
            self.repair.forget_below(position)
            if not self._latency:
                self._forget(position)
        if ack.buffer_packets is not None:
            self.peer_window = float(ack.buffer_packets)
        else:
            self.peer_window = max(self.peer_window - covered, 0.0)
        if ack.capacity_packets:
            self.peer_capacity = float(ack.capacity_packets)
        sample = AckSample(
            position,
            covered,
            buffer.unsent - position,
            self._rtt.rtt,
            self._rtt.variance,
            float(ack.receive_packets or 0),
            float(ack.capacity_packets or 0),
        )
        self.control.on_ack(sample, now)
        return True

    def _forget(self, position: int) -> None:
        """Without play time nobody asks for what is acknowledged."""
        buffer = self.buffer
        while (batch := buffer.oldest) is not None and batch.end <= position:
            buffer.pop()

    def receive_nak(self, losses: Sequence[Range], now: float) -> None:
        """The peer misses these, numbers of the wire."""
        count, buffer = self.count, self.buffer
        count.naks += 1
        numbers: list[int] = []
        for first, last in losses:
            start = self.unwrap(first)
            end = start + (last - first & SEQUENCE_MASK) + 1
            if end > buffer.unsent or end < buffer.first - self._capacity:
                count.refuse("nak-out-of-range")
                continue
            if start < buffer.first:
                stop = min(end, buffer.first)
                self._request_drop(0, start, stop)
                start = stop
            numbers += range(start, end)
            if len(numbers) > 2 * self._capacity:
                count.refuse("nak-too-long")
                break
        if not numbers:
            return
        count.lost += len(numbers)
        self.control.on_loss(len(numbers), numbers[0], buffer.unsent, now)
        self.repair.ask(numbers, now)

    def _request_drop(self, message: int, start: int, end: int) -> None:
        if len(self.drops) < MAX_DROPS:
            self.drops.append((message, start & SEQUENCE_MASK, end - 1 & SEQUENCE_MASK))

    # -- to the peer -------------------------------------------------------------------------

    def fill(self, now: float, builder: RunBuilder) -> None:
        """Put what may be sent now into the builder."""
        buffer = self.buffer
        if buffer.is_empty:
            return
        self._age(now)
        self._watch(now)
        if buffer.unsent == buffer.end and self.repair.is_quiet(now):
            return
        control, pacer = self.control, self._pacer
        pacer.rate = control.rate
        pacer.depth = max(control.rate * BURST_SECONDS, 1500.0 * min(BURST_PACKETS, control.window))
        if self._latency:
            self._send_new(now, builder)
            self._send_again(now, builder)
        else:
            self._send_again(now, builder)
            self._send_new(now, builder)

    def _send_new(self, now: float, builder: RunBuilder) -> None:
        buffer = self.buffer
        window = min(self.peer_window, self.control.window)
        room = int(min(window - (buffer.unsent - self.acknowledged), 1e9))
        while buffer.unsent < buffer.end and room > 0:
            budget = self._pacer.available(now)
            if budget <= 0:
                return
            batch = buffer.find(buffer.unsent)
            if batch is None:
                return
            start = buffer.unsent - batch.first
            count = min(len(batch.payloads) - start, room)
            size = len(batch.payloads[start]) + WIRE_OVERHEAD_BYTES
            count = min(count, int(budget // size) + 1)
            self._emit(batch, start, count, builder)
            buffer.unsent += count
            room -= count
            self._heard_at = now

    def _emit(self, batch: SendBatch, start: int, count: int, builder: RunBuilder) -> None:
        """Packets of one batch, for the first time."""
        keys = self._keys
        if batch.key < 0:
            batch.key, batch.cipher = keys.sending()
        sequence = batch.first + start & SEQUENCE_MASK
        stamp, destination = batch.stamp, self._destination
        words = batch.words(start, count)
        if sequence + count <= LAP:
            sequences: Sequence[int] = range(sequence, sequence + count)
        else:
            sequences = [sequence + each & SEQUENCE_MASK for each in range(count)]
        headers = [
            pack_header(number, word, stamp, destination)
            for number, word in zip(sequences, words, strict=True)
        ]
        payloads = batch.payloads
        if count != len(payloads):
            payloads = payloads[start : start + count]
        sizes = list(map(len, payloads))
        size = sum(sizes)
        if batch.cipher is not None:
            payloads = batch.cipher.seal_batch(sequence, headers, payloads)
            keys.count_sent(count)
        counts = self.count
        counts.packets += count
        counts.unique += count
        counts.bytes += size
        counts.unique_bytes += size
        self._pacer.take(size + WIRE_OVERHEAD_BYTES * count)
        if self._filter is not None:
            self._emit_filtered(batch, sequences, headers, payloads, builder)
        elif min(sizes) == sizes[0] == max(sizes):
            builder.add_equal(HEADER_BYTES + len(payloads[0]), headers, payloads)
        else:
            for header, payload in zip(headers, payloads, strict=True):
                builder.add(header + payload)

    def _emit_filtered(
        self,
        batch: SendBatch,
        sequences: Sequence[int],
        headers: Sequence[bytes],
        payloads: Sequence[bytes],
        builder: RunBuilder,
    ) -> None:
        """The same, with the filter's packets between."""
        packet_filter = self._filter
        assert packet_filter is not None
        for sequence, header, payload in zip(sequences, headers, payloads, strict=True):
            builder.add(header + payload)
            for packet in packet_filter.feed(sequence, batch.stamp, batch.key, payload):
                self.count.filter_packets += 1
                self._pacer.take(len(packet) + WIRE_OVERHEAD_BYTES)
                builder.add(packet)

    def _send_again(self, now: float, builder: RunBuilder) -> None:
        limit = self._pacer.available(now)
        if limit <= 0:
            return
        counts = self.count
        for batch, number in self.repair.due(now, limit):
            packet = batch.packet(number, self._destination)
            size = len(packet) - HEADER_BYTES
            counts.packets += 1
            counts.bytes += size
            counts.repeated += 1
            counts.repeated_bytes += size
            self._pacer.take(size + WIRE_OVERHEAD_BYTES)
            builder.add(packet)

    # -- time --------------------------------------------------------------------------------

    def _age(self, now: float) -> None:
        """Give up what is too old, forget what nobody can want."""
        buffer = self.buffer
        batch = buffer.oldest
        while batch is not None and batch.expires_at <= now and batch.end > self.acknowledged:
            self._give_up(batch)
            batch = buffer.oldest
        if not self._latency:
            return
        kept = now - self._latency - KEEP_MARGIN
        dropped = now - self._drop_age
        while batch is not None and batch.sent_at < kept:
            if batch.end > self.acknowledged:
                if batch.sent_at >= dropped:
                    break
                self._give_up(batch)
            else:
                buffer.pop()
            batch = buffer.oldest
        unique, since = self._input
        if now - since >= (INPUT_SPAN if self._input_rate else FIRST_INPUT_SPAN):
            self._input_rate = (self.count.unique_bytes - unique) / (now - since)
            self._input = (self.count.unique_bytes, now)
            self.repair.update(self._input_rate, now)

    def _give_up(self, batch: SendBatch) -> None:
        """A batch that the peer has not got, or not all of it."""
        count = self.count
        start = max(self.acknowledged, batch.first)
        count.dropped += batch.end - start
        count.dropped_bytes += sum(map(len, batch.payloads[start - batch.first :]))
        if batch.is_split:
            self._request_drop(batch.message, batch.first, batch.end)
        self.acknowledged = max(self.acknowledged, batch.end)
        self.buffer.pop()
        self.repair.forget_below(self.acknowledged)

    def _make_room(self) -> None:
        """The buffer is full: what is acknowledged may go before its time."""
        buffer = self.buffer
        while (
            len(buffer) >= self._capacity
            and (batch := buffer.oldest) is not None
            and batch.end <= self.acknowledged
        ):
            buffer.pop()

    def _watch(self, now: float) -> None:
        """Nothing was heard for too long of what is in flight."""
        if now < self._probe_at():
            return
        buffer = self.buffer
        self._heard_at = now
        self._probes += 1
        if self._latency:
            self.count.probes += 1
            self.repair.want(buffer.unsent - 1)
            return
        self.count.timeouts += 1
        self.control.on_timeout(now)
        if self.repair.is_idle:
            for number in range(self.acknowledged, buffer.unsent):
                self.repair.want(number)

    def _probe_at(self) -> float:
        """When `_watch` has something to do."""
        buffer = self.buffer
        if self.acknowledged >= buffer.unsent:
            return NEVER
        if self._latency and not (self._has_probes and self._probes < MAX_PROBES):
            return NEVER
        wait = self._rtt.timeout + PROBE_MARGIN
        return self._heard_at + wait * (1 << min(self._probes, MAX_TIMEOUTS))

    def get_timer(self, now: float) -> float:
        """When `fill` has something; infinity: not before something is given or heard."""
        buffer = self.buffer
        batch = buffer.oldest
        if batch is None:
            return NEVER
        at = min(self._probe_at(), self.repair.get_timer(now), batch.expires_at)
        if self._latency and self.acknowledged < buffer.end:
            at = min(at, batch.sent_at + self._drop_age + DROP_MARGIN)
        if buffer.unsent < buffer.end:
            in_flight = buffer.unsent - self.acknowledged
            if in_flight < min(self.peer_window, self.control.window):
                at = min(at, max(self._pacer.ready_at(), now + WAIT))
        return at
