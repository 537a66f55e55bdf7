"""The sending half of a connection: new packets, packets again, and what the peer says of them.

Theory of operation. Packets wait in the send buffer until the pacer and the windows let them go:
what is in flight is bounded by the room that the peer reports and by the congestion control. In
live mode new packets go before repairs (as libsrt does from 1.5.5 on: late news are no news), in
file modes repairs go first.

A packet that is acknowledged stays for another latency in live mode, and until the next ACK in file
modes, so that one forged ACK destroys nothing: in file modes two true ones that go back again take
it back. A NAK below what is kept is answered with a drop request. What nobody acknowledged within
max(latency + delay, 1 s) is given up in live mode. What is done when nothing is heard of the last
packets, see `silence`.
"""

from collections.abc import Sequence

from protocols.srt.cipher import SendKeys
from protocols.srt.congestion.bucket import TokenBucket
from protocols.srt.congestion.control import WIRE_OVERHEAD_BYTES, AckSample, CongestionControl
from protocols.srt.control import Ack, Range
from protocols.srt.doubts import Doubts
from protocols.srt.drop_requests import DropRequests
from protocols.srt.emitter import Emitter
from protocols.srt.events import SendDropped, SendRoom
from protocols.srt.filter import FilterSender
from protocols.srt.handshake_wire import OUR_VERSION
from protocols.srt.options import RepairOptions
from protocols.srt.packet import HEADER_BYTES, SEQUENCE_MASK, timestamp_at
from protocols.srt.repair import RepairQueue
from protocols.srt.rtt import RttEstimator
from protocols.srt.runs import RunBuilder
from protocols.srt.send_buffer import SendBatch, SendBuffer, paired
from protocols.srt.send_count import SendCount
from protocols.srt.silence import StallWatch, TailWatch, Watch

