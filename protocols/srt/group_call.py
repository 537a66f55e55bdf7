"""Calling with a group: one link to each place, and again where a link was lost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from protocols.srt.group_link import GroupLink
from protocols.srt.handshake import RandomBytes
from protocols.srt.link import Link, LinkHandler
from protocols.srt.options import GroupOffer, GroupType, Options
from protocols.srt.packet import GROUP_ID_FLAG, SEQUENCE_MASK, Address
from protocols.srt.timed import Timed

RETRY_AFTER = 2.0  # seconds between the loss of a link and the next call
MAX_LINKS = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where one link goes."""

    peer: Address
    weight: int = 0  # of a backup link: the greatest is used first


class Dialer(Protocol):
    """What is needed of the endpoint."""

    def call(
        self,
        peer: Address,
        options: Options,
        handler: LinkHandler,
        sequence: int | None = None,
        started_at: float | None = None,
    ) -> Link:
        """Call a listener."""

    def rearm(self, part: Timed, at: float) -> None:
        """Call `handle_timer` then."""

    def now(self) -> float:
        """The time."""


class GroupCall:
    """The calling side of a group. Public: `group`, what the application holds."""

    def __init__(
        self,
        dialer: Dialer,
        places: Sequence[Place],
        kind: GroupType,
        options: Options,
        handler: LinkHandler,
        random: RandomBytes,
    ) -> None:
        """Begin to call all places; those beyond `MAX_LINKS` are left out."""
        self._dialer = dialer
        self._options = options
        self._sequence = int.from_bytes(random(4), "big") & SEQUENCE_MASK
        self._started_at = dialer.now()  # timestamps of all links count from here
        self._waiting: dict[Place, float] = {}  # until they are called again
        self._called: dict[int, Place] = {}  # by socket id
        group_id = int.from_bytes(random(4), "big") & (GROUP_ID_FLAG - 1) | GROUP_ID_FLAG
        self.group = GroupLink(dialer, group_id, kind, options, handler, self._lost)
        for place in places[:MAX_LINKS]:
            self._call(place)

    def handle_timer(self, at: float, now: float) -> bool:
        """Call again those whose time has come."""
        del at
        if self.group.end:
            return False
        due = [place for place, when in self._waiting.items() if when <= now]
        for place in due:
            del self._waiting[place]
            self._call(place)
        return bool(due)

    def flush(self, now: float) -> None:
        """There is nothing more to do."""

    def _call(self, place: Place) -> None:
        group = self.group
        offer = GroupOffer(group.group_id, group.kind, place.weight)
        sequence = group.first_sequence
        link = self._dialer.call(
            place.peer,
            replace(self._options, group=offer),
            group.member(place.weight),
            self._sequence if sequence is None else sequence,
            self._started_at,
        )
        self._called[link.socket_id] = place

    def _lost(self, link: Link) -> bool:
        """A link is closed; whether the group is to go on without any."""
        place = self._called.pop(link.socket_id, None)
        if place is None or self.group.end or self.group.result is None:
            return bool(self._called)  # the others may still be let in
        when = self._dialer.now() + RETRY_AFTER
        self._waiting[place] = when
        self._dialer.rearm(self, when)
        return False
