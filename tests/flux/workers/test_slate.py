"""The slate worker: what it encodes, decoded again; orders, films, refusals."""

import os
import socket
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from flux.base.errors import WireError
from flux.bridges.slate.order import AudioWish, VideoWish, Wish
from flux.core.children import worker_command
from flux.workers.letters import draw, width_of
from flux.workers.slate import Order, make
from flux.workers.slate_codecs import (
    AudioFormat,
    NoSlate,
    VideoFormat,
    encode_sound,
)
from flux.workers.slate_picture import SlatePicture
from media.codecs.obu import join_obus
from media.wire import serialize_hello
from tests.support import clips
from tests.support.slate_worker import ask

START = b"\0\0\0\1"
DECODERS = {"h264": "h264", "h265": "hevc", "vp8": "vp8", "vp9": "vp9", "av1": "libdav1d",
            "mjpeg": "mjpeg"}  # fmt: skip
SOUNDS = [
    AudioFormat("aac", 48_000, 2), AudioFormat("aac", 44_100, 1), AudioFormat("aac", 48_000, 6),
    AudioFormat("opus", 48_000, 2), AudioFormat("mp3", 44_100, 2, 3),
    AudioFormat("mp3", 22_050, 1, 3), AudioFormat("mp3", 48_000, 2, 2),
    AudioFormat("ac3", 48_000, 6), AudioFormat("eac3", 48_000, 2), AudioFormat("pcmu", 8000, 1),
    AudioFormat("pcma", 8000, 1), AudioFormat("g722", 16_000, 1), AudioFormat("g726", 8000, 1, 4),
    AudioFormat("g726", 8000, 1, -2), AudioFormat("l16", 44_100, 2),
]  # fmt: skip


def video(codec: str = "h264", width: int = 320, height: int = 180, rate: int = 10) -> VideoFormat:
    return VideoFormat(codec, width, height, Fraction(rate))


def order(slate: str = "builtin", **formats: VideoFormat | AudioFormat | None) -> Order:
    both: dict[str, VideoFormat | AudioFormat | None] = {"video": None, "audio": None, **formats}
    return Order(1, slate, "live/cam1", **both)  # type: ignore[arg-type] # tests give what fits


@pytest.mark.parametrize("codec", DECODERS)
def test_pictures_are_what_was_drawn_and_can_be_started_at_each_key(codec: str) -> None:
    made = make(order(video=video(codec))).video
    assert made is not None
    assert len(made.units) == 20
    assert made.keys == ((0, 10) if codec != "mjpeg" else tuple(range(20)))
    for start in made.keys[:2]:
        context = av.CodecContext.create(DECODERS[codec], "r")
        frames = []
        for index, unit in enumerate(made.units[start:]):
            data = b"".join(unit)
            if codec in ("h264", "h265"):
                data = b"".join(START + nal for nal in (*made.configuration * (not index), *unit))
            elif codec == "av1":
                data = join_obus(unit)
            frames += context.decode(av.Packet(data))  # type: ignore[attr-defined] # of video
        frames += context.decode(None)  # type: ignore[attr-defined] # as above
        assert len(frames) == 20 - start
        wanted = SlatePicture(320, 180, "live/cam1").draw(start / 20)[:180]
        shown = frames[0].reformat(format="yuv420p").to_ndarray()[:180].astype(int)
        limit = 15 if codec == "mjpeg" else 6  # which has the full range of luma
        assert np.abs(shown - wanted).mean() < limit


@pytest.mark.parametrize("form", SOUNDS, ids=lambda f: f"{f.codec}-{f.channels}-{f.variant}")
def test_silence(form: AudioFormat) -> None:
    made = encode_sound(form, 2.0, None)
    assert len(made.units) == 8 and made.keys == tuple(range(8))
    sizes = {len(unit[0]) for unit in made.units}
    assert len(sizes) == 1 or form.codec == "mp3"


