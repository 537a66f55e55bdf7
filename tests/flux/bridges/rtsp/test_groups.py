"""Multicast: one group a stream, one flow, and nothing of it when the last viewer has left."""

import asyncio
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv4Network

import pytest

from flux.bridges.rtsp.groups import MAX_TRACKS
from media.events import ReaderClosed
from media.stream import StreamOptions
from media.track import PCMU, Kind, TrackDescription
from protocols.rtcp import Goodbye, RtcpPacket, SenderReport, parse_compound
from protocols.rtp import RtpPacket
from tests.support.ports import free_port
from tests.support.rtsp_app import TCP_01, Reply
from tests.support.rtsp_caller import Caller, until
from tests.support.rtsp_stage import NAME, SOUND, VIDEO, Camera, Stage

OFFER = "RTP/AVP;multicast"
RANGE = "239.255.77.0/24"
IP_RECVTTL = 12  # ip(7)
LOOPBACK = socket.inet_aton("127.0.0.1")


class Ears:
    """Sockets that have joined a group: packets by port, and the TTL of each."""

    def __init__(self, group: str, ports: list[int]) -> None:
        self.heard: dict[int, list[bytes]] = {port: [] for port in ports}
        self.ttls: set[int] = set()
        self.senders: set[str] = set()
        self._sockets: list[socket.socket] = []
        for port in ports:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
            sock.bind((group, port))
            joined = socket.inet_aton(group) + LOOPBACK
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
            sock.setblocking(False)
            asyncio.get_running_loop().add_reader(sock.fileno(), self._hear, sock, port)
            self._sockets.append(sock)

    def _hear(self, sock: socket.socket, port: int) -> None:
        with suppress(BlockingIOError):
            while True:
                data, more, _, address = sock.recvmsg(65536, 64)
                self.heard[port].append(data)
                self.senders.add(address[0])
                self.ttls |= {struct.unpack("i", value)[0] for _, _, value in more}

    def close(self) -> None:
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()


@contextmanager
def listening(reply: Reply, tracks: int = 2) -> Iterator[Ears]:
    """Join what a SETUP told, with the ports of the next tracks."""
    group, first, _ = told(reply)
    ears = Ears(group, list(range(first, first + 2 * tracks)))
    try:
        yield ears
    finally:
        ears.close()


def told(reply: Reply) -> tuple[str, int, int]:
    """Group, port and TTL."""
    assert reply.status == 200, reply
    match = re.search(
        r"multicast;destination=([\d.]+);source=[\d.]+;port=(\d+)-(\d+);ttl=(\d+);ssrc=",
        reply["Transport"],
    )
    assert match is not None, reply["Transport"]
    assert int(match[3]) == int(match[2]) + 1
    return match[1], int(match[2]), int(match[4])


def stage_of() -> Stage:
    return Stage(groups=RANGE, group_port=free_port(2 * MAX_TRACKS), group_ttl=5)


async def set_up(caller: Caller, session: str = "", track: int = 0) -> Reply:
    url = f"{caller.url}/trackID={track}"
    if session:
        return await caller.ask("SETUP", url, Transport=OFFER, Session=session)
    return await caller.ask("SETUP", url, Transport=OFFER)


def reports(packets: list[bytes]) -> list[RtcpPacket]:
    return [report for data in packets for report in parse_compound(data)]


async def until_goodbye(ears: Ears, port: int) -> None:
    await until(lambda: any(isinstance(each, Goodbye) for each in reports(ears.heard[port])))


async def until_heard(ears: Ears, port: int, count: int) -> None:
    await until(lambda: len(ears.heard[port]) == count)


