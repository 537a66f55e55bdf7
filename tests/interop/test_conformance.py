"""What FLUX gives out, before judges: ours, which know no FLUX, and programs of others.

The files are a clip's outputs of some seconds. Each program has to be content; what one cannot
read (H.265 in FLV before FFmpeg 6.1) is not given to it.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import pytest

from media.fmp4.muxer import FragmentMuxer
from media.hls.container import Fmp4Container
from media.hls.options import HlsOptions
from media.track import Kind
from tests.support import capture, clip, clips, pcap
from tests.support.conform.flv import FlvLimits, check_flv
from tests.support.conform.hls import (
    Follower,
    SegmentJudge,
    SegmentLimits,
    check_multivariant,
    parse_multivariant,
)
from tests.support.conform.hls_media import DATE_ROOM
from tests.support.conform.problem import told
from tests.support.rig import TRANSPORTS, Captured
from tests.support.ten_minutes import (
    HlsViewer,
    flv_file,
    playing,
    rtp_packets,
    transport_stream,
)

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

SECONDS = 5.0
ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "tests" / "support" / "validators"
# hls-parser wants parts in the last three segments only; the draft counts target durations.
MISTAKEN = ("Remove EXT-X-PART tags",)
MODULES = ROOT / ".cache" / "npm" / "node_modules"
CLIPS = {"bunny": clips.BUNNY, "pyramid": clips.PYRAMID, "hdr": clips.HDR}
WITH_B_FRAMES = ("pyramid", "h264ts", "h265ts", "flash", "fragmented")
FFMPEGS = {"old": "ffmpeg", "new": imageio_ffmpeg.get_ffmpeg_exe()}


@dataclass(frozen=True, slots=True)
class Files:
    """The outputs of one clip on disk."""

    ts: Path
    flv: Path
    hls: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Files]:
    """Outputs of each clip with all of its bytes."""
    found = {}
    for name, path in CLIPS.items():
        folder = tmp_path_factory.mktemp(name)
        source = playing(path, 0)
        made = Files(folder / "live.ts", folder / "live.flv", folder / "media.m3u8")
        made.ts.write_bytes(transport_stream(source, SECONDS))
        made.flv.write_bytes(flv_file(source, SECONDS))
        viewer = HlsViewer(source.tracks)
        assert viewer.watch(source.play(SECONDS)) == []
        for segment, data in viewer.kept.items():
            (folder / segment).write_bytes(data)
        made.hls.write_bytes(viewer.playlist)
        (folder / "index.m3u8").write_bytes(viewer.multivariant)
        found[name] = made
    return found


def said(command: list[str], **environment: str) -> str:
    """What a program says; it has to end well."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def needs(program: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test for a program that may not be there."""
    reason = f"{program} is not on this machine"
    return pytest.mark.skipif(shutil.which(program) is None, reason=reason)


@pytest.mark.parametrize("version", FFMPEGS)
@pytest.mark.parametrize("name", CLIPS)
def test_ffmpeg_is_content(name: str, version: str, files: dict[str, Files]) -> None:
    """All of it decodes without a word."""
    for path in (files[name].ts, files[name].flv, files[name].hls):
        if name == "hdr" and version == "old" and path.suffix == ".flv":
            continue  # enhanced FLV
        length = "0.3" if name == "hdr" else "3"  # Main 10 at full size takes long
        command = [FFMPEGS[version], "-v", "error", "-xerror", "-t", length, "-i", str(path)]
        assert said([*command, "-map", "0", "-f", "null", "-"]) == "", path.name


@pytest.mark.parametrize("name", CLIPS)
def test_gstreamer_is_content(name: str, files: dict[str, Files]) -> None:
    """Its parsers warn of gaps, broken tables and units that do not fit."""
    parse = "h265parse" if name == "hdr" else "h264parse"
    pipelines = [
        f"filesrc location={files[name].ts} ! tsparse ! tsdemux name=d d. ! queue ! {parse} ! "
        "fakesink"
    ]
    if name != "hdr":
        pipelines.append(
            f"filesrc location={files[name].flv} ! flvdemux name=d d. ! queue ! {parse} ! fakesink"
        )
    for pipeline in pipelines:
        spoken = said(["gst-launch-1.0", "-q", *pipeline.split()], GST_DEBUG="2")
        lines = [line for line in spoken.splitlines() if " WARN " in line or "ERROR" in line]
        assert [line for line in lines if "demux" in line or "parse" in line] == []


@needs("mediainfo")
@pytest.mark.parametrize("name", CLIPS)
def test_mediainfo_is_content(name: str, files: dict[str, Files]) -> None:
    """It finds each track, nothing cut, and no error of conformance."""
    for path in (files[name].ts, files[name].flv):
        report = json.loads(said(["mediainfo", "--Full", "--Output=JSON", str(path)]))
        tracks = report["media"]["track"]
        kinds = [track["@type"] for track in tracks]
        assert kinds.count("Video") == 1
        assert kinds.count("Audio") == (0 if name == "pyramid" else 1)
        text = json.dumps(tracks)
        assert "ConformanceErrors" not in text and "IsTruncated" not in text


@needs("flvmeta")
@pytest.mark.parametrize("name", ["bunny", "pyramid"])
def test_flvmeta_is_content(name: str, files: dict[str, Files]) -> None:
    assert "0 error(s)" in said(["flvmeta", "--check", str(files[name].flv)])


@needs("tsreport")
@pytest.mark.parametrize("name", CLIPS)
def test_tstools_are_content(name: str, files: dict[str, Files]) -> None:
    """PCR before DTS all along, no counter broken, nothing twice."""
    report = said(["tsreport", "-b", "-v", str(files[name].ts)])
    assert "duplicate packets: 0" in report
    assert not any(word in report for word in ("###", "!!!", "discontinuity", "PCR > "))