def test_a_level_and_a_profile_are_those_of_the_stream() -> None:
    form = VideoFormat("h264", 320, 180, Fraction(10), profile=100, level=31)
    made = make(order(video=form)).video
    assert made is not None and made.configuration[0][1:4] == bytes((100, 0, 31))


def test_a_film_has_bars_its_own_pictures_and_its_sound() -> None:
    slate = make(
        order(str(clips.BUNNY), video=video(width=640, height=360),
              audio=AudioFormat("pcmu", 8000, 1))
    )  # fmt: skip
    assert slate.video is not None and slate.audio is not None
    assert abs(len(slate.video.units) / 10 - float(slate.seconds)) < 0.01
    assert abs(len(slate.audio.units) * 160 / 8000 - float(slate.seconds)) < 0.05
    assert len({unit[0] for unit in slate.audio.units}) > 10
    assert slate.video.keys == tuple(range(0, len(slate.video.units), 10))


def test_a_film_without_sound_is_silent() -> None:
    slate = make(order(str(clips.PYRAMID), video=video(), audio=AudioFormat("pcma", 8000, 1)))
    assert slate.audio is not None and len(slate.audio.units) == 8


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (order("/no/such/film.mp4", video=video()), "slate-file"),
        (order(__file__, video=video()), "slate-file"),
        (order(video=video("theora")), "slate-codec"),
        (order(video=video(), audio=AudioFormat("vorbis", 48_000, 2)), "slate-codec"),
        (order(video=video(width=8)), "slate-size"),
        (order(video=video(), audio=AudioFormat("aac", 1234, 2)), "slate-encoder"),
        (order(), "slate-no-track"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(wanted: Order, reason: str) -> None:
    with pytest.raises(NoSlate) as refusal:
        make(wanted)
    assert refusal.value.reason == reason


def test_orders_round_trip_and_nonsense_is_none() -> None:
    wish = Wish("builtin", "cam", VideoWish("h264", 640, 361, "30000/1001", 77, 30),
                AudioWish("aac", 48_000, 2))  # fmt: skip
    parsed = Order.parse(wish.serialize(3))
    assert parsed.number == 3 and parsed.video is not None
    assert (parsed.video.height, parsed.video.rate) == (360, Fraction(30_000, 1001))
    for data in (b"", b"[]", b"{}", wish.serialize(3)[:-9], b'{"number": "x"}'):
        with pytest.raises(WireError, match="slate-request"):
            Order.parse(data)


def test_over_the_socket() -> None:
    answer = ask(Wish("builtin", "cam", VideoWish("h264", 320, 180, "10"), None))
    assert [track.id for track in answer.tracks] == [0, 1]
    assert len(answer.frames) == 20
    refused = ask(Wish("builtin", "cam", VideoWish("theora", 320, 180, "10"), None))
    assert refused.reason == "slate-codec"


def test_the_process_ends_with_its_socket() -> None:
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        worker_command("flux.workers.slate"),
        pass_fds=(theirs.fileno(),),
        env={
            **os.environ,
            "FLUX_WORKER_FD": str(theirs.fileno()),
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
    )
    theirs.close()
    ours.sendall(serialize_hello("slate"))
    assert ours.recv(100)
    ours.close()
    assert process.wait(10) == 0


def test_letters_stay_within_the_picture() -> None:
    luma = np.zeros((20, 40), np.uint8)
    draw(luma, "Wide \u00e9 text", -5, -3, 4, 200)
    assert luma.max() == 200
    assert width_of("ab") == 11 and width_of("") == 0
    for size in ((16, 16), (1920, 1080)):
        picture = SlatePicture(*size, "n" * 200)
        assert picture.draw(0.3).shape == (size[1] * 3 // 2, size[0])


def test_a_film_is_found_by_its_path(tmp_path: Path) -> None:
    film = tmp_path / "slate.mp4"
    film.write_bytes(clips.BUNNY.read_bytes())
    assert make(order(str(film), audio=AudioFormat("pcmu", 8000, 1))).seconds > 1
