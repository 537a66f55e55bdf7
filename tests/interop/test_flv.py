"""FLV in every form: what each program reads of it is what was written, frame for frame.

The muxer's files are read by FFmpeg of two versions, GStreamer and VLC, each codec by those that
know it; those that do not are named in `UNREAD`, so that a version which learns it shows.
"""

import contextlib
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import md5
from pathlib import Path
from struct import pack

import imageio_ffmpeg
import pytest

from media.codecs.ac3 import Ac3Parameters
from media.codecs.av1 import Av1Parameters
from media.codecs.eac3 import Eac3Parameters
from media.codecs.g711 import G711Parameters
from media.codecs.mp3 import Mp3Parameters
from media.codecs.obu import SEQUENCE_HEADER, join_obus, obu_type, split_obus
from media.codecs.opus import OpusParameters
from media.codecs.vp9 import Vp9Parameters
from media.flv.forms import Form, carries_track
from media.flv.muxer import FlvMuxer
from media.frame import Frame
from media.parameters import Parameters
from media.track import AC3, AV1, EAC3, MP3, OPUS, PCMA, VP9, Kind, Track
from tests.support import clips, frames
from tests.support.coded import AV1_CLIP, VP9_CLIP, packets_of_clip
from tests.support.conform.flv import check_flv
from tests.support.conform.problem import told
from tests.support.nobody import NOBODY

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

OPUS_CLIP = clips.FOLDER / "bbb_1ch_48kHz_q10_opus.webm"
FFMPEGS = {"ffmpeg-5.1": "ffmpeg", "ffmpeg-new": imageio_ffmpeg.get_ffmpeg_exe()}
NOTHING = md5(b"").hexdigest()
GST_LIMIT = 5.0  # seconds: without a track it would wait for ever
FrameReader = Callable[[bytes, int], Parameters]


@dataclass(frozen=True, slots=True)
class Media:
    """Some frames, and each packet as a reader of FLV gets it, by kind."""

    frames: tuple[Frame, ...]
    packets: Mapping[str, tuple[bytes, ...]]

    @property
    def tracks(self) -> tuple[Track, ...]:
        return clips.tracks_of(list(self.frames))


def packet_of(frame: Frame) -> bytes:
    if frame.track.codec in ("h264", "h265"):
        return b"".join(pack(">I", len(nal)) + nal for nal in frame.payload)
    return join_obus(frame.payload) if frame.track.codec == AV1 else b"".join(frame.payload)


def without_header(frame: Frame) -> Frame:
    """A frame of AV1 as the tracker leaves it."""
    obus = tuple(obu for obu in frame.payload if obu_type(obu) != SEQUENCE_HEADER)
    return replace(frame, payload=obus)


def media_of(frames: list[Frame]) -> Media:
    packets: dict[str, list[bytes]] = {}
    for frame in frames:
        packets.setdefault(frame.track.kind, []).append(packet_of(frame))
    return Media(tuple(frames), {kind: tuple(each) for kind, each in packets.items()})


def single(
    codec: str,
    rate: int,
    step: int,
    parameters: Parameters,
    data: Sequence[tuple[tuple[bytes, ...], bool]],
) -> Media:
    """One track with a frame each `step` ticks."""
    kind = Kind.VIDEO if codec in (AV1, VP9) else Kind.AUDIO
    track = Track(0, kind, codec, rate, parameters)
    return media_of(
        [
            Frame(track, n * step, n * step, 0, 0.0, is_key, False, parameters, payload)
            for n, (payload, is_key) in enumerate(data)
        ]
    )


def encoded(*words: str) -> bytes:
    """Sound of a clip in another codec."""
    command = ["ffmpeg", "-v", "error", "-i", str(clips.BUNNY), "-t", "2", "-vn", *words, "-"]
    return subprocess.run(command, capture_output=True, check=True, timeout=30).stdout


