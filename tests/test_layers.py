"""Every import of the project follows the table of rooms, and no other edge exists."""

from pathlib import Path

import pytest

from tests.support import layers

ROOT = Path(__file__).parent.parent


def test_the_project_keeps_to_its_rooms() -> None:
    assert layers.check(layers.modules_of(ROOT)) == []


def test_all_modules_are_seen() -> None:
    modules = layers.modules_of(ROOT)
    assert {"flux.base.errors", "media.frame", "protocols.__init__", "config.__init__"} <= set(
        modules
    )


GOOD = {
    "flux.net.udp": "import socket\nsocket.socket()\nfrom flux.base.errors import WireError",
    "media.flv.muxer": "from flux.base import serial\nfrom media.frame import Frame",
    "protocols.rtsp.connection": "from protocols.rtp.packet import Packet",
    "protocols.rtsp.client": "import asyncio, ssl\nfrom flux.net.tcp import connect",
    "config.sources.file": "import time\nimport flux.net.tcp",
    "config.schema": "import pydantic",
    "flux.core.bus": "import config.schema\nimport media.events",
    "flux.telemetry.metrics": "import prometheus_client\nimport flux.core.bus",
    "flux.security.users": "import flux.core.bus",
    "flux.bridges.rtp.sdp": "import protocols.sdp\nimport flux.telemetry.logs",
    "flux.bridges.rtsp.source": "import flux.bridges.rtp\nimport flux.bridges.rtsp.options",
    "flux.bridges.hls": "import flux.bridges.http.server",
    "flux.bridges.mpegts.receiver": "import media.mpegts.demuxer\nimport flux.bridges.mpegts",
    "flux.bridges.udp.source": "import flux.bridges.mpegts\nimport flux.bridges.rtp",
    "flux.workers.testcard": "import av\nimport media.wire\nimport config.schema",
    "flux.api.server": "import flux.bridges.hls\nimport flux.workers.testcard",
    "flux.app": "import flux.api.server\nimport flux.bridges.rtsp.source",
    "flux.core.child": "import socket\nsocket.socket(fileno=3)\nsocket.socketpair()",
    "flux.bridges.http.listener": "loop.create_server(f, sock=s)",
}


@pytest.mark.parametrize("name", GOOD)
def test_what_the_table_allows_passes(name: str) -> None:
    assert layers.check({name: GOOD[name]}) == []


BROKEN = [
    ("flux.base.clock", "import time", "time is for"),
    ("flux.base.fast", "import numpy", "not in the standard library"),
    ("flux.base.events", "import media.events", "flux.base may not import media"),
    ("flux.net.udp", "import flux.core.bus", "flux.net may not import flux.core"),
    ("flux.net.udp", "import media.frame", "flux.net may not import media"),
    ("media.frame", "import protocols.rtp.packet", "media may not import protocols"),
    ("media.frame", "import config.schema", "media may not import config"),
    ("protocols.rtp.packet", "from media.frame import Frame", "protocols may not import media"),
    ("protocols.rtp.packet", "import config", "protocols may not import config"),
    ("config.schema", "import media.track", "config may not import media"),
    ("config.schema", "import protocols.rtsp.options", "config may not import protocols"),
    ("media.router", "import flux.core.bus", "media may not import flux.core"),
    ("media.router", "import asyncio", "asyncio is for"),
    ("media.hls.segmenter", "import time as clock", "time is for"),
    ("protocols.rtsp.connection", "from socket import AF_INET", "socket is for"),
    ("protocols.rtsp.connection", "from ssl import SSLContext", "ssl is for"),
    ("protocols.rtsp.connection", "import subprocess", "subprocess is for"),
    ("protocols.rtsp.connection", "import random", "randomness is handed in"),
    ("protocols.rtsp.connection", "import flux.net.tcp", "protocols may not import flux.net"),
    ("protocols.rtsp.worker", "import flux.net.tcp", "protocols may not import flux.net"),
    ("protocols.rtsp.client", "import flux.core.bus", "protocols may not import flux.core"),
    ("config.manager", "import flux.net.tcp", "config may not import flux.net"),
    ("flux.core.bus", "import flux.telemetry.logs", "flux.core may not import flux.telemetry"),
    ("flux.core.bus", "import protocols.rtp", "flux.core may not import protocols"),
    ("flux.core.children", "import flux.workers.testcard", "flux.core may not import flux.workers"),
    ("flux.security.users", "import flux.telemetry.logs", "may not import flux.telemetry"),
    ("flux.telemetry.logs", "import flux.security.users", "may not import flux.security"),
    ("flux.telemetry.logs", "import protocols.rtp", "flux.telemetry may not import protocols"),
    ("flux.bridges.rtp.sdp", "import flux.bridges.http.server", "may not import flux.bridges.http"),
    ("flux.bridges.rtp.sdp", "import flux.bridges.mpegts", "may not import flux.bridges.mpegts"),
    ("flux.bridges.mpegts.receiver", "import flux.bridges.rtp", "may not import flux.bridges.rtp"),
    ("flux.bridges.mpegts.receiver", "import flux.bridges.udp", "may not import flux.bridges.*"),
    ("flux.bridges.http.server", "import flux.bridges.hls", "may not import flux.bridges.*"),
    ("flux.bridges.rtsp.source", "import flux.bridges.hls", "one bridge imports another"),
    ("flux.bridges.hls", "from flux.bridges import srt", "one bridge imports another"),
    ("flux.bridges.hls", "import flux.api.server", "may not import flux.api"),
    ("flux.bridges.hls", "import flux.workers.testcard", "may not import flux.workers"),
    ("flux.workers.testcard", "import flux.core.bus", "flux.workers may not import flux.core"),
    ("flux.workers.testcard", "import flux.net.tcp", "flux.workers may not import flux.net"),
    ("flux.api.server", "import flux.cluster.relay", "flux.api may not import flux.cluster"),
    ("flux.api.server", "import flux.app", "flux.api may not import flux.app"),
    ("flux.tools.x", "import os", "no room of the house"),
    ("flux.core.bus", "import flux.tools.x", "no room of the house"),
    ("media.router", "def f():\n    import asyncio", "media.router:2: asyncio is for"),
    ("media.router", "if TYPE_CHECKING:\n    import protocols.rtp", "may not import protocols"),
    ("media.router", "import_module('protocols.rtp')", "may not import protocols"),
    ("media.flv.muxer", "from ...protocols import rtp", "may not import protocols"),
    ("flux.core.part", "import socket\nsocket.socket()", "opens a socket"),
    ("flux.core.part", "import asyncio\nasyncio.start_server(f)", "opens a socket"),
    ("flux.bridges.hls", "self._loop.create_datagram_endpoint(f)", "opens a socket"),
    ("flux.bridges.hls", "asyncio.get_running_loop().create_server(f)", "opens a socket"),
    ("flux.api.server", "web.TCPSite(runner, 'localhost', 9997)", "opens a socket"),
]


@pytest.mark.parametrize(("name", "source", "problem"), BROKEN)
def test_any_other_edge_fails(name: str, source: str, problem: str) -> None:
    neighbours = {"flux.bridges.srt": "", "protocols.rtp.__init__": ""}
    found = layers.check({**neighbours, name: source})
    assert len(found) == 1
    assert problem in found[0]
