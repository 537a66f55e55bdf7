"""TS into the router: when a run begins, what changes it, how its tracks are aligned."""

from collections.abc import Sequence

import pytest

from flux.base.errors import PeerError
from flux.bridges.mpegts import TsReceiver
from flux.bridges.mpegts.receiver import PROGRAM_TIMEOUT, START_TIMEOUT
from flux.net.udp import Joined
from media.mpegts.format import TsFormat
from media.mpegts.stream_types import KLV_LABEL
from media.publisher import Publisher
from media.router import Router
from media.stream import State, StreamOptions
from media.track import KLV, Kind, TrackDescription
from tests.support import clips, ts_build
from tests.support.ts_build import Mux, registration
from tests.support.ts_demux import cut
from tests.support.watcher import Watcher

BEGIN = 100.0
VIDEO, SOUND, OTHER, DATA = 0x100, 0x101, 0x102, 0x103


class Rig:
    """A router with one name, and a receiver for it."""

    def __init__(self, program: int | None = None) -> None:
        self.events: list[object] = []
        self.router = Router(self.events.append)
        self.router.declare("cam", StreamOptions())
        stream = self.router.find("cam")
        assert stream is not None
        self.stream = stream
        self.ended: list[str] = []
        self.runs = 0
        self.receiver = TsReceiver(
            "cam", self.router, "test", self.ended.append, on_playing=self._playing, program=program
        )
        self.now = BEGIN

    def _playing(self) -> None:
        self.runs += 1
        self.stream.outputs.setdefault("watcher", Watcher())

    @property
    def watcher(self) -> Watcher:
        output = self.stream.outputs["watcher"]
        assert isinstance(output, Watcher)
        return output

    @property
    def codecs(self) -> list[str]:
        publisher = self.router.publisher("cam")
        return [track.codec for track in publisher.tracks] if publisher is not None else []

    def feed(self, data: bytes, seconds: float = 0.0, size: int = 1316) -> None:
        """Datagrams, spread over a time."""
        pieces = cut(data, size)
        for piece in pieces:
            self.receiver.receive_datagrams([piece], self.now)
            self.now += seconds / len(pieces)

    def wait(self, seconds: float) -> None:
        """Time passes, and what is due in it is done."""
        end = self.now + seconds
        while (due := self.receiver.get_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.receiver.handle_timer(self.now)
        self.now = end


def adts(fill: int, rate_index: int = 3, channels: int = 2) -> bytes:
    """A frame of 100 bytes."""
    return (
        bytes((0xFF, 0xF1, 0x40 | rate_index << 2, channels << 6, 107 >> 3, (107 & 7) << 5, 0xFC))
        + bytes((fill & 0x7F,)) * 100
    )


def sound(mux: Mux, pid: int, n: int, **fields: int) -> bytes:
    """The n-th AAC frame at 48 kHz."""
    return mux.unit(pid, ts_build.pes(adts(n, **fields), 90_000 + 1920 * n, stream_id=0xC0))


def null(count: int = 3) -> bytes:
    """Packets that are nobody's, for a demuxer that wants to see some."""
    return b"".join(bytes((0x47, 0x1F, 0xFF, 0x10)) + bytes(184) for _ in range(count))


def test_a_clip_is_published_with_its_times() -> None:
    clip = clips.read(clips.PYRAMID)
    live = TsFormat(clips.tracks_of(clip))
    rig = Rig()
    rig.feed(live.header() + b"".join(map(live.encode, clip)), 4.0)
    assert rig.stream.state is State.READY
    assert not rig.stream.drops
    frames = rig.watcher.frames
    assert len(frames) >= len(clip) - 1  # the last picture has no end yet
    assert [f.payload for f in frames] == [f.payload for f in clip[: len(frames)]]
    assert [f.key for f in frames] == [f.key for f in clip[: len(frames)]]
    shift = frames[0].dts - clip[0].dts
    for mine, sent in zip(frames, clip, strict=False):
        assert (mine.pts - sent.pts, mine.dts - sent.dts) == (shift, shift)


def test_tracks_are_aligned_by_the_streams_clock() -> None:
    """Sound arrives a second after the pictures that it belongs to."""
    clip = clips.read(clips.BUNNY)
    pictures = clips.only(clip, Kind.VIDEO)
    audio = clips.only(clip, Kind.AUDIO)
    row = sorted(
        pictures + audio,
        key=lambda f: f.dts / f.track.clock_rate + (1.0 if f.track.kind is Kind.AUDIO else 0.0),
    )
    live = TsFormat(clips.tracks_of(clip))
    rig = Rig()
    rig.feed(live.header() + b"".join(map(live.encode, row)), 8.0)
    first: dict[Kind, float] = {}
    for frame in rig.watcher.frames:
        first.setdefault(frame.track.kind, frame.pts / frame.track.clock_rate)
    expected: dict[Kind, float] = {}
    for frame in clip:
        expected.setdefault(frame.track.kind, frame.pts / frame.track.clock_rate)
    apart = first[Kind.AUDIO] - first[Kind.VIDEO]
    assert apart == pytest.approx(expected[Kind.AUDIO] - expected[Kind.VIDEO], abs=0.0001)


def test_a_stream_that_begins_much_later_is_aligned_too() -> None:
    """Half a minute of sound, then data whose time is what it says, not when it came."""
    mux = Mux()
    tables = mux.tables([(0x0F, SOUND), (6, DATA, registration(b"KLVA"))], pcr_pid=SOUND)
    rig = Rig()
    rig.feed(tables + b"".join(sound(mux, SOUND, n) for n in range(1500)), 32.0)
    unit = ts_build.pes(KLV_LABEL + bytes(20), 90_000 + 1920 * 1499 - 45_000, stream_id=0xBD)
    rig.now += 1.5
    rig.feed(mux.unit(DATA, unit))
    frames = {frame.track.codec: frame for frame in rig.watcher.frames}
    apart = frames["aac"].pts / 48_000 - frames[KLV].pts / 90_000
    assert apart == pytest.approx(0.5, abs=0.002)


def test_a_run_waits_for_every_stream_but_not_for_ever() -> None:
    mux = Mux()
    rig = Rig()
    rig.feed(mux.tables([(0x0F, SOUND), (0x0F, OTHER)]) + sound(mux, SOUND, 0))
    assert rig.runs == 0
    assert rig.receiver.get_timer() == pytest.approx(BEGIN + START_TIMEOUT)
    rig.wait(START_TIMEOUT)
    assert rig.codecs == ["aac"]
    assert rig.stream.received_bytes == 100  # what had come before is not lost
    rig.wait(1.0)
    rig.feed(sound(mux, SOUND, 1) + sound(mux, OTHER, 0))
    assert rig.codecs == ["aac", "aac"]
    assert rig.runs == 2
    assert not rig.ended


def test_all_streams_known_is_a_run_at_once() -> None:
    mux = Mux()
    rig = Rig()
    rig.feed(mux.tables([(0x0F, SOUND), (0x0F, OTHER), (6, DATA, registration(b"KLVA"))]))
    rig.feed(sound(mux, SOUND, 0) + sound(mux, OTHER, 0))
    assert rig.codecs == ["aac", "aac", "klv"]
    assert rig.receiver.get_timer() is None
    assert rig.receiver.is_playing


def test_pictures_may_show_their_parameters_later() -> None:
    mux = Mux()
    rig = Rig()
    rig.feed(mux.tables([(0x1B, VIDEO), (0x0F, SOUND)]) + sound(mux, SOUND, 0))
    rig.wait(START_TIMEOUT)
    assert rig.codecs == ["h264", "aac"]
    assert rig.runs == 1


def test_what_nobody_can_name_is_opaque_in_the_end() -> None:
    mux = Mux()
    rig = Rig()
    rig.feed(mux.tables([(0x0F, SOUND), (6, DATA)]) + sound(mux, SOUND, 0))
    assert rig.codecs == []
    rig.wait(START_TIMEOUT)
    assert rig.codecs == ["aac", "ts/06"]


def test_other_pids_with_the_same_codecs_are_the_same_run() -> None:
    mux = Mux()
    rig = Rig()
    rig.feed(mux.tables([(0x0F, SOUND)]) + sound(mux, SOUND, 0) + sound(mux, SOUND, 1))
    rig.feed(mux.tables([(0x0F, OTHER)], 1) + sound(mux, OTHER, 2) + sound(mux, OTHER, 3))
    assert rig.runs == 1
    assert [frame.payload[0][0] for frame in rig.watcher.frames] == [0, 1, 2, 3]
    assert rig.watcher.changes <= 1


def test_other_codecs_are_another_run() -> None:
    mux = Mux()
    rig = Rig()
    rig.feed(mux.tables([(0x0F, SOUND)]) + sound(mux, SOUND, 0) + sound(mux, SOUND, 1))
    rig.feed(mux.tables([(0x0F, SOUND), (0x0F, OTHER)], 1) + sound(mux, SOUND, 2))
    assert rig.codecs == ["aac"]  # until the new one is known
    rig.wait(1.0)
    rig.feed(sound(mux, SOUND, 3) + sound(mux, OTHER, 3))
    assert rig.codecs == ["aac", "aac"]
    assert rig.runs == 2
    rig.wait(1.0)
    rig.feed(mux.tables([(0x0F, OTHER)], 2) + sound(mux, OTHER, 4))
    assert rig.codecs == ["aac"]
    assert not rig.ended


def test_another_sample_rate_is_another_run() -> None:
    mux = Mux()
    rig = Rig()
    rig.feed(mux.tables([(0x0F, SOUND)]) + sound(mux, SOUND, 0))
    rig.wait(1.0)
    rig.feed(sound(mux, SOUND, 1, rate_index=4))
    assert rig.runs == 2
    publisher = rig.router.publisher("cam")
    assert publisher is not None
    assert publisher.tracks[0].clock_rate == 44_100


def test_units_wait_for_a_run_that_may_not_begin_yet() -> None:
    mux = Mux()
    rig = Rig()
    rig.feed(mux.tables([(0x0F, SOUND)]) + sound(mux, SOUND, 0))
    rig.feed(sound(mux, SOUND, 1, rate_index=4) + sound(mux, SOUND, 2, rate_index=4))
    assert rig.runs == 1
    assert len(rig.watcher.frames) == 1
    rig.wait(1.0)
    assert rig.runs == 2
    assert [frame.track.clock_rate for frame in rig.watcher.frames] == [44_100, 44_100]


def test_other_channels_of_the_same_stream_are_the_same_run() -> None:
    mux = Mux()
    rig = Rig()
    rig.feed(mux.tables([(0x0F, SOUND)]) + sound(mux, SOUND, 0))
    rig.feed(sound(mux, SOUND, 1, channels=1) + sound(mux, SOUND, 2, channels=1))
    assert rig.runs == 1
    parameters = rig.stream.tracks[0].parameters
    assert parameters is not None
    assert parameters.version == 1
    rig.wait(1.0)
    rig.feed(mux.tables([(0x0F, OTHER)], 1) + sound(mux, OTHER, 3))  # stereo, on another PID
    assert rig.runs == 2


def test_tables_that_change_all_the_time_make_few_runs() -> None:
    mux = Mux()
    rig = Rig()
    for n in range(200):
        streams = [(0x0F, SOUND), (0x0F, OTHER)][: 1 + n % 2]
        rig.feed(mux.tables(streams, n) + sound(mux, SOUND, n) + sound(mux, OTHER, n), 0.02)
    assert 3 <= rig.runs <= 5
    assert rig.receiver.is_playing


def test_no_program_ends_it() -> None:
    rig = Rig()
    rig.feed(null(20))
    rig.wait(PROGRAM_TIMEOUT - 0.1)
    assert not rig.ended
    rig.feed(null(20))
    rig.wait(0.2)
    assert rig.ended == ["ts-no-program"]
    rig.feed(null(20))
    assert rig.ended == ["ts-no-program"]


def test_a_program_that_goes_away_ends_it() -> None:
    mux = Mux()
    rig = Rig()
    rig.feed(mux.tables([(0x0F, SOUND)]) + sound(mux, SOUND, 0))
    rig.feed(mux.table(0, ts_build.pat({9: 0x900}, version=1)) + null())
    rig.wait(PROGRAM_TIMEOUT - 1)
    assert rig.codecs == ["aac"]
    rig.wait(2)
    assert rig.ended == ["ts-no-program"]
    assert rig.codecs == []


def test_a_name_that_is_taken() -> None:
    rig = Rig()
    other = Rig()
    mux = Mux()
    data = mux.tables([(0x0F, SOUND)]) + sound(mux, SOUND, 0)
    other.feed(data)
    publisher = other.router.publisher("cam")
    assert publisher is not None
    second = TsReceiver("cam", other.router, "test", rig.ended.append)
    second.receive(data, BEGIN)
    assert rig.ended == ["name-taken"]
    assert second.closed


def test_a_kick_ends_it_and_a_close_does_not_come_back() -> None:
    mux = Mux()
    rig = Rig()
    rig.feed(mux.tables([(0x0F, SOUND)]) + sound(mux, SOUND, 0))
    publisher = rig.router.publisher("cam")
    assert publisher is not None
    assert rig.router.kick(publisher.session, rig.now)
    assert rig.ended == ["kicked"]
    again = Rig()
    again.feed(mux.tables([(0x0F, SOUND)]) + sound(mux, SOUND, 1))
    again.receiver.close("peer-closed", again.now)
    assert again.ended == []
    assert again.router.publisher("cam") is None


def test_drops_are_told_to_the_stream() -> None:
    mux = Mux()
    rig = Rig()
    rig.feed(mux.tables([(0x0F, SOUND), (0x0F, OTHER)]) + sound(mux, SOUND, 0))
    sound(mux, SOUND, 1)
    rig.feed(sound(mux, SOUND, 2))
    rig.receiver.dropped("rtp-packet-lost", 3)
    rig.feed(sound(mux, OTHER, 0))
    assert rig.stream.drops == {"ts-packet-loss": 1, "rtp-packet-lost": 3}
    rig.receiver.gap(16, rig.now)
    assert rig.stream.drops["ts-packet-loss"] == 3
    assert rig.receiver.drops == rig.stream.drops
    assert rig.receiver.packets == 5


def test_a_router_that_refuses_for_other_reasons() -> None:
    class Refusing:
        def publish(
            self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
        ) -> Publisher:
            raise PeerError("server-stopping", 503)

    ended: list[str] = []
    mux = Mux()
    receiver = TsReceiver("cam", Refusing(), "test", ended.append)
    receiver.receive(mux.tables([(0x0F, SOUND)]) + sound(mux, SOUND, 0) + null(), BEGIN)
    assert ended == ["server-stopping"]


def test_any_cut_of_datagrams_and_streams() -> None:
    clip = clips.only(clips.read(clips.BUNNY), Kind.AUDIO)
    live = TsFormat(clips.tracks_of(clip))
    data = b"".join(map(live.encode, clip))
    counts = []
    for size in (188, 1316, 1472, 20_000):
        rig = Rig()
        rig.feed(data, 9.0, size)
        counts.append(len(rig.watcher.frames))
    rig = Rig()
    rig.receiver.receive_datagrams(cut(data, 1316), BEGIN)
    counts.append(rig.stream.inputs[next(iter(rig.stream.inputs))].frames)
    assert counts == [len(clip)] * 5


@pytest.mark.parametrize("size", [1316, 1000])
def test_joined_datagrams_are_what_they_were(size: int) -> None:
    """Whole packets, and packets that are cut, one half of some of them missing."""
    clip = clips.only(clips.read(clips.BUNNY), Kind.AUDIO)
    live = TsFormat(clips.tracks_of(clip))
    datagrams = cut(b"".join(map(live.encode, clip)), size)
    del datagrams[20::40]
    joined = Joined(b"".join(datagrams), list(map(len, datagrams)))
    found = []
    for each in (datagrams, joined):
        rig = Rig()
        rig.receiver.receive_datagrams(each, BEGIN)
        (track,) = rig.stream.inputs.values()
        found.append((rig.receiver.packets, track.frames, dict(rig.stream.drops)))
    assert found[0] == found[1]
    assert 0 < found[0][1] < len(clip)
