"""What the API answers of the targets that a stream is sent to."""

from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel, ConfigDict

from flux.core.forward import ForwardSnapshot


class ForwardTarget(BaseModel):
    """One target of a stream; its URL without credentials, times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    target: str
    state: str
    reason: str
    since: datetime | None
    attempts: int
    sent_bytes: int
    dropped: int
    lost: int
    round_trip: float | None

    @classmethod
    def of(cls, forward: ForwardSnapshot) -> Self:
        """From a snapshot."""
        trip = forward.round_trip
        return cls(
            id=forward.id,
            target=forward.target,
            state=forward.state,
            reason=forward.reason,
            since=datetime.fromtimestamp(forward.since, UTC) if forward.since else None,
            attempts=forward.attempts,
            sent_bytes=forward.sent_bytes,
            dropped=forward.dropped,
            lost=forward.lost,
            round_trip=round(trip, 6) if trip is not None else None,
        )