async def test_a_viewer_is_told_group_ports_and_ttl() -> None:
    async with stage_of() as stage:
        camera = stage.camera()
        caller = await stage.call()
        first = await set_up(caller)
        group, port, ttl = told(first)
        second = await set_up(caller, first.session, 1)
        assert told(second) == (group, port + 2, 5)
        assert IPv4Address(group) in IPv4Network(RANGE)
        assert ttl == 5
        with listening(first) as ears:
            assert (await caller.ask("PLAY", Session=first.session)).status == 200
            camera.run(3)
            await until(lambda: len(ears.heard[port]) >= 5 and len(ears.heard[port + 2]) >= 4)
            for each, reply in ((port, first), (port + 2, second)):
                match = re.search(r"ssrc=([0-9A-F]{8})", reply["Transport"])
                assert match is not None
                packets = [RtpPacket.parse(data) for data in ears.heard[each]]
                assert {packet.ssrc for packet in packets} == {int(match[1], 16)}
                (report, *_) = reports(ears.heard[each + 1])
                assert isinstance(report, SenderReport)
                assert report.ssrc == packets[0].ssrc
            assert ears.ttls == {5}
            assert f";source={ears.senders.pop()};" in first["Transport"]
            assert not ears.senders


async def test_rtp_info_is_what_the_first_viewer_gets_and_nobody_else() -> None:
    async with stage_of() as stage:
        stage.camera()
        one, two = await stage.call(), await stage.call()
        first = await set_up(one)
        with listening(first) as ears:
            reply = await one.ask("PLAY", Session=first.session)
            port = told(first)[1]
            await until(lambda: len(ears.heard[port]) >= 2)
            packet = RtpPacket.parse(ears.heard[port][0])
            wanted = f"seq={packet.sequence};rtptime={packet.timestamp}"
            assert reply["RTP-Info"].endswith(wanted)
            second = await set_up(two)
            reply = await two.ask("PLAY", Session=second.session)
            assert (reply.status, "RTP-Info" in reply) == (200, False)


async def test_one_flow_however_many_watch() -> None:
    async with stage_of() as stage:
        camera = stage.camera()
        callers = [await stage.call() for _ in range(5)]
        replies = [await set_up(caller) for caller in callers]
        assert len({told(reply) for reply in replies}) == 1
        assert stage.bridge.usage().groups == 1
        with listening(replies[0]) as ears:
            for caller, reply in zip(callers, replies, strict=True):
                await caller.ask("PLAY", Session=reply.session)
            camera.run(5)
            port = told(replies[0])[1]
            await until(lambda: len(ears.heard[port]) >= 7)
            numbers = [RtpPacket.parse(data).sequence for data in ears.heard[port]]
            assert len(numbers) == len(set(numbers)) == 7
            assert len(stage.stream().readers) == 5
            await stage.advance(1.0)
            size = sum(len(data) for each in (port, port + 2) for data in ears.heard[each])
            await until(lambda: stage.stream().sent_bytes == size)  # once, not five times
            for caller in callers[:4]:
                caller.hang_up()
            await until(lambda: stage.bridge.usage().players == 1)
            camera.run(2)
            await until(lambda: len(ears.heard[port]) >= 9)


@pytest.mark.parametrize("method", ["TEARDOWN", "hang-up", "end"])
async def test_the_flow_ends_with_its_last_viewer(method: str) -> None:
    async with stage_of() as stage:
        camera = stage.camera()
        caller = await stage.call()
        first = await set_up(caller)
        port = told(first)[1]
        with listening(first) as ears:
            await caller.ask("PLAY", Session=first.session)
            await until(lambda: len(ears.heard[port]) >= 2)
            if method == "TEARDOWN":
                await caller.ask("TEARDOWN", Session=first.session)
            elif method == "hang-up":
                caller.hang_up()
            else:
                stage.router.remove(NAME, "stream-deleted", 0.0)
                await caller.wait_closed()
            await until(lambda: stage.bridge.usage().groups == 0)
            for each in (port + 1, port + 3):
                await until_goodbye(ears, each)
            if method != "end":
                before = len(ears.heard[port])
                camera.run(3)
                await stage.advance(1.0)
                assert len(ears.heard[port]) == before
        assert len(stage.heard(ReaderClosed)) == 1


async def test_a_viewer_that_was_set_up_and_goes_takes_the_group_with_it() -> None:
    async with stage_of() as stage:
        stage.camera()
        caller = await stage.call()
        await set_up(caller)
        assert stage.bridge.usage().groups == 1
        caller.hang_up()
        await until(lambda: stage.bridge.usage().groups == 0)


