"""The test card: its frames read back by a decoder that knows nothing of it."""

import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise

import av
import pytest

from flux.base.errors import ConfigError
from flux.base.units import unix_from_ntp
from flux.core.children import worker_command
from flux.workers.pacer import Beat
from flux.workers.testcard import TestCard, TestCardOptions
from media.announcement import describe
from media.codecs.aac import AacParameters
from media.codecs.h264 import H264Parameters
from media.wire import (
    FLAG_DISCONTINUITY,
    FLAG_KEY,
    Announcement,
    Bye,
    Decoder,
    Hello,
    Message,
    Tracks,
    WireFrame,
)
from tests.support.testcard import Recording, read_testcard

START = 1_800_000_000  # Unix seconds
SMALL = "testcard:?size=640x360"


def options(url: str) -> TestCardOptions:
    return TestCardOptions.parse(url)


def make(
    url: str, frames: int, tick: int, skip_at: int = -1
) -> tuple[tuple[Announcement, ...], list[WireFrame]]:
    """So many frames in no time; `tick` is that of the first; 10 are skipped before `skip_at`."""
    card = TestCard(options(url))
    made: list[WireFrame] = []
    for turn in range(frames):
        skipped = 10 if skip_at >= 0 and turn >= skip_at else 0
        index = turn + skipped
        made += card.frames(Beat(index, tick + index, skipped if turn == skip_at else 0))
    return card.tracks, made


def remux(tracks: tuple[Announcement, ...], frames: list[WireFrame]) -> io.BytesIO:
    """The frames as an MPEG-TS file, by FFmpeg's muxer; the codecs go through untouched."""
    video, audio = tracks
    parameters = b"".join(b"\0\0\0\1" + nal for nal in video.configuration)
    target = io.BytesIO()
    with av.open(target, "w", format="mpegts") as container:
        first = container.add_stream("libx264", rate=25)  # only a name: nothing is encoded
        second = container.add_stream("aac", rate=audio.clock_rate)
        assert isinstance(second, av.AudioStream)
        second.layout = "stereo"
        container.start_encoding()
        for frame in frames:
            if frame.track_id == video.id:
                data = b"".join(b"\0\0\0\1" + nal for nal in frame.payload)
                packet = av.Packet((parameters if frame.flags & FLAG_KEY else b"") + data)
                packet.stream, packet.time_base = first, Fraction(1, video.clock_rate)
            else:
                packet = av.Packet(adts(audio.configuration[0], frame.payload[0]))
                packet.stream, packet.time_base = second, Fraction(1, audio.clock_rate)
            packet.pts, packet.dts = frame.pts, frame.dts
            packet.is_keyframe = bool(frame.flags & FLAG_KEY)
            container.mux(packet)
    target.seek(0)
    return target


def adts(config: bytes, packet: bytes) -> bytes:
    """One AAC packet with an ADTS header, ISO/IEC 13818-7 section 6.2."""
    rate = (config[0] & 7) << 1 | config[1] >> 7
    channels = config[1] >> 3 & 15
    size = len(packet) + 7
    word = 0xFFF1 << 40 | 1 << 38 | rate << 34 | channels << 30 | size << 13 | 0x1FFC
    return word.to_bytes(7, "big") + packet


def read(tracks: tuple[Announcement, ...], frames: list[WireFrame]) -> Recording:
    return read_testcard(remux(tracks, frames))