LAP = 1 << 31
HALF_LAP = 1 << 30
DROP_MARGIN = 0.02
KEEP_MARGIN = 0.1  # seconds beyond the latency that acknowledged packets stay
LIVE_BURST = 0.006, 16  # seconds, packets; longer than a rest of the endpoint
FILE_BURST = 0.006, 8
INPUT_SPAN, FIRST_INPUT_SPAN = 0.5, 0.1  # seconds that the input is measured over
WAIT = 0.001  # seconds at least, until the pacer is asked again
UNMEASURED_US = (100_000, 50_000)  # round trip and variance that an ACK tells before any ACKACK
PATIENCE = 5.0  # seconds of file modes with a peer that told that it has no room
ASKED_RATE, ASKED_DEPTH = 131_072.0, 32_768.0  # packets that may be asked for in a second, at once
NEVER = float("inf")


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
        peer_version: int = OUR_VERSION,
    ) -> None:
        """`window` in packets; `latency` of the peer in seconds, 0: nothing is timed.

        `repair`: ours, but whether late ones are dropped and questions repeated is of the peer.
        """
        options = repair or RepairOptions()
        self.count = SendCount()
        self.buffer = SendBuffer(first_sequence)
        self.acknowledged = first_sequence
        self.control = control
        self.peer_window = float(window)
        self._window_at = now  # when the peer told it
        self.peer_capacity = 0.0  # packets per second of the link, as the peer thinks
        self.drops = DropRequests(peer_version)
        self.wanted = 0  # packets that did not fit; 0: all did
        self._told = 0  # packets that were dropped, and told of
        self._doubts = Doubts()
        self._destination = destination
        self._started_at = started_at
        self._rtt = rtt
        self._latency = latency
        delay = options.send_drop_delay
        is_dropping = options.drops_late and delay >= 0
        drop_age = max(latency + delay, options.min_drop_age) + DROP_MARGIN
        self._drop_age = drop_age if is_dropping else NEVER  # of what is not acknowledged
        self._capacity = capacity
        self._burst = LIVE_BURST if latency else FILE_BURST
        self._pacer = TokenBucket(control.rate, 1500.0 * self._burst[1], now)
        self._emitter = Emitter(destination, keys, packet_filter, self.count, self._pacer)
        self.repair = RepairQueue(
            self.buffer,
            rtt,
            self.count,
            latency,
            now,
            rate=repair_rate,
            overhead_percent=overhead_percent,
            doubles_last=options.doubles_last_chance,
            drops_late=options.drops_late,
        )
        self._silence: Watch = (
            TailWatch(self.repair, rtt, self.count, now, options)
            if latency
            else StallWatch(self.repair, rtt, self.count, now, control)
        )
        self._asked = TokenBucket(ASKED_RATE, ASKED_DEPTH, now)
        self._input = (0, now)  # unique bytes at the time of the last estimate
        self._input_rate = 0.0

    # -- from the application ----------------------------------------------------------------

    def room(self) -> int:
        """Packets that `send` would take."""
        buffer = self.buffer
        if not self._latency:  # what is kept for the sake of a forged ACK takes no room
            return max(self._capacity - (buffer.end - self.acknowledged), 0)
        if len(buffer) >= self._capacity:
            buffer.forget(self.acknowledged, self._capacity - 1)
        return max(self._capacity - len(buffer), 0)

    def send(self, payloads: Sequence[bytes], now: float, sent_at: float) -> int:
        """Take payloads, a packet and message each; how many."""
        room = self.room()
        count = len(payloads)
        if count > room:
            self.refuse(1, count - room)
            payloads = payloads[:room]
            count = room
        if not count:
            return 0
        self._begin(now)
        batch = self.buffer.append(payloads, sent_at, timestamp_at(sent_at, self._started_at))
        size = batch.payloads.size_bytes + WIRE_OVERHEAD_BYTES * count
        self.control.on_input(count, size, now)
        return count

    def send_message(
        self, pieces: Sequence[bytes], now: float, is_in_order: bool, expires_at: float
    ) -> bool:
        """Take a message that is cut into packets, if all of them have room."""
        if len(pieces) > self.room():
            self.refuse(len(pieces), len(pieces))
            return False
        self._begin(now)
        stamp = timestamp_at(now, self._started_at)
        self.buffer.append_message(pieces, now, stamp, is_in_order, expires_at)
        return True

    def refuse(self, wanted: int, packets: int = 0) -> None:
        """So many packets do not fit in; what never can is not waited for."""
        if wanted > self._capacity:
            self.count.refuse("message-too-long", packets)
            return
        self.wanted = wanted
        if packets:
            self.count.refuse("send-buffer-full", packets)

    def _begin(self, now: float) -> None:
        """Something is given after a pause: nobody was to be heard in it."""
        if self.buffer.end == self.acknowledged:
            self._silence.restart(now)
            self.count.begin(now)

    def jump(self, sequence: int, message: int) -> None:
        """Go on with other numbers; what is in the buffer is forgotten."""
        self.buffer.jump(self.unwrap(sequence), message)
        self.acknowledged = self.buffer.end
        self.repair.clear()

    def unwrap(self, sequence: int) -> int:
        """The unwrapped number that is closest to what is acknowledged."""
        offset = sequence - self.acknowledged & SEQUENCE_MASK
        return self.acknowledged + offset - (LAP if offset >= HALF_LAP else 0)

    @property
    def is_idle(self) -> bool:
        """Whether all that was given is sent, and nothing is to be sent again, or to be told."""
        buffer = self.buffer
        return (
            buffer.unsent == buffer.end
            and not (self.wanted or self.drops)
            and not self.repair.is_wanted
        )

    # -- from the peer -----------------------------------------------------------------------

    def receive_ack(self, ack: Ack, now: float, is_smoothing: bool) -> bool:
        """An acknowledgement; whether it can be one of the peer's."""
        count, buffer = self.count, self.buffer
        position = self.unwrap(ack.sequence)
        if position > buffer.unsent:
            count.refuse("ack-beyond-sent")
            return False
        if ack.rtt_us is None:
            count.light_acks += 1
        else:
            count.acks += 1
        covered = position - self.acknowledged
        if ack.rtt_us is not None and (ack.rtt_us, ack.rtt_variance_us) != UNMEASURED_US:
            variance = (ack.rtt_variance_us or 0) * 1e-6
            self._rtt.adopt(ack.rtt_us * 1e-6, variance, now, is_smoothing)
        if covered < 0:  # forged was the one before, or this one is late, or that was given up
            is_kept = not self._latency and position >= buffer.first and ack.rtt_us is not None
            if is_kept and self._doubts.hear_return():
                count.refuse("ack-contradicted")
                self.acknowledged = position
            position, covered = self.acknowledged, 0
        elif ack.rtt_us is not None:
            self._doubts.hear_progress()
        if covered:
            self._silence.restart(now)
            before, self.acknowledged = self.acknowledged, position
            count.confirmed += covered
            if position == buffer.end:
                count.rest(now)
            if self._latency:
                self.repair.forget_below(position)
            else:  # without play time nobody asks for it, if this one is true: the next will tell
                self.repair.forget_below(before)
                buffer.forget(before)
        if ack.buffer_packets is not None:
            self.peer_window, self._window_at = float(ack.buffer_packets), now
        else:
            self.peer_window = max(self.peer_window - covered, 0.0)
        if ack.capacity_packets:
            self.peer_capacity = float(ack.capacity_packets)
        if self.control.hears_acks:
            sample = AckSample(
                position,
                covered,
                buffer.unsent - position,
                self._rtt.rtt,
                self._rtt.variance,
                self._rtt.has_sample,
                buffer.unsent < buffer.end,
                float(ack.receive_packets or 0),
                float(ack.capacity_packets or 0),
            )
            self.control.on_ack(sample, now)
        return True

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
                self.drops.add(0, start, stop)
                start = stop
            numbers += range(start, end)
            if len(numbers) > 2 * self._capacity:
                count.refuse("nak-too-long")
                break
        if not numbers:
            return
        if self._asked.available(now) <= 0:
            count.refuse("nak-too-often")
            return
        self._asked.take(len(numbers))
        count.lost += len(numbers)
        news = self.repair.ask(numbers, now)
        if news:
            self.control.on_loss(news, numbers[-1], buffer.unsent, now)

    # -- to the peer -------------------------------------------------------------------------

    def fill(self, now: float, builder: RunBuilder) -> None:
        """Put what may be sent now into the builder."""
        buffer = self.buffer
        if buffer.is_empty:
            return
        self._age(now)
        has_new = buffer.unsent < buffer.end
        if has_new and self._latency:
            self._send_new(now, builder)  # it shows what is missing, and no probe has to
        if now >= self._silence.get_timer(self.acknowledged, buffer.unsent):
            self._silence.act(self.acknowledged, buffer.unsent, now)
        if has_new or not self.repair.is_quiet(now):
            self._send_again(now, builder)
        if has_new and not self._latency:
            self._send_new(now, builder)

    def _adapt(self) -> None:
        """Pace packets as the congestion control says."""
        control, pacer = self.control, self._pacer
        pacer.rate = control.rate
        pacer.depth = max(
            control.rate * self._burst[0], 1500.0 * min(self._burst[1], control.window)
        )

    def _send_new(self, now: float, builder: RunBuilder) -> None:
        self._adapt()
        buffer = self.buffer
        room = self._window_room(now)
        while buffer.unsent < buffer.end and room > 0:
            budget = self._pacer.available(now)
            if budget <= 0:
                return
            batch = buffer.find(buffer.unsent)
            if batch is None:
                return
            if batch.expires_at <= now:
                self._pass_over(batch)
                continue
            start = buffer.unsent - batch.first
            most = min(len(batch.payloads) - start, room)
            size = batch.payloads.size_of(start) + WIRE_OVERHEAD_BYTES
            count = paired(buffer.unsent, min(most, int(budget // size) + 1), most)
            if buffer.unsent == self.acknowledged:
                self._silence.restart(now)
            self._emitter.emit(batch, start, count, builder)
            buffer.unsent += count
            room -= count
            self._silence.sent(now)

    def _send_again(self, now: float, builder: RunBuilder) -> None:
        self._adapt()
        limit = self._pacer.available(now)
        if limit <= 0:
            return
        counts = self.count
        for batch, number in self.repair.due(now, limit):
            if batch.expires_at <= now:
                self._drop(batch, max(self.acknowledged, batch.first))
                self.drops.add(batch.message, batch.first, batch.end)
                continue
            packet = batch.packet(number, self._destination)
            size = len(packet) - HEADER_BYTES
            counts.packets += 1
            counts.bytes += size
            counts.repeated += 1
            counts.repeated_bytes += size
            self._pacer.take(size + WIRE_OVERHEAD_BYTES)
            builder.add(packet)

    def news(self) -> Sequence[SendDropped | SendRoom]:
        """What is to be told since the last time."""
        dropped = self.count.dropped
        if dropped == self._told and not self.wanted:
            return ()
        news: list[SendDropped | SendRoom] = []
        if dropped != self._told:
            news.append(SendDropped(dropped - self._told))
            self._told = dropped
        if self.wanted and self.room() >= self.wanted:
            self.wanted = 0
            news.append(SendRoom())
        return news

    # -- time --------------------------------------------------------------------------------

    def _age(self, now: float) -> None:
        """Give up what is too old, forget what nobody can want."""
        buffer = self.buffer
        batch = buffer.oldest
        if not self._latency:
            return
        kept = now - self._latency - KEEP_MARGIN
        dropped = now - self._drop_age
        while batch is not None:
            is_missed = batch.end > self.acknowledged
            if batch.sent_at >= (dropped if is_missed else kept):
                break
            if is_missed:
                self._give_up(batch, now)
            else:
                buffer.pop()
            batch = buffer.oldest
        unique, since = self._input
        if now - since >= (INPUT_SPAN if self._input_rate else FIRST_INPUT_SPAN):
            if self.count.unique_bytes > unique:  # in a pause the repair of what was before goes on
                self._input_rate = (self.count.unique_bytes - unique) / (now - since)
            self._input = (self.count.unique_bytes, now)
            self.repair.update(self._input_rate, now)

    def _give_up(self, batch: SendBatch, now: float) -> None:
        """The oldest batch, which the peer has not got, or not all of it."""
        self._drop(batch, max(self.acknowledged, batch.first))
        self.acknowledged = max(self.acknowledged, batch.end)
        self.buffer.pop()
        self.repair.forget_below(self.acknowledged)
        if self.acknowledged == self.buffer.end:
            self.count.rest(now)

    def _drop(self, batch: SendBatch, start: int) -> None:
        """Count the packets of a batch from `start` on, once."""
        if not batch.is_dropped:
            batch.is_dropped = True
            self.count.dropped += batch.end - start
            self.count.dropped_bytes += batch.bytes_from(start)

    def _pass_over(self, batch: SendBatch) -> None:
        """The next message to be sent is too old. If nothing of it was sent it leaves no hole; else
        the peer asks for what is missing once it gets more, and is told not to wait for it."""
        buffer = self.buffer
        self._drop(batch, max(self.acknowledged, batch.first))
        if buffer.unsent == batch.first:
            buffer.remove(batch)
        else:
            buffer.unsent = batch.end

    def _window_room(self, now: float) -> int:
        """Packets that the windows let go. One may try a window that was closed long ago: by its
        ACK we hear whether it still is, or whether that was forged."""
        in_flight = self.buffer.unsent - self.acknowledged
        may_try = in_flight <= 0 and (self._latency or now >= self._window_at + PATIENCE)
        room = min(self.peer_window, self.control.window) - in_flight
        return int(min(max(room, 1.0), 1e9)) if may_try else int(min(room, 1e9))

    def get_timer(self, now: float) -> float:
        """When `fill` has something; infinity: not before something is given or heard."""
        buffer = self.buffer
        batch = buffer.oldest
        if batch is None:
            return NEVER
        silent_at = self._silence.get_timer(self.acknowledged, buffer.unsent)
        at = min(silent_at, self.repair.get_timer(now))
        earliest = batch.sent_at + self._drop_age
        if self._latency and self.acknowledged < buffer.end and at > earliest:
            # What is kept before the first missing one may wait, but goes before it.
            missed = buffer.find(self.acknowledged)
            if missed is not None:
                drop_at = missed.sent_at + self._drop_age
                kept = buffer.find(missed.first - 1)
                if kept is not None:
                    drop_at = max(drop_at, kept.sent_at + self._latency + KEEP_MARGIN)
                at = min(at, drop_at + DROP_MARGIN)
        if buffer.unsent < buffer.end and self._window_room(now) > 0:
            at = min(at, max(self._pacer.ready_at(), now + WAIT))
        return at
