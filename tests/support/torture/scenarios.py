"""What sources do to a server, as data: each scenario is a name, what is sent, and what is due."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from media.codecs.h264 import H264Parameters
from media.stream import StreamOptions
from tests.support import clips
from tests.support.h264_sets import PPS, PPS_OTHER, SPS, SPS_OTHER
from tests.support.nal import without_bitstream_restriction
from tests.support.torture import twists
from tests.support.torture.camera import (
    Lens,
    Run,
    Sent,
    film,
    first_number,
    picture,
    sound,
    usual,
)
from tests.support.torture.judges import Truth, Wishes

HOUR = 3600.0
ALL = ("flv", "ts", "srt", "fmp4", "rtp", "hls-ts", "hls-fmp4", "ll-hls")
STAYED = ("server-stopping",)
LEFT = ("source-ended", "server-stopping")
CLOSED_ONCE = ("tracks-changed", "server-stopping")
NONE_CLOSED: Mapping[str, tuple[str, ...]] = {}
# Who is closed where codecs or the set of tracks change: DESIGN of the change table.
CHANGED = {"flv": CLOSED_ONCE, "rtp": CLOSED_ONCE, "fmp4": CLOSED_ONCE}
# What a progressive MP4 begins with cannot be said again.
RENEWED = {"fmp4": ("format-exhausted", *STAYED)}
RENEWED_TWICE = {"fmp4": ("format-exhausted", "format-exhausted", *STAYED)}
# Known gap: in mid-GOP its readers are closed again and again, up to the next key frame.
BUT_MP4 = tuple(output for output in ALL if output != "fmp4")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way of a source."""

    name: str
    make: Callable[[], Sequence[Run]]
    wishes: Wishes = field(default_factory=Wishes)
    closed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # else: STAYED
    options: StreamOptions = field(default_factory=StreamOptions)
    outputs: tuple[str, ...] = ()  # empty: all
    rtp_wraps_at: float = 0.0
    is_long: bool = False

    def reasons(self, output: str) -> tuple[str, ...]:
        """Why the bodies of this output end, in their order."""
        return self.closed.get(output, STAYED)


def truth_of(runs: Sequence[Run]) -> dict[tuple[bool, int], Truth]:
    """Each unit as it was captured."""
    found: dict[tuple[bool, int], Truth] = {}
    places = {True: 0, False: 0}
    for run in runs:
        for item in run.items:
            if isinstance(item, Sent):
                key = item.is_video, item.number
                assert key not in found, key
                found[key] = Truth(item.instant, item.era, places[item.is_video])
                places[item.is_video] += 1
    return found


# -- clocks ------------------------------------------------------------------------------------


def _jump(by: float, *, has_dts: bool = False) -> Callable[[], list[Run]]:
    return lambda: [twists.jump(film(usual(has_dts=has_dts)), 4.0, by)]


def _one_jumps(track: int, by: float) -> Callable[[], list[Run]]:
    return lambda: [twists.jump(film(), 4.0, by, [track])]


def _restart() -> list[Run]:
    return [twists.restart(film(), 4.0)]


def _file_loops(seconds: float) -> Callable[[], list[Run]]:
    """A file that is played again and again, its times with it."""

    def make() -> list[Run]:
        run = film(seconds=10.0)
        at = seconds
        while at < 10.0:
            run = twists.jump(run, at, -seconds)
            at += seconds
        return [run]

    return make


def _epochs(*, is_anchored: bool, has_reports: bool) -> Callable[[], list[Run]]:
    def make() -> list[Run]:
        lenses = (Lens(picture(), 10 * HOUR), Lens(sound(), 3.0))
        return [film(lenses, is_anchored=is_anchored, has_reports=has_reports)]

    return make


def _skewed(track: int, by: float) -> Callable[[], list[Run]]:
    """One track comes much later than the other; RTP-Info tells how they belong together."""
    return lambda: [twists.late(film(seconds=12.0), track, by)]


