"""MPEG-TS in: real clips as FFmpeg reads them, any cut, tables that change, times that wrap."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.mpegts.demuxer import MAX_TRACKS, TsDemuxer
from media.mpegts.events import TrackDescribed, TracksChanged, TsUnit
from media.mpegts.muxer import TsMuxer
from media.track import Kind
from tests.support import clips, ts_build, ts_demux
from tests.support.ts_build import AUDIO_PID, DATA_PID, VIDEO_PID, Mux

STREAMS = [(0x1B, VIDEO_PID), (0x0F, AUDIO_PID)]
WRAP = 1 << 33


def muxed(path: Path) -> bytes:
    clip = clips.read(path)
    return b"".join(map(TsMuxer(clips.tracks_of(clip)).encode, clip))


# -- real clips ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sample_h264.ts", "sample_h265.ts"])
def test_files_are_read_as_ffmpeg_reads_them(name: str) -> None:
    data = (clips.FOLDER / name).read_bytes()
    result = ts_demux.demux(data)
    assert ts_demux.differences(result, data) == []
    assert len(result.units) == 30
    assert not result.drops


@pytest.mark.parametrize("path", [clips.BUNNY, clips.PYRAMID, clips.HDR], ids=lambda p: p.stem[:5])
def test_our_own_streams_come_back_whole(path: Path) -> None:
    data = muxed(path)
    result = ts_demux.demux(ts_demux.cut(data, 1316), is_datagram=True)
    assert ts_demux.differences(result, data) == []
    assert not result.drops
    clip = clips.read(path)
    sent = [frame.payload for frame in clips.only(clip, Kind.AUDIO)]
    assert result.payloads(0x101) == sent
    described = {e.track.pid: e.track for e in result.events if isinstance(e, TrackDescribed)}
    for track in clips.tracks_of(clip):
        found = described[0x100 + track.id]
        assert (found.kind, found.codec, found.clock_rate) == (
            track.kind,
            track.codec,
            track.clock_rate,
        )
        assert found.description is not None
        assert track.parameters is not None
        assert found.parameters == replace(track.parameters, version=0)


@pytest.mark.parametrize("size", [1, 187, 188, 1316, 1472, 65_536, 10_000_000])
def test_any_cut_gives_the_same(size: int) -> None:
    data = (clips.FOLDER / "sample_h264.ts").read_bytes()
    assert ts_demux.demux(ts_demux.cut(data, size)).keys() == ts_demux.demux(data).keys()


def test_a_unit_has_the_arrival_of_its_first_byte() -> None:
    mux = Mux()
    first = mux.unit(AUDIO_PID, ts_build.pes(adts(bytes(400)), 90_000, stream_id=0xC0))
    pieces = [mux.tables(STREAMS), first[:188], first[188:376], first[376:]]
    result = ts_demux.demux(pieces)
    assert [unit.arrived for unit in result.units] == [1.0]


# -- what a program holds --------------------------------------------------------------------------


def adts(raw: bytes, rate_index: int = 3) -> bytes:
    """An ADTS frame of AAC-LC, stereo; 48 kHz is index 3."""
    size = len(raw) + 7
    return (
        bytes(
            (
                0xFF,
                0xF1,
                0x40 | rate_index << 2,
                0x80 | size >> 11,
                size >> 3 & 0xFF,
                (size & 7) << 5 | 0x1F,
                0xFC,
            )
        )
        + raw
    )


def sound(mux: Mux, n: int, pid: int = AUDIO_PID, rate_index: int = 3) -> bytes:
    """The n-th AAC frame of a stream, in a PES packet of its own."""
    frame = adts(bytes((n & 0x7F,)) * 100, rate_index)
    return mux.unit(pid, ts_build.pes(frame, 90_000 + 1920 * n, stream_id=0xC0))


def listed(result: ts_demux.Demuxed) -> list[list[tuple[int, str]]]:
    return [
        [(track.pid, track.codec) for track in event.tracks]
        for event in result.events
        if isinstance(event, TracksChanged)
    ]


def test_tables_that_come_late() -> None:
    mux = Mux()
    data = b"".join(sound(mux, n) for n in range(5)) + mux.tables(STREAMS)
    data += b"".join(sound(mux, n) for n in range(5, 10))
    result = ts_demux.demux(data)
    assert [raw[0][0] for raw in result.payloads(AUDIO_PID)] == [5, 6, 7, 8, 9]
    assert not result.drops


def test_a_new_version_keeps_what_stays() -> None:
    mux = Mux()
    data = mux.tables(STREAMS) + sound(mux, 0)
    data += mux.tables([*STREAMS, (0x0F, DATA_PID)], version=1) + sound(mux, 1)
    data += sound(mux, 0, DATA_PID) + mux.tables([(0x0F, DATA_PID)], version=2)
    data += sound(mux, 2) + sound(mux, 1, DATA_PID)
    result = ts_demux.demux(data)
    assert listed(result) == [
        [(VIDEO_PID, "h264"), (AUDIO_PID, "aac")],
        [(VIDEO_PID, "h264"), (AUDIO_PID, "aac"), (DATA_PID, "aac")],
        [(DATA_PID, "aac")],
    ]
    lists = [event.tracks for event in result.events if isinstance(event, TracksChanged)]
    assert lists[0][1] is lists[1][1]
    assert lists[1][2] is lists[2][0]
    assert len(result.of(AUDIO_PID)) == len(result.of(DATA_PID)) == 2


def test_the_same_tables_again_are_no_event() -> None:
    mux = Mux()
    result = ts_demux.demux(mux.tables(STREAMS) + mux.tables(STREAMS) + mux.tables(STREAMS, 1))
    assert len(listed(result)) == 1


def test_a_program_of_several() -> None:
    mux = Mux()
    data = mux.table(0, ts_build.pat({3: 0x30, 4: 0x40}))
    data += mux.table(0x30, ts_build.pmt([(0x0F, 0x31)], program=3))
    data += mux.table(0x40, ts_build.pmt([(0x0F, 0x41)], program=4))
    data += b"".join(sound(mux, n, 0x31) + sound(mux, n, 0x41) for n in range(4))
    assert {unit.track.pid for unit in ts_demux.demux(data).units} == {0x31}
    assert {unit.track.pid for unit in ts_demux.demux(data, program=4).units} == {0x41}
    assert ts_demux.demux(data, program=5).units == []


def test_long_tables() -> None:
    mux = Mux()
    streams = [(0x0F, 0x200 + n, b"\x0a\x04eng\0" * 2) for n in range(MAX_TRACKS + 3)]
    data = mux.tables(streams) + b"".join(sound(mux, 0, pid) for _, pid, _ in streams)
    result = ts_demux.demux(data)
    assert len(result.tracks) == len(result.units) == MAX_TRACKS
    assert result.drops == {"ts-too-many-tracks": 3}


def test_pids_of_tables_are_no_tracks() -> None:
    mux = Mux()
    bad = [(0x0F, 0), (0x0F, 0x1FFF), (0x0F, ts_build.PMT_PID), (0x05, 0x300), (0x0F, AUDIO_PID)]
    result = ts_demux.demux(mux.tables([*bad, (0x0F, AUDIO_PID)]) + sound(mux, 0))
    assert [track.pid for track in result.tracks] == [AUDIO_PID]
    assert len(result.units) == 1


def test_a_sample_rate_that_changes_describes_the_track_anew() -> None:
    mux = Mux()
    data = mux.tables(STREAMS) + sound(mux, 0) + sound(mux, 1) + sound(mux, 2, rate_index=4)
    result = ts_demux.demux(data)
    kinds = [
        (type(event).__name__, event.track.pid)
        for event in result.events
        if not isinstance(event, TracksChanged)
    ]
    described, unit = ("TrackDescribed", AUDIO_PID), ("TsUnit", AUDIO_PID)
    assert kinds == [described, unit, unit, described, unit]
    assert [unit.pts for unit in result.units] == [48_000, 49_024, 45_982]
    assert result.tracks[1].clock_rate == 44_100


# -- times -----------------------------------------------------------------------------------------


def test_wrap_at_33_bits() -> None:
    """Times run on; a track that comes a little before the wrap after it keeps its distance."""
    mux = Mux()
    data = mux.tables([*STREAMS, (0x0F, DATA_PID)])
    for n in range(8):
        time = WRAP - 4 * 1920 + n * 1920
        for pid, late in ((AUDIO_PID, 0), (DATA_PID, 1920 * 2)):
            frame = adts(bytes((n,)) * 50)
            data += mux.unit(pid, ts_build.pes(frame, time - late, stream_id=0xC0))
    result = ts_demux.demux(data)
    times = [unit.pts for unit in result.of(AUDIO_PID)]
    assert times[0] == (WRAP - 4 * 1920) * 8 // 15
    assert [b - a for a, b in pairwise(times)] == [1024] * 7
    other = [unit.pts for unit in result.of(DATA_PID)]
    assert [a - b for a, b in zip(times, other, strict=True)] == [2048] * 8


def test_our_muxers_wrap_comes_back() -> None:
    clip = clips.read(clips.PYRAMID)
    muxer = TsMuxer(clips.tracks_of(clip))
    muxer.encode(clip[0])
    late = clips.shifted(clip, WRAP * 1000 // 90_000 - 12_000)
    result = ts_demux.demux(b"".join(map(muxer.encode, late)))
    frames = clips.only(late, Kind.VIDEO)
    assert len(result.of(0x100)) == len(frames)
    for (pts, dts), frame in zip(result.times(0x100), frames, strict=True):
        assert pts - frame.pts == dts - frame.dts == 900_000 - clip[0].dts


def test_a_jump_with_discontinuity_indicator_loses_nothing() -> None:
    mux = Mux()
    data = mux.tables(STREAMS) + sound(mux, 0) + sound(mux, 1)
    mux.counters[AUDIO_PID] = 9
    frame = ts_build.pes(adts(bytes(90)), 9_000_000, stream_id=0xC0)
    data += mux.unit(AUDIO_PID, frame, discontinuity=True) + mux.unit(AUDIO_PID, frame)
    result = ts_demux.demux(data)
    assert [unit.pts for unit in result.units] == [48_000, 49_024, 4_800_000, 4_800_000]
    assert result.drops == {"ts-discontinuity": 1}  # one may have been cut off there


# -- bounds ----------------------------------------------------------------------------------------


def test_a_pes_packet_without_end_is_dropped_at_its_bound() -> None:
    mux = Mux()
    demuxer = ts_demux.start()
    feed = demuxer.demuxer.feed
    feed(mux.tables(STREAMS), 0.0)
    feed(mux.packet(VIDEO_PID, ts_build.pes(bytes(170), 0, length=0), start=True), 0.0)
    block = b"".join(mux.packet(VIDEO_PID, bytes(184)) for _ in range(512))
    for _ in range(100):
        feed(block, 0.0)
    assert demuxer.drops == {"ts-pes-too-large": 1}


def test_all_pids_together_are_bounded() -> None:
    mux = Mux()
    streams = [(0x1B, 0x200 + n) for n in range(MAX_TRACKS)]
    result = ts_demux.start()
    result.demuxer.feed(mux.tables(streams), 0.0)
    for _, pid in streams:
        start = mux.packet(pid, ts_build.pes(bytes(170), 0, length=0), start=True)
        block = b"".join(mux.packet(pid, bytes(184)) for _ in range(512 * 20))
        result.demuxer.feed(start + block, 0.0)
    assert 10 < result.drops["ts-pes-too-large"] < 20


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes(data: bytes, is_datagram: bool) -> None:
    ts_demux.demux([data, data], is_datagram=is_datagram)


@given(
    st.lists(
        st.tuples(st.sampled_from((0, ts_build.PMT_PID, VIDEO_PID, AUDIO_PID)), st.integers(0, 255),
                  st.integers(0, 255), st.binary(max_size=184)),
        max_size=40,
    )
)  # fmt: skip
def test_any_packets(parts: list[tuple[int, int, int, bytes]]) -> None:
    data = Mux().tables([*STREAMS, (6, DATA_PID)])
    for pid, high, control, payload in parts:
        head = bytes((0x47, high & 0xE0 | pid >> 8, pid & 0xFF, control))
        data += head + payload.ljust(184, b"\xff")
    result = ts_demux.demux(data)
    assert len(result.units) <= len(parts)


def test_the_demuxer_says_how_many_packets_came() -> None:
    demuxer = TsDemuxer(lambda reason: None)
    data = muxed(clips.PYRAMID)
    units = [event for event in demuxer.feed(data, 0.0) if isinstance(event, TsUnit)]
    assert demuxer.packets == len(data) // 188
    assert demuxer.junk_bytes == 0
    assert units
