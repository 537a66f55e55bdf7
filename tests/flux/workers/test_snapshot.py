"""The snapshot worker: its pictures beside FFmpeg's own of the same key frames."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flux.base.errors import WireError
from flux.core.children import worker_command
from flux.workers.snapshot import NoPicture, decode, encode, size_for, width_of
from media.announcement import announce
from media.frame import Frame
from media.track import Kind
from media.wire import (
    FLAG_KEY,
    Announcement,
    Decoder,
    Dropped,
    Hello,
    Message,
    Tracks,
    WireFrame,
    serialize_frame,
    serialize_hello,
    serialize_tracks,
)
from tests.support import clips, pictures

CLIPS = {path.name: path for path in (clips.BUNNY, clips.PYRAMID, clips.HDR)}


def key_frames(name: str) -> list[Frame]:
    frames = clips.read(CLIPS[name])
    return [frame for frame in frames if frame.track.kind is Kind.VIDEO and frame.key]


def configuration(frame: Frame) -> tuple[bytes, ...]:
    return announce(frame.track, 0).configuration


def snapshot(frame: Frame, width: int = 0) -> bytes:
    return encode(decode(frame.track.codec, configuration(frame), frame.payload), width)


@pytest.mark.parametrize("name", CLIPS)
def test_a_picture_is_what_ffmpeg_decodes(name: str) -> None:
    keys = key_frames(name)
    expected = pictures.key_pictures(CLIPS[name])
    aspect = pictures.pixel_aspect(CLIPS[name])
    assert len(keys) == len(expected) > 0
    for frame, wanted in zip(keys[:3], expected, strict=False):
        picture = pictures.read_jpeg(snapshot(frame))
        height, width, _ = wanted.shape
        assert picture.shape[:2] == (height, round(width * aspect))
        assert pictures.psnr(picture, pictures.scaled(wanted, *picture.shape[1::-1])) > 32


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("width", [160, 320])
def test_a_picture_in_another_width(name: str, width: int) -> None:
    wanted = pictures.key_pictures(CLIPS[name])[0]
    data = snapshot(key_frames(name)[0], width)
    picture = pictures.read_jpeg(data)
    assert picture.shape[1] == width
    height = wanted.shape[0] * width / (wanted.shape[1] * pictures.pixel_aspect(CLIPS[name]))
    assert abs(picture.shape[0] - height) <= 1
    assert pictures.psnr(picture, pictures.scaled(wanted, *picture.shape[1::-1])) > 28
    assert len(data) < 40_000


def test_a_picture_is_not_enlarged() -> None:
    (frame, *_) = key_frames(clips.BUNNY.name)
    assert pictures.read_jpeg(snapshot(frame, 1920)).shape[:2] == (360, 480)


@pytest.mark.parametrize(
    ("size", "aspect", "wanted", "expected"),
    [
        ((1920, 1080), Fraction(1), 0, (1920, 1080)),
        ((1920, 1080), Fraction(1), 320, (320, 180)),
        ((720, 576), Fraction(64, 45), 0, (1024, 576)),
        ((720, 576), Fraction(64, 45), 320, (320, 180)),
        ((704, 240), Fraction(1, 2), 0, (704, 480)),
        ((64, 8), Fraction(1), 16, (16, 16)),
        ((100, 50), Fraction(1), 320, (100, 50)),
    ],
)
def test_sizes(
    size: tuple[int, int], aspect: Fraction, wanted: int, expected: tuple[int, int]
) -> None:
    assert size_for(*size, aspect, wanted) == expected


@pytest.mark.parametrize(
    ("codec", "sets", "payload", "reason"),
    [
        ("vp9", (), (b"\x65",), "snapshot-codec"),
        ("h264", (), (b"\x65abc",), "snapshot-no-picture"),
        ("h264", (b"\x67", b"\x68"), (b"\x65abc",), "snapshot-no-picture"),
        ("h265", (), (b"\x26\x01abc",), "snapshot-no-picture"),
        ("h264", (), (), "snapshot-no-picture"),
    ],
)
def test_what_has_no_picture(
    codec: str, sets: tuple[bytes, ...], payload: tuple[bytes, ...], reason: str
) -> None:
    with pytest.raises(NoPicture) as caught:
        decode(codec, sets, payload)
    assert caught.value.reason == reason


@pytest.mark.parametrize("name", [clips.BUNNY.name, clips.PYRAMID.name])
def test_a_key_frame_cut_short_is_refused_at_every_length(name: str) -> None:
    (frame, *_) = key_frames(name)
    sets, slice_nal = configuration(frame), frame.payload[-1]
    for length in range(0, len(slice_nal) - 1, len(slice_nal) // 12):
        with pytest.raises(NoPicture) as caught:
            decode("h264", sets, (*frame.payload[:-1], slice_nal[:length]))
        assert caught.value.reason in ("snapshot-damaged", "snapshot-no-picture")


def test_a_damaged_picture_is_refused() -> None:
    (frame, *_) = key_frames(clips.BUNNY.name)
    whole = frame.payload[-1]
    damaged = whole[:2000] + bytes((whole[2000] ^ 0x55,)) + whole[2001:]
    with pytest.raises(NoPicture, match="snapshot-damaged"):
        decode("h264", configuration(frame), (*frame.payload[:-1], damaged))


@given(sets=st.lists(st.binary(max_size=80), max_size=4), nals=st.lists(st.binary(max_size=200)))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_a_picture_or_none(sets: list[bytes], nals: list[bytes]) -> None:
    for codec in ("h264", "h265"):
        try:
            encode(decode(codec, sets, nals), 160)
        except NoPicture as refusal:
            assert refusal.reason.startswith("snapshot-")


@pytest.mark.parametrize("text", [b"", b"-1", b"123456", b"a", b" 1"])
def test_a_width_that_is_none(text: bytes) -> None:
    with pytest.raises(WireError):
        width_of(Announcement(1, Kind.VIDEO, "jpeg", 90_000, configuration=(text,)))
    with pytest.raises(WireError):
        width_of(Announcement(1, Kind.VIDEO, "jpeg", 90_000))


class Worker:
    """The process, and our end of its socket."""

    def __init__(self, sock: socket.socket, process: "subprocess.Popen[bytes]") -> None:
        self.socket = sock
        self.process = process
        self._decoder = Decoder()

    def ask(self, frame: Frame, number: int, width: bytes = b"0") -> None:
        target = Announcement(1, Kind.VIDEO, "jpeg", 90_000, configuration=(width,))
        tracks = serialize_tracks((announce(frame.track, 0), target))
        self.socket.sendall(tracks + serialize_frame(0, FLAG_KEY, number, 0, 0, frame.payload))

    def next_message(self) -> Message | None:
        while (message := self._decoder.next_message()) is None:
            data = self.socket.recv(1 << 16)
            if not data:
                return None
            self._decoder.receive_data(data)
        return message


@contextmanager
def worker() -> Iterator[Worker]:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                worker_command("flux.workers.snapshot"),
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "FLUX_WORKER_FD": str(theirs.fileno()),
                },
                pass_fds=(theirs.fileno(),),
                stderr=subprocess.PIPE,
            )
        ours.settimeout(20)
        ours.sendall(serialize_hello("snapshot"))
        with process:
            try:
                yield Worker(ours, process)
            finally:
                process.kill()


def test_the_process_answers_one_request_after_the_other() -> None:
    frames = [key_frames(name)[0] for name in CLIPS]
    with worker() as desk:
        assert isinstance(desk.next_message(), Hello)
        tracks = desk.next_message()
        assert isinstance(tracks, Tracks)
        assert [track.codec for track in tracks.tracks] == ["jpeg"]
        for number, frame in enumerate(frames, 1):
            desk.ask(frame, number, b"160")
        for number in range(1, 4):
            answer = desk.next_message()
            assert isinstance(answer, WireFrame)
            assert (answer.track_id, answer.pts) == (1, number)
            assert pictures.read_jpeg(answer.payload[0]).shape[1] == 160


def test_the_process_refuses_a_broken_frame_and_goes_on() -> None:
    good = key_frames(clips.BUNNY.name)[0]
    (broken,) = clips.with_frames([good], lambda frame: setattr(frame, "payload", (b"\x65",)))
    with worker() as desk:
        desk.next_message(), desk.next_message()
        desk.ask(broken, 1)
        assert desk.next_message() == Dropped(1, 1, "snapshot-no-picture")
        desk.ask(good, 2)
        answer = desk.next_message()
        assert isinstance(answer, WireFrame)
        assert answer.pts == 2


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\xff" * 50,
        serialize_tracks((Announcement(0, Kind.VIDEO, "h264", 90_000),))
        + serialize_frame(0, 0, 0, 0, 0, (b"\x65",)),
    ],
)
def test_the_process_ends_at_nonsense(request_bytes: bytes) -> None:
    with worker() as desk:
        desk.next_message(), desk.next_message()
        desk.socket.sendall(request_bytes)
        assert desk.next_message() is None
        assert desk.process.wait(10) == 2


def test_the_process_ends_when_the_server_closes_its_socket() -> None:
    with worker() as desk:
        desk.next_message()
        desk.socket.close()
        assert desk.process.wait(10) == 0


def test_the_process_alone_says_why_it_does_not_run() -> None:
    done = subprocess.run(
        worker_command("flux.workers.snapshot"),
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert b"FLUX_WORKER_FD is not set" in done.stderr
