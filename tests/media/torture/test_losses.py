"""HLS of sources of which much is missing, before judges that know no FLUX."""

from pathlib import Path

import pytest

from media.events import OutputFailed
from tests.support import clips
from tests.support.torture.judges import Wishes, judge
from tests.support.torture.losses import OUTPUTS, Lossy, lossy
from tests.support.torture.run import got_of
from tests.support.torture.scenarios import truth_of
from tests.support.torture.stage import Stage

# Where the key frame is lost with which a segment would have begun, the next one has none, although
# all were called independent when nobody could know: what came whole is not thrown away.
BROKEN_PROMISE = frozenset({"segment-key"})
SEEDS = range(240)
BLOCK = 30
# Each found something once: cuts in mid-GOP behind a hole, both tracks gone, sound that returns
# first, a hole between the first pictures.
KNOWN = (
    (clips.BUNNY, 10),
    (clips.PYRAMID, 7),
    (clips.PYRAMID, 35),
    (clips.PYRAMID, 68),
    (clips.VARIABLE, 21),
    (clips.SOUND_FIRST, 7),
    (clips.FLASH, 48),
    (clips.H264_TS, 114),
    (clips.H264_TS, 146),
    (clips.H265_TS, 38),
)


def problems_of(source: Lossy) -> list[str]:
    """What is wrong with the HLS outputs of a run."""
    stage = Stage(OUTPUTS)
    stage.play([source.run])
    truth = truth_of([source.run])
    wishes = Wishes(
        has_holes=True,
        has_pauses=True,
        lost=len(truth),
        waived=dict.fromkeys(OUTPUTS, BROKEN_PROMISE),
    )
    told = [f"{source.text}: {event}" for event in stage.events if isinstance(event, OutputFailed)]
    for output, player in stage.players.items():
        assert [body.reason for body in player.bodies] == ["server-stopping"]
        found = [
            each for body in player.bodies for each in judge(output, got_of(body), truth, wishes)
        ]
        told += [f"{source.text}: {output}: {problem}" for problem in found]
    return told


@pytest.mark.parametrize(("path", "seed"), KNOWN)
def test_playlists_say_what_is_left(path: Path, seed: int) -> None:
    told = problems_of(lossy(path, seed))
    assert told == [], "\n".join(told)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", SEEDS[::BLOCK])
@pytest.mark.parametrize("path", clips.JUDGED, ids=[path.stem[-12:] for path in clips.JUDGED])
def test_playlists_say_what_is_left_of_anything(path: Path, first: int) -> None:
    told = [
        problem
        for seed in range(first, first + BLOCK)
        for problem in problems_of(lossy(path, seed))
    ]
    assert told == [], "\n".join(told)
