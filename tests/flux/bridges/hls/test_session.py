"""One HLS viewer: what it missed."""

from flux.bridges.hls.session import HlsSession
from flux.bridges.http.request import Request
from media.causes import Cause
from media.events import ReaderSkipped
from media.hls.segment import TIME_HZ, Segment
from media.stream import Stream, StreamOptions


def segment(sequence: int) -> Segment:
    return Segment(
        name=f"s{sequence}", data=b"x", sequence=sequence, duration=2 * TIME_HZ, ntp=0,
        is_discontinuity=False, is_independent=True, video_frames=50,
    )  # fmt: skip


def test_segments_that_were_gone_when_it_asked_are_its_own_network_s_doing() -> None:
    events: list[object] = []
    stream = Stream("cam", StreamOptions(), events.append)
    request = Request.build("GET", b"/cam/x", {}, keep_alive=True, address="::1", arrived=0.0)
    session = HlsSession(1, "secret", stream, request, events.append)
    stream.readers.enter(session)

    def take(sequence: int, oldest: int) -> None:
        session.took(1, segment(sequence), 1.0, is_main=True, oldest=oldest)

    take(1, oldest=0)
    take(2, oldest=0)
    take(4, oldest=0)  # it passed over one that is still there
    assert session.dropped == 0
    take(9, oldest=8)  # 5, 6 and 7 are gone
    assert session.dropped == stream.drops["reader-skipped"] == 3
    interruptions = stream.readers.interruptions
    tally = interruptions.of(session.id, session.dropped, interruptions.shared())[Cause.NETWORK]
    assert (tally.count, tally.seconds, tally.dropped) == (1, 6.0, 3)
    skips = [event for event in events if isinstance(event, ReaderSkipped)]
    assert skips == [ReaderSkipped("cam", "hls", session.id, 6.0, 3, "network")]
