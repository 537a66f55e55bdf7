"""Forwards over the loopback interface: what arrives, byte by byte, and what fails by name."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import pytest

from flux.base.errors import PeerError
from flux.bridges.udp.rtp import RtpSource
from flux.bridges.udp.rtp_forward import RtpForward
from flux.bridges.udp.source import DatagramOptions
from flux.bridges.udp.ts_forward import TsForward
from flux.core.forward import ForwardStateChanged
from flux.net.multicast import route_to
from media.frame import Frame
from media.track import Kind
from protocols.rtcp import Goodbye, ReceiverReport, SenderReport, parse_compound, serialize_compound
from protocols.rtcp.packet import ReportBlock
from protocols.rtp import RtpPacket
from protocols.sdp import SessionDescription
from tests.support import clips, frames, ts_check
from tests.support.datagrams import DatagramRig, play, publish, target, until
from tests.support.frame_log import FrameLog
from tests.support.ports import free_port

SPEED = 4.0  # times as fast as real


class Port:
    """A socket of the receiver; `datagrams` is all that came so far."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._datagrams: list[bytes] = []
        self.senders: list[tuple[str, int]] = []

    @property
    def datagrams(self) -> list[bytes]:
        while True:
            try:
                data, sender = self.sock.recvfrom(65_536)
            except BlockingIOError:
                return self._datagrams
            self._datagrams.append(data)
            self.senders.append(sender)


@pytest.fixture
def ports() -> Iterator[list[Port]]:
    """Four ports in a row, the first one even."""
    first = free_port(4)
    with ExitStack() as stack:
        found = []
        for number in range(4):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            sock.setblocking(False)
            sock.bind(("127.0.0.1", first + number))
            found.append(Port(sock))
        yield found


def short_clip(seconds: float = 2.0) -> list[Frame]:
    return [f for f in clips.read(clips.BUNNY) if f.dts < seconds * f.track.clock_rate]


def number_of(port: Port) -> int:
    return int(port.sock.getsockname()[1])


async def test_rtp_arrives_as_described(ports: list[Port], tmp_path: Path) -> None:
    file = tmp_path / "cam.sdp"
    clip = short_clip()
    async with DatagramRig() as rig:
        rig.declare("cam")
        forwards = rig.forward()
        url = f"rtp://127.0.0.1:{number_of(ports[0])}?sdp={file}"
        forwards.declare("cam", [target(url)], passive=True)
        publisher = publish(rig.router, "cam", clip)
        await play(publisher, clip, SPEED)
        await until(file.exists, "the description")
        snapshot = forwards.snapshot("cam")[0]
        assert (snapshot.state, snapshot.reason) == ("running", "")
        assert forwards.description("cam", snapshot.id) == file.read_bytes()
        described = SessionDescription.parse(file.read_bytes())
        assert described.connection == "IN IP4 127.0.0.1"
        assert [(m.kind, m.port) for m in described.media] == [
            ("video", number_of(ports[0])),
            ("audio", number_of(ports[2])),
        ]
        assert all(media.control is None for media in described.media)
        sent = [RtpPacket.parse(data) for data in ports[0].datagrams]
        sound = [RtpPacket.parse(data) for data in ports[2].datagrams]
        assert snapshot.sent_bytes == sum(map(len, ports[0].datagrams + ports[2].datagrams))
        for packets, media in ((sent, described.media[0]), (sound, described.media[1])):
            assert {str(packet.payload_type) for packet in packets} == set(media.formats)
            assert len({packet.ssrc for packet in packets}) == 1
            first = packets[0].sequence
            assert [p.sequence for p in packets] == [
                (first + n) & 0xFFFF for n in range(len(packets))
            ]
        assert sum(packet.marker for packet in sent) == sum(
            f.track.kind is Kind.VIDEO for f in clip
        )
        forwards.close()
        reports = [parse_compound(data) for data in ports[1].datagrams]
        assert isinstance(reports[0][0], SenderReport)
        assert reports[0][0].ssrc == sent[0].ssrc
        assert isinstance(reports[-1][-1], Goodbye)
        assert ports[1].senders[0][1] == ports[0].senders[0][1] + 1


