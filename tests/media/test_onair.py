"""Who is on air: slates, sources that come back, those that fall silent; in virtual time."""

import itertools

import pytest

from flux.base.errors import PeerError
from media.events import PublisherStarted, PublisherStopped, SlateStarted, SlateStopped
from media.frame import NO_TIME
from media.onair import UNSEEN_AFTER, OnAirOptions
from media.priority import Priority, PriorityOptions, Seat
from media.source import SourceStatus
from media.stream import State
from media.track import OPUS, Kind, Track, TrackDescription
from tests.support.slate_house import (
    AUDIO,
    BOTH,
    IDR,
    LARGER,
    PACKET,
    PICTURE,
    SLATE_IDR,
    SLATE_SOUND,
    TICK,
    VIDEO,
    Camera,
    House,
    loop,
)


def ready_house(**settings: float | bool | OnAirOptions) -> House:
    """A stream that is read and has a slate."""
    house = House(**settings)  # type: ignore[arg-type] # tests give what fits
    house.publish()
    house.run(2.0)
    house.onair.set_loop(loop(*BOTH), house.now)
    house.watch()
    house.run(1.0)
    assert house.state() is State.READY
    return house


def lose(house: House) -> None:
    house.cameras[-1].publisher.finish("peer-gone", house.now)


# -- loss and return ---------------------------------------------------------------------------


def test_the_slate_begins_in_the_very_turn_in_which_the_source_is_lost() -> None:
    house = ready_house()
    seen = len(house.log.frames)
    lose(house)
    assert house.state() is State.SLATE
    assert house.log.frames[seen].payload == (SLATE_IDR,)
    assert house.log.frames[seen].discontinuity and house.log.frames[seen].key
    assert house.events_of(SlateStarted) == [SlateStarted("cam", "peer-gone")]
    house.run(10.0)
    pictures = house.log.of(Kind.VIDEO)[-200:]
    assert all(later.pts - earlier.pts == 3600 for earlier, later in itertools.pairwise(pictures))
    assert house.log.closed == ""
    house.log.check()


@pytest.mark.parametrize("late", [0.0, 0.1, 0.3])
def test_no_track_has_a_hole_when_the_sources_sound_is_ahead_of_its_picture(late: float) -> None:
    house = House()
    house.publish(late=late)
    house.run(2.0)
    house.onair.set_loop(loop(*BOTH), house.now)
    house.watch()
    house.run(1.0)
    lose(house)
    house.run(3.0)
    for kind, most in ((Kind.VIDEO, PICTURE), (Kind.AUDIO, PACKET)):
        frames = house.log.of(kind)
        steps = [b.pts - a.pts for a, b in itertools.pairwise(frames)]
        assert min(steps) > 0 and max(steps) < 2 * most * frames[0].track.clock_rate, kind
    ends = [house.log.of(kind)[-1] for kind in (Kind.VIDEO, Kind.AUDIO)]
    times = [each.pts / each.track.clock_rate for each in ends]
    assert abs(times[0] - times[1]) <= PICTURE
    house.log.check()


def test_without_a_slate_readers_are_held_and_then_let_go() -> None:
    house = House()
    house.publish()
    house.run(2.0)
    house.watch()
    lose(house)
    assert house.state() is State.LOST
    house.run(9.0)
    assert house.log.closed == ""
    house.run(2.0)
    assert house.log.closed == "peer-gone"


def test_a_source_returns_at_its_first_key_frame_and_not_before() -> None:
    house = ready_house()
    lose(house)
    house.run(3.0)
    house.publish(first_key=10, base=5_000_000)
    house.run(10 * PICTURE - 0.02)
    assert house.state() is State.SLATE
    house.run(0.04)
    assert house.state() is State.READY
    first = next(f for f in house.log.frames if f.arrived >= house.now - 0.05 and f.key
                 and f.track.kind is Kind.VIDEO)  # fmt: skip
    assert first.payload == (IDR,) and first.discontinuity
    assert len(house.events_of(SlateStopped)) == 1
    assert house.log.changes == [] and house.log.closed == ""
    house.run(3.0)
    house.log.check()


def test_parameters_are_new_in_both_directions() -> None:
    house = ready_house()
    lose(house)
    house.run(1.0)
    house.publish()
    house.run(2.0)
    versions = [f.parameters.version for f in house.log.of(Kind.VIDEO) if f.key and f.parameters]
    assert sorted(set(versions)) == [0, 1, 2]
    sound = {f.parameters for f in house.log.of(Kind.AUDIO)}
    assert len(sound) == 1  # silence in the stream's own configuration is no change


