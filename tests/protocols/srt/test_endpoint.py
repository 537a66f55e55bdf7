"""Endpoints against each other on the loopback interface: calls, refusals, keys, many links."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable

import pytest

from protocols.srt.endpoint import Endpoint, EndpointOptions
from protocols.srt.link import Channel, Link
from protocols.srt.options import ListenerOptions, Mode, Options, SecurityOptions
from protocols.srt.pace import REST
from protocols.srt.packet import ControlPacket, ControlType
from protocols.srt.reception import IncomingCall
from protocols.srt.reject import Reject
from protocols.srt.worker import KeyDeriver
from tests.support.datagrams import until
from tests.support.srt_peers import PASSPHRASE, Collector, numbers, packet

LOCAL = "127.0.0.1"
pytestmark = pytest.mark.usefixtures("steady_time")


@contextlib.asynccontextmanager
async def endpoints(
    count: int = 2, options: EndpointOptions | None = None
) -> AsyncIterator[list[Endpoint]]:
    """Endpoints on ports of their own."""
    found = [Endpoint.bind(LOCAL, 0, options) for _ in range(count)]
    try:
        yield found
    finally:
        for each in found:
            each.close()


def letting_in(options: Options, handlers: list[Collector]) -> Callable[[IncomingCall], None]:
    """Accepts everybody, each with a handler of its own."""

    def called(call: IncomingCall) -> None:
        handlers.append(Collector())
        call.accept(options, handlers[-1])

    return called


def place(endpoint: Endpoint) -> tuple[str, int]:
    return LOCAL, endpoint.port


def secured(passphrase: str = PASSPHRASE, key_bytes: int = 0) -> Options:
    return Options(security=SecurityOptions(passphrase, key_bytes))


def linked(handler: Collector) -> Channel:
    assert handler.link is not None
    return handler.link


@pytest.mark.parametrize(
    "options",
    [Options(), secured(key_bytes=16), secured(key_bytes=32)],
    ids=["plain", "aes-128", "aes-256"],
)
async def test_packets_go_both_ways(options: Options) -> None:
    async with endpoints() as (server, client):
        ours, theirs = Collector(), list[Collector]()
        server.listen(ListenerOptions(), letting_in(options, theirs))
        client.call(place(server), options, ours)
        await until(lambda: ours.link is not None and bool(theirs and theirs[0].link), "connected")
        for sender, receiver in ((ours, theirs[0]), (theirs[0], ours)):
            link = linked(sender)
            for number in range(200):
                assert link.send([packet(number)], time.monotonic()) == 1
                await asyncio.sleep(0)
            await until(lambda: len(receiver.payloads) >= 200, "all came")  # noqa: B023
            assert numbers(receiver.payloads) == list(range(200))
        linked(ours).close("done", time.monotonic())
        assert ours.end == ("done", -1)
        await until(lambda: theirs[0].end is not None, "the peer heard of the end")
        assert theirs[0].end == ("srt-peer-closed", -1)
        await until(lambda: not server.links and not client.links, "nothing is left")


async def test_a_refusal_reaches_the_caller_with_its_code() -> None:
    async with endpoints() as (server, client):
        server.listen(ListenerOptions(), lambda call: call.reject(Reject.FORBIDDEN))
        ours = Collector()
        client.call(place(server), Options(stream_id="x"), ours)
        await until(lambda: ours.end is not None, "refused")
        assert ours.end == ("srt-forbidden", 1403)
        assert server.figures()["srt-forbidden"] == 1
        assert not client.links and not server.links


@pytest.mark.parametrize(
    ("listener", "caller", "code"),
    [
        (secured(), secured("another-passphrase"), Reject.BAD_SECRET),
        (secured(), Options(), Reject.UNSECURE),
        (Options(), secured(), Reject.UNSECURE),
        (Options(), Options(mode=Mode.STREAM), Reject.MESSAGE_API),
        (Options(filter="fec,cols:5"), Options(filter="fec,cols:6"), Reject.FILTER),
    ],
    ids=["bad-secret", "no-secret", "unwanted-secret", "mode", "filter"],
)
async def test_what_does_not_fit_is_refused_on_both_sides(
    listener: Options, caller: Options, code: Reject
) -> None:
    async with endpoints() as (server, client):
        theirs: list[Collector] = []
        server.listen(ListenerOptions(), letting_in(listener, theirs))
        ours = Collector()
        client.call(place(server), caller, ours)
        await until(lambda: ours.end is not None, "refused")
        assert ours.end is not None and ours.end[1] == code
        assert theirs[0].end is not None and theirs[0].end[1] == code


async def test_an_answer_may_take_its_time() -> None:
    async with endpoints() as (server, client):
        calls: list[IncomingCall] = []
        server.listen(ListenerOptions(), calls.append)
        ours, theirs = Collector(), Collector()
        client.call(place(server), Options(), ours)
        await until(lambda: bool(calls), "called")
        await until(lambda: server.figures()["handshake-repeated"] > 1, "asked again")
        assert len(calls) == 1 and ours.link is None
        calls[0].accept(Options(), theirs)
        await until(lambda: ours.link is not None, "connected")
        calls[0].accept(Options(), late := Collector())
        assert late.end == ("srt-timeout", Reject.TIMEOUT)


async def test_nobody_there() -> None:
    async with endpoints(1) as (client,):
        ours = Collector()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
            mute.bind((LOCAL, 0))
            client.call(mute.getsockname(), Options(connect_timeout=0.2), ours)
            await until(lambda: ours.end is not None, "given up")
        assert ours.end == ("srt-timeout", Reject.TIMEOUT)


async def test_a_call_that_is_given_up_says_so_at_once() -> None:
    async with endpoints() as (server, client):
        ours = Collector()
        link = client.call(place(server), Options(), ours)
        link.close("changed-mind", time.monotonic())
        assert ours.end == ("changed-mind", -1)
        assert not client.links


async def test_many_links_on_one_port() -> None:
    count = 50
    async with endpoints() as (server, client):
        theirs: list[Collector] = []
        server.listen(ListenerOptions(), letting_in(secured(), theirs))
        ours = [Collector() for _ in range(count)]
        for handler in ours:
            client.call(place(server), secured(), handler)
        await until(lambda: all(each.link for each in ours), "all are connected")
        for number, handler in enumerate(ours):
            linked(handler).send([packet(number)], time.monotonic())
        await until(lambda: sum(len(each.payloads) for each in theirs) == count, "all came")
        found = sorted(number for each in theirs for number in numbers(each.payloads))
        assert found == list(range(count))
        assert len(server.links) == count


async def test_a_full_endpoint_says_so() -> None:
    async with endpoints(2, EndpointOptions(max_links=1)) as (server, client):
        theirs: list[Collector] = []
        server.listen(ListenerOptions(), letting_in(Options(), theirs))
        first, second = Collector(), Collector()
        client.call(place(server), Options(), first)
        await until(lambda: first.link is not None, "connected")
        other = Endpoint.bind(LOCAL, 0)
        other.call(place(server), Options(), second)
        await until(lambda: second.end is not None, "refused")
        other.close()
        assert second.end == ("srt-overload", Reject.OVERLOAD)
        assert theirs[1].end == ("srt-overload", Reject.OVERLOAD)


async def test_rendezvous() -> None:
    async with endpoints() as (a, b):
        ours, theirs = Collector(), Collector()
        a.meet(place(b), secured(), ours)
        b.meet(place(a), secured(), theirs)
        await until(lambda: bool(ours.link and theirs.link), "met")
        linked(theirs).send([packet(7)], time.monotonic())
        await until(lambda: bool(ours.payloads), "came")
        assert numbers(ours.payloads) == [7]


async def test_ipv4_and_ipv6_on_one_port() -> None:
    server = Endpoint.bind("", 0)
    theirs: list[Collector] = []
    server.listen(ListenerOptions(), letting_in(Options(), theirs))
    for host in (LOCAL, "::1"):
        client = Endpoint.bind(host, 0)
        ours = Collector()
        client.call((host, server.port), Options(), ours)
        await until(lambda: ours.link is not None, host)  # noqa: B023
        linked(ours).send([packet(1)], time.monotonic())
        await until(lambda: bool(theirs[-1].payloads), host)
        client.close()
    server.close()


async def test_closing_the_endpoint_tells_everybody() -> None:
    async with endpoints() as (server, client):
        theirs: list[Collector] = []
        server.listen(ListenerOptions(), letting_in(Options(), theirs))
        ours = Collector()
        client.call(place(server), Options(), ours)
        await until(lambda: bool(theirs and theirs[0].link and ours.link), "connected")
        server.close("house-on-fire")
        server.close()
        assert theirs[0].end == ("house-on-fire", -1)
        await until(lambda: ours.end is not None, "the peer heard of it")
        assert linked(ours).send([b"x"], time.monotonic()) == 0


async def test_a_handler_that_raises_harms_its_link_alone() -> None:
    class Clumsy(Collector):
        def connected(self, link: Channel, now: float) -> None:
            super().connected(link, now)
            raise RuntimeError("clumsy")

    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with endpoints() as (server, client):
        clumsy, theirs = Clumsy(), list[Collector]()

        def called(call: IncomingCall) -> None:
            if call.request.stream_id == "fault":
                raise RuntimeError("clumsy, too")
            if call.request.stream_id == "clumsy":
                call.accept(Options(), clumsy)
            else:
                letting_in(Options(), theirs)(call)

        server.listen(ListenerOptions(), called)
        ends = [Collector() for _ in range(3)]
        for handler, name in zip(ends, ("clumsy", "fault", "good"), strict=True):
            client.call(place(server), Options(stream_id=name), handler)
        await until(lambda: clumsy.end is not None and ends[1].end is not None, "two ended")
        assert clumsy.end == ("internal-error", -1)
        assert ends[1].end == ("srt-internal", Reject.INTERNAL)
        await until(lambda: bool(theirs and theirs[0].link), "the third one works")
        assert len(faults) == 2


async def test_garbage_is_counted_and_nothing_else() -> None:
    async with endpoints(1) as (server,):
        server.listen(ListenerOptions(), letting_in(Options(), []))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for data in (b"", b"x" * 15, b"\x80" * 16, b"\0" * 400, b"\xff" * 1500):
                sender.sendto(data, place(server))
            await until(lambda: sum(server.figures().values()) >= 5, "counted")
        assert not server.links


async def test_keys_are_derived_once() -> None:
    deriver = KeyDeriver()
    found: list[bytes] = []
    for _ in range(3):
        deriver.ask(b"flux-reference-key", bytes(16), 16, found.append)
    await until(lambda: len(found) == 3, "derived")
    assert deriver.derived == 1
    deriver.ask(b"flux-reference-key", bytes(16), 16, found.append)
    assert len(found) == 4 and len(set(found)) == 1  # at once
    deriver.close()


async def test_turns_are_few_while_nothing_is_missing() -> None:
    """Off (a turn a datagram) there are as many turns as packets."""
    async with endpoints() as (server, client):
        theirs: list[Collector] = []
        server.listen(ListenerOptions(), letting_in(Options(), theirs))
        ours = Collector()
        client.call(place(server), Options(), ours)
        await until(lambda: bool(theirs and theirs[0].link and ours.link), "connected")
        for round_ in range(1, 6):  # the loop looks at its sockets between any two packets
            turns, began, count = server.turns, time.monotonic(), 400
            for number in range(count):
                assert linked(ours).send([packet(number)], time.monotonic()) == 1
                await asyncio.sleep(0)
            await until(lambda: len(theirs[0].payloads) >= round_ * count, "all came")  # noqa: B023
            found = server.turns - turns
            assert found < count / 10
            assert found < (time.monotonic() - began) / REST * 1.5 + 5


TRIES = 30


async def test_acknowledgements_are_worth_no_waking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off, a burst to some readers costs two turns and more, and whatever comes wakes the loop."""
    monkeypatch.setattr("protocols.srt.pace.CALM_AFTER", 0.1)
    monkeypatch.setattr("protocols.srt.pace.CALLED", 0.1)
    monkeypatch.setattr("protocols.srt.pace.MEASURE_EVERY", 0.1)
    monkeypatch.setattr("protocols.srt.pace.MEASURE_PROMPT_EVERY", 0.1)
    async with endpoints() as (readers, server):
        theirs: list[Collector] = []
        server.listen(ListenerOptions(), letting_in(Options(), theirs))
        for _ in range(5):
            readers.call(place(server), Options(), Collector())
        await until(lambda: sum(each.link is not None for each in theirs) == 5, "connected")

        def burst() -> None:
            for each in theirs:
                linked(each).send([packet(number) for number in range(10)], time.monotonic())

        async def settled(count: int) -> int:
            """So many bursts; the turns that they took."""
            before = server.turns
            for _ in range(count):
                burst()
                await asyncio.sleep(0.040)
            return server.turns - before

        # Tried again, as a machine that stands still makes any line look as if it lost something.
        turns = [await settled(5)]
        while turns[-1] >= 1.5 * 5 and len(turns) < TRIES:
            turns.append(await settled(5))
        assert turns[-1] < 1.5 * 5
        sent = 50 * len(turns)
        await until(lambda: all(confirmed(each) == sent for each in theirs), "all is confirmed")
        is_unread = False
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            for _ in range(TRIES):
                await asyncio.sleep(0.040)
                burst()
                came = server.datagrams
                stranger.sendto(bytes(16), place(server))
                for _ in range(5):
                    await asyncio.sleep(0)
                is_unread = server.datagrams == came
                if is_unread:
                    break
                await until(lambda came=came: server.datagrams > came, "it is read")  # type: ignore[misc]
        assert is_unread


