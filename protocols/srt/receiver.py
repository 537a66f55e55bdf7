"""The receiving half of one link: sorts packets into the inbox, finds holes, asks for what is lost.

Theory of operation. `next` is the number behind the highest packet that came; numbers are unwrapped
by their distance from it. A batch is read in one loop, and packets in a row go into the inbox in
one call, so that a stream without losses costs next to nothing. What is not the next packet is one
of:

| distance | what it is | what happens |
|---|---|---|
| ahead, up to `MAX_STEP` | packets between are missing | noted in the loss list; it is taken |
| ahead, farther | an outage, or a stranger's packet | held until another comes from close by |
| behind, missed | sent again (R), or overtaken | taken; the latter teaches the tolerance |
| behind, given up | belated | counted |
| behind, not missed | a duplicate | counted |

Nothing depends on what a packet claims but its number, and that is checked before all else. A
packet that its key does not open, where the cipher can tell, is as one that never came, and so is
one whose key the peer has not told yet.
"""

from collections.abc import Callable, Sequence

from protocols.srt.cipher import PacketCipher
from protocols.srt.congestion.bucket import TokenBucket
from protocols.srt.control import Range, serialize_losses
from protocols.srt.even import CHECKED, even_columns
from protocols.srt.filter import Arq
from protocols.srt.inbox import Entry, Inbox
from protocols.srt.losses import MAX_ATTEMPTS, LossList, Missing, ranges_of
from protocols.srt.options import RepairOptions
from protocols.srt.packet import (
    HEADER_BYTES,
    KEY_MASK,
    KEY_SHIFT,
    RETRANSMITTED,
    SEQUENCE_MASK,
    TIMESTAMP_MASK,
    unpack_header,
)
from protocols.srt.receive_count import ReceiveCount
from protocols.srt.receive_keys import ReceiveKeys
from protocols.srt.reorder import ReorderTolerance
from protocols.srt.rtt import RttEstimator
from protocols.srt.tsbpd import MAX_AHEAD, MICROSECOND

MAX_STEP = 512  # packets that may be missing at once without a second witness
WITNESS_DISTANCE = 64
HALF_LAP = 1 << 30
LAP = 1 << 31
ECHO_DELAY = 0.003
FILE_OVERDUE = 0.040  # seconds at least, until a question is asked again
LOSS_SAMPLE = 512  # packets that the share of losses is taken over
MAX_NAK_WORDS = 360
MAX_NAKS = 8  # control packets at once
ENDLESS = 1 << 30  # attempts, where nothing is ever too late
# Missing packets that are asked for: in one second, and after a pause.
MISSED_RATE, MISSED_DEPTH, FILE_MISSED_DEPTH = 32_768.0, 4096.0, 8192.0
UNREAD = (False, None)
NEVER = float("inf")

OnArrival = Callable[[Missing, bool, float], None]  # what is known, whether it was sent again, now


