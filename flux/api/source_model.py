"""What the API answers of a stream's sources, where there are several, and of its slate."""

from dataclasses import fields
from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from flux.telemetry.snapshot import SeatSnapshot, ServerSnapshot, SlateSnapshot


class Seat(BaseModel):
    """One of several sources of a stream; a `kind` of null is somebody who publishes by himself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: int
    kind: str | None
    url: str
    state: str
    reason: str
    since: datetime | None
    active: bool
    chosen: bool

    @classmethod
    def of(cls, place: int, seat: SeatSnapshot, server: ServerSnapshot) -> Self:
        """From a snapshot."""
        source = seat.source
        return cls(
            place=place,
            kind=source.kind or None,
            url=source.url,
            state=source.state,
            reason=source.reason,
            since=None if source.since is None else _utc(server.wall_time(source.since)),
            active=seat.is_active,
            chosen=seat.is_chosen,
        )


class Slate(BaseModel):
    """What a stream shows while its source is away."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slate: str
    state: Literal["off", "waiting", "making", "ready", "failed", "shown"]
    reason: str
    size_bytes: int
    shown: int

    @classmethod
    def of(cls, slate: SlateSnapshot) -> Self:
        """From a snapshot."""
        return cls.model_validate({each.name: getattr(slate, each.name) for each in fields(slate)})


def _utc(unix: float) -> datetime:
    return datetime.fromtimestamp(round(unix, 3), UTC)
