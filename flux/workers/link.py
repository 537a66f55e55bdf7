"""A worker's end of its socket, and its tie to the server that started it."""

import ctypes
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Self

from flux.base.errors import StateError
from media.wire import (
    Announcement,
    serialize_bye,
    serialize_drop,
    serialize_frame,
    serialize_hello,
    serialize_tracks,
)

FD_VARIABLE = "FLUX_WORKER_FD"
PR_SET_PDEATHSIG = 1  # prctl(2)


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

    def drop(self, count: int, reason: str) -> None:
        """Tell that frames were left out."""
        self._socket.sendall(serialize_drop(None, count, reason))

    def refuse(self, name: str, reason: str) -> None:
        """End without any frame."""
        self._socket.sendall(serialize_hello(name) + serialize_bye(reason))
        self._socket.close()

    def close(self) -> None:
        """Close the socket without a word."""
        self._socket.close()