def test_sound_and_picture_stay_together_and_time_goes_on_as_the_wall_does() -> None:
    house = ready_house()
    for _ in range(5):
        lose(house)
        house.run(2.7)
        house.publish(first_key=7, base=900_000)
        house.run(3.1)
    assert house.log.closed == ""
    house.log.check()
    shown = [f for f in house.log.frames if f.track.kind is Kind.VIDEO]
    for frame, at in zip(house.log.frames, house.log.times, strict=True):
        if frame.track.kind is Kind.AUDIO:
            continue
        media = (frame.dts - shown[0].dts) / 90_000
        assert abs(media - (at - house.log.times[house.log.frames.index(shown[0])])) < 1.2
    ends = {
        kind: house.log.of(kind)[-1].pts / house.log.of(kind)[-1].track.clock_rate
        for kind in (Kind.VIDEO, Kind.AUDIO)
    }
    assert abs(ends[Kind.VIDEO] - ends[Kind.AUDIO]) < 0.06


@pytest.mark.parametrize("tracks", [(VIDEO,), (AUDIO,)], ids=["video", "audio"])
def test_streams_of_one_track(tracks: tuple[TrackDescription, ...]) -> None:
    house = House()
    house.publish(*tracks)
    house.run(3.0)
    house.onair.set_loop(loop(*tracks), house.now)
    house.watch()
    house.run(1.0)
    lose(house)
    assert house.state() is State.SLATE
    house.run(5.0)
    seen = len(house.log.frames)
    assert seen > 100
    house.publish(*tracks)
    house.run(2.0)
    assert house.state() is State.READY
    assert len(house.log.frames) > seen + 40
    house.log.check()


def test_one_who_publishes_by_himself_needs_no_take_over() -> None:
    house = ready_house()
    with pytest.raises(PeerError, match="name-taken"):
        house.publish()
    assert house.router.is_taken("cam")
    lose(house)
    assert not house.router.is_taken("cam")
    house.publish(tag=b"2")
    house.run(0.1)
    with pytest.raises(PeerError, match="name-taken"):  # one is there again
        house.publish()
    house.run(1.0)
    assert house.log.of(Kind.VIDEO)[-1].payload[0].endswith(b"2")


def test_a_source_with_other_tracks_changes_them_as_the_table_says() -> None:
    house = ready_house()
    lose(house)
    house.run(1.0)
    opus = TrackDescription(Kind.AUDIO, OPUS, 48_000, AUDIO.parameters)
    house.publish(VIDEO, opus)
    house.run(1.5)
    assert house.state() is State.READY
    assert [[track.codec for track in each] for each in house.log.changes] == [["h264", OPUS]]


def test_another_size_is_no_change_of_tracks() -> None:
    house = ready_house()
    lose(house)
    house.run(1.0)
    house.publish(LARGER, AUDIO)
    house.run(1.5)
    assert house.log.changes == [] and house.log.closed == ""
    assert house.log.of(Kind.VIDEO)[-1].parameters is house.stream.tracks[0].parameters


# -- the slate itself ---------------------------------------------------------------------------


def test_a_slate_that_is_not_ready_yet_begins_within_the_grace_period() -> None:
    house = House()
    house.publish()
    house.run(2.0)
    house.watch()
    lose(house)
    house.run(3.0)
    assert house.state() is State.LOST
    house.onair.set_loop(loop(*BOTH), house.now)
    assert house.state() is State.SLATE
    house.run(20.0)
    assert house.log.closed == ""
    house.log.check()


def test_a_slate_of_other_tracks_is_not_shown() -> None:
    house = House()
    house.publish(VIDEO)
    house.run(2.0)
    house.onair.set_loop(loop(*BOTH), house.now)
    house.watch()
    lose(house)
    assert house.state() is State.LOST


def test_who_joins_during_the_slate_gets_a_group_of_pictures_at_once() -> None:
    house = House()
    house.publish()
    house.run(2.0)
    house.onair.set_loop(loop(*BOTH), house.now)
    lose(house)
    assert house.state() is State.SLATE  # also with nobody to see it
    house.run(7.3)
    house.watch()
    assert house.log.frames[0].payload == (SLATE_IDR,)
    newest = house.log.of(Kind.VIDEO)[-1]
    assert house.now - newest.arrived < 0.05
    assert house.log.of(Kind.AUDIO)
    house.run(3.0)
    assert house.log.of(Kind.VIDEO)[-1].arrived > house.now - 0.05
    house.log.check()


