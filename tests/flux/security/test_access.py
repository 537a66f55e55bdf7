"""The gate as a whole: who is let in, who is told what and when, and hostile clients."""

import asyncio
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.access import AccessSection
from flux.core.admission import AccessRequest, Admission, Verdict
from flux.core.events import AccessDenied, AddressBanned
from flux.core.part import Part
from flux.security.access import MAX_DELAYED, Access, View
from flux.security.verdicts import (
    ALLOWED,
    BANNED,
    BUSY,
    CLOSED,
    DENIED,
    FORBIDDEN,
    NEEDED,
    SERVICE_TIMEOUT,
    STOPPING,
    WRONG,
)
from media.events import ReaderRefused
from tests.support.hook_peers import Changes, bad_receiver, hang, receiver
from tests.support.virtual import VirtualScheduler

HASH = "$argon2id$v=19$m=65536,t=3,p=4$" + "a" * 22 + "$" + "b" * 43
ANN = {"name": "ann", "password": "right", "permissions": [{"action": "read", "streams": "live/*"}]}
HASHED = ANN | {"name": "hashed", "password": HASH}
AWAY = "192.0.2.7"


def reader(stream: str = "live/cam", address: str = AWAY, **more: Any) -> AccessRequest:
    return AccessRequest("read", stream, "http-flv", address, **more)


def is_right(encoded: str, password: bytes) -> bool:
    return encoded == HASH and password == b"right"


