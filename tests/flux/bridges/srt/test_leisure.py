"""How long the media of a publisher may lie in the socket: longer while nobody takes them."""

import time

import pytest

from flux.bridges.srt.publisher import DEFERRED, UNSEEN_REST, SrtPublisher
from flux.bridges.srt.sessions import SrtSessions
from media.output import LEISURE, UNSEEN
from media.router import Router
from media.stream import State, StreamOptions
from protocols.srt.events import DataReceived
from protocols.srt.pace import CALM_REST, patience
from tests.support import clips
from tests.support.frame_log import FrameLog
from tests.support.srt_stage import transport_stream
from tests.support.srt_virtual import measured_link


async def test_media_that_nobody_takes_may_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Router(lambda event: None)
    stream = router.declare("cam", StreamOptions()).stream
    ended: list[str] = []
    publisher = SrtPublisher(
        *("cam", "srt/1.5", router, SrtSessions(), 60.0),
        lambda reason, code: ended.append(reason),
    )
    pair, link = measured_link(0.001, publisher)
    now = pair.net.now
    monkeypatch.setattr("flux.bridges.srt.publisher.time.monotonic", lambda: pair.net.now)
    publisher.connected(link, now)
    datagrams = transport_stream(clips.BUNNY)
    half = len(datagrams) // 2
    for at in range(0, half, 7):
        publisher.received(link, DataReceived(datagrams[at : at + 7]), now + at * 0.01)
    assert stream.state is State.READY
    assert link.leisure == UNSEEN
    assert LEISURE < patience(link) < UNSEEN + 0.001
    log = FrameLog(router, "cam", time.monotonic)
    publisher.received(link, DataReceived(datagrams[half : half + 7]), now + half * 0.01)
    assert link.leisure == LEISURE
    assert patience(link) == LEISURE > CALM_REST
    del stream.outputs[log.name]
    publisher.received(link, DataReceived(datagrams[half + 7 : half + 14]), now + half * 0.01)
    assert link.leisure == UNSEEN
    run = router.publisher("cam")
    assert run is not None
    run.is_unseen = True
    publisher.received(link, DataReceived(datagrams[half + 14 : half + 21]), now + half * 0.01)
    assert link.leisure == UNSEEN_REST
    assert pair.listener.inbox is not None
    assert pair.listener.inbox.deferred == DEFERRED
    assert patience(link) == pytest.approx(UNSEEN_REST)
    FrameLog(router, "cam", time.monotonic)
    assert pair.listener.inbox.deferred == 0.0, "at once"
    publisher.received(link, DataReceived(datagrams[half + 21 : half + 28]), now + half * 0.01)
    assert link.leisure == LEISURE
    publisher.closed(link, "over", 0)
    assert ended == ["over"]
