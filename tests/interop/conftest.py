"""The rig of the interop tests: one camera with all clips, one FLUX, and what players got."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.recording import record
from tests.support import capture, clip, nobody
from tests.support.bad_camera import Recorded
from tests.support.camera import Camera
from tests.support.flux_process import FluxProcess
from tests.support.rig import TRANSPORTS, Captured, Rig

FLV_LONGER = 1.5  # seconds that a player listens beyond one round of the clip
HLS_LONGER = 7.0  # the round's last segment ends with the first one of the next round


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The streams are CLIP-TRANSPORT, on demand: the first reader sees a clip's first frame."""
    with Camera({f"/{name}": clip.path_of(name) for name in clip.CLIPS}) as camera:
        streams = {
            f"{name}-{transport}": {
                "source": camera.url(f"/{name}"),
                "transport": transport,
                "on_demand": True,
            }
            for name in clip.CLIPS
            # The last one is for tests that must not be the first reader of the others.
            for transport in (*TRANSPORTS, "auto")
        }
        with FluxProcess(tmp_path_factory.mktemp("rig"), streams) as flux:
            yield Rig(camera, flux)


@pytest.fixture(scope="session")
def captured(rig: Rig) -> Iterator[dict[str, Captured]]:
    """All streams captured at the same time, so that it takes no longer than the longest clip."""
    streams = [f"{name}-{transport}" for name in clip.CLIPS for transport in TRANSPORTS]
    with ThreadPoolExecutor(2 * len(streams)) as pool:
        result = {}
        for stream in streams:
            period = float(rig.camera.mounts["/" + stream.rpartition("-")[0]].period)
            result[stream] = Captured(
                pool.submit(capture.flv, rig.flux.flv(stream), period + FLV_LONGER),
                pool.submit(capture.hls, rig.flux.hls(stream), period + HLS_LONGER),
            )
        yield result


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    """A FLUX with one always-on stream, `bunny`, for players."""
    with Camera({"/bunny": clip.path_of("bunny")}) as camera:
        streams = {"bunny": {"source": camera.url("/bunny")}}
        with FluxProcess(tmp_path_factory.mktemp("live"), streams) as flux:
            flux.wait_until(lambda: flux.stream("bunny")["state"] == "ready", "bunny is ready")
            yield flux


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """One where anybody may write: VLC does not run as root."""
    with nobody.public_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def recordings() -> dict[str, Recorded]:
    """What GStreamer sends for some clips, by a short name; `-sets` has parameter sets in band."""

    def make(source: Path | str) -> Recorded:
        return Recorded.parse(record(source))

    wanted: dict[str, Path | str] = {
        "fragmented": clip.path_of("fragmented"),
        "fragmented-sets": f"{clip.path_of('fragmented')},only=video,interval=-1",
        "h264ts-sets": f"{clip.path_of('h264ts')},only=video,interval=-1",
    }
    with ThreadPoolExecutor(len(wanted)) as pool:
        return dict(zip(wanted, pool.map(make, wanted.values()), strict=True))
