"""A feed: shared bytes, the write window, slices, lag, skipping, closing."""

from collections.abc import Sequence

from media.feed import Feed
from media.feed_reader import FeedOptions, FeedReader
from media.frame import Frame
from media.track import AAC, H264, Kind, Track
from tests.support.virtual import CostlySink, LineSink, MemorySink, VirtualScheduler

VIDEO = Track(0, Kind.VIDEO, H264, 90_000)
AUDIO = Track(1, Kind.AUDIO, AAC, 48_000)


class Letters:
    """A format that writes one readable word for each frame."""

    name = "letters"
    is_exhausted = False

    def header(self) -> bytes:
        return b"HEAD "

    def resume(self) -> bytes:
        return b"AGAIN "

    def encode(self, frame: Frame) -> bytes:
        return frame.payload[0]


class Rig:
    def __init__(self, **options: float) -> None:
        self.scheduler = VirtualScheduler()
        self.skips: list[tuple[float, int]] = []
        self.feed = Feed(
            Letters(),
            (VIDEO, AUDIO),
            FeedOptions(**options),  # type: ignore[arg-type]  # all are numbers here
            self.scheduler,
            self.note_skip,
        )
        self.time = 0.0

    def note_skip(self, reader: FeedReader, lag: float, chunks: int) -> None:
        self.skips.append((lag, chunks))

    def frame(self, text: str, *, key: bool = False, audio: bool = False) -> Frame:
        track = AUDIO if audio else VIDEO
        dts = round(self.time * track.clock_rate)
        payload = text.encode() + b" "
        return Frame(track, dts, dts, 0, 0.0, key or audio, False, None, (payload,))

    def send(
        self, text: str, *, key: bool = False, audio: bool = False, step: float = 0.04
    ) -> None:
        self.feed.frame(self.frame(text, key=key, audio=audio))
        self.time += step
        self.scheduler.run(step)


def test_a_joiner_starts_at_the_key_frame_at_once() -> None:
    rig = Rig()
    rig.feed.seed((rig.frame("old", key=True), rig.frame("K", key=True), rig.frame("p")))
    sink = MemorySink()
    rig.feed.attach(sink)
    assert sink.data == b"HEAD K p "
    rig.send("q")
    assert sink.data == b"HEAD K p q "


def test_a_joiner_begins_with_a_key_frame_that_is_not_flushed_yet() -> None:
    rig = Rig()
    for _ in range(400):
        rig.feed.attach(MemorySink())
    rig.send("K0", key=True, step=0.3)
    for text in ("p1", "p2"):
        rig.feed.frame(rig.frame(text))
    rig.feed.frame(rig.frame("a-early", audio=True))
    rig.feed.frame(rig.frame("K1", key=True))
    rig.feed.frame(rig.frame("p3"))
    sink = MemorySink()
    rig.feed.attach(sink)
    assert sink.data == b"HEAD a-early K1 p3 "
    rig.scheduler.run(0.5)
    rig.send("p4", step=0.5)
    assert sink.data == b"HEAD a-early K1 p3 p4 "


def test_who_was_there_before_the_key_frame_begins_like_who_joins_at_it() -> None:
    """Sound goes out as it comes, ahead of a picture that a format holds for its successor."""
    rig = Rig()
    early, late = MemorySink(), MemorySink()
    rig.feed.attach(early)
    rig.send("a-before", audio=True)
    rig.send("a0", audio=True, step=0.0)
    rig.send("K", key=True)
    rig.send("p")
    rig.feed.attach(late)
    assert early.data == late.data == b"HEAD a0 K p "


def test_start_key_and_live() -> None:
    rig = Rig()
    rig.feed.seed((rig.frame("K", key=True), rig.frame("p")))
    key, live = MemorySink(), MemorySink()
    rig.feed.attach(key, "key")
    rig.feed.attach(live, "live")
    rig.send("q")
    rig.send("a", audio=True)
    rig.send("K2", key=True)
    rig.send("r")
    assert key.data == b"HEAD K2 r "
    assert live.data == b"HEAD q a K2 r "


def test_every_reader_in_step_gets_the_same_object() -> None:
    rig = Rig()
    sinks = [MemorySink() for _ in range(300)]
    for sink in sinks:
        rig.feed.attach(sink)
    for number in range(20):
        rig.send(f"f{number}", key=number == 0)
    rig.scheduler.run(1.0)
    assert len({sink.data for sink in sinks}) == 1
    assert sinks[0].data.split() == [b"HEAD"] + [b"f%d" % n for n in range(20)]
    assert all(a is b for a, b in zip(sinks[0].writes[1:], sinks[-1].writes[1:], strict=True))
    assert len(sinks[0].writes) < 15  # joined: fewer writes than frames


