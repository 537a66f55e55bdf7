"""Sources and targets, made from what a stream is declared with."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from config.patterns import fill_in
from config.rtsp_target import RtspTarget
from config.schema import Config, StreamSection
from config.urls import ForwardUrl
from flux.app.options import (
    datagram_options,
    http_pull_options,
    pull_options,
    push_options,
    retries,
    srt_source_options,
)
from flux.bridges.httppull.source import FlvSource
from flux.bridges.rtp.figures import RtpFigures
from flux.bridges.rtsp.pull import RtspSource
from flux.bridges.rtsp.push import RtspPush
from flux.bridges.srt.forward import SrtForward
from flux.bridges.srt.sessions import SrtSessions
from flux.bridges.srt.source import SrtSource
from flux.bridges.udp.rtp import RtpSource
from flux.bridges.udp.rtp_forward import RtpForward
from flux.bridges.udp.ts import TsSource
from flux.bridges.udp.ts_forward import TsForward
from flux.bridges.worker import WorkerSource, command_for
from flux.core.children import Children
from flux.core.forward import Forward, OnState, Target
from flux.core.forwarding import Forwards
from media.router import Router
from media.source import Source
from media.stream import Emit
from protocols.rtsp.options import TransportChoice

Say = Callable[[str, str], None]  # state and reason


class LineSource(Source, Protocol):
    """A source at the end of a line: it counts what comes, and may need time to say goodbye."""

    def figures(self) -> RtpFigures:
        """What came in over RTP so far."""
        ...

    @property
    def is_at_rest(self) -> bool:
        """Nothing of it is left."""
        ...

    async def wait_stopped(self) -> None:
        """Return once nothing of it is left."""
        ...


def make_line_source(
    name: str,
    section: StreamSection,
    config: Config,
    router: Router,
    say: Say,
    srt_sessions: SrtSessions,
) -> LineSource:
    """The source of a stream that comes from the network."""
    assert section.source is not None
    url = section.source.reveal()
    match section.source.scheme:
        case "rtp":
            return RtpSource(name, url, section.sdp, router, say, datagram_options(config))
        case "udp":
            return TsSource(name, url, router, say, datagram_options(config))
        case "srt":
            return SrtSource(name, url, router, say, srt_source_options(config), srt_sessions)
        case "http" | "https" | "ws" | "wss":
            return FlvSource(name, url, router, say, http_pull_options(config, section))
        case _:
            options = pull_options(config, section)
            return RtspSource(name, url, router, say, options, retries(config))


def make_worker_source(
    name: str, section: StreamSection, router: Router, children: Children, say: Say
) -> WorkerSource:
    """The source of a stream that a worker makes."""
    assert section.source is not None
    return WorkerSource(name, command_for(section.source.reveal()), router, children, say)


def make_forwards(
    config: Config, router: Router, emit: Emit, srt_sessions: SrtSessions
) -> Forwards:
    """What sends streams to other hosts."""

    def push(name: str, url: str, on_state: OnState) -> Forward:
        target = RtspTarget.parse(url)
        options = replace(
            push_options(config),
            transport=TransportChoice(target.transport),
            fingerprint=target.fingerprint.digest if target.fingerprint is not None else b"",
        )
        return RtspPush(name, target.url, on_state, emit, options, config.fanout.send_buffer)

    def rtp(name: str, url: str, on_state: OnState) -> Forward:
        return RtpForward(name, url, on_state, emit)

    def srt(name: str, url: str, on_state: OnState) -> Forward:
        return SrtForward(name, url, on_state, srt_sessions)

    return Forwards(
        router,
        emit,
        {"rtp": rtp, "udp": TsForward, "rtsp": push, "rtsps": push, "srt": srt},
        retry_first=config.forwarding.retry_first,
        retry_longest=config.forwarding.retry_longest,
    )


def targets_of(section: StreamSection, name: str, parts: tuple[str, ...]) -> list[Target]:
    """Where a stream is sent to; `parts` are what a pattern's variable parts matched.

    Targets that what was matched makes no URL of are left out.
    """
    found: list[Target] = []
    for forward in section.forward:
        try:
            url = ForwardUrl.parse(fill_in(forward.reveal(), name, parts))
        except ValueError:
            continue
        found.append(Target(url.scheme, url.reveal(), str(url)))
    return found
