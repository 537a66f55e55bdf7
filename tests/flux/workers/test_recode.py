"""Sound in another codec: what comes out is decoded by PyAV and heard at the right time."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flux.base.errors import WireError
from flux.core.children import worker_command
from flux.workers.recode import Recoder, Unit
from media.codecs.aac import make_config
from media.track import Kind
from media.wire import (
    FLAG_DISCONTINUITY,
    FLAG_KEY,
    Announcement,
    Decoder,
    Dropped,
    Hello,
    Tracks,
    WireFrame,
    serialize_frame,
    serialize_hello,
    serialize_tracks,
)

LAYOUTS = {1: "mono", 2: "stereo"}
# codec, FFmpeg's encoder, sampling rate, clock rate, channels, sample format
SOURCES = [
    ("pcma", "pcm_alaw", 8000, 8000, 1, "s16"),
    ("pcmu", "pcm_mulaw", 8000, 8000, 1, "s16"),
    ("g722", "g722", 16000, 8000, 1, "s16"),
    *((f"g726-{bits}", "g726le", 8000, 8000, 1, "s16") for bits in (2, 3, 4, 5)),
    ("g726-4", "g726", 8000, 8000, 1, "s16"),  # as AAL2 packs it
    ("l16", "pcm_s16be", 44100, 44100, 2, "s16"),
    ("aac", "aac", 44100, 44100, 2, "fltp"),
    ("opus", "libopus", 48000, 48000, 2, "s16"),
    ("mp3", "libmp3lame", 44100, 90000, 2, "fltp"),
    ("ac3", "ac3", 48000, 90000, 2, "fltp"),
    ("eac3", "eac3", 48000, 90000, 2, "fltp"),
]
TARGETS = [("aac", 16000), ("aac", 48000), ("opus", 48000)]
BEEP_AT = 1.0  # seconds
SECONDS = 2


def sound(rate: int) -> NDArray[np.float64]:
    """Silence with a tone of 0.2 s in it."""
    times = np.arange(rate * SECONDS) / rate
    is_on = (times >= BEEP_AT) & (times < BEEP_AT + 0.2)
    return np.where(is_on, 0.5 * np.sin(2 * np.pi * 1000 * times), 0.0)


def encoded(
    codec: str, encoder: str, rate: int, clock: int, channels: int, form: str
) -> tuple[Announcement, list[WireFrame]]:
    """A source: its announcement and its units."""
    context = av.CodecContext.create(encoder, "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.format, context.layout = rate, form, LAYOUTS[channels]
    context.time_base = Fraction(1, rate)
    configuration = (make_config(rate, channels),) if codec == "aac" else ()
    codec, _, bits = codec.partition("-")
    if bits:
        context.bit_rate, context.options = int(bits) * rate, {"code_size": bits}
        configuration = (bytes((int(bits), encoder == "g726")),)
    context.open()
    samples = sound(rate)
    size = context.frame_size or rate // 50
    frames = []
    for start in range(0, len(samples) - size + 1, size):
        piece = samples[start : start + size]
        layout = LAYOUTS[channels]
        if form == "fltp":
            planes = np.tile(piece.astype(np.float32), (channels, 1))
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), form, layout)
        else:
            packed = np.repeat((piece * 32767).astype(np.int16), channels).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, form, layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        for packet in context.encode(frame):
            assert packet.pts is not None
            pts = packet.pts * clock // rate
            frames.append(WireFrame(0, FLAG_KEY, pts, pts, pts << 20, (bytes(packet),)))
    return Announcement(0, Kind.AUDIO, codec, clock, channels, 0, configuration), frames


def target(codec: str, rate: int, channels: int) -> Announcement:
    return Announcement(1, Kind.AUDIO, codec, rate, channels)


def heard(codec: str, rate: int, channels: int, units: list[Unit]) -> tuple[float, float]:
    """When the tone begins, in seconds of the units' times, and how loud it is."""
    context = av.CodecContext.create({"aac": "aac", "opus": "libopus"}[codec], "r")
    assert isinstance(context, AudioCodecContext)
    if codec == "aac":
        context.extradata = make_config(rate, channels)
    else:
        context.sample_rate, context.layout = rate, LAYOUTS[channels]
    context.open()
    for unit in units:
        for frame in context.decode(av.Packet(unit.data)):
            values = frame.to_ndarray().astype(np.float64)
            if not frame.format.is_planar:
                values = values.reshape(-1, channels).T / 32768
            loud = np.flatnonzero(np.abs(values[0]) > 0.2)
            if len(loud):
                return (unit.pts + int(loud[0])) / rate, float(np.abs(values).max())
    raise AssertionError("no tone")


@pytest.mark.parametrize("to", TARGETS, ids=lambda to: f"{to[0]}-{to[1]}")
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: "-".join(source[:2]))
def test_the_tone_is_where_it_was(
    source: tuple[str, str, int, int, int, str], to: tuple[str, int]
) -> None:
    codec, rate = to
    announcement, frames = encoded(*source)
    channels = source[4]
    recoder = Recoder(announcement, target(codec, rate, channels))
    units = [unit for frame in frames for unit in recoder.recode(frame)]
    assert [unit.is_new for unit in units] == [True] + [False] * (len(units) - 1)
    steps = {after.pts - before.pts for before, after in pairwise(units)}
    assert steps == {1024 if codec == "aac" else 960}
    at, peak = heard(codec, rate, channels, units)
    assert at == pytest.approx(BEEP_AT, abs=0.035 if source[0] == "mp3" else 0.02)
    assert 0.3 < peak < 0.9


