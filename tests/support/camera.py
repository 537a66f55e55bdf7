"""Starts `gst_server.py` for tests and tells where it serves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port
from tests.support.program import Program

SERVER = Path(__file__).with_name("gst_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's own: it has the GObject bindings


@dataclass(frozen=True, slots=True)
class Mount:
    """One path of the camera."""

    period: Fraction  # seconds of one round
    tracks: tuple[str, ...]


class Camera:
    """GStreamer's RTSP server with some clips, on a free port of the loopback interface.

    `serve` maps paths to clips, with options after commas, and `options` are further words of the
    command line, both as `gst_server.py` describes them.
    """

    def __init__(
        self,
        serve: Mapping[str, Path | str],
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        options: Sequence[str] = (),
        wrapper: Sequence[str] = (),
    ) -> None:
        mounts = [f"--serve={path}={clip}" for path, clip in serve.items()]
        self.program = Program(
            [
                *wrapper,
                SYSTEM_PYTHON,
                SERVER,
                *mounts,
                "--host",
                host,
                "--port",
                str(port or free_port()),
                *options,
            ]
        )
        try:
            ready = self.program.wait_for_json()
        except BaseException:
            self.program.stop()
            raise
        self.port: int = ready["port"]
        self.host = host
        self.scheme = "rtsps" if "--tls" in options else "rtsp"
        self.mounts = {
            path: Mount(Fraction(entry["period_ms"], 1000), tuple(entry["tracks"]))
            for path, entry in ready["mounts"].items()
        }

    def url(self, path: str, credentials: str = "") -> str:
        """Where `path` plays (or is recorded); `credentials` are `user:password`."""
        user = credentials + "@" if credentials else ""
        return f"{self.scheme}://{user}{self.host}:{self.port}{path}"

    def stop(self) -> None:
        """End the server."""
        self.program.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
