"""The judge of captures that begin anywhere in a loop finds every fault that it is made for."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from tests.support import frames
from tests.support.aligned import NO_PTS, Loop, Rule, compare
from tests.support.frames import TrackUnits, Unit

CLIP = Path(__file__).parent.parent / "data" / "media" / "sample_fragmented.mp4"
PERIOD = Fraction(107, 100)
RULE = Rule({"video": 40, "audio": 60})
LOSSY = replace(RULE, may_miss=True)
Tracks = dict[str, TrackUnits]


@pytest.fixture(scope="module")
def loop() -> Loop:
    """A clip with both kinds of tracks, in the ticks that RTP would use."""
    tracks = {kind: track.in_rtp_ticks() for kind, track in frames.read(CLIP).items()}
    return Loop(tracks, PERIOD)


def played(loop: Loop, start: float, seconds: float) -> Tracks:
    """What a player gets that joins after `start` seconds; its clock begins with its own."""
    found = {}
    for kind, track in loop.tracks.items():
        units = []
        for lap in range(5):
            for unit in track.units:
                ticks = int(lap * PERIOD / track.time_base)
                if start <= track.seconds(unit.dts + ticks) < start + seconds:
                    moved = ticks - int(Fraction(start) / track.time_base)
                    units.append(Unit(unit.pieces, unit.pts + moved, unit.pts + moved))
        found[kind] = replace(track, units=tuple(units))
    return found


@pytest.mark.parametrize("start", [0.0, 0.3, 1.0, 1.9])
def test_any_part_of_the_loop_is_right(loop: Loop, start: float) -> None:
    findings = compare(loop, played(loop, start, 2.5), RULE)
    assert findings.problems == []
    assert (findings.missing, findings.mangled) == (0, 0)
    assert findings.units > 150


def test_a_first_unit_without_time_is_none_to_judge_by(loop: Loop) -> None:
    got = changed(played(loop, 0.3, 2.5), "video", lambda u: [replace(u[0], pts=NO_PTS), *u[1:]])
    assert compare(loop, got, RULE).problems == []


Change = Callable[[list[Unit]], list[Unit]]


def changed(got: Tracks, kind: str, change: Change) -> Tracks:
    return {**got, kind: replace(got[kind], units=tuple(change(list(got[kind].units))))}


def later(ticks: int) -> Change:
    return lambda units: [replace(unit, pts=unit.pts + ticks) for unit in units]


FAULTS: dict[str, tuple[str, Change]] = {
    "units are missing": ("video", lambda u: u[:20] + u[21:]),
    "20 is": ("video", lambda u: [*u[:20], Unit((b"\1\2\3",), u[20].pts, 0), *u[21:]]),
    "unit 30 is": ("video", lambda u: [*u[:30], replace(u[30], pts=u[30].pts + 180), *u[31:]]),
    "missing before it": ("audio", lambda u: [*u[:50], u[51], u[50], *u[52:]]),
    "units, at least": ("audio", lambda u: u[:59]),
    "begins with": ("video", lambda u: [Unit((b"\1",), u[0].pts, 0), *u[1:]]),
    "apart": ("audio", later(200)),
    "no unit has a time": ("video", lambda u: [replace(unit, pts=NO_PTS) for unit in u]),
}


@pytest.mark.parametrize("sign", FAULTS)
def test_every_fault_is_found(loop: Loop, sign: str) -> None:
    kind, change = FAULTS[sign]
    got = changed(played(loop, 0.3, 2.5), kind, change)
    assert any(sign in problem for problem in compare(loop, got, RULE).problems)


def test_missing_other_and_unknown_tracks(loop: Loop) -> None:
    got = played(loop, 0.3, 2.5)
    assert compare(loop, {"video": got["video"]}, RULE).problems == ["audio: the track is missing"]
    alone = Loop({"video": loop.tracks["video"]}, PERIOD)
    assert compare(alone, got, RULE).problems == ["audio: was not sent"]
    wrong = {**got, "audio": replace(got["audio"], codec="mp3")}
    assert compare(loop, wrong, RULE).problems == ["audio: codec mp3, sent was aac"]


def test_loss_is_counted_and_nothing_else_forgiven(loop: Loop) -> None:
    got = changed(played(loop, 0.3, 2.5), "video", lambda u: u[:10] + u[12:40] + u[45:])
    findings = compare(loop, got, LOSSY)
    assert (findings.problems, findings.missing) == ([], 7)
    damaged = changed(got, "video", lambda u: [*u[:5], Unit((b"\1",), u[5].pts, 0), *u[6:]])
    assert "content" not in compare(loop, got, LOSSY).problems
    assert any("unit 5 is" in problem for problem in compare(loop, damaged, LOSSY).problems)
    players = compare(loop, damaged, replace(LOSSY, may_mangle=2))
    assert (players.problems, players.mangled) == ([], 1)
    out_of_order = changed(got, "video", lambda u: [*u[:20], u[21], u[20], *u[22:]])
    assert compare(loop, out_of_order, LOSSY).problems


def test_a_picture_may_lose_what_is_none_of_it(loop: Loop) -> None:
    """SEI is of no use for decoding: a receiver passes the picture on without it."""
    got = played(loop, 0.0, 2.5)
    assert len(got["video"].units[0].pieces) == 2
    bare = changed(got, "video", lambda u: [replace(u[0], pieces=u[0].pieces[1:]), *u[1:]])
    assert compare(loop, bare, RULE).problems
    assert compare(loop, bare, LOSSY).problems == []


def test_what_is_not_settled_yet_does_not_count(loop: Loop) -> None:
    got = changed(played(loop, 0.3, 2.5), "video", lambda u: later(9000)(u[:4]) + u[4:])
    assert compare(loop, got, RULE).problems
    assert compare(loop, got, replace(RULE, unsettled=4)).problems == []