class Rig:
    """An access in virtual time, and what became of those who asked."""

    def __init__(self, *users: object, **more: object) -> None:
        self.time = VirtualScheduler()
        self.events: list[object] = []
        section = AccessSection.model_validate({"users": list(users), **more})
        self.access = Access(section, self._emit, scheduler=self.time, verify=is_right)
        self.verdicts: list[Verdict] = []
        self.views: list[View] = []
        self.changes = Changes()

    def _emit(self, event: object) -> None:
        self.events.append(event)
        self.changes.tell()  # an answer that is held back from now on

    def ask(self, request: AccessRequest) -> None:
        self.access(request, self._answer)

    def _answer(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self.changes.tell()

    def now(self, request: AccessRequest) -> Verdict | None:
        """The verdict, if it comes at once."""
        count = len(self.verdicts)
        self.ask(request)
        return self.verdicts[-1] if len(self.verdicts) > count else None

    async def later(self, request: AccessRequest) -> Verdict:
        """The verdict, once a thread or a service has answered and the delay is over."""
        count = len(self.verdicts)
        self.ask(request)
        await self.changes.until(
            lambda: len(self.verdicts) > count or self.access.figures().delayed
        )
        self.time.run(10.0)
        (verdict,) = self.verdicts[count:]
        return verdict

    def survey(self, request: AccessRequest) -> View:
        self.access.survey(request, self.views.append)
        return self.views[-1]


def test_it_is_a_part() -> None:
    assert isinstance(Rig().access, Part)


# -- what is allowed -----------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["publish", "read", "playback", "metrics"])
def test_by_default_everything_is_open(action: str) -> None:
    rig = Rig()
    assert rig.now(AccessRequest(action, "any/name", "x", AWAY)) == ALLOWED
    assert rig.now(AccessRequest(action, "any/name", "x", AWAY, user="who", password="x")) == (
        ALLOWED
    )


def test_by_default_the_api_is_closed_and_no_credentials_help() -> None:
    rig = Rig()
    for user, password, token in (("", "", ""), ("a", "b", ""), ("", "", "t")):
        request = AccessRequest("api", "", "api", AWAY, user=user, password=password, token=token)
        assert rig.now(request) == CLOSED
    assert rig.access.challenges == ()


def test_users_are_let_in_where_they_may() -> None:
    rig = Rig(ANN)
    right = {"user": "ann", "password": "right"}
    assert rig.now(reader(**right)) == ALLOWED
    assert rig.now(reader("other", **right)) == FORBIDDEN
    assert rig.now(replace(reader(**right), action="publish")) == FORBIDDEN
    assert rig.now(reader()) == NEEDED
    assert rig.access.figures().bans == 0
    assert rig.access.figures().delayed == 0


def test_what_anyone_may_needs_no_right_credentials() -> None:
    rig = Rig(ANN, {"name": "any", "permissions": [{"action": "read", "streams": "open"}]})
    assert rig.now(reader("open")) == ALLOWED
    assert rig.now(reader("open", user="ann", password="wrong")) == ALLOWED


def test_a_user_from_elsewhere_is_no_user() -> None:
    rig = Rig(ANN | {"addresses": ["10.0.0.0/8"]})
    right = {"user": "ann", "password": "right"}
    assert rig.now(reader(address="10.1.1.1", **right)) == ALLOWED
    assert rig.now(reader(address="::ffff:10.1.1.1", **right)) == ALLOWED
    assert rig.now(reader(**right)) is None
    rig.time.run(2.0)
    assert rig.verdicts[-1] == WRONG  # the same words and the same time as for a wrong password


async def test_hashed_passwords() -> None:
    rig = Rig(HASHED)
    assert await rig.later(reader(user="hashed", password="right")) == ALLOWED
    assert rig.now(reader(user="hashed", password="right")) == ALLOWED  # remembered
    assert await rig.later(reader(user="hashed", password="wrong")) == WRONG
    assert rig.access.figures().password_checks == 2
    await rig.access.stop()


async def test_500_requests_of_one_viewer_are_one_check() -> None:
    rig = Rig(HASHED)
    for _ in range(500):
        rig.ask(reader(user="hashed", password="right"))
    await rig.changes.until(lambda: len(rig.verdicts) == 500)
    assert set(rig.verdicts) == {ALLOWED}
    assert rig.access.figures().password_checks == 1
    await rig.access.stop()


def test_digest_is_proved_against_the_plain_password() -> None:
    rig = Rig(ANN)
    assert rig.access.challenges == ("SHA-256", "MD5", "basic")
    assert rig.now(reader(user="ann", proof=lambda password: password == "right")) == ALLOWED
    assert rig.now(reader(user="ann", proof=lambda password: False)) is None
    rig.time.run(2.0)
    assert rig.verdicts[-1] == WRONG


def test_digest_is_offered_only_where_it_can_be_proved() -> None:
    assert Rig(ANN, HASHED).access.challenges == ("basic",)
    assert Rig(ANN, callback={"url": "http://a/"}).access.challenges == ("basic",)
    assert Rig(callback={"url": "http://a/"}).access.challenges == ("basic",)
    rig = Rig(HASHED)
    # It answers a challenge that it was not given: it is told again what it is asked for.
    assert rig.now(reader(user="hashed", proof=lambda password: True)) == NEEDED


# -- a service -----------------------------------------------------------------------------------


async def test_a_service_decides_what_the_users_do_not() -> None:
    async with receiver(204, 401, 401, 403) as peer:
        rig = Rig(ANN, callback={"url": peer.url})
        await rig.access.start()
        assert rig.now(reader(user="ann", password="right")) == ALLOWED
        assert peer.posts == []
        assert await rig.later(reader("other", user="ann", password="right")) == ALLOWED
        assert await rig.later(reader()) == NEEDED
        assert await rig.later(reader(user="bob", password="x")) == WRONG
        assert await rig.later(reader(token="x")) == DENIED
        assert [(post.json["user"], post.json["path"]) for post in peer.posts] == [
            *(("ann", "other"), ("", "live/cam"), ("bob", "live/cam"), ("", "live/cam")),
        ]
        # A user of the configuration with a wrong password is not for the service to judge.
        assert await rig.later(reader(user="ann", password="wrong")) == WRONG
        assert len(peer.posts) == 4
        await rig.access.stop()


async def test_with_a_service_alone_nothing_is_open_but_what_it_is_not_asked() -> None:
    async with receiver(401, 200) as peer:
        rig = Rig(callback={"url": peer.url})
        await rig.access.start()
        assert await rig.later(reader()) == NEEDED
        assert await rig.later(AccessRequest("publish", "cam", "rtsp", AWAY)) == ALLOWED
        assert rig.now(AccessRequest("metrics", "", "api", AWAY)) == ALLOWED
        assert rig.now(AccessRequest("api", "", "api", AWAY)) == CLOSED
        assert len(peer.posts) == 2
        await rig.access.stop()


async def test_a_service_that_hangs_keeps_nobody_else_waiting() -> None:
    async with bad_receiver(hang) as peer:
        rig = Rig(ANN, callback={"url": peer.url, "timeout": "300ms"})
        await rig.access.start()
        for _ in range(50):
            rig.ask(reader(user="bob", password="x"))
        assert rig.now(reader(user="ann", password="right")) == ALLOWED
        await rig.changes.until(lambda: len(rig.verdicts) == 51)
        assert set(rig.verdicts) == {ALLOWED, SERVICE_TIMEOUT}
        assert rig.access.figures().bans == 0  # its fault, not the peer's
        await rig.access.stop()


async def test_digest_is_not_passed_on() -> None:
    async with receiver() as peer:
        rig = Rig(callback={"url": peer.url})
        await rig.access.start()
        assert rig.now(reader(user="bob", proof=lambda password: True)) == NEEDED
        assert peer.posts == []
        await rig.access.stop()


# -- failures ------------------------------------------------------------------------------------


def test_a_failure_is_told_late_and_a_first_question_at_once() -> None:
    rig = Rig(ANN, penalties={"delay": "1500ms"})
    assert rig.now(reader()) == NEEDED
    for user in ("ann", "nobody"):  # nobody can tell which of them exists
        assert rig.now(reader(user=user, password="wrong")) is None
        rig.time.run(1.4)
        assert rig.verdicts == [NEEDED] * 1 + [WRONG] * (user == "nobody")
        rig.time.run(0.1)
        assert rig.verdicts[-1] == WRONG
    assert rig.now(reader(user="ann", password="right")) == ALLOWED


def test_events_say_who_failed_but_not_with_what() -> None:
    rig = Rig(ANN)
    admission = Admission(rig.events.append)
    admission.add(rig.access)
    verdicts: list[Verdict] = []
    admission.admit(reader(), verdicts.append)
    assert (verdicts, rig.events) == ([NEEDED], [])  # what every player does first is no event
    admission.admit(reader(user="ann", password="s3cret"), verdicts.append)
    admission.admit(reader(user="s3cret", password="x"), verdicts.append)
    admission.permit(AccessRequest("api", "", "api", AWAY, user="ann", password="s"), print)
    rig.time.run(5.0)
    denied = [event for event in rig.events if isinstance(event, AccessDenied)]
    assert [(each.action, each.user, each.reason) for each in denied] == [
        ("read", "ann", "credentials-wrong"),
        ("read", "", "credentials-wrong"),
        ("api", "ann", "credentials-wrong"),
    ]
    assert [event for event in rig.events if isinstance(event, ReaderRefused)] == [
        ReaderRefused("live/cam", "http-flv", AWAY, "credentials-wrong")
    ] * 2
    assert "s3cret" not in repr(rig.events)


def test_a_request_does_not_show_its_secrets() -> None:
    request = reader(user="ann", password="s3cret", token="s3cret", query="t=s3cret")
    assert "s3cret" not in repr(request)


def test_whoever_fails_again_and_again_is_banned_for_a_while() -> None:
    rig = Rig(ANN, penalties={"failures": 5, "window": "1m", "ban": "10m"})
    for _ in range(5):
        assert rig.now(reader(user="ann", password="guess")) is None
    assert rig.events[-1] == AddressBanned(AWAY, "too-many-failures", 5, 600.0)
    count = len(rig.events)
    assert rig.now(reader(user="ann", password="right")) == BANNED
    assert rig.now(reader()) == BANNED
    assert len(rig.events) == count  # a banned address makes no noise
    assert rig.now(reader(address="192.0.2.8", user="ann", password="right")) == ALLOWED
    rig.time.run(601.0)
    assert rig.verdicts.count(WRONG) == 5  # those who waited were answered
    assert rig.now(reader(user="ann", password="right")) == ALLOWED
    figures = rig.access.figures()
    assert (figures.bans, figures.banned) == (1, 0)
    assert figures.refused["read", "address-banned"] == 2


def test_a_ban_closes_what_is_open_to_anyone() -> None:
    everyone = {"name": "any", "permissions": [{"action": "read", "streams": "open"}]}
    rig = Rig(ANN, everyone, penalties={"failures": 1})
    assert rig.now(reader("open")) == ALLOWED
    rig.ask(reader(user="ann", password="guess"))
    assert rig.now(reader("open")) == BANNED


def test_an_ipv6_network_is_one_address() -> None:
    rig = Rig(ANN, penalties={"failures": 3})
    for host in range(3):
        rig.ask(reader(address=f"2001:db8::{host}", user="ann", password="guess"))
    assert rig.now(reader(address="2001:db8::ffff")) == BANNED
    assert rig.now(reader(address="2001:db8:0:1::1")) == NEEDED


def test_exempt_addresses_are_never_banned_but_wait_as_all() -> None:
    rig = Rig(ANN, penalties={"failures": 1})
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert rig.now(reader(address=address, user="ann", password="guess")) is None
        assert rig.now(reader(address=address)) == NEEDED
    assert rig.access.figures().bans == 0
    strict = Rig(ANN, penalties={"failures": 1, "exempt": []})
    strict.ask(reader(address="127.0.0.1", user="ann", password="guess"))
    assert strict.now(reader(address="127.0.0.1")) == BANNED


def test_a_hostile_client_gets_few_guesses_an_hour() -> None:
    """It guesses as fast as it is answered, on ten connections, for an hour of virtual time."""
    rig = Rig(ANN)
    guesses = [0, 0]  # judged, refused unseen
    end = rig.time.now() + 3600.0

    def guess() -> None:
        if rig.time.now() < end:
            request = reader(user="ann", password=f"guess-{guesses[0]}")
            rig.access(request, answered)

    def answered(verdict: Verdict) -> None:
        guesses[verdict is BANNED] += 1
        # A refusal at once is an answer, too: it comes back as soon as the network lets it.
        rig.time.call_later(0.2, guess)

    for _ in range(10):
        guess()
    rig.time.run(500.0)
    assert rig.access.figures().banned == 1
    rig.time.run(3100.0)
    # 20 failures, then ten minutes of ban: at most seven rounds.
    assert 100 <= guesses[0] <= 7 * 20
    assert guesses[1] > 100_000


def test_delayed_answers_are_bounded_and_none_is_lost() -> None:
    rig = Rig(ANN, penalties={"failures": 0})
    for number in range(MAX_DELAYED + 100):
        rig.ask(reader(address=f"10.0.{number >> 8}.{number & 255}", user="ann", password="no"))
    assert rig.access.figures().delayed == MAX_DELAYED
    assert rig.verdicts == [WRONG] * 100  # told at once: there is no room to hold them back
    rig.time.run(2.0)
    assert rig.verdicts == [WRONG] * (MAX_DELAYED + 100)
    assert rig.access.figures().delayed == 0


def test_100_000_addresses_fit() -> None:
    penalties = {"addresses": 1000, "failures": 2, "delay": "0"}
    section = AccessSection.model_validate({"users": [ANN], "penalties": penalties})
    access = Access(section, lambda event: None, scheduler=VirtualScheduler())
    wish = reader(user="ann", password="no")
    answers = [0]

    def answered(verdict: Verdict) -> None:
        answers[0] += 1

    before = sys.getallocatedblocks()
    for number in range(100_000):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        for _ in range(2 if number % 10 == 0 else 1):
            access(replace(wish, address=address), answered)
    blocks = sys.getallocatedblocks() - before  # of memory; to trace each would take five times
    assert answers == [110_000]
    assert blocks < 60_000  # both tables, and the addresses that were parsed last


async def test_whoever_tries_passwords_costs_few_checks() -> None:
    rig = Rig(HASHED, penalties={"failures": 0})
    for number in range(100):
        rig.ask(reader(user="hashed", password=f"guess-{number}"))
    assert rig.verdicts == [BUSY] * 92
    assert await_friend(rig)
    await rig.changes.until(lambda: rig.access.figures().delayed == 8)
    await rig.access.stop()


def await_friend(rig: Rig) -> bool:
    """Somebody from elsewhere is checked meanwhile."""
    return rig.now(reader(address="192.0.2.99", user="hashed", password="right")) is not BUSY


async def test_the_end_answers_all_who_wait() -> None:
    rig = Rig(ANN, HASHED)
    rig.ask(reader(user="ann", password="wrong"))
    rig.ask(reader(user="hashed", password="wrong"))
    await rig.access.stop()
    await asyncio.sleep(0)
    assert len(rig.verdicts) == 2
    assert set(rig.verdicts) <= {WRONG, STOPPING}
    rig.time.run(10.0)
    assert len(rig.verdicts) == 2
    assert rig.now(reader(user="ann", password="right")) == STOPPING


# -- views ---------------------------------------------------------------------------------------


def test_a_view_shows_what_may_be_read() -> None:
    everyone = {"name": "any", "permissions": [{"action": "read", "streams": "open"}]}
    rig = Rig(ANN, everyone)
    view = rig.survey(reader(""))
    assert [view.sees(name) for name in ("open", "live/cam", "x")] == [True, False, False]
    assert (view.may_log_in, view.sees_all, view.refusal) == (True, False, None)
    view = rig.survey(reader("", user="ann", password="right"))
    assert [view.sees(name) for name in ("open", "live/cam", "x")] == [True, True, False]
    assert not view.may_log_in
    assert Rig().survey(reader("")).sees_all


def test_a_view_is_no_way_to_guess_passwords() -> None:
    rig = Rig(ANN, penalties={"failures": 3})
    for user in ("ann", "bob", "ann"):
        rig.access.survey(reader("", user=user, password="guess"), rig.views.append)
    assert rig.views == []
    rig.time.run(2.0)
    assert [view.refusal for view in rig.views] == [WRONG] * 3
    assert not any(view.sees("live/cam") for view in rig.views)
    assert rig.survey(reader("")).refusal == BANNED


def test_what_a_service_would_allow_is_in_no_view() -> None:
    rig = Rig(callback={"url": "http://a/"})
    view = rig.survey(reader("", user="bob", password="x"))
    assert (view.sees("live/cam"), view.sees_all, view.may_log_in) == (False, False, False)


@given(
    st.sampled_from(["publish", "read", "playback", "api", "metrics", "fly", ""]),
    st.text(max_size=300),
    st.text(max_size=60),
    st.text(max_size=20) | st.just("ann"),
    st.text(max_size=20),
)
def test_whatever_is_asked_is_answered_once(
    action: str, stream: str, address: str, user: str, password: str
) -> None:
    rig = Rig(ANN)
    rig.ask(AccessRequest(action, stream, "x", address, user=user, password=password))
    rig.time.run(10.0)
    assert len(rig.verdicts) == 1
    if rig.verdicts[0].allowed:
        assert (action, user, password) == ("read", "ann", "right")


def test_a_wrong_secret_that_no_gate_sees_is_a_failure() -> None:
    """A passphrase of SRT, wrong on behalf of somebody who was let in."""
    rig = Rig(penalties={"failures": 3, "exempt": ["10.0.0.0/8"]})
    admission = Admission(rig.events.append)
    admission.failed(reader(), "srt-bad-secret")  # nobody listens
    admission.hear_failures(rig.access.blame)
    assert rig.now(reader()) == ALLOWED
    for _ in range(3):
        admission.failed(reader(), "srt-bad-secret")
        admission.failed(reader(address="10.0.0.1"), "srt-bad-secret")
    assert rig.now(reader()) == BANNED
    assert rig.now(reader(address="10.0.0.1")) == ALLOWED
    assert [event.reason for event in rig.events if isinstance(event, AccessDenied)] == (
        ["srt-bad-secret"] * 6
    )
    figures = rig.access.figures()
    assert (figures.refused["read", "srt-bad-secret"], figures.bans) == (6, 1)
