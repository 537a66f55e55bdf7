"""A camera that nobody watches for a while, and who comes then: ffmpeg publishes, ffmpeg looks."""

import json
import time
from pathlib import Path
from statistics import mean

import pytest

from tests.support import clip
from tests.support.flux_process import FluxProcess
from tests.support.program import Program

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

CLIP = "bunny"
RATES = {"video": 24.0, "audio": 44_100 / 1024}  # frames a second of the clip
SHORT, LONG = 0.15, 0.19  # seconds between two acknowledgements: while it is read, and skimmed


def acknowledged(flux: FluxProcess) -> int:
    """Acknowledgements that the publisher was sent."""
    listed = json.loads(flux.get("/api/v1/sessions?stream=cam")[1])["items"]
    session = next(each["id"] for each in listed if each["protocol"] == "srt")
    counts = json.loads(flux.get(f"/api/v1/sessions/{session}/srt")[1])
    return int(counts["pktSentACKTotal"])


def interval(flux: FluxProcess) -> float:
    """Seconds between two of them."""
    before, since = acknowledged(flux), time.monotonic()
    time.sleep(2.0)
    return (time.monotonic() - since) / max(acknowledged(flux) - before, 1)


def test_who_comes_after_a_while_sees_pictures_at_once(tmp_path: Path) -> None:
    """Off, it is never skimmed: acknowledgements do not get rare."""
    source = ["-re", "-stream_loop", "-1", "-i", str(clip.path_of(CLIP)), "-c", "copy"]
    with FluxProcess(tmp_path, {"cam": {}}) as flux:
        url = flux.srt("publish:cam")
        with Program(["ffmpeg", "-v", "error", *source, "-f", "mpegts", url]):
            flux.wait_until(lambda: flux.stream("cam")["state"] == "ready", "it is ready")
            flux.wait_until(lambda: interval(flux) > LONG, "it is skimmed", 40.0)
            since = time.monotonic()
            looks = [flux.stream("cam")]
            while time.monotonic() - since < 5.0:
                time.sleep(0.25)
                looks.append(flux.stream("cam"))
            passed, after = time.monotonic() - since, looks[-1]
            for track, (kind, due) in enumerate(RATES.items()):
                old, new = (look["tracks"][track] for look in (looks[0], after))
                assert old["kind"] == kind
                assert (new["frames"] - old["frames"]) / passed == pytest.approx(due, rel=0.2)
                # What is measured at a time is half a second: three packets of eight frames of
                # sound, or two.
                told = mean(look["tracks"][track]["frames_per_second"] for look in looks)
                assert told == pytest.approx(due, rel=0.2)
            assert after["key_frame_interval"] > 0
            began = time.monotonic()
            look = ["-i", flux.flv("cam"), "-frames:v", "1", "-f", "null", "-"]
            with Program(["ffmpeg", "-v", "error", "-xerror", *look]) as viewer:
                assert viewer.wait(10) == 0, viewer.output
            assert time.monotonic() - began < 3.0
            whole = ["-i", flux.ts("cam"), "-t", "4", "-f", "null", "-"]
            with Program(["ffmpeg", "-v", "error", "-xerror", *whole]) as viewer:
                assert viewer.wait(15) == 0, viewer.output
                assert viewer.output == ""
            assert interval(flux) < SHORT
            assert not flux.stream("cam")["drops"]
