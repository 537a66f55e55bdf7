"""The limits gate: refuses new readers where there are enough, and while the loop lags.

Under overload the ones who are in must not suffer for those who come, so new ones are told to come
back. All counts are taken where they are true: from the router's streams at the moment of asking.
"""

from collections.abc import Callable
from dataclasses import dataclass

from flux.core.admission import ALLOWED, READ, AccessRequest, Answer, Verdict
from media.router import Router

LAG_SECONDS = 3  # late in so many ticks in a row: one hiccup, such as starting a process, is none
LAG_HOLD = 2.0  # seconds without new lag before readers are let in again


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be used at most; 0 is no limit."""

    readers_per_stream: int = 0
    sessions_per_address: int = 0
    egress_bps: int = 0  # of all streams together, bits a second
    loop_lag: float = 0.1  # seconds


class LimitsGate:
    """A gate; `worst_lag` answers the worst lag of the loop since it was last asked."""

    def __init__(self, limits: Limits, router: Router, worst_lag: Callable[[], float]) -> None:
        self._limits = limits
        self._router = router
        self._worst_lag = worst_lag
        self._lagged_at: float | None = None
        self._late_ticks = 0
        self._egress_bps = 0.0
        self._sent: tuple[float, int] | None = None  # when, bytes so far

    def __call__(self, request: AccessRequest, answer: Answer) -> None:
        """Answer at once."""
        answer(self._judge(request) if request.action == READ else ALLOWED)

    def tick(self, now: float) -> None:
        """About once a second: how much goes out, and whether the loop keeps up."""
        is_late = self._limits.loop_lag > 0 and self._worst_lag() > self._limits.loop_lag
        self._late_ticks = self._late_ticks + 1 if is_late else 0
        if self._late_ticks >= LAG_SECONDS or (is_late and self._lagged_at is not None):
            self._lagged_at = now
        elif self._lagged_at is not None and now - self._lagged_at >= LAG_HOLD:
            self._lagged_at = None
        if not self._limits.egress_bps:
            return
        total = sum(
            stream.sent_bytes + sum(reader.sent_bytes for reader in stream.readers.values())
            for stream in self._router.streams()
        )
        if self._sent is not None and now > self._sent[0]:
            self._egress_bps = max(0, total - self._sent[1]) * 8 / (now - self._sent[0])
        self._sent = (now, total)

    def _judge(self, request: AccessRequest) -> Verdict:
        limits = self._limits
        if self._lagged_at is not None:
            return Verdict(False, "server-overloaded", 503)
        if limits.egress_bps and self._egress_bps >= limits.egress_bps:
            return Verdict(False, "egress-limit", 503)
        stream = self._router.find(request.stream)
        if stream is not None and limits.readers_per_stream:
            waiting = self._router.leases(request.stream)
            if max(waiting, len(stream.readers)) >= limits.readers_per_stream:
                return Verdict(False, "too-many-readers", 503)
        if limits.sessions_per_address:
            sessions = sum(
                reader.address == request.address
                for each in self._router.streams()
                for reader in each.readers.values()
            )
            if sessions >= limits.sessions_per_address:
                return Verdict(False, "too-many-sessions", 429)
        return ALLOWED
