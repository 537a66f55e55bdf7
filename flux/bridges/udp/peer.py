"""Whose datagrams are taken: one sender's at a time."""

from flux.bridges.udp.plan import Senders
from flux.net.resolve import host_of
from flux.net.udp import Address

SILENCE = 1.0  # seconds of the present sender, after which another one is taken


class PeerLock:
    """The sender that one port listens to: the first that comes and is allowed.

    Another one is taken once the present one has been silent: a sender that was started anew has
    another port. Whoever owns the lock compares `address` and moves `heard_at` itself, per batch.
    """

    __slots__ = ("_senders", "address", "changes", "foreign", "heard_at")

    def __init__(self, senders: Senders) -> None:
        self._senders = senders
        self.address: Address | None = None
        self.heard_at = 0.0
        self.changes = 0  # of the sender, after silence
        self.foreign = 0  # datagrams of others

    def is_allowed(self, address: Address) -> bool:
        """Whether this host may be heard at all."""
        return self._senders.has(host_of(address))

    def take(self, address: Address, count: int, now: float) -> bool:
        """Whether `count` datagrams of a sender that is not the present one are taken."""
        is_free = self.address is None or now - self.heard_at >= SILENCE
        if not is_free or not self.is_allowed(address):
            self.foreign += count
            return False
        if self.address is not None:
            self.changes += 1
        self.address = address
        self.heard_at = now
        return True

    def is_same_host(self, address: Address) -> bool:
        """Whether RTCP from this address belongs to the present sender, or may."""
        if self.address is None:
            return self.is_allowed(address)
        return bool(address[0] == self.address[0])
