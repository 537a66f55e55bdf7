"""Fragmented MP4: real clips there and back, by readers that are not ours, cut anywhere."""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from struct import unpack_from

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.ac3 import Ac3Parameters
from media.codecs.av1 import Av1Parameters
from media.codecs.eac3 import Eac3Parameters
from media.codecs.mp3 import Mp3Parameters
from media.codecs.obu import SEQUENCE_HEADER, obu_type, split_obus
from media.codecs.opus import OpusParameters
from media.codecs.vp8 import Vp8Parameters
from media.codecs.vp9 import Vp9Parameters
from media.fmp4.boxes import descriptor
from media.fmp4.muxer import FragmentMuxer
from media.fmp4.sample_entries import carries_track, sample_entry
from media.frame import Frame
from media.parameters import AudioParameters, Parameters
from media.track import AAC, H264, KLV, OPUS, PCMA, Kind, Track
from tests.support import clips, frames

PYRAMID = clips.read(clips.PYRAMID)
CLIPS = [clips.BUNNY, clips.PYRAMID, clips.HDR]


def mux(clip: list[Frame], cut_after: int = 0) -> bytes:
    """A whole file, cut at key frames or after so many frames."""
    muxer = FragmentMuxer(clips.tracks_of(clip))
    pieces = [muxer.initialization()]
    for number, frame in enumerate(clip):
        is_due = (
            number % cut_after == 0 if cut_after else frame.key and frame.track.kind is Kind.VIDEO
        )
        if is_due:
            pieces.append(muxer.cut(frame))
        muxer.add(frame)
    return b"".join((*pieces, muxer.finish()))


def boxes(data: bytes) -> list[tuple[str, bytes]]:
    """The boxes that stand side by side in `data`."""
    found = []
    while data:
        size, kind = unpack_from(">I4s", data)
        assert 8 <= size <= len(data)
        found.append((kind.decode(), data[8:size]))
        data = data[size:]
    return found


def fragments(data: bytes) -> list[dict[int, tuple[int, list[int]]]]:
    """Of each `moof`: by track its decode time and the durations of its samples."""
    found = []
    for kind, content in boxes(data):
        if kind != "moof":
            continue
        runs = {}
        for name, traf in boxes(content):
            if name != "traf":
                continue
            parts = dict(boxes(traf))
            (number,) = unpack_from(">I", parts["tfhd"], 4)
            (start,) = unpack_from(">Q", parts["tfdt"], 4)
            flags, count = unpack_from(">II", parts["trun"])
            step = 16 if flags & 0xC00 else 8
            times = [unpack_from(">I", parts["trun"], 12 + step * n)[0] for n in range(count)]
            runs[number] = (start, times)
        found.append(runs)
    return found


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem[:5])
@pytest.mark.parametrize("cut_after", [0, 1, 100_000])
def test_a_clip_comes_back_whole(path: Path, cut_after: int, tmp_path: Path) -> None:
    data = mux(clips.read(path), cut_after)
    assert frames.compare(frames.read(path), frames.read(data, "mp4"), frames.HLS) == []
    file = tmp_path / "clip.mp4"
    file.write_bytes(data)
    # Every file is read; its units, which are those of the clip, are decoded once.
    how = ["-c", "copy"] if cut_after else []
    said = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", file, *how, "-f", "null", "-"],
        capture_output=True,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, b"")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_no_fragment_leaves_a_gap(lengths: list[int]) -> None:
    """Wherever it is cut, each fragment begins where its track's last one ended."""
    clip = PYRAMID
    muxer = FragmentMuxer(clips.tracks_of(clip))
    pieces, at = [], 0
    for length in lengths:
        for frame in clip[at : at + length]:
            muxer.add(frame)
        at += length
        pieces.append(muxer.cut(clip[at] if at < len(clip) else None))
    pieces.append(muxer.finish())
    ends: dict[int, int] = {}
    for runs in fragments(b"".join(pieces)):
        for number, (start, times) in runs.items():
            assert start == ends.get(number, start)
            ends[number] = start + sum(times)


def test_a_frame_waits_until_its_duration_is_known() -> None:
    track = Track(0, Kind.VIDEO, H264, 90_000)
    muxer = FragmentMuxer([track])
    frame = Frame(track, 0, 0, 0, 0.0, True, False, None, (b"\x65",))
    muxer.add(frame)
    assert muxer.cut() == b""
    muxer.add(later(frame, 3600))
    ((_, times),) = fragments(muxer.cut())[0].values()
    assert times == [3600]
    ((_, times),) = fragments(muxer.cut(later(frame, 9000)))[0].values()
    assert times == [5400]


