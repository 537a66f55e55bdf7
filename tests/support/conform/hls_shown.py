"""When a segment begins to be shown, and how exactly that is known.

Durations have to add up to the times of the media (RFC 8216 4.3.2.1). A segment that begins with a
key frame is shown from that on: leading pictures behind it are shown before, with the segment
before. Another begins with the first of its pictures that is shown, which need not be the first
that is decoded. Where pictures are missing there, the two segments may meet anywhere in the hole.
"""

from collections.abc import Sequence
from itertools import pairwise

LEAST = 0.001  # seconds between two pictures


def begins(shown: Sequence[float], *, is_key: bool) -> float:
    """The instant from which on a segment counts, by its units in the order of decoding."""
    return shown[0] if is_key else min(shown)


def hole_before(start: float, before: Sequence[float], own: Sequence[float]) -> float:
    """Seconds before `start` in which no picture of either segment is shown.

    All times are on one line; a picture lasts as long as two are apart at least.
    """
    last = max((time for time in before if time < start), default=None)
    if last is None:
        return 0.0
    times = sorted((*before, *own))
    steps = [after - time for time, after in pairwise(times) if after - time > LEAST]
    return max(0.0, start - last - min(steps, default=0.0))
