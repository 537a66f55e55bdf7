"""An RTP session over the loopback interface: who is taken, when it ends, how it begins anew."""

import asyncio
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.figures import RtpFigures
from flux.bridges.udp.rtp import RtpSource
from flux.bridges.udp.source import DatagramOptions
from media.events import PublisherStopped
from protocols.rtcp import Goodbye, ReceiverReport, SenderReport, parse_compound, serialize_compound
from protocols.rtp import RtpPacket
from tests.support.datagrams import DatagramRig, until
from tests.support.ports import free_port

PCMU = 0
QUICK = DatagramOptions(
    media_timeout=0.5, receive_buffer_bytes=65_536, retry_first=0.05, retry_longest=0.1
)
pytestmark = pytest.mark.usefixtures("steady_time")


class Sender:
    """A telephone: PCMU from one port of the loopback interface."""

    def __init__(self, host: str = "127.0.0.1", ssrc: int = 0x11) -> None:
        self.rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.rtcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.rtp.bind((host, 0))
        self.rtcp.bind((host, 0))
        self.rtcp.settimeout(5.0)
        self.ssrc = ssrc
        self.sequence = 100

    def packet(self, payload_type: int = PCMU) -> bytes:
        self.sequence += 1
        timestamp = 160 * self.sequence
        return RtpPacket(
            payload_type, self.sequence, timestamp, self.ssrc, bytes([self.sequence & 0xFF]) * 160
        ).serialize()

    def send(self, port: int, count: int = 1, host: str = "127.0.0.1") -> None:
        for _ in range(count):
            self.rtp.sendto(self.packet(), (host, port))

    def report(self, port: int, *, bye: bool = False) -> None:
        report = SenderReport(self.ssrc, 3_900_000_000 << 32, 160 * self.sequence, 1, 160)
        packets = (report, Goodbye((self.ssrc,))) if bye else (report,)
        self.rtcp.sendto(serialize_compound(packets), ("127.0.0.1", port))

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()


@pytest.fixture
def sender() -> Iterator[Sender]:
    made = Sender()
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Sender]:
    made = Sender(ssrc=0x99)
    yield made
    made.close()


@pytest.fixture
def port() -> int:
    return free_port()


def sdp(port: int, *lines: str) -> str:
    return "".join(f"{line}\n" for line in ("v=0", f"m=audio {port} RTP/AVP {PCMU}", *lines))


def source_of(
    rig: DatagramRig, url: str, description: str, options: DatagramOptions = QUICK
) -> RtpSource:
    """Declare the stream `phone` with this source, and start it."""
    rig.declare("phone")
    source = RtpSource("phone", url, description, rig.router, rig.says("phone"), options)
    rig.begin("phone", source)
    return source


async def heard(rig: DatagramRig, source: RtpSource, packets: int) -> RtpFigures:
    await until(lambda: source.figures().packets >= packets, f"{packets} packets")
    return source.figures()


async def is_open(rig: DatagramRig, port: int, kind: int = socket.AF_INET) -> None:
    """Wait until somebody has bound the port."""

    def bound() -> bool:
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return True
        return False

    await until(bound, f"port {port} is open")


async def test_from_the_first_packet_to_the_stop(sender: Sender, port: int) -> None:
    async with DatagramRig() as rig:
        source = source_of(rig, "rtp://127.0.0.1", sdp(port))
        await is_open(rig, port + 1)
        assert rig.states == [("connecting", "")]
        assert rig.router.publisher("phone") is None
        sender.send(port, 20)
        figures = await heard(rig, source, 20)
        assert (figures.lost, figures.duplicates) == (0, 0)
        assert rig.states[-1] == ("running", "")
        stream = rig.router.find("phone")
        assert stream is not None
        assert [(str(t.kind), t.codec) for t in stream.tracks] == [("audio", "pcmu")]
        rig.router.close(time.monotonic())
        await source.wait_stopped()
        assert rig.states[-1] == ("stopped", "server-stopping")
        assert source.is_at_rest
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", port))  # nothing is left
        assert source.figures().packets == 20