def test_nobody_is_played_to_and_all_is_quiet() -> None:
    house = ready_house()
    lose(house)
    house.run(1.0)
    house.leave()
    house.run(1.0)
    assert not house.is_played
    frames = sum(each.frames for each in house.stream.inputs.values())
    house.run(5.0)
    assert sum(each.frames for each in house.stream.inputs.values()) == frames


def test_who_leaves_and_returns_within_a_group_of_pictures_misses_none_of_it() -> None:
    house = ready_house()
    lose(house)
    house.run(0.5)
    house.leave()
    house.run(0.3)
    house.log.frames.clear()
    house.watch()
    numbers = [frame.pts for frame in house.log.of(Kind.VIDEO)]
    assert house.log.frames[0].key
    assert all(abs(b - a - 3600) <= 1 for a, b in itertools.pairwise(numbers))


def test_what_a_slate_sends_was_not_received() -> None:
    house = ready_house()
    lose(house)
    received = house.stream.received_bytes
    house.run(5.0)
    assert house.stream.received_bytes == received


def test_a_loop_that_was_held_up_leaves_out_what_is_over() -> None:
    house = ready_house()
    lose(house)
    house.run(1.0)
    seen = len(house.log.frames)
    house.now += 30.0
    house.run(0.02)
    assert len(house.log.frames) - seen < 90
    assert house.log.of(Kind.VIDEO)[-1].arrived > house.now - 0.05
    house.log.check()


def test_a_slate_has_its_time() -> None:
    house = ready_house(options=OnAirOptions(slate_timeout=20.0))
    lose(house)
    house.run(19.0)
    assert house.log.closed == ""
    house.run(1.5)
    assert house.log.closed == "peer-gone"
    assert house.state() is State.IDLE
    assert len(house.events_of(SlateStopped)) == 1


def test_nobody_publishes_and_nobody_watches_ends_after_the_grace_period() -> None:
    house = ready_house()
    lose(house)
    house.run(30.0)
    assert house.state() is State.SLATE  # somebody watches
    house.leave()
    house.run(1.0)
    assert house.state() is State.IDLE


def test_an_on_demand_stream_goes_some_time_after_its_last_reader() -> None:
    class Fetched:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def start(self) -> None:
            self.calls.append("start")

        def stop(self, reason: str) -> None:
            self.calls.append(reason)

    house = House(on_demand=True)
    source = Fetched()
    house.source(source)
    house.watch()
    house.publish()
    house.run(2.0)
    house.onair.set_loop(loop(*BOTH), house.now)
    lose(house)
    house.run(60.0)
    assert house.state() is State.SLATE and source.calls == ["start"]
    house.leave()
    house.run(6.0)
    assert house.state() is State.IDLE and source.calls == ["start", "no-readers"]
    house.log.frames.clear()
    house.watch()
    assert house.log.frames == []  # it is started anew, as ever
    house.publish()
    house.run(2.0)
    assert house.state() is State.READY


# -- silence, and losses during changes -----------------------------------------------------------


def test_a_silent_source_is_replaced_and_comes_back_with_its_own_connection() -> None:
    house = ready_house()
    camera = house.cameras[0]
    camera.is_stalled = True
    house.run(1.9)
    assert house.state() is State.READY
    house.run(0.7)
    assert house.state() is State.SLATE and not camera.publisher.closed
    assert house.events_of(SlateStarted) == [SlateStarted("cam", "source-silent")]
    camera.is_stalled = False
    house.run(1.2)
    assert house.state() is State.READY
    assert not camera.publisher.closed
    assert not house.events_of(PublisherStopped) and len(house.events_of(PublisherStarted)) == 1
    house.run(2.0)
    house.log.check()


def test_a_silent_publisher_keeps_nobody_out() -> None:
    house = ready_house()
    house.cameras[0].is_stalled = True
    house.run(5.0)
    house.publish(tag=b"2")
    assert house.cameras[0].publisher.closed
    house.run(1.1)
    assert house.state() is State.READY
    assert house.log.of(Kind.VIDEO)[-1].payload[0].endswith(b"2")


def test_without_a_slate_a_silent_source_stays() -> None:
    house = House()
    camera = house.publish()
    house.run(2.0)
    house.watch()
    camera.is_stalled = True
    house.run(30.0)
    assert house.state() is State.READY


