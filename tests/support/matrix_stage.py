"""Everything that the interop matrix runs against, and how each kind of cell is done."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av

from tests.support import aligned, certificate, frames, matrix_clips, rtsp_clients
from tests.support.aligned import Rule
from tests.support.camera import Camera
from tests.support.flux_process import FluxProcess
from tests.support.matrix import PLAY, PUBLISH, Cannot, Cell, Wrong
from tests.support.matrix_clips import Clip
from tests.support.network import Network
from tests.support.nobody import NOBODY, public_folder
from tests.support.ports import free_port
from tests.support.program import ProcessFailed, Program

LATE_REPORT = Fraction(
    13, 100
)  # seconds that tracks are apart which were laid upon each other by their arrival
SLEWED = Fraction(50, 1000)  # seconds that a track may be moved meanwhile: 5 ms a second
LIMIT = 15.0  # until a cell must be done
ATTEMPTS = 3
PROBLEM = re.compile(r"^(?:video|audio): .*|^tracks are .*", re.MULTILINE)
BY_LOSS = re.compile(r"were due$|the track is missing$|begins with nothing|apart$|off its time$")
MANGLED = 20  # units that a player may make of pieces
REPORT_INTERVAL = 5.0  # seconds between sender reports
WALL_SLEW = Fraction(1, 2000)  # by which FLUX moves its wall clock, of the time that passes
MULTICAST_PORT = 64_000  # where no player looks for ports of its own
START = 6.0  # until VLC serves
RATES = {"video": 30, "audio": 42}  # units a second, at least
ALIGNED = Fraction(2, 1000)
GROUP = "protocols=mcast,groups=239.255.{0}.1-239.255.{0}.9:15{0}00-15{0}98"


Tracks = dict[str, frames.TrackUnits]


@dataclass(slots=True)
class Stage:
    """Who takes part."""

    folder: Path
    seconds: float  # of media in each cell
    network: Network
    clips: dict[str, Clip]
    flux: FluxProcess
    puller: FluxProcess
    periods: dict[str, Fraction]
    tls_port: int
    ports: dict[str, int]  # of servers that one cell alone uses

    def do(self, cell: Cell) -> str:
        """One cell; what is worth telling of it. Raises `Cannot` and `Wrong`."""
        ways = {PLAY: self.play, PUBLISH: self.publish}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return ways.get(cell.direction, self.pull)(cell, attempt)
            except Wrong as error:
                if attempt == ATTEMPTS or not is_chance(cell, str(error)):
                    raise
        raise AssertionError("unreachable")

    def url(self, name: str, transport: str) -> str:
        """Where a name plays, or is published."""
        if transport in ("tls", "srtp"):
            return f"rtsps://127.0.0.1:{self.tls_port}/{name}"
        return self.flux.rtsp(name)

    def play(self, cell: Cell, attempt: int) -> str:
        """The client records a stream that runs."""
        folder = self.folder / f"{cell.name}-{attempt}"
        folder.mkdir()
        url = self.url(cell.codec, cell.transport)
        seconds = self.seconds + (cell.transport == "multicast")  # till the first key frame
        recording = rtsp_clients.play_command(
            cell.client, cell.transport, url, cell.codec, folder, seconds
        )
        with Program(recording.command, cwd=folder) as program:
            try:
                program.wait(LIMIT + self.seconds)
            except ProcessFailed:
                raise Cannot(f"{program.output}\n(it does not end)") from None
        try:
            tracks = recording.read()
        except Exception as error:  # whatever cannot be read was not recorded
            raise Cannot(f"{program.output}\n{error}") from None
        if cell.transport == "multicast":
            tracks = {kind: aligned.after_first_key(track) for kind, track in tracks.items()}
        return self.compare(cell, tracks, self.periods[cell.codec], 0.8, program.output)

    def publish(self, cell: Cell, attempt: int) -> str:
        """The client sends its clip; what FLUX makes of it is played by TCP."""
        name = f"in/{cell.name}-{attempt}"
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
            lost = self.flux.stream(name)["drops"].get("rtp-packet-lost", 0)
        return self.compare(cell, tracks, clip.lap, 0.8, program.output, lost)

    def pull(self, cell: Cell, attempt: int) -> str:
        """FLUX fetches a stream by that way."""
        del attempt
        name = f"{cell.client}-{cell.codec}-{cell.transport}"
        if cell.client == "gstreamer" and cell.codec == "av1":
            with Program(["gst-launch-1.0", "fakesrc", "!", "rtpav1pay"]) as asked:
                asked.wait(LIMIT)
            raise Cannot(asked.output)
        if cell.client == "vlc":
            with self.vlc(cell.codec) as server:
                tracks = self.fetch(name, cell, server)
        elif (cell.client, cell.transport) == ("gstreamer", "multicast"):
            # One for each clip: it often dies when a session by multicast ends.
            group = GROUP.format(1 + list(self.clips).index(cell.codec))
            with Camera(
                {"/x": f"{self.clips[cell.codec].once},{group}"},
                port=self.ports[cell.codec],
                host=self.network.far,
                wrapper=self.network.wrapper,
            ):
                tracks = self.fetch(name, cell, None)
        else:
            tracks = self.fetch(name, cell, None)
        period = self.clips[cell.codec].lap if cell.client == "vlc" else self.periods[cell.codec]
        lost = self.puller.stream(name)["drops"].get("rtp-packet-lost", 0)
        return self.compare(cell, tracks, period, 0.8, "", lost)

    def fetch(self, name: str, cell: Cell, server: Program | None) -> Tracks:
        """What the FLUX that pulls gives out; what the server says if it is nothing."""
        try:
            return self.capture(self.puller.rtsp(name), cell)
        except Wrong as error:
            source = self.puller.stream(name)["source"]
            text = f"{error}\n{source['state']}: {source['reason']}"
            if server is not None:
                raise Cannot(f"{server.output}\n{text}") from None
            raise Wrong(text) from None

    @contextmanager
    def vlc(self, codec: str) -> Iterator[Program]:
        """VLC as an RTSP server; it does not run as root."""
        url = f"rtsp://127.0.0.1:{self.ports[codec]}/x"
        with public_folder() as home:
            file = shutil.copy(self.clips[codec].rounds, home)
            command = [*NOBODY, "cvlc", "-I", "dummy", file, "--sout-keep", "--sout"]
            command.append(f"#rtp{{sdp={url}}}")
            with Program(command, {"HOME": str(home)}, cwd=home) as server:
                wait_for_description(url)
                yield server

    def capture(self, url: str, cell: Cell) -> Tracks:
        """Some seconds of a stream of FLUX."""
        kinds = self.clips[cell.codec].tracks
        units = {kind: int(self.seconds * RATES[kind]) for kind in kinds}
        try:
            return rtsp_clients.capture(url, units, LIMIT + self.seconds)
        except (av.error.FFmpegError, OSError) as error:
            raise Wrong(f"{url}: {error}") from None

    def compare(
        self,
        cell: Cell,
        tracks: Tracks,
        period: Fraction,
        share: float,
        said: str,
        lost: int = 0,
    ) -> str:
        """Hold it against the clip. `lost`: packets that FLUX itself missed as a receiver."""
        clip = self.clips[cell.codec]
        if cell.is_lossy:  # a player may wait for the next key frame
            share = 0.1 if cell.direction == PLAY else share / 2
        minimum = {kind: int(self.seconds * RATES[kind] * share) for kind in clip.tracks}
        rule = rule_of(cell, minimum, self.seconds)
        findings = aligned.compare(clip.loop(period), tracks, rule)
        if findings.problems:
            raise Wrong("\n".join((*findings.problems, said[-600:])).strip())
        if findings.missing and cell.direction != PLAY and not lost:
            raise Wrong(f"{findings.missing} units are missing, and FLUX counted no lost packet")
        parts = [f"-{findings.missing}"] if findings.missing else []
        parts += [f"~{findings.mangled}"] if findings.mangled else []
        return " ".join(parts)

    @contextmanager
    def loss(self) -> Iterator[None]:
        """Drop one UDP packet in a hundred, each for itself."""
        for link in ("lo", self.network.interface):
            _run("ip", "link", "set", link, "gso_max_segs", "1")  # else a whole run goes at once
        _run("nft", "add table inet loss")
        _run("nft", "add chain inet loss input { type filter hook input priority 0; }")
        _run("nft", "add rule inet loss input meta l4proto udp numgen random mod 100 < 1 drop")
        try:
            yield
        finally:
            _run("nft", "delete table inet loss")

    def state_of(self, name: str) -> str:
        """A stream's state, empty if there is none."""
        status, body = self.flux.get(f"/api/v1/streams/{name.replace('/', '%2F')}")
        return json.loads(body)["state"] if status == 200 else ""


