"""Our numbers against those of srt-live-transmit at the other end of one connection."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocols.srt.endpoint import Endpoint
from protocols.srt.options import ListenerOptions, Options
from protocols.srt.packet import is_control
from protocols.srt.statistics import Statistics
from tests.support.datagrams import until
from tests.support.ports import free_port
from tests.support.srt_peers import (
    Collector,
    Output,
    feed,
    numbers,
    receiving,
    running,
    send,
    sending,
    url_of,
)
from tests.support.udp_proxy import Line, proxied

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

COUNT = 1200
CALM = 300  # packets at the end without loss, so that nothing is under way at the last report
EVERY = 50  # packets between two reports of the tool
INTERVAL = 0.002
LATENCY_MS = 400
LOCAL = "127.0.0.1"


class Losing:
    """Loses each 25th data packet for a while, copies among them."""

    def __init__(self) -> None:
        self.seen = self.lost = 0
        self.is_on = True

    def __call__(self, datagram: bytes) -> bool:
        if len(datagram) < 1000 or is_control(datagram):
            return False
        self.seen += 1
        is_lost = self.is_on and self.seen % 25 == 0
        self.lost += is_lost
        return is_lost


def reporting(command: list[str], path: Path) -> list[str]:
    """The same, with totals written to a file."""
    return [command[0], f"-s:{EVERY}", "-pf:json", "-f", f"-statsout:{path}", *command[1:]]


def last_report(path: Path) -> dict[str, Any]:
    lines = path.read_text().strip().splitlines()
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def shape(report: dict[str, Any]) -> dict[str, list[str]]:
    """The names of a report, in order."""
    return {name: list(each) if isinstance(each, dict) else [] for name, each in report.items()}


def link_of(handler: Collector) -> Callable[[], bool]:
    return lambda: handler.link is not None


async def feed_and_calm(loss: Losing, push: Callable[[int], Any]) -> None:
    await push(COUNT)
    loss.is_on = False
    await asyncio.sleep(0.3)
    await push(CALM)
    await asyncio.sleep(0.3)


def statistics(handler: Collector) -> Statistics:
    assert handler.link is not None
    found = handler.link.statistics(time.monotonic())
    assert found is not None
    return found


async def test_we_receive(tmp_path: Path) -> None:
    handler, loss = Collector(), Losing()
    with contextlib.closing(Endpoint.bind(LOCAL, 0)) as endpoint:
        options = Options(receive_latency_ms=LATENCY_MS)
        endpoint.listen(ListenerOptions(), lambda call: call.accept(options, handler))
        line = Line(delay=0.02, loses=loss)
        async with proxied((LOCAL, endpoint.port), line, Line(delay=0.02)) as proxy:
            url = url_of("slt", f"{LOCAL}:{proxy.port}", latency=LATENCY_MS)
            async with running(reporting(sending("slt", url), tmp_path / "stats")) as program:
                await until(link_of(handler), "connected")
                await feed_and_calm(loss, lambda count: feed(program, count, INTERVAL))
                ours = statistics(handler)
                report = await asyncio.to_thread(last_report, tmp_path / "stats")
    assert shape(ours.to_tool_json("")) == shape(report)
    theirs, values = report["send"], ours.values
    assert set(numbers(handler.payloads)) >= set(range(COUNT - 1))
    # The tool reports before the last packets, which lose nothing any more.
    assert values["pktRecvUniqueTotal"] - theirs["packetsUnique"] in range(2 * EVERY)
    assert values["pktRcvDropTotal"] == theirs["packetsDropped"] == 0
    # A tool that gets no processor is asked twice for what it counts once.
    assert ours.extra["pktAsked"] - theirs["packetsLost"] in range(4)
    assert theirs["packetsLost"] > 20
    again = theirs["packetsRetransmitted"]
    assert theirs["packets"] == theirs["packetsUnique"] + again
    # Lost are first copies, which are found missing, and repairs.
    assert values["pktRcvLossTotal"] + again - values["pktRcvRetransTotal"] == loss.lost
    twice = ours.extra["pktDuplicate"]
    assert isinstance(twice, int)
    assert values["pktRecvTotal"] == values["pktRecvUniqueTotal"] + twice
    assert values["msRTT"] == pytest.approx(report["link"]["rtt"], rel=0.3)
    assert values["msRcvTsbPdDelay"] == LATENCY_MS
    mean = theirs["bytesUnique"] / theirs["packetsUnique"]
    assert values["byteRecvUniqueTotal"] == pytest.approx(mean * values["pktRecvUniqueTotal"])


async def test_we_send(tmp_path: Path) -> None:
    handler, loss = Collector(), Losing()
    port = free_port()
    url = url_of("slt", f"{LOCAL}:{port}", mode="listener", latency=LATENCY_MS)
    with contextlib.closing(Endpoint.bind(LOCAL, 0)) as endpoint:
        line = Line(delay=0.02, loses=loss)
        async with (
            running(reporting(receiving("slt", url), tmp_path / "stats")) as program,
            proxied((LOCAL, port), line, Line(delay=0.02)) as proxy,
        ):
            output = Output(program)
            endpoint.call((LOCAL, proxy.port), Options(peer_latency_ms=LATENCY_MS), handler)
            await until(link_of(handler), "connected")
            await asyncio.sleep(0.1)  # the program is slower than its socket
            link = handler.link
            assert link is not None
            await feed_and_calm(loss, lambda count: send(link, count, INTERVAL))
            await asyncio.sleep(0.3)
            ours = statistics(handler)
            report = await asyncio.to_thread(last_report, tmp_path / "stats")
            output.stop()
    theirs, values = report["recv"], ours.values
    assert values["pktSentUniqueTotal"] == COUNT + CALM
    assert theirs["packetsDropped"] == values["pktSndDropTotal"] == 0
    assert values["pktSentUniqueTotal"] - theirs["packetsUnique"] in range(3 * EVERY)
    again = values["pktRetransTotal"]
    assert values["pktSentTotal"] == COUNT + CALM + again
    assert theirs["packetsLost"] + again - theirs["packetsRetransmitted"] == loss.lost
    # Each is asked for once at least; their timer asks again before an answer can come.
    assert values["pktSndLossTotal"] >= theirs["packetsLost"] > 20
    assert values["msRTT"] == pytest.approx(report["link"]["rtt"], rel=0.3)
    assert values["msSndTsbPdDelay"] == theirs["msTsbPdDelay"] == LATENCY_MS
    mean = theirs["bytesUnique"] / theirs["packetsUnique"]
    assert values["byteSentUniqueTotal"] == pytest.approx(mean * values["pktSentUniqueTotal"])
