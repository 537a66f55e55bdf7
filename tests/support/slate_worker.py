"""The slate worker in a thread of the test, over a real socket."""

import socket
import threading
from dataclasses import dataclass, field

from flux.bridges.slate.order import ORDER, Wish, loop_of
from flux.workers.slate import SlateDesk
from media.slate import SlateLoop
from media.stream import Stream
from media.track import Kind
from media.wire import (
    Announcement,
    Decoder,
    Dropped,
    Tracks,
    WireFrame,
    serialize_hello,
    serialize_tracks,
)


@dataclass
class Answer:
    """What the worker said to one order."""

    tracks: tuple[Announcement, ...] = ()
    frames: list[WireFrame] = field(default_factory=list)
    summary: bytes = b""
    reason: str = ""


def ask(wish: Wish) -> Answer:
    """One order, answered by a worker of its own."""
    ours, theirs = socket.socketpair()
    ours.settimeout(30)
    thread = threading.Thread(target=SlateDesk(theirs).serve, daemon=True)
    thread.start()
    control = Announcement(ORDER, Kind.DATA, "slate", 90_000, configuration=(wish.serialize(7),))
    ours.sendall(serialize_hello("slate") + serialize_tracks((control,)))
    answer, decoder = Answer(), Decoder()
    try:
        while not (answer.summary or answer.reason):
            decoder.receive_data(ours.recv(65536))
            while (message := decoder.next_message()) is not None:
                if isinstance(message, Tracks):
                    answer.tracks = message.tracks
                elif isinstance(message, Dropped):
                    answer.reason = message.reason
                elif isinstance(message, WireFrame) and message.track_id == ORDER:
                    assert message.pts == 7
                    answer.summary = message.payload[0]
                elif isinstance(message, WireFrame):
                    answer.frames.append(message)
    finally:
        ours.close()
        thread.join(5)
        theirs.close()
    return answer


def make_loop(stream: Stream, wish: Wish) -> SlateLoop:
    """The slate of a stream, encoded for real."""
    answer = ask(wish)
    assert answer.reason == ""
    return loop_of(stream, answer.tracks, answer.frames, answer.summary)