async def test_a_source_may_start_again_at_once(sender: Sender, port: int) -> None:
    async with DatagramRig() as rig:
        source = source_of(rig, "rtp://127.0.0.1", sdp(port))
        await is_open(rig, port)
        sender.send(port, 2)
        await heard(rig, source, 2)
        source.stop("test")
        source.stop("test")
        source.start()
        await until(lambda: rig.states[-1] == ("connecting", ""), "a second life")
        await is_open(rig, port)
        sender.send(port, 2)
        await heard(rig, source, 4)
        assert ("stopped", "test") in rig.states


async def test_silence_ends_a_run_and_the_next_packet_begins_one(
    sender: Sender, other: Sender, port: int
) -> None:
    async with DatagramRig() as rig:
        source = source_of(rig, "rtp://127.0.0.1", sdp(port))
        await until(lambda: ("waiting", "no-media") in rig.states, "no media")
        sender.send(port, 5)
        await heard(rig, source, 5)
        await until(lambda: rig.states[-1] == ("waiting", "media-timeout"), "the timeout")
        await is_open(rig, port)
        other.send(port, 5)  # at once, from elsewhere: nothing is waited for
        await heard(rig, source, 10)
        assert rig.states[-1] == ("running", "")
        ends = [event.reason for event in rig.events if isinstance(event, PublisherStopped)]
        assert ends == ["media-timeout"]


async def test_two_senders_are_not_mixed(sender: Sender, other: Sender, port: int) -> None:
    options = DatagramOptions(media_timeout=5.0, receive_buffer_bytes=65_536)
    async with DatagramRig() as rig:
        source = source_of(rig, "rtp://127.0.0.1", sdp(port), options)
        await is_open(rig, port)
        sender.send(port, 3)
        await heard(rig, source, 3)
        other.send(port, 7)
        sender.send(port, 3)
        assert (await heard(rig, source, 6)).packets == 6
        await asyncio.sleep(1.05)  # flux.bridges.udp.peer.SILENCE of the first one
        other.send(port, 3)
        await heard(rig, source, 9)
        stream = rig.router.find("phone")
        assert stream is not None
        assert stream.drops["rtp-sender-changed"] == 1
        source.stop("test")
        assert stream.drops["udp-foreign-sender"] == 7


async def test_a_new_ssrc_of_the_same_sender_goes_on(sender: Sender, port: int) -> None:
    async with DatagramRig() as rig:
        source = source_of(rig, "rtp://127.0.0.1", sdp(port))
        await is_open(rig, port)
        sender.send(port, 3)
        sender.ssrc, sender.sequence = 0x77, 5000
        sender.send(port, 3)
        await heard(rig, source, 6)
        assert [event for event in rig.events if isinstance(event, PublisherStopped)] == []


@pytest.mark.parametrize("way", ["url", "include", "exclude"])
async def test_only_one_host_is_heard(way: str, port: int) -> None:
    wanted, unwanted = Sender("127.0.0.2"), Sender("127.0.0.3", 0x99)
    lines = {
        "url": (),
        "include": ("a=source-filter: incl IN IP4 * 127.0.0.2",),
        "exclude": ("a=source-filter: excl IN IP4 * 127.0.0.3",),
    }[way]
    query = "?source=127.0.0.2" if way == "url" else ""
    try:
        async with DatagramRig() as rig:
            source = source_of(rig, f"rtp://127.0.0.1{query}", sdp(port, *lines))
            await is_open(rig, port)
            unwanted.send(port, 5)
            wanted.send(port, 3)
            assert (await heard(rig, source, 3)).packets == 3
            stream = rig.router.find("phone")
            source.stop("test")
            assert stream is not None
            assert stream.drops["udp-foreign-sender"] == 5
    finally:
        wanted.close()
        unwanted.close()


async def test_reports_are_answered_where_they_come_from(sender: Sender, port: int) -> None:
    async with DatagramRig() as rig:
        source = source_of(rig, "rtp://127.0.0.1", sdp(port))
        await is_open(rig, port + 1)
        sender.report(port + 1)  # before the first packet: kept
        sender.send(port, 3)
        await heard(rig, source, 3)
        source.stop("test")
        data = await asyncio.to_thread(sender.rtcp.recv, 1500)
        packets = parse_compound(data)
        assert isinstance(packets[0], ReceiverReport)
        assert isinstance(packets[-1], Goodbye)
        stream = rig.router.find("phone")
        assert stream is not None
        assert stream.drops["rtcp-truncated"] == 0


