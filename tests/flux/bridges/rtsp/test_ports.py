"""The server's UDP ports: who is heard, who is a stranger, and where nothing is ever sent."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from flux.base.errors import PeerError
from flux.bridges.rtsp.ports import UdpPorts, plain_host
from flux.net.udp_send import Run
from media.link import Linked
from protocols.rtcp import ReceiverReport, ReportBlock, SenderReport, parse_compound
from tests.support.rtsp_app import TCP_01
from tests.support.rtsp_caller import Caller, UdpPair, until
from tests.support.rtsp_stage import Stage

REPORT = ReceiverReport(1).serialize()


@asynccontextmanager
async def opened(host: str = "127.0.0.1") -> AsyncIterator[UdpPorts]:
    ports = UdpPorts()
    ports.start(host, 0, 0)
    try:
        yield ports
    finally:
        ports.close()


class Ear:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def __call__(self, datagrams: list[bytes], now: float) -> None:
        self.heard += datagrams


@asynccontextmanager
async def pair(host: str = "127.0.0.1") -> AsyncIterator[UdpPair]:
    made = UdpPair(host)
    try:
        yield made
    finally:
        made.close()


# -- the ports themselves ----------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
async def test_a_pair_is_even_and_odd(host: str) -> None:
    async with opened(host) as ports:
        first, second = ports.numbers
        assert (first % 2, second) == (0, first + 1)


async def test_chosen_ports_are_those_that_were_asked_for() -> None:
    async with opened() as free:
        wanted = free.numbers
    ports = UdpPorts()
    ports.start("127.0.0.1", *wanted)
    assert ports.numbers == wanted
    ports.close()


async def test_a_port_that_is_taken_leaves_the_other_free() -> None:
    async with opened() as other, opened() as free:
        first = free.numbers[0]
        free.close()
        ports = UdpPorts()
        with pytest.raises(PeerError, match="address-in-use"):
            ports.start("127.0.0.1", first, other.numbers[1])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", first))
        ports.close()


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
async def test_senders_are_told_apart(host: str) -> None:
    async with opened(host) as ports, pair() as one, pair() as two:
        ears = [Ear() for _ in range(4)]
        for who, rtp, rtcp in ((one, ears[0], ears[1]), (two, ears[2], ears[3])):
            ports.listen("127.0.0.1", who.ports[0], rtp, is_rtcp=False)
            ports.listen("127.0.0.1", who.ports[1], rtcp, is_rtcp=True)
        for who, name in ((one, b"1"), (two, b"2")):
            for index in (0, 1):
                who.send(index, name + b"%d" % index, ports.numbers[index])
        await until(lambda: all(ear.heard for ear in ears))
        assert [ear.heard for ear in ears] == [[b"10"], [b"11"], [b"20"], [b"21"]]
        assert ports.strangers == {}


async def test_the_newest_listener_has_the_port_until_it_forgets() -> None:
    async with opened() as ports, pair() as sender:
        port = sender.ports[0]
        old, new = Ear(), Ear()
        ports.listen("127.0.0.1", port, old, is_rtcp=False)
        ports.listen("127.0.0.1", port, new, is_rtcp=False)
        ports.forget("127.0.0.1", port, old, is_rtcp=False)  # it is no longer its own
        sender.send(0, b"x", ports.numbers[0])
        await until(lambda: new.heard == [b"x"])
        ports.forget("127.0.0.1", port, new, is_rtcp=False)
        sender.send(0, b"y", ports.numbers[0])
        await until(lambda: ports.strangers["rtp-stranger"] == 1)
        assert old.heard == []
        assert ports.registrations == 0


async def test_the_report_in_front_of_the_first_packet_is_heard_first() -> None:
    """By it the packet is placed in time; afterwards, and for others, nothing is read ahead."""
    async with opened() as ports, pair() as sender:
        ear = Ear()
        for index in (0, 1):
            ports.listen("127.0.0.1", sender.ports[index], ear, is_rtcp=bool(index))
        ports.expect("127.0.0.1", sender.ports[0])
        for index, data in ((0, b"media"), (1, b"report")):
            sender.send(index, data, ports.numbers[index])
        await until(lambda: len(ear.heard) == 2)
        assert ear.heard == [b"report", b"media"]
        sender.send(0, b"more", ports.numbers[0])
        await until(lambda: ear.heard[-1] == b"more")
        ports.expect("127.0.0.1", sender.ports[0])
        ports.forget("127.0.0.1", sender.ports[0], ear, is_rtcp=False)
        sender.send(0, b"late", ports.numbers[0])
        await until(lambda: ports.strangers["rtp-stranger"] == 1)


async def test_strangers_are_counted_and_not_heard() -> None:
    async with opened() as ports, pair() as known, pair() as unknown, pair("127.0.0.2") as far:
        ear = Ear()
        for index in (0, 1):
            ports.listen("127.0.0.1", known.ports[index], ear, is_rtcp=bool(index))
            unknown.send(index, b"s", ports.numbers[index])
            far.send(index, b"f", ports.numbers[index])
        known.send(0, b"rtp to the rtcp port", ports.numbers[1])
        await until(lambda: sum(ports.strangers.values()) == 5)
        assert ports.strangers == {"rtp-stranger": 2, "rtcp-stranger": 3}
        assert ear.heard == []


async def test_rtcp_from_another_port_is_of_the_only_session_of_its_host() -> None:
    async with opened() as ports, pair() as nat:
        ear, other = Ear(), Ear()
        ports.listen_anywhere("127.0.0.1", ear)
        nat.send(1, REPORT, ports.numbers[1])
        await until(lambda: ear.heard == [REPORT])
        nat.send(0, b"rtp", ports.numbers[0])  # of RTP nobody is guessed
        await until(lambda: ports.strangers["rtp-stranger"] == 1)
        ports.listen_anywhere("127.0.0.1", other)
        nat.send(1, REPORT, ports.numbers[1])
        await until(lambda: ports.strangers["rtcp-stranger"] == 1)
        ports.forget_anywhere("127.0.0.1", ear)
        nat.send(1, REPORT, ports.numbers[1])
        await until(lambda: other.heard == [REPORT])
        ports.forget_anywhere("127.0.0.1", other)
        ports.forget_anywhere("127.0.0.1", other)  # once more does nothing
        assert ports.registrations == 0


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
async def test_sends_to_ipv4_whatever_the_sockets_are(host: str) -> None:
    async with opened(host) as ports, pair() as taker:
        run = Run(0, b"abcabc", 3, 2)
        assert ports.rtp.send(run, ports.address("127.0.0.1", taker.ports[0]))
        await until(lambda: taker.rtp == [b"abc", b"abc"])
        assert {address for _, address in taker.heard[0]} == {("127.0.0.1", ports.numbers[0])}


async def test_which_addresses_can_be_reached() -> None:
    async with opened("127.0.0.1") as four, opened("") as both:
        assert [four.reaches(host) for host in ("10.0.0.1", "2001:db8::1")] == [True, False]
        hosts = ("10.0.0.1", "2001:db8::1", "fe80::1")
        assert [both.reaches(host) for host in hosts] == [True, True, False]


async def test_what_the_system_refuses_is_counted() -> None:
    async with opened() as ports:
        assert not ports.rtp.send(Run(0, b"x", 1, 1), ("127.0.0.1", 0))
        assert ports.errors == 1


@pytest.mark.parametrize(
    ("host", "plain"),
    [("::ffff:10.0.0.1", "10.0.0.1"), ("10.0.0.1", "10.0.0.1"), ("::ffff:a", "::ffff:a")],
)
def test_addresses_without_what_dual_stack_puts_before(host: str, plain: str) -> None:
    assert plain_host(host) == plain


# -- in the server -----------------------------------------------------------------------------


async def play(stage: Stage, *pairs: UdpPair) -> Caller:
    caller = await stage.call()
    await caller.play(*(each.offer for each in pairs))
    return caller


async def test_reports_through_a_nat_count_for_the_session() -> None:
    """Picture and sound, and RTCP comes from ports that no SETUP named."""
    async with Stage() as stage:
        camera = stage.camera()
        video, audio, nat = stage.pair(), stage.pair(), stage.pair()
        await play(stage, video, audio)
        await until(lambda: bool(video.rtcp) and bool(audio.rtcp))

        def lost() -> int:
            (reader,) = stage.stream().readers.values()
            assert isinstance(reader, Linked)
            return reader.link().lost

        for pair_, count in ((video, 4), (audio, 3)):
            sent = parse_compound(pair_.rtcp[0])[0]
            assert isinstance(sent, SenderReport)
            block = ReportBlock(sent.ssrc, 0, count, 0, 0, 0, 0)
            nat.send(1, ReceiverReport(1, (block,)).serialize(), stage.rtp_port + 1)
        await until(lambda: lost() == 7)
        for _ in range(3):
            await camera.flow(50.0, size=10)
            nat.send(1, REPORT, stage.rtp_port + 1)
            await stage.advance(0.0)
        assert stage.bridge.usage().players == 1  # it is life, too
        assert stage.bridge.refusals()["rtcp-stranger"] == 0


async def test_two_sessions_behind_one_address_are_not_guessed() -> None:
    async with Stage() as stage:
        stage.camera()
        nat = stage.pair()
        for _ in range(2):
            await play(stage, stage.pair())
        nat.send(1, REPORT, stage.rtp_port + 1)
        await until(lambda: stage.bridge.refusals()["rtcp-stranger"] == 1)


FOREIGN: list[Callable[[str], str]] = [
    lambda ports: f"RTP/AVP;unicast;destination=127.0.0.2;client_port={ports}",
    lambda ports: f"RTP/AVP/UDP;unicast;destination=example.invalid;client_port={ports}",
    lambda ports: f"RTP/AVP;unicast;destination=::1;client_port={ports}",
]


@pytest.mark.parametrize("offer", FOREIGN)
async def test_nothing_is_sent_to_another_host(offer: Callable[[str], str]) -> None:
    async with Stage() as stage:
        stage.camera()
        near = stage.pair()
        far = stage.pair("127.0.0.2", near.ports)
        caller = await stage.call()
        ports = "{}-{}".format(*near.ports)
        reply = await caller.ask("SETUP", caller.url + "/trackID=0", Transport=offer(ports))
        assert (reply.status, "foreign-destination" in reply.phrase) == (461, True)
        assert stage.bridge.refusals()["rtsp-foreign-destination"] == 1
        reply = await caller.ask(
            "SETUP", caller.url + "/trackID=0", Transport=f"{offer(ports)},{TCP_01}"
        )
        assert "interleaved=0-1" in reply["Transport"]
        await caller.ask("PLAY", Session=reply.session)
        await caller.until_packets(0, 2)
        assert far.rtp == far.rtcp == near.rtp == near.rtcp == []


async def test_ports_of_the_own_host_are_served_there() -> None:
    async with Stage() as stage:
        camera = stage.camera()
        near = stage.pair()
        far = stage.pair("127.0.0.2", near.ports)
        caller = await stage.call()
        offer = "RTP/AVP;unicast;source=127.0.0.2;client_port={}-{}".format(*near.ports)
        reply = await caller.ask("SETUP", caller.url + "/trackID=0", Transport=offer)
        assert reply.status == 200
        assert "source" not in reply["Transport"]
        await caller.ask("PLAY", Session=reply.session)
        camera.run(2)
        await until(lambda: len(near.rtp) >= 4)
        assert far.rtp == far.rtcp == []


@pytest.mark.parametrize("ports", ["0-0", "0-1", "5000", "65536-65537", "x", "70000"])
async def test_odd_ports(ports: str) -> None:
    async with Stage() as stage:
        stage.camera()
        caller = await stage.call()
        reply = await caller.ask(
            "SETUP",
            caller.url + "/trackID=0",
            Transport=f"RTP/AVP;unicast;client_port={ports}",
        )
        assert reply.status == (200 if ports == "5000" else 461)  # the next port is meant


async def test_a_second_session_with_the_same_ports() -> None:
    """A player that came back before its old session was over: both are served, one is heard."""
    async with Stage() as stage:
        camera = stage.camera()
        shared = stage.pair()
        old = await play(stage, shared)
        new = await play(stage, shared)
        camera.run(2)
        await until(lambda: len(shared.rtp) >= 6)
        old.hang_up()
        await until(lambda: stage.bridge.usage().players == 1)
        seen = len(shared.rtp)
        camera.run(2)
        await until(lambda: len(shared.rtp) >= seen + 2)
        await stage.advance(40)
        shared.send(1, REPORT, stage.rtp_port + 1)
        await stage.advance(0)
        await stage.advance(40)
        assert not new.is_closed
        assert stage.bridge.usage().players == 1
