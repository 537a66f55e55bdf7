"""One stream over one link: what readers and forwards send with.

Theory of operation. What the peer has not confirmed within max(latency, 1 s) its link gives up, as
SRT demands. A reader that comes so far, or whose link takes no more, would get torn pictures: it
gets nothing at all until what waits is sent, and goes on at a key frame, tables first.

    sending  --the link gives packets up, or takes no more--> skipping
    skipping --a key frame, and the line is free--> sending
    skipping --nothing confirmed for stall_timeout--> closed, `reader-stalled`

The line is free when the peer reports room and nothing waits for longer than the low mark of the
stream's feeds. A group is as good as the best of its links.
"""

from typing import Protocol

import structlog

from flux.base.errors import PeerError
from flux.bridges.rtp.datagrams import DatagramReader
from flux.bridges.srt.output import PACKET_BYTES, SrtOutput, srt_output_of
from flux.net.udp_send import Run
from media.feed_reader import Scheduler
from media.mpegts.bulk import PACKET_BYTES as TS_PACKET_BYTES
from media.output import LEISURE
from media.stream import Stream
from protocols.srt.link import Channel, Link
from protocols.srt.pace import patience
from protocols.srt.payloads import Payloads

logger = structlog.get_logger()

LOOK = 0.25  # seconds between two looks at the link
STALLED = "reader-stalled"
# A joiner may have so many datagrams unconfirmed, and those of some round trips at so many times
# the rate of the stream.
JOIN_WINDOW = 64
JOIN_SPEED = 2.0
# What frames may lie before they are sent, and what answers them, as a share of the latency and in
# seconds at the most: where questions for packets are heard at once, and where they lie as well.
PROMPT_LEISURE = 0.75, 0.090
LEISURES = 0.4, 0.050
WEIGH = 2.0  # seconds between two looks at how long the link bears it
JOIN_RATE = 400.0  # datagrams per second, where the stream's is not known


class SenderOwner(Protocol):
    """Who is told how it goes."""

    def sender_ended(self, reason: str) -> None:
        """Nothing more is sent over this link."""

    def sender_skips(self, lag: float, packets: int) -> None:
        """It gets nothing until a key frame: so many packets were given up, seconds behind."""

    def sender_resumed(self, packets: int) -> None:
        """It goes on; so many packets it did not get."""


class _Nobody:
    """Of a sender that is closed: its owner, and where its reader sends to."""

    def sender_ended(self, reason: str) -> None:
        """Known."""

    def sender_skips(self, lag: float, packets: int) -> None:
        """No more."""

    def sender_resumed(self, packets: int) -> None:
        """No more."""

    def send(self, run: Run) -> bool:
        """Nothing goes there."""
        return False

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """Nothing goes there."""


NOBODY = NOWHERE = _Nobody()


