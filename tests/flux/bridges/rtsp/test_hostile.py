"""Clients that leave at any step, flood, lie or hang: nothing of them stays, nobody is hurt."""

import asyncio
import time
from collections.abc import Callable

import pytest

from media.stream import StreamOptions
from protocols.rtcp import ReceiverReport
from protocols.rtsp.server import ServerLimits
from protocols.rtsp.server_options import ServerOptions
from tests.support.rtsp_app import TCP_01, TCP_23, request
from tests.support.rtsp_caller import until
from tests.support.rtsp_sender import SDP, Sender
from tests.support.rtsp_stage import NAME, VIDEO, OnDemand, Stage

# What a client of each kind sends, one step after the other. {0} is its session.
Step = tuple[str, str, dict[str, str]]


def steps_of(kind: str, stage: Stage) -> tuple[str, list[Step], bytes]:
    """The name of the stream, the requests, and the body of the first."""
    if kind.startswith("publish"):
        pairs = [stage.pair(), stage.pair()]
        offers = [pair.offer for pair in pairs] if kind.endswith("udp") else [TCP_01, TCP_23]
        setups: list[Step] = [
            ("SETUP", f"/streamid={n}", {"Transport": offer + ";mode=record"})
            for n, offer in enumerate(offers)
        ]
        ends: list[Step] = [("RECORD", "", {}), ("PAUSE", "", {}), ("RECORD", "", {})]
        return "studio", [("ANNOUNCE", "", {}), *setups, *ends, ("TEARDOWN", "", {})], SDP.encode()
    offers = {
        "tcp": [TCP_01, TCP_23],
        "udp": [stage.pair().offer, stage.pair().offer],
        "multicast": ["RTP/AVP;multicast"] * 2,
    }[kind]
    setups = [("SETUP", f"/trackID={n}", {"Transport": o}) for n, o in enumerate(offers)]
    plays: list[Step] = [
        ("PLAY", "", {}),
        ("PAUSE", "/trackID=1", {}),
        ("PLAY", "/trackID=1", {}),
        ("PAUSE", "", {}),
        ("PLAY", "", {}),
        ("TEARDOWN", "/trackID=1", {}),
        ("TEARDOWN", "", {}),
    ]
    return NAME, [("OPTIONS", "", {}), ("DESCRIBE", "", {}), *setups, *plays], b""


KINDS = ("tcp", "udp", "multicast", "publish-tcp", "publish-udp")
LENGTHS = {"tcp": 11, "udp": 11, "multicast": 11, "publish-tcp": 7, "publish-udp": 7}
STEPS = [(kind, step) for kind in KINDS for step in range(LENGTHS[kind])]