def scripted(script: str, *paths: Path) -> str:
    """What a reader of Node.js says; its problems are marked as such."""
    command = ["node", str(SCRIPTS / script), *map(str, paths)]
    spoken = said(command, NODE_PATH=str(MODULES))
    problems = [line for line in spoken.splitlines() if "PROBLEM" in line]
    assert [line for line in problems if not any(text in line for text in MISTAKEN)] == []
    return spoken


@needs("node")
@pytest.mark.skipif(not (MODULES / "hls-parser").exists(), reason="no hls-parser, m3u8-parser")
@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("part_duration", [0.0, 0.2])
def test_parsers_of_playlists_are_content(name: str, part_duration: float, tmp_path: Path) -> None:
    """hls-parser in its strict mode, which objects to what breaks the RFC; m3u8-parser warns."""
    source = playing(CLIPS[name], 0)
    options = HlsOptions(segment_duration=1.0, part_duration=part_duration, ready_wait=0.0)
    viewer = HlsViewer(source.tracks, options, container=Fmp4Container)
    assert viewer.watch(source.play(8.0)) == []
    media, multivariant = tmp_path / "media.m3u8", tmp_path / "index.m3u8"
    media.write_bytes(viewer.playlist)
    multivariant.write_bytes(viewer.multivariant)
    spoken = scripted("playlists.cjs", media, multivariant)
    assert spoken.count("hls-parser: ") == spoken.count("m3u8-parser: ") == 2


@needs("node")
@pytest.mark.skipif(not (MODULES / "mp4box").exists(), reason="no MP4Box.js")
@pytest.mark.parametrize("name", CLIPS)
def test_mp4box_is_content(name: str, tmp_path: Path) -> None:
    """The parser of GPAC: it knows each box, warns of nothing, and finds each sample."""
    source = playing(CLIPS[name], 0)
    muxer = FragmentMuxer(source.tracks)
    pieces = [muxer.initialization()]
    count = 0
    for frame in source.play(SECONDS):
        if frame.key and frame.track.kind is Kind.VIDEO and count:
            pieces.append(muxer.cut(frame))
        muxer.add(frame)
        count += 1
    path = tmp_path / "stream.mp4"
    path.write_bytes(b"".join((*pieces, muxer.finish())))
    assert f"MP4Box.js: {count} samples" in scripted("movie.cjs", path)


@needs("tshark")
@pytest.mark.parametrize("name", CLIPS)
def test_tshark_is_content(name: str, tmp_path: Path) -> None:
    """Wireshark's dissectors of RTP, RTCP and H.264: nothing malformed, nothing lost.

    That of H.265 finds slices malformed whose address has no bits, which is how they are here.
    """
    source, path = playing(CLIPS[name], 0), tmp_path / "rtp.pcap"
    packets = list(rtp_packets(source, SECONDS))
    pcap.write_datagrams(path, ((max(0.0, at), 5004 + port, data) for at, port, data in packets))
    command = ["tshark", "-r", str(path)]
    if name != "hdr":
        command += ["-d", "rtp.pt==96,h264"]
    for port in range(5004, 5008):
        command += ["-d", f"udp.port=={port},{'rtcp' if port & 1 else 'rtp'}"]
    wrong = "_ws.malformed || _ws.expert.severity == error || rtcp.length_check == 0"
    shown = [*command, "-Y", wrong, "-T", "fields", "-e", "frame.number"]
    assert [line for line in said(shown).splitlines() if line.isdigit()] == []
    report = said([*command, "-q", "-z", "rtp,streams"]).splitlines()
    streams = [line.split() for line in report if "127.0.0.1" in line]
    assert len(streams) == len(source.tracks)
    assert all("(0.0%)" in words for words in streams)
    assert sum(int(words[8]) for words in streams) == sum(not port & 1 for _, port, _ in packets)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", clip.CLIPS)
def test_http_flv_conforms(name: str, transport: str, captured: dict[str, Captured]) -> None:
    """What a player of a real server got; the sound of a pulled clip may come late."""
    body = capture.whole_tags(captured[f"{name}-{transport}"].flv.result())
    problems = check_flv(body, FlvLimits())
    assert problems == [], told(problems)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", clip.CLIPS)
def test_http_hls_conforms(name: str, transport: str, captured: dict[str, Captured]) -> None:
    """Playlists as they were at each look, and the segments in them.

    Where the camera begins its clip anew, there is a gap in the times. With B-frames the decode
    times that RTP has none of show it some frames later than dates do.
    """
    played = captured[f"{name}-{transport}"].hls.result()
    room = 0.15 if name in WITH_B_FRAMES else DATE_ROOM
    follower = Follower(date_room=room)
    judge = SegmentJudge(SegmentLimits(duration=max(room, 0.05), date=room))
    resources = {segment.uri.partition("?")[0]: segment.body for segment in played.segments}
    resources |= {each.map_uri.partition("?")[0]: each.head for each in played.segments}
    for text in played.playlists:
        playlist = follower.reload(text)
        playlist.segments = [
            segment
            for segment in playlist.segments
            if segment.uri.partition("?")[0] in resources  # the last one may come too late
        ]
        judge.playlist(playlist, resources)
    multivariant = parse_multivariant(played.multivariant)
    problems = [*follower.problems, *judge.problems, *check_multivariant(played.multivariant)]
    if name == "variable":
        # Where it begins anew, the camera sends sound up to two seconds behind the pictures.
        problems = [problem for problem in problems if problem.slug != "pcr-after-dts"]
    assert problems == [], told(problems)
    assert multivariant.variants[0].codecs
