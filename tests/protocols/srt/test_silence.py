"""What is done when nothing is heard: live mode and file modes."""

from dataclasses import dataclass, field

import pytest

from protocols.srt.congestion.aimd import AimdControl
from protocols.srt.options import RepairOptions
from protocols.srt.repair import RepairQueue
from protocols.srt.rtt import RttEstimator
from protocols.srt.send_buffer import SendBuffer
from protocols.srt.send_count import SendCount
from protocols.srt.silence import (
    MAX_PROBES,
    NEVER,
    PATIENCE,
    PROBE_MARGIN,
    StallWatch,
    TailWatch,
    Watch,
)

RTT = 0.04


@dataclass
class Desk:
    """Ten packets in flight from 100 on; a watch over them."""

    is_live: bool
    options: RepairOptions = field(default_factory=RepairOptions)
    now: float = 50.0

    def __post_init__(self) -> None:
        self.rtt = RttEstimator()
        for _ in range(50):
            self.rtt.add(RTT, self.now)
        self.count = SendCount()
        self.buffer = SendBuffer(100)
        self.buffer.append([bytes(100)] * 10, self.now, 0)
        self.buffer.unsent = 110
        latency = 1.0 if self.is_live else 0.0
        self.repair = RepairQueue(self.buffer, self.rtt, self.count, latency, self.now)
        self.control = AimdControl(1456, 8192)
        self.watch: Watch
        if self.is_live:
            self.watch = TailWatch(self.repair, self.rtt, self.count, self.now, self.options)
        else:
            self.watch = StallWatch(self.repair, self.rtt, self.count, self.now, self.control)

    def wait(self) -> float:
        """Until it does something: how long that was."""
        at = self.watch.get_timer(100, 110)
        waited, self.now = at - self.now, at
        self.watch.act(100, 110, self.now)
        return waited

    def sent(self) -> list[int]:
        """What is wanted goes out."""
        return [number for _, number in self.repair.due(self.now, 1e9)]


def test_nothing_in_flight_nothing_to_wait_for() -> None:
    for is_live in (True, False):
        assert Desk(is_live).watch.get_timer(110, 110) == NEVER


def test_live_the_last_packet_shows_what_is_missing() -> None:
    desk = Desk(is_live=True)
    for turn in range(MAX_PROBES):
        assert desk.wait() == pytest.approx((desk.rtt.overdue + PROBE_MARGIN) * 2**turn)
        assert desk.sent() == [109]
    assert desk.watch.get_timer(100, 110) == NEVER
    assert desk.count.probes == MAX_PROBES
    desk.watch.restart(desk.now)
    assert desk.watch.get_timer(100, 110) < NEVER


def test_live_new_packets_are_probes_enough() -> None:
    desk = Desk(is_live=True)
    desk.watch.sent(desk.now + 5.0)
    assert desk.watch.get_timer(100, 110) > desk.now + 5.0


def test_live_without_probes_there_are_none() -> None:
    desk = Desk(is_live=True, options=RepairOptions(has_tail_probe=False))
    assert desk.watch.get_timer(100, 110) == NEVER


def test_file_the_first_missing_one_is_sent_again() -> None:
    """With the last, where nothing was asked for: that shows all that is missing."""
    desk = Desk(is_live=False)
    assert desk.wait() == pytest.approx(desk.rtt.overdue + PROBE_MARGIN)
    assert desk.sent() == [100, 109]
    assert desk.count.timeouts == 0 and desk.count.lost == 2
    assert desk.control.is_slow_start


def test_file_what_is_sent_behind_the_gap_does_not_put_it_off() -> None:
    desk = Desk(is_live=False)
    at = desk.watch.get_timer(100, 110)
    desk.watch.sent(desk.now + 1.0)
    assert desk.watch.get_timer(100, 110) == at


def test_file_all_old_repairs_go_with_it() -> None:
    desk = Desk(is_live=False)
    desk.repair.ask([100, 103], desk.now)
    assert desk.watch.get_timer(100, 110) == NEVER, "it still waits to be sent"
    assert desk.sent() == [100, 103]
    desk.now += 0.05
    desk.repair.ask([105], desk.now)
    assert desk.sent() == [105]
    desk.wait()
    assert desk.sent() == [100, 103], "105 may still arrive"


def test_file_a_question_that_was_lost_holds_nothing_up() -> None:
    """Off (only what was asked for is sent again) the first one waits until all is given up."""
    desk = Desk(is_live=False)
    desk.repair.ask([103, 104], desk.now)
    assert desk.sent() == [103, 104]
    desk.now += 0.001
    desk.wait()
    assert desk.sent()[0] == 100


def test_file_a_dead_path_begins_anew() -> None:
    desk = Desk(is_live=False)
    waits = []
    for _ in range(PATIENCE):
        waits.append(desk.wait())
        desk.sent()
    assert desk.count.timeouts == 0
    waits.append(desk.wait())
    assert desk.count.timeouts == 1
    assert desk.sent() == list(range(100, 110))
    assert desk.control.congestion_window == 4
    assert waits[2] > waits[1] > waits[0]
    desk.watch.restart(desk.now)
    assert desk.wait() == pytest.approx(waits[0], rel=0.01)
