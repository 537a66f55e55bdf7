"""A worker's end of the socket."""

import socket

import pytest

from flux.base.errors import StateError
from flux.workers.link import Link
from media.track import Kind
from media.wire import VERSION, Announcement, Bye, Decoder, Dropped, Hello, Message, Tracks
from media.wire import WireFrame as Frame

TRACK = Announcement(0, Kind.VIDEO, "h264", 90_000)


def decode(data: bytes) -> list[Message]:
    decoder = Decoder()
    decoder.receive_data(data)
    messages: list[Message] = []
    while (message := decoder.next_message()) is not None:
        messages.append(message)
    return messages


def test_everything_arrives() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        link = Link.inherited({"FLUX_WORKER_FD": str(theirs.detach())})
        link.open("demo", (TRACK,))
        link.frame(0, 1, 5, 4, 3, (b"a", b"b"))
        link.drop(9, "worker-late")
        link.close()
        assert decode(ours.recv(4096)) == [
            Hello(VERSION, "demo"),
            Tracks((TRACK,)),
            Frame(0, 1, 5, 4, 3, (b"a", b"b")),
            Dropped(None, 9, "worker-late"),
        ]
        assert ours.recv(1) == b""


def test_a_refusal_is_hello_and_bye() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        Link(theirs).refuse("demo", "no-way")
        assert decode(ours.recv(4096)) == [Hello(VERSION, "demo"), Bye("no-way")]


def test_the_end_of_the_server_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    link = Link(theirs)
    ours.close()
    with pytest.raises(OSError, match="Broken pipe"):
        link.open("demo", (TRACK,))
    link.close()


@pytest.mark.parametrize("text", ["", "x", "-1", "\N{SUPERSCRIPT TWO}", "987654"])
def test_no_socket_is_said(text: str) -> None:
    with pytest.raises(StateError, match="FLUX_WORKER_FD"):
        Link.inherited({"FLUX_WORKER_FD": text})
