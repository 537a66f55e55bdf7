"""Who may enter: each reader and publisher is asked for here before it touches a stream.

Gates are asked one after the other and the first refusal wins: bans and users (flux/security), the
authorize hook, the limits. A gate answers through a callback, at once or later (an authorisation
service), exactly once. Nothing here waits: a peer that leaves meanwhile is simply not there any
more when the answer comes.

The limits count seats. Who wants none (a page, the admin API) is judged by the other gates alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from media.events import ReaderRefused

TOKEN_KEYS = ("token", "jwt")  # query fields of who can send no headers
READ, PUBLISH, PLAYBACK = "read", "publish", "playback"
API, METRICS = "api", "metrics"
STREAM_ACTIONS = frozenset({READ, PUBLISH, PLAYBACK})  # the others are of no stream


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """What is known of somebody who wants to enter; what may be secret is not in its `repr`."""

    action: str  # read, publish, playback, api, metrics
    stream: str  # empty where the action is of none
    protocol: str
    address: str  # without the port
    query: str = field(default="", repr=False)  # as it came, for those who decide
    user_agent: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    session: str = ""
    token: str = field(default="", repr=False)  # of a Bearer header or of the query
    # Digest: whether the client has proved that it knows this plain password.
    proof: Callable[[str], bool] | None = field(default=None, repr=False)

    @property
    def has_credentials(self) -> bool:
        """Whether it says who it is, rightly or not."""
        return bool(self.user or self.password or self.token) or self.proof is not None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer; `status` is the HTTP status that fits, `reason` a stable slug.

    401 asks for credentials. `is_quiet` refusals are no event: the first request of a client that
    waits to be asked, and whatever a banned address still sends.
    """

    allowed: bool
    reason: str = ""
    status: int = 403
    is_quiet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessFigures:
    """What flux/security counts: counters since the server began, and what is the case now."""

    refused: Mapping[tuple[str, str], int] = field(default_factory=dict)  # by action, reason
    bans: int = 0
    banned: int = 0  # addresses, now
    password_checks: int = 0  # of hashes
    delayed: int = 0  # answers that wait, now


ALLOWED = Verdict(True)
Answer = Callable[[Verdict], None]
Gate = Callable[[AccessRequest, Answer], None]
Blame = Callable[[AccessRequest, str], None]  # who, and the reason of the refusal


def admit_all(request: AccessRequest, answer: Answer) -> None:
    """The gate of a server without gates."""
    del request
    answer(ALLOWED)


class Admission:
    """The gates, in the order in which they were added."""

    def __init__(self, emit: Callable[[object], None]) -> None:
        self._emit = emit
        self._gates: tuple[Gate, ...] = ()
        self._limits: tuple[Gate, ...] = ()
        self._blames: tuple[Blame, ...] = ()

    def add(self, gate: Gate) -> None:
        """Ask this gate, too, after those before it."""
        self._gates += (gate,)

    def add_limit(self, gate: Gate) -> None:
        """Ask this gate, too, after all others, and only those who want a seat."""
        self._limits += (gate,)

    def hear_failures(self, blame: Blame) -> None:
        """Tell this of wrong secrets that no gate gets to see."""
        self._blames += (blame,)

    def failed(self, request: AccessRequest, reason: str) -> None:
        """Who was let in by all gates has shown a wrong secret all the same: a passphrase."""
        for blame in self._blames:
            blame(request, reason)

    def admit(self, request: AccessRequest, done: Answer) -> None:
        """Ask all gates; `done` is called once, possibly before this returns."""
        _Inquiry(self._gates + self._limits, request, done, self._emit).ask(0)

    def permit(self, request: AccessRequest, done: Answer) -> None:
        """Ask all gates but the limits, for somebody who takes no seat."""
        _Inquiry(self._gates, request, done, self._emit).ask(0)


class _Inquiry:
    """One request on its way through the gates."""

    __slots__ = ("_answered", "_done", "_emit", "_gates", "_request")

    def __init__(
        self,
        gates: tuple[Gate, ...],
        request: AccessRequest,
        done: Answer,
        emit: Callable[[object], None],
    ) -> None:
        self._gates = gates
        self._request = request
        self._done = done
        self._emit = emit
        self._answered = -1  # the last gate that has answered; a second answer changes nothing

    def ask(self, index: int) -> None:
        """Ask gate `index`, or let the request in behind the last one."""
        if index == len(self._gates):
            self._done(ALLOWED)
            return

        def answer(verdict: Verdict) -> None:
            if self._answered >= index:
                return
            self._answered = index
            if verdict.allowed:
                self.ask(index + 1)
                return
            self._tell(verdict)
            self._done(verdict)

        self._gates[index](self._request, answer)

    def _tell(self, verdict: Verdict) -> None:
        request = self._request
        if not verdict.is_quiet and request.action in STREAM_ACTIONS:
            self._emit(
                ReaderRefused(request.stream, request.protocol, request.address, verdict.reason)
            )
