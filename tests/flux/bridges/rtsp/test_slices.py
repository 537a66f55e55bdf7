"""Work for many sessions, cut into turns."""

import pytest

from flux.bridges.rtsp.slices import SLICE, Slices
from tests.support.virtual import VirtualScheduler


def test_work_is_done_in_order_and_in_turns() -> None:
    scheduler = VirtualScheduler()
    slices = Slices(scheduler)
    done: list[int] = []

    def work(number: int) -> None:
        done.append(number)
        scheduler.spend(SLICE / 4)

    slices.add(*(lambda number=number: work(number) for number in range(20)))
    assert done == []  # not in this turn
    scheduler.run(1.0)
    assert done == list(range(20))
    assert scheduler.longest_turn <= SLICE * 1.25


def test_what_comes_up_on_the_way_is_done_too() -> None:
    scheduler = VirtualScheduler()
    slices = Slices(scheduler)
    done: list[str] = []
    slices.add(lambda: slices.add(lambda: done.append("second")), lambda: done.append("first"))
    slices.add()
    scheduler.run()
    assert done == ["first", "second"]


def test_a_fault_costs_the_others_nothing() -> None:
    scheduler = VirtualScheduler()
    slices = Slices(scheduler)
    done: list[str] = []

    def fail() -> None:
        raise RuntimeError("fault")

    slices.add(fail, lambda: done.append("other"))
    with pytest.raises(RuntimeError, match="fault"):
        scheduler.run()
    scheduler.run()
    assert done == ["other"]