def confirmed(handler: Collector) -> int:
    state = linked(handler).state
    assert state is not None
    return state.confirmed


RESTS = 0.3  # seconds, in tests of what ends a rest


@contextlib.asynccontextmanager
async def resting(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Endpoint, Collector]]:
    """An endpoint that sends to somebody else's, and rests for long."""
    for name in ("CALM_AFTER", "LONG_AFTER", "CALLED", "MEASURE_EVERY", "MEASURE_PROMPT_EVERY"):
        monkeypatch.setattr(f"protocols.srt.pace.{name}", 0.1)
    monkeypatch.setattr("protocols.srt.pace.SEND_REST", RESTS)
    monkeypatch.setattr("protocols.srt.pace.patience", lambda link: RESTS)
    async with endpoints() as (server, client):
        theirs: list[Collector] = []
        options = Options(receive_latency_ms=1000, peer_latency_ms=1000)
        server.listen(ListenerOptions(), letting_in(options, theirs))
        client.call(place(server), options, Collector())
        await until(lambda: bool(theirs and theirs[0].link), "connected")
        link = linked(theirs[0])
        assert isinstance(link, Link)
        link.leisure = RESTS
        await asyncio.sleep(0.15)
        turns = 0
        for _ in range(TRIES):
            link.send([packet(0)], time.monotonic())
            turns = server.turns
            await asyncio.sleep(0.02)
            if server.turns == turns:
                break
        assert server.turns == turns, "it rests"
        yield server, theirs[0]


