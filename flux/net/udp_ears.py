"""A port that rests: nothing is read for a while, but for what may not wait.

What may not wait comes to a socket of its own, where the system sorts it out (`udp_split`), and
ends a rest. It is heard behind all that came before.
"""

import asyncio
from collections.abc import Callable, Sequence

from flux.net.gate import Gate
from flux.net.udp import Address, SharedUdpSocket
from flux.net.udp_hearing import Heard

URGENT_BUFFER_BYTES = 1 << 20


class Ears:
    """Public: `is_split`, whether what may not wait is heard in a long rest."""

    __slots__ = ("_gate", "_sock", "_urgent", "_urgent_gate", "is_split")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: SharedUdpSocket,
        on_readable: Callable[[], object],
        *,
        flag: int,
        patient: Sequence[int],
    ) -> None:
        """Take over the socket; nobody listens yet. `flag`, `patient`: see `udp_split`."""
        self._sock = sock
        self._gate = Gate(loop, sock.fileno(), on_readable)
        self._urgent = sock.split(flag, patient, URGENT_BUFFER_BYTES)
        self._urgent_gate: Gate | None = None
        if self._urgent is not None:
            self._urgent_gate = self._gate.beside(self._urgent.fileno())
        self.is_split = self._urgent is not None

    @property
    def port(self) -> int:
        """The local port."""
        return self._sock.port

    @property
    def room(self) -> int:
        """Datagrams that may wait."""
        return self._sock.room

    @property
    def is_clamped(self) -> bool:
        """Whether the kernel gave less receive buffer than asked."""
        return self._sock.is_clamped

    @property
    def is_resting(self) -> bool:
        """Whether only what may not wait is heard, if anything is."""
        return not self._gate.is_open

    @property
    def hears_urgent(self) -> bool:
        """Whether what may not wait is heard."""
        return self._urgent_gate is not None and self._urgent_gate.is_open

    @property
    def has_more(self) -> bool:
        """Whether more has come than was taken the last time."""
        return self._sock.has_more

    @property
    def errors(self) -> int:
        """Errors of the system so far."""
        return self._sock.errors + (self._urgent.errors if self._urgent is not None else 0)

    def watch(self) -> None:
        """Hear whatever comes."""
        self._gate.open()
        if self._urgent_gate is not None:
            self._urgent_gate.open()

    def rest(self, *, hears_urgent: bool) -> None:
        """Hear what may not wait, or nothing at all."""
        self._gate.shut()
        if self._urgent_gate is None:
            return
        if hears_urgent:
            self._urgent_gate.open()
        else:
            self._urgent_gate.shut()

    def hear(self, now: float, most_bytes: int, *, is_woken: bool) -> list[Heard]:
        """What has come, some `most_bytes` of it; `is_woken`: the loop says so."""
        heard = self._sock.hear(now, most_bytes)
        urgent, gate = self._urgent, self._urgent_gate
        if urgent is None or gate is None or self.has_more:
            return heard  # the end of a connection must not come before its last packets
        if is_woken or not gate.is_open:
            heard += urgent.hear(now, most_bytes)
        return heard

    def unreachable(self) -> list[Address]:
        """Whom the network has called unreachable since."""
        found = self._sock.unreachable()
        if self._urgent is not None:  # it is chance whom the kernel tells
            found += self._urgent.unreachable()
        return found

    def close(self) -> None:
        """Close the sockets."""
        if self._urgent is not None and self._urgent_gate is not None:
            self._urgent_gate.close()
            self._urgent.close()
        self._gate.close()
        self._sock.close()
