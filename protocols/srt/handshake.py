"""What all handshake machines are to their owner.

A caller, a rendezvous and a listener are driven alike: datagrams and time go in, runs and events
come out. `Established` carries a `HandshakeResult`, and the connection is made of it. The machine
lives on beside its connection, because the peer may not have heard its last word: datagrams that
`packet.is_handshake` still go to it. Before `Established` all datagrams for the socket id do; what
came too early is handed on in `HandshakeResult.early`.

| machine | how many | verbs besides |
|---|---|---|
| `caller.Caller(options, peer, socket_id, random, now)` | one per connection | `close` |
| `rendezvous.Rendezvous(options, peer, socket_id, random, now)` | one per connection | `close` |
| `listener.Listener(options, random, now)` | one per port | `accept`, `reject`, `forget` |

A listener gets what is for socket id 0, and handshakes for ids that nobody has.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from protocols.srt.events import HandshakeEvent
from protocols.srt.packet import Address, Run

RandomBytes = Callable[[int], bytes]  # so many bytes; `os.urandom` outside of tests

SOCKET_ID_MASK = 0x3FFFFFFF  # bit 31 is never set, bit 30 is for groups


class HandshakeMachine(Protocol):
    """The verbs that all have."""

    def receive_datagrams(self, datagrams: Sequence[bytes], address: Address, now: float) -> None:
        """Datagrams of one sender in order. Nothing is raised, whatever they are."""

    def provide_key(self, handle: int, key: bytes, now: float) -> None:
        """The answer to `KeyNeeded`; one that is no longer wanted is let go."""

    def handle_timer(self, now: float) -> None:
        """To be called when `get_timer` has come."""

    def get_timer(self) -> float | None:
        """When `handle_timer` is wanted; None: nothing is waited for."""

    def datagrams_to_send(self, now: float) -> list[Run]:
        """What is to be sent now; timestamps are of `now`."""

    def next_event(self) -> HandshakeEvent | None:
        """The oldest event that was not taken yet."""


def draw_socket_id(random: RandomBytes) -> int:
    """A socket id for a new connection; the owner looks whether it is taken."""
    return int.from_bytes(random(4), "big") & SOCKET_ID_MASK or 1
