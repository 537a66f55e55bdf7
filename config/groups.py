"""Groups of streams in the configuration: several qualities of one picture under one name."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from config.hls import HlsStreamSection
from config.names import check_stream_name
from config.section import Section, nothing_is_empty

MOST_STREAMS = 16

GroupName = Annotated[str, AfterValidator(check_stream_name)]


def _without_repeats(streams: tuple[str, ...]) -> tuple[str, ...]:
    for name in streams:
        if streams.count(name) > 1:
            raise ValueError(f"expected each stream once, {name!r} is there twice")
    return streams


Streams = Annotated[
    tuple[GroupName, ...],
    Field(min_length=1, max_length=MOST_STREAMS, strict=False),
    AfterValidator(_without_repeats),
]


class GroupSection(Section):
    """Several streams of one picture: an HLS playlist from which players choose a quality."""

    streams: Streams
    """The streams, by name; all that is configured or published may be one."""
    order: Literal["best", "configured"] = "best"
    """What players are offered first: the largest picture, or as the streams are written."""
    hls: Annotated[
        HlsStreamSection,
        BeforeValidator(nothing_is_empty, json_schema_input_type=HlsStreamSection | None),
    ] = HlsStreamSection()
    """HLS of this group, where it is not as `hls` has it."""


def check_groups(groups: Mapping[str, GroupSection], streams: Iterable[str]) -> None:
    """Raise `ValueError` where a group has a stream's name, or another group in it."""
    taken = set(streams)
    for name, group in groups.items():
        if name in taken:
            raise ValueError(f"groups.{name}: expected a name that no stream has")
        for member in group.streams:
            if member in groups:
                raise ValueError(f"groups.{name}: expected streams, {member!r} is a group")
