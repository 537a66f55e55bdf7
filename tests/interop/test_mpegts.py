"""Transport streams of other programs: read as FFmpeg reads them; ours, as they read them."""

import subprocess
from functools import cache
from pathlib import Path

import imageio_ffmpeg
import pytest

from media.frame import Frame
from media.mpegts.format import TsFormat
from media.mpegts.stream_types import KLV_LABEL
from media.track import KLV, Kind, Track
from tests.support import clips, ts_demux

pytestmark = pytest.mark.interop

PROGRAMS = {"ffmpeg-5.1": "ffmpeg", "ffmpeg-new": imageio_ffmpeg.get_ffmpeg_exe()}
BUNNY, PYRAMID, HDR = str(clips.BUNNY), str(clips.PYRAMID), str(clips.HDR)
OPUS = str(clips.FOLDER / "bbb_1ch_48kHz_q10_opus.webm")
FLASH = str(clips.FOLDER / "sample.flv")
VARIABLE = str(clips.FOLDER / "sample_with_increasing_timestamps_360p.mp4")
FRAGMENTED = str(clips.FOLDER / "sample_fragmented.mp4")
COPY = ("-c", "copy")
SHORT = ("-t", "3")

CASES: dict[str, tuple[str, ...]] = {
    "bunny": ("-i", BUNNY, *COPY),
    "pyramid": ("-i", PYRAMID, *COPY),
    "variable": ("-i", VARIABLE, *COPY),
    "hdr": ("-i", HDR, *COPY),
    "flash": ("-i", FLASH, *COPY),
    "fragmented": ("-i", FRAGMENTED, *COPY),
    "opus": ("-i", OPUS, *COPY),
    "latm": ("-i", BUNNY, *COPY, "-mpegts_flags", "latm"),
    "mp3": ("-i", BUNNY, *SHORT, "-c:v", "copy", "-c:a", "libmp3lame"),
    "mp3-low": ("-i", BUNNY, *SHORT, "-c:v", "copy", "-c:a", "libmp3lame", "-ar", "22050"),
    "mp2": ("-i", BUNNY, *SHORT, "-c:v", "copy", "-c:a", "mp2", "-ar", "48000"),
    "ac3": ("-i", BUNNY, *SHORT, "-c:v", "copy", "-c:a", "ac3"),
    "eac3": ("-i", BUNNY, *SHORT, "-c:v", "copy", "-c:a", "eac3"),
    "ac3-dvb": ("-i", BUNNY, *SHORT, "-c:a", "ac3", "-vn", "-mpegts_flags", "system_b"),
    "eac3-dvb": ("-i", BUNNY, *SHORT, "-c:a", "eac3", "-vn", "-mpegts_flags", "system_b"),
    "several": (
        "-i", BUNNY, *SHORT, "-map", "0:v", "-map", "0:a", "-map", "0:a", "-map", "0:a",
        "-c:v", "copy", "-c:a:0", "copy", "-c:a:1", "libopus", "-c:a:2", "mp2",
    ),
    "mpeg2-video": ("-i", BUNNY, *SHORT, "-c:v", "mpeg2video", "-c:a", "copy"),
    "interlaced": (
        "-i", BUNNY, *SHORT, "-c:v", "libx264", "-preset", "ultrafast",
        "-x264-params", "slices=4:interlaced=1:tff=1:bframes=2", "-c:a", "copy",
    ),
    "h265-slices": (
        "-i", BUNNY, "-t", "2", "-c:v", "libx265", "-preset", "ultrafast",
        "-x265-params", "slices=4:log-level=none", "-c:a", "copy",
    ),
    "wrap": ("-i", BUNNY, *COPY, "-mpegts_copyts", "1", "-output_ts_offset", "95440"),
    "a-frame-each": ("-i", BUNNY, *COPY, "-pes_payload_size", "0"),
    "with-lengths": ("-i", BUNNY, *COPY, "-omit_video_pes_length", "0"),
    "192-bytes": ("-i", PYRAMID, *COPY, "-mpegts_m2ts_mode", "1"),
}  # fmt: skip


def made_by(program: str, arguments: tuple[str, ...]) -> bytes:
    """What ffmpeg makes of a clip."""
    command = [program, "-nostdin", "-v", "error", *arguments, "-f", "mpegts", "-"]
    return subprocess.run(command, check=True, capture_output=True, timeout=50).stdout


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("case", CASES)
def test_streams_of_ffmpeg(program: str, case: str) -> None:
    data = made_by(PROGRAMS[program], CASES[case])
    result = ts_demux.demux(ts_demux.cut(data, 1316), is_datagram=True)
    assert result.tracks
    assert result.units
    assert not result.drops
    assert ts_demux.differences(result, data) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_latm_is_the_sound_that_went_in(program: str) -> None:
    data = made_by(PROGRAMS[program], CASES["latm"])
    sent = [frame.payload for frame in clips.only(clips.read(clips.BUNNY), Kind.AUDIO)]
    assert ts_demux.demux(data).payloads(0x101) == sent