def test_a_short_gap_is_silence_and_a_long_one_a_new_row() -> None:
    announcement, frames = encoded(*SOURCES[0])
    recoder = Recoder(announcement, target("aac", 16000, 1))
    without = [frame for index, frame in enumerate(frames) if not 10 <= index < 20]  # 200 ms
    units = [unit for frame in without for unit in recoder.recode(frame)]
    assert sum(unit.is_new for unit in units) == 1
    assert heard("aac", 16000, 1, units)[0] == pytest.approx(BEEP_AT, abs=0.02)

    recoder = Recoder(announcement, target("aac", 16000, 1))
    without = [frame for index, frame in enumerate(frames) if not 10 <= index < 45]  # 700 ms
    units = [unit for frame in without for unit in recoder.recode(frame)]
    assert sum(unit.is_new for unit in units) == 2
    assert heard("aac", 16000, 1, units)[0] == pytest.approx(BEEP_AT, abs=0.02)


def test_times_that_go_back_begin_a_new_row() -> None:
    announcement, frames = encoded(*SOURCES[0])
    recoder = Recoder(announcement, target("opus", 48000, 1))
    units = [unit for frame in frames[:30] + frames[5:] for unit in recoder.recode(frame)]
    assert [unit.pts for unit in units if unit.is_new] == [-312, 5 * 960 - 312]


def test_a_discontinuity_begins_a_new_row() -> None:
    announcement, frames = encoded(*SOURCES[0])
    frames[30].flags |= FLAG_DISCONTINUITY
    recoder = Recoder(announcement, target("opus", 48000, 1))
    units = [unit for frame in frames for unit in recoder.recode(frame)]
    assert sum(unit.is_new for unit in units) == 2


def test_times_that_tremble_begin_nothing() -> None:
    """Sources that count milliseconds."""
    announcement, frames = encoded(*next(source for source in SOURCES if source[0] == "aac"))
    for index, frame in enumerate(frames):
        frame.pts += 220 if index % 2 else -220  # 5 ms
    recoder = Recoder(announcement, target("opus", 48000, 2))
    units = [unit for frame in frames for unit in recoder.recode(frame)]
    assert sum(unit.is_new for unit in units) == 1


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (Announcement(0, Kind.AUDIO, "speex", 8000, 1), target("aac", 16000, 1)),
        (Announcement(0, Kind.AUDIO, "g726", 8000, 1), target("aac", 16000, 1)),
        (Announcement(0, Kind.AUDIO, "g726", 8000, 1, 0, (b"\7\0",)), target("aac", 16000, 1)),
        (Announcement(0, Kind.AUDIO, "g726", 8000, 2, 0, (b"\4\0",)), target("aac", 16000, 2)),
        (Announcement(0, Kind.AUDIO, "pcma", 8000, 5), target("aac", 16000, 1)),
        (Announcement(0, Kind.AUDIO, "pcma", 8000, 1), target("mp3", 16000, 1)),
        (Announcement(0, Kind.AUDIO, "pcma", 8000, 1), target("aac", 16000, 6)),
    ],
)
def test_what_cannot_be_done_is_refused(source: Announcement, wanted: Announcement) -> None:
    with pytest.raises(WireError):
        Recoder(source, wanted)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["aac", "opus", "mp3", "ac3", "g722", "g726", "l16"]),
    st.lists(st.tuples(st.integers(-(1 << 40), 1 << 40), st.binary(min_size=1, max_size=300))),
)
def test_any_bytes_are_sound_or_refused(codec: str, units: list[tuple[int, bytes]]) -> None:
    said = {"aac": (make_config(48000, 2),), "g726": (b"\3\0",)}.get(codec, ())
    clock, channels = (8000, 1) if codec in ("g722", "g726") else (48000, 2)
    recoder = Recoder(
        Announcement(0, Kind.AUDIO, codec, clock, channels, 0, said),
        target("aac", 48000, 2),
    )
    for pts, data in units:
        try:
            for unit in recoder.recode(WireFrame(0, FLAG_KEY, pts, pts, 0, (data,))):
                assert unit.data
        except WireError:
            pass


@contextmanager
def worker() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                worker_command("flux.workers.recode"),
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
                yield ours
            finally:
                process.kill()


def test_the_process_answers_with_the_target_on_the_source_s_clock() -> None:
    announcement, frames = encoded(*SOURCES[0])
    with worker() as sock:
        sock.sendall(
            serialize_hello("recode") + serialize_tracks((announcement, target("opus", 48000, 1)))
        )
        for frame in frames:
            sock.sendall(
                serialize_frame(0, FLAG_KEY, frame.pts, frame.dts, frame.ntp, frame.payload)
            )
        sock.shutdown(socket.SHUT_WR)
        decoder = Decoder()
        messages = []
        while data := sock.recv(1 << 16):
            decoder.receive_data(data)
            while (message := decoder.next_message()) is not None:
                messages.append(message)
    assert isinstance(messages[0], Hello)
    tracks = messages[1]
    assert isinstance(tracks, Tracks)
    assert [(each.id, each.codec) for each in tracks.tracks] == [(1, "opus")]
    units = [each for each in messages if isinstance(each, WireFrame)]
    assert len(units) > 90
    assert [each.pts for each in units] == [960 * index - 312 for index in range(len(units))]
    assert units[0].flags == FLAG_KEY | FLAG_DISCONTINUITY
    assert not [each for each in messages if isinstance(each, Dropped)]
