"""FLV to the router: when a run begins, what begins another one, how it ends. Virtual time."""

from collections.abc import Sequence

import pytest

from flux.base.errors import PeerError
from flux.bridges.flv.receiver import MEDIA_TIMEOUT, START_TIMEOUT, FlvReceiver
from media.codecs.aac import make_config
from media.flv import amf, tags
from media.flv.forms import Form
from media.flv.muxer import FlvMuxer
from media.publisher import Publisher
from media.receiver import RUN_PAUSE
from media.router import Router
from media.stream import Stream, StreamOptions
from media.track import Kind, TrackDescription
from tests.support import clips

BUNNY = clips.read(clips.BUNNY)
WHOLE = FlvMuxer(clips.tracks_of(BUNNY), Form.AUTO)
FILE = WHOLE.header() + b"".join(map(WHOLE.encode, BUNNY))
AAC, SOUND = b"\xaf\x00" + make_config(44_100, 2), b"\xaf\x01\x21\x10"
G711 = b"\x7e" + bytes(160)
VP8 = b"\x91vp08\x10\x02\x00\x9d\x01\x2a\x40\x00\x30\x00"


def flags(value: int) -> bytes:
    return tags.file_header(bool(value & 1), bool(value & 4))


def sound(time: int, body: bytes = SOUND) -> bytes:
    return tags.tag(8, time, body)


def metadata(**values: float) -> bytes:
    return tags.tag(18, 0, amf.string("onMetaData") + amf.ecma_array(values))


class Rig:
    """A receiver, its router, and what it said."""

    def __init__(self) -> None:
        self.router = Router(lambda event: None)
        self.router.declare("in", StreamOptions())
        self.runs: list[list[str]] = []
        self.ended: list[str] = []
        self.playing = 0
        self.refusal: PeerError | None = None
        self.publisher: Publisher | None = None
        self.receiver = FlvReceiver(
            "in", self, "http-flv", self.ended.append, on_playing=self._on_playing
        )

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        if self.refusal is not None:
            raise self.refusal
        self.runs.append([each.codec for each in descriptions])
        self.publisher = self.router.publish(name, descriptions, now=now, origin=origin)
        return self.publisher

    def _on_playing(self) -> None:
        self.playing += 1

    def feed(self, data: bytes, now: float) -> None:
        self.receiver.receive(data, now)

    @property
    def stream(self) -> Stream:
        stream = self.router.find("in")
        assert stream is not None
        return stream

    @property
    def frames(self) -> dict[str, int]:
        return {track.codec: state.frames for track, state in self.stream.inputs.items()}


def test_a_file_is_published_whole() -> None:
    rig = Rig()
    for at in range(0, len(FILE), 3000):
        rig.feed(FILE[at : at + 3000], at / 100_000)
    pictures = sum(frame.track.kind is Kind.VIDEO for frame in BUNNY)
    assert rig.runs == [["h264", "aac"]]
    assert rig.frames == {"h264": pictures, "aac": len(BUNNY) - pictures}
    assert (rig.playing, rig.receiver.get_timer(), dict(rig.receiver.drops)) == (1, None, {})
    rig.receiver.close("over", 20.0)
    assert rig.publisher is not None and rig.publisher.closed
    assert rig.ended == []


def test_sound_alone_begins_at_once_where_the_flags_say_so() -> None:
    rig = Rig()
    rig.feed(flags(4) + sound(0, AAC) + sound(0), 1.0)
    assert rig.runs == [["aac"]]


def test_metadata_says_what_to_wait_for() -> None:
    rig = Rig()
    rig.feed(flags(0) + metadata(audiocodecid=10.0) + sound(0, AAC), 1.0)
    assert rig.runs == [["aac"]]
    rig = Rig()
    rig.feed(flags(0) + metadata(audiocodecid=10.0, videocodecid=7.0) + sound(0, AAC), 1.0)
    assert rig.runs == []


def test_without_a_word_the_other_kind_is_waited_for_a_little() -> None:
    rig = Rig()
    rig.feed(flags(0) + sound(0, AAC) + sound(0) + sound(23), 1.0)
    assert rig.runs == []
    assert rig.receiver.get_timer() == 1.0 + START_TIMEOUT
    rig.receiver.handle_timer(1.0 + START_TIMEOUT - 0.1)
    assert rig.runs == []
    rig.receiver.handle_timer(1.0 + START_TIMEOUT)
    assert (rig.runs, rig.frames) == ([["aac"]], {"aac": 2})  # what came meanwhile is not lost


def test_both_kinds_end_the_wait() -> None:
    rig = Rig()
    rig.feed(flags(0) + sound(0, G711) + tags.tag(9, 0, VP8), 1.0)
    assert rig.runs == [["vp8", "pcma"]]


def test_a_late_track_begins_another_run() -> None:
    rig = Rig()
    rig.feed(flags(4) + sound(0, AAC) + sound(0), 1.0)
    rig.feed(tags.tag(9, 5000, VP8), 6.0)
    assert rig.runs == [["aac"], ["vp8", "aac"]]
    rig.feed(sound(5010), 6.1)
    assert rig.frames["vp8"] == 1


def test_runs_do_not_follow_each_other_too_fast() -> None:
    rig = Rig()
    rig.feed(flags(4) + sound(0, AAC) + sound(0), 1.0)
    for number in range(20):
        rig.feed(sound(number, G711) + sound(number, AAC), 1.1)
    assert len(rig.runs) == 1
    assert rig.receiver.get_timer() == 1.0 + RUN_PAUSE
    rig.receiver.handle_timer(1.0 + RUN_PAUSE)
    assert rig.runs == [["aac"], ["aac"]]


def test_nothing_comes() -> None:
    rig = Rig()
    rig.feed(flags(5) + metadata(audiocodecid=10.0), 1.0)
    rig.receiver.handle_timer(1.0 + MEDIA_TIMEOUT)
    assert rig.ended == ["no-media"]
    rig.feed(sound(0, AAC), 20.0)  # nobody listens any more
    assert rig.runs == []


@pytest.mark.parametrize("data", [b"<html>", flags(5) + b"\x29" + bytes(20)])
def test_what_is_no_flv_ends_it(data: bytes) -> None:
    rig = Rig()
    rig.feed(data, 1.0)
    assert len(rig.ended) == 1
    assert rig.ended[0].startswith("flv-")


def test_a_name_that_is_taken_ends_it() -> None:
    rig = Rig()
    rig.refusal = PeerError("already-published", 409)
    rig.feed(flags(4) + sound(0, AAC), 1.0)
    assert rig.ended == ["already-published"]


def test_whoever_ends_the_run_ends_the_source() -> None:
    rig = Rig()
    rig.feed(flags(4) + sound(0, AAC), 1.0)
    assert rig.publisher is not None
    rig.publisher.close("kicked", 2.0)
    assert rig.ended == ["kicked"]
    assert not rig.receiver.is_playing


def test_drops_from_before_the_run_are_told_too() -> None:
    rig = Rig()
    rig.feed(flags(4) + sound(0) + sound(0, b"\x95\x00Opus") + sound(0, AAC), 1.0)
    rig.feed(sound(0, b"\xaf"), 1.1)
    wanted = {
        "flv-no-sequence-header": 1,
        "flv-multitrack-refused": 1,
        "flv-tag-truncated": 1,
    }
    assert dict(rig.receiver.drops) == wanted
    assert {reason: rig.stream.drops[reason] for reason in wanted} == wanted
