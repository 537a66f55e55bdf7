"""A worker's end of its socket, and its tie to the server that started it."""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Self, TypeVar

from flux.base.errors import ConfigError, StateError, WireError
from media.wire import (
    Announcement,
    Decoder,
    Message,
    serialize_bye,
    serialize_drop,
    serialize_frame,
    serialize_hello,
    serialize_tracks,
)

FD_VARIABLE = "FLUX_WORKER_FD"
PR_SET_PDEATHSIG = 1  # prctl(2)
READ_BYTES = 1 << 18


class Refusal(Exception):
    """What is asked for cannot be made; `reason` is a stable slug."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def die_with_parent() -> None:
    """Ask the kernel to end this process when the server is gone, however it went.

    Where there is no prctl, the end of the socket does the same a little later.
    """
    prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Link:
    """Sends frames to the server, blocking while the server does not read.

    Every call raises `OSError` once the server has closed its end: a worker then ends.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @classmethod
    def inherited(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The socket that the server passed on; `StateError` if this is no child of a server."""
        text = (os.environ if environment is None else environment).get(FD_VARIABLE, "")
        if not text.isascii() or not text.isdigit():
            raise StateError(f"{FD_VARIABLE} is not set: workers are started by the server")
        try:
            return cls(socket.socket(fileno=int(text)))
        except OSError as error:
            raise StateError(f"{FD_VARIABLE} is no socket: {error}") from None

    def open(self, name: str, tracks: Sequence[Announcement]) -> None:
        """Say hello and announce the tracks."""
        self._socket.sendall(serialize_hello(name) + serialize_tracks(tracks))

    def frame(
        self, track_id: int, flags: int, pts: int, dts: int, ntp: int, payload: tuple[bytes, ...]
    ) -> None:
        """Send one frame."""
        self._socket.sendall(serialize_frame(track_id, flags, pts, dts, ntp, payload))

    def drop(self, count: int, reason: str, track_id: int | None = None) -> None:
        """Tell that frames were left out; None is the whole stream."""
        self._socket.sendall(serialize_drop(track_id, count, reason))

    def refuse(self, name: str, reason: str) -> None:
        """End without any frame."""
        self._socket.sendall(serialize_hello(name) + serialize_bye(reason))
        self._socket.close()

    def close(self) -> None:
        """Close the socket without a word."""
        self._socket.close()


class Desk(Link):
    """A link whose worker does what the server asks; `heard` is the worker's to define."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._decoder = Decoder()

    def heard(self, message: Message) -> None:
        """Do what a message asks; raises `WireError` for what the server should not say."""
        raise NotImplementedError

    def serve(self) -> None:
        """Work until the server closes its end. Raises `WireError` for what it should not say."""
        while data := self._socket.recv(READ_BYTES):
            self._decoder.receive_data(data)
            while (message := self._decoder.next_message()) is not None:
                self.heard(message)


AnyLink = TypeVar("AnyLink", bound=Link)


def run(name: str, kind: type[AnyLink], work: Callable[[AnyLink], None]) -> int:
    """A worker's process, from its start to the end of its socket; the answer is its status."""
    try:
        link = kind.inherited()
    except StateError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    die_with_parent()
    try:
        work(link)
    except (ConfigError, WireError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 2
    except OSError:  # the server has closed its end, or is gone
        link.close()
    return 0
