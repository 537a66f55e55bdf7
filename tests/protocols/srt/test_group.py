"""The sending half of groups with links that are only numbers: who sends what, and when."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from flux.base.serial import add, distance
from protocols.srt.group import TICK, GroupSender, MemberState, following
from protocols.srt.link_state import LinkState
from protocols.srt.options import GroupType
from protocols.srt.packet import MAX_MESSAGE, SEQUENCE_BITS

FIRST = 0x7FFFFFFF - 20  # the numbers wrap within each test
LATENCY = 0.12
STEP = 0.005


@dataclass
class FakeLink:
    """A link and its peer: what is sent is acknowledged at once, unless the line is cut."""

    first: int = FIRST
    rtt: float = 0.02
    rtt_variance: float = 0.002
    is_closed: bool = False
    is_cut: bool = False
    last_received_at: float = 0.0
    sent: list[tuple[int, int, bytes, float]] = field(default_factory=list)
    next_sequence: int = 0
    next_message: int = 1
    acknowledged_sequence: int = 0
    jumps: int = 0
    confirmed: int = 0

    def __post_init__(self) -> None:
        self.next_sequence = self.acknowledged_sequence = self.first

    @property
    def state(self) -> LinkState:
        return LinkState(
            None, self.confirmed, 0, 8192, 0, False, self.last_received_at, self.rtt_variance
        )

    def give_up(self) -> None:
        """What is not confirmed is too old."""
        self.acknowledged_sequence = self.next_sequence

    def jump(self, sequence: int, message: int) -> None:
        self.jumps += 1
        self.next_sequence, self.next_message = sequence, message
        self.acknowledged_sequence = sequence

    def send(self, payloads: Sequence[bytes], now: float, sent_at: float | None = None) -> int:
        for payload in payloads:
            at = now if sent_at is None else sent_at
            self.sent.append((self.next_sequence, self.next_message, payload, at))
            self.next_sequence = add(self.next_sequence, 1, SEQUENCE_BITS)
            self.next_message = following(self.next_message, 1)
        return len(payloads)

    def hear(self, now: float) -> None:
        """A turn of the peer."""
        if not self.is_cut:
            count = distance(self.next_sequence, self.acknowledged_sequence, SEQUENCE_BITS)
            self.confirmed += count
            self.acknowledged_sequence = self.next_sequence
            self.last_received_at = now

    @property
    def numbers(self) -> list[int]:
        """Offsets of what was sent."""
        return [distance(sequence, FIRST, SEQUENCE_BITS) for sequence, *_ in self.sent]


class Stage:
    """A group that sends one packet each 5 ms."""

    def __init__(self, kind: GroupType, *links: tuple[FakeLink, int]) -> None:
        self.now = 10.0
        self.sender = GroupSender(kind, FIRST, LATENCY)
        self.links = [link for link, _ in links]
        self.count = 0
        for key, (link, weight) in enumerate(links):
            link.last_received_at = self.now
            self.sender.join(key, link, weight, self.now)

    def play(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            self.sender.send([self.count.to_bytes(4, "big")], self.now)
            self.count += 1
            for link in self.links:
                link.hear(self.now)
            timer = self.sender.get_timer()
            if timer is not None and timer <= self.now:
                self.sender.handle_timer(self.now)

    def states(self) -> list[MemberState]:
        return [member.state for member in self.sender.members]


def test_broadcast_sends_the_same_everywhere() -> None:
    a, b = FakeLink(), FakeLink()
    stage = Stage(GroupType.BROADCAST, (a, 0), (b, 0))
    stage.play(0.5)
    assert a.sent == b.sent
    assert a.numbers == list(range(100))
    assert (a.jumps, b.jumps) == (0, 0)
    assert stage.sender.get_timer() is None


def test_broadcast_goes_on_without_a_link() -> None:
    """Off (one link alone) there is a gap from the cut on."""
    a, b = FakeLink(), FakeLink()
    stage = Stage(GroupType.BROADCAST, (a, 0), (b, 0))
    stage.play(0.1)
    a.is_closed = True
    stage.play(0.1)
    stage.sender.leave(0, stage.now)
    stage.play(0.1)
    assert b.numbers == list(range(60))
    assert a.numbers == list(range(20))


def test_a_late_link_jumps_to_the_present_number() -> None:
    a, b = FakeLink(), FakeLink(first=FIRST)
    stage = Stage(GroupType.BROADCAST, (a, 0))
    stage.play(0.2)
    stage.sender.join(7, b, 0, stage.now)
    stage.play(0.1)
    assert b.jumps == 1
    assert b.sent == a.sent[40:]


def test_backup_sends_over_the_greatest_weight_alone() -> None:
    light, heavy = FakeLink(), FakeLink()
    stage = Stage(GroupType.BACKUP, (light, 5), (heavy, 10))
    stage.play(1.0)
    assert stage.states() == [MemberState.IDLE, MemberState.STABLE]
    assert heavy.numbers[-150:] == list(range(50, 200))
    assert len(light.sent) < 60  # until the heavier one was known to work


def test_backup_takes_over_and_repeats_what_was_not_acknowledged() -> None:
    main, spare = FakeLink(), FakeLink()
    stage = Stage(GroupType.BACKUP, (main, 10), (spare, 5))
    stage.play(0.5)
    assert not spare.sent
    main.is_cut = True
    lost_from = stage.count
    began = stage.now
    while not spare.sent:
        stage.play(STEP)
    assert stage.now - began <= LATENCY
    assert spare.numbers[0] <= lost_from
    stage.play(0.2)
    assert spare.numbers == list(range(spare.numbers[0], stage.count))
    original = {sequence: (message, payload, at) for sequence, message, payload, at in main.sent}
    for sequence, message, payload, at in spare.sent:
        if sequence in original:
            assert (message, payload, at) == original[sequence]
    assert stage.sender.repeated > 0
    assert stage.states() == [MemberState.UNSTABLE, MemberState.STABLE]


def test_what_is_given_up_is_no_sign_of_life() -> None:
    """A dead link that drops what is too old stays what it is; else its stream would stop."""
    main, spare = FakeLink(), FakeLink()
    stage = Stage(GroupType.BACKUP, (main, 10), (spare, 5))
    stage.play(0.5)
    main.is_cut = True
    stage.play(1.0)
    main.give_up()
    stage.play(1.0)
    assert stage.states() == [MemberState.UNSTABLE, MemberState.STABLE]
    assert spare.numbers == list(range(spare.numbers[0], stage.count))


def test_a_link_that_comes_back_is_used_again_when_it_is_trusted() -> None:
    main, spare = FakeLink(), FakeLink()
    stage = Stage(GroupType.BACKUP, (main, 10), (spare, 5))
    stage.play(0.2)
    main.is_cut = True
    stage.play(0.3)
    main.is_cut = False
    stage.play(0.1)
    assert stage.states() == [MemberState.STABLE, MemberState.STABLE]  # both while it is wary
    stage.play(1.0)
    assert stage.states() == [MemberState.STABLE, MemberState.IDLE]
    before = len(spare.sent)
    stage.play(0.2)
    assert len(spare.sent) == before
    assert main.numbers[-40:] == list(range(stage.count - 40, stage.count))


def test_a_heavier_link_that_comes_later_takes_over() -> None:
    light, heavy = FakeLink(), FakeLink()
    stage = Stage(GroupType.BACKUP, (light, 1))
    stage.play(0.3)
    heavy.last_received_at = stage.now
    stage.links.append(heavy)
    stage.sender.join(9, heavy, 2, stage.now)
    stage.play(0.3)
    assert stage.states() == [MemberState.IDLE, MemberState.STABLE]
    union = sorted({*light.numbers, *heavy.numbers})
    assert union == list(range(stage.count))


def test_a_third_link_is_tried_when_the_second_is_dead_too() -> None:
    main, dead, last = FakeLink(), FakeLink(is_cut=True), FakeLink()
    stage = Stage(GroupType.BACKUP, (main, 3), (dead, 2), (last, 1))
    stage.play(0.3)
    main.is_cut = True
    stage.play(1.0)
    assert stage.states()[2] is MemberState.STABLE
    assert last.numbers == list(range(last.numbers[0], stage.count))
    assert last.numbers[0] <= 60


def test_a_pause_of_the_stream_is_no_reason_to_switch() -> None:
    main, spare = FakeLink(), FakeLink()
    stage = Stage(GroupType.BACKUP, (main, 10), (spare, 5))
    stage.play(0.2)
    stage.now += 5.0
    stage.play(0.2)
    assert not spare.sent
    assert stage.sender.activations == 1


def test_what_is_kept_is_forgotten_when_it_is_acknowledged() -> None:
    main, spare = FakeLink(), FakeLink()
    stage = Stage(GroupType.BACKUP, (main, 10), (spare, 5))
    stage.play(2.0)
    main.is_closed = True
    stage.play(TICK)
    stage.sender.leave(0, stage.now)
    stage.play(0.1)
    assert spare.numbers[0] >= 395


@pytest.mark.parametrize("kind", [GroupType.BROADCAST, GroupType.BACKUP])
def test_a_group_without_links_takes_nothing(kind: GroupType) -> None:
    stage = Stage(kind)
    assert stage.sender.send([b"x"], stage.now) == 0
    assert stage.sender.next_sequence == add(FIRST, 1, SEQUENCE_BITS)


def test_message_numbers_leave_zero_out() -> None:
    assert following(1, 1) == 2
    assert following(MAX_MESSAGE, 1) == 1
    assert following(MAX_MESSAGE - 1, 3) == 2
