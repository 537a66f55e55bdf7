"""A reader that is too slow, in virtual time: it skips to a key frame, or is closed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from flux.base.errors import PeerError, StateError
from flux.bridges.srt.output import OUTPUT, SrtOutput
from flux.bridges.srt.sender import JOIN_SPEED, JOIN_WINDOW, STALLED, SrtSender
from media.feed_reader import START_GOP, START_LIVE, FeedOptions
from media.frame import Frame
from media.output import LEISURE
from media.stream import State, Stream, StreamOptions
from protocols.srt.link import Link, LinkHandler
from protocols.srt.link_state import LinkState
from protocols.srt.options import Options
from protocols.srt.pace import patience
from protocols.srt.packet import Address
from protocols.srt.result import HandshakeResult
from protocols.srt.statistics import Statistics
from tests.support import clips, frames, ts_check
from tests.support.simnet import SimNet
from tests.support.srt_pair import results
from tests.support.srt_virtual import measured_link
from tests.support.virtual import VirtualScheduler

GOP = 30  # pictures of the clip, which has no sound


@dataclass(eq=False)
class Line:
    """A link whose other end does what the test says; satisfies `protocols.srt.link.Channel`."""

    max_payload_bytes: int = 1456
    attachment: object = None
    state: LinkState | None = field(
        default_factory=lambda: LinkState(None, 0, 0, 8192, 0, is_full=False)
    )
    payloads: list[bytes] = field(default_factory=list)
    takes: bool = True
    is_broken: bool = False
    peer: Address = ("203.0.113.7", 9000)
    result: HandshakeResult | None = None
    end: str = ""
    rtt: float | None = 0.02

    def send(self, payloads: Sequence[bytes], now: float) -> int:
        assert max(map(len, payloads)) <= self.max_payload_bytes
        if self.is_broken:
            raise StateError("broken")
        if not self.takes:
            return 0
        self.payloads += payloads
        return len(payloads)

    def close(self, reason: str, now: float) -> None:
        self.end = reason

    def statistics(self, now: float, *, is_clearing: bool = False) -> Statistics | None:
        return None


class Stage:
    """A stream, a line, and what its owner hears."""

    def __init__(
        self,
        line: Line | Link | None = None,
        start: str = START_LIVE,
        feed: FeedOptions | None = None,
    ) -> None:
        self.clip = clips.read(clips.PYRAMID)
        self.scheduler = VirtualScheduler()
        options = StreamOptions(feed=feed or FeedOptions())
        self.stream = Stream("cam", options, lambda _event: None)
        self.stream.tracks = clips.tracks_of(self.clip)
        self.stream.state = State.READY
        self.heard: list[tuple[str, float]] = []
        self.line = line if isinstance(line, Line) else Line()
        channel = self.line if line is None else line
        self.sender = SrtSender(channel, self.stream, start, self, self.scheduler)
        assert channel.state is not None
        self.state: LinkState = channel.state

    def sender_ended(self, reason: str) -> None:
        self.heard.append((reason, 0))
        self.sender.close()

    def sender_skips(self, lag: float, packets: int) -> None:
        self.heard.append(("skips", packets))

    def sender_resumed(self, packets: int) -> None:
        self.heard.append(("resumed", packets))

    def play(self, clip: list[Frame]) -> None:
        output = self.stream.outputs[OUTPUT]
        for frame in clip:
            output.frame(frame)
            self.scheduler.run(0.04)


def pictures(payloads: list[bytes]) -> list[tuple[bytes, ...]]:
    """What is in a transport stream that may have a gap."""
    return [unit.pieces for unit in frames.read(b"".join(payloads), "mpegts")["video"].units]


@pytest.mark.parametrize(
    ("latency_ms", "leisure"), [(20, LEISURE), (100, 0.040), (120, 0.048), (2000, 0.050)]
)
def test_frames_may_lie_as_long_as_the_latency_covers_it(latency_ms: int, leisure: float) -> None:
    result = replace(results(SimNet(), Options())[1], send_latency_ms=latency_ms)
    stage = Stage(Line(result=result))
    assert stage.stream.outputs[OUTPUT].leisure == pytest.approx(leisure)


@pytest.mark.parametrize(
    ("latency_ms", "rtt", "hears_questions", "window", "leisure"),
    [
        (120, 0.001, True, 0.100, 0.090),
        (120, 0.001, False, 0.100, 0.048),
        (120, 0.060, True, 0.100, LEISURE),
        (40, 0.001, True, 0.100, LEISURE),
        (2000, 0.060, True, 0.100, 0.090),
        (120, 0.001, True, 0.040, 0.040),
        (120, 0.001, True, 0.010, 0.010),
    ],
    ids=["local", "hears nothing", "far", "little latency", "far and much", "window", "at once"],
)
def test_the_source_rests_as_long_as_the_link_does(
    latency_ms: int, rtt: float, hears_questions: bool, window: float, leisure: float
) -> None:
    options = Options(receive_latency_ms=latency_ms, peer_latency_ms=latency_ms)
    _, link = measured_link(
        rtt, LinkHandler(), options, is_sending=True, hears_questions=hears_questions
    )
    stage = Stage(link, feed=FeedOptions(window=window))
    output = stage.stream.outputs[OUTPUT]
    assert output.leisure == min(LEISURE, window), "nothing is known of the link yet"
    stage.play(stage.clip[: GOP + 5])
    assert output.leisure == pytest.approx(leisure)
    assert patience(link) <= output.leisure or output.leisure in (LEISURE, window)


def test_a_line_that_gives_packets_up_waits_for_a_key_frame() -> None:
    stage = Stage()
    state = stage.state
    stage.play(stage.clip[: GOP + 5])
    before = len(stage.line.payloads)
    state.given_up, state.waiting_since = 7, stage.scheduler.now() - 1.0
    stage.play(stage.clip[GOP + 5 : GOP + 15])  # the look comes with the next picture or two
    assert [word for word, _ in stage.heard] == ["skips"]
    gap = len(stage.line.payloads)
    assert gap - before <= 8 * 5
    state.waiting_since = None
    stage.play(stage.clip[GOP + 15 : 2 * GOP])
    assert len(stage.line.payloads) == gap
    assert stage.sender.dropped > 0
    stage.play(stage.clip[2 * GOP : 3 * GOP])
    assert [word for word, _ in stage.heard] == ["skips", "resumed"]
    again = stage.line.payloads[gap:]
    assert again[0][1:3] == b"\x40\x00"  # PAT first
    assert ts_check.check(b"".join(again)).problems == []
    wanted = pictures(stage.line.payloads[gap:])
    assert len(wanted) == GOP
    assert stage.heard[1][1] == stage.sender.dropped


def test_a_line_that_is_not_free_lets_key_frames_pass() -> None:
    stage = Stage()
    state = stage.state
    stage.play(stage.clip[:5])
    state.given_up, state.waiting_since = 1, stage.scheduler.now()
    stage.play(stage.clip[5:GOP])
    gap = len(stage.line.payloads)
    state.confirmed += 1  # it is alive
    stage.play(stage.clip[GOP : 2 * GOP])  # what waits is too old
    assert len(stage.line.payloads) == gap
    state.waiting_since, state.window = None, 0
    stage.play(stage.clip[2 * GOP : 3 * GOP])  # there is no room
    assert len(stage.line.payloads) == gap
    state.window = 100
    stage.scheduler.run(0.3)
    stage.play(stage.clip[3 * GOP :])
    assert len(stage.line.payloads) > gap


def test_a_full_buffer_is_a_reason_to_skip_and_a_closing_link_is_none() -> None:
    stage = Stage()
    stage.play(stage.clip[:3])
    stage.line.takes = False
    stage.play(stage.clip[3:6])
    assert stage.heard == [] and stage.sender.dropped > 0
    stage.state.is_full = True
    stage.play(stage.clip[6:8])
    assert stage.heard == [("skips", 0)]


def test_who_confirms_nothing_is_closed() -> None:
    stage = Stage()
    stage.play(stage.clip[:5])
    stage.state.given_up = 1
    stage.play(stage.clip[5:20])
    stage.scheduler.run(stage.stream.options.feed.stall_timeout - 2.0)
    assert stage.heard == [("skips", 1)]
    stage.scheduler.run(3.0)
    assert stage.heard == [("skips", 1), (STALLED, 0)]
    stage.scheduler.run(30.0)
    assert len(stage.heard) == 2


def test_others_of_the_stream_notice_nothing() -> None:
    stage = Stage()
    other = Line()
    SrtSender(other, stage.stream, START_LIVE, stage, stage.scheduler)
    stage.play(stage.clip[:5])
    stage.state.given_up = 1
    stage.state.window = 0
    stage.play(stage.clip[5:])
    stage.scheduler.run(0.1)
    assert len(pictures(other.payloads)) == len(stage.clip)
    assert len(stage.line.payloads) < len(other.payloads) / 2


@pytest.mark.parametrize(("size", "step"), [(1315, 1128), (956, 940), (188, 188)])
def test_a_peer_with_short_packets_gets_whole_transport_packets(size: int, step: int) -> None:
    """Off (all get the same) `send` would raise, and the stream of all with it."""
    stage = Stage(Line(size), START_GOP)
    stage.play(stage.clip)
    assert max(map(len, stage.line.payloads)) == step
    assert {len(each) % 188 for each in stage.line.payloads} == {0}
    assert len(pictures(stage.line.payloads)) == len(stage.clip)


def test_a_peer_whose_packets_hold_none_is_refused() -> None:
    with pytest.raises(PeerError, match="packets-too-small"):
        Stage(Line(187))


def test_a_fault_ends_its_reader_and_no_other() -> None:
    stage = Stage(Line(is_broken=True))
    other = Line()
    SrtSender(other, stage.stream, START_LIVE, stage, stage.scheduler)
    stage.play(stage.clip[:10])
    assert ("internal-error", 0) in stage.heard
    assert len(pictures(other.payloads)) >= 9


class Bottle(Line):
    """A line that confirms what it is told to."""

    def send(self, payloads: Sequence[bytes], now: float) -> int:
        taken = super().send(payloads, now)
        assert self.state is not None
        self.state.unconfirmed += taken
        return taken


def test_a_joiner_gets_the_past_as_fast_as_it_is_confirmed() -> None:
    """Off (no gate) all of it leaves within some milliseconds, whatever the line can carry."""
    stage = Stage()
    stage.play(stage.clip[:GOP])
    output = stage.stream.outputs[OUTPUT]
    assert isinstance(output, SrtOutput)
    most = JOIN_WINDOW + JOIN_SPEED * output.packet_rate * 0.02 + 16
    line = Bottle()
    sender = SrtSender(line, stage.stream, START_GOP, stage, stage.scheduler)
    whole = len(stage.line.payloads)
    assert whole > most
    stage.scheduler.run(1.0)
    assert JOIN_WINDOW <= len(line.payloads) <= most
    assert line.state is not None
    for _ in range(20):
        line.state.unconfirmed = 0
        stage.scheduler.run(0.02)
    assert line.payloads == stage.line.payloads[1:], "which began with tables"
    stage.play(stage.clip[GOP : GOP + 5])
    assert line.payloads == stage.line.payloads[1:], "it is in step"
    sender.close()