def control(handler: Collector, kind: ControlType, body: bytes = bytes(4)) -> bytes:
    """A control packet for a link, from whomever."""
    link = linked(handler)
    assert isinstance(link, Link)
    return ControlPacket(kind, 0, link.socket_id, body).serialize()


async def test_a_question_ends_a_long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acknowledgements do not, and nobody can end one rest after the other."""
    async with resting(monkeypatch) as (server, handler):
        assert server.hears_questions
        turns = server.turns
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            stranger.sendto(control(handler, ControlType.ACK), place(server))
            await asyncio.sleep(RESTS / 6)
            assert server.turns == turns
            stranger.sendto(control(handler, ControlType.NAK), place(server))
            await until(lambda: server.turns > turns, "it is heard", RESTS / 3)
            turns, number = server.turns, 0
            end = time.monotonic() + RESTS
            while time.monotonic() < end:
                stranger.sendto(control(handler, ControlType.SHUTDOWN), place(server))
                number += 1
                await asyncio.sleep(0.001)
            assert 2 * (server.turns - turns) < number
        assert handler.end is None


async def test_acknowledgements_of_some_bursts_are_read_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Off, there is a turn for each burst. What ends a rest is heard all the same."""
    async with resting(monkeypatch) as (server, handler):
        await until(lambda: confirmed(handler) > 0, "it is known that we send")
        link = linked(handler)

        async def turns_of(bursts: int) -> int:
            before = server.turns
            for number in range(bursts):
                link.send([packet(number)], time.monotonic())
                await asyncio.sleep(RESTS * 0.8)
            return server.turns - before

        found = [await turns_of(6)]
        while found[-1] > 3 and len(found) < 5:  # a machine that stood still looks like a loss
            found.append(await turns_of(6))
        assert found[-1] <= 3
        await until(lambda: confirmed(handler) >= 6 * len(found), "the last ones are read, too")
        link.send([packet(0)], time.monotonic())
        turns = server.turns
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            stranger.sendto(control(handler, ControlType.NAK), place(server))
            await until(lambda: server.turns > turns, "it is heard", RESTS / 3)


async def test_without_a_socket_of_its_own_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flux.net.udp.split", lambda *_: None)
    async with resting(monkeypatch) as (server, handler):
        assert not server.hears_questions
        turns = server.turns
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            stranger.sendto(control(handler, ControlType.NAK), place(server))
            await asyncio.sleep(RESTS / 6)
        assert server.turns == turns
