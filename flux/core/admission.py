"""Who may enter: each reader and publisher is asked for here before it touches a stream.

Gates are asked one after the other and the first refusal wins. A gate answers through a callback,
at once or later (an authorisation service), exactly once. Nothing here waits: a peer that leaves
meanwhile is simply not there any more when the answer comes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from media.events import ReaderRefused

READ, PUBLISH = "read", "publish"


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """What is known of somebody who wants to enter."""

    action: str  # read or publish
    stream: str
    protocol: str
    address: str  # without the port
    query: str = ""  # as it came, for those who decide
    user_agent: str = ""
    user: str = ""
    password: str = ""
    session: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer; `status` is the HTTP status that fits, `reason` a stable slug."""

    allowed: bool
    reason: str = ""
    status: int = 403


ALLOWED = Verdict(True)
Answer = Callable[[Verdict], None]
Gate = Callable[[AccessRequest, Answer], None]


class Admission:
    """The gates, in the order in which they were added."""

    def __init__(self, emit: Callable[[object], None]) -> None:
        self._emit = emit
        self._gates: list[Gate] = []

    def add(self, gate: Gate) -> None:
        """Ask this gate, too, after those before it."""
        self._gates.append(gate)

    def admit(self, request: AccessRequest, done: Answer) -> None:
        """Ask all gates; `done` is called once, possibly before this returns."""
        _Inquiry(tuple(self._gates), request, done, self._emit).ask(0)


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
            request = self._request
            self._emit(
                ReaderRefused(request.stream, request.protocol, request.address, verdict.reason)
            )
            self._done(verdict)

        self._gates[index](self._request, answer)
