"""The packet filter against libsrt's: what it lost is rebuilt, without any retransmission."""

import asyncio
import contextlib
import socket
import time

import pytest

from protocols.srt.endpoint import Endpoint
from protocols.srt.options import ListenerOptions, Options, SecurityOptions
from protocols.srt.packet import FILTER_MESSAGE, MESSAGE_MASK, is_control, unpack_header
from tests.support.datagrams import until
from tests.support.ports import free_port
from tests.support.srt_peers import (
    PASSPHRASE,
    Collector,
    Output,
    cut,
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

COUNT = 400
EXTRA = 20  # srt-live-transmit keeps the last ones to itself
INTERVAL = 0.002
LATENCY_MS = 300  # more than 50 packets take
FILTERS = (
    "fec,cols:10,rows:1",
    "fec,cols:5,rows:5,layout:even",
    "fec,cols:10,rows:5,layout:staircase",
    "fec,cols:4,rows:-4",
)
SKIP = 25  # packets without loss: the first columns of a staircase are not covered


class EveryNth:
    """Loses every n-th data packet, so that no group loses two."""

    def __init__(self, nth: int) -> None:
        self.count = 0
        self.lost = 0
        self._nth = nth

    def __call__(self, datagram: bytes) -> bool:
        if len(datagram) < 1000 or is_control(datagram):
            return False
        if unpack_header(datagram)[1] & MESSAGE_MASK == FILTER_MESSAGE:
            return False
        self.count += 1
        if self.count <= SKIP or self.count % self._nth:
            return False
        self.lost += 1
        return True


@pytest.mark.parametrize("key", [0, 16], ids=["plain", "AES-128"])
@pytest.mark.parametrize("text", FILTERS)
async def test_we_rebuild_what_libsrt_protected(text: str, key: int) -> None:
    options = Options(
        receive_latency_ms=LATENCY_MS, security=SecurityOptions(PASSPHRASE if key else "")
    )
    handler, loss = Collector(), EveryNth(17)
    endpoint = Endpoint.bind("127.0.0.1", 0)
    endpoint.listen(ListenerOptions(), lambda call: call.accept(options, handler))
    more = {"passphrase": PASSPHRASE, "pbkeylen": key} if key else {}
    async with proxied(("127.0.0.1", endpoint.port), Line(loses=loss), Line()) as proxy:
        url = url_of(
            "slt",
            f"127.0.0.1:{proxy.port}",
            latency=LATENCY_MS,
            packetfilter=f"{text},arq:never",
            **more,
        )
        async with running(sending("slt", url)) as program:
            await until(lambda: handler.link is not None, "connected")
            await feed(program, COUNT, INTERVAL)
            await until(lambda: len(handler.payloads) >= COUNT, "all came", 3.0)
        assert handler.link is not None
        measured = handler.link.statistics(time.monotonic())
        endpoint.close()
    assert numbers(handler.payloads) == list(range(COUNT))
    assert measured is not None and loss.lost > 15
    assert measured.values["pktRcvFilterSupplyTotal"] == loss.lost
    assert measured.values["pktSentNAKTotal"] == 0


@pytest.mark.parametrize("key", [0, 16], ids=["plain", "AES-128"])
@pytest.mark.parametrize("text", FILTERS)
async def test_libsrt_rebuilds_what_we_protected(text: str, key: int) -> None:
    handler, loss = Collector(), EveryNth(17)
    port = free_port(socket.SOCK_DGRAM)
    more = {"passphrase": PASSPHRASE} if key else {}
    url = url_of(
        "slt", f"127.0.0.1:{port}", mode="listener", latency=LATENCY_MS, packetfilter="fec", **more
    )
    options = Options(
        peer_latency_ms=LATENCY_MS,
        filter=f"{text},arq:never",
        security=SecurityOptions(PASSPHRASE if key else "", key),
    )
    endpoint = Endpoint.bind("127.0.0.1", 0)
    async with (
        running(receiving("slt", url)) as program,
        proxied(("127.0.0.1", port), Line(loses=loss), Line()) as proxy,
    ):
        output = Output(program)
        endpoint.call(("127.0.0.1", proxy.port), options, handler)
        await until(lambda: handler.link is not None, "connected")
        assert handler.link is not None and handler.link.result is not None
        assert "arq:never" in handler.link.result.filter
        await asyncio.sleep(0.1)  # the program is slower than its socket
        await send(handler.link, COUNT + EXTRA, INTERVAL)
        with contextlib.suppress(AssertionError):
            await until(lambda: len(output.data) >= COUNT * 1316, "all came", 3.0)
        output.stop()
        measured = handler.link.statistics(time.monotonic())
        endpoint.close()
    assert numbers(cut(output.data))[:COUNT] == list(range(COUNT))
    assert measured is not None and loss.lost > 15
    assert measured.values["pktRetransTotal"] == 0
    assert measured.values["pktSndFilterExtraTotal"] > COUNT / 10


async def test_filters_that_differ_are_refused_by_both() -> None:
    handler = Collector()
    port = free_port(socket.SOCK_DGRAM)
    url = url_of("slt", f"127.0.0.1:{port}", mode="listener", packetfilter="fec,cols:10")
    endpoint = Endpoint.bind("127.0.0.1", 0)
    async with running(receiving("slt", url)):
        endpoint.call(("127.0.0.1", port), Options(filter="fec,cols:8"), handler)
        await until(lambda: handler.end is not None, "refused")
    assert handler.end == ("srt-filter", 14)
    theirs = Collector()
    endpoint.listen(
        ListenerOptions(), lambda call: call.accept(Options(filter="fec,cols:10"), theirs)
    )
    url = url_of("slt", f"127.0.0.1:{endpoint.port}", packetfilter="fec,cols:8")
    async with running(sending("slt", url)):
        await until(lambda: theirs.end is not None, "refused")
    assert theirs.end == ("srt-filter", 14)
    endpoint.close()
