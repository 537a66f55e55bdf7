"""TS into the router while nobody watches: counted as ever, and all there for whoever comes.

The judge is a twin: the same bytes at the same times, for a stream that is claimed all the time.
"""

from collections.abc import Sequence

import pytest

from flux.bridges.mpegts import TsReceiver, receiver
from media.frame import Frame
from media.lease import Lease
from media.onair import UNSEEN_AFTER
from media.publisher import Publisher
from media.router import Router
from media.stream import State, Stream, StreamOptions
from media.track import Kind
from media.track_input import TrackInput
from tests.support import clips, ts_build, ts_demux
from tests.support.looped import looped, rounds
from tests.support.ts_build import DATA_PID, VIDEO_PID, Mux
from tests.support.ts_demux import cut
from tests.support.watcher import Watcher

BEGIN = 100.0
TICK = 0.25  # of the server
DATAGRAM = 1316
ODD = 1000  # bytes that a stream may be cut into
BUNNY_SECONDS = rounds(clips.BUNNY)  # key frames at 0, 1.83 and 5.7 of each round
SKIMMED = BUNNY_SECONDS + 2.5  # by then: the first key frame after UNSEEN_AFTER has come
AS_DATAGRAMS_AND_BYTES = pytest.mark.parametrize("is_stream", [False, True], ids=["udp", "tcp"])


class Rig:
    """A router with one name that nobody reads, and a receiver for it; time passes by bytes."""

    def __init__(self, *, is_claimed: bool = False, is_stream: bool = False) -> None:
        self.router = Router(lambda _event: None)
        self.router.declare("cam", StreamOptions())
        stream = self.router.find("cam")
        assert stream is not None
        self.stream: Stream = stream
        self.ended: list[str] = []
        self.runs = 0
        self.receiver = TsReceiver(
            "cam", self.router, "test", self.ended.append, on_playing=self._playing
        )
        self.now = self._tick_at = BEGIN
        self.most_kept_bytes = 0  # at a tick
        self._is_stream = is_stream
        self._pieces: list[bytes] = []
        self._step = 0.0  # seconds from one piece to the next
        self._fed = 0
        self.lease = self.claim([]) if is_claimed else None

    def _playing(self) -> None:
        self.runs += 1

    def load(self, data: bytes, seconds: float) -> None:
        """What comes from now on."""
        self._pieces = cut(data, ODD if self._is_stream else DATAGRAM)
        self._step = seconds / len(self._pieces)
        self._fed = 0

    def run(self, seconds: float) -> None:
        """Time passes, in which bytes come."""
        assert self._fed < len(self._pieces)
        for piece in self._pieces[self._fed : (end := self._fed + round(seconds / self._step))]:
            if self._is_stream:
                self.receiver.receive(piece, self.now)
            else:
                self.receiver.receive_datagrams([piece], self.now)
            self.now += self._step
            if self.now >= self._tick_at:
                self._tick_at += TICK
                self.router.tick(self.now, 0.0)
                self.most_kept_bytes = max(self.most_kept_bytes, self.stream.kept_bytes)
        self._fed = end

    def claim(self, ready: list[tuple[Frame, ...]]) -> Lease:
        """Be a reader; `ready` gets what the cache holds when the stream is there."""

        def on_ready(stream: Stream) -> None:
            ready.append(stream.gop.frames())

        return self.router.open("cam", on_ready, lambda reason, _: pytest.fail(reason), self.now)

    def watch(self) -> Watcher:
        """Attach an output."""
        watcher = Watcher()
        self.stream.outputs[watcher.name] = watcher
        return watcher

    @property
    def publisher(self) -> Publisher:
        publisher = self.router.publisher("cam")
        assert publisher is not None
        return publisher

    def of(self, kind: Kind) -> TrackInput:
        """What is known of the track of a kind."""
        return next(state for track, state in self.stream.inputs.items() if track.kind is kind)


def pair(times: int, *, is_stream: bool = False) -> tuple[Rig, Rig]:
    """One that nobody watches, and its twin; so many rounds of a clip come to both."""
    mine, twin = Rig(is_stream=is_stream), Rig(is_stream=is_stream, is_claimed=True)
    for rig in (mine, twin):
        rig.load(looped(clips.BUNNY, times), times * BUNNY_SECONDS)
    return mine, twin