def test_the_window_grows_with_readers_up_to_its_bound() -> None:
    rig = Rig(window=0.08)
    assert rig.feed.window == 0.0
    for _ in range(20):
        rig.feed.attach(MemorySink())
    assert 0 < rig.feed.window < 0.08
    for _ in range(1000):
        rig.feed.attach(MemorySink())
    assert rig.feed.window == 0.08


def test_a_joiner_during_a_flush_misses_and_repeats_nothing() -> None:
    rig = Rig()
    for _ in range(400):
        rig.feed.attach(MemorySink())
    rig.send("K", key=True, step=0.2)
    late: list[MemorySink] = []
    for number in range(10):
        rig.feed.frame(rig.frame(f"f{number}"))
        rig.time += 0.04
        for _ in range(4):
            rig.scheduler.run(0.01)
            sink = MemorySink()
            rig.feed.attach(sink)
            late.append(sink)
    rig.scheduler.run(1.0)
    expected = [b"HEAD", b"K"] + [b"f%d" % n for n in range(10)]
    assert all(sink.data.split() == expected for sink in late)


def test_a_slow_reader_skips_to_a_key_frame_and_hurts_nobody() -> None:
    rig = Rig(low_mark=0.1, lag_bound=1.0)
    good, slow = MemorySink(), MemorySink()
    rig.feed.attach(good)
    reader = rig.feed.attach(slow)
    slow.stalled = True
    big = "x" * 70_000
    rig.send("K0" + big, key=True)
    for number in range(60):
        rig.send(f"p{number}" + big)
        rig.send(f"a{number}", audio=True, step=0.0)
    assert reader.skips == 1
    assert rig.skips[0][0] > 1.0
    taken = len(slow.writes)
    slow.stalled, slow.held = False, 0
    rig.send("p-lost")
    rig.send("a-kept", audio=True)
    rig.send("K1", key=True)
    rig.send("p-new")
    words = b"".join(slow.writes[taken:]).split()
    assert words == [b"a-kept", b"AGAIN", b"K1", b"p-new"]
    assert reader.dropped_chunks > 20
    assert b"p59" in good.data
    assert good.data.endswith(b"p-lost a-kept K1 p-new ")


def test_a_reader_that_was_slow_for_a_moment_loses_nothing() -> None:
    rig = Rig(low_mark=0.1, lag_bound=5.0)
    sink = MemorySink()
    rig.feed.attach(sink)
    big = "x" * 70_000
    rig.send("K" + big, key=True)
    sink.stalled = True
    for number in range(20):
        rig.send(f"p{number}-" + big)
    sink.stalled, sink.held = False, 0
    rig.send("end")
    rig.send("end2")
    words = [word.split(b"-")[0] for word in sink.data.split()[2:]]
    assert words == [b"p%d" % n for n in range(20)] + [b"end", b"end2"]


def test_a_stalled_reader_is_closed_with_a_reason() -> None:
    rig = Rig(stall_timeout=2.0)
    sink = MemorySink()
    rig.feed.attach(sink)
    sink.stalled = True
    big = "x" * 70_000
    for number in range(200):
        rig.send(f"K{number}" + big, key=number % 25 == 0)
    assert sink.ended == "reader-stalled"
    assert rig.feed.readers == 0
    assert len(sink.writes) < 10


def test_the_log_is_bounded_without_key_frames_and_with_stalled_readers() -> None:
    rig = Rig(lag_bound=2.0, stall_timeout=1e9)
    sink = MemorySink()
    rig.feed.attach(sink)
    sink.stalled = True
    for number in range(3000):
        rig.send("x" * 1000, key=number == 0)
    assert rig.feed.size_bytes < 25 * 25 * 1001
    bytes_bound = Rig(log_bytes=50_000)
    bytes_bound.feed.attach(MemorySink())
    for number in range(300):
        bytes_bound.send("x" * 1000, key=number == 0)
    assert bytes_bound.feed.size_bytes <= 51_000


def test_closing_sends_the_rest_and_ends_every_reader() -> None:
    rig = Rig()
    sinks = [MemorySink() for _ in range(400)]
    for sink in sinks:
        rig.feed.attach(sink)
    rig.send("K", key=True, step=0.0)
    rig.feed.frame(rig.frame("last"))
    rig.feed.close("source-lost")
    rig.scheduler.run(1.0)
    assert {sink.data for sink in sinks} == {b"HEAD K last "}
    assert {sink.ended for sink in sinks} == {"source-lost"}
    rig.send("after")
    assert sinks[0].data == b"HEAD K last "