@contextmanager
def stage(folder: Path, network: Network, seconds: float) -> Iterator[Stage]:
    """Start everything in the network of the calling thread.

    The cameras that send by multicast are on the other host: GStreamer's server binds the ports of
    the group itself, and lets no receiver beside it.
    """
    clips = matrix_clips.make(folder)
    own = certificate.make(folder)
    served = {f"/{name}": clip.once for name, clip in clips.items() if name != "av1"}
    with ExitStack() as stack:
        camera = stack.enter_context(Camera(served))
        secure = stack.enter_context(Camera(served, options=("--tls", own.files)))
        tls_port = free_port()
        rtsp = {
            "tls_address": f"127.0.0.1:{tls_port}",
            "tls": {"certificate": str(own.certificate), "key": str(own.key)},
        }
        streams = {path[1:]: {"source": camera.url(path), "transport": "tcp"} for path in served}
        settings = {"rtsp": {"multicast_port": MULTICAST_PORT}}
        flux = stack.enter_context(FluxProcess(folder, streams, settings, rtsp=rtsp))
        ports = {codec: free_port() for codec in clips}
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
                    theirs = camera.url(f"/{codec}")
                    if transport == "multicast":
                        theirs = f"rtsp://{network.far}:{ports[codec]}/x"
                pulled[f"flux-{codec}-{transport}"] = {"source": ours, **more}
                if codec != "av1":
                    pulled[f"gstreamer-{codec}-{transport}"] = {"source": theirs, **more}
        for codec, port in ports.items():
            url = f"rtsp://127.0.0.1:{port}/x"
            pulled[f"vlc-{codec}-udp"] = {"source": url, "on_demand": True, "transport": "udp"}
        puller = stack.enter_context(
            FluxProcess(folder, pulled, {"sources": {"close_after": "1s"}})
        )
        command = [rtsp_clients.FFMPEGS["ffmpeg-new"], "-nostdin", "-v", "error", "-re"]
        command += ["-stream_loop", "-1", "-i", str(clips["av1"].rounds), "-c", "copy"]
        command += ["-strict", "experimental", "-f", "rtsp", "-rtsp_transport", "tcp"]
        stack.enter_context(Program([*command, flux.rtsp("av1")]))
        periods = {path[1:]: camera.mounts[path].period for path in served}
        periods["av1"] = clips["av1"].lap
        for name in clips:
            flux.wait_until(partial(_is_ready, flux, name), f"{name} is ready")
        yield Stage(folder, seconds, network, clips, flux, puller, periods, tls_port, ports)