def sound(
    codec: str, data: bytes, size_of: Callable[[bytes, int], int], read: FrameReader
) -> Media:
    frames: list[tuple[tuple[bytes, ...], bool]] = []
    at = 0
    while at < len(data):
        size = size_of(data, at)
        frames.append(((data[at : at + size],), True))
        at += size
    parameters = read(frames[0][0][0], 44_100)
    return single(codec, 44_100, {MP3: 1152}.get(codec, 1536), parameters, frames)


@cache
def media(name: str) -> Media:
    """Something to send."""
    from media.codecs import ac3, eac3, mp3

    match name:
        case "h264":
            return media_of(clips.read(clips.BUNNY))
        case "pyramid":
            return media_of(clips.read(clips.PYRAMID))
        case "h265":
            return media_of(clips.read(clips.HDR))
        case "av1":
            units = [(split_obus(data), key) for data, key in packets_of_clip(AV1_CLIP.name)]
            header = next(obu for obu in units[0][0] if obu_type(obu) == SEQUENCE_HEADER)
            whole = single(AV1, 90_000, 3000, Av1Parameters.build(header), units)
            return Media(tuple(map(without_header, whole.frames)), whole.packets)
        case "vp9":
            pictures = [((data,), key) for data, key in packets_of_clip(VP9_CLIP.name)]
            parameters = Vp9Parameters.read(pictures[0][0][0])
            assert parameters is not None
            return single(VP9, 90_000, 3000, parameters, pictures)
        case "opus":
            import av

            with av.open(str(OPUS_CLIP)) as container:
                packets = [((bytes(p),), True) for p in container.demux(audio=0) if p.size]
            return single(
                OPUS, 48_000, 960, OpusParameters(sample_rate=48_000, channels=1), packets
            )
        case "mp3":
            data = encoded(
                "-c:a", "libmp3lame", "-write_xing", "0", "-id3v2_version", "0", "-f", "mp3"
            )
            return sound(
                MP3, data, lambda d, a: mp3.parse_header(d, a).size_bytes, Mp3Parameters.from_frame
            )
        case "ac3":
            data = encoded("-c:a", "ac3", "-ac", "6", "-f", "ac3")
            return sound(
                AC3, data, lambda d, a: ac3.parse_header(d, a).size_bytes, Ac3Parameters.from_frame
            )
        case "eac3":
            data = encoded("-c:a", "eac3", "-f", "eac3")
            return sound(
                EAC3,
                data,
                lambda d, a: eac3.parse_header(d, a).size_bytes,
                Eac3Parameters.from_frame,
            )
        case _:
            data = encoded("-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1", "-f", "alaw")
            pieces = [((data[at : at + 160],), True) for at in range(0, len(data), 160)]
            return single(PCMA, 8000, 160, G711Parameters(sample_rate=8000, channels=1), pieces)


