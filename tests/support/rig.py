"""What the interop tests share: the camera with all clips, the FLUX that pulls them, captures."""

from concurrent.futures import Future
from dataclasses import dataclass

from tests.support.camera import Camera
from tests.support.capture import HlsCapture
from tests.support.flux_process import FluxProcess

TRANSPORTS = ("tcp", "udp")


@dataclass(frozen=True, slots=True)
class Rig:
    """A camera, and a FLUX that pulls each of its clips over TCP and over UDP."""

    camera: Camera
    flux: FluxProcess


@dataclass(frozen=True, slots=True)
class Captured:
    """What two players got of one stream, both from its first frame on."""

    flv: Future[bytes]
    hls: Future[HlsCapture]
