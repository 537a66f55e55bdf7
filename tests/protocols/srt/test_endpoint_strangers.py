"""Real sockets among strangers: what comes to nothing, who vanishes, what breaks inside; and the
connections beside lose nothing. Closed ones are freed without the collector."""

import asyncio
import contextlib
import gc
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from random import Random

import pytest

from protocols.srt.arrivals import Part, parted
from protocols.srt.endpoint import Endpoint
from protocols.srt.group_call import Place
from protocols.srt.link import Channel, Link
from protocols.srt.options import GroupType, ListenerOptions, Options, SecurityOptions
from protocols.srt.reception import IncomingCall
from protocols.srt.reject import Reject
from protocols.srt.worker import KeyDeriver
from tests.support.datagrams import until
from tests.support.srt_peers import PASSPHRASE, Collector, numbers, packet
from tests.support.srt_stub import StubCaller

LOCAL = "127.0.0.1"


class Scene:
    """A server that lets everybody in, and one good link on it."""

    def __init__(self) -> None:
        self.server = Endpoint.bind(LOCAL, 0)
        self.client = Endpoint.bind(LOCAL, 0)
        self.place = (LOCAL, self.server.port)
        self.theirs: list[Collector] = []
        self.ours = Collector()
        self.sent = 0
        self.server.listen(ListenerOptions(is_group_allowed=True), self._called)

    def _called(self, call: IncomingCall) -> None:
        if call.group is not None:
            call.join()
            return
        self.theirs.append(Collector())
        call.accept(Options(), self.theirs[-1])

    async def connect(self) -> None:
        self.client.call(self.place, Options(), self.ours)
        await until(lambda: bool(self.ours.link and self.theirs), "connected")
        await until(lambda: self.theirs[0].link is not None, "connected")

    @property
    def good(self) -> Channel:
        """The server's side of the good link."""
        link = self.theirs[0].link
        assert link is not None
        return link

    def send(self) -> None:
        """One packet more from the server."""
        assert self.good.send([packet(self.sent)], time.monotonic()) == 1
        self.sent += 1

    async def check_good(self) -> None:
        """All of it came, and nothing had to be sent again."""
        await until(lambda: len(self.ours.payloads) == self.sent, "all came")
        assert numbers(self.ours.payloads) == list(range(self.sent))
        assert self.ours.lost == 0
        assert self.ours.end is None and self.theirs[0].end is None


@contextlib.asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    found = Scene()
    try:
        await found.connect()
        yield found
    finally:
        found.client.close()
        found.server.close()


async def test_garbage_beside_a_good_connection() -> None:
    random = Random(3)
    async with scene() as town:
        own = town.good
        assert isinstance(own, Link)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((LOCAL, 0))
            for _ in range(200):
                for _ in range(10):
                    noise = bytearray(random.randbytes(random.randrange(1400)))
                    if random.random() < 0.5:
                        noise[12:16] = random.choice((own.socket_id.to_bytes(4, "big"), bytes(4)))
                    stranger.sendto(noise, town.place)
                town.send()
                await asyncio.sleep(0)
            await town.check_good()
            stranger.setblocking(False)
            with pytest.raises(BlockingIOError):
                stranger.recv(1)  # nobody answers to that
        figures = town.server.figures()
        figures.update(own.refusals)
        assert figures["srt-truncated"] > 10
        assert figures["foreign-address"] + figures["handshake-out-of-turn"] > 300
        assert figures["srt-no-connection"] > 300
        assert len(town.server.links) == 1


async def vanishing_beside_a_good_connection() -> None:
    """What comes back by ICMP ends the one link, and costs the other not a packet."""
    async with scene() as town:
        stub = StubCaller(town.place)
        await stub.connected()
        await until(lambda: len(town.theirs) == 2 and town.theirs[1].link is not None, "in")
        victim = town.theirs[1]
        assert victim.link is not None
        stub.vanish()
        began = time.monotonic()
        while victim.end is None:
            town.send()
            victim.link.send([packet(0)], time.monotonic())
            await asyncio.sleep(0.005)
            assert time.monotonic() - began < 4.9  # before it is idle
        assert victim.end == ("srt-peer-unreachable", -1)
        await town.check_good()
        figures = town.server.figures()
        assert figures["srt-peer-unreachable"] >= 8
        assert not figures["udp-error"]
        assert len(town.server.links) == 1
        # The socket is still heard.
        late = Collector()
        town.client.call(town.place, Options(), late)
        await until(lambda: late.link is not None, "a later caller is let in")


async def test_a_peer_that_vanishes_is_told_of_by_the_network() -> None:
    await vanishing_beside_a_good_connection()


def test_the_same_in_uvloop() -> None:
    """Which stops to watch a socket that had an error."""
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(vanishing_beside_a_good_connection())


