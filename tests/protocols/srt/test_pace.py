"""How long an endpoint rests, and that what gets lost meanwhile is mended all the same."""

import os
from dataclasses import replace

import pytest

from flux.bridges.srt.publisher import DEFERRED, UNSEEN_REST
from flux.bridges.srt.sender import LEISURES, PROMPT_LEISURE
from protocols.srt.handshake_wire import HsFlag
from protocols.srt.link import Link, LinkHandler
from protocols.srt.options import LEISURE, Control, Options, RateOptions, RepairOptions
from protocols.srt.pace import (
    ANSWERED,
    CALLED,
    CALM_AFTER,
    CALM_REST,
    LITTLE,
    LONG_AFTER,
    REST,
    ROOMY,
    SHORT_REST,
    Pace,
    can_answers_lie,
    defer,
    patience,
)
from protocols.srt.packet import RETRANSMITTED, unpack_header
from tests.support.simnet import Link as Line
from tests.support.srt_pair import CALLER, LISTENER, Pair
from tests.support.srt_virtual import VirtualEndpoint, measured_link

NAK = b"\x80\x03"
LONG = 1.0  # seconds of leisure: the connection alone decides


def connected(
    rtt: float = 0.001, options: Options | None = None, *, hears_questions: bool = False
) -> tuple[Pair, Link]:
    """A link whose connection alone decides."""
    pair, link = measured_link(rtt, LinkHandler(), options, hears_questions=hears_questions)
    link.leisure = LONG
    return pair, link


def test_the_calmer_the_longer() -> None:
    _, link = connected()
    pace = Pace(0.0, 1000)
    beginning = Link(
        VirtualEndpoint(Pair(Line()).net, ("198.18.9.9", 9)),
        *(2, CALLER, Options(), LinkHandler(), None, os.urandom),
    )
    pace.hurry(beginning)
    pace.look([link], 50, 1.0)
    assert pace.rest == SHORT_REST
    beginning.end = "over"
    pace.measure([link], 1.1)

    def rest(now: float, data: int = 50, full: float = 0.0) -> float:
        pace.fill(0, now - 0.1, is_behind=False)
        pace.fill(round(full * 0.1 * 1000), now, is_behind=False)
        pace.look([link], data, now)
        return pace.rest

    assert rest(1.2) == REST
    assert rest(1.0 + CALM_AFTER) == REST
    assert rest(1.1 + CALM_AFTER) == CALM_REST
    assert rest(1.0 + LONG_AFTER) == CALM_REST
    calm = 1.1 + LONG_AFTER
    assert rest(calm) == pytest.approx(patience(link))
    assert patience(link) > 0.05
    assert rest(calm, data=LITTLE - 1) == CALM_REST, "their sender may wonder"
    assert rest(calm, data=0) == pytest.approx(patience(link))
    assert rest(calm, full=10.0) == pytest.approx(0.025), "a quarter of the buffer at most"
    assert rest(calm, full=1000.0) == CALM_REST
    pace.hear_call(calm)
    assert rest(calm + CALLED / 2) == REST
    assert rest(calm + CALLED) > CALM_REST


def test_the_least_patient_link_decides() -> None:
    _, near = connected()
    _, far = connected(rtt=0.2)
    pace = Pace(0.0, 1000)
    for links, is_long in (([near], True), ([near, far], False), ([], False)):
        pace.measure(links, 0.0)
        pace.look([], 50, LONG_AFTER + 1)
        assert (pace.rest > CALM_REST) is is_long


@pytest.mark.parametrize(
    "options",
    [
        Options(control=Control.AIMD),
        Options(rate=RateOptions(max_rate=2_000_000)),
        Options(receive_latency_ms=20, peer_latency_ms=20),
    ],
    ids=["AIMD", "paced", "short latency"],
)
def test_some_links_bear_nothing(options: Options) -> None:
    _, link = connected(options=options)
    assert patience(link) <= CALM_REST
    link.connection = None
    assert patience(link) == 0.0


