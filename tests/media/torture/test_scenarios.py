"""Every output over everything that sources do, before judges that know no FLUX."""

import pytest

from media.events import OutputFailed, ReaderFailed
from tests.support.torture.run import played, problems_of
from tests.support.torture.scenarios import SCENARIOS

QUICK = [each.name for each in SCENARIOS if not each.is_long]
LONG = [each.name for each in SCENARIOS if each.is_long]


def judged(name: str) -> None:
    told = problems_of(name)
    faults = [e for e in played(name).events if isinstance(e, OutputFailed | ReaderFailed)]
    assert faults == []
    assert told == [], "\n".join(told)


@pytest.mark.parametrize("name", QUICK)
def test_every_output_stays_valid(name: str) -> None:
    judged(name)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", LONG)
def test_every_output_stays_valid_for_long(name: str) -> None:
    judged(name)


def test_names_are_said_once() -> None:
    assert len(set(QUICK + LONG)) == len(SCENARIOS)
