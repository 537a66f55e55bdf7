"""The probe's FLV reader: FLUX's own muxer, FFmpeg's, and bytes that are none."""

import io
from itertools import pairwise
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from flux.cli.probe.figures import Board
from flux.cli.probe.flv import FlvReader, parameters_of
from media.flv.muxer import FlvMuxer
from media.frame import Frame
from media.track import Kind
from tests.support import clips

SAMPLE = clips.FOLDER / "sample.flv"


def muxed(path: Path) -> tuple[bytes, list[Frame]]:
    frames = clips.read(path)
    muxer = FlvMuxer(clips.tracks_of(frames))
    return muxer.header() + b"".join(muxer.encode(frame) for frame in frames), frames


def read(data: bytes, step: int = 0) -> Board:
    board = Board("http://h/x.flv")
    reader = FlvReader(board)
    step = step or len(data) or 1
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step], float(at))
    return board


@pytest.mark.parametrize("path", [clips.BUNNY, clips.PYRAMID, clips.HDR], ids=["avc", "b", "hevc"])
def test_every_frame_of_flux_is_measured(path: Path) -> None:
    data, frames = muxed(path)
    board = read(data, 5000)
    for meter in board.tracks:
        mine = [frame for frame in frames if frame.track.kind == meter.kind]
        times = [frame.pts / frame.track.clock_rate for frame in mine]
        assert (meter.codec, meter.frames) == (mine[0].track.codec, len(mine))
        assert meter.span == pytest.approx(max(times) - min(times), abs=0.002)
        assert meter.codec_string == mine[0].parameters.codec_string()  # type: ignore[union-attr]
        if meter.kind is Kind.VIDEO:
            assert meter.key_frames == sum(frame.key for frame in mine)
            shown = mine[0].parameters
            assert (meter.width, meter.height) == (shown.width, shown.height)  # type: ignore[union-attr]
    assert not board.notes


def test_a_file_that_others_made() -> None:
    board = read(SAMPLE.read_bytes())
    with av.open(str(SAMPLE), "r") as container:
        sizes = {stream.type: 0 for stream in container.streams}
        for packet in container.demux():
            sizes[packet.stream.type] += packet.size > 0
    assert {str(meter.kind): meter.frames for meter in board.tracks} == sizes


def test_ffmpegs_muxer() -> None:
    target = io.BytesIO()
    with av.open(target, "w", format="flv") as out, av.open(str(clips.BUNNY), "r") as source:
        video = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
    (meter,) = read(target.getvalue()).tracks
    assert (meter.codec, meter.width, meter.height) == ("h264", 480, 360)
    assert meter.frames == len(clips.only(clips.read(clips.BUNNY), Kind.VIDEO))


def test_pieces_of_any_size_are_the_same() -> None:
    data = muxed(clips.BUNNY)[0][:60_000]
    counts = {tuple(meter.frames for meter in read(data, step).tracks) for step in (1, 7, 0)}
    assert len(counts) == 1


def test_truncation_at_every_length_is_less_of_the_same() -> None:
    data = muxed(clips.BUNNY)[0][:1500]
    counts = [read(data[:length]).frames for length in range(len(data))]
    assert all(before <= after for before, after in pairwise(counts))


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\n\r\n", b"FLV\x01\x05\xff\xff\xff\xff" + bytes(9)]
)
def test_what_is_no_flv(data: bytes) -> None:
    with pytest.raises(WireError, match="flv-signature"):
        read(data)


def tag(kind: int, body: bytes, time: int = 0) -> bytes:
    head = bytes((kind,)) + len(body).to_bytes(3, "big") + (time & 0xFFFFFF).to_bytes(3, "big")
    return head + bytes((time >> 24, 0, 0, 0)) + body + (len(body) + 11).to_bytes(4, "big")


HEADER = b"FLV\x01\x05\0\0\0\x09\0\0\0\0"


@pytest.mark.parametrize(
    ("kind", "body", "codec"),
    [
        (9, b"\x12\0\0\0", "flv/2"),
        (9, b"\x91av01\0\0", "av1"),
        (9, b"\x91zz_9\0\0", "flv/7a7a5f39"),
        (8, b"\x2f\0\0", "mp3"),
        (8, b"\x91Opus\0", "opus"),
        (8, b"\x72\xd5", "pcma"),
        (8, b"\xf2\xd5", "flv/15"),
    ],
)
def test_codecs_that_are_not_known_in_detail(kind: int, body: bytes, codec: str) -> None:
    board = read(HEADER + tag(kind, body))
    assert [(meter.codec, meter.frames) for meter in board.tracks] == [(codec, 1)]


def test_the_time_has_32_bits() -> None:
    start = (1 << 24) - 40
    frames = b"".join(tag(8, b"\x72\xd5", start + 20 * index) for index in range(101))
    (meter,) = read(HEADER + frames).tracks
    assert meter.span == pytest.approx(2.0)


def test_encrypted_tags_are_refused() -> None:
    with pytest.raises(WireError, match="flv-encrypted"):
        read(HEADER + tag(9 | 0x20, b"\x17\x01"))


def test_junk_between_tags_is_noted_and_the_rest_measured() -> None:
    sound = [tag(8, b"\x72\xd5", 20 * index) for index in range(10)]
    board = read(HEADER + b"".join(sound[:5]) + b"\xff" * 300 + b"".join(sound[5:]), 17)
    assert board.notes == {"flv-junk": 1}
    assert [meter.frames for meter in board.tracks] == [10]


def test_short_tags_are_noted() -> None:
    board = read(HEADER + tag(9, b"\x17") + tag(8, b"\xaf") + tag(9, b"") + tag(18, b"x"))
    assert board.notes == {"flv-tag-truncated": 2}
    board = read(HEADER + tag(9, b"\x17\0\0\0\0\x01\x64") + tag(8, b"\xaf\0"))
    assert board.notes == {"flv-sequence-header": 2}


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for start in (b"", HEADER):
        try:
            read(start + data, 17)
        except WireError as error:
            assert error.reason.startswith("flv-")


@given(kind=st.sampled_from([8, 9]), body=st.binary(max_size=80))
def test_any_tag_is_read_or_noted(kind: int, body: bytes) -> None:
    read(HEADER + tag(kind, body))


@given(codec=st.sampled_from(["h264", "h265", "aac", "opus", "x"]), record=st.binary(max_size=80))
def test_any_sequence_header_is_read_or_refused(codec: str, record: bytes) -> None:
    try:
        parameters_of(codec, record)
    except (WireError, IndexError):
        return
