"""A target of `forward` that cannot keep up, seen from the stream."""

import time
from typing import Any

from flux.bridges.srt.forward import SrtForward
from flux.bridges.srt.output import OUTPUT
from media.events import ReaderSkipped
from media.stream import State, Stream, StreamOptions
from tests.flux.bridges.srt.test_sender import Line
from tests.support import clips
from tests.support.datagrams import until


async def test_a_target_that_skips_is_told_of_like_a_reader() -> None:
    clip = clips.read(clips.PYRAMID)
    events: list[Any] = []
    stream = Stream("cam", StreamOptions(), events.append)
    stream.tracks, stream.state = clips.tracks_of(clip), State.READY
    said: list[tuple[str, str]] = []
    forward = SrtForward("cam", "srt://127.0.0.1:9", lambda state, why: said.append((state, why)))
    forward.start(stream)
    line = Line()
    forward.connected(line, time.monotonic())
    assert line.state is not None
    line.state.given_up = 7
    for frame in clip[:3]:
        stream.outputs[OUTPUT].frame(frame)
    await until(lambda: any(isinstance(event, ReaderSkipped) for event in events), "it skips")
    forward.stop("test")
    await forward.wait_stopped()
    (skipped,) = [event for event in events if isinstance(event, ReaderSkipped)]
    assert (skipped.stream, skipped.protocol, skipped.reader) == ("cam", "srt", "127.0.0.1:9")
    assert said == [("running", "")]