async def go_to(stage: Stage, kind: str, last: int, *, leave: str) -> None:
    """One client that takes all steps before `last` and leaves in the middle of that one."""
    name, steps, body = steps_of(kind, stage)
    assert len(steps) == LENGTHS[kind]
    caller = await stage.call(name)
    session = ""
    for number, (method, control, more) in enumerate(steps):
        headers: dict[str, object] = dict(more)
        if session:
            headers["Session"] = session
        sent = body if method == "ANNOUNCE" else b""
        if number < last:
            reply = await caller.ask(method, caller.url + control, sent, **headers)
            assert reply.status == 200, (method, reply)
            session = reply.session or session
            continue
        text = request(method, caller.url + control, sent, CSeq=99, **headers)
        if leave == "before the reply":
            caller.transport.write(text)
        elif leave == "half a request":
            caller.transport.write(text[: len(text) // 2])
        elif leave == "a frame instead":
            caller.send_frame(0, b"\x80\x60" + bytes(20))
        break
    if leave == "half a connection":
        caller.transport.write_eof()
        await until(lambda: caller.is_closed or stage.bridge.connections == 0)
    elif leave == "silence":
        caller.transport.pause_reading()
        await stage.advance(200)
        await stage.advance(200)
    else:
        await stage.settle()
        caller.hang_up()


LEAVES = (
    "without a word",
    "before the reply",
    "half a request",
    "a frame instead",
    "half a connection",
)


@pytest.mark.parametrize("leave", LEAVES)
@pytest.mark.parametrize(("kind", "step"), STEPS)
async def test_who_leaves_at_any_step_leaves_nothing(kind: str, step: int, leave: str) -> None:
    """The stage looks at what is left."""
    async with Stage(group_port=33_000) as stage:
        camera = stage.camera()
        stage.router.declare("studio", StreamOptions(grace=1.0))
        await go_to(stage, kind, step, leave=leave)
        camera.run(2)


@pytest.mark.parametrize(("kind", "step"), [each for each in STEPS if each[1] < 5])
async def test_who_falls_silent_at_any_step_is_let_go(kind: str, step: int) -> None:
    """It neither reads nor writes, and its connection stays open; no PLAY by TCP is among them."""
    async with Stage(group_port=33_000) as stage:
        stage.camera()
        stage.router.declare("studio", StreamOptions(grace=1.0))
        await go_to(stage, kind, min(step, 4), leave="silence")
        if kind in ("tcp",) and step == 4:
            return
        await until(lambda: stage.bridge.usage().sessions == 0)


async def test_streams_that_end_while_clients_are_under_way() -> None:
    """The stream goes at each step of each kind of client; all are told, none is left."""
    for kind in ("tcp", "udp", "multicast"):
        for last in range(2, 9):
            async with Stage(group_port=33_000) as stage:
                stage.camera()
                await go_on(stage, kind, last)
                stage.router.remove(NAME, "stream-deleted", time.monotonic())
                await until(lambda: stage.bridge.usage().sessions == 0)
                assert stage.bridge.usage().groups == 0


async def go_on(stage: Stage, kind: str, last: int) -> None:
    """Take the steps before `last`, and stay."""
    name, steps, _ = steps_of(kind, stage)
    caller = await stage.call(name)
    session = ""
    for method, control, more in steps[:last]:
        headers: dict[str, object] = dict(more)
        if session:
            headers["Session"] = session
        reply = await caller.ask(method, caller.url + control, b"", **headers)
        session = reply.session or session


# -- floods ------------------------------------------------------------------------------------


async def test_a_flood_of_setup_is_bounded_and_ends() -> None:
    """Sessions without number on one connection: eight, then refusals, then the door."""
    async with Stage() as stage:
        stage.camera()
        caller = await stage.call()
        offer = "RTP/AVP;unicast;client_port={}-{}"
        for number in range(300):
            port = 20_000 + 2 * number
            caller.send("SETUP", caller.url + "/trackID=0", Transport=offer.format(port, port + 1))
        await caller.wait_closed()
        assert stage.bridge.usage().sessions == 0
        statuses = {reply.status for reply in caller.replies}
        assert statuses <= {200, 503}
        assert len(caller.replies) <= 100


async def test_one_session_that_sets_up_again_and_again() -> None:
    async with Stage() as stage:
        stage.camera()
        caller = await stage.call()
        session = await caller.set_up(TCP_01)
        for number in range(200):
            port = 20_000 + 2 * number
            offer = (
                TCP_01
                if number % 3 == 0
                else "RTP/AVP;multicast"
                if number % 3 == 1
                else f"RTP/AVP;unicast;client_port={port}-{port + 1}"
            )
            reply = await caller.ask(
                "SETUP", caller.url + "/trackID=0", Transport=offer, Session=session
            )
            assert reply.status == 200
            usage = stage.bridge.usage()
            assert usage.sessions == 1
            assert usage.registrations <= 3
            assert usage.groups <= 1
            stage.clock.advance(0.02)


async def test_thousands_of_sessions_of_one_address_are_bounded() -> None:
    limits = ServerLimits(connections_per_address=50)
    async with Stage(limits=limits) as stage:
        stage.camera()
        callers = [await stage.call() for _ in range(60)]
        await until(lambda: stage.bridge.connections == 50)
        await until(lambda: sum(caller.is_closed for caller in callers) == 10)
        assert stage.bridge.refusals()["rtsp-too-many-connections"] == 10
        for index, caller in enumerate(each for each in callers if not each.is_closed):
            for number in range(20):
                port = 10_000 + 40 * index + 2 * number
                offer = f"RTP/AVP;unicast;client_port={port}-{port + 1}"
                caller.send("SETUP", caller.url + "/trackID=0", Transport=offer)
                await asyncio.sleep(0)
        await until(
            lambda: all(len(caller.replies) == 20 for caller in callers if not caller.is_closed)
        )
        usage = stage.bridge.usage()
        assert usage.sessions == 50 * 8
        assert usage.registrations <= 50 * 8 * 3
        assert len(stage.stream().outputs) == 1


async def test_connections_that_say_nothing_are_cut() -> None:
    async with Stage(server=ServerOptions(idle_timeout=20.0)) as stage:
        for _ in range(20):
            await stage.call()
        half = await stage.call()
        half.transport.write(b"DESCRIBE rtsp://")
        await until(lambda: stage.bridge.connections == 21)
        await stage.advance(10.5)
        await half.wait_closed()
        await stage.advance(10.0)
        await until(lambda: stage.bridge.connections == 0)


async def test_a_flood_of_datagrams_hurts_no_player() -> None:
    async with Stage() as stage:
        camera = stage.camera()
        caller, pair, noise = await stage.call(), stage.pair(), stage.pair()
        await caller.play(pair.offer)
        await until(lambda: len(pair.rtp) >= 2)
        for number in range(500):
            noise.send(number & 1, b"\x80\xc9" + bytes(number % 60), stage.rtp_port + (number & 1))
            pair.send(1, bytes(number % 40), stage.rtp_port + 1)
        camera.run(3)
        await until(lambda: len(pair.rtp) >= 5)
        await stage.settle()
        refused = stage.bridge.refusals()
        assert refused["rtp-stranger"] == 250
        assert refused["rtcp-malformed"] >= 500
        assert stage.bridge.usage().players == 1


async def test_reports_about_others_change_nothing() -> None:
    async with Stage() as stage:
        camera = stage.camera()
        caller = await stage.call()
        await caller.play(TCP_01, TCP_23)
        for data in (b"", b"\x80", bytes(4), b"\x81\xc9\0\7" + bytes(28), bytes(60_000)):
            for channel in range(5):
                caller.send_frame(channel, data)
        caller.send_frame(1, ReceiverReport(1).serialize())
        assert (await caller.ask("OPTIONS")).status == 200
        camera.run(2)
        await caller.until_packets(0, 4)


# -- publishers --------------------------------------------------------------------------------

JUNK: list[Callable[[int], bytes]] = [
    lambda n: b"",
    lambda n: bytes(n),
    lambda n: b"\x80\x50" + bytes(n),  # a payload type of nobody
    lambda n: b"\xb0\x60" + bytes(n),  # padding, an extension
    lambda n: b"\x8f\xe0" + bytes(10 + n),  # 15 contributors that are not there
]
UNITS = [
    b"",
    b"\x78",
    b"\x78\xff\xff",
    b"\x7c\x85",
    b"\x7c\x45\x00",
    b"\x67",
    b"\x68\xff",
    b"\x1f" * 50,
]


@pytest.mark.parametrize("way", ["tcp", "udp"])
async def test_a_publisher_that_sends_junk(way: str) -> None:
    async with Stage() as stage:
        stage.router.declare("studio", StreamOptions())
        sender = await Sender.start(stage, way)
        sender.frame(0, key=True)
        sender.frame(1)
        player = await stage.call("studio")
        await player.play(TCP_01)
        for make in JUNK:
            for size in (0, 1, 11, 12, 13, 50):
                for track in (0, 1):
                    sender.send(track, make(size))
                    sender.send(track, make(size), is_rtcp=True)
        for unit in UNITS:
            sender.send(0, sender.packet(0, unit, seconds=1.05))
            sender.send(1, sender.packet(1, unit, seconds=1.05))
        for number in range(2, 8):
            sender.frame(number, key=number == 4)
        await player.until(lambda: player.packets(0)[-1].endswith(bytes((6,)) * 20))
        assert sum(stage.stream("studio").drops.values()) > 20


async def test_an_unknown_format_with_units_of_any_size() -> None:
    sdp = (
        "v=0\r\nm=application 0 RTP/AVP 100\r\na=rtpmap:100 x-big/1000\r\na=control:streamid=0\r\n"
    )
    async with Stage() as stage:
        stage.router.declare("studio", StreamOptions())
        sender = await Sender.start(stage, sdp=sdp)
        head = b"\x80\xe4"
        sizes = [1, 1400, 9_000, 65_000, 65_523]
        sender.send(0, head + bytes(10) + b"first")
        await until(lambda: "studio" in [s.name for s in stage.router.streams() if s.tracks])
        tcp, udp, pair = await stage.call("studio"), await stage.call("studio"), stage.pair()
        await tcp.play(TCP_01)
        await udp.play(pair.offer)
        seen = len(tcp.packets(0))
        for number, size in enumerate(sizes, 1):
            sender.send(0, head + number.to_bytes(2, "big") + bytes(8) + bytes(size))
        packets = await tcp.until_packets(0, seen + 5)
        assert [len(data) - 12 for data in packets[seen:]] == sizes
        await until(lambda: len(pair.rtp) >= 4)  # the last one fits no datagram
        assert stage.bridge.usage().players == 2
        sender.send(0, head + b"\0\x09" + bytes(8) + b"after")
        await until(lambda: pair.rtp[-1].endswith(b"after"))


async def test_an_on_demand_source_that_clients_only_knock_at() -> None:
    async with Stage() as stage:
        source = OnDemand()
        stage.router.declare(NAME, StreamOptions(), on_demand=True, close_after=1.0)
        stage.router.set_source(NAME, source)
        for _ in range(50):
            caller = await stage.call()
            caller.send("DESCRIBE")
            await until(lambda: stage.router.leases(NAME) >= 1)
            caller.hang_up()
        await until(lambda: stage.router.leases(NAME) == 0)
        await stage.advance(0.1)
        await stage.advance(1.1)
        assert source.told == ["start", "no-readers"]


async def test_many_come_and_go_at_once() -> None:
    """Players of all kinds that join, pause and leave in disorder while the source restarts."""
    async with Stage(group_port=33_000) as stage:
        camera = stage.camera(descriptions=[VIDEO])
        kinds: list[Callable[[], str]] = [
            lambda: TCP_01,
            lambda: stage.pair().offer,
            lambda: "RTP/AVP;multicast",
        ]

        async def live(number: int) -> None:
            caller = await stage.call()
            session = await caller.play(kinds[number % 3]())
            for turn in range(number % 4):
                await caller.ask(("PAUSE", "PLAY")[turn % 2], Session=session)
            if number % 2:
                await caller.ask("TEARDOWN", Session=session)
            if number % 5 == 0:
                caller.hang_up()

        lives = [asyncio.ensure_future(live(number)) for number in range(60)]
        for number in range(40):
            if number == 20:
                camera.stop()
                await stage.advance(0.5)
                camera.start()
            camera.run(1, key=number % 10 == 0)
            await stage.settle()
        await asyncio.gather(*lives)
        usage = stage.bridge.usage()
        stayed = sum(number % 2 == 0 and number % 5 != 0 for number in range(60))
        await until(lambda: stage.bridge.usage().sessions == stayed, str(usage))
