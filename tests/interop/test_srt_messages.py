"""Message mode against libsrt: a program on its library, and its tools with `messageapi=1`."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from protocols.srt.endpoint import Endpoint
from protocols.srt.link import Channel, Link
from protocols.srt.options import ListenerOptions, Mode, Options, RateOptions, SecurityOptions
from tests.support.datagrams import until
from tests.support.ports import free_port
from tests.support.srt_files import downloading, uploading
from tests.support.srt_native import command, line_of, message
from tests.support.srt_peers import PASSPHRASE, Collector, Output, running
from tests.support.udp_proxy import Line, proxied

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

LOCAL = "127.0.0.1"
SIZES = (1, 188, 1455, 1456, 1457, 30_000, 7, 250_000)
CLEAN = Line()
LOSSY = Line(delay=0.010, loss=0.03)
BAD = Line(delay=0.005, loss=0.10)
# libsrt sends half a megabit a second at 2 % loss and 40 ms, whoever receives.
THEIR_SIZES = {CLEAN: SIZES, LOSSY: (1, 1457, 30_000, 7, 3000)}
PLAIN = Options(mode=Mode.MESSAGE)
SECRET = Options(mode=Mode.MESSAGE, security=SecurityOptions(PASSPHRASE))
WORDS = {PLAIN: {}, SECRET: {"passphrase": PASSPHRASE}}
OPTIONS = pytest.mark.parametrize("options", [PLAIN, SECRET], ids=["plain", "aes-128"])
LINES = pytest.mark.parametrize("line", [CLEAN, LOSSY], ids=["clean", "3%-20ms"])


@contextlib.asynccontextmanager
async def endpoint() -> AsyncIterator[Endpoint]:
    found = Endpoint.bind(LOCAL, 0)
    try:
        yield found
    finally:
        found.close()


def messages(sizes: tuple[int, ...] = SIZES) -> list[bytes]:
    return [message(number, size) for number, size in enumerate(sizes)]


def lines_of(output: Output) -> list[str]:
    return output.data.decode().splitlines()


def patient(options: Options) -> Options:
    """The same, for a listener that takes its time to start."""
    return replace(options, connect_timeout=10.0)


async def linked(handler: Collector) -> Channel:
    await until(lambda: handler.link is not None or handler.end is not None, "connected", 10.0)
    assert handler.link is not None, handler.end
    return handler.link


@OPTIONS
@LINES
async def test_we_send_as_caller(options: Options, line: Line) -> None:
    port = free_port()
    wanted = messages()
    async with (
        running(command("receive", "listen", port, **WORDS[options])) as them,
        endpoint() as ours,
        proxied((LOCAL, port), line) as proxy,
    ):
        output, handler = Output(them), Collector()
        ours.call((LOCAL, proxy.port), patient(options), handler)
        link = await linked(handler)
        assert link.send(wanted, time.monotonic()) == len(wanted)
        link.close("sent", time.monotonic())
        await until(lambda: len(lines_of(output)) >= len(wanted), "all came", 20.0)
        assert lines_of(output) == [line_of(each) for each in wanted]
        await until(lambda: handler.end is not None, "closed")
        output.stop()
    assert handler.end == ("sent", -1)


@OPTIONS
@LINES
async def test_we_receive_as_listener(options: Options, line: Line) -> None:
    wanted = messages(THEIR_SIZES[line])
    handler = Collector()
    async with endpoint() as ours:
        ours.listen(ListenerOptions(), lambda call: call.accept(options, handler))
        async with proxied((LOCAL, ours.port), line) as proxy:
            words = command("send", "call", proxy.port, *THEIR_SIZES[line], **WORDS[options])
            async with running(words):
                await until(lambda: len(handler.payloads) >= len(wanted), "all came", 20.0)
                await until(lambda: handler.end is not None, "closed", 10.0)
    assert handler.payloads == wanted, "each as it was, in order"
    assert handler.end == ("srt-peer-closed", -1)


async def test_we_send_as_listener_and_receive_as_caller() -> None:
    wanted = messages()
    theirs, ours_in = Collector(), Collector()
    port = free_port()
    async with endpoint() as server, endpoint() as client:
        server.listen(ListenerOptions(), lambda call: call.accept(PLAIN, theirs))
        async with (
            running(command("receive", "call", server.port)) as reader,
            running(command("send", "listen", port, *SIZES)),
        ):
            output = Output(reader)
            client.call((LOCAL, port), patient(PLAIN), ours_in)
            (await linked(theirs)).send(wanted, time.monotonic())
            await until(lambda: len(ours_in.payloads) >= len(wanted), "all came", 10.0)
            await until(lambda: len(lines_of(output)) >= len(wanted), "all went", 10.0)
            output.stop()
    assert ours_in.payloads == wanted
    assert lines_of(output) == [line_of(each) for each in wanted]


async def test_free_of_order_they_overtake_and_none_is_missing() -> None:
    """Messages that libsrt sends with `inorder` 0, on a line that loses."""
    sizes = tuple(range(3000, 3020))
    handler = Collector()
    async with endpoint() as ours:
        ours.listen(ListenerOptions(), lambda call: call.accept(PLAIN, handler))
        async with (
            proxied((LOCAL, ours.port), BAD) as proxy,
            running(command("send", "call", proxy.port, *sizes, inorder=0)),
        ):
            await until(lambda: len(handler.payloads) >= len(sizes), "all came", 20.0)
    assert sorted(handler.payloads) == sorted(messages(sizes))
    assert handler.payloads != messages(sizes), "some came before their turn"


LIVES = {
    "waiting": ((20_000, None), (5000, 0.3), (5001, None)),
    "begun": ((5000, None), (60_000, 0.5), (5001, None)),
}


@pytest.mark.parametrize("case", LIVES)
async def test_a_message_whose_time_is_over_is_skipped_by_their_receiver(case: str) -> None:
    """20 kB/s: the second one waits longer than it lives, or is sent in part."""
    port = free_port()
    wanted = messages(tuple(size for size, _ in LIVES[case]))
    rate = RateOptions(max_rate=20_000)
    options = Options(mode=Mode.MESSAGE, connect_timeout=10.0, rate=rate)
    async with running(command("receive", "listen", port)) as them, endpoint() as ours:
        output, handler = Output(them), Collector()
        ours.call((LOCAL, port), options, handler)
        link = await linked(handler)
        assert isinstance(link, Link)
        for content, (_, lifetime) in zip(wanted, LIVES[case], strict=True):
            assert link.send_message(content, time.monotonic(), lifetime=lifetime)
        await until(lambda: len(lines_of(output)) >= 2, "two came", 10.0)
        assert lines_of(output) == [line_of(wanted[0]), line_of(wanted[2])]
        output.stop()


async def test_a_message_that_they_give_up_is_skipped_by_ours() -> None:
    """200 kB/s: the second one waits for a second, and lives for 0.3."""
    handler = Collector()
    sizes = (200_000, 5000, 5001)
    async with endpoint() as ours:
        ours.listen(ListenerOptions(), lambda call: call.accept(PLAIN, handler))
        words = command("send", "call", ours.port, *sizes, maxbw=200_000, ttl=300)
        async with running(words):
            await until(lambda: handler.end is not None, "closed", 10.0)
    assert handler.payloads == [message(0, sizes[0]), message(2, sizes[2])]
    assert handler.lost > 0


def written(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size >= size


@pytest.mark.parametrize("is_ours", [True, False], ids=["we-send", "we-receive"])
async def test_srt_file_transmit_with_messages(tmp_path: Path, is_ours: bool) -> None:
    """Their tool in message mode: what it reads at once, or gets at once, is a message."""
    data = b"".join(messages())
    handler = Collector()
    async with endpoint() as ours:
        ours.listen(ListenerOptions(), lambda call: call.accept(PLAIN, handler))
        url = f"srt://{LOCAL}:{ours.port}?transtype=file&messageapi=1"
        if is_ours:
            pieces = [data[at : at + 1456] for at in range(0, len(data), 1456)]
            async with running(downloading(url, tmp_path, "got")):
                link = await linked(handler)
                assert link.send(pieces, time.monotonic()) == len(pieces)
                link.close("sent", time.monotonic())
                path = tmp_path / "got"
                await until(lambda: written(path, len(data)), "all is written", 10.0)
                assert await asyncio.to_thread(path.read_bytes) == data
        else:
            (tmp_path / "given").write_bytes(data)
            async with running(uploading(tmp_path / "given", url)):
                await until(lambda: handler.end is not None, "closed", 10.0)
            assert b"".join(handler.payloads) == data
