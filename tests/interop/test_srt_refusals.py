"""Who does not fit is refused with the exact code, by FLUX and by libsrt, and told so.

The ffmpeg with libsrt 1.5.7 prints the code that it was refused with; the others say it in words.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import pytest

from media.router import Router
from protocols.srt.endpoint import Endpoint
from protocols.srt.options import ListenerOptions, Mode, Options, SecurityOptions
from protocols.srt.reception import IncomingCall
from protocols.srt.reject import PREDEFINED
from tests.support import clips
from tests.support.datagrams import publish, until
from tests.support.ports import free_port, is_bound
from tests.support.srt_child import child
from tests.support.srt_peers import PASSPHRASE, Collector
from tests.support.srt_programs import FFMPEG_NEW, FFMPEGS
from tests.support.srt_stage import SrtStage

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

HERE = "127.0.0.1"
AT_ONCE = 6
OTHER = "another-passphrase"
PLAIN = Options()
SECRET = Options(security=SecurityOptions(PASSPHRASE))
FILTER = Options(filter="fec,cols:10")
WITH_SECRET, WITH_OTHER = f"passphrase={PASSPHRASE}", f"passphrase={OTHER}"
STREAM, MESSAGES = "transtype=file", "transtype=file&messageapi=1"
SECRET_WORDS = "Password required or unexpected"

Made = TypeVar("Made")
Thing = TypeVar("Thing")


async def every(do: Callable[[Thing], Awaitable[Made]], things: Iterable[Thing]) -> list[Made]:
    """Do it with all, some at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(thing: Thing) -> Made:
        async with gate:
            return await do(thing)

    results = await asyncio.gather(*map(one, things), return_exceptions=True)
    for error in (each for each in results if isinstance(each, BaseException)):
        raise error
    return [each for each in results if not isinstance(each, BaseException)]


def ffmpeg_in(url: str) -> list[str]:
    words = ["-hide_banner", "-loglevel", "warning", "-f", "data", "-i", url]
    return [FFMPEGS[FFMPEG_NEW], *words, "-f", "data", "-y", "/dev/null"]


def transmit(url: str) -> list[str]:
    return ["srt-live-transmit", "-a:no", "file://con", url]


