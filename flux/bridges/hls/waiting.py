"""Requests that wait: for a stream, for its first segments, for the segment or part they name.

When it comes, thousands may wait for it: they are answered in slices.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flux.bridges.hls.blocking import Wish
from flux.bridges.hls.session import HlsSession
from flux.bridges.http.connection import HttpConnection
from flux.bridges.http.request import Request
from media.stream import Stream

SLICE = 0.002  # seconds of answers before the loop gets its turn


@dataclass(slots=True, eq=False)
class Held:
    """A request that waits."""

    connection: HttpConnection
    request: Request
    session: HlsSession
    name: str  # of a playlist, or of a part
    deadline: float
    wish: Wish
    has_waited: bool = False

    def refuse(self, status: int, reason: str) -> None:
        """End it without what it waits for; 503 is worth another try."""
        headers = [("Retry-After", "2")] if status == 503 else []
        self.connection.refuse(status, reason, headers)


class Waiting:
    """All requests that wait, by stream, in the order in which they came."""

    def __init__(self, answer: Callable[[Held], bool]) -> None:
        """`answer` answers a request if that can be done now; False to go on holding it."""
        self._answer = answer
        self._held: dict[Stream, dict[Held, None]] = {}

    def hold(self, held: Held) -> None:
        """Keep a request until it can be answered, or its peer goes."""
        held.has_waited = True
        self._held.setdefault(held.session.stream, {})[held] = None
        held.connection.on_lost = lambda _reason: self.drop(held)

    def drop(self, held: Held) -> None:
        """It waits no more. Its answer comes after this: that may begin the next request."""
        waiting = self._held.get(held.session.stream, {})
        waiting.pop(held, None)
        if not waiting:
            self._held.pop(held.session.stream, None)
        held.connection.on_lost = None

    def of(self, stream: Stream) -> tuple[Held, ...]:
        """Those who wait for a stream."""
        return tuple(self._held.get(stream, ()))

    def streams(self) -> tuple[Stream, ...]:
        """Those that somebody waits for."""
        return tuple(self._held)

    def sessions(self) -> set[HlsSession]:
        """Whoever waits."""
        return {held.session for waiting in self._held.values() for held in waiting}

    def serve(self, stream: Stream) -> None:
        """Answer those who wait for this stream, as far as it can be done now."""
        until = time.monotonic() + SLICE
        for held in self.of(stream):
            if held not in self._held.get(stream, ()):
                continue  # an answer before it ended this one
            if held.session.closed:
                self.drop(held)
                held.refuse(*held.session.refusal())
            elif self._answer(held) and time.monotonic() >= until:
                if stream in self._held:
                    asyncio.get_running_loop().call_soon(self.serve, stream)
                return

    def expired(self, now: float) -> Iterator[Held]:
        """Those who have waited for too long; they wait no more."""
        for stream in self.streams():
            for held in self.of(stream):
                if now >= held.deadline:
                    self.drop(held)
                    yield held
