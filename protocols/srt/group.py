"""Groups, draft section 3.2.1.4: several links that carry one stream.

All links of a group number packets and messages alike, and they share one inbox: whatever link
brings a packet first, it is played once and in order, and a link does not ask for what another one
has brought. Sending is of two kinds.

Broadcast: each packet goes over each link.

Backup: packets go over one link, the active one with the greatest weight; the others are idle, and
their keepalives tell that they are there.

    idle    --no active link is stable, or this one has a greater weight than any--> fresh
    fresh   --the peer has acknowledged something that was sent here--> stable
    stable  --nothing heard for too long while something is not acknowledged--> unstable
    unstable --something acknowledged again--> stable, but for a while not the only one
    stable  --another stable link has a greater weight--> idle

Too long is 2 RTT + 4 RTTVAR, at least 60 ms, at most the latency; for a fresh link it is the
latency. What was sent and not acknowledged by any link goes over a link that becomes active once
more, with its numbers and its time.

A link that comes later, or was idle, jumps to the group's present number.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from flux.base.serial import add, distance
from protocols.srt.link_state import LinkState
from protocols.srt.options import GroupType
from protocols.srt.packet import MAX_MESSAGE, SEQUENCE_BITS

TICK = 0.01  # seconds between two looks at the links, while something is sent
MIN_STABILITY = 0.06  # seconds
PROBE_TIME = 0.05  # seconds more for a fresh link
WARY_SHARE = 4.0  # latencies that a recovered link is not trusted alone
MAX_KEPT = 8192  # packets that may have to be sent again
MAX_AGE = 1.0  # seconds beyond the latency, after which nobody wants them
DEFAULT_RTT = 0.1


class GroupLink(Protocol):
    """What is used of `connection.Connection`."""

    @property
    def next_sequence(self) -> int:
        """Of the next packet."""

    @property
    def acknowledged_sequence(self) -> int:
        """What the peer has everything before."""

    @property
    def state(self) -> LinkState:
        """How it is doing: some packets are confirmed, some given up."""

    @property
    def rtt(self) -> float:
        """Seconds."""

    @property
    def is_closed(self) -> bool:
        """Whether it is of no use any more."""

    def jump(self, sequence: int, message: int) -> None:
        """The next packet has these numbers."""

    def send(self, payloads: Sequence[bytes], now: float, sent_at: float | None = None) -> int:
        """Send; how many were taken."""


class MemberState(IntEnum):
    """See the table above; in a broadcast group all are STABLE."""

    IDLE = 0
    FRESH = 1
    STABLE = 2
    UNSTABLE = 3


@dataclass(slots=True, eq=False)
class Member:
    """One link in the group."""

    link: GroupLink
    weight: int
    state: MemberState
    since: float  # of the state
    waits_since: float | None = None  # something is not acknowledged
    confirmed: int = 0  # packets, as last seen
    wary_until: float = 0.0

    @property
    def is_active(self) -> bool:
        """Whether packets go over it."""
        return self.state is not MemberState.IDLE


@dataclass(frozen=True, slots=True)
class _Sent:
    """One packet that may have to be sent again."""

    sequence: int
    message: int
    payload: bytes
    sent_at: float


class GroupSender:
    """Sends over the links of a group.

    Public: `next_sequence`, `next_message`; counters `activations`, `repeated` packets.
    """

    def __init__(self, kind: GroupType, first_sequence: int, latency: float) -> None:
        """`latency` is the peer's, in seconds."""
        self.kind = kind
        self.next_sequence = first_sequence
        self.next_message = 1
        self._latency = latency
        self._members: dict[int, Member] = {}
        self._kept: deque[_Sent] = deque(maxlen=MAX_KEPT)
        self._looked_at = 0.0
        self.activations = 0
        self.repeated = 0

    @property
    def members(self) -> tuple[Member, ...]:
        """All links."""
        return tuple(self._members.values())

    def join(self, key: int, link: GroupLink, weight: int, now: float) -> None:
        """A link is connected."""
        is_backup = self.kind is GroupType.BACKUP
        state = MemberState.IDLE if is_backup else MemberState.STABLE
        member = Member(link, weight, state, now, confirmed=link.state.confirmed)
        self._members[key] = member
        if is_backup:
            self._look(now)

    def leave(self, key: int, now: float) -> None:
        """A link is gone."""
        if self._members.pop(key, None) is not None and self.kind is GroupType.BACKUP:
            self._look(now)

    def send(self, payloads: Sequence[bytes], now: float) -> int:
        """Send payloads, one packet each; how many some link took."""
        if self.kind is GroupType.BACKUP:
            if now - self._looked_at >= TICK:
                self._look(now)
            self._keep(payloads, now)
        taken = 0
        for member in self._members.values():
            if member.is_active:
                taken = max(taken, self._send(member, payloads, now))
        count = len(payloads)
        self.next_sequence = add(self.next_sequence, count, SEQUENCE_BITS)
        self.next_message = following(self.next_message, count)
        return taken

    def get_timer(self) -> float | None:
        """When `handle_timer` is wanted."""
        if self.kind is not GroupType.BACKUP or not self._members or not self._is_waiting():
            return None
        return self._looked_at + TICK

    def handle_timer(self, now: float) -> None:
        """Look at the links."""
        if self.kind is GroupType.BACKUP:
            self._look(now)

    # -- inside ------------------------------------------------------------------------------

    def _send(self, member: Member, payloads: Sequence[bytes], now: float) -> int:
        link = member.link
        if link.is_closed:
            return 0
        if link.next_sequence != self.next_sequence:
            link.jump(self.next_sequence, self.next_message)
        taken = link.send(payloads, now, now)
        if taken and member.waits_since is None:
            member.waits_since = now
        return taken

    def _keep(self, payloads: Sequence[bytes], now: float) -> None:
        """Remember packets until they are acknowledged by some link."""
        sequence, message = self.next_sequence, self.next_message
        for index, payload in enumerate(payloads):
            number = add(sequence, index, SEQUENCE_BITS)
            self._kept.append(_Sent(number, following(message, index), payload, now))

    def _is_waiting(self) -> bool:
        """Whether something is not acknowledged by any link that it went over."""
        return any(member.waits_since is not None for member in self._members.values())

    def _look(self, now: float) -> None:
        """Judge each link, then choose those that are active."""
        self._looked_at = now
        for member in self._members.values():
            self._judge(member, now)
        self._forget_acknowledged()
        usable = [each for each in self._members.values() if not each.link.is_closed]
        stable = [each for each in usable if each.state is MemberState.STABLE]
        trusted = [each for each in stable if each.wary_until <= now]
        fresh = any(each.state is MemberState.FRESH for each in usable)
        idle = [each for each in usable if each.state is MemberState.IDLE]
        if idle and not fresh:
            best = max(idle, key=rank)
            heaviest = max((each.weight for each in usable if each.is_active), default=-1)
            if not trusted or best.weight > heaviest:
                self._activate(best, now)
        if len(trusted) > 1:
            keep = max(trusted, key=rank)
            for member in stable:
                if member is not keep and rank(member) < rank(keep):
                    self._change(member, MemberState.IDLE, now)

    def _judge(self, member: Member, now: float) -> None:
        """Move one link between fresh, stable and unstable."""
        if not member.is_active:
            return
        link = member.link
        link_state = link.state
        confirmed = link_state.confirmed
        if confirmed != member.confirmed:
            member.confirmed = confirmed
            is_done = link.acknowledged_sequence == link.next_sequence
            member.waits_since = None if is_done else now
            if member.state is MemberState.UNSTABLE:
                member.wary_until = now + WARY_SHARE * self._latency
            if member.state is not MemberState.STABLE:
                self._change(member, MemberState.STABLE, now)
            return
        if member.waits_since is None:
            return
        silent = now - max(member.waits_since, link_state.heard_at)
        if member.state is MemberState.FRESH:
            if now - member.since > max(MIN_STABILITY, self._latency) + PROBE_TIME:
                self._change(member, MemberState.UNSTABLE, now)
        elif member.state is MemberState.STABLE and silent > self._patience(link):
            self._change(member, MemberState.UNSTABLE, now)

    def _patience(self, link: GroupLink) -> float:
        """Seconds of silence that are no reason to worry."""
        wanted = 2 * (link.rtt or DEFAULT_RTT) + 4 * link.state.rtt_variance
        return min(max(wanted, MIN_STABILITY), max(self._latency, MIN_STABILITY))

    def _activate(self, member: Member, now: float) -> None:
        """Let packets go over a link, those first that nobody has acknowledged."""
        self.activations += 1
        self._change(member, MemberState.FRESH, now)
        link = member.link
        member.confirmed = link.state.confirmed
        kept = self._kept
        if not kept:
            return
        link.jump(kept[0].sequence, kept[0].message)
        member.confirmed = link.state.confirmed
        member.waits_since = now
        for sent in kept:
            if not link.send([sent.payload], now, sent.sent_at):
                break
            self.repeated += 1

    def _forget_acknowledged(self) -> None:
        """Drop what some link's peer has: the peer is one and the same."""
        kept = self._kept
        active = [each.link for each in self._members.values() if each.is_active]
        marks = [link.acknowledged_sequence for link in active]
        oldest = self._looked_at - MAX_AGE - self._latency
        while kept and (
            kept[0].sent_at < oldest
            or any(distance(kept[0].sequence, mark, SEQUENCE_BITS) < 0 for mark in marks)
        ):
            kept.popleft()

    def _change(self, member: Member, state: MemberState, now: float) -> None:
        member.state = state
        member.since = now
        if state is MemberState.IDLE:
            member.waits_since = None


def rank(member: Member) -> tuple[int, float]:
    """Which link is better: by weight, then by round trip."""
    return member.weight, -member.link.rtt


def following(message: int, count: int) -> int:
    """The message number `count` after this one; 0 is left out."""
    return (message - 1 + count) % MAX_MESSAGE + 1