def run_both(rigs: tuple[Rig, Rig], seconds: float) -> None:
    for rig in rigs:
        rig.run(seconds)


def skimmed(times: int = 2, *, is_stream: bool = False) -> Rig:
    """One of a stream that is skimmed already."""
    rig = Rig(is_stream=is_stream)
    rig.load(looped(clips.BUNNY, times), times * BUNNY_SECONDS)
    rig.run(SKIMMED)
    assert rig.stream.kept_bytes > 0
    return rig


def payloads(frames: Sequence[Frame], kind: Kind) -> list[tuple[bytes, ...]]:
    return [frame.payload for frame in frames if frame.track.kind is kind]


def keys(frames: Sequence[Frame]) -> list[tuple[int, int, int, bool, bool, tuple[bytes, ...]]]:
    """What two frames have in common that are the same."""
    return [(f.track.id, f.pts, f.dts, f.key, f.discontinuity, f.payload) for f in frames]


# -- nobody comes ----------------------------------------------------------------------------------


@AS_DATAGRAMS_AND_BYTES
def test_what_nobody_watches_is_counted_as_if_it_were_read(is_stream: bool) -> None:
    """Skimmed: the cache is empty, and the log counts as memory. Off, it is the other way round."""
    rigs = mine, twin = pair(3, is_stream=is_stream)
    run_both(rigs, UNSEEN_AFTER - 1)
    assert len(mine.stream.gop) == len(twin.stream.gop) > 0
    assert mine.stream.kept_bytes == 0
    run_both(rigs, 2 * BUNNY_SECONDS + 8.6 - mine.now + BEGIN)
    assert mine.publisher.is_unseen and not twin.publisher.is_unseen
    assert len(mine.stream.gop) == 0 < len(twin.stream.gop)
    assert mine.stream.size_bytes == mine.stream.kept_bytes > 0 == twin.stream.kept_bytes
    assert not mine.stream.drops and not twin.stream.drops
    assert mine.stream.received_bytes == pytest.approx(twin.stream.received_bytes, rel=0.02)
    assert twin.stream.key_at is not None
    # When it was complete, not when it began to come.
    assert mine.stream.key_at == pytest.approx(twin.stream.key_at, abs=0.3)
    video, same = mine.of(Kind.VIDEO), twin.of(Kind.VIDEO)
    assert video.frames == same.frames
    assert video.key_interval == pytest.approx(same.key_interval, abs=0.001)
    assert video.frames_per_second == pytest.approx(same.frames_per_second, abs=2)
    sound, same = mine.of(Kind.AUDIO), twin.of(Kind.AUDIO)
    # Counted by its times, and where the clip begins anew there is a gap.
    assert sound.frames == pytest.approx(same.frames, abs=3 * 5)
    assert sound.frames_per_second == pytest.approx(same.frames_per_second, abs=4)


def test_the_log_is_no_longer_than_a_group_of_pictures() -> None:
    """Skimming for long takes no more memory than the cache would."""
    mine, twin = pair(4)
    mine.run(4 * BUNNY_SECONDS)
    group = 0
    for _ in range(2 * 40):
        twin.run(0.25)
        group = max(group, twin.stream.gop.size_bytes)
    assert 0 < mine.most_kept_bytes < 1.2 * group


# -- somebody comes --------------------------------------------------------------------------------