def test_a_source_of_few_frames_is_not_silent_between_them() -> None:
    house = House()
    camera = house.publish(VIDEO, key_every=1)
    camera.started -= 0.0
    house.run(0.1)
    house.onair.set_loop(loop(VIDEO), house.now)
    house.watch()
    for second in range(60):
        camera.is_stalled = second % 3 != 0
        house.run(1.0)
    assert house.events_of(SlateStarted) == []


def test_a_source_that_flaps_shows_itself_only_from_key_frames() -> None:
    house = ready_house()
    lose(house)
    for round_ in range(20):
        house.run(0.4)
        house.publish(first_key=5 if round_ % 2 else 40, base=round_ * 1_000_000)
        house.run(0.4)
        lose(house)
        assert house.state() is State.SLATE
    assert house.log.closed == ""
    house.log.check()
    video = house.log.of(Kind.VIDEO)
    for before, frame in itertools.pairwise(video):
        if frame.discontinuity:
            assert frame.key, (before, frame)
    assert len(house.events_of(SlateStarted)) == 11


def test_a_source_that_dies_before_its_turn_leaves_the_slate() -> None:
    house = ready_house()
    lose(house)
    house.run(1.0)
    house.publish(first_key=100)
    house.run(0.5)
    lose(house)
    house.run(1.0)
    assert house.state() is State.SLATE and house.log.closed == ""
    house.log.check()


def test_a_kicked_publisher_is_replaced_by_the_slate_also_while_it_stands_by() -> None:
    house = ready_house()
    session = house.cameras[0].publisher.session
    assert house.router.kick(session, house.now)
    assert house.state() is State.SLATE
    waiting = house.publish(first_key=100)
    assert house.router.kick(waiting.publisher.session, house.now)
    assert house.onair.publishers == ()


def test_a_name_that_is_removed_ends_everything() -> None:
    house = ready_house()
    lose(house)
    waiting = house.publish(first_key=100)
    house.router.remove("cam", "stream-deleted", house.now)
    assert waiting.publisher.closed and house.log.closed == "stream-deleted"
    assert house.router.find("cam") is None


def test_sound_that_waited_belongs_behind_the_picture() -> None:
    house = ready_house()
    lose(house)
    house.run(2.0)
    house.publish(first_key=10)
    house.run(2.0)
    sound = house.log.of(Kind.AUDIO)
    back = next(i for i, f in enumerate(sound) if f.payload == (b"sound",) and f.discontinuity
                and f.arrived > house.now - 2.1)  # fmt: skip
    assert sound[back - 1].payload == (SLATE_SOUND,)
    gap = (sound[back].pts - sound[back - 1].pts) / 48_000
    assert 0 < gap < 0.06


def test_who_joins_after_the_return_begins_with_the_sources_key_frame() -> None:
    house = ready_house()
    lose(house)
    house.run(2.0)
    house.publish(tag=b"2")
    house.run(0.1)
    assert house.state() is State.READY
    house.leave()
    house.log.frames.clear()
    house.watch()
    assert house.log.frames[0].key and house.log.frames[0].payload == (IDR + b"2",)


# -- what nobody watches ---------------------------------------------------------------------------


def unseen_house() -> tuple[House, Camera]:
    """A stream that nobody has wanted for long enough."""
    house = House()
    camera = house.publish()
    house.run(UNSEEN_AFTER + 1)
    assert camera.publisher.is_unseen
    return house, camera


def test_a_publisher_is_unseen_when_nobody_has_wanted_it_for_a_while() -> None:
    """Off, it is written for nobody for ever; and not before, since players come back."""
    house = House()
    camera = house.publish()
    house.run(UNSEEN_AFTER - TICK)
    assert not camera.publisher.is_unseen
    house.run(4 * TICK)
    assert camera.publisher.is_unseen


@pytest.mark.parametrize("how", ["claim", "output", "attend"])
def test_who_wants_a_publisher_makes_it_seen_and_for_a_while_longer(how: str) -> None:
    """Whether there is a lease, an output that stays, or somebody who looks now and then."""
    house, camera = unseen_house()
    publisher = camera.publisher
    if how == "claim":
        house.lease = house.router.open("cam", lambda _: None, lambda *_: None, house.now)
    elif how == "output":
        house.stream.outputs["log"] = house.log
    for _ in range(3):
        if how == "attend":
            house.onair.attend(house.now)
        house.run(UNSEEN_AFTER - TICK)
        assert not publisher.is_unseen
    if house.lease is not None:
        house.lease.close()
    house.stream.outputs.clear()
    house.onair.attend(house.now)
    house.run(UNSEEN_AFTER - TICK)
    assert not publisher.is_unseen
    house.run(3 * TICK)
    assert publisher.is_unseen


