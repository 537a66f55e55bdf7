"""The packet filter against libsrt's: what it lost is rebuilt, without any retransmission.

Each kind of filter protects both directions; the same loss without the filter is a loss, and with
`arq:onreq` what the filter cannot mend is asked for. Tests run all their filters at the same time.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import product

import pytest

from protocols.srt.endpoint import Endpoint
from protocols.srt.options import ListenerOptions, Options, SecurityOptions
from protocols.srt.packet import (
    FILTER_MESSAGE,
    MESSAGE_MASK,
    RETRANSMITTED,
    ControlType,
    is_control,
    unpack_header,
)
from tests.support.datagrams import until
from tests.support.ports import free_port, is_bound
from tests.support.srt_peers import (
    PACKET,
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

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

COUNT = 400
EXTRA = 20  # srt-live-transmit keeps the last ones to itself
INTERVAL = 0.003
LATENCY_MS = 500  # more than 50 packets take
HERE = "127.0.0.1"
FILTERS = (
    "fec,cols:10,rows:1",
    "fec,cols:5,rows:5,layout:even",
    "fec,cols:10,rows:5,layout:staircase",
    "fec,cols:4,rows:-4",
)
SKIP = 25  # packets without loss: the first columns of a staircase are not covered
PERIOD = 17  # so that no group loses two
NEVER, ON_REQUEST = ",arq:never", ",arq:onreq"


class EveryNth:
    """Loses `burst` new data packets of every n; what is sent again arrives."""

    def __init__(self, nth: int, burst: int = 1) -> None:
        self.lost = 0
        self._count = 0
        self._nth = nth
        self._burst = burst

    def __call__(self, datagram: bytes) -> bool:
        if len(datagram) < 1000 or is_control(datagram):
            return False
        second = unpack_header(datagram)[1]
        if second & MESSAGE_MASK == FILTER_MESSAGE or second & RETRANSMITTED:
            return False
        self._count += 1
        if self._count <= SKIP or self._count % self._nth >= self._burst:
            return False
        self.lost += 1
        return True


def is_nak(datagram: bytes) -> bool:
    """Whether somebody asks for packets."""
    return is_control(datagram) and int.from_bytes(datagram[:2], "big") & 0x7FFF == ControlType.NAK


@dataclass(frozen=True, slots=True)
class Case:
    """One filter; empty: none. `key_bytes` 0: in the clear."""

    filter: str
    key_bytes: int = 0
    burst: int = 1
    loses_naks: bool = False

    @property
    def patience(self) -> float:
        """Seconds until what has not come is lost."""
        return 2 * LATENCY_MS / 1000 if self.loses_naks else 4.0


@dataclass(slots=True)
class Outcome:
    """What arrived, and what our side measured."""

    numbers: list[int]
    lost: int  # on the line
    values: dict[str, float]


def all_of(filters: Iterable[str] = FILTERS) -> list[Case]:
    return [Case(text + NEVER, key) for text, key in product(filters, (0, 16))]


async def each(run: Callable[[Case], Awaitable[Outcome]], cases: list[Case]) -> dict[str, Outcome]:
    """The outcomes of all cases, by what they are."""
    gate = asyncio.Semaphore(8)

    async def one(case: Case) -> tuple[str, Outcome]:
        async with gate:
            return f"{case.filter} {case.key_bytes}", await run(case)

    results = await asyncio.gather(*map(one, cases), return_exceptions=True)
    for error in (each for each in results if isinstance(each, BaseException)):
        raise error
    return dict(each for each in results if not isinstance(each, BaseException))


async def received(case: Case) -> Outcome:
    """srt-live-transmit sends to us."""
    security = SecurityOptions(PASSPHRASE if case.key_bytes else "")
    options = Options(receive_latency_ms=LATENCY_MS, security=security)
    handler, loss = Collector(), EveryNth(PERIOD, case.burst)
    with contextlib.closing(Endpoint.bind(HERE, 0)) as endpoint:
        endpoint.listen(ListenerOptions(), lambda call: call.accept(options, handler))
        more = {"passphrase": PASSPHRASE, "pbkeylen": case.key_bytes} if case.key_bytes else {}
        if case.filter:
            more["packetfilter"] = case.filter
        back = Line(loses=is_nak) if case.loses_naks else Line()
        async with proxied((HERE, endpoint.port), Line(loses=loss), back) as proxy:
            url = url_of("slt", f"{HERE}:{proxy.port}", latency=LATENCY_MS, **more)
            async with running(sending("slt", url)) as program:
                await until(lambda: handler.link is not None, "connected")
                await asyncio.sleep(0.2)  # it drops what comes before it knows
                await feed(program, COUNT + EXTRA, INTERVAL)
                with contextlib.suppress(AssertionError):
                    await until(lambda: len(handler.payloads) >= COUNT, "all came", case.patience)
                assert handler.link is not None
                measured = handler.link.statistics(time.monotonic())
    assert measured is not None
    return Outcome(numbers(handler.payloads)[:COUNT], loss.lost, measured.values)


async def sent(case: Case) -> Outcome:
    """We send to srt-live-transmit."""
    handler, loss = Collector(), EveryNth(PERIOD, case.burst)
    port = free_port()
    more: dict[str, object] = {"passphrase": PASSPHRASE} if case.key_bytes else {}
    if case.filter:
        more["packetfilter"] = "fec"
    url = url_of("slt", f"{HERE}:{port}", mode="listener", latency=LATENCY_MS, **more)
    options = Options(
        peer_latency_ms=LATENCY_MS,
        filter=case.filter,
        security=SecurityOptions(PASSPHRASE if case.key_bytes else "", case.key_bytes),
    )
    with contextlib.closing(Endpoint.bind(HERE, 0)) as endpoint:
        back = Line(loses=is_nak) if case.loses_naks else Line()
        async with (
            running(receiving("slt", url)) as program,
            proxied((HERE, port), Line(loses=loss), back) as proxy,
        ):
            output = Output(program)
            await until(lambda: is_bound(HERE, port), "it listens")
            endpoint.call((HERE, proxy.port), options, handler)
            await until(lambda: handler.link is not None, "connected")
            link = handler.link
            assert link is not None and link.result is not None
            assert (case.filter.partition(",arq:")[2] or "") in link.result.filter
            await asyncio.sleep(0.2)  # the program is slower than its socket
            await send(link, COUNT + EXTRA, INTERVAL)
            with contextlib.suppress(AssertionError):
                size = COUNT * PACKET
                await until(lambda: len(output.data) >= size, "all came", case.patience)
            output.stop()
            measured = link.statistics(time.monotonic())
    assert measured is not None
    whole = output.data[: len(output.data) // PACKET * PACKET]
    return Outcome(numbers(cut(whole))[:COUNT], loss.lost, measured.values)


async def test_we_rebuild_what_libsrt_protected() -> None:
    for name, outcome in (await each(received, all_of())).items():
        assert outcome.numbers == list(range(COUNT)), name
        assert outcome.lost > 15, name
        assert outcome.values["pktRcvFilterSupplyTotal"] >= outcome.lost - 1, name  # of the rest
        assert outcome.values["pktSentNAKTotal"] == 0, name


async def test_libsrt_rebuilds_what_we_protected() -> None:
    for name, outcome in (await each(sent, all_of())).items():
        assert outcome.numbers == list(range(COUNT)), name
        assert outcome.lost > 15, name
        assert outcome.values["pktRetransTotal"] == 0, name
        assert outcome.values["pktSndFilterExtraTotal"] > COUNT / 10, name


@pytest.mark.parametrize("run", [received, sent])
async def test_without_a_filter_the_same_loss_is_one(
    run: Callable[[Case], Awaitable[Outcome]],
) -> None:
    outcome = await run(Case("", loses_naks=True))
    missing = set(range(COUNT)) - set(outcome.numbers)
    assert len(missing) > 10


@pytest.mark.parametrize("run", [received, sent])
async def test_what_the_filter_cannot_mend_is_asked_for(
    run: Callable[[Case], Awaitable[Outcome]],
) -> None:
    cases = [Case("fec,cols:10,rows:1" + ON_REQUEST, key, burst=2) for key in (0, 16)]
    for name, outcome in (await each(run, cases)).items():
        assert outcome.numbers == list(range(COUNT)), name
        repaired = "pktSentNAKTotal" if run is received else "pktRetransTotal"
        assert outcome.values[repaired] > 0, name


async def test_filters_that_differ_are_refused_by_both() -> None:
    handler = Collector()
    port = free_port()
    url = url_of("slt", f"{HERE}:{port}", mode="listener", packetfilter="fec,cols:10")
    with contextlib.closing(Endpoint.bind(HERE, 0)) as endpoint:
        async with running(receiving("slt", url)):
            await until(lambda: is_bound(HERE, port), "it listens")
            endpoint.call((HERE, port), Options(filter="fec,cols:8"), handler)
            await until(lambda: handler.end is not None, "refused")
        assert handler.end == ("srt-filter", 14)
        theirs = Collector()
        endpoint.listen(
            ListenerOptions(), lambda call: call.accept(Options(filter="fec,cols:10"), theirs)
        )
        url = url_of("slt", f"{HERE}:{endpoint.port}", packetfilter="fec,cols:8")
        async with running(sending("slt", url)):
            await until(lambda: theirs.end is not None, "refused")
        assert theirs.end == ("srt-filter", 14)