@AS_DATAGRAMS_AND_BYTES
def test_who_comes_gets_what_he_would_have_got_of_a_stream_that_is_read(is_stream: bool) -> None:
    """The cache is whole when he is served, and every frame that follows comes."""
    rigs = mine, twin = pair(3, is_stream=is_stream)
    run_both(rigs, BUNNY_SECONDS + 4.3)
    assert len(mine.stream.gop) == 0 < mine.stream.kept_bytes
    ready: list[tuple[Frame, ...]] = []
    lease = mine.claim(ready)
    (cached,) = ready  # at once
    assert cached[0].key and cached[0].track.kind is Kind.VIDEO
    every = twin.stream.gop.frames()
    for kind in (Kind.VIDEO, Kind.AUDIO):
        assert payloads(cached, kind) == payloads(every, kind)
    assert not mine.publisher.is_unseen
    assert mine.stream.kept_bytes == 0
    watchers = mine.watch(), twin.watch()
    run_both(rigs, BUNNY_SECONDS)
    got, wanted = (keys(watcher.frames) for watcher in watchers)
    assert len(wanted) > 500
    assert got == wanted
    assert mine.of(Kind.VIDEO).frames == twin.of(Kind.VIDEO).frames
    assert mine.of(Kind.VIDEO).key_interval == twin.of(Kind.VIDEO).key_interval
    assert not mine.stream.drops
    assert mine.stream.kept_bytes == 0
    lease.close()


def test_a_moment_after_the_last_reader_it_is_skimmed_again() -> None:
    """And not before; as long as he is there it is read."""
    rig = skimmed(4)
    lease = rig.claim([])
    rig.run(UNSEEN_AFTER + 3)
    assert rig.stream.kept_bytes == 0 < len(rig.stream.gop)
    lease.close()
    rig.run(UNSEEN_AFTER - 1)
    assert rig.stream.kept_bytes == 0 < len(rig.stream.gop)
    rig.run(1 + 4.5)  # the longest group of pictures
    assert len(rig.stream.gop) == 0 < rig.stream.kept_bytes
    assert not rig.stream.drops


# -- what ends it ----------------------------------------------------------------------------------