def _late_groups() -> list[Run]:
    """Pictures come late, and their groups are longer than segments may be."""
    lenses = (Lens(picture(clips.BUNNY), 50.0), Lens(sound(), 50.0))
    return [twists.late(film(lenses, 20.0), 0, 0.6)]


def _drifting() -> list[Run]:
    """A crystal that is 300 ppm off for ten minutes, a few pictures a second."""
    lenses = (
        Lens(picture(clips.BUNNY), 1000.0, every=6),
        Lens(sound(), 1000.0, every=8),
    )
    return [twists.drift(film(lenses, 100.0), 300)]


def _two_crystals() -> list[Run]:
    """Sound runs 200 ppm faster than pictures; reports tell."""
    lenses = (
        Lens(picture(clips.BUNNY), 1000.0, every=6),
        Lens(sound(), 1000.0, every=8),
    )
    return [twists.drift(film(lenses, 100.0, has_reports=True), 200, [1])]


def _reports_step(by: float, tracks: Sequence[int] | None) -> Callable[[], list[Run]]:
    return lambda: [twists.reports_off(film(seconds=16.0, has_reports=True), 4.0, by, tracks)]


def _stalls(seconds: float) -> Callable[[], list[Run]]:
    return lambda: [twists.stall(film(seconds=14.0), 3.0, seconds)]


# -- tracks ------------------------------------------------------------------------------------


def _starts_late(track: int, by: float) -> Callable[[], list[Run]]:
    return lambda: [twists.gap(film(seconds=by + 6.0), 0.0, by, [track])]


def _pauses(track: int, begin: float, end: float) -> Callable[[], list[Run]]:
    return lambda: [twists.gap(film(seconds=max(10.0, end + 4.0)), begin, end, [track])]


def _dies(track: int) -> Callable[[], list[Run]]:
    return lambda: [twists.gap(film(seconds=12.0), 4.0, 99.0, [track])]


def _returns_other(track: int) -> Callable[[], list[Run]]:
    """A track that rested comes back with another epoch."""
    return lambda: [
        twists.jump(twists.gap(film(seconds=12.0), 4.0, 7.0, [track]), 7.0, 500, [track])
    ]


# -- times of units ----------------------------------------------------------------------------


def _plain(
    lenses: Callable[[], tuple[Lens, ...]], seconds: float = 10.0
) -> Callable[[], list[Run]]:
    return lambda: [film(lenses(), seconds)]


def _variable() -> list[Run]:
    lenses = (Lens(picture(clips.BUNNY), 50.0), Lens(sound(), 50.0))
    return [twists.thinned(film(lenses), (1, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0))]


def _equal(track: int) -> Callable[[], list[Run]]:
    lenses = (Lens(picture(clips.BUNNY), 50.0), Lens(sound(), 50.0))
    return lambda: [twists.equal(film(lenses), track, 20)]


def _long_gop() -> list[Run]:
    """A key frame a minute, at five pictures a second."""
    lenses = (Lens(picture(clips.BUNNY), 50.0, every=6), Lens(sound(), 50.0, every=4))
    run = twists.keyless(film(lenses, 130.0), 0.001, 60.0)
    return [twists.keyless(run, 61.0, 120.0)]


def _all_intra() -> list[Run]:
    only = picture(clips.BUNNY)
    keys = tuple(unit for unit in only.units if unit[2])
    return [film((Lens(replace(only, units=keys), 50.0), Lens(sound(), 50.0)), 8.0)]


def _no_keys(begin: float, end: float) -> Callable[[], list[Run]]:
    lenses = (Lens(picture(clips.BUNNY), 50.0, every=3), Lens(sound(), 50.0, every=2))
    return lambda: [twists.keyless(film(lenses, end + 4.0), begin, end)]


def _huge() -> list[Run]:
    return [twists.swollen(film(seconds=6.0), 1_500_000, 2)]


# -- changes -----------------------------------------------------------------------------------