async def test_rtp_and_rtcp_on_one_port(sender: Sender, port: int) -> None:
    async with DatagramRig() as rig:
        source = source_of(rig, "rtp://127.0.0.1", sdp(port, "a=rtcp-mux"))
        await is_open(rig, port)
        sender.send(port, 2)
        report = SenderReport(sender.ssrc, 3_900_000_000 << 32, 160 * sender.sequence, 1, 160)
        bye = serialize_compound((report, Goodbye((sender.ssrc,))))
        sender.rtp.sendto(bye, ("127.0.0.1", port))
        await until(lambda: ("waiting", "source-ended") in rig.states, "BYE")
        stream = rig.router.find("phone")
        assert stream is not None
        assert not any("rtp" in reason for reason in stream.drops)
        assert source.figures().packets == 2


async def test_a_goodbye_ends_the_run(sender: Sender, port: int) -> None:
    async with DatagramRig() as rig:
        source = source_of(rig, "rtp://127.0.0.1", sdp(port))
        await is_open(rig, port + 1)
        sender.send(port, 3)
        await heard(rig, source, 3)
        sender.report(port + 1, bye=True)
        await until(lambda: rig.states[-1] == ("waiting", "source-ended"), "BYE")


async def test_junk_begins_nothing(sender: Sender, port: int) -> None:
    async with DatagramRig() as rig:
        source_of(rig, "rtp://127.0.0.1", sdp(port))
        await is_open(rig, port + 1)
        for junk in (b"", b"\x80", bytes(2000), b"\x47" * 188, sender.packet(payload_type=99)):
            sender.rtp.sendto(junk, ("127.0.0.1", port))
            sender.rtcp.sendto(junk, ("127.0.0.1", port + 1))
        await until(lambda: ("waiting", "no-media") in rig.states, "no media")
        assert ("running", "") not in rig.states


async def test_joined_datagrams_of_a_run(sender: Sender, port: int) -> None:
    """What a sender with UDP_SEGMENT sends comes out packet by packet."""
    async with DatagramRig() as rig:
        source = source_of(rig, "rtp://127.0.0.1", sdp(port))
        await is_open(rig, port)
        data = b"".join(sender.packet() for _ in range(30))
        segment = struct.pack("@H", 172)
        try:
            sender.rtp.sendmsg([data], [(socket.IPPROTO_UDP, 103, segment)], 0, ("127.0.0.1", port))
        except OSError:
            pytest.skip("no UDP_SEGMENT here")
        await heard(rig, source, 30)
        assert source.figures().lost == 0


async def test_a_group_that_the_description_names(sender: Sender, port: int) -> None:
    async with DatagramRig() as rig:
        group = "239.255.7.20"
        text = sdp(port, f"c=IN IP4 {group}/1")
        source = source_of(rig, "rtp://?interface=lo", text)
        await until(lambda: group_of(port) == group, "the group is joined")
        index = struct.pack("@4s4si", bytes(4), bytes(4), socket.if_nametoindex("lo"))
        sender.rtp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, index)
        sender.send(port, 4, group)
        await heard(rig, source, 4)


def group_of(port: int) -> str:
    """The local address of whoever has bound this port, by what the kernel says."""
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        host, _, number = line.split()[1].partition(":")
        if int(number, 16) == port:
            return socket.inet_ntoa(struct.pack("=I", int(host, 16)))
    return ""