def test_what_our_own_pauses_add_to_the_round_trip_does_not_count() -> None:
    """The peer's figure has them in it: off, each rest would make the next one shorter."""
    _, link = connected()
    assert link.connection is not None
    pace, trip = Pace(0.0, 1000), link.connection.round_trip
    assert pace.rest < CALM_REST
    pace.measure([link], 1.0)
    before = patience(link)
    assert before > 0.05
    pace.look([], 50, LONG_AFTER + 1)
    assert pace.rest > CALM_REST
    for _ in range(50):
        trip.adopt(0.060, 0.020, LONG_AFTER + 2, False)
    pace.measure([link], LONG_AFTER + 3)
    assert patience(link) == before
    pace.hurry(link)  # something is lost: answers come at once from now on
    pace.measure([link], LONG_AFTER + 4)
    assert patience(link) < CALM_REST, "and what is measured then counts"


def test_it_is_measured_early_how_long_a_new_link_bears_it() -> None:
    pace = Pace(0.0, 1000)
    assert not pace.is_measure_due(0.4)
    assert pace.is_measure_due(CALLED / 2)
    pace.look([], 50, LONG_AFTER + 1)
    pace.measure([], LONG_AFTER + 1)
    assert not pace.is_measure_due(LONG_AFTER + 2)
    assert pace.is_measure_due(LONG_AFTER + 3)


def test_a_buffer_fills_as_fast_as_it_did_between_two_rests() -> None:
    """However many turns took what came in it."""
    pace, (_, link) = Pace(0.0, 4000), connected()
    pace.measure([link], 0.0)
    for start in (20.0, 20.09):
        pace.fill(384, start, is_behind=True)
        pace.fill(384, start + 0.002, is_behind=True)
        pace.fill(87, start + 0.004, is_behind=False)
    pace.look([], 50, 20.1)
    assert pace.rest == pytest.approx(patience(link)), "855 in 90 ms are a quarter in 105"
    pace.fill(2000, 20.18, is_behind=False)
    pace.look([], 50, 20.2)
    assert pace.rest == pytest.approx(0.045, rel=0.01)


def test_as_long_as_the_application_can_wait() -> None:
    _, link = connected()
    link.leisure = LEISURE
    assert patience(link) == LEISURE


def test_who_hears_less_patience_rests_less_at_once() -> None:
    """Not only when all links are asked again."""
    _, link = connected()
    pace = Pace(0.0, 1000)
    pace.measure([link], 20.0)
    pace.fill(50, 20.0, is_behind=False)
    pace.look([link], 50, 20.0)
    assert pace.rest > LEISURE
    link.leisure = LEISURE
    pace.look([link], 50, 20.1)
    assert pace.rest == LEISURE


def lossy(
    rtt: float, longest: float | None = None, deferred: float = 0.0, losses: int = 2
) -> tuple[float, float]:
    """A stream that loses a packet now and then, and its first copy, on its way to an endpoint
    that rests while nothing is missing: the share that came, and the mean rest.

    `longest`: it rests so long, whatever the link bears. `deferred`: so much later are payloads
    handed out. `losses` of each packet, with its copies.
    """
    pair, link = connected(rtt)
    defer(link, deferred, pair.net.now)
    node = pair.net.nodes[LISTENER]
    copies: dict[int, int] = {}
    rests: list[float] = []

    def tap(datagram: bytes, now: float) -> bool:
        del now
        sequence, word, _, _ = unpack_header(datagram)
        if sequence >> 31 or (sequence % 211 and sequence not in copies):
            return True
        copies[sequence] = copies.get(sequence, 0) + 1
        assert bool(word & RETRANSMITTED) is (copies[sequence] > 1)
        return copies[sequence] > losses

    def measure(now: float) -> None:
        del now
        rests.append(max(CALM_REST, patience(link)) if longest is None else longest)

    def look(now: float) -> None:
        del now
        node.coalesce = SHORT_REST if pair.listener.is_repairing else rests[-1]

    end = pair.net.now + 3.0
    pair.net.every(0.2, measure, end)
    pair.net.every(SHORT_REST, look, end)
    pair.run(0.5)
    pair.there.tap = tap
    before, number = len(pair.delays), pair.number
    pair.transfer(2200)
    assert len(copies) >= 10
    return (len(pair.delays) - before) / (pair.number - number), sum(rests) / len(rests)