def test_detached_readers_get_nothing_more() -> None:
    rig = Rig()
    sink, other = MemorySink(), MemorySink()
    reader = rig.feed.attach(sink)
    rig.feed.attach(other)
    rig.feed.detach(reader)
    rig.feed.detach(reader)
    rig.send("K", key=True)
    assert sink.data == b"HEAD "
    assert other.data == b"HEAD K "
    assert rig.feed.readers == 1


def test_lag_counts_what_the_sink_holds() -> None:
    rig = Rig()
    sink = MemorySink()
    reader = rig.feed.attach(sink)
    for number in range(100):
        rig.send("x" * 1000, key=number == 0)
    assert rig.feed.lag(reader) < 0.1
    sink.held = 50_000
    assert 1.0 < rig.feed.lag(reader) < 3.0


def test_a_joiner_between_a_key_frame_and_its_flush_starts_at_that_key_frame() -> None:
    rig = Rig()
    old = [MemorySink() for _ in range(400)]
    for sink in old:
        rig.feed.attach(sink)
    rig.send("K0", key=True, step=0.2)
    rig.feed.frame(rig.frame("p"))
    rig.scheduler.run(0.01)
    rig.feed.frame(rig.frame("p-lost"))
    rig.feed.frame(rig.frame("K1", key=True))  # not handed out yet: the window is open
    joiner = MemorySink()
    rig.feed.attach(joiner)
    assert joiner.data == b"HEAD K1 "
    rig.feed.frame(rig.frame("q"))
    rig.scheduler.run(1.0)
    rig.send("r", step=1.0)
    assert joiner.data == b"HEAD K1 q r "
    assert {sink.data for sink in old} == {b"HEAD K0 p p-lost K1 q r "}


def test_joiners_in_the_middle_of_a_sliced_flush_miss_and_repeat_nothing() -> None:
    rig = Rig()
    for _ in range(400):
        rig.feed.attach(CostlySink(rig.scheduler, 50e-6))
    rig.send("K0", key=True, step=0.2)
    late: list[MemorySink] = []

    def join() -> None:
        late.append(MemorySink())
        rig.feed.attach(late[-1])
        rig.feed.frame(rig.frame(f"f{len(late)}", key=len(late) == 7))
        if len(late) < 12:
            rig.scheduler.call_soon(join)

    rig.feed.frame(rig.frame("f0"))
    rig.scheduler.run(0.1)
    rig.scheduler.call_soon(join)
    rig.scheduler.run(1.0)
    assert len(late) == 12
    for number, sink in enumerate(late):
        after = [b"f%d" % n for n in range(7 if number >= 7 else 0, 13)]
        expected = after if number >= 7 else [b"K0", *after]
        assert sink.data.split() == [b"HEAD", *expected], number


def test_no_turn_is_long_however_large_the_chunks_and_many_the_readers() -> None:
    rig = Rig(low_mark=0.1, lag_bound=60.0)
    sinks = [CostlySink(rig.scheduler, 120e-6) for _ in range(400)]
    for sink in sinks:
        rig.feed.attach(sink)
    for number in range(10):  # in step
        rig.send("x" * 70_000, key=number == 0)
    for sink in sinks:
        sink.stalled = True
    for _ in range(10):
        rig.send("y" * 70_000)
    for sink in sinks:
        sink.stalled, sink.held = False, 0
    rig.send("z")  # all of them catch up
    rig.scheduler.run(1.0)
    rig.feed.frame(rig.frame("last"))
    rig.scheduler.run(1.0)
    assert {len(sink.data) for sink in sinks} == {5 + 10 * 70_001 * 2 + 2 + 5}
    rig.scheduler.call_soon(lambda: rig.feed.close("over"))
    rig.scheduler.run(1.0)
    assert {sink.ended for sink in sinks} == {"over"}
    assert rig.scheduler.longest_turn < 0.005


def test_a_joiner_of_a_long_gop_on_a_modest_line_loses_nothing() -> None:
    rig = Rig(lag_bound=3.0)
    rig.feed.attach(MemorySink())
    for number in range(250):  # ten seconds, 100 kB/s
        rig.send(f"{number}-" + "x" * 4000, key=number == 0)
    joiner = LineSink(rig.scheduler, 300_000)
    reader = rig.feed.attach(joiner)
    for number in range(250, 750):
        rig.send(f"{number}-" + "x" * 4000, key=number == 255)
    assert reader.skips == 0
    words = [int(word.split(b"-")[0]) for word in joiner.data.split()[1:]]
    assert words == list(range(words[-1] + 1))
    assert words[-1] > 740
    joiner.stalled = True


