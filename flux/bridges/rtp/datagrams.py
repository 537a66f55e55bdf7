"""Datagram readers of one stream: shared runs of packets, sent at once and spread over time.

Theory of operation. What one frame makes is cut into runs once; each run goes to every reader that
is in step before the next one does. After `PACE_PACKETS` packets there is a pause, since a receive
buffer of the usual size holds about 90: the packets of a key frame arrive spread over some
milliseconds. A turn of the loop holds at most `SLICE` of writes.

A joiner gets what it begins with (the GOP cache) from a backlog of its own, paced likewise; what is
sent meanwhile is appended there. Once that is empty, and the shared queue too, it is in step.

    backlog --drained, while nothing is being sent--> in-step
    backlog --over MAX_BACKLOG--> emptied, counted, waits for the next key frame --> backlog
    any --skip: its line is too slow--> emptied, waits for a key frame while not held --> backlog
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from flux.net.udp_send import Run, make_runs
from media.feed_reader import Scheduler

SLICE = 0.002  # seconds of sending before the loop gets its turn
BATCH = 16  # sends between two looks at the clock
PACE_PACKETS = 32  # to one reader, then a pause
PACE_PAUSE = 0.0015  # seconds
JOIN_PACKETS = 16  # to one joiner in each JOIN_PAUSE: about 90 Mbit/s
JOIN_PAUSE = 0.002
MAX_BACKLOG = 16_384  # packets
RECOVERED_AFTER = 1.0  # seconds without a fault


class DatagramTarget(Protocol):
    """Where one reader's datagrams go."""

    def send(self, run: Run) -> bool:
        """Send a run of the track `run.track`; false where the system took none of it."""
        ...

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """Send an RTCP compound."""
        ...


class DatagramReader:
    """One reader's place. Counters are read by the API."""

    __slots__ = (
        "backlog",
        "backlog_packets",
        "closed",
        "dropped",
        "dropped_before",
        "failed_at",
        "gate",
        "is_held",
        "is_skipping",
        "owner",
        "sent_bytes",
        "target",
        "tracks",
        "waiting",
    )

    def __init__(self, target: DatagramTarget, tracks: frozenset[int]) -> None:
        self.target = target
        self.tracks = tracks  # indexes of those that it wants
        self.backlog: deque[Run] = deque()
        self.backlog_packets = 0
        self.gate: Callable[[], bool] | None = None  # whether it takes more of its backlog now
        self.waiting = False  # for a key frame
        self.is_skipping = False  # it waits since its line could not carry more
        self.is_held = False  # and cannot yet, so that no key frame is of use
        self.sent_bytes = 0
        self.dropped = 0  # packets
        self.dropped_before = 0  # of them before the fault that goes on
        self.failed_at = 0.0  # when the last packet was dropped, 0 if all goes well
        self.owner = ("", "")  # protocol and id, for events
        self.closed = False

    def send(self, run: Run) -> bool:
        """Send one run, or count it as dropped."""
        if self.target.send(run):
            self.sent_bytes += run.size_bytes
            return True
        self.dropped += run.count
        return False

    def keep(self, run: Run) -> None:
        """Put one run behind what is still to be sent."""
        self.backlog.append(run)
        self.backlog_packets += run.count


def _nobody(reader: DatagramReader, is_failing: bool) -> None:
    """Faults are counted, and that is all."""