async def test_what_a_receiver_says_is_in_the_figures(ports: list[Port]) -> None:
    clip = short_clip()
    async with DatagramRig() as rig:
        rig.declare("cam")
        forwards = rig.forward()
        forwards.declare("cam", [target(f"rtp://127.0.0.1:{number_of(ports[0])}")], passive=True)
        publisher = publish(rig.router, "cam", clip)
        await play(publisher, clip, SPEED)
        await until(lambda: bool(ports[1].datagrams), "a sender report")
        report = parse_compound(ports[1].datagrams[0])[0]
        assert isinstance(report, SenderReport)
        block = ReportBlock(report.ssrc, 0, 7, 100, 0, report.ntp >> 16 & 0xFFFF_FFFF, 0)
        answer = serialize_compound((ReceiverReport(1, (block,)),))
        ports[1].sock.sendto(answer, ports[1].senders[0])
        await until(lambda: forwards.snapshot("cam")[0].lost == 7, "the loss")
        assert forwards.snapshot("cam")[0].round_trip is not None


async def test_a_transport_stream_arrives(ports: list[Port]) -> None:
    clip = short_clip()
    async with DatagramRig() as rig:
        rig.declare("cam")
        forwards = rig.forward()
        forwards.declare("cam", [target(f"udp://127.0.0.1:{number_of(ports[0])}")], passive=True)
        publisher = publish(rig.router, "cam", clip)
        await play(publisher, clip, SPEED)
        await until(lambda: frame_count(ports[0]) >= len(clip), "all frames")
        data = b"".join(ports[0].datagrams)
        assert max(map(len, ports[0].datagrams)) == 1316
        assert ts_check.check(data).problems == []
        sent = frames.read(clips.BUNNY)
        minimum = {str(k): sum(f.track.kind is k for f in clip) for k in (Kind.VIDEO, Kind.AUDIO)}
        expected = frames.Expectation(Fraction(1, 90_000), Fraction(1, 1000), minimum=minimum)
        assert frames.compare(sent, frames.read(data, "mpegts"), expected) == []
        assert forwards.snapshot("cam")[0].sent_bytes == len(data)


def frame_count(port: Port) -> int:
    report = ts_check.check(b"".join(port.datagrams))
    return sum(map(len, report.units.values()))


@pytest.mark.parametrize("scheme", ["rtp"])
async def test_there_and_back(scheme: str, ports: list[Port], tmp_path: Path) -> None:
    """What one FLUX forwards another one takes in: the same frames at the same times."""
    base = number_of(ports[0])
    for port in ports:
        port.sock.close()
    file = tmp_path / "cam.sdp"
    clip = clips.read(clips.PYRAMID)[:60]  # three B-frames deep
    async with DatagramRig() as rig:
        rig.declare("cam")
        rig.declare("copy")
        forwards = rig.forward()
        forwards.declare("cam", [target(f"{scheme}://127.0.0.1:{base}?sdp={file}")], passive=True)
        publisher = publish(rig.router, "cam", clip)
        await play(publisher, clip[:20], SPEED)
        await until(file.exists, "the description")
        publisher.close("again", time.monotonic())
        source = RtpSource(
            "copy", "rtp://127.0.0.1", str(file), rig.router, rig.says("copy"),
            DatagramOptions(media_timeout=5.0),
        )  # fmt: skip
        rig.begin("copy", source)
        log = FrameLog(rig.router, "copy", time.monotonic)
        await until(lambda: bool(rig.states), "it listens")
        await asyncio.sleep(0.1)
        publisher = publish(rig.router, "cam", clip)
        await play(publisher, clip, SPEED)
        # The last access unit ends with its marker; nothing has to follow it.
        await until(lambda: log.count(Kind.VIDEO) >= len(clip), "all frames")
        sent = frames.read(clips.PYRAMID)
        expected = frames.Expectation(
            Fraction(1, 90_000), Fraction(1, 1000), minimum={"video": len(clip)}
        )
        assert frames.compare(sent, log.units(), expected) == []
        assert source.figures().lost == 0


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("rtp://no-such-host.invalid:5004", "dns"),
        ("udp://239.255.7.9:5004?interface=nosuch0", "interface-not-found"),
    ],
)
async def test_failures_have_names(url: str, reason: str) -> None:
    clip = short_clip(0.5)
    async with DatagramRig() as rig:
        rig.declare("cam")
        forwards = rig.forward()
        forwards.declare("cam", [target(url)], passive=True)
        publisher = publish(rig.router, "cam", clip)
        await play(publisher, clip, SPEED)
        await until(lambda: reason in forwards.snapshot("cam")[0].reason, reason, 20.0)
        await until(lambda: forwards.snapshot("cam")[0].attempts >= 2, "another attempt", 20.0)
        stream = rig.router.find("cam")
        assert stream is not None
        assert set(stream.outputs) == set()


