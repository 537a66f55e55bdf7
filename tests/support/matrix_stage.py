"""Everything that the interop matrix runs against, and how each kind of cell is done."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av

from tests.support import aligned, certificate, matrix_clips, rtsp_clients
from tests.support.aligned import Rule
from tests.support.camera import Camera
from tests.support.flux_process import FluxProcess
from tests.support.matrix import LOSSY, PLAY, PUBLISH, Cannot, Cell, Wrong
from tests.support.matrix_clips import Clip
from tests.support.ports import free_port
from tests.support.program import ProcessFailed, Program

SECONDS = 2.0  # of media in each cell
LIMIT = 15.0  # until a cell must be done
EXIT = 4.0
RATES = {"video": 30, "audio": 42}  # units a second, at least
ALIGNED = Fraction(2, 1000)
GROUPS = "groups=239.255.9.1-239.255.9.60:15000-15200"


@dataclass(slots=True)
class Stage:
    """Who takes part."""

    folder: Path
    clips: dict[str, Clip]
    flux: FluxProcess
    puller: FluxProcess
    periods: dict[str, Fraction]
    tls_port: int
    feeds: list[Program] = field(default_factory=list)

    def do(self, cell: Cell) -> None:
        """One cell; raises `Cannot` and `Wrong`."""
        if cell.direction in (PLAY, LOSSY):
            self.play(cell)
        elif cell.direction == PUBLISH:
            self.publish(cell)
        else:
            self.pull(cell)

    def url(self, name: str, transport: str) -> str:
        """Where a name plays, or is published."""
        if transport in ("tls", "srtp"):
            return f"rtsps://127.0.0.1:{self.tls_port}/{name}"
        return self.flux.rtsp(name)

    def play(self, cell: Cell) -> None:
        """The client records a stream that runs."""
        folder = self.folder / cell.name
        folder.mkdir()
        url = self.url(cell.codec, cell.transport)
        recording = rtsp_clients.play_command(
            cell.client, cell.transport, url, cell.codec, folder, SECONDS
        )
        with Program(recording.command, cwd=folder) as program:
            try:
                program.wait(LIMIT)
            except ProcessFailed:
                raise Cannot(f"{program.output}\n(it does not end)") from None
        try:
            tracks = recording.read()
        except Exception as error:  # noqa: BLE001 - whatever cannot be read was not recorded
            raise Cannot(f"{program.output}\n{error}") from None
        if cell.transport == "multicast":
            tracks = {kind: aligned.after_first_key(track) for kind, track in tracks.items()}
        share = 0.4 if cell.transport == "multicast" else 0.8
        self.compare(cell, tracks, self.periods[cell.codec], share, program.output)

    def publish(self, cell: Cell) -> None:
        """The client sends its clip; what FLUX makes of it is played by TCP."""
        name = f"in/{cell.name}"
        url = self.url(name, cell.transport)
        clip = self.clips[cell.codec]
        command = rtsp_clients.publish_command(
            cell.client, cell.transport, url, cell.codec, clip.rounds
        )
        with Program(command, cwd=self.folder) as program:
            end = time.monotonic() + LIMIT
            while self.state_of(name) != "ready":
                if not program.is_running or time.monotonic() > end:
                    raise Cannot(program.output)
                time.sleep(0.1)
            tracks = self.capture(self.flux.rtsp(name), cell)
        self.compare(cell, tracks, clip.lap, 0.8, program.output)

    def pull(self, cell: Cell) -> None:
        """FLUX fetches a stream by that way."""
        name = f"{cell.client}-{cell.codec}-{cell.transport}"
        try:
            tracks = self.capture(self.puller.rtsp(name), cell)
        except Wrong as error:
            raise Wrong(f"{error}\n{self.puller.stream(name)['source']}") from None
        period = self.clips[cell.codec].lap if cell.client == "vlc" else self.periods[cell.codec]
        self.compare(cell, tracks, period, 0.8, "")

    def capture(self, url: str, cell: Cell) -> dict[str, "aligned.TrackUnits"]:
        """Two seconds of a stream of FLUX."""
        kinds = self.clips[cell.codec].tracks
        units = {kind: int(SECONDS * RATES[kind]) for kind in kinds}
        try:
            return rtsp_clients.capture(url, units, LIMIT)
        except (av.error.FFmpegError, OSError) as error:
            raise Wrong(f"{url}: {error}") from None

    def compare(
        self,
        cell: Cell,
        tracks: dict[str, "aligned.TrackUnits"],
        period: Fraction,
        share: float,
        said: str,
    ) -> None:
        """Hold it against the clip."""
        clip = self.clips[cell.codec]
        lossy = cell.direction == LOSSY
        minimum = {kind: int(SECONDS * RATES[kind] * share) for kind in clip.tracks}
        unsettled = 0
        if cell.client == "gstreamer" and len(clip.tracks) > 1:
            # It lays tracks upon each other by the first sender report, which may come after media.
            unsettled = 30 if cell.transport == "multicast" else 3
        rule = Rule(
            minimum,
            offset_tolerance=ALIGNED,
            may_miss=lossy,
            may_mangle=20 * lossy,
            unsettled=unsettled,
        )
        findings = aligned.compare(clip.loop(period), tracks, rule)
        if findings.problems:
            raise Wrong("\n".join((*findings.problems, said[-600:])).strip())

    def state_of(self, name: str) -> str:
        """A stream's state, empty if there is none."""
        status, body = self.flux.get(f"/api/v1/streams/{name.replace('/', '%2F')}")
        return json.loads(body)["state"] if status == 200 else ""


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Start everything, in the network of the calling thread."""
    clips = matrix_clips.make(folder)
    own = certificate.make(folder)
    served = {f"/{name}": clip.once for name, clip in clips.items() if name != "av1"}
    groups = {
        f"/m{path[1:]}": f"{file},protocols=mcast,{GROUPS.replace('9.', f'{20 + n}.', 1)}"
        for n, (path, file) in enumerate(served.items())
    }
    with ExitStack() as stack:
        camera = stack.enter_context(Camera({**served, **groups}))
        secure = stack.enter_context(Camera(served, options=("--tls", own.files)))
        tls_port = free_port()
        rtsp = {
            "tls_address": f"127.0.0.1:{tls_port}",
            "tls": {"certificate": str(own.certificate), "key": str(own.key)},
        }
        streams = {path[1:]: {"source": camera.url(path), "transport": "tcp"} for path in served}
        flux = stack.enter_context(FluxProcess(folder, streams, rtsp=rtsp))
        pulled: dict[str, dict[str, object]] = {}
        for codec in clips:
            for transport in ("tcp", "udp", "multicast", "http", "tls"):
                way = "auto" if transport == "tls" else transport
                more = {"on_demand": True, "transport": way}
                if transport == "tls":
                    more["fingerprint"] = own.fingerprint
                    ours = f"rtsps://127.0.0.1:{tls_port}/{codec}"
                    theirs = secure.url(f"/{codec}")
                else:
                    ours = flux.rtsp(codec)
                    theirs = camera.url(f"/{'m' if transport == 'multicast' else ''}{codec}")
                pulled[f"flux-{codec}-{transport}"] = {"source": ours, **more}
                if codec != "av1":
                    pulled[f"gstreamer-{codec}-{transport}"] = {"source": theirs, **more}
        puller = stack.enter_context(
            FluxProcess(folder, pulled, {"sources": {"close_after": "1s"}})
        )
        command = [rtsp_clients.FFMPEGS["ffmpeg-new"], "-nostdin", "-v", "error", "-re"]
        command += ["-stream_loop", "-1", "-i", str(clips["av1"].rounds), "-c", "copy"]
        command += ["-strict", "experimental", "-f", "rtsp", "-rtsp_transport", "tcp"]
        feed = stack.enter_context(Program([*command, flux.rtsp("av1")]))
        periods = {path[1:]: camera.mounts[path].period for path in served}
        periods["av1"] = clips["av1"].lap
        for name in clips:
            flux.wait_until(lambda name=name: _is_ready(flux, name), f"{name} is ready")
        yield Stage(folder, clips, flux, puller, periods, tls_port, [feed])


def _is_ready(flux: FluxProcess, name: str) -> bool:
    status, body = flux.get(f"/api/v1/streams/{name}")
    return status == 200 and json.loads(body)["state"] == "ready"