def test_a_joiner_whose_line_is_too_slow_skips_at_last() -> None:
    rig = Rig(lag_bound=3.0)
    rig.feed.attach(MemorySink())
    for number in range(250):
        rig.send(f"{number}-" + "x" * 4000, key=number % 50 == 0)
    reader = rig.feed.attach(LineSink(rig.scheduler, 50_000))
    for number in range(250, 750):
        rig.send(f"{number}-" + "x" * 4000, key=number % 50 == 0)
    assert reader.skips > 0


def test_frames_that_a_format_leaves_out_cause_no_empty_writes() -> None:
    rig = Rig()
    good, slow = MemorySink(), MemorySink()
    rig.feed.attach(good)
    rig.feed.attach(slow)
    rig.send("K", key=True)
    slow.stalled = True
    for _ in range(4):
        rig.send("p" + "x" * 70_000)
    writes = len(good.writes)
    rig.feed.frame(Frame(Track(7, Kind.DATA, "rtp/x", 1000), 0, 0, 0, 0.0, True, False, None, ()))
    rig.scheduler.run(0.1)
    assert len(good.writes) == writes


def test_a_gop_from_before_a_gap_is_no_start_for_joiners() -> None:
    rig = Rig()
    rig.feed.attach(MemorySink())
    rig.send("K0", key=True)
    rig.time += 8.0  # the source was away
    first = rig.frame("p-of-an-unknown-picture")
    first.discontinuity = True
    rig.feed.frame(first)
    rig.scheduler.run(0.1)
    joiner = MemorySink()
    rig.feed.attach(joiner)
    rig.send("p")
    rig.send("K1", key=True)
    assert joiner.data == b"HEAD K1 "


def test_a_sink_that_fails_hurts_nobody_else() -> None:
    class Dead(MemorySink):
        def write(self, data: bytes) -> None:
            if self.writes:
                raise RuntimeError("the handler is closed")
            super().write(data)

    rig = Rig()
    sinks = [MemorySink(), Dead(), MemorySink()]
    for sink in sinks:
        rig.feed.attach(sink)
    rig.send("K", key=True)
    rig.send("p")
    assert [sink.data for sink in sinks] == [b"HEAD K p ", b"HEAD ", b"HEAD K p "]
    assert sinks[1].ended == "peer-closed"
    assert rig.feed.readers == 2


def test_sound_goes_on_for_a_waiting_reader_whose_key_frame_the_log_let_go() -> None:
    rig = Rig(low_mark=0.01, lag_bound=1.0, log_seconds=1.5)
    slow = MemorySink()
    reader = rig.feed.attach(slow)
    slow.stalled = True
    big = "x" * 70_000
    for number in range(70):
        rig.send(f"p{number}" + big, key=number in (0, 20))
    assert reader.skips == 1
    taken = len(slow.writes)
    slow.stalled, slow.held = False, 0
    rig.send("p")
    rig.send("a", audio=True)
    rig.send("K", key=True)
    assert b"".join(slow.writes[taken:]) == b"a AGAIN K "


class Band(Letters):
    """A format that says in band what it carries."""

    def __init__(self) -> None:
        self.tracks: Sequence[Track] = ()

    def set_tracks(self, tracks: Sequence[Track]) -> None:
        self.tracks = tracks


def test_a_format_that_can_goes_on_with_other_tracks() -> None:
    form = Band()
    scheduler = VirtualScheduler()
    feed = Feed(form, (VIDEO,), FeedOptions(), scheduler, lambda *_: None)
    sink = MemorySink()
    feed.attach(sink, "live")
    assert feed.set_tracks((VIDEO, AUDIO))
    assert form.tracks == feed.tracks == (VIDEO, AUDIO)
    feed.frame(Frame(AUDIO, 0, 0, 0, 0.0, True, False, None, (b"sound ",)))
    scheduler.run(1.0)
    assert sink.data == b"HEAD sound "
    assert not sink.ended


def test_a_format_that_cannot_changes_nothing() -> None:
    rig = Rig()
    assert not rig.feed.set_tracks((VIDEO,))
    assert rig.feed.tracks == (VIDEO, AUDIO)