def later(frame: Frame, dts: int) -> Frame:
    """The same frame at another time."""
    return Frame(frame.track, dts, dts, 0, 0.0, frame.key, False, frame.parameters, frame.payload)


def test_times_below_zero_have_a_place() -> None:
    track = Track(0, Kind.AUDIO, PCMA, 8_000)
    muxer = FragmentMuxer([track])
    for dts in (-8000, -7840):
        muxer.add(Frame(track, dts, dts, 0, 0.0, True, False, None, (bytes(160),)))
    ((start, times),) = fragments(muxer.finish())[0].values()
    assert (start, times) == (72_000, [160, 160])


def test_without_parameters_there_is_no_initialization() -> None:
    muxer = FragmentMuxer([Track(0, Kind.VIDEO, H264, 90_000)])
    with pytest.raises(WireError, match="fmp4-no-parameters"):
        muxer.initialization()


def test_what_has_a_place() -> None:
    assert carries_track(Track(0, Kind.AUDIO, AAC, 48_000))
    assert carries_track(Track(0, Kind.AUDIO, OPUS, 48_000))
    assert not carries_track(Track(0, Kind.AUDIO, PCMA, 8_000))
    assert not carries_track(Track(0, Kind.DATA, KLV, 90_000))


@pytest.mark.parametrize(
    ("size", "head"), [(0, "0300"), (127, "037f"), (128, "038100"), (16_384, "03818000")]
)
def test_sizes_of_descriptors(size: int, head: str) -> None:
    assert descriptor(3, bytes(size))[: -size or None].hex() == head


ENCODED = {
    "opus": ("opus", ["-c:a", "libopus"], "webm"),
    "mp3": ("mp3", ["-c:a", "libmp3lame", "-ac", "2"], "mp3"),
    "ac3": ("ac3", ["-c:a", "ac3", "-ac", "6", "-b:a", "384k"], "ac3"),
    "eac3": ("eac3", ["-c:a", "eac3", "-ac", "6"], "eac3"),
}
READERS: dict[str, Callable[[bytes, int], AudioParameters]] = {
    "mp3": Mp3Parameters.from_frame,
    "ac3": Ac3Parameters.from_frame,
    "eac3": Eac3Parameters.from_frame,
}


@pytest.mark.parametrize("codec", ENCODED)
def test_sound_of_other_codecs(codec: str, tmp_path: Path) -> None:
    """FFmpeg encodes a tone; FFmpeg reads what we made of its frames."""
    name, options, container = ENCODED[codec]
    tone = ["-f", "lavfi", "-i", "sine=440:sample_rate=48000:duration=1"]
    file = tmp_path / f"tone.{container}"
    subprocess.run(["ffmpeg", "-v", "error", *tone, *options, "-f", container, file], check=True)
    with av.open(str(file), "r") as source:
        packets = [bytes(packet) for packet in source.demux() if packet.size]
    parameters: AudioParameters
    if codec == "opus":
        parameters = OpusParameters(sample_rate=48_000, channels=1, frame_samples=960)
    else:
        parameters = READERS[codec](packets[0], 48_000)
    track = Track(0, Kind.AUDIO, name, 48_000, parameters)
    muxer = FragmentMuxer([track])
    samples = parameters.frame_samples
    for number, packet in enumerate(packets):
        dts = number * samples
        muxer.add(Frame(track, dts, dts, 0, 0.0, True, False, parameters, (packet,)))
    data = muxer.initialization() + muxer.cut() + muxer.finish()
    with av.open(io.BytesIO(data), "r") as got:
        stream = got.streams.audio[0]
        assert stream.codec_context.codec.canonical_name == codec
        assert stream.codec_context.sample_rate == 48_000
        assert stream.codec_context.layout.nb_channels == parameters.channels
        assert [bytes(packet) for packet in got.demux() if packet.size] == packets
    with av.open(io.BytesIO(data), "r") as got:
        decoded = sum(frame.samples for frame in got.decode(audio=0))
    assert decoded >= 46_000