@pytest.mark.parametrize(
    ("url", "text", "reason"),
    [
        ("rtp://127.0.0.1", "/no/such/file.sdp", "sdp-not-found"),
        ("rtp://127.0.0.1", "/proc", "sdp-unreadable"),
        ("rtp://127.0.0.1", "/dev/null", "sdp-empty"),
        ("rtp://127.0.0.1", "v=0\n", "no-usable-track"),
        ("rtp://192.0.2.9", sdp(5004), "address-not-local"),
        ("rtp://@239.255.7.1?interface=nosuch0", sdp(5004), "interface-not-found"),
        ("rtp://no-such-host.invalid", sdp(5004), "dns"),
    ],
)
async def test_what_cannot_be_opened_is_tried_again(url: str, text: str, reason: str) -> None:
    async with DatagramRig() as rig:
        source_of(rig, url, text)

        def waits() -> int:
            return sum(state == "waiting" and reason in why for state, why in rig.states)

        await until(lambda: waits() >= 2, f"two attempts: {reason}", 30.0)


async def test_a_port_that_is_taken_and_becomes_free(sender: Sender, port: int) -> None:
    async with DatagramRig() as rig:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", port))
            source = source_of(rig, "rtp://127.0.0.1", sdp(port))
            await until(lambda: ("waiting", "address-in-use") in rig.states, "the port is taken")
        await is_open(rig, port)
        sender.send(port, 2)
        await heard(rig, source, 2)


async def test_without_rtcp_there_is_media(sender: Sender, port: int) -> None:
    async with DatagramRig() as rig:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", port + 1))
            source = source_of(rig, "rtp://127.0.0.1", sdp(port))
            await is_open(rig, port)
            sender.send(port, 2)
            await heard(rig, source, 2)


async def test_a_name_that_is_published_already(sender: Sender, port: int) -> None:
    async with DatagramRig() as rig:
        source = source_of(rig, "rtp://127.0.0.1", sdp(port))
        await is_open(rig, port)
        sender.send(port, 2)
        await heard(rig, source, 2)
        second = RtpSource(
            "phone", "rtp://127.0.0.1", sdp(port + 2), rig.router, rig.says("phone"), QUICK
        )
        rig.states.clear()
        second.start()
        await is_open(rig, port + 2)
        for _ in range(3):
            sender.send(port + 2, 1)
            sender.send(port, 1)
            await asyncio.sleep(0)
        await until(lambda: ("waiting", "name-taken") in rig.states, "the name is taken")
        second.stop("test")
        await second.wait_stopped()


async def test_a_kicked_run_comes_again(sender: Sender, port: int) -> None:
    async with DatagramRig() as rig:
        source = source_of(rig, "rtp://127.0.0.1", sdp(port))
        await is_open(rig, port)
        sender.send(port, 2)
        await heard(rig, source, 2)
        publisher = rig.router.publisher("phone")
        assert publisher is not None
        assert rig.router.kick(publisher.session, time.monotonic())
        await until(lambda: ("waiting", "kicked") in rig.states, "it was kicked")
        await until(lambda: rig.states[-1] == ("connecting", ""), "it listens again")
        await is_open(rig, port)
        sender.send(port, 2)
        await heard(rig, source, 4)


async def test_a_description_in_a_file_is_read_anew(
    sender: Sender, port: int, tmp_path: Path
) -> None:
    file = tmp_path / "phone.sdp"
    async with DatagramRig() as rig:
        source = source_of(rig, "rtp://127.0.0.1", str(file))
        await until(lambda: ("waiting", "sdp-not-found") in rig.states, "there is no file")
        file.write_text(sdp(port))
        await is_open(rig, port)
        sender.send(port, 2)
        await heard(rig, source, 2)


async def test_a_fault_of_ours_is_tried_again(
    sender: Sender, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with DatagramRig() as rig:
        source = source_of(rig, "rtp://127.0.0.1", sdp(port))

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("broken")

        await is_open(rig, port)
        monkeypatch.setattr(rig.router, "publish", broken)
        sender.send(port, 1)
        await until(lambda: ("waiting", "internal-error") in rig.states, "the fault")
        monkeypatch.undo()
        await until(lambda: rig.states[-1] == ("connecting", ""), "it listens again")
        await is_open(rig, port)
        sender.send(port, 2)
        await heard(rig, source, 2)


async def test_a_wrong_url_is_refused() -> None:
    async with DatagramRig() as rig:
        with pytest.raises(WireError, match="url-invalid"):
            RtpSource("phone", "rtp://h:0", "v=0", rig.router, rig.says("phone"))
    assert not isinstance(WireError("x"), PeerError)