@pytest.mark.parametrize("rtt", [0.001, 0.010, 0.020])
def test_losses_within_a_long_rest_are_mended(rtt: float) -> None:
    """The packet and its copy are lost: the second must do."""
    share, rest = lossy(rtt)
    assert share == 1.0
    assert rest > CALM_REST


@pytest.mark.parametrize("rtt", [0.001, 0.020])
def test_what_is_handed_out_later_may_be_missing_for_longer(rtt: float) -> None:
    """As while nobody watches."""
    share, rest = lossy(rtt, UNSEEN_REST, DEFERRED, 1)
    assert share == 1.0
    assert lossy(rtt, UNSEEN_REST, 0.0, 1)[0] < 1.0
    _, link = connected(rtt)
    before = patience(link)
    defer(link, DEFERRED, 0.0)
    assert rest == pytest.approx(UNSEEN_REST)
    assert before < UNSEEN_REST <= patience(link)


def test_a_rest_that_nobody_measured_loses() -> None:
    share, _ = lossy(0.020, 0.090)
    assert share < 1.0


def sent_in_turns(
    rtt: float,
    longest: float | None = None,
    *,
    hears_questions: bool = False,
    answered: int = 1,
) -> tuple[float, float]:
    """Packets that are sent, and answers that are read, in turns as long as the link bears, or
    `longest`; the last packet of a turn gets lost now and then: the share that came, the rest.

    `hears_questions`: for packets, as they come. `answered`: turns whose answers are read together.
    """
    # Who rests sends no probe meanwhile.
    pair, link = connected(
        rtt,
        Options(repair=RepairOptions(has_tail_probe=False)),
        hears_questions=hears_questions,
    )
    link.connection = pair.caller
    share, most = PROMPT_LEISURE if hears_questions else LEISURES
    link.leisure = min(most, share * pair.options.receive_latency_ms / 1000)
    rest = patience(link) if longest is None else longest
    node, burst = pair.net.nodes[CALLER], round(950 * rest)
    if hears_questions:
        node.is_urgent = lambda datagram: datagram.startswith(NAK)
    lost: set[int] = set()

    def tap(datagram: bytes, now: float) -> bool:
        del now
        sequence, word, _, _ = unpack_header(datagram)
        turn, place = divmod(sequence - first, burst)
        is_lost = place == burst - 1 and turn % 5 == 0
        if sequence >> 31 or word & RETRANSMITTED or not is_lost:
            return True
        lost.add(sequence)
        return False

    def look(now: float) -> None:
        del now
        node.coalesce = SHORT_REST if pair.caller.is_repairing else answered * rest

    pair.net.every(SHORT_REST, look, pair.net.now + 4.0)
    pair.run(0.1)
    first = pair.caller.next_sequence
    pair.there.tap = tap
    before, number = len(pair.delays), pair.number
    pair.transfer(burst * 64, burst=burst)
    assert len(lost) >= 10
    if hears_questions:  # and nothing is sent again that nobody misses
        assert pair.caller.statistics(pair.net.now).values["pktRetransTotal"] == len(lost)
    return (len(pair.delays) - before) / (pair.number - number), rest


@pytest.mark.parametrize("hears_questions", [True, False])
@pytest.mark.parametrize("rtt", [0.001, 0.005, 0.010, 0.020])
def test_the_last_packet_of_a_turn_is_mended(rtt: float, hears_questions: bool) -> None:
    """It is missed a turn later, and asked for in the one after that where questions lie."""
    share, rest = sent_in_turns(rtt, hears_questions=hears_questions)
    assert share == 1.0
    assert rest > CALM_REST


def test_who_hears_questions_may_rest_for_longer() -> None:
    """Off, they lie until the turn after the next, which is too late."""
    rest = 0.070
    assert sent_in_turns(0.010, rest)[0] < 1.0
    assert sent_in_turns(0.010, rest, hears_questions=True)[0] == 1.0
    assert sent_in_turns(0.001, hears_questions=True)[1] >= rest