class DatagramFanout:
    """All datagram readers of one stream."""

    def __init__(
        self,
        scheduler: Scheduler,
        on_fault: Callable[[DatagramReader, bool], None] | None = None,
        *,
        pace_packets: int = PACE_PACKETS,
        pace_pause: float = PACE_PAUSE,
    ) -> None:
        """`on_fault(reader, whether it fails now)` hears when sends begin to fail, and end to.

        `pace_packets` go to one reader at once, then it has `pace_pause`.
        """
        self._scheduler = scheduler
        self._pace_packets = pace_packets
        self._pace_pause = pace_pause
        self._on_fault = on_fault or _nobody
        self._failing: dict[DatagramReader, None] = {}
        self._in_step: dict[DatagramReader, None] = {}
        self._joining: dict[DatagramReader, None] = {}
        self._queue: deque[Run] = deque()
        self._turn: list[DatagramReader] | None = None  # who gets the run at the queue's head
        self._position = 0
        self._is_sending = False
        self._is_joining = False

    @property
    def readers(self) -> int:
        """How many there are."""
        return len(self._in_step) + len(self._joining)

    def attach(self, reader: DatagramReader, start: Iterable[Run], *, waiting: bool) -> None:
        """Add a reader that begins with these runs, or at the next key frame."""
        for run in start:
            if run.track in reader.tracks:
                reader.keep(run)
        reader.waiting = waiting
        if reader.backlog or waiting or self._is_sending:
            self._joining[reader] = None
            self._begin_joining()
        else:
            self._in_step[reader] = None

    def detach(self, reader: DatagramReader) -> None:
        """Forget a reader."""
        reader.closed = True
        reader.backlog.clear()
        self._in_step.pop(reader, None)
        self._joining.pop(reader, None)
        self._failing.pop(reader, None)

    def close(self) -> None:
        """Nobody reads any more, nor will: let go of the owner, which holds this."""
        self._on_fault = _nobody

    def skip(self, reader: DatagramReader) -> None:
        """Its line cannot carry what comes: it gets nothing more until a key frame.

        That key frame is the first one that finds it not held; see `DatagramReader.is_held`.
        """
        if reader.closed:
            return
        self._in_step.pop(reader, None)
        reader.dropped += reader.backlog_packets
        reader.backlog.clear()
        reader.backlog_packets = 0
        reader.waiting = reader.is_skipping = True
        self._joining[reader] = None
        self._note_fault(reader, self._scheduler.now())

    def _note_fault(self, reader: DatagramReader, now: float) -> None:
        if reader.closed:
            return
        reader.failed_at = now
        if reader not in self._failing:
            self._failing[reader] = None
            self._on_fault(reader, True)

    def _note_recovery(self) -> None:
        now = self._scheduler.now()
        for reader in tuple(self._failing):
            if now - reader.failed_at >= RECOVERED_AFTER and not reader.is_skipping:
                del self._failing[reader]
                self._on_fault(reader, False)
                reader.dropped_before = reader.dropped

    def frame(self, track: int, packets: list[bytes], *, key: bool) -> None:
        """Send the packets of one frame to everybody."""
        self.send(track, make_runs(track, packets, self._pace_packets), key=key)

    def send(self, track: int, runs: list[Run], *, key: bool) -> None:
        """Send runs of one track to everybody."""
        if self._failing:
            self._note_recovery()
        for reader in self._joining:
            if track not in reader.tracks:
                continue
            if reader.waiting and (not key or reader.is_held):
                reader.dropped += sum([run.count for run in runs]) if reader.is_skipping else 0
                continue
            reader.waiting = reader.is_skipping = False
            for run in runs:
                reader.keep(run)
            if reader.backlog_packets > MAX_BACKLOG:
                reader.dropped += reader.backlog_packets
                reader.backlog.clear()
                reader.backlog_packets = 0
                reader.waiting = True
        if self._joining:
            self._begin_joining()
        if self._in_step or self._is_sending:
            self._queue += runs
            if not self._is_sending:
                self._is_sending = True
                self._send()

    def _send(self) -> None:
        """Send what is queued, in slices and with pauses."""
        clock = self._scheduler.now
        began = clock()
        paced = 0
        while self._queue:
            run = self._queue[0]
            if self._turn is None:
                self._turn = list(self._in_step)
                self._position = 0
            readers = self._turn
            while self._position < len(readers):
                for reader in readers[self._position : self._position + BATCH]:
                    if run.track not in reader.tracks or reader.closed:
                        continue
                    if not reader.send(run):
                        self._note_fault(reader, began)
                self._position += BATCH
                if clock() - began > SLICE and self._position < len(readers):
                    self._scheduler.call_soon(self._send)
                    return
            self._queue.popleft()
            self._turn = None
            paced += run.count
            if self._queue and paced + self._queue[0].count > self._pace_packets:
                self._scheduler.call_later(self._pace_pause, self._send)
                return
        self._is_sending = False

    def _begin_joining(self) -> None:
        if not self._is_joining:
            self._is_joining = True
            self._scheduler.call_soon(self._serve_joiners)

    def _serve_joiners(self) -> None:
        """Give each joiner its next packets."""
        clock = self._scheduler.now
        until = clock() + SLICE
        for reader in tuple(self._joining):
            sent = 0
            if reader.gate is not None and reader.backlog and not reader.gate():
                continue
            while reader.backlog and sent < JOIN_PACKETS:
                run = reader.backlog.popleft()
                reader.backlog_packets -= run.count
                sent += run.count
                if not reader.send(run):
                    self._note_fault(reader, until)
            if reader.closed:
                continue  # by what it was sent, or as others were
            if not reader.backlog and not reader.waiting and not self._is_sending:
                del self._joining[reader]
                self._in_step[reader] = None
            elif sent:  # its turn comes again behind the others
                del self._joining[reader]
                self._joining[reader] = None
            if clock() > until:
                break
        self._is_joining = any(r.backlog or not r.waiting for r in self._joining)
        if self._is_joining:
            self._scheduler.call_later(JOIN_PAUSE, self._serve_joiners)