async def test_a_description_that_cannot_be_written_stops_nothing(ports: list[Port]) -> None:
    clip = short_clip(1.0)
    async with DatagramRig() as rig:
        rig.declare("cam")
        forwards = rig.forward()
        url = f"rtp://127.0.0.1:{number_of(ports[0])}?sdp=/no/such/folder/cam.sdp"
        forwards.declare("cam", [target(url)], passive=True)
        publisher = publish(rig.router, "cam", clip)
        await play(publisher, clip, SPEED)
        assert forwards.snapshot("cam")[0].state == "running"
        assert ports[0].datagrams != []


async def test_a_lost_stream_and_the_same_target_again(ports: list[Port]) -> None:
    clip = short_clip(1.0)
    async with DatagramRig() as rig:
        stream = rig.declare("cam")
        forwards = rig.forward()
        forwards.declare("cam", [target(f"udp://127.0.0.1:{number_of(ports[0])}")], passive=True)
        publisher = publish(rig.router, "cam", clip)
        await play(publisher, clip, SPEED)
        stream.release("source-lost", time.monotonic())
        publisher.close("source-lost", time.monotonic())
        assert forwards.snapshot("cam")[0].state == "waiting"
        before = len(ports[0].datagrams)
        publisher = publish(rig.router, "cam", clip)
        await play(publisher, clip, SPEED)
        await until(lambda: len(ports[0].datagrams) > before, "it goes on")
        said = [e.state for e in rig.events if isinstance(e, ForwardStateChanged)]
        assert said.count("running") == 2


async def test_a_target_in_a_group_says_where_it_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "cam.sdp"
    clip = short_clip(0.5)
    async with DatagramRig() as rig:
        rig.declare("cam")
        forwards = rig.forward()
        url = f"rtp://232.7.7.9:5004?interface=lo&ttl=3&sdp={file}"
        forwards.declare("cam", [target(url)], passive=True)
        publisher = publish(rig.router, "cam", clip)
        await play(publisher, clip, SPEED)
        await until(file.exists, "the description")
        described = SessionDescription.parse(file.read_bytes())
        assert described.connection == "IN IP4 232.7.7.9/3"
        ours = route_to(socket.AF_INET, ("232.7.7.9", 5004), "lo")
        source_filter = described.media[0].attribute("source-filter")
        assert source_filter == f"incl IN IP4 232.7.7.9 {ours}"


async def test_wrong_urls_are_refused() -> None:
    for make in (
        lambda: TsForward("cam", "udp://h", lambda *_: None),
        lambda: RtpForward("cam", "rtp://h", lambda *_: None, lambda _: None),
    ):
        with pytest.raises(PeerError, match="url-invalid"):
            make()
