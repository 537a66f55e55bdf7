"""Sound that an output cannot carry is made anew by a worker, and stays with its picture.

FFmpeg publishes a picture that flashes and a tone that sounds at every full second; PyAV looks and
listens at what comes out.
"""

import io
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support import capture
from tests.support.flux_process import FluxProcess
from tests.support.program import Program

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

PICTURE = "color=black:s=160x120:r=25,drawbox=c=white:t=fill:enable='lt(mod(t,1),0.08)'"
SOUND = "aevalsrc='if(lt(mod(t,1),0.08),0.7*sin(2*PI*1000*t),0)':s=48000"
G711 = ("-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1")
G726 = ("-c:a", "g726le", "-b:a", "24k", "-ar", "8000", "-ac", "1")
OPUS = ("-c:a", "libopus", "-ac", "2")
MOST = 0.02  # seconds between picture and sound


@contextmanager
def publisher(url: str, *sound: str) -> Iterator[None]:
    command = [
        *("ffmpeg", "-nostdin", "-v", "error", "-re"),
        *("-f", "lavfi", "-i", PICTURE, "-f", "lavfi", "-i", SOUND),
        *("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25"),
        *sound,
        *("-f", "rtsp", "-rtsp_transport", "tcp", url),
    ]
    with Program(command):
        yield


