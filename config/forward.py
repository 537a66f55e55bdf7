"""Where streams are sent to, and how a failing target is tried again."""

from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from config.quantities import DurationIn
from config.section import Section
from config.urls import ForwardUrl

MAX_TARGETS = 32  # of one stream


def _one_is_a_list(value: object) -> object:
    """One target may stand by itself, and nothing behind the key is no target."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else value if _is_many(value) else (value,)


def _is_many(value: object) -> bool:
    return isinstance(value, tuple | set | dict)


def _check_targets(targets: tuple[ForwardUrl, ...]) -> tuple[ForwardUrl, ...]:
    if len(targets) > MAX_TARGETS:
        raise ValueError(f"expected at most {MAX_TARGETS} targets")
    if len({target.reveal() for target in targets}) != len(targets):
        raise ValueError("expected each target once")
    return targets


# What documents say: a list, one target by itself, or nothing.
_Targets = Annotated[
    tuple[ForwardUrl, ...], Field(max_length=MAX_TARGETS, json_schema_extra={"uniqueItems": True})
]

ForwardList = Annotated[
    tuple[ForwardUrl, ...],
    BeforeValidator(_one_is_a_list, json_schema_input_type=_Targets | ForwardUrl | None),
    AfterValidator(_check_targets),
]


class ForwardSection(Section):
    """How targets that fail are tried again."""

    retry_first: Annotated[float, DurationIn("10ms", "1h")] = 1.0
    """Wait before the first new attempt; it doubles with each, with some jitter."""
    retry_longest: Annotated[float, DurationIn("10ms", "1d")] = 30.0
    """Longest wait between attempts."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.retry_longest < self.retry_first:
            raise ValueError("expected retry_longest to be at least retry_first")
        return self