class Receiver:
    """One link's receiver. Public: `next`, `count`, `losses`, `tolerance`, `is_secured`."""

    def __init__(
        self,
        first_sequence: int,
        socket_id: int,
        inbox: Inbox,
        rtt: RttEstimator,
        keys: ReceiveKeys,
        *,
        arq: Arq = Arq.ALWAYS,
        capacity: int = 8192,
        on_arrival: OnArrival | None = None,
        repair: RepairOptions | None = None,
        now: float = 0.0,
    ) -> None:
        """`on_arrival` is told of each missing packet that comes after all."""
        options = repair or RepairOptions()
        clock = inbox.clock
        self.next = first_sequence
        self.count = ReceiveCount()
        self._is_dropping = options.drops_late
        attempts = MAX_ATTEMPTS if options.drops_late else ENDLESS
        self.losses = LossList(attempts if options.has_periodic_nak else 1)
        latency = clock.latency if clock else 0.0
        self.tolerance = ReorderTolerance(latency, options.reorder_max_packets)
        self.is_secured = False  # then packets in clear are not the peer's
        self._socket_id = socket_id
        self._inbox = inbox
        self._clock = clock
        self._rtt = rtt
        self._keys = keys
        self._arq = arq
        self._capacity = capacity
        self._on_arrival = on_arrival
        self._stray = -1  # a number far ahead that waits for a witness
        self._stray_packet = b""
        # `next`, `lost` and the time when the share of losses and the pace began.
        self._loss_mark = (first_sequence, 0, now)
        self._loss = 0.0
        self._missed = TokenBucket(MISSED_RATE, MISSED_DEPTH if clock else FILE_MISSED_DEPTH, now)

    def receive(self, datagrams: Sequence[bytes], now: float) -> None:
        """Take data packets with whole headers, none of them the filter's."""
        clock, socket_id = self._clock, self._socket_id
        low, start, latest = 0, 0.0, NEVER
        if clock is not None:
            low, start = clock.frame(now)
            latest = now + clock.latency + MAX_AHEAD
        keys = self._keys
        flags, cipher = self._key_bits(), keys.cipher
        first = following = self.next
        wire = following & SEQUENCE_MASK
        if clock is not None and (columns := even_columns(datagrams, wire, flags, socket_id)):
            words, stamps = columns
            plays = [start + (stamp - low & TIMESTAMP_MASK) * MICROSECOND for stamp in stamps]
            payloads = _opened(datagrams, wire, cipher)
            if max(plays) <= latest and None not in payloads:
                self._append(first, list(zip(plays, payloads, words, strict=True)), now)
                clock.sample(plays[-1], now)
                self.next = first + len(words)
                return
        run: list[Entry] = []
        play_at = 0.0
        for datagram in datagrams:
            sequence, word, stamp, destination = unpack_header(datagram)
            if clock is not None:
                play_at = start + (stamp - low & TIMESTAMP_MASK) * MICROSECOND
                if play_at > latest:
                    play_at = latest
                    self.count.refuse("timestamp-ahead")
            if sequence == wire and word & CHECKED == flags and destination == socket_id:
                payload: bytes | None
                if cipher is None:
                    payload = datagram[HEADER_BYTES:]
                else:
                    payload = cipher.open(sequence, datagram)
                if payload is not None:
                    run.append((play_at, payload, word))
                    following += 1
                    wire = wire + 1 & SEQUENCE_MASK
                    continue
            if run:
                self._append(first, run, now)
                run = []
            self.next = following
            self._receive_odd(datagram, play_at, now)
            first = following = self.next
            wire = following & SEQUENCE_MASK
            flags, cipher = self._key_bits(), keys.cipher
        if run:
            self._append(first, run, now)
            if clock is not None:
                clock.sample(run[-1][0], now)
        self.next = following

    def _key_bits(self) -> int:
        """The key bits that the next packets will mostly have; -1: those of no good packet."""
        keys = self._keys
        word = keys.word
        return -1 if (keys.cipher is None if word else self.is_secured) else word

    def _append(self, first: int, run: list[Entry], now: float) -> None:
        """Packets in a row go into the inbox."""
        count = self.count
        taken = self._inbox.append_run(first, run)
        size = sum([len(payload) for _, payload, _ in run if payload is not None])
        count.packets += len(run)
        count.bytes += size
        count.unique += taken
        if taken == len(run):
            count.unique_bytes += size
        else:
            # Full, or a link of a group brought them before.
            count.unique_bytes += size * taken // len(run)
            start, end = first + taken, first + len(run)
            if not self._inbox.has(end - 1):
                count.refuse("receive-buffer-full", end - start)
                if self._clock is None and first >= self.next - len(run):
                    self.losses.add(start, end, now, now + self._rtt.overdue, 0.0)

    def _receive_odd(self, datagram: bytes, play_at: float, now: float) -> None:
        """A packet that is not just the next one."""
        sequence, word, _, destination = unpack_header(datagram)
        if destination != self._socket_id:
            self.count.refuse("foreign-socket-id")
            return
        offset = sequence - self.next & SEQUENCE_MASK
        if offset >= HALF_LAP:
            self._receive_late(self.next - (LAP - offset), datagram, word, play_at, now)
            return
        number = self.next + offset
        if self._clock is None and number >= self._inbox.expected + self._capacity:
            self.count.refuse("beyond-window")
            return
        is_open, payload = self._open(number, word, datagram)
        if not is_open:
            if offset <= MAX_STEP and word & KEY_MASK and self._keys.is_in_doubt:
                self._note_hole(number + 1, play_at, now)  # ask for all before it, and for it
                self.next = number + 1
            return
        if offset > MAX_STEP and not self._is_witnessed(number, datagram, play_at, now):
            return
        if number >= self.next:  # a stray of before may have moved it
            self._take(number, (play_at, payload, word), now)

    def _take(self, number: int, entry: Entry, now: float) -> None:
        """A packet that is next, or beyond a hole."""
        key, keys = entry[2] & KEY_MASK, self._keys
        is_elsewhere = key != keys.word or number - self.next >= keys.hidden
        if is_elsewhere and entry[1] is not None:
            keys.advance(key >> KEY_SHIFT, self.next, number, self._inbox.expected)
        if number > self.next:
            self._note_hole(number, entry[0], now)
        if entry[2] & RETRANSMITTED:
            self.count.retransmitted += 1
        self._append(number, [entry], now)
        self.next = number + 1

    def _note_hole(self, end: int, play_at: float, now: float) -> None:
        """Packets from `next` up to `end` have not come."""
        first = self.next
        self.count.lost += end - first
        marked, lost, marked_at = self._loss_mark
        due = NEVER
        if self._arq is Arq.ALWAYS:
            rtt = self._rtt
            latency = self._clock.latency if self._clock is not None else 1.0
            pace = (now - marked_at) / (end - marked)
            self.tolerance.update(rtt.rtt, latency % rtt.overdue, pace, now)
            due = now + self.tolerance.seconds
        asked = min(end - first, max(int(self._missed.available(now)), 0))
        self._missed.take(asked)
        if asked < end - first:  # no loss of a line is like that
            self.count.refuse("holes-too-many", end - first - asked)
        if asked:
            self.losses.add(end - asked, end, now, due, play_at if self._is_dropping else 0.0)
        if end - marked >= LOSS_SAMPLE // 8:
            self._loss = (self.count.lost - lost) / (end - marked)
        if end - marked >= LOSS_SAMPLE:
            self._loss_mark = (end, self.count.lost, now)

    def _is_witnessed(self, number: int, datagram: bytes, play_at: float, now: float) -> bool:
        """Whether a packet from far ahead is to be believed: when two come from there."""
        stray = self._stray
        if stray < 0 or abs(number - stray) > WITNESS_DISTANCE or number == stray:
            self._stray, self._stray_packet = number, datagram
            self.count.refuse("sequence-jump")
            return False
        first = self._stray_packet
        self._stray, self._stray_packet = -1, b""
        if stray < number:
            word = unpack_header(first)[1]
            is_open, payload = self._open(stray, word, first)
            if is_open:
                self._take(stray, (play_at, payload, word), now)
        return True

    def _receive_late(
        self, number: int, datagram: bytes, word: int, play_at: float, now: float
    ) -> None:
        """A packet from behind: one that was missing, or one too many."""
        count = self.count
        is_again = bool(word & RETRANSMITTED)
        if is_again:
            count.retransmitted += 1
        missing = self.losses.missing.get(number)
        if missing is None and self._inbox.has(number):
            count.packets += 1
            count.bytes += len(datagram) - HEADER_BYTES
            if self._inbox.was_skipped(number):
                count.belated += 1
                late = max(now - play_at, 0.0) * 1000
                count.belated_mean_ms += (late - count.belated_mean_ms) / min(count.belated, 8)
            elif self.next - number > 4 * self._capacity:
                count.refuse("sequence-behind")
            else:
                count.duplicates += 1
            return
        is_open, payload = self._open(number, word, datagram)
        if not is_open:
            return
        if word & KEY_MASK != self._keys.word:
            self._keys.pin((word & KEY_MASK) >> KEY_SHIFT, number)
        self._append(number, [(play_at, payload, word)], now)
        if missing is None:
            return
        self.losses.arrive(number)
        if is_again:
            count.recovered += 1
        else:
            count.reordered += 1
            count.reorder_distance = max(count.reorder_distance, self.next - 1 - number)
            self.tolerance.learn(now - missing.seen_at, now)
        if self._on_arrival is not None:
            self._on_arrival(missing, is_again, now)

    def _open(self, number: int, word: int, datagram: bytes) -> tuple[bool, bytes | None]:
        """Whether a packet is the peer's as far as can be told, and its payload if we can read."""
        key = (word & KEY_MASK) >> KEY_SHIFT
        if not key:
            if self.is_secured:
                self.count.refuse("clear-on-secured")
                return UNREAD
            return True, datagram[HEADER_BYTES:]
        keys = self._keys
        missing = number - self.next
        cipher = keys.find(key, number, missing)
        if cipher is None:
            if keys.is_awaited(key, number, missing):
                self._refuse_sealed("key-awaited", datagram)
                return UNREAD
            # Asking again would bring the same: its place is taken, and nothing is played there.
            self.count.undecryptable += 1
            self.count.unreadable += 1
            self.count.undecryptable_bytes += len(datagram) - HEADER_BYTES
            return True, None
        payload = cipher.open(number & SEQUENCE_MASK, datagram)
        if payload is None:
            payload = keys.open_otherwise(key, number, datagram, cipher)
        if payload is None:
            self._refuse_sealed("not-authentic", datagram)
            return UNREAD
        return True, payload

    def _refuse_sealed(self, reason: str, datagram: bytes) -> None:
        """A packet is not what its key has sealed, or there is no key yet."""
        self.count.refuse(reason)
        self.count.packets += 1
        self.count.undecryptable += 1
        self.count.undecryptable_bytes += len(datagram) - HEADER_BYTES

    def report(self, losses: Sequence[Range], now: float) -> None:
        """What the filter could not mend, in numbers of the wire."""
        if self._arq is Arq.ON_REQUEST:
            for first, last in losses:
                start = self._unwrap(first)
                self.losses.report(range(start, start + (last - first & SEQUENCE_MASK) + 1), now)

    def _unwrap(self, sequence: int) -> int:
        offset = sequence - self.next & SEQUENCE_MASK
        return self.next + offset - (LAP if offset >= HALF_LAP else 0)

    def drop(self, first: int, last: int, message: int) -> None:
        """The sender will not send these (numbers of the wire) again: a drop request."""
        start = self._unwrap(first)
        end = start + (last - first & SEQUENCE_MASK) + 1
        limit = self._inbox.expected + self._capacity
        if start > self.next + MAX_STEP or end > limit or end <= self._inbox.expected:
            self.count.refuse("drop-request-out-of-window")
            return
        if self._clock is not None:
            end = min(end, self.next)  # a sender of timed packets gives up nothing that is to come
        else:
            self.next = max(self.next, end)  # it was given up before it was ever sent
        # In time for its play time it may still come: what a stranger says must not end the asking.
        self.losses.forget(start, end, is_doubted=self._clock is not None)
        self._inbox.give_up(start, end, message)

    def naks(self, now: float) -> list[bytes]:
        """Bodies of the NAKs to send now."""
        losses = self.losses
        if not losses.missing or now < losses.get_timer():
            return []
        losses.forget_below(self._inbox.expected)
        rtt = self._rtt
        overdue = rtt.overdue
        echo = ECHO_DELAY if losses.has_echo(self._loss) else 0.0
        if self._clock is None:  # a file: the sender's pace decides when an answer comes
            overdue, echo = max(overdue, FILE_OVERDUE), 0.0
        answer = min(rtt.rtt, rtt.lowest) - self._inbox.deferred  # it may come later by that
        asked = losses.due(now, answer, overdue, echo)
        has = self._inbox.has  # another link of the group may have brought it
        wanted = [number for number in asked if not has(number)]
        bodies: list[bytes] = []
        self.count.asked += len(wanted)
        ranges = [
            (first & SEQUENCE_MASK, last & SEQUENCE_MASK) for first, last in ranges_of(wanted)
        ]
        for start in range(0, len(ranges), MAX_NAK_WORDS // 2):
            if len(bodies) == MAX_NAKS:
                break
            chunk = ranges[start : start + MAX_NAK_WORDS // 2]
            bodies.append(serialize_losses(chunk, MAX_NAK_WORDS))
        self.count.naks += len(bodies)
        return bodies

    @property
    def position(self) -> int:
        """What is acknowledged: all before it came over this link, or is not wanted any more."""
        return min(self._inbox.expected, self.next)

    def get_timer(self) -> float:
        """When `naks` has something."""
        return self.losses.get_timer() if self.losses.missing else NEVER


def _opened(
    datagrams: Sequence[bytes], first: int, cipher: PacketCipher | None
) -> list[bytes | None]:
    """Payloads of packets in a row; None: the key does not open it."""
    if cipher is None:
        return [datagram[HEADER_BYTES:] for datagram in datagrams]
    return [cipher.open(number, datagram) for number, datagram in enumerate(datagrams, first)]