NAMES = ("h264", "pyramid", "h265", "av1", "vp9", "opus", "mp3", "ac3", "eac3", "g711")
CASES = [
    (name, form)
    for name in NAMES
    for form in Form
    if name != "pyramid" or form is Form.AUTO
    if not (name in ("av1", "vp9", "opus") and form is Form.LEGACY)
    if not (name in ("ac3", "eac3") and form is not Form.ENHANCED)
]
# What a program cannot read, and what is then left of it.
UNREAD: dict[str, set[tuple[str, Form]]] = {
    "ffmpeg-5.1": {(name, form) for name, form in CASES if form is Form.ENHANCED and name != "g711"}
    | {(name, Form.AUTO) for name in ("h265", "av1", "vp9", "opus")}
    | {("h265", Form.LEGACY)},
    "ffmpeg-new": set(),
    "gstreamer": {(name, form) for name, form in CASES if form is Form.ENHANCED and name != "g711"}
    | {(name, Form.AUTO) for name in ("h265", "av1", "vp9", "opus")}
    | {("h265", Form.LEGACY)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flv")


def file_of(folder: Path, name: str, form: Form) -> Path:
    """The file, and our own judge's word on it."""
    path = folder / f"{name}-{form}.flv"
    if not path.exists():
        sent = media(name)
        assert all(carries_track(track, form) for track in sent.tracks)
        muxer = FlvMuxer(sent.tracks, form)
        data = muxer.header() + b"".join(map(muxer.encode, sent.frames)) + muxer.trailer()
        problems = check_flv(data)
        assert problems == [], told(problems)
        path.write_bytes(data)
    return path


def hashes(packets: tuple[bytes, ...]) -> list[str]:
    return [md5(packet).hexdigest() for packet in packets]


def read_by_ffmpeg(program: str, path: Path, kind: str) -> list[str]:
    """The MD5 of each packet of the first track of a kind."""
    options = ["-v", "error", "-i", str(path), "-map", f"0:{kind[0]}:0", "-c", "copy"]
    done = subprocess.run(
        [FFMPEGS[program], *options, "-f", "framehash", "-hash", "md5", "-"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    found = [line.rsplit(",", 1)[-1].strip() for line in lines]
    # Of a configuration of channels without a sequence header it makes an empty packet.
    return [each for each in found if each != NOTHING]


@pytest.mark.parametrize(("name", "form"), CASES)
@pytest.mark.parametrize("program", FFMPEGS)
def test_ffmpeg_reads_every_frame(folder: Path, program: str, name: str, form: Form) -> None:
    path = file_of(folder, name, form)
    is_read = all(
        read_by_ffmpeg(program, path, kind) == hashes(packets)
        for kind, packets in media(name).packets.items()
    )
    assert is_read is ((name, form) not in UNREAD[program])


@pytest.mark.parametrize(
    ("name", "form"),
    [
        pytest.param(*case, marks=[pytest.mark.long] if case in UNREAD["gstreamer"] else [])
        for case in CASES
    ],
)
def test_gstreamer_reads_every_frame(folder: Path, name: str, form: Form) -> None:
    path = file_of(folder, name, form)
    found: dict[str, Path] = {}
    parts = []
    for kind in media(name).packets:
        found[str(kind)] = path.with_suffix(f".{kind}")
        parts += [f"d.{kind}", "!", "queue", "max-size-time=0", "max-size-bytes=0"]
        parts += ["!", "filesink", f"location={found[str(kind)]}"]
    command = ["gst-launch-1.0", "-q", "filesrc", f"location={path}", "!", "flvdemux", "name=d"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run([*command, *parts], capture_output=True, timeout=GST_LIMIT, check=False)
    is_read = all(
        found[str(kind)].exists() and found[str(kind)].read_bytes() == b"".join(packets)
        for kind, packets in media(name).packets.items()
    )
    assert is_read is ((name, form) not in UNREAD["gstreamer"])


@pytest.mark.parametrize(("name", "form"), [("h264", Form.AUTO), ("pyramid", Form.AUTO)])
def test_vlc_reads_every_frame(public_folder: Path, name: str, form: Form) -> None:
    path, kept = file_of(public_folder, name, form), public_folder / "kept.ts"
    command = [*NOBODY, "cvlc", "-I", "dummy", "--no-sout-all", "--play-and-exit"]
    command += ["--sout", f"#std{{access=file,mux=ts,dst={kept}}}", str(path), "vlc://quit"]
    subprocess.run(
        command,
        capture_output=True,
        timeout=50,
        check=False,
        env={**os.environ, "HOME": str(public_folder), "XDG_RUNTIME_DIR": str(public_folder)},
    )
    got = frames.read(kept)["video"].units
    wanted = [f.payload for f in media(name).frames if f.track.kind is Kind.VIDEO]
    assert len(wanted) - len(got) < 8  # its muxer keeps the last ones
    assert [unit.pieces for unit in got] == wanted[: len(got)]