def _new_sets(*, in_key: bool) -> Callable[[], list[Run]]:
    """Another size of pictures, told in band."""

    def make() -> list[Run]:
        lenses = (Lens(picture(clips.BUNNY), 50.0), Lens(sound(), 50.0))
        return [twists.with_sets(film(lenses), 4.0, (SPS_OTHER, PPS_OTHER), in_key=in_key)]

    return make


def _sets_and_back() -> list[Run]:
    lenses = (Lens(picture(clips.BUNNY), 50.0), Lens(sound(), 50.0))
    run = twists.with_sets(film(lenses, 12.0), 3.0, (SPS_OTHER, PPS_OTHER), in_key=True)
    return [twists.with_sets(run, 9.0, (SPS, PPS), in_key=True)]


def followed(first: Run, lenses: tuple[Lens, ...], away: float, seconds: float = 6.0) -> list[Run]:
    """A second run of the source so many seconds after the first."""
    last = max(item.arrived for item in first.items)
    first = replace(first, ends=last + 0.001)
    start = last + away
    second = film(
        lenses, seconds, start=start, numbers=first_number(first), era=first.items[-1].track + 10
    )
    return [first, second]


def _returns(away: float, lenses: Callable[[], tuple[Lens, ...]]) -> Callable[[], list[Run]]:
    return lambda: followed(film(seconds=6.0), lenses(), away)


def _other_order() -> tuple[Lens, ...]:
    a, b = usual(epoch=20.0)
    return b, a


def _h265() -> tuple[Lens, ...]:
    return Lens(picture(clips.H265_TS), 77.0), Lens(sound(), 77.0)


def _pictures_alone() -> tuple[Lens, ...]:
    return usual()[:1]


def _both() -> tuple[Lens, ...]:
    return usual(epoch=70.0)


def _more_sound() -> list[Run]:
    return followed(film(usual()[:1], 6.0), usual(), 1.0)


def _unknown_depth() -> list[Run]:
    """B-frames, and nothing says how deep they are."""
    made = picture(clips.PYRAMID)
    sets = made.parameters
    assert isinstance(sets, H264Parameters)
    silent = H264Parameters.build([without_bitstream_restriction(n) for n in sets.sps], sets.pps)
    return [film((Lens(replace(made, parameters=silent), 9.0), *usual(epoch=9.0)[1:]))]


def _told_in_band() -> list[Run]:
    """Nothing is announced: parameter sets come with the first key frame."""
    a, b = Lens(picture(clips.BUNNY), 50.0, is_announced=False), Lens(sound(), 50.0)
    return [twists.with_sets(film((a, b)), 0.0, (SPS, PPS), in_key=True)]


def _long_away(seconds: float) -> Callable[[], list[Run]]:
    """The source is away for so long that numbers begin anew soon after it is back."""

    def make() -> list[Run]:
        first = film(seconds=4.0)
        last = max(item.arrived for item in first.items)
        return followed(first, usual(epoch=5.0), seconds - last, 12.0)

    return make


def _taken_over() -> list[Run]:
    first, second = followed(film(seconds=6.0), usual(epoch=3.0), 0.02)
    return [replace(first, is_taken_over=True), second]


def _week(every: int) -> Callable[[], list[Run]]:
    """A week with a crystal that is 100 ppm off, a picture every few seconds."""

    def make() -> list[Run]:
        lenses = (
            Lens(picture(clips.BUNNY), 1000.0, every=30 * every),
            Lens(sound(), 1000.0, every=43 * every),
        )
        return [twists.drift(film(lenses, 7 * 24 * HOUR), 100)]

    return make


def other_sets() -> H264Parameters:
    """Parameters of another picture size."""
    return H264Parameters.build((SPS_OTHER,), (PPS_OTHER,))


