"""Wrong passphrases and credentials over SRT count like wrong passwords: bans, codes, silence."""

import pytest

from config.access import AccessSection
from flux.bridges.srt.banned import ANSWERS, SIZE, SPAN, BannedCallers
from flux.bridges.srt.server import Passphrases
from flux.core.events import AccessDenied, AddressBanned
from flux.security.access import Access
from media.events import ReaderRefused
from protocols.srt.reject import Reject
from tests.support.datagrams import until
from tests.support.srt_stage import SrtStage
from tests.support.virtual import VirtualScheduler

SECRET, OTHER = "a-long-passphrase", "another-passphrase"
FAILURES = 3
BAN = 600.0
READ = {"action": ["read", "publish"]}


class Guarded(SrtStage):
    """A stage with the gate that bans; the ban's time is virtual."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.time = VirtualScheduler()
        section = AccessSection.model_validate(
            {
                "users": [
                    {"name": "ann", "password": "right", "permissions": [READ]},
                    {"name": "any", "permissions": [READ | {"streams": ["cam"]}]},
                ],
                "penalties": {"failures": FAILURES, "ban": "10m", "delay": "0s", "exempt": []},
            }
        )
        self.access = Access(section, self.events.append, scheduler=self.time)
        self.admission.add(self.access)
        self.admission.hear_failures(self.access.blame)
        self.passphrases["cam"] = Passphrases(publish=SECRET, read=SECRET)

    def events_of(self, kind: type) -> list[object]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.mark.parametrize("stream_id", ["publish:cam", "read:cam"])
async def test_wrong_passphrases_are_a_ban(stream_id: str) -> None:
    """Off (nobody blames them) the right one still opens."""
    async with Guarded() as stage:
        stage.declare("cam")
        for _ in range(FAILURES):
            assert await stage.refusal(stream_id, OTHER) == Reject.BAD_SECRET
        assert await stage.refusal("publish:cam", SECRET) == Reject.FORBIDDEN
        (ban,) = stage.events_of(AddressBanned)
        assert isinstance(ban, AddressBanned) and ban.address == "127.0.0.1"
        reasons = [event.reason for event in stage.events if isinstance(event, AccessDenied)]
        assert reasons == ["srt-bad-secret"] * FAILURES
        refused = [event.reason for event in stage.events if isinstance(event, ReaderRefused)]
        assert refused == ["srt-bad-secret"] * FAILURES, "a banned address makes no noise"
        figures = stage.access.figures()
        assert (figures.bans, figures.banned) == (1, 1)
        action = stream_id.partition(":")[0]
        assert figures.refused[action, "srt-bad-secret"] == FAILURES
        assert figures.refused["publish", "address-banned"] == 1
        stage.time.run(BAN + 1)
        assert not (await stage.connect("publish:cam", SECRET)).end


async def test_wrong_credentials_in_the_stream_id_count_with_them() -> None:
    async with Guarded() as stage:
        stage.declare("cam")
        assert await stage.refusal("publish:cam", OTHER) == Reject.BAD_SECRET
        for _ in range(FAILURES - 1):
            assert await stage.refusal("publish:live:ann:wrong") == Reject.UNAUTHORIZED
        assert await stage.refusal("publish:live:ann:right") == Reject.FORBIDDEN


@pytest.mark.parametrize(
    ("stream_id", "passphrase", "code"),
    [
        ("publish:cam", "", Reject.UNSECURE),  # no guess
        ("publish:live", "", Reject.UNAUTHORIZED),  # no credentials
        ("#!:{broken", "", Reject.BAD_REQUEST),
        ("read:cam/nobody", "", Reject.UNAUTHORIZED),
    ],
)
async def test_what_is_no_guess_bans_nobody(stream_id: str, passphrase: str, code: int) -> None:
    async with Guarded() as stage:
        stage.declare("cam")
        for _ in range(FAILURES + 1):
            assert await stage.refusal(stream_id, passphrase) == code
        assert stage.access.figures().bans == 0
        assert not (await stage.connect("publish:cam", SECRET)).end


async def test_who_goes_on_while_banned_hears_nothing_any_more() -> None:
    async with Guarded() as stage:
        stage.declare("cam")
        for _ in range(FAILURES):
            await stage.refusal("publish:cam", OTHER)
        for _ in range(ANSWERS):
            assert await stage.refusal("publish:cam", SECRET) == Reject.FORBIDDEN
        handler = stage.call("publish:cam", SECRET, connect_timeout=0.3)
        await until(lambda: handler.end is not None, "given up")
        assert handler.end == ("srt-timeout", Reject.TIMEOUT)
        counted = stage.bridge.refusals()
        assert counted["srt-banned"] == 1 and counted["srt-forbidden"] == ANSWERS
        refused = stage.access.figures().refused
        assert refused["publish", "address-banned"] == ANSWERS + 1


async def test_the_answer_to_a_wrong_passphrase_is_late() -> None:
    async with Guarded(failure_delay=0.2) as stage:
        stage.declare("cam")
        handler = stage.call("publish:cam", OTHER)
        await until(lambda: bool(stage.events_of(AccessDenied)), "counted")
        assert handler.end is None, "before it is answered"
        await until(lambda: handler.end is not None, "answered")


def test_answers_to_the_banned_are_bounded() -> None:
    callers = BannedCallers()
    assert [callers.is_answered("192.0.2.1", 5.0) for _ in range(20)].count(True) == ANSWERS
    assert callers.is_answered("192.0.2.2", 5.0)
    assert callers.is_answered("192.0.2.1", 5.0 + SPAN)
    for number in range(3 * SIZE):
        callers.is_answered(f"2001:db8::{number:x}", 70.0)
    assert len(callers) == SIZE
