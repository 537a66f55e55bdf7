"""Groups of real links over lines that can be cut: no gap when one dies."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from protocols.srt.endpoint import Endpoint
from protocols.srt.group import MemberState
from protocols.srt.group_call import Place
from protocols.srt.group_link import GroupLink
from protocols.srt.link import Channel
from protocols.srt.options import GroupType, ListenerOptions, Options, SecurityOptions
from protocols.srt.packet import MESSAGE_MASK, is_control, unpack_header
from protocols.srt.reception import IncomingCall
from tests.support.datagrams import until
from tests.support.pcap import read_datagrams
from tests.support.srt_peers import PASSPHRASE, Collector, numbers, packet
from tests.support.udp_proxy import Line, UdpProxy, proxied

LOCAL = "127.0.0.1"
STEP = 0.004
LATENCY_MS = 200
pytestmark = pytest.mark.usefixtures("steady_time")


class Cut:
    """Loses everything once it is told to."""

    def __init__(self) -> None:
        self.is_cut = False

    def __call__(self, datagram: bytes) -> bool:
        del datagram
        return self.is_cut


@dataclass
class Pair:
    """Two ends joined by several lines."""

    server: Endpoint
    client: Endpoint
    cuts: list[Cut]
    lines: list[UdpProxy]
    calls: list[str]
    theirs: list[Collector]

    def places(self) -> list[Place]:
        """Where each link goes; the first one has the greatest weight."""
        return [
            Place((LOCAL, line.port), 10 * (len(self.lines) - index))
            for index, line in enumerate(self.lines)
        ]


@contextlib.asynccontextmanager
async def pair(options: Options, lines: list[Line]) -> AsyncIterator[Pair]:
    """Everything that is needed; the second and further links of a group join by themselves."""
    server, client = Endpoint.bind(LOCAL, 0), Endpoint.bind(LOCAL, 0)
    calls: list[str] = []
    theirs: list[Collector] = []

    def called(call: IncomingCall) -> None:
        if call.group is not None:
            calls.append("join")
            call.join()
        else:
            calls.append("first")
            theirs.append(Collector())
            call.accept(options, theirs[-1])

    server.listen(ListenerOptions(is_group_allowed=True), called)
    async with contextlib.AsyncExitStack() as stack:
        cuts, proxies = [], []
        for number, line in enumerate(lines):
            cut = Cut()
            there = Line(line.delay, line.loss, loses=cut)
            proxy = proxied((LOCAL, server.port), there, there, seed=number)
            proxies.append(await stack.enter_async_context(proxy))
            cuts.append(cut)
        yield Pair(server, client, cuts, proxies, calls, theirs)
        client.close()
        server.close()


def options_of(passphrase: str = "") -> Options:
    return Options(
        stream_id="x",
        receive_latency_ms=LATENCY_MS,
        peer_latency_ms=LATENCY_MS,
        idle_timeout=1.0,
        keepalive_interval=0.3,
        security=SecurityOptions(passphrase),
    )


async def play(link: Channel, first: int, count: int) -> None:
    for number in range(first, first + count):
        link.send([packet(number)], time.monotonic())
        await asyncio.sleep(STEP)


async def joined(group: GroupLink, count: int) -> None:
    await until(lambda: len(group.links) == count, f"{count} links")


@pytest.mark.parametrize("passphrase", ["", PASSPHRASE], ids=["plain", "aes"])
@pytest.mark.parametrize("kind", [GroupType.BROADCAST, GroupType.BACKUP])
async def test_no_packet_is_missing_when_a_link_dies(kind: GroupType, passphrase: str) -> None:
    options = options_of(passphrase)
    lines = [Line(delay=0.005), Line(delay=0.02)]
    async with pair(options, lines) as rig:
        ours = Collector()
        group = rig.client.call_group(rig.places(), kind, options, ours)
        await joined(group, 2)
        assert sorted(rig.calls) == ["first", "join"]
        await play(group, 0, 100)
        rig.cuts[0].is_cut = True
        await play(group, 100, 100)
        await until(lambda: len(rig.theirs[0].payloads) >= 200, "all came", 3.0)
        assert numbers(rig.theirs[0].payloads) == list(range(200))
        assert rig.theirs[0].lost == 0
        assert len(rig.theirs) == 1


def numbering(datagrams: list[bytes]) -> dict[int, tuple[int, int]]:
    """Message number and timestamp of data packets by sequence number."""
    found: dict[int, tuple[int, int]] = {}
    for datagram in datagrams:
        if not is_control(datagram):
            sequence, second, stamp, _ = unpack_header(datagram)
            found[sequence] = second & MESSAGE_MASK, stamp
    return found


@pytest.mark.parametrize("name", ["group_broadcast_v155", "group_backup_v155"])
def test_libsrt_numbers_all_links_alike(name: str) -> None:
    """Two links go to the ports 5000 and 5002; the idle one of a backup group carries nothing."""
    packets = read_datagrams(f"../srt/{name}.pcap")
    first, second = (
        numbering([each.payload for each in packets if each.destination[1] == port])
        for port in (5000, 5002)
    )
    both = first.keys() & second.keys()
    assert len(first | second) == 60
    assert len(both) == (60 if "broadcast" in name else 0)
    assert all(first[each] == second[each] for each in both)


async def test_we_number_all_links_alike() -> None:
    seen: list[list[bytes]] = [[], []]

    def tap(number: int) -> Callable[[bytes], bool]:
        def take(datagram: bytes) -> bool:
            seen[number].append(datagram)
            return False

        return take

    options = options_of()
    async with pair(options, []) as rig, contextlib.AsyncExitStack() as stack:
        target = (LOCAL, rig.server.port)
        lines = [
            await stack.enter_async_context(proxied(target, Line(loses=tap(i)), Line()))
            for i in range(2)
        ]
        places = [Place((LOCAL, line.port)) for line in lines]
        ours = Collector()
        group = rig.client.call_group(places, GroupType.BROADCAST, options, ours)
        await joined(group, 2)
        await play(group, 0, 60)
        await until(lambda: len(rig.theirs[0].payloads) >= 60, "all came", 3.0)
    first, second = map(numbering, seen)
    assert len(first) == 60 and first == second


async def test_without_the_group_there_is_a_gap() -> None:
    """The same with one link: off."""
    options = options_of()
    async with pair(options, [Line(delay=0.005)]) as rig:
        ours = Collector()
        group = rig.client.call_group(rig.places(), GroupType.BROADCAST, options, ours)
        await joined(group, 1)
        await play(group, 0, 50)
        rig.cuts[0].is_cut = True
        await play(group, 50, 50)
        await asyncio.sleep(0.3)
        assert len(rig.theirs[0].payloads) < 60


async def test_losses_of_one_link_are_filled_by_the_other() -> None:
    """Losses far beyond what retransmission mends in this latency, on both lines."""
    options = options_of()
    lines = [Line(delay=0.04, loss=0.2), Line(delay=0.05, loss=0.2)]
    async with pair(options, lines) as rig:
        ours = Collector()
        group = rig.client.call_group(rig.places(), GroupType.BROADCAST, options, ours)
        await joined(group, 2)
        await play(group, 0, 300)
        await until(lambda: len(rig.theirs[0].payloads) >= 298, "nearly all came", 3.0)


async def test_a_dead_link_is_called_again_and_joins() -> None:
    options = options_of()
    async with pair(options, [Line(), Line()]) as rig:
        ours = Collector()
        group = rig.client.call_group(rig.places(), GroupType.BROADCAST, options, ours)
        await joined(group, 2)
        rig.cuts[1].is_cut = True
        await play(group, 0, 400)  # longer than the idle timeout
        await joined(group, 1)
        rig.cuts[1].is_cut = False
        at = 400
        while len(group.links) < 2 and at < 3000:
            await play(group, at, 50)
            at += 50
        await joined(group, 2)
        await play(group, at, 50)
        await until(lambda: len(rig.theirs[0].payloads) >= at + 50, "all came", 3.0)
        assert numbers(rig.theirs[0].payloads) == list(range(at + 50))
        assert rig.calls.count("join") == 2


async def test_the_listener_sends_over_all_links_too() -> None:
    options = options_of()
    async with pair(options, [Line(delay=0.005), Line(delay=0.02)]) as rig:
        ours = Collector()
        group = rig.client.call_group(rig.places(), GroupType.BROADCAST, options, ours)
        await joined(group, 2)
        back = rig.theirs[0].link
        assert isinstance(back, GroupLink)
        await joined(back, 2)
        await play(back, 0, 60)
        rig.cuts[1].is_cut = True
        await play(back, 60, 60)
        await until(lambda: len(ours.payloads) >= 120, "all came", 3.0)
        assert numbers(ours.payloads) == list(range(120))


async def test_a_backup_link_is_idle() -> None:
    options = options_of()
    async with pair(options, [Line(), Line()]) as rig:
        ours = Collector()
        group = rig.client.call_group(rig.places(), GroupType.BACKUP, options, ours)
        await joined(group, 2)
        await play(group, 0, 150)
        light = rig.lines[1].sent
        heavy = rig.lines[0].sent
        await play(group, 150, 100)
        assert rig.lines[0].sent - heavy >= 100
        assert rig.lines[1].sent - light < 30
        assert sorted(member.state for member in group.members) == [
            MemberState.IDLE,
            MemberState.STABLE,
        ]


async def test_closing_the_group_closes_all_links() -> None:
    options = options_of()
    async with pair(options, [Line(), Line()]) as rig:
        ours = Collector()
        group = rig.client.call_group(rig.places(), GroupType.BROADCAST, options, ours)
        await joined(group, 2)
        assert group.result is not None and group.rtt is not None
        assert group.statistics(time.monotonic()) is not None
        group.close("done", time.monotonic())
        assert ours.end == ("done", -1)
        await until(lambda: rig.theirs[0].end is not None, "the other side ended, too")
        await until(lambda: not rig.server.links and not rig.client.links, "nothing is left")
        assert group.send([b"x"], time.monotonic()) == 0


async def test_a_group_that_is_refused_is_over() -> None:
    async with pair(options_of(PASSPHRASE), [Line(), Line()]) as rig:
        ours = Collector()
        rig.client.call_group(rig.places(), GroupType.BROADCAST, options_of(), ours)
        await until(lambda: ours.end is not None, "refused")
        assert ours.end is not None and ours.end[1] == 11
        await until(lambda: all(each.end for each in rig.theirs), "told")
        again = Collector()
        group = rig.client.call_group(
            rig.places(), GroupType.BROADCAST, options_of(PASSPHRASE), again
        )
        await joined(group, 2)


async def test_a_listener_without_groups_says_so() -> None:
    server, client = Endpoint.bind(LOCAL, 0), Endpoint.bind(LOCAL, 0)
    server.listen(ListenerOptions(), lambda call: call.reject(1403))
    ours = Collector()
    client.call_group([Place((LOCAL, server.port))], GroupType.BACKUP, options_of(), ours)
    await until(lambda: ours.end is not None, "refused")
    assert ours.end == ("srt-group", 15)
    client.close()
    server.close()