# A reader that waits for its first key frame is not sent what is made meanwhile.
LATE = Wishes(counts=False)
# Readers begin with a picture that needs others, since no better one comes.
BLINDLY = Wishes(counts=False, waived={"flv": frozenset({"first-key"})})
RETURNED = Wishes(has_holes=True, drift=0.3)
# Another set of tracks is another beginning: HLS waits for a key frame.
KEYS = Wishes(lost=30)
# What is in avc1 and yet in band: players take it, and nothing else would decode.
IN_BAND = Wishes(
    waived={"hls-fmp4": frozenset({"in-band-sets"}), "ll-hls": frozenset({"in-band-sets"})}
)
# Numbers that wrap more than once while nothing comes cannot be told from others.
AWAY = Wishes(
    has_holes=True,
    drift=1e9,
    waived={
        "rtp": frozenset({"timestamp-back", "timestamp-order", "report-clock"}),
    },
)
# DTS that were given out cannot be taken back; transport streams show these pictures late.
LEARNING = Wishes(blind=((0.0, 0.4),))
PATIENT = StreamOptions(grace=1e9)
TS_TURN = (1 << 33) / 90_000 - 10.0  # seconds of stream time: streams begin at 10 s
FLV_BYTES = (1 << 24) / 1000 - 2.0  # where timestamps need their fourth byte
FLV_END = ((1 << 31) - 120_000) / 1000 - 2.0
HOLES = Wishes(has_holes=True)
PAUSES = Wishes(has_pauses=True)
SCENARIOS: tuple[Scenario, ...] = (
    Scenario("calm", lambda: [film()]),
    Scenario("calm with decode times", lambda: [film(usual(has_dts=True))]),
    Scenario("calm with reports", lambda: [film(has_reports=True)]),
    Scenario("calm by arrival", lambda: [film(is_anchored=False)]),
    # A second is too little to tell from what was lost: it is followed.
    Scenario("jump 1 s on", _jump(1.0), Wishes(drift=1.1, has_holes=True)),
    Scenario("jump 10 s on", _jump(10.0)),
    Scenario("jump hours on", _jump(7 * HOUR)),
    Scenario("jump 1 s back", _jump(-1.0)),
    Scenario("jump 10 s back", _jump(-10.0)),
    Scenario("jump hours back", _jump(-7 * HOUR)),
    Scenario("jump with decode times", _jump(10.0, has_dts=True)),
    Scenario("jump back with decode times", _jump(-10.0, has_dts=True)),
    Scenario("jump in mid-GOP", lambda: [twists.jump_anywhere(film(), 4.5, 30.0)]),
    Scenario("jump back in mid-GOP", lambda: [twists.jump_anywhere(film(), 4.5, -30.0)]),
    Scenario("picture alone jumps", _one_jumps(0, 100.0)),
    Scenario("sound alone jumps", _one_jumps(1, -100.0)),
    Scenario("times begin at 0 again", _restart),
    Scenario("file of 3 s loops", _file_loops(3.003)),
    Scenario("file of 1 s loops", _file_loops(1.001)),
    Scenario("epochs hours apart, RTP-Info", _epochs(is_anchored=True, has_reports=False)),
    Scenario("epochs hours apart, reports", _epochs(is_anchored=False, has_reports=True)),
    Scenario("epochs hours apart, arrival", _epochs(is_anchored=False, has_reports=False)),
    Scenario("sound 0.6 s late", _skewed(1, 0.6)),
    Scenario("sound 1.5 s late", _skewed(1, 1.5)),
    Scenario("picture 0.6 s late, long groups", _late_groups),
    Scenario("picture 1.5 s late", _skewed(0, 1.5)),
    Scenario("crystal off by 300 ppm", _drifting, Wishes(has_holes=True)),
    Scenario(
        "a week",
        _week(5),
        Wishes(has_holes=True, drift=70),
        outputs=("flv", "ts", "rtp"),
        is_long=True,
    ),
    Scenario("two crystals", _two_crystals, Wishes(has_holes=True)),
    Scenario("reports step by 3 s", _reports_step(3.0, None)),
    Scenario("reports step back by 3 s", _reports_step(-3.0, None)),
    Scenario("reports step by an hour", _reports_step(HOUR, None)),
    Scenario("reports of sound step by an hour", _reports_step(HOUR, [1])),
    Scenario(
        "33 and 32 bits wrap",
        _long_away(TS_TURN - 6.0),
        AWAY,
        options=PATIENT,
        rtp_wraps_at=TS_TURN,
    ),
    Scenario("FLV's fourth byte", _long_away(FLV_BYTES - 6.0), AWAY, options=PATIENT),
    Scenario(
        "FLV's last day",
        _long_away(FLV_END - 6.0),
        AWAY,
        {"flv": ("format-exhausted", *STAYED)},
        PATIENT,
    ),
    Scenario("jitter of 0.3 s", lambda: [twists.jittered(film(), 0.3)]),
    Scenario("units are lost", lambda: [twists.lossy(film(), 9)]),
    Scenario("stall of 2 s", _stalls(2.0), HOLES),
    Scenario("stall of 8 s", _stalls(8.0), HOLES),
    Scenario("sound starts 1 s late", _starts_late(1, 1.0)),
    Scenario("sound starts 6 s late", _starts_late(1, 6.0), KEYS, CHANGED),
    Scenario("picture starts 6 s late", _starts_late(0, 6.0), LATE, CHANGED),
    Scenario("sound rests for 0.5 s", _pauses(1, 4.0, 4.5), PAUSES),
    Scenario("sound rests for 5 s", _pauses(1, 4.0, 9.0), PAUSES),
    Scenario("picture rests for 5 s", _pauses(0, 4.0, 9.0), PAUSES),
    Scenario("sound dies", _dies(1), PAUSES),
    Scenario("picture dies", _dies(0), PAUSES),
    Scenario("sound returns with another epoch", _returns_other(1), PAUSES),
    Scenario("variable rate", _variable),
    Scenario("pyramid without decode times", _plain(lambda: (Lens(picture(clips.PYRAMID), 9.0),))),
    Scenario(
        "H.265 with B-frames",
        _plain(lambda: (Lens(picture(clips.H265_TS), 9.0), *usual(epoch=9.0)[1:])),
    ),
    Scenario("B-frames of unknown depth", _unknown_depth, LEARNING),
    Scenario("parameters in band alone", _told_in_band),
    Scenario("sound alone", _plain(lambda: usual()[1:])),
    Scenario("picture alone", _plain(lambda: usual()[:1])),
    Scenario("equal times of sound", _equal(1), Wishes(is_rough=True)),
    Scenario("equal times of pictures", _equal(0), Wishes(is_rough=True)),
    Scenario("key frames only", _all_intra),
    Scenario("a key frame a minute", _long_gop, HOLES),
    Scenario("no key frame for 12 s", _no_keys(4.0, 16.0)),
    Scenario("no key frame at first", _no_keys(-1.0, 12.0), BLINDLY),
    Scenario("huge pictures", _huge),
    Scenario("new parameters in a key frame", _new_sets(in_key=True), closed=RENEWED),
    Scenario("new parameters in another frame", _new_sets(in_key=False), IN_BAND, outputs=BUT_MP4),
    Scenario("another size and back", _sets_and_back, closed=RENEWED_TWICE),
    Scenario("source returns after 3 s", _returns(3.0, _both), RETURNED),
    Scenario("source returns at once", _returns(0.05, _both)),
    Scenario("source returns in another order", _returns(1.0, _other_order), RETURNED),
    Scenario("source is taken over", _taken_over, RETURNED),
    Scenario("source stays away", _returns(15.0, _both), RETURNED, dict.fromkeys(ALL, LEFT)),
    Scenario("codec changes", _returns(1.0, _h265), RETURNED, CHANGED),
    Scenario("sound is gone", _returns(1.0, _pictures_alone), RETURNED, CHANGED),
    Scenario("sound is new", _more_sound, RETURNED, CHANGED),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
