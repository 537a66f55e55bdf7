"""TS as a live format: whole packets, tables first, and everything that has a place in TS."""

from dataclasses import replace
from pathlib import Path

import pytest

from media.codecs.opus import OpusParameters
from media.frame import Frame
from media.mpegts.format import TsFormat, carries_track
from media.mpegts.muxer import TsMuxer
from media.mpegts.stream_types import KLV_LABEL, OpaqueParameters
from media.parameters import Parameters
from media.track import KLV, OPUS, PCMA, Kind, Track
from tests.support import clips, ts_build, ts_check, ts_demux

OPUS_TRACK = Track(2, Kind.AUDIO, OPUS, 48_000, OpusParameters(sample_rate=48_000, channels=2))
KLV_TRACK = Track(3, Kind.DATA, KLV, 90_000)
SUBTITLES = OpaqueParameters(stream_type=6, descriptors=b"\x59\x08deu\x10\x00\x01\x00\x01")
SUBTITLE_TRACK = Track(4, Kind.DATA, "ts/06", 90_000, SUBTITLES)
MPEG2 = OpaqueParameters(stream_type=2)
MPEG2_TRACK = Track(5, Kind.DATA, "ts/02", 90_000, MPEG2)
SILENCE = b"\xfc\xff\xfe"


def frame(track: Track, time: int, payload: bytes, parameters: Parameters | None = None) -> Frame:
    """A frame at `time` in 90 kHz."""
    ticks = time * track.clock_rate // 90_000
    return Frame(track, ticks, ticks, 0, 0.0, True, False, parameters, (payload,))


def everything() -> tuple[tuple[Track, ...], list[Frame]]:
    """A clip with more tracks: Opus, KLV, subtitles, MPEG-2 video."""
    clip = clips.read(clips.BUNNY)
    more: list[Frame] = []
    for n in range(100):
        time = n * 9000
        more += (
            frame(OPUS_TRACK, time, SILENCE + bytes(n % 7), OPUS_TRACK.parameters),
            frame(KLV_TRACK, time, KLV_LABEL + bytes(12) + bytes((n,)) * (n * 3)),
            frame(SUBTITLE_TRACK, time, b"\x20\0" + bytes((n,)) * 250, SUBTITLES),
            frame(MPEG2_TRACK, time, b"\0\0\1\xb3" + bytes((n,)) * 900 * n, MPEG2),
        )
    row = sorted(clip + more, key=lambda each: each.dts / each.track.clock_rate)
    return (*clips.tracks_of(clip), OPUS_TRACK, KLV_TRACK, SUBTITLE_TRACK, MPEG2_TRACK), row


def test_everything_comes_back() -> None:
    tracks, row = everything()
    live = TsFormat(tracks)
    assert live.tracks == tracks
    result = ts_demux.demux(live.header() + b"".join(map(live.encode, row)))
    assert not result.drops
    assert [track.codec for track in result.tracks] == [track.codec for track in tracks]
    assert result.tracks[4].parameters == SUBTITLES
    assert result.tracks[5].parameters == MPEG2
    for place, track in enumerate(tracks):
        if track.kind is Kind.VIDEO:
            continue
        sent = [each for each in row if each.track is track]
        got = result.of(0x100 + place)
        assert [unit.payload for unit in got] == [each.payload for each in sent]
        first = sent[0].pts - got[0].pts
        assert all(abs(a.pts - b.pts - first) <= 1 for a, b in zip(sent, got, strict=True))


def test_ffmpeg_reads_it_in_the_same_way() -> None:
    tracks, row = everything()
    tracks = tracks[:4]
    live = TsFormat(tracks)
    data = live.header() + b"".join(map(live.encode, row))
    result = ts_demux.demux(data)
    assert ts_demux.differences(result, data) == []
    assert ts_demux.reference(data)[0x102].codec == "opus"


@pytest.mark.parametrize("path", [clips.BUNNY, clips.PYRAMID, clips.HDR], ids=lambda p: p.stem[:5])
def test_whole_packets_tables_and_clock_in_time(path: Path) -> None:
    clip = clips.read(path)
    live = TsFormat(clips.tracks_of(clip))
    chunks = [live.header(), *map(live.encode, clip)]
    assert all(len(chunk) % 188 == 0 for chunk in chunks)
    report = ts_check.check(b"".join(chunks[1:]))
    assert report.problems == []
    assert live.is_exhausted is False


def test_a_joiner_gets_tables_first_and_no_gap() -> None:
    """At a key frame the tables come twice, as duplicates; elsewhere the counters go on."""
    clip = clips.read(clips.BUNNY)
    live = TsFormat(clips.tracks_of(clip))
    for number, each in enumerate(clip):
        before = live.header()
        chunk = live.encode(each)
        header = live.header()
        assert [ts_build.pid_of(p) for p in ts_build.packets_of(header)] == [0, 0x1000]
        assert live.resume() == header
        if each.key and each.track.kind is Kind.VIDEO:
            assert chunk.startswith(header)
        elif chunk.startswith(header):
            assert header != before
        if number > 200:
            break


def test_a_change_of_tracks_is_a_new_version() -> None:
    tracks, row = everything()
    live = TsFormat(tracks[:2])
    data = b"".join(live.encode(each) for each in row if each.dts < 300_000)
    live.set_tracks(tracks)
    data += b"".join(map(live.encode, row))
    live.set_tracks((tracks[0],))
    data += b"".join(map(live.encode, row[:300]))
    result = ts_demux.demux(data)
    lists = [len(each.tracks) for each in result.events if hasattr(each, "tracks")]
    assert lists == [2, 6, 1]
    assert not result.drops
    packets = [p for p in ts_build.packets_of(data) if ts_build.pid_of(p) == 0x1000]
    counters = [packet[3] & 15 for packet in packets]
    assert counters == [(counters[0] + n) % 16 for n in range(len(counters))]
    versions = [p[10] >> 1 & 31 for p in packets if p[1] & 0x40]
    assert sorted(set(versions)) == [0, 1, 2]


def test_tables_of_many_tracks_take_several_packets() -> None:
    parameters = replace(SUBTITLES, descriptors=SUBTITLES.descriptors * 5)
    tracks = [Track(n, Kind.DATA, "ts/06", 90_000, parameters) for n in range(30)]
    live = TsFormat(tracks)
    assert 10 < len(live.tracks) < 30  # as far as a section has room
    data = live.header() + b"".join(
        live.encode(frame(track, n * 900, b"x", parameters)) for n, track in enumerate(live.tracks)
    )
    result = ts_demux.demux(data)
    assert len(result.units) == len(live.tracks)


def test_what_only_live_outputs_carry() -> None:
    for track in (OPUS_TRACK, KLV_TRACK, SUBTITLE_TRACK):
        assert carries_track(track)
        assert TsMuxer([track]).tracks == ()
    assert not carries_track(Track(0, Kind.AUDIO, PCMA, 8000))
    assert not carries_track(Track(0, Kind.DATA, "ts/06", 90_000))  # nothing is known of it


def test_what_has_no_room_gives_nothing() -> None:
    live = TsFormat([KLV_TRACK, SUBTITLE_TRACK])
    assert live.encode(frame(KLV_TRACK, 0, bytes(65_600))) == b""
    assert live.encode(frame(SUBTITLE_TRACK, 0, bytes(65_600), SUBTITLES)) == b""
    assert live.encode(frame(KLV_TRACK, 0, bytes(65_000)))