@pytest.mark.parametrize(
    ("url", "rate"),
    [
        ("testcard:", 25),
        (SMALL + "&rate=30", 30),
        ("testcard:?size=320x180&bitrate=100k", 25),
        (SMALL + "&rate=12", 12),
    ],
)
def test_what_is_drawn_can_be_read(url: str, rate: int) -> None:
    count = 4 * rate + 3
    tick = START * rate + 7
    recording = read(*make(url, count, tick))
    assert recording.unreadable == []
    assert [shot.number for shot in recording.shots] == list(range(count))
    start = recording.shots[0].pts
    for index, shot in enumerate(recording.shots):
        assert shot.wall_ms == (tick + index) * 1000 // rate
        assert abs((shot.pts - start) * 1000 + tick * 1000 // rate - shot.wall_ms) <= 1
    assert recording.keys == [start, start + 2, start + 4]


def test_the_beep_is_in_sync_with_the_flash_on_the_full_second() -> None:
    recording = read(*make(SMALL, 150, START * 25 + 20))
    flashes = [shot for shot in recording.shots if shot.flash]
    assert [shot.wall_ms % 1000 for shot in flashes] == [0, 40] * 6
    assert len(recording.beeps) == len(recording.flashes) == 6
    for beep, flash in zip(recording.beeps, recording.flashes, strict=True):
        assert abs(beep - flash) < 0.005


def test_sound_keeps_step_with_pictures() -> None:
    _, frames = make("testcard:?size=320x180", 25 * 60, START * 25)
    video = [frame for frame in frames if frame.track_id == 0]
    audio = [frame for frame in frames if frame.track_id == 1]
    assert [frame.pts for frame in video] == list(range(0, 60 * 90_000, 3600))
    assert [frame.pts for frame in audio] == list(range(0, len(audio) * 1024, 1024))
    assert all(frame.dts == frame.pts for frame in frames)
    assert 60 * 48_000 - audio[-1].pts <= 4 * 1024  # one incomplete, two in the encoder
    at = Fraction(0)  # in the order that they are sent in, neither is far ahead
    for frame in frames:
        if frame.track_id == 0:
            at = Fraction(frame.pts, 90_000)
        else:
            assert abs(Fraction(frame.pts, 48_000) - at) < Fraction(1, 12)


def test_ntp_is_the_wall_clock_of_the_frame() -> None:
    tick = START * 25 + 3
    _, frames = make(SMALL, 50, tick)
    for frame in frames:
        seconds = frame.pts / (48_000 if frame.track_id else 90_000)
        assert unix_from_ntp(frame.ntp) == pytest.approx(tick / 25 + seconds, abs=1e-6)


def test_the_tracks_are_what_every_player_takes() -> None:
    tracks, frames = make("testcard:", 60, START * 25)
    video, audio = (describe(track).parameters for track in tracks)
    assert isinstance(video, H264Parameters)
    assert (video.width, video.height, video.reorder_frames) == (1280, 720, 0)
    assert (video.profile_idc, bool(video.constraint_flags & 0x40)) == (66, True)
    assert (video.frame_rate_num, video.frame_rate_den) == (25, 1)
    assert isinstance(audio, AacParameters)
    assert (audio.codec_string(), audio.sample_rate, audio.channels) == ("mp4a.40.2", 48_000, 2)
    pictures = [frame for frame in frames if frame.track_id == 0]
    for index, frame in enumerate(pictures):
        types = [nal[0] & 31 for nal in frame.payload if nal[0] & 31 != 6]
        assert types == [5 if index % 50 == 0 else 1]
        assert bool(frame.flags & FLAG_KEY) == (index % 50 == 0)


def test_frames_left_out_leave_a_gap_of_the_same_length_in_picture_and_sound() -> None:
    tracks, frames = make(SMALL, 100, START * 25, skip_at=60)
    recording = read(tracks, frames)
    assert [shot.number for shot in recording.shots] == [*range(60), *range(70, 110)]
    broken = [frame for frame in frames if frame.flags & FLAG_DISCONTINUITY]
    assert [(frame.track_id, frame.pts, frame.flags & FLAG_KEY) for frame in broken] == [
        (0, 70 * 3600, FLAG_KEY)
    ]
    audio = [frame.pts for frame in frames if frame.track_id == 1]
    gaps = [after - before for before, after in pairwise(audio) if after - before != 1024]
    assert len(gaps) == 1
    assert abs(gaps[0] - 1024 - 10 * 1920) <= 1024
    assert len(recording.beeps) == len(recording.flashes) == 5
    for beep, flash in zip(recording.beeps, recording.flashes, strict=True):
        assert abs(beep - flash) < 0.02


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("testcard:", (1280, 720, 25, 2_000_000)),
        ("testcard:?", (1280, 720, 25, 2_000_000)),
        ("testcard:?size=640x360&rate=50&bitrate=500k", (640, 360, 50, 500_000)),
        ("testcard://?bitrate=4M", (1280, 720, 25, 4_000_000)),
    ],
)
def test_options(url: str, expected: tuple[int, int, int, int]) -> None:
    read_options = options(url)
    assert (
        read_options.width,
        read_options.height,
        read_options.rate,
        read_options.bitrate,
    ) == expected


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("rtsp://camera", ""),
        ("testcard:?size=640", "size"),
        ("testcard:?size=641x360", "size"),
        ("testcard:?size=64x36", "size"),
        ("testcard:?size=99999x99999", "size"),
        ("testcard:?rate=0", "rate"),
        ("testcard:?rate=25.5", "rate"),
        ("testcard:?rate=", "rate"),
        ("testcard:?bitrate=12", "bitrate"),
        ("testcard:?bitrate=\N{SUPERSCRIPT TWO}M", "bitrate"),
        ("testcard:?colour=red", "colour"),
    ],
)
def test_wrong_options_are_named(url: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options(url)
    assert caught.value.path == path


@contextmanager
def worker(url: str) -> Iterator[tuple[socket.socket, "subprocess.Popen[bytes]"]]:
    """The worker as a process, and our end of its socket."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                worker_command("flux.workers.testcard", url),
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "FLUX_WORKER_FD": str(theirs.fileno()),
                },
                pass_fds=(theirs.fileno(),),
                stderr=subprocess.PIPE,
            )
        ours.settimeout(20)
        with process:
            try:
                yield ours, process
            finally:
                process.kill()


def receive(sock: socket.socket, until: int) -> list[Message]:
    """Messages until a video frame of that pts, or until the end."""
    decoder = Decoder()
    messages: list[Message] = []
    while data := sock.recv(1 << 18):
        decoder.receive_data(data)
        while (message := decoder.next_message()) is not None:
            messages.append(message)
            if isinstance(message, WireFrame) and message.track_id == 0 and message.pts >= until:
                return messages
    return messages


def test_the_process_in_real_time() -> None:
    with worker(SMALL) as (sock, _):
        messages = receive(sock, until=90_000 * 5 // 2)
    assert isinstance(messages[0], Hello)
    assert isinstance(messages[1], Tracks)
    frames = [message for message in messages[2:] if isinstance(message, WireFrame)]
    assert len(frames) == len(messages) - 2
    recording = read(messages[1].tracks, frames)
    assert [shot.number for shot in recording.shots] == list(range(64))
    start = recording.shots[0]
    for shot in recording.shots:
        assert shot.wall_ms - start.wall_ms == (shot.pts - start.pts) * 1000
    assert start.wall_ms % 40 == 0
    seconds = [shot for shot in recording.shots if shot.wall_ms % 1000 == 0 and shot.number < 60]
    assert len(seconds) >= 2
    for shot in seconds:
        assert shot.flash
        assert min(abs(beep - float(shot.pts)) for beep in recording.beeps) < 0.02


def test_the_process_ends_when_the_server_closes_its_socket() -> None:
    with worker(SMALL) as (sock, process):
        receive(sock, until=3600)
        sock.close()
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_the_process_ends_at_sigterm() -> None:
    with worker(SMALL) as (sock, process):
        receive(sock, until=3600)
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM


def test_the_process_refuses_wrong_options() -> None:
    with worker("testcard:?rate=99") as (sock, process):
        messages = receive(sock, until=0)
        assert messages[1:] == [Bye("testcard-options")]
        assert process.wait(10) == 2
        assert process.stderr is not None
        assert b"rate: expected a number from 1 to 60" in process.stderr.read()


def test_the_process_alone_says_why_it_does_not_run() -> None:
    done = subprocess.run(
        worker_command("flux.workers.testcard"),
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert b"FLUX_WORKER_FD is not set" in done.stderr


def test_the_process_dies_with_its_parent() -> None:
    """Also when it is not sending, and the parent is killed without a chance to clean up."""
    code = (
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    from flux.workers.link import die_with_parent\n"
        "    die_with_parent()\n"
        "    print('up', flush=True)\n"
        "    time.sleep(60)\n"
        "os.wait()\n"
    )
    parent = subprocess.Popen(
        (sys.executable, "-P", "-c", code),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        parent.kill()
        assert parent.stdout.read() == b""  # the pipe ends when the child is gone too
