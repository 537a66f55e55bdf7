"""A socket that a loop hears now and then: opening and shutting costs one system call each.

Loops make a new watcher for each `add_reader`, and take several calls of the system and a turn of
their own to be rid of it. Where the system has epoll, the loop watches a small set instead, for
good, and the socket is in it or not. A set is never in error, which makes some loops stop to watch.
"""

import asyncio
import contextlib
import select
from collections.abc import Callable


class Gate:
    """Calls `callback` from the loop while it is open and the socket can be read."""

    __slots__ = ("_callback", "_descriptor", "_loop", "_owns_set", "_set", "is_open")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        descriptor: int,
        callback: Callable[[], object],
        descriptors: select.epoll | None = None,
    ) -> None:
        """Shut at first. `descriptor` is the socket's, which has to live until `close`.

        `descriptors`: a set that the loop watches already, for the same callback.
        """
        self._loop = loop
        self._descriptor = descriptor
        self._callback = callback
        self.is_open = False
        self._owns_set = descriptors is None
        self._set = descriptors
        if descriptors is None and hasattr(select, "epoll"):
            self._set = select.epoll(1)
            loop.add_reader(self._set.fileno(), callback)

    def beside(self, descriptor: int) -> "Gate":
        """A gate for another socket, with the same callback; it is closed before this one."""
        return Gate(self._loop, descriptor, self._callback, self._set)

    def open(self) -> None:
        """Hear the socket."""
        if self.is_open:
            return
        self.is_open = True
        if self._set is not None:
            self._set.register(self._descriptor, select.EPOLLIN)
        else:
            self._loop.add_reader(self._descriptor, self._callback)

    def shut(self) -> None:
        """Hear it no more, for now."""
        if not self.is_open:
            return
        self.is_open = False
        if self._set is not None:
            with contextlib.suppress(FileNotFoundError):
                self._set.unregister(self._descriptor)
        else:
            self._loop.remove_reader(self._descriptor)

    def close(self) -> None:
        """For good; calling it twice does no harm."""
        self.shut()
        if self._owns_set and self._set is not None and not self._set.closed:
            self._loop.remove_reader(self._set.fileno())
            self._set.close()
        self._callback = _nothing  # it holds its owner


def _nothing() -> None:
    """It is closed."""