# -- GStreamer -------------------------------------------------------------------------------------

BOTH = "qtdemux name=d d.video_0 ! queue ! {parser} ! {mux} d.audio_0 ! queue ! aacparse ! m."
GST_CASES = {
    "bunny": f"filesrc location={BUNNY} ! " + BOTH.format(parser="h264parse", mux="{mux}"),
    "pyramid": f"filesrc location={PYRAMID} ! qtdemux ! h264parse ! {{mux}}",
    "hdr": f"filesrc location={HDR} ! " + BOTH.format(parser="h265parse", mux="{mux}"),
    "opus": f"filesrc location={OPUS} ! matroskademux ! opusparse ! {{mux}}",
    "null-packets": (
        "videotestsrc num-buffers=60 ! x264enc bframes=2 key-int-max=25 speed-preset=ultrafast ! "
        "h264parse ! {mux}"
    ),
    "ac3": "audiotestsrc num-buffers=100 ! avenc_ac3 ! ac3parse ! {mux}",
    "mp3": "audiotestsrc num-buffers=100 ! lamemp3enc ! mpegaudioparse ! {mux}",
}
MUXES = {
    "plain": "mpegtsmux name=m ! filesink location={target}",
    "192-bytes": "mpegtsmux name=m m2ts-mode=true ! filesink location={target}",
    "sevens": "mpegtsmux name=m alignment=7 bitrate=4000000 ! filesink location={target}",
}


@pytest.mark.parametrize("mux", MUXES)
@pytest.mark.parametrize("case", GST_CASES)
def test_streams_of_gstreamer(case: str, mux: str, tmp_path: Path) -> None:
    target = tmp_path / "made.ts"
    line = GST_CASES[case].format(mux=MUXES[mux].format(target=target))
    subprocess.run(["gst-launch-1.0", "-q", *line.split()], check=True, timeout=50)
    data = target.read_bytes()
    result = ts_demux.demux(ts_demux.cut(data, 1316), is_datagram=True)
    assert result.units
    assert not result.drops
    assert ts_demux.differences(result, data) == []


# -- ours, by others -------------------------------------------------------------------------------


@cache
def ours() -> bytes:
    """A clip with KLV beside it."""
    clip = clips.read(clips.BUNNY)
    track = Track(2, Kind.DATA, KLV, 90_000)
    row: list[Frame] = []
    for each in clip:
        row.append(each)
        if each.track.kind is Kind.VIDEO:
            unit = KLV_LABEL + bytes(12) + each.pts.to_bytes(8, "big")
            row.append(Frame(track, each.pts, each.dts, 0, 0.0, True, False, None, (unit,)))
    live = TsFormat((*clips.tracks_of(clip), track))
    return live.header() + b"".join(map(live.encode, row))


@pytest.mark.parametrize("program", PROGRAMS)
def test_ffmpeg_copies_our_streams(program: str) -> None:
    """Everything that we write comes back from another muxer, KLV as asynchronous data."""
    command = [PROGRAMS[program], "-nostdin", "-v", "error", "-i", "-", "-map", "0", *COPY]
    again = subprocess.run(
        [*command, "-f", "mpegts", "-"], input=ours(), check=True, capture_output=True, timeout=50
    )
    assert not again.stderr
    sent, got = ts_demux.demux(ours()), ts_demux.demux(again.stdout)
    assert [track.codec for track in got.tracks] == ["h264", "aac", "klv"]
    for pid in (0x100, 0x101, 0x102):
        assert got.payloads(pid) == sent.payloads(pid)
        # Of sound, FFmpeg counts the times of what it packs together by itself.
        first = got.of(pid)[0].pts - sent.of(pid)[0].pts
        apart = {a.pts - b.pts - first for a, b in zip(got.of(pid), sent.of(pid), strict=True)}
        assert max(map(abs, apart)) <= 1


def test_gstreamer_reads_our_streams(tmp_path: Path) -> None:
    source, target = tmp_path / "ours.ts", tmp_path / "again.ts"
    source.write_bytes(ours())
    line = (
        f"filesrc location={source} ! tsdemux name=d d. ! queue ! h264parse ! mpegtsmux name=m ! "
        f"filesink location={target} d. ! queue ! aacparse ! m."
    )
    subprocess.run(["gst-launch-1.0", "-q", *line.split()], check=True, timeout=50)
    sent, got = ts_demux.demux(ours()), ts_demux.demux(target.read_bytes())
    by_codec = {track.codec: track.pid for track in got.tracks}
    assert got.payloads(by_codec["aac"]) == sent.payloads(0x101)
    assert len(got.of(by_codec["h264"])) == len(sent.of(0x100))