def gst_in(url: str) -> list[str]:
    source = ["srtsrc", "auto-reconnect=false", f"uri={url}"]
    return ["gst-launch-1.0", "-q", *source, "!", "fakesink"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A caller that is refused: the program, its options, what FLUX wants, and what comes of it."""

    command: Callable[[str], list[str]]
    query: str
    options: Options
    code: int
    words: str  # regular expression: what the program says
    rejects: int = 0  # the application's own code


OURS = (
    Refusal(ffmpeg_in, WITH_OTHER, SECRET, 10, "ERROR:BADSECRET"),
    Refusal(ffmpeg_in, "", SECRET, 11, "ERROR:UNSECURE"),
    Refusal(ffmpeg_in, WITH_SECRET, PLAIN, 11, "ERROR:UNSECURE"),
    Refusal(ffmpeg_in, STREAM, PLAIN, 12, "ERROR:MESSAGEAPI"),
    Refusal(ffmpeg_in, MESSAGES, PLAIN, 13, "ERROR:CONGESTION"),
    Refusal(transmit, WITH_OTHER, SECRET, 10, "Incorrect passphrase"),
    Refusal(transmit, "", SECRET, 11, SECRET_WORDS),
    Refusal(transmit, STREAM, PLAIN, 12, "MessageAPI/StreamAPI collision"),
    Refusal(transmit, MESSAGES, PLAIN, 13, "Congestion controller type collision"),
    Refusal(transmit, "packetfilter=fec,cols:8", FILTER, 14, "Packet Filter settings error"),
    Refusal(gst_in, WITH_OTHER, SECRET, 10, "Incorrect passphrase"),
    Refusal(gst_in, "", SECRET, 11, SECRET_WORDS),
    *(
        Refusal(ffmpeg_in, "", PLAIN, code, f"ERROR:PREDEFINED:{code - PREDEFINED}\n", code)
        for code in (1400, 1401, 1402, 1403, 1404, 1405, 1409, 1415, 1503)
    ),
    Refusal(ffmpeg_in, "", PLAIN, 2005, "ERROR:USERDEFINED:5\n", 2005),
    Refusal(transmit, "", PLAIN, 1404, "Application-defined rejection reason", 1404),
)


async def test_callers_that_we_refuse_are_told() -> None:
    async def run(refusal: Refusal) -> None:
        name = f"{refusal.command.__name__} {refusal.query} {refusal.code}"
        handler = Collector()
        with contextlib.closing(Endpoint.bind(HERE, 0)) as endpoint:

            def called(call: IncomingCall) -> None:
                if refusal.rejects:
                    call.reject(refusal.rejects)
                else:
                    call.accept(refusal.options, handler)

            endpoint.listen(ListenerOptions(), called)
            async with child(
                refusal.command(f"srt://{HERE}:{endpoint.port}?{refusal.query}")
            ) as them:
                await until(
                    lambda: re.search(refusal.words, them.said) is not None or not them.is_running,
                    name,
                )
                said = await them.last_words()
            assert re.search(refusal.words, said), f"{name}: {said}"
            assert handler.link is None, name
            if not refusal.rejects:
                assert handler.end is not None and handler.end[1] == refusal.code, name
            assert sum(endpoint.figures().values()) >= 1, name  # and it is counted

    await every(run, OURS)


@dataclass(frozen=True, slots=True)
class Refused:
    """FLUX calls and is refused: the listener's options, ours, and the code."""

    command: Callable[[str], list[str]]
    query: str
    options: Options
    end: tuple[str, int]


THEIRS = (
    *(
        case
        for command in (ffmpeg_in, transmit, gst_in)
        for case in (
            Refused(command, WITH_OTHER, SECRET, ("srt-bad-secret", 10)),
            Refused(command, "", SECRET, ("srt-unsecure", 11)),
            Refused(command, WITH_SECRET, PLAIN, ("srt-unsecure", 11)),
        )
    ),
    Refused(transmit, STREAM, PLAIN, ("srt-message-api", 12)),
    Refused(transmit, MESSAGES, PLAIN, ("srt-congestion", 13)),
    Refused(transmit, "", Options(mode=Mode.STREAM), ("srt-message-api", 12)),
    Refused(transmit, "packetfilter=fec,cols:8", FILTER, ("srt-filter", 14)),
)


async def test_listeners_that_refuse_us_are_understood() -> None:
    async def run(refused: Refused) -> tuple[Refused, tuple[str, int] | None]:
        port = free_port()
        handler = Collector()
        with contextlib.closing(Endpoint.bind(HERE, 0)) as endpoint:
            url = f"srt://{HERE}:{port}?mode=listener&{refused.query}"
            async with child(refused.command(url)):
                await until(lambda: is_bound(HERE, port), "it listens")
                endpoint.call((HERE, port), refused.options, handler)
                await until(lambda: handler.end is not None or handler.link is not None, url)
        return refused, handler.end

    for refused, end in await every(run, THEIRS):
        assert end == refused.end, refused


WISHES = {
    "read:nobody": "ERROR:PREDEFINED:404\n",
    "publish:busy": "ERROR:PREDEFINED:409\n",
    "#!::r=busy,m=bidirectional": "ERROR:PREDEFINED:405\n",
    "#!::m=publish": "ERROR:PREDEFINED:400\n",
}


async def test_the_server_says_why() -> None:
    async with SrtStage() as stage:
        stage.declare("busy")
        occupy(stage.router)

        async def run(stream_id: str) -> str:
            url = f"srt://{HERE}:{stage.place[1]}?streamid={stream_id}"
            async with child(ffmpeg_in(url)) as them:
                await until(lambda: not them.is_running, stream_id)
                return await them.last_words()

        for words, said in zip(WISHES.values(), await every(run, WISHES), strict=True):
            assert words in said
        counted = stage.bridge.refusals()
    reasons = ("srt-not-found", "srt-conflict", "srt-bad-mode", "srt-bad-request")
    assert {reason: counted[reason] for reason in reasons} == dict.fromkeys(reasons, 1)


def occupy(router: Router) -> None:
    """Somebody publishes."""
    publish(router, "busy", clips.read(clips.BUNNY))
