"""Logging: one line a record, JSON or text, from structlog and from the standard library alike.

A line has `ts` (RFC 3339, UTC, milliseconds), `level`, `event` (a fixed word), `logger`, and what
the record is about: `stream`, `session`, `protocol`, `peer`, `reason`. Credentials are hidden and
repeated warnings joined before a line is made.
"""

import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from flux.telemetry.logwriter import LogWriter
from flux.telemetry.redact import redact
from flux.telemetry.repeats import RepeatLimiter

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
QUIET = ("aiohttp.access", "asyncio")  # loggers whose lines below WARNING are not ours to give

# What tells two faults apart; all bounded, unlike a session or an address.
_FAULT_KEYS = ("logger", "level", "stream", "protocol", "reason")


def configure_logging(
    level: str = "info",
    line_format: Literal["auto", "text", "json"] = "auto",
    stream: TextIO | None = None,
    clock: Callable[[], float] = monotonic,
) -> Callable[[], None]:
    """Send all logging to `stream` (standard output); the answer is called to flush and close.

    `auto` is text where the stream is a terminal, else JSON.
    """
    stream = sys.stdout if stream is None else stream
    is_text = line_format == "text" or (line_format == "auto" and stream.isatty())
    renderer = _text_renderer(stream) if is_text else structlog.processors.JSONRenderer(default=str)
    limiter = RepeatLimiter(clock)

    def limit(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        record, ours = event.pop("_record", None), event.pop("_from_structlog", True)
        if LEVELS.get(str(event.get("level")), 0) >= LEVELS["warning"]:
            # The standard library's lines are told apart by their template, not by what fills it.
            word = event.get("event") if ours or record is None else record.msg
            key = (word, *(event.get(name) for name in _FAULT_KEYS))
            if not limiter.admit(key, dict(event)):
                raise structlog.DropEvent
        return event

    def held_lines(everything: bool) -> list[str]:
        return [
            cast(str, renderer(None, "", _order(None, "", record)))
            for record in limiter.due(everything=everything)
        ]

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _stamp,
    ]
    writer = LogWriter(stream, held_lines, lambda: not limiter.is_idle)
    writer.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.processors.format_exc_info,
                redact,
                limit,
                _order,
                renderer,
            ],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    root.handlers[:] = [writer]
    root.setLevel(LEVELS[level])
    for name in QUIET:
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.WARNING))
    logging.captureWarnings(True)

    def close() -> None:
        root.handlers[:] = before[1]
        root.setLevel(before[0])
        logging.captureWarnings(False)
        structlog.reset_defaults()
        writer.close()

    return close


def get_logger(name: str, **context: object) -> structlog.stdlib.BoundLogger:
    """A logger whose lines all carry `context`: a session, its stream, its protocol, its peer."""
    return structlog.stdlib.get_logger(name, **context)


def _stamp(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    event["ts"] = stamp.replace("+00:00", "Z")
    return event


def _order(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """What every line has comes first."""
    first = {key: event[key] for key in ("ts", "level", "event", "logger") if key in event}
    return {**first, **event}


def _text_renderer(stream: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty() and "NO_COLOR" not in os.environ,
        exception_formatter=structlog.dev.plain_traceback,
        timestamp_key="ts",
        pad_event_to=24,
    )
