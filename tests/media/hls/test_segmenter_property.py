"""Whatever frames come, playlists keep their promises and memory stays bounded."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from media.frame import Frame
from media.hls.options import HlsOptions
from media.hls.segment import Segment
from media.hls.segmenter import Segmenter
from media.track import Kind
from tests.support import clips, hls_check

BUNNY = clips.read(clips.BUNNY)
TRACKS = clips.tracks_of(BUNNY)

steps = st.tuples(
    st.sampled_from([0, 0, 0, 1, 1]),  # track
    st.one_of(  # milliseconds that the stream moves on
        st.integers(0, 400), st.integers(0, 60), st.sampled_from([-3_000, 5_000, 20_000, 60_000])
    ),
    st.booleans(),  # key
    st.sampled_from([False] * 19 + [True]),  # discontinuity
    st.sampled_from([0] * 19 + [1, 2]),  # version of the parameters
    st.integers(1, 3_000),  # size
)


@given(events=st.lists(steps, max_size=300), reload_at=st.integers(0, 300), ends=st.booleans())
def test_promises_hold(
    events: list[tuple[int, int, bool, bool, int, int]], reload_at: int, ends: bool
) -> None:
    done: list[Segment | None] = []
    options = HlsOptions(window_segments=3, max_segment_bytes=20_000, ready_wait=2.0)
    segmenter = Segmenter(TRACKS, options, "p", on_change=done.append)
    texts: list[str] = []
    milliseconds, versions = 0, [0, 0]
    for number, (index, step, key, broken, version, size) in enumerate(events):
        milliseconds += step
        versions[index] = max(versions[index], version)
        track = TRACKS[index]
        assert track.parameters is not None
        ticks = milliseconds * track.clock_rate // 1000
        frame = Frame(
            track=track,
            pts=ticks,
            dts=ticks,
            ntp=0,
            arrived=0.0,
            key=key or track.kind is Kind.AUDIO,
            discontinuity=broken,
            parameters=replace(track.parameters, version=versions[index]),
            payload=(b"\x65" * size,),
        )
        before = len(done)
        segmenter.frame(frame, number * 0.1)
        assert len(done) - before <= 2
        if number >= reload_at and segmenter.is_ready(number * 0.1):
            texts.append(segmenter.media_playlist().decode())
            assert hls_check.check_multivariant(segmenter.multivariant_playlist().decode()) == []
        # More than three only where three target durations would not be left without the first.
        rest = [each.seconds for each in segmenter.window.segments][1:]
        assert len(rest) < 3 or sum(rest) < 3 * segmenter.target_duration
        assert len(rest) < 12
        assert segmenter.window.size_bytes <= 18 * 24_000
    if ends:
        segmenter.end()
        assert done[-1] is None
        if segmenter.is_ready(1_000.0):
            texts.append(segmenter.media_playlist().decode())
    problems = set(hls_check.check_media(texts)) - {"date-missing", "gap", "segment-lost"}
    assert not problems
    names = [segment.name for segment in done if segment is not None]
    assert len(names) == len(set(names))
    sequences = [segment.sequence for segment in done if segment is not None]
    assert sequences == list(range(1, 1 + len(sequences)))  # hls.js takes 0 for none
