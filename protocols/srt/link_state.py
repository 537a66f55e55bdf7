"""How a link is doing, for those who go easy on it, or choose another one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from protocols.srt.parts import Parts
from protocols.srt.playout import Playout


@dataclass(slots=True)
class LinkState:
    """Packets, and monotonic seconds."""

    waiting_since: float | None  # the oldest packet that is not confirmed was given; None: all are
    confirmed: int
    given_up: int
    window: int  # room that the peer reports
    skipped: int  # that we missed for good
    is_full: bool  # the last packets found no room
    heard_at: float = 0.0  # when the peer was
    rtt_variance: float = 0.0  # seconds
    unconfirmed: int = 0  # packets that were given and are not confirmed

    @classmethod
    def of(cls, parts: Parts, heard_at: float) -> Self:
        """Of one connection."""
        sender, inbox = parts.sender, parts.inbox
        batch = sender.buffer.find(sender.acknowledged)
        return cls(
            None if batch is None else batch.sent_at,
            sender.count.confirmed,
            sender.count.dropped,
            int(sender.peer_window),
            inbox.skipped if isinstance(inbox, Playout) else 0,
            sender.wanted > 0,
            heard_at,
            parts.rtt.variance,
            sender.buffer.end - sender.acknowledged,
        )

    @classmethod
    def of_group(cls, members: Iterable[Self]) -> Self | None:
        """Of links that carry the same: what one of them has done is done."""
        states = list(members)
        if not states:
            return None
        waiting = [each.waiting_since for each in states]
        times = [since for since in waiting if since is not None]
        return cls(
            max(times) if len(times) == len(states) else None,
            sum(each.confirmed for each in states),
            min(each.given_up for each in states),
            max(each.window for each in states),
            states[0].skipped,
            all(each.is_full for each in states),
            max(each.heard_at for each in states),
            max(each.rtt_variance for each in states),
            min(each.unconfirmed for each in states),
        )
