"""Plays scenarios, each once for all who look at it."""

from functools import lru_cache

from tests.support.torture.judges import Got, judge
from tests.support.torture.scenarios import BY_NAME, truth_of
from tests.support.torture.stage import REAL_OUTPUTS, Body, Stage


@lru_cache(maxsize=2)
def played(name: str) -> Stage:
    """All outputs of a scenario, at once."""
    scenario = BY_NAME[name]
    stage = Stage(
        scenario.outputs or REAL_OUTPUTS, scenario.options, rtp_wraps_at=scenario.rtp_wraps_at
    )
    stage.play(list(scenario.make()))
    return stage


def problems_of(name: str) -> list[str]:
    """What is wrong with the outputs of a scenario."""
    scenario, stage = BY_NAME[name], played(name)
    truth = truth_of(scenario.make())
    told: list[str] = []
    known: dict[bytes, list[str]] = {}  # HTTP and SRT carry the same bytes mostly
    for output, player in stage.players.items():
        found = [f"refused: {refusal}" for refusal in player.refusals]
        reasons = tuple(body.reason for body in player.bodies)
        if reasons != scenario.reasons(output):
            found.append(f"closed: {reasons}, not {scenario.reasons(output)}")
        for number, body in enumerate(player.bodies):
            got = got_of(body, is_last=number == len(player.bodies) - 1)
            if got.data and got.data in known:
                found += known[got.data]
                continue
            problems = judge(output, got, truth, scenario.wishes)
            found += problems
            if got.data:
                known[got.data] = problems
        told += [f"{output}: {problem}" for problem in found]
    return told


def got_of(body: Body, *, is_last: bool = True) -> Got:
    """A body as judges take it."""
    return Got(
        body.data,
        body.lines,
        body.packets,
        [(look.at, look.playlist) for look in body.looks],
        body.resources,
        body.multivariant,
        is_last=is_last,
    )