@pytest.mark.parametrize("rtt", [0.001, 0.005, 0.010, 0.020])
def test_nothing_is_lost_by_acknowledgements_that_lie(rtt: float) -> None:
    share, rest = sent_in_turns(rtt, hears_questions=True, answered=ANSWERED)
    assert share == 1.0
    assert rest > CALM_REST


def sending(options: Options | None = None) -> Link:
    _, link = measured_link(0.001, LinkHandler(), options, is_sending=True, hears_questions=True)
    link.leisure = LONG
    return link


def answers_rest(links: list[Link], brought: int = 10) -> float:
    """Of an endpoint that has been calm for long."""
    pace = Pace(0.0, 1000)
    pace.measure(links, LONG_AFTER)
    pace.fill(brought, LONG_AFTER + 1, is_behind=False)
    pace.look([], 0, LONG_AFTER + 1)
    assert pace.send_rest > CALM_REST
    return pace.answers_rest


def test_who_only_sends_leaves_acknowledgements_alone_for_some_bursts() -> None:
    link = sending()
    assert answers_rest([link, sending()]) == pytest.approx((ANSWERED - 0.5) * patience(link))
    assert answers_rest([link], brought=300) == 0.0, "the buffer is a quarter full"
    _, receiving = connected()
    assert answers_rest([link, receiving]) == 0.0, "whose data would lie, too"


@pytest.mark.parametrize(
    "options",
    [Options(control=Control.AIMD), Options(rate=RateOptions(max_rate=2_000_000))],
    ids=["AIMD", "paced"],
)
def test_whose_pace_hangs_on_acknowledgements_hears_them(options: Options) -> None:
    link = sending(options)
    assert can_answers_lie(link)
    pace = Pace(0.0, 1000)
    pace.measure([link], LONG_AFTER)
    pace.look([], 0, LONG_AFTER + 1)
    assert pace.rest == CALM_REST
    assert pace.answers_rest == 0.0


def test_a_socket_with_more_to_read_is_read() -> None:
    pace = Pace(0.0, 1000)
    pace.measure([sending()], LONG_AFTER)
    pace.look([], 0, LONG_AFTER + 1)
    pace.fill(10, LONG_AFTER + 1, is_behind=False)
    assert pace.answers_rest > 0
    pace.fill(10, LONG_AFTER + 1, is_behind=True)
    assert pace.answers_rest == 0.0


def test_whose_acknowledgements_count() -> None:
    link = sending()
    assert can_answers_lie(link)
    connection = link.connection
    assert connection is not None
    link.connection = None
    assert not can_answers_lie(link), "it is calling"
    link.connection = Pair(Line()).caller
    assert not can_answers_lie(link), "nothing was sent yet: the peer may be the one that sends"
    flags = connection.result.peer_flags & ~HsFlag.PERIODIC_NAK
    connection.result = replace(connection.result, peer_flags=flags)
    link.connection = connection
    assert not can_answers_lie(link), "it asks only once: all in flight would be sent again"


@pytest.mark.parametrize("packets", [900, 1100])
def test_a_window_that_is_nearly_full_must_be_seen_to_open(packets: int) -> None:
    pair, link = measured_link(0.001, LinkHandler(), is_sending=True, hears_questions=True)
    assert link.connection is pair.caller
    pair.caller.send([bytes(1000)] * packets, pair.net.now)
    window = pair.caller.state.window
    assert can_answers_lie(link) is (ROOMY * packets <= window)
    assert 900 * ROOMY < window < 1100 * ROOMY


def test_links_of_groups_bear_nothing() -> None:
    pair, link = connected()
    assert link.connection is not None
    link.connection.result = replace(pair.listener.result, group_id=1 << 30)
    assert patience(link) == 0.0


def test_our_own_pauses_make_no_sender_impatient() -> None:
    """A peer that gets its answers late tells of long round trips: the handshake knew better."""
    pair, link = connected()
    link.connection = caller = pair.caller
    caller.round_trip.adopt(0.040, 0.010, pair.net.now, False)
    assert patience(link) < CALM_REST
    caller.result = replace(caller.result, rtt=0.001)
    assert patience(link) > 0.04
