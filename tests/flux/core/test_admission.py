"""Admission: gates in order, late answers, and the limits gate."""

import pytest

from flux.core.admission import ALLOWED, AccessRequest, Admission, Answer, Gate, Verdict
from flux.core.limits import Limits, LimitsGate
from media.events import ReaderRefused
from media.router import Router
from media.stream import StreamOptions

REQUEST = AccessRequest("read", "cam", "http-flv", "10.0.0.1")
REFUSED = Verdict(False, "no", 403)


def test_without_gates_everybody_enters() -> None:
    verdicts: list[Verdict] = []
    Admission(lambda event: None).admit(REQUEST, verdicts.append)
    assert verdicts == [ALLOWED]


def test_the_first_refusal_wins_and_is_told() -> None:
    asked: list[str] = []
    events: list[object] = []
    admission = Admission(events.append)

    def gate(name: str, verdict: Verdict) -> None:
        def ask(request: AccessRequest, answer: Answer) -> None:
            asked.append(name)
            answer(verdict)

        admission.add(ask)

    gate("a", ALLOWED)
    gate("b", REFUSED)
    gate("c", ALLOWED)
    verdicts: list[Verdict] = []
    admission.admit(REQUEST, verdicts.append)
    assert (asked, verdicts) == (["a", "b"], [REFUSED])
    assert events == [ReaderRefused("cam", "http-flv", "10.0.0.1", "no")]


def test_a_late_answer_goes_on_and_a_second_one_changes_nothing() -> None:
    waiting: list[Answer] = []
    admission = Admission(lambda event: None)
    admission.add(lambda request, answer: waiting.append(answer))
    admission.add(lambda request, answer: answer(ALLOWED))
    verdicts: list[Verdict] = []
    admission.admit(REQUEST, verdicts.append)
    assert verdicts == []
    waiting[0](ALLOWED)
    waiting[0](REFUSED)
    assert verdicts == [ALLOWED]


def test_limits_come_last_and_only_for_those_who_want_a_seat() -> None:
    asked: list[str] = []
    admission = Admission(lambda event: None)

    def ask(name: str) -> Gate:
        def gate(request: AccessRequest, answer: Answer) -> None:
            asked.append(name)
            answer(REFUSED if name == "limit" else ALLOWED)

        return gate

    admission.add_limit(ask("limit"))
    admission.add(ask("access"))
    admission.add(ask("hook"))
    verdicts: list[Verdict] = []
    admission.admit(REQUEST, verdicts.append)
    admission.permit(REQUEST, verdicts.append)
    assert asked == ["access", "hook", "limit", "access", "hook"]
    assert verdicts == [REFUSED, ALLOWED]


def test_quiet_refusals_and_those_of_no_stream_are_no_event() -> None:
    events: list[object] = []
    admission = Admission(events.append)
    admission.add(lambda request, answer: answer(Verdict(False, "who", 401, is_quiet=True)))
    verdicts: list[Verdict] = []
    admission.admit(REQUEST, verdicts.append)
    loud = Admission(events.append)
    loud.add(lambda request, answer: answer(REFUSED))
    loud.permit(AccessRequest("api", "", "api", "10.0.0.1"), verdicts.append)
    assert (len(verdicts), events) == (2, [])


class Viewer:
    id = protocol = "x"
    since = 0.0
    user_agent = ""
    dropped = 0

    def __init__(self, address: str, sent_bytes: int = 0) -> None:
        self.address = address
        self.sent_bytes = sent_bytes

    def lag(self) -> float:
        return 0.0

    def end(self, reason: str) -> None:
        raise AssertionError(reason)


class Rig:
    def __init__(self, limits: Limits) -> None:
        self.router = Router(lambda event: None)
        self.router.declare("cam", StreamOptions())
        self.lag = 0.0
        self.gate = LimitsGate(limits, self.router, lambda: self.lag)

    def enter(self, name: str, viewer: Viewer) -> None:
        stream = self.router.find("cam")
        assert stream is not None
        stream.readers[name] = viewer

    def ask(self, action: str = "read") -> Verdict:
        verdicts: list[Verdict] = []
        request = AccessRequest(action, "cam", "http-flv", "10.0.0.1")
        self.gate(request, verdicts.append)
        return verdicts[0]


def test_readers_of_a_stream_are_limited() -> None:
    rig = Rig(Limits(readers_per_stream=2))
    rig.enter("a", Viewer("10.0.0.2"))
    assert rig.ask().allowed
    rig.router.open("cam", lambda stream: None, lambda *why: None, 0.0)
    rig.router.open("cam", lambda stream: None, lambda *why: None, 0.0)
    assert rig.ask() == Verdict(False, "too-many-readers", 503)
    assert rig.ask("publish").allowed


def test_sessions_of_an_address_are_limited() -> None:
    rig = Rig(Limits(sessions_per_address=1))
    rig.enter("a", Viewer("10.0.0.2"))
    assert rig.ask().allowed
    rig.enter("b", Viewer("10.0.0.1"))
    assert rig.ask() == Verdict(False, "too-many-sessions", 429)


def test_total_egress_is_limited() -> None:
    rig = Rig(Limits(egress_bps=8_000))
    viewer = Viewer("10.0.0.2")
    rig.enter("a", viewer)
    rig.gate.tick(1.0)
    viewer.sent_bytes = 2_000
    rig.gate.tick(2.0)
    assert rig.ask() == Verdict(False, "egress-limit", 503)
    rig.gate.tick(3.0)
    assert rig.ask().allowed


@pytest.mark.parametrize("limit", [0.0, 0.1])
def test_while_the_loop_lags_nobody_new_enters(limit: float) -> None:
    rig = Rig(Limits(loop_lag=limit))
    rig.lag = 0.5
    for second in (1.0, 2.0):
        rig.gate.tick(second)
        assert rig.ask().allowed  # a hiccup, not overload
    rig.gate.tick(3.0)
    assert rig.ask().allowed is (limit == 0.0)
    rig.lag = 0.0
    rig.gate.tick(4.0)
    assert rig.ask().allowed is (limit == 0.0)
    rig.gate.tick(5.1)
    assert rig.ask().allowed