@pytest.mark.parametrize("rival", ["slate", "priority", "standby"])
def test_who_may_be_replaced_is_never_unseen(rival: str) -> None:
    """It has to show pictures: what comes next goes on from them."""
    house = House()
    if rival == "priority":
        seats = [Seat(SourceStatus()), Seat(SourceStatus("rtsp", "rtsp://cam/1"))]
        house.source(Priority(seats, PriorityOptions(), lambda: house.now))
    camera = house.publish(seat=0)
    house.run(1.0)
    if rival == "slate":
        house.onair.set_loop(loop(*BOTH), house.now)
    elif rival == "standby":
        house.publish(seat=1)
        assert len(house.onair.publishers) == 2
    house.run(2 * UNSEEN_AFTER)
    assert house.onair.publisher is camera.publisher
    assert not camera.publisher.is_unseen


def test_a_publisher_is_not_unseen_before_it_is_ready() -> None:
    """Off, its tracks might never become known: it is ready by what it shows."""
    house = House()
    camera = house.publish()
    camera.is_stalled = True
    house.run(2 * UNSEEN_AFTER)
    assert house.state() is State.WAITING
    assert not camera.publisher.is_unseen
    camera.is_stalled = False
    house.run(UNSEEN_AFTER - TICK)
    assert house.state() is State.READY
    assert not camera.publisher.is_unseen
    house.run(5 * TICK)
    assert camera.publisher.is_unseen


def test_a_claim_has_what_was_only_counted_written_before_it_is_served() -> None:
    """Off, a player would wait for the next key frame."""
    house, camera = unseen_house()
    said: list[str] = []
    camera.publisher.on_wanted = lambda: said.append("wanted")
    house.router.open("cam", lambda _: said.append("ready"), lambda *_: None, house.now)
    assert said == ["wanted", "ready"]
    assert not camera.publisher.is_unseen


def test_one_that_has_to_stand_by_is_asked_for_what_it_has() -> None:
    """Off, what was kept would be written into the stream in the midst of the slate."""
    house, camera = unseen_house()
    said: list[State] = []
    camera.publisher.on_wanted = lambda: said.append(house.state())
    house.onair.set_loop(loop(*BOTH), house.now)
    camera.is_stalled = True
    house.run(4.0)
    assert house.state() is State.SLATE
    assert said == [State.READY]


def test_what_is_counted_shows_in_all_figures_and_can_be_counted_off() -> None:
    """Off, a stream that nobody watches would look like one that is silent."""
    house, camera = unseen_house()
    publisher, stream = camera.publisher, house.stream
    track = publisher.tracks[0]
    state = stream.inputs[track]
    before, key_at = (state.frames, state.size_bytes, stream.received_bytes), stream.key_at

    def more() -> tuple[int, ...]:
        now = (state.frames, state.size_bytes, stream.received_bytes)
        return tuple(new - old for new, old in zip(now, before, strict=True))

    assert len(stream.gop) > 0
    publisher.count(track, 5, 500, NO_TIME, house.now + 1)
    assert more() == (5, 500, 500)
    assert (len(stream.gop), stream.key_at) == (0, key_at)
    publisher.count(track, 1, 100, 7 * 90_000, house.now + 2)
    publisher.count(track, 1, 100, 9 * 90_000, house.now + 4)
    assert more() == (7, 700, 700)
    assert (state.key_interval, stream.key_at) == (2.0, house.now + 4)
    publisher.count(track, -2, -200, 7 * 90_000, house.now + 5)
    assert more() == (5, 500, 500)
    publisher.count(track, 1, 100, 99 * 90_000, house.now + 6)  # long after those that came again
    assert state.key_interval == 2.0


def test_nothing_is_counted_for_what_is_not_there() -> None:
    """A publisher that has gone, and a track that the stream does not have."""
    house, camera = unseen_house()
    publisher, stream = camera.publisher, house.stream
    received, cached = stream.received_bytes, len(stream.gop)
    publisher.count(Track(9, Kind.VIDEO, OPUS, 90_000), 5, 500, 90_000, house.now)
    assert (stream.received_bytes, len(stream.gop)) == (received, cached)
    track = publisher.tracks[0]
    state = stream.inputs[track]
    frames = state.frames
    publisher.on_wanted = lambda: pytest.fail("it has gone")
    lose(house)
    publisher.see()
    publisher.count(track, 5, 500, 90_000, house.now)
    assert (state.frames, stream.received_bytes) == (frames, received)
