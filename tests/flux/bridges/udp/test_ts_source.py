"""Transport streams over the loopback interface: plain and in RTP, by whoever sends."""

import asyncio
import socket
import time
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from flux.bridges.udp.rtp import RtpSource
from flux.bridges.udp.rtp_listener import part
from flux.bridges.udp.source import DatagramOptions
from flux.bridges.udp.ts import TsSource
from flux.bridges.udp.ts_in_rtp import TsInRtp
from flux.bridges.udp.ts_listener import is_media
from media.mpegts.muxer import TsMuxer
from media.track import Kind
from protocols.rtp import RtpPacket
from tests.support import clips, frames
from tests.support.datagrams import DatagramRig, until
from tests.support.frame_log import FrameLog
from tests.support.ports import free_port

QUICK = DatagramOptions(
    media_timeout=0.5, receive_buffer_bytes=1 << 20, retry_first=0.05, retry_longest=0.1
)
VIDEO_FRAMES = 50
pytestmark = pytest.mark.usefixtures("steady_time")


def transport_stream() -> bytes:
    clip = clips.read(clips.BUNNY)
    end = clip[0].dts / 90_000 + 2.2
    clip = [frame for frame in clip if frame.dts / frame.track.clock_rate < end]
    muxer = TsMuxer(clips.tracks_of(clip))
    return b"".join(map(muxer.encode, clip))


DATA = transport_stream()


def datagrams(size: int = 1316) -> list[bytes]:
    return [DATA[at : at + size] for at in range(0, len(DATA), size)]


def in_rtp(payloads: list[bytes], payload_type: int = 33, ssrc: int = 7) -> list[bytes]:
    return [
        RtpPacket(payload_type, 100 + number, 90 * number, ssrc, payload).serialize()
        for number, payload in enumerate(payloads)
    ]


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield sock


@pytest.fixture
def port() -> int:
    return free_port()


async def is_open(port: int) -> None:
    def bound() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return True
        return False

    await until(bound, f"port {port} is open")


async def send(sock: socket.socket, port: int, packets: list[bytes]) -> None:
    for number, packet in enumerate(packets):
        sock.sendto(packet, ("127.0.0.1", port))
        if number % 20 == 0:
            await asyncio.sleep(0.002)


def make(rig: DatagramRig, kind: str, port: int) -> TsSource | RtpSource:
    """Declare the stream `cam` with a source on this port, and start it."""
    rig.declare("cam")
    say = rig.says("cam")
    source: TsSource | RtpSource
    if kind == "udp":
        source = TsSource("cam", f"udp://127.0.0.1:{port}", rig.router, say, QUICK)
    elif kind == "rtp":
        source = RtpSource("cam", f"rtp://127.0.0.1:{port}", "", rig.router, say, QUICK)
    else:
        sdp = f"v=0\nm=video {port} RTP/AVP 98\na=rtpmap:98 MP2T/90000\n"
        source = RtpSource("cam", "rtp://127.0.0.1", sdp, rig.router, say, QUICK)
    rig.begin("cam", source)
    return source


@pytest.mark.parametrize(
    ("kind", "payload_type", "size"),
    [
        ("udp", None, 1316),
        ("udp", None, 188),
        ("udp", None, 188 * 20),
        ("udp", 33, 1316),
        ("udp", 96, 188),
        ("rtp", 33, 1316),
        ("rtp", None, 1316),
        ("sdp", 98, 1316),
    ],
)
async def test_every_frame_comes_out(
    kind: str, payload_type: int | None, size: int, sender: socket.socket, port: int
) -> None:
    async with DatagramRig() as rig:
        source = make(rig, kind, port)
        await is_open(port)
        log = FrameLog(rig.router, "cam", time.monotonic)
        packets = datagrams(size)
        if payload_type is not None:
            packets = in_rtp(packets, payload_type)
        await send(sender, port, packets)
        await until(lambda: log.count(Kind.VIDEO) >= VIDEO_FRAMES, "the frames")
        assert rig.states[0] == ("connecting", "")
        assert ("running", "") in rig.states
        await until(lambda: source.figures().packets == len(packets), "all packets")
        expected = frames.Expectation(
            Fraction(1, 90_000),
            Fraction(1, 1000),
            minimum={"video": VIDEO_FRAMES, "audio": 85},
        )
        assert frames.compare(frames.read(clips.BUNNY), log.units(), expected) == []


async def test_silence_ends_a_run_and_another_sender_begins_one(
    sender: socket.socket, port: int
) -> None:
    async with DatagramRig() as rig:
        source = make(rig, "udp", port)
        await until(lambda: ("waiting", "no-media") in rig.states, "no media")
        await is_open(port)
        await send(sender, port, datagrams())
        await until(lambda: ("waiting", "media-timeout") in rig.states, "the timeout")
        await is_open(port)
        rig.states.clear()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            await send(other, port, in_rtp(datagrams()))  # and in another form
        await until(lambda: ("running", "") in rig.states, "it runs again")
        await until(lambda: source.figures().packets == 2 * len(datagrams()), "all packets")


