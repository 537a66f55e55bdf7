"""Groups on a wire of their own, with real joins (IGMP, MLD) and ffmpeg at the far end."""

import asyncio
import contextlib
import ipaddress
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from flux.bridges.udp.source import DatagramOptions
from flux.bridges.udp.ts import TsSource
from media.track import Kind
from protocols.rtsp import events
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.client import RtspClient
from protocols.rtsp.options import PullOptions, TransportChoice
from protocols.rtsp.url import Url
from tests.support import clip, clips, frames
from tests.support.datagrams import DatagramRig, end, play, program, publish, target, until
from tests.support.frame_log import FrameLog
from tests.support.ports import free_port
from tests.support.rtsp_peer import Camera, CameraServer, rtp
from tests.support.wire import Wire, WireUnavailable

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

OPTIONS = DatagramOptions(media_timeout=5.0)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    made = Wire()
    try:
        made.__enter__()
    except WireUnavailable as error:
        pytest.skip(f"no namespace here: {error}")
    yield made
    made.__exit__()


def send(wire: Wire, url: str) -> list[str]:
    return wire.run(
        "ffmpeg", "-loglevel", "error", "-re", "-i", str(clip.path_of("fragmented")),
        "-c", "copy", "-f", "mpegts", url,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("url", "sender", "is_heard"),
    [
        ("udp://@239.1.2.3:5000?interface={wire.interface}", "udp://239.1.2.3:5000?ttl=2", True),
        (
            "udp://232.1.2.3:5000?source={wire.far}&interface={wire.interface}",
            "udp://232.1.2.3:5000?ttl=2&localaddr={wire.far}",
            True,
        ),
        (
            "udp://232.1.2.3:5000?source={wire.far}&interface={wire.interface}",
            "udp://232.1.2.3:5000?ttl=2&localaddr={wire.far_other}",
            False,
        ),
        (
            "udp://[ff35::5]:5000?source={wire.far_v6}&interface={wire.interface}",
            "udp://[ff35::5]:5000",
            True,
        ),
    ],
    ids=("any-source", "source-specific", "another-source", "ipv6-source-specific"),
)
async def test_a_group_comes_in(url: str, sender: str, is_heard: bool, wire: Wire) -> None:
    async with DatagramRig() as rig:
        rig.declare("cam")
        source = TsSource("cam", url.format(wire=wire), rig.router, rig.says("cam"), OPTIONS)
        rig.begin("cam", source)
        log = FrameLog(rig.router, "cam", time.monotonic)
        await asyncio.sleep(0.3)
        async with program(*send(wire, sender.format(wire=wire))) as far:
            assert await far.wait() == 0
        await asyncio.sleep(0.3)
        if not is_heard:
            assert source.figures().packets == 0
            return
        sent = clip.units_of("fragmented")
        expected = frames.Expectation(
            Fraction(2, 1000),
            Fraction(30, 1000),
            minimum={"video": len(sent["video"].units) - 1, "audio": 30},
            check_dts=False,
        )
        try:
            frames.assert_same(sent, log.units(), expected)
        except AssertionError as error:
            error.add_note(f"{source.figures()}, {rig.states}\n{wire.counters()}")
            raise


SEND = """
import socket, sys
sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], 0))
for packet in sys.argv[3:]:
    sock.sendto(bytes.fromhex(packet), ("ff35::6", int(sys.argv[2])))
"""


class Ears:
    """Sets up one track and counts its packets."""

    def __init__(self, url: str, interface: str) -> None:
        parsed = Url.parse(url)
        options = PullOptions(transport=TransportChoice.MULTICAST, interface=interface)
        self.client = RtspClient(parsed, options, Authenticator("", "", "c"), self)
        self.heard: list[bytes] = []

    def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Described):
            self.client.set_up(["trackID=2"], "*")

    def on_packets(self, packets: list[tuple[int, bytes]], now: float) -> None:
        self.heard += [data for _, data in packets]


@pytest.mark.parametrize("is_far", [True, False], ids=["the-sender", "another"])
async def test_a_camera_may_write_its_address_in_full(is_far: bool, wire: Wire) -> None:
    """What counts is whose address it is, not how many zeros somebody left out (RFC 5952)."""
    port = free_port()
    packets = [rtp(number, 160 * number, b"sound") for number in range(5)]
    source = ipaddress.IPv6Address(wire.far_v6).exploded if is_far else "fd77:0::1:2:3:4"

    def play(_: Camera) -> bytes:
        far = [sys.executable, "-c", SEND, wire.far_v6, str(port), *map(bytes.hex, packets)]
        subprocess.run(wire.run(*far), check=True, timeout=10)
        return b""

    told = f"destination=ff35::6;port={port}-{port + 1};ttl=2;source={source}"
    make = lambda: Camera(transports=("MULTICAST",), multicast=told, after_play=play)  # noqa: E731
    async with CameraServer(make) as server:
        ears = Ears(f"rtsp://127.0.0.1:{server.port}/live", wire.interface)
        await ears.client.connect()
        with contextlib.suppress(AssertionError):
            await until(lambda: len(ears.heard) == len(packets), "all came", 3 if is_far else 0.5)
        ears.client.close("done")
        await ears.client.wait_closed()
        assert ears.heard == (packets if is_far else [])


@pytest.mark.parametrize("host", ["239.5.5.5", "[ff15::5]"], ids=("ipv4", "ipv6"))
async def test_a_group_goes_out(host: str, wire: Wire, tmp_path: Path) -> None:
    file = tmp_path / "got.mkv"
    played = [f for f in clips.read(clips.BUNNY) if f.dts < 2.5 * f.track.clock_rate]
    async with DatagramRig() as rig:
        rig.declare("cam")
        url = f"udp://{host}:6000?ttl=3&interface={wire.interface}"
        forwards = rig.forward()
        forwards.declare("cam", [target(url)], passive=True)
        command = wire.run(
            "ffmpeg", "-loglevel", "error", "-probesize", "300000", "-i", f"udp://{host}:6000",
            "-c", "copy", "-t", "2.2", "-y", str(file),
        )  # fmt: skip
        async with program(*command) as receiver:
            await asyncio.sleep(1.0)
            await play(publish(rig.router, "cam", played), played)
            async with asyncio.timeout(5):
                await receiver.wait()
            assert await end(receiver) == ""
        assert forwards.snapshot("cam")[0].dropped == 0
    expected = frames.Expectation(
        Fraction(2, 1000),
        Fraction(60, 1000),
        minimum={str(Kind.VIDEO): 48, str(Kind.AUDIO): 80},
        check_dts=False,
    )
    frames.assert_same(clip.units_of("bunny"), frames.read(file), expected)


def test_two_wires_have_nothing_in_common(wire: Wire) -> None:
    """Workers have one each at the same time, and so have two runs on one machine."""
    with Wire() as other:
        for name in ("namespace", "interface", "far", "far_other", "far_v6"):
            assert getattr(wire, name) != getattr(other, name)
        for each in (wire, other):
            said = subprocess.run(
                each.run("ip", "addr"), capture_output=True, text=True, check=True, timeout=10
            ).stdout
            assert {each.far, each.far_other, each.far_v6} <= set(re.split(r"[ /]", said))
            route = ["ip", "route", "get", each.far]
            way = subprocess.run(route, capture_output=True, text=True, check=True, timeout=10)
            assert f" dev {each.interface} " in way.stdout
