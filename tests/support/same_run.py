"""Whether a capture is an uninterrupted run of what was sent, wherever it began."""

from collections.abc import Mapping
from fractions import Fraction

from tests.support.aligned import NO_PTS
from tests.support.frames import TrackUnits

Tracks = Mapping[str, TrackUnits]


def problems(sent: Tracks, got: Tracks, minimum: Mapping[str, int], spread: Fraction) -> list[str]:
    """What is wrong; empty: the same units without a gap, times of all tracks alike.

    `minimum` units of each kind; `spread` seconds between the least and the greatest difference
    of a time from the one that was sent, over all tracks.
    """
    found: list[str] = []
    shifts: list[Fraction] = []
    for kind, wanted in sent.items():
        track = got.get(kind)
        if track is None or not track.units:
            found.append(f"{kind}: missing")
            continue
        if track.codec != wanted.codec:
            found.append(f"{kind}: {track.codec} instead of {wanted.codec}")
        if len(track.units) < minimum.get(kind, 1):
            found.append(f"{kind}: {len(track.units)} units of at least {minimum[kind]}")
        at = place(wanted, track)
        if at is None:
            found.append(f"{kind}: {len(track.units)} units are no run of what was sent")
            continue
        shifts += [
            track.seconds(ours.pts) - wanted.seconds(theirs.pts)
            for ours, theirs in zip(track.units, wanted.units[at:], strict=False)
            if ours.pts != NO_PTS
        ]
    found += [f"{kind}: was not sent" for kind in got if kind not in sent]
    if shifts and max(shifts) - min(shifts) > spread:
        found.append(f"times are {float(max(shifts) - min(shifts)):.3f} s apart")
    return found


def place(sent: TrackUnits, got: TrackUnits) -> int | None:
    """Where in the row that was sent the other one begins."""
    row, part = [unit.pieces for unit in sent.units], [unit.pieces for unit in got.units]
    starts = (at for at in range(len(row) - len(part) + 1) if row[at] == part[0])
    return next((at for at in starts if row[at : at + len(part)] == part), None)