class SrtSender:
    """Sends one stream over one link. Satisfies `DatagramTarget`."""

    def __init__(
        self, link: Channel, stream: Stream, start: str, owner: SenderOwner, scheduler: Scheduler
    ) -> None:
        """Raises PeerError `no-playable-track`, `packets-too-small`."""
        if link.max_payload_bytes < TS_PACKET_BYTES:
            raise PeerError("packets-too-small", 406)
        feed = stream.options.feed
        self._low_mark = feed.low_mark
        self._stall_timeout = feed.stall_timeout
        self._window = feed.window
        self._link = link
        self._owner = owner
        self._scheduler = scheduler
        self._look_at = self._weigh_at = 0.0
        self._given_up = 0  # packets, at the last look
        self._before = 0  # packets dropped before it skipped
        self._progress: tuple[int, float] | None = None  # while it skips: confirmed, since when
        self._is_checking = False
        self._output: SrtOutput = srt_output_of(stream, scheduler)
        self._join_rate = self._output.packet_rate or JOIN_RATE
        leisure = self._leisure()
        if isinstance(link, Link):
            # Until it is known how long it bears it.
            link.leisure, leisure = leisure, min(LEISURE, leisure)
        self._reader: DatagramReader = self._output.attach(self, start, owner.sender_ended, leisure)
        self._reader.gate = self._is_confirmed

    @property
    def sent_bytes(self) -> int:
        """Bytes of media that the link took."""
        return self._reader.sent_bytes

    @property
    def dropped(self) -> int:
        """Datagrams that it did not take, or was not given."""
        return self._reader.dropped

    def send(self, run: Run) -> bool:
        """Send a run."""
        try:
            return self._send(run)
        except Exception:  # a fault of ours must not stop the readers behind this one
            logger.exception("sender fault")
            self._owner.sender_ended("internal-error")
            return False

    def _send(self, run: Run) -> bool:
        link = self._link
        now = self._scheduler.now()
        size = link.max_payload_bytes
        payloads = run.datagrams()
        if size < PACKET_BYTES:  # a peer with short packets gets cut ones of its own
            step = max(size // TS_PACKET_BYTES, 1) * TS_PACKET_BYTES
            payloads = Payloads.row(run.data, 0, run.size_bytes, step)
        if self._progress is not None:
            self._progress = None
            self._owner.sender_resumed(self._reader.dropped - self._before)
        is_taken = link.send(payloads, now) == len(payloads)
        if now >= self._look_at or not is_taken:
            self._look(now)
        return is_taken

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """There is none."""
        del track_index, data

    def close(self) -> None:
        """Leave the output; the link stays. Nothing is held by those that this holds any more."""
        self._output.detach(self._reader)
        self._reader.target = NOWHERE
        self._reader.gate = None
        self._owner = NOBODY

    # -- inside ------------------------------------------------------------------------------

    def _leisure(self) -> float:
        """Seconds: what the peer waits for packets that get lost covers a turn of ours, as the last
        packet of one is missed with the next, and a second one where its question lies so long.
        """
        link = self._link
        result = link.result
        latency = 0.0 if result is None else result.send_latency_ms / 1000
        hears = isinstance(link, Link) and link.hears_questions
        share, most = PROMPT_LEISURE if hears else LEISURES
        return min(max(LEISURE, min(most, latency * share)), self._window)

    def _weigh(self, now: float) -> None:
        """The source rests as long as the link does."""
        self._weigh_at = now + WEIGH
        if isinstance(self._link, Link):
            leisure = max(LEISURE, patience(self._link))
            self._output.rest(self._reader, min(leisure, self._window))

    def _is_confirmed(self) -> bool:
        """Whether what it began with is confirmed so far that more may follow: with what is newer
        than the last key frame of a long GOP a line gets several times its usual rate."""
        link = self._link
        state, rtt = link.state, link.rtt
        if state is None or rtt is None:
            return False
        return state.unconfirmed < JOIN_WINDOW + JOIN_SPEED * self._join_rate * rtt

    def _look(self, now: float) -> None:
        """See whether the link carries what it is given."""
        self._look_at = now + LOOK
        state = self._link.state
        if state is None or self._reader.closed:
            return
        if now >= self._weigh_at:
            self._weigh(now)
        lost = state.given_up - self._given_up
        self._given_up = state.given_up
        if lost <= 0 and not state.is_full:
            return
        lag = 0.0 if state.waiting_since is None else now - state.waiting_since
        self._progress = state.confirmed, now
        self._before = self._reader.dropped
        self._reader.is_held = True
        self._output.skip(self._reader)
        if not self._is_checking:
            self._is_checking = True
            self._scheduler.call_later(LOOK, self._check)
        self._owner.sender_skips(lag, max(lost, 0))

    def _check(self) -> None:
        """While it skips: whether it may go on, or never will."""
        state, now = self._link.state, self._scheduler.now()
        self._is_checking = False
        if self._reader.closed or self._progress is None or state is None:
            return
        confirmed, since = self._progress
        if state.confirmed != confirmed:
            self._progress = state.confirmed, now
        elif now - since >= self._stall_timeout:
            self._owner.sender_ended(STALLED)
            return
        self._given_up = state.given_up
        waits = 0.0 if state.waiting_since is None else now - state.waiting_since
        self._reader.is_held = state.window <= 0 or waits > self._low_mark
        self._is_checking = True
        self._scheduler.call_later(LOOK, self._check)
