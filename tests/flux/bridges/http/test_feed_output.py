"""A feed as an output of a stream: who may join it, and what it does with other tracks."""

from flux.bridges.http.feeds import feed_output_of
from flux.bridges.httpflv import HTTP_FLV
from flux.bridges.httpts import HTTP_TS
from tests.support.torture.camera import film
from tests.support.torture.stage import Stage
from tests.support.virtual import MemorySink


def played() -> Stage:
    """A stream that has played for some seconds and goes on."""
    stage = Stage(("srt",))
    stage.play_run(film(seconds=4.0))
    return stage


def test_one_output_for_all_readers() -> None:
    stage = played()
    first = feed_output_of(stage.stream, HTTP_FLV, stage.scheduler)
    assert feed_output_of(stage.stream, HTTP_FLV, stage.scheduler) is first


def test_an_output_that_has_ended_takes_no_readers() -> None:
    """A feed ends by itself when its format is exhausted; the stream learns of that later."""
    stage = played()
    first = feed_output_of(stage.stream, HTTP_FLV, stage.scheduler)
    first.feed.close("format-exhausted")
    second = feed_output_of(stage.stream, HTTP_FLV, stage.scheduler)
    assert second is not first
    assert stage.stream.outputs["flv"] is second


def test_other_tracks_end_flv_and_are_told_in_a_transport_stream() -> None:
    stage = played()
    sinks = {}
    for kind in (HTTP_FLV, HTTP_TS):
        output = feed_output_of(stage.stream, kind, stage.scheduler)
        sinks[kind.name] = MemorySink()
        output.feed.attach(sinks[kind.name])
        output.tracks_changed(stage.stream.tracks[:1])
    stage.scheduler.run(1.0)
    assert sinks["flv"].ended == "tracks-changed"
    assert not sinks["ts"].ended
    assert set(stage.stream.outputs) == {"ts", "srt"}


def test_no_track_left_ends_a_transport_stream() -> None:
    stage = played()
    output = feed_output_of(stage.stream, HTTP_TS, stage.scheduler)
    sink = MemorySink()
    output.feed.attach(sink)
    output.tracks_changed(())
    stage.scheduler.run(1.0)
    assert sink.ended == "no-playable-track"
