"""The command: runs a probe for some seconds, shows what it measures, ends in a table."""

import contextlib
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from flux.cli.output import EXIT_FAILURE, JsonOption, fail, make_console, plain, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from flux.cli.probe.engine import Probe
    from flux.cli.probe.figures import Board

REFRESH = 0.25  # seconds between two pictures of the live display
PATIENCE = 20.0  # seconds that may pass before the first frame

ENDED_BY_TIME = "time"
ENDED_BY_USER = "interrupted"


class Transport(StrEnum):
    """How RTP is asked for."""

    AUTO = "auto"
    TCP = "tcp"
    UDP = "udp"
    MULTICAST = "multicast"
    HTTP = "http"


def probe(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="rtsp(s)://, srt://, http(s):// or ws(s)://.")
    ],
    seconds: Annotated[
        float,
        typer.Option(
            metavar="N", min=0.1, max=86400.0, help="Measure for so long, from the first frame on."
        ),
    ] = 10.0,
    transport: Annotated[
        Transport,
        typer.Option(help="How RTP comes over RTSP; auto is TCP, then UDP; http is a tunnel."),
    ] = Transport.AUTO,
    fingerprint: Annotated[
        str, typer.Option(metavar="SHA256", help="The certificate that rtsps:// has to show.")
    ] = "",
    interface: Annotated[
        str, typer.Option(metavar="NAME", help="Where multicast groups are joined.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Read a stream as a player would, and measure it; Ctrl-C ends it early."""
    import asyncio

    from config.urls import hide_credentials
    from flux.cli.probe.engine import ProbeFailed, ProbeOptions, probe_for
    from flux.cli.probe.figures import Board
    from flux.cli.probe.view import render

    try:
        options = ProbeOptions(transport.value, fingerprint, interface)
        reader = probe_for(url, options)
    except ProbeFailed as error:
        hint = "--fingerprint" if error.reason == "fingerprint" else "URL"
        text = str(error).removeprefix(f"{error.reason}: ")
        raise typer.BadParameter(text, param_hint=hint) from None
    _silence()
    board = Board(hide_credentials(url))
    failure = ""
    with contextlib.ExitStack() as stack:
        show: Callable[[], None] = _nothing
        console = make_console()
        if console.is_terminal and not as_json:
            from rich.live import Live

            live = stack.enter_context(Live(console=console, auto_refresh=False, transient=True))

            def show() -> None:
                live.update(render(board, is_terminal=True), refresh=True)

        try:
            with asyncio.Runner() as runner:
                runner.run(watch(reader, board, seconds, show))
        except ProbeFailed as error:
            failure = str(error)
            board.ended = error.reason
    if as_json:
        print_json(board.summary())
    elif board.frames:
        console.print(render(board, is_terminal=console.is_terminal))
    if failure:
        fail(plain(f"{board.url}: {failure}"))
    if not board.frames:
        if board.ended != ENDED_BY_USER:
            fail(f"{board.url}: {board.ended}")
        raise typer.Exit(EXIT_FAILURE)


async def watch(
    reader: "Probe",
    board: "Board",
    seconds: float,
    show: "Callable[[], None]",
    patience: float = PATIENCE,
) -> None:
    """Run a probe until its time is up, it ends, or a signal comes; raises `ProbeFailed`."""
    import asyncio
    import signal
    import time

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    board.started = board.now = time.monotonic()
    task = loop.create_task(reader.run(board))
    stopping = loop.create_task(stop.wait())
    try:
        while not board.ended:
            wait = REFRESH
            if board.first_at is not None:
                wait = max(0.0, min(wait, board.first_at + seconds - time.monotonic()))
            await asyncio.wait((task, stopping), timeout=wait, return_when="FIRST_COMPLETED")
            board.now = time.monotonic()
            reader.refresh(board)
            show()
            if task.done():
                board.ended = await task
            elif stop.is_set():
                board.ended = ENDED_BY_USER
            elif board.first_at is not None and board.measured >= seconds:
                board.ended = ENDED_BY_TIME
            elif board.first_at is None and board.now - board.started >= patience:
                board.ended = "no-media"
    finally:
        stopping.cancel()
        task.cancel()
        await asyncio.gather(task, stopping, return_exceptions=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _silence() -> None:
    """The probe tells by its table what the server tells by its log."""
    import logging

    import structlog

    logging.basicConfig(level=logging.CRITICAL, stream=sys.stderr)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        cache_logger_on_first_use=False,
    )
    with contextlib.suppress(ImportError):
        import av

        av.logging.set_level(av.logging.PANIC)


def _nothing() -> None:
    """The display of who has no terminal."""