async def test_a_pause_of_one_stops_no_other() -> None:
    async with stage_of() as stage:
        camera = stage.camera()
        one, two = await stage.call(), await stage.call()
        first, second = await set_up(one), await set_up(two)
        port = told(first)[1]
        with listening(first) as ears:
            for caller, reply in ((one, first), (two, second)):
                await caller.ask("PLAY", Session=reply.session)
            assert (await one.ask("PAUSE", Session=first.session)).status == 200
            camera.run(2)
            await until(lambda: len(ears.heard[port]) >= 4)
            reply = await one.ask("PLAY", Session=first.session)
            assert (reply.status, "RTP-Info" in reply) == (200, False)
            camera.run(2)
            await until(lambda: len(ears.heard[port]) >= 6)
            numbers = [RtpPacket.parse(data).sequence for data in ears.heard[port]]
            assert len(set(numbers)) == len(numbers)


async def test_reports_go_to_the_group_each_five_seconds() -> None:
    async with stage_of() as stage:
        camera = stage.camera()
        caller = await stage.call()
        first = await set_up(caller)
        port = told(first)[1]
        with listening(first) as ears:
            await caller.ask("PLAY", Session=first.session)
            await until(lambda: len(ears.heard[port + 1]) == 1)
            for count in (2, 3):
                await camera.flow(4.4)
                assert len(ears.heard[port + 1]) == count - 1
                await camera.flow(1.2)
                await until_heard(ears, port + 1, count)


async def test_streams_have_groups_of_their_own_and_a_range_has_an_end() -> None:
    async with Stage(groups="239.255.78.0/31", group_port=31_000) as stage:
        callers = []
        for name in ("one", "two", "three"):
            stage.camera(name)
            callers.append(await stage.call(name))
        replies = [await set_up(caller) for caller in callers]
        assert {told(reply)[0] for reply in replies[:2]} == {"239.255.78.0", "239.255.78.1"}
        assert replies[2].status == 461
        assert "no-multicast-group" in replies[2].phrase
        callers[0].hang_up()
        await until(lambda: stage.bridge.usage().groups == 1)
        again = await set_up(callers[2])
        assert told(again)[0] == told(replies[0])[0]


async def test_more_tracks_than_a_group_has_ports_for() -> None:
    async with stage_of() as stage:
        stage.router.declare(NAME, StreamOptions())
        sound = TrackDescription(Kind.AUDIO, PCMU, 8_000, SOUND)
        camera = Camera(stage, NAME, [VIDEO, *[sound] * 16])
        stage.cameras.append(camera)
        for track in range(1, 17):
            camera.write(track, (bytes(160),))
        camera.video(key=True)
        caller = await stage.call()
        reply = await set_up(caller)
        assert (reply.status, "too-many-tracks" in reply.phrase) == (461, True)
        offers = f"{OFFER},{TCP_01}"
        reply = await caller.ask("SETUP", caller.url + "/trackID=0", Transport=offers)
        assert reply.status == 461  # the first that could be had decides


async def test_an_interface_that_there_is_not() -> None:
    async with Stage(groups=RANGE, group_interface="nowhere0") as stage:
        stage.camera()
        caller = await stage.call()
        reply = await set_up(caller)
        assert (reply.status, "multicast-no-route" in reply.phrase) == (461, True)
        assert stage.bridge.usage().groups == 0


async def test_a_stream_that_comes_anew_has_a_new_flow() -> None:
    """Other tracks end the group with the session; the next viewer begins another one."""
    async with stage_of() as stage:
        camera = stage.camera()
        caller = await stage.call()
        reply = await set_up(caller)
        await caller.ask("PLAY", Session=reply.session)
        camera.stop()
        camera.descriptions = [VIDEO]
        camera.start()
        camera.run(2, key=True)
        await caller.wait_closed()
        await until(lambda: stage.bridge.usage().groups == 0)
        again = await stage.call()
        reply = await set_up(again)
        with listening(reply, 1) as ears:
            await again.ask("PLAY", Session=reply.session)
            await until(lambda: len(ears.heard[told(reply)[1]]) >= 2)
