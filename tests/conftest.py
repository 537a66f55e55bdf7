"""Settings of all tests."""

import gc
import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tests.support import schedule, steady, turns

# The machines that run this are small and shared: a slow example says nothing about the code.
settings.register_profile(
    "flux",
    max_examples=50,
    derandomize=True,  # what fails once fails again; `make test-long` looks for what is new
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "many", settings.get_profile("flux"), max_examples=1000, derandomize=False
)
settings.load_profile("flux")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long ones first."""
    if lost := schedule.unmarked(items):
        raise pytest.UsageError(f"among the interop tests, and not marked so: {lost}")
    items[:] = schedule.by_weight(items)


def pytest_collectstart() -> None:
    """What is imported and collected stays: until that is done there is no garbage."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What is imported by now stays: no collection of garbage looks at it, and few are due."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5000, 20, 20)
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> schedule.Files | None:
    """Ours where workers are given whole files."""
    return schedule.Files(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True, tryfirst=True)  # the time limit begins after the wait
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Among several workers, tests with programs take turns if one of them is to be alone."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None or item.get_closest_marker("interop") is None:
        return (yield)
    with turns.turn(run, alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.fixture
def steady_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of real sockets and real time: a machine that stands still for a moment is no
    peer that is silent."""
    steady.hold(monkeypatch)
