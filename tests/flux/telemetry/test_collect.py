"""What is read of the router."""

import pytest

from flux.core.bus import Bus
from flux.core.looplag import LoopLag
from flux.telemetry.collect import Collector
from media.causes import Cause
from media.codecs.g711 import G711Parameters
from media.events import ReaderRefused
from media.router import Router
from media.stream import StreamOptions
from media.track import PCMU, Kind, TrackDescription


@pytest.mark.parametrize(("kind", "state"), [("", "running"), ("rtsp", "connecting")])
def test_the_state_of_a_publisher(kind: str, state: str) -> None:
    """A source tells its own; somebody who publishes by himself is there."""
    bus = Bus()
    router = Router(bus.emit)
    router.declare("cam", StreamOptions(), kind=kind)
    router.source_state("cam", "connecting", "", 1.0)
    sound = TrackDescription(Kind.AUDIO, PCMU, 8_000, G711Parameters(sample_rate=8_000, channels=1))
    router.publish("cam", [sound], now=2.0, origin=kind or "srt")
    (session,) = Collector(router, bus, LoopLag()).sessions()
    assert (session.role, session.state) == ("publisher", state)


async def test_viewers_that_the_server_has_no_room_for_are_its_interruptions() -> None:
    bus = Bus()
    router = Router(bus.emit)
    router.declare("cam", StreamOptions())
    collector = Collector(router, bus, LoopLag())
    for stream, reason in (
        ("cam", "server-overloaded"),
        ("cam", "wrong-password"),
        ("unknown", "server-overloaded"),
    ):
        bus.emit(ReaderRefused(stream, "hls", "127.0.0.1", reason))
    (cam,) = collector.snapshot().streams
    assert {cause: tally.count for cause, tally in cam.interruptions.items()} == {
        Cause.NETWORK: 0,
        Cause.SERVER: 1,
        Cause.SOURCE: 0,
    }