async def test_junk_begins_nothing(sender: socket.socket, port: int) -> None:
    async with DatagramRig() as rig:
        make(rig, "udp", port)
        await is_open(port)
        junk = [b"", b"G", bytes(1316), b"\x80" + bytes(300), in_rtp([bytes(188)])[0]]
        for _ in range(3):
            await send(sender, port, junk)
        await until(lambda: ("waiting", "no-media") in rig.states, "no media")
        assert ("running", "") not in rig.states


async def test_another_sender_is_not_mixed_in(sender: socket.socket, port: int) -> None:
    async with DatagramRig() as rig:
        source = make(rig, "udp", port)
        await is_open(port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            sender.sendto(datagrams()[0], ("127.0.0.1", port))
            await until(lambda: source.figures().packets == 1, "the first sender")
            await send(other, port, datagrams()[:10])
            await send(sender, port, datagrams()[1:])
        await until(lambda: ("running", "") in rig.states, "it runs")
        await until(lambda: source.figures().packets == len(datagrams()), "all of the first")
        source.stop("test")
        stream = rig.router.find("cam")
        assert stream is not None
        assert stream.drops["udp-foreign-sender"] == 10
        assert not any(reason.startswith("ts-") for reason in stream.drops)


async def test_lost_packets_are_told(sender: socket.socket, port: int) -> None:
    async with DatagramRig() as rig:
        source = make(rig, "udp", port)
        await is_open(port)
        packets = in_rtp(datagrams())
        del packets[100]
        await send(sender, port, packets)
        await until(lambda: source.figures().packets == len(packets), "the packets")
        await until(lambda: source.figures().lost == 1, "the loss")
        source.stop("test")
        stream = rig.router.find("cam")
        assert stream is not None
        assert stream.drops["rtp-packet-lost"] == 1


class RecordingSink:
    """What the demuxer would be told."""

    def __init__(self) -> None:
        self.told: list[bytes | int] = []

    def receive_datagrams(self, datagrams: list[bytes], now: float) -> None:
        assert now > 0
        self.told += datagrams

    def gap(self, packets: int, now: float) -> None:
        assert now > 0
        self.told.append(packets)


def test_rtp_is_put_in_order_and_gaps_stand_in_their_place() -> None:
    sink = RecordingSink()
    rtp = TsInRtp(33, sink)  # type: ignore[arg-type]  # list for Sequence
    packets = in_rtp([bytes([number]) * 188 for number in range(200)])
    first = [0, 1, 3, 2, 2, 5]
    rtp.receive([packets[n] for n in first], 1.0)
    assert [each[0] for each in sink.told if isinstance(each, bytes)] == [0, 1, 2, 3]
    due = rtp.get_timer()
    assert due is not None
    rtp.handle_timer(due)
    assert sink.told[4:] == [7, bytes([5]) * 188]
    assert rtp.drops == {"rtp-packet-lost": 1}
    assert rtp.reception.duplicates == 1


def test_what_is_media() -> None:
    packet = b"G" + bytes(187)
    assert is_media(packet)
    assert is_media(in_rtp([packet])[0])
    assert not is_media(packet[:100])
    assert not is_media(in_rtp([bytes(188)])[0])
    assert not is_media(b"\xbf" + bytes(200))


@given(st.lists(st.binary(max_size=400), max_size=20))
def test_any_datagrams_are_media_or_not(datagrams_: list[bytes]) -> None:
    assert {is_media(data) for data in datagrams_} <= {True, False}
    reports, media = part(datagrams_)
    assert sorted([*reports, *media]) == sorted(datagrams_)
    sink = RecordingSink()
    rtp = TsInRtp(33, sink)  # type: ignore[arg-type]  # list for Sequence
    rtp.receive(datagrams_, 1.0)
    rtp.handle_timer(10.0)


@pytest.mark.parametrize("size", range(0, 201, 20))
def test_truncated_rtp_is_no_media(size: int) -> None:
    whole = in_rtp([b"G" + bytes(187)])[0]
    assert is_media(whole[:size]) is (size >= len(whole))


async def test_urls_without_a_port_are_refused() -> None:
    async with DatagramRig() as rig:
        for make_source in (
            lambda: TsSource("cam", "udp://127.0.0.1", rig.router, rig.says("cam")),
            lambda: TsSource("cam", "rtp://127.0.0.1", rig.router, rig.says("cam")),
            lambda: RtpSource("cam", "rtp://127.0.0.1", "", rig.router, rig.says("cam")),
        ):
            with pytest.raises(WireError, match="url-invalid"):
                make_source()