@pytest.mark.parametrize("codec", ["vp9", "av1"])
def test_pictures_of_other_codecs(codec: str) -> None:
    """The entries of codecs that come from WebM and AV1 clips say what FFmpeg says."""
    name = {
        "vp9": "bbb_642x642_768kbps_30fps_vp9.webm",
        "av1": "sample_av1.mp4",
    }[codec]
    with av.open(str(clips.FOLDER / name), "r") as source:
        packets = [packet for packet in source.demux(video=0) if packet.size][:30]
    payloads: list[tuple[bytes, ...]]
    parameters: Parameters | None
    if codec == "vp9":
        payloads = [(bytes(packet),) for packet in packets]
        parameters = Vp9Parameters.read(payloads[0][0])
    else:
        payloads = [split_obus(bytes(packet)) for packet in packets]
        parameters = Av1Parameters.build(
            next(obu for obu in payloads[0] if obu_type(obu) == SEQUENCE_HEADER)
        )
        payloads = [  # as the tracker leaves them
            tuple(obu for obu in payload if obu_type(obu) != SEQUENCE_HEADER)
            for payload in payloads
        ]
    track = Track(0, Kind.VIDEO, codec, 90_000, parameters)
    muxer = FragmentMuxer([track])
    for number, payload in enumerate(payloads):
        dts = number * 3000
        muxer.add(Frame(track, dts, dts, 0, 0.0, number == 0, False, parameters, payload))
    data = muxer.initialization() + muxer.finish()
    with av.open(io.BytesIO(data), "r") as got:
        assert got.streams.video[0].codec_context.codec.canonical_name == codec
        assert sum(1 for _ in got.decode(video=0)) >= 28
    with av.open(io.BytesIO(data), "r") as got:
        found = [bytes(packet) for packet in got.demux(video=0) if packet.size]
    if codec == "av1":
        assert list(map(split_obus, found)) == [split_obus(bytes(packet)) for packet in packets]
    else:
        assert found == list(map(bytes, packets))


def test_vp8_has_its_own_record() -> None:
    assert sample_entry(Vp8Parameters(width=640, height=360))[4:8] == b"vp08"


def test_the_last_frame_of_a_track_that_rests_does_not_wait() -> None:
    """Sound goes on: the picture belongs to the fragment in which it came, not to a later one."""
    clip = clips.read(clips.BUNNY)
    video, audio = clips.tracks_of(clip)
    muxer = FragmentMuxer((video, audio))
    kept = [f for f in clip if f.track is audio or f.dts < video.clock_rate]
    last = max(f.dts for f in kept if f.track is video)
    found = []
    for number, frame in enumerate(kept):
        if number and number % 40 == 0 and frame.track is audio:
            found += fragments(muxer.cut(frame))
        muxer.add(frame)
    found += fragments(muxer.finish())
    pictures = [runs[1] for runs in found if 1 in runs]
    start, durations = pictures[-1]
    shift = 10 * video.clock_rate
    assert start + sum(durations) == last + shift + 3000
    assert durations[-1] == 3000
    assert 1 not in found[-1]


def test_the_last_frame_behind_a_hole_lasts_as_long_as_others() -> None:
    frame, rest = clips.only(PYRAMID, Kind.VIDEO)[0], (3600, 7200, 10_800, 99_000)
    muxer = FragmentMuxer([frame.track])
    for dts in (0, *rest):
        muxer.add(later(frame, dts))
    ((_, times),) = fragments(muxer.finish())[0].values()
    assert times == [3600, 3600, 3600, 88_200, 3600]


def test_a_track_that_is_told_to_rest_keeps_nothing_back() -> None:
    frame = clips.only(PYRAMID, Kind.VIDEO)[0]
    muxer = FragmentMuxer([frame.track])
    muxer.add(later(frame, 0))
    muxer.add(later(frame, 3600))
    ((_, times),) = fragments(muxer.cut(None, 9_000, rests=frame.track))[0].values()
    assert times == [3600, 3600]
    assert muxer.cut() == b""


def test_a_picture_that_stands_for_a_day_has_the_longest_duration_there_is() -> None:
    clip = clips.only(clips.read(clips.PYRAMID), Kind.VIDEO)[:2]
    clip[1].dts += 24 * 3600 * 90_000
    clip[1].pts = clip[1].dts
    (first, *_) = fragments(mux(clip))
    assert first[1][1][0] == 0xFFFF_FFFF