def test_a_log_that_grows_too_long_is_read_and_not_begun_anew_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Frames are in the cache again, and nothing is lost or counted twice."""
    monkeypatch.setattr(receiver, "MAX_LOG_BYTES", 150_000)
    monkeypatch.setattr(receiver, "LOG_PAUSE", 15.0)
    rigs = mine, twin = pair(4)
    while not mine.stream.kept_bytes:
        run_both(rigs, 0.05)
    while mine.stream.kept_bytes:
        run_both(rigs, 0.05)
    began = mine.now
    assert mine.most_kept_bytes < 160_000
    assert mine.publisher.is_unseen
    while mine.now < began + 14.5:
        assert mine.stream.kept_bytes == 0
        assert keys(mine.stream.gop.frames()) == keys(twin.stream.gop.frames()) != []
        run_both(rigs, 0.5)
    assert mine.of(Kind.VIDEO).frames == twin.of(Kind.VIDEO).frames
    assert not mine.stream.drops
    while not mine.stream.kept_bytes:  # it is tried again, in a new group of pictures
        assert mine.now < began + 20.5
        run_both(rigs, 0.05)


def changed() -> tuple[Rig, Rig]:
    """One that was skimmed when a new PMT came, with pictures alone, and its twin."""
    rigs = mine, _ = pair(2)
    run_both(rigs, SKIMMED)
    assert mine.stream.kept_bytes > 0
    for rig in rigs:
        rig.load(looped(clips.PYRAMID, 1, shift=30), rounds(clips.PYRAMID))
    return rigs


def test_other_tracks_are_another_run() -> None:
    """A new PMT comes: from then on it is read, as that of a stream that is watched."""
    rigs = mine, twin = changed()
    run_both(rigs, 2.5)
    for rig in rigs:
        assert [track.kind for track in rig.publisher.tracks] == [Kind.VIDEO]
        assert rig.stream.state is State.READY
        assert (rig.runs, rig.ended) == (2, [])
    assert mine.stream.kept_bytes == 0
    cached, wanted = mine.stream.gop.frames(), twin.stream.gop.frames()
    assert cached[0].key
    assert payloads(cached, Kind.VIDEO) == payloads(wanted, Kind.VIDEO) != []
    assert mine.stream.drops == twin.stream.drops


def test_other_tracks_begin_with_their_first_key_frame() -> None:
    """Off, the new run has no key frame until its second group of pictures."""
    rigs = mine, twin = changed()
    run_both(rigs, 1.2)
    assert twin.stream.gop.frames()[0].key
    assert mine.of(Kind.VIDEO).frames == twin.of(Kind.VIDEO).frames
    cached, wanted = mine.stream.gop.frames(), twin.stream.gop.frames()
    assert payloads(cached, Kind.VIDEO) == payloads(wanted, Kind.VIDEO)


def moved() -> tuple[bytes, float]:
    """Pictures and data, whose PID is another one after 14 seconds; and when, as a share."""
    mux = Mux()
    units = ts_demux.demux(looped(clips.BUNNY, 2)).of(VIDEO_PID)
    data = bytearray(mux.tables([(0x1B, VIDEO_PID), (6, DATA_PID)]))
    pid, at = DATA_PID, 0
    for unit in units:
        if not at and unit.dts - units[0].dts > 14 * 90_000:
            at, pid = len(data), DATA_PID + 1
            data += mux.tables([(0x1B, VIDEO_PID), (6, pid)], 1)
        stream = b"".join(b"\0\0\0\1" + nal for nal in (b"\x09\xf0", *unit.payload))
        data += mux.unit(VIDEO_PID, ts_build.pes(stream, unit.pts, unit.dts, length=0))
        data += mux.unit(pid, ts_build.pes(b"note", unit.pts, stream_id=0xBD))
    return bytes(data), at / len(data)


def test_a_pid_that_moves_costs_no_picture() -> None:
    """Off, who comes before the next key frame has to wait for it."""
    data, share = moved()
    rigs = mine, twin = Rig(), Rig(is_claimed=True)
    for rig in rigs:
        rig.load(data, 2 * BUNNY_SECONDS)
        rig.run(share * 2 * BUNNY_SECONDS + 0.5)
        assert rig.runs == 1
    ready: list[tuple[Frame, ...]] = []
    mine.claim(ready)
    assert twin.stream.gop.frames()[0].key
    assert payloads(ready[0], Kind.VIDEO) == payloads(twin.stream.gop.frames(), Kind.VIDEO)
    assert mine.of(Kind.VIDEO).frames == twin.of(Kind.VIDEO).frames


def test_sound_that_changed_while_nobody_watched_costs_no_picture() -> None:
    """Another sample rate is found when somebody comes, and begins a run: he gets a key frame."""
    rigs = mine, twin = pair(2)
    run_both(rigs, SKIMMED)
    for rig in rigs:
        rig.load(looped(clips.VARIABLE, 1, shift=15), rounds(clips.VARIABLE))
        rig.run(16.0)
    assert (mine.runs, twin.runs) == (1, 2)
    assert mine.stream.kept_bytes > 0
    ready: list[tuple[Frame, ...]] = []
    mine.claim(ready)
    mine.run(0.5)
    assert mine.runs == 2
    assert len(ready) == 1
    assert twin.stream.gop.frames()[0].key
    assert mine.stream.gop.frames()[:1]
    assert mine.stream.gop.frames()[0].payload == twin.stream.gop.frames()[0].payload


@AS_DATAGRAMS_AND_BYTES
def test_a_publisher_that_goes_takes_its_log_along(is_stream: bool) -> None:
    """Nothing of what was kept stays, and nobody is asked to read it."""
    rig = skimmed(is_stream=is_stream)
    publisher = rig.publisher
    rig.receiver.close("peer-closed", rig.now)
    assert rig.stream.kept_bytes == 0 == rig.stream.size_bytes
    assert rig.router.publisher("cam") is None
    publisher.see()
    rig.run(1.0)
    rig.router.tick(rig.now, 0.0)
    assert (rig.ended, rig.stream.kept_bytes) == ([], 0)


def test_a_publisher_that_is_kicked_takes_its_log_along() -> None:
    """As above, and its owner is told."""
    rig = skimmed()
    publisher = rig.publisher
    assert rig.router.kick(publisher.session, rig.now)
    assert rig.ended == ["kicked"]
    assert rig.stream.kept_bytes == 0 == rig.stream.size_bytes
    publisher.see()
    rig.run(1.0)
    assert (rig.ended, rig.stream.kept_bytes) == (["kicked"], 0)