def is_chance(cell: Cell, problems: str) -> bool:
    """Whether the same client may do better when it is asked again."""
    if cell.client == "gstreamer" and "apart" in problems:
        # Its player now and then does not use the first sender reports. What it publishes has its
        # first report seconds after its media: till then tracks lie as they arrived, which on a
        # machine with much to do is anyhow.
        return True
    # One lost packet of a key frame costs a player that waits for the next one a whole GOP, and a
    # lost first report leaves the tracks as they arrived. What comes is the clip's in any case.
    found = PROBLEM.findall(problems)
    return cell.is_lossy and bool(found) and all(map(BY_LOSS.search, found))


def rule_of(cell: Cell, minimum: dict[str, int], seconds: float) -> Rule:
    """How exactly a cell must match, with what programs are known to do to times at the start."""
    unsettled, tolerance, apart = 0, Fraction(1, 1000), ALIGNED
    if len(minimum) > 1 and seconds > REPORT_INTERVAL:
        # A player that goes by sender reports follows the wall clock that they tell.
        tolerance += WALL_SLEW * Fraction(seconds)
    if cell.client == "gstreamer" and len(minimum) > 1:
        # Its player lays tracks upon each other by the first sender report, after the first media.
        unsettled = {"multicast": 30, "udp": 12}.get(cell.transport, 3)
        if cell.transport == "srtp":
            # `srtpdec` throws SRTCP away that comes while it makes the keys ready for RTP
            # ("unprotect failed code 13").
            unsettled, apart = 30, LATE_REPORT
        if cell.direction == PUBLISH:  # its own first report comes seconds after its media
            tolerance, apart = SLEWED, LATE_REPORT
    elif cell.client == "gstreamer" and cell.codec == "opus":
        unsettled = 1  # its demuxer moves the first packet by the encoder's delay
    elif cell.client == "vlc":
        unsettled = 4  # it guesses the times of the first B-frames
        if len(minimum) > 1:  # and its reports tell something else than its first packets
            tolerance = SLEWED
    if cell.is_lossy and len(minimum) > 1:  # the first report may be what is lost
        unsettled, apart = 30, LATE_REPORT
        if cell.direction != PLAY:
            tolerance = SLEWED
    return Rule(
        minimum,
        tolerance,
        apart,
        may_miss=cell.is_lossy,
        # Players may show what is left of a picture; FLUX passes on whole units alone.
        may_mangle=MANGLED if cell.is_lossy and cell.direction == PLAY else 0,
        unsettled=unsettled,
    )


def wait_for_description(url: str) -> None:
    """Wait until a server describes a stream, or for some seconds; it is asked each time anew."""
    end = time.monotonic() + START
    port = int(url.split(":")[2].split("/")[0])
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as probe:
            probe.sendall(f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
            if b" 200 " in probe.recv(4096)[:14]:
                return
        time.sleep(0.2)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=10)


def _is_ready(flux: FluxProcess, name: str) -> bool:
    status, body = flux.get(f"/api/v1/streams/{name}")
    return status == 200 and json.loads(body)["state"] == "ready"