async def test_a_machine_that_fails_ends_its_link_alone() -> None:
    """A fault of ours, wherever: the endpoint goes on with all others."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))

    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    async with scene() as town:
        for verb in ("receive_datagrams", "datagrams_to_send", "handle_timer", "close"):
            ours = Collector()
            link = town.client.call(town.place, Options(), ours)
            await until(lambda: link.connection is not None, verb)  # noqa: B023
            theirs = town.theirs[-1].link
            assert isinstance(theirs, Link) and theirs.connection is not None
            setattr(theirs.connection, verb, broken)
            if verb == "close":
                theirs.connection.datagrams_to_send = broken  # type: ignore[assignment,method-assign]
            for _ in range(20):
                link.send([packet(0)], time.monotonic())
                town.send()
                await asyncio.sleep(0.001)
            if verb != "handle_timer":
                await until(lambda: town.theirs[-1].end is not None, verb)
                assert town.theirs[-1].end == ("internal-error", -1)
            else:
                await until(lambda: bool(faults), verb)
            assert faults
            faults.clear()
            await town.check_good()


async def test_a_turn_that_fails_is_not_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    async with scene() as town:
        times = 0

        def sometimes(data: list[bytes], at: Callable[[int], float]) -> Iterator[Part]:
            nonlocal times
            times += 1
            if times % 2:
                raise RuntimeError("a fault of ours")
            return parted(data, at)

        with monkeypatch.context() as patch:
            patch.setattr("protocols.srt.endpoint.parted", sometimes)
            town.send()
            await until(lambda: times > 3, "turns go on")
        assert faults
        for _ in range(20):  # what was read in those turns is lost
            town.send()
        await until(lambda: numbers(town.ours.payloads)[-19:] == list(range(2, 21)), "it goes on")


async def test_file_modes_are_told_of_the_end_of_their_endpoint() -> None:
    """What was not sent yet is lingered for, but not longer than the socket is there."""
    async with scene() as town:
        mute = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        mute.bind((LOCAL, 0))
        ours = Collector()
        link = town.client.call(mute.getsockname(), Options(), ours)
        mute.close()
        town.client.close("house-on-fire")
        assert ours.end == ("house-on-fire", -1)
        assert link.end == "house-on-fire"
        assert town.ours.end == ("house-on-fire", -1)


async def test_a_deriver_answers_everybody_and_after_its_end_nobody() -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    deriver = KeyDeriver()
    found: list[bytes] = []

    def broken(key: bytes) -> None:
        raise RuntimeError("a fault of ours")

    for answer in (found.append, broken, found.append):
        deriver.ask(b"flux-reference-key", bytes(16), 16, answer)
    await until(lambda: len(found) == 2, "both others")
    assert len(faults) == 1
    deriver.close()
    deriver.ask(b"flux-reference-key", bytes(16), 16, found.append)
    deriver.ask(b"flux-another-key", bytes(16), 16, found.append)
    await asyncio.sleep(0)
    assert len(found) == 2


# -- nothing is left for the collector -----------------------------------------------------


SECURE = Options(security=SecurityOptions(PASSPHRASE))
KINDS = ["call", "secure", "group", "meet", "refused", "listen"]


async def live(town: Scene, kind: str) -> None:
    """An endpoint that does something and is closed."""
    endpoint, other = Endpoint.bind(LOCAL, 0), Endpoint.bind(LOCAL, 0)
    handler = Collector()
    options = SECURE if kind == "secure" else Options()
    if kind == "group":
        places = [Place(town.place, 1), Place(town.place, 2)]
        endpoint.call_group(places, GroupType.BROADCAST, options, handler)
    elif kind == "meet":
        endpoint.meet((LOCAL, other.port), options, handler)
        other.meet((LOCAL, endpoint.port), options, Collector())
    elif kind == "refused":
        other.listen(ListenerOptions(), lambda call: call.reject(Reject.FORBIDDEN))
        endpoint.call((LOCAL, other.port), options, handler)
    elif kind == "secure":
        other.listen(ListenerOptions(), lambda call: call.accept(SECURE, Collector()))
        endpoint.call((LOCAL, other.port), options, handler)
    elif kind == "call":
        endpoint.call(town.place, options, handler)
    if kind == "listen":
        endpoint.listen(ListenerOptions(), lambda call: call.reject(Reject.FORBIDDEN))
    else:
        await until(lambda: bool(handler.link or handler.end), kind)
    assert (handler.end is not None) == (kind == "refused")
    if handler.link is not None:
        handler.link.send([os.urandom(100)], time.monotonic())
        await asyncio.sleep(0.01)
    endpoint.close()
    other.close()
    town.theirs[1:] = []


async def test_a_closed_connection_is_freed_at_once() -> None:
    """A collector that runs over a hundred thousand objects stops all streams meanwhile."""
    async with scene() as town:
        for kind in KINDS:
            await live(town, kind)
        gc.collect()
        gc.disable()
        try:
            for kind in KINDS * 3:
                await live(town, kind)
            # Timers of what is closed are still in the heap; none is that far away.
            began = time.monotonic()
            await until(lambda: time.monotonic() - began > 1.3, "timers are over")
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = [
                type(each).__qualname__ for each in gc.garbage if "srt" in type(each).__module__
            ]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert left == []