def workers(flux: FluxProcess) -> list[int]:
    """Process ids of what recodes for this server."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            parent = status.read_text().partition("PPid:")[2].split()[0]
            command = status.with_name("cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if parent == str(flux.pid) and b"flux.workers.recode" in command:
            found.append(int(status.parent.name))
    return found


def codecs_of(url: str) -> set[str]:
    """What FFmpeg finds in an RTSP stream."""
    with av.open(url, "r", options={"rtsp_transport": "tcp"}) as container:
        return {each.codec_context.name.removeprefix("lib") for each in container.streams}


def av_offset(body: bytes, form: str) -> tuple[str, float]:
    """The codec of the sound, and how long it comes after the picture: the median."""
    flashes, beeps = [], []
    before = 0.0
    last_beep = -1.0
    with av.open(io.BytesIO(body), "r", format=form) as container:
        codec = container.streams.audio[0].codec_context.name
        for frame in container.decode(video=0, audio=0):
            assert isinstance(frame, av.VideoFrame | av.AudioFrame)
            assert frame.time is not None
            if isinstance(frame, av.VideoFrame):
                light = float(frame.to_ndarray(format="gray").mean())
                if light > 128 > before:
                    flashes.append(frame.time)
                before = light
            else:
                samples = frame.to_ndarray().astype(np.float64)
                channels = len(frame.layout.channels)
                row = samples[0] if frame.format.is_planar else samples[0, ::channels] / 32768
                loud = np.flatnonzero(np.abs(row) > 0.2)
                if len(loud):
                    at = frame.time + int(loud[0]) / frame.sample_rate
                    if at - last_beep > 0.5:
                        beeps.append(at)
                    last_beep = at
    offsets = [beep - min(flashes, key=lambda flash: abs(flash - beep)) for beep in beeps]
    assert len(offsets) >= 2
    return codec, sorted(offsets)[len(offsets) // 2]


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    by_output = {"hls": "aac", "flv": "aac", "rtsp": "keep", "ts": "drop"}
    streams: dict[str, dict[str, object]] = {
        "g711": {"audio": "aac"},
        "g726": {"audio": "aac"},
        "opus": {"audio": "aac"},
        "kept": {},
        "asked": {"audio": by_output},
    }
    with FluxProcess(tmp_path_factory.mktemp("recoding"), streams) as process:
        yield process


def test_g711_becomes_aac_where_it_cannot_be_carried(flux: FluxProcess) -> None:
    with publisher(flux.rtsp("g711"), *G711):
        flux.wait_until(lambda: flux.stream("g711")["state"] == "ready", "the stream is ready")
        assert [each["codec"] for each in flux.stream("g711")["tracks"]] == ["h264", "pcma", "aac"]
        body = capture.whole_tags(capture.flv(flux.flv("g711"), 3.5))
        codec, offset = av_offset(body, "flv")
        assert codec == "aac"
        assert abs(offset) <= MOST

        played = capture.hls(flux.hls("g711"), 4)
        codec, offset = av_offset(played.body, "mpegts")
        assert codec == "aac"
        assert abs(offset) <= MOST

        assert flux.stream("g711")["dropped_tracks"] == []
        (made,) = [each for each in flux.stream("g711")["tracks"] if each["codec"] == "aac"]
        assert made["recoded_from"] == 1
        assert made["frames"] > 0

        assert codecs_of(flux.rtsp("g711")) == {"h264", "pcm_alaw"}, "the source's own"


def test_g726_becomes_aac(flux: FluxProcess) -> None:
    """Of any bit rate: nothing in the sound tells it, so the decoder has to be told."""
    with publisher(flux.rtsp("g726"), *G726):
        flux.wait_until(lambda: flux.stream("g726")["state"] == "ready", "the stream is ready")
        assert [each["codec"] for each in flux.stream("g726")["tracks"]] == ["h264", "g726", "aac"]
        codec, offset = av_offset(capture.whole_tags(capture.flv(flux.flv("g726"), 3.5)), "flv")
        assert codec == "aac"
        assert abs(offset) <= MOST


def test_opus_stays_where_it_can_be_carried(flux: FluxProcess) -> None:
    with publisher(flux.rtsp("opus"), *OPUS):
        flux.wait_until(lambda: flux.stream("opus")["state"] == "ready", "the stream is ready")
        assert codecs_of(flux.rtsp("opus")) == {"h264", "opus"}
        body = capture.whole_tags(capture.flv(flux.flv("opus", "?flv=legacy"), 3.5))
        codec, offset = av_offset(body, "flv")
        assert codec == "aac"
        assert abs(offset) <= MOST


def probed(source: str, *options: str) -> set[str]:
    """The codecs that ffprobe finds."""
    command = ["ffprobe", "-v", "error", *options, "-show_entries", "stream=codec_name"]
    command += ["-of", "csv=p=0", source]
    found = subprocess.run(command, capture_output=True, check=True, timeout=30, text=True)
    return {line.strip(",") for line in found.stdout.split()}


def test_each_output_has_the_sound_that_it_was_asked_for(flux: FluxProcess) -> None:
    """HLS and FLV could carry Opus, too: they have AAC since somebody wants it so."""
    before = set(workers(flux))
    with publisher(flux.rtsp("asked"), *OPUS):
        flux.wait_until(lambda: flux.stream("asked")["state"] == "ready", "the stream is ready")
        assert probed(flux.hls("asked")) == {"h264", "aac"}
        assert probed(flux.rtsp("asked"), "-rtsp_transport", "tcp") == {"h264", "opus"}
        assert probed(flux.ts("asked")) == {"h264"}
        assert probed(flux.mp4("asked")) == {"h264", "opus"}
        body = capture.whole_tags(capture.flv(flux.flv("asked"), 3.5))
        codec, offset = av_offset(body, "flv")
        assert codec == "aac"
        assert abs(offset) <= MOST
        assert len(set(workers(flux)) - before) == 1, "HLS and FLV share one"
        assert flux.stream("asked")["dropped_tracks"] == []


def test_without_the_setting_the_sound_is_left_out_and_named(flux: FluxProcess) -> None:
    with publisher(flux.rtsp("kept"), *G711):
        flux.wait_until(lambda: flux.stream("kept")["state"] == "ready", "the stream is ready")
        played = capture.hls(flux.hls("kept"), 3)
        with av.open(io.BytesIO(played.body), format="mpegts") as container:
            assert not container.streams.audio
        assert [each["codec"] for each in flux.stream("kept")["dropped_tracks"]] == ["pcma"]


def test_the_worker_goes_when_nobody_needs_it(tmp_path: Path) -> None:
    """And comes back when it is killed."""
    with (
        FluxProcess(tmp_path, {"cam": {"audio": "aac"}}) as flux,
        publisher(flux.rtsp("cam"), *G711),
    ):
        flux.wait_until(lambda: flux.stream("cam")["state"] == "ready", "the stream is ready")
        assert not workers(flux)
        capture.flv(flux.flv("cam"), 2)
        (worker,) = workers(flux)
        os.kill(worker, signal.SIGKILL)
        body = capture.whole_tags(capture.flv(flux.flv("cam"), 4))
        assert av_offset(body, "flv")[0] == "aac"
        flux.wait_until(lambda: not workers(flux), "the worker has gone", 20)
