"""Two SRT connections in a simulated network, agreed on without handshake; a source, a log."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from struct import Struct
from typing import Any

from protocols.srt.connection import Connection
from protocols.srt.events import ConnectionClosed, DataReceived, SendDropped, SendRoom
from protocols.srt.options import Options
from protocols.srt.result import HandshakeResult, Role, Secrets
from tests.support.simnet import Address, Link, OffClock, Run, SimNet, Wire

CALLER = ("198.18.0.1", 4001)
LISTENER = ("198.18.0.2", 4002)
NUMBER = Struct("!I")
FLAGS = 0xBF


def results(
    net: SimNet,
    options: Options,
    *,
    transit: float = 0.0,
    first: int = 1000,
    back: int = 5000,
    started_at: float | None = None,
    secrets: Secrets | None = None,
    packet_filter: str = "",
    rtt: float | None = None,
    flags: int = FLAGS,
) -> tuple[HandshakeResult, HandshakeResult]:
    """What both sides agreed on: the caller's, the listener's. `transit`: of the handshake."""
    start = net.now if started_at is None else started_at
    caller = HandshakeResult(
        role=Role.CALLER,
        peer=LISTENER,
        socket_id=101,
        peer_socket_id=202,
        send_sequence=first,
        receive_sequence=back,
        mode=options.mode,
        receive_latency_ms=options.receive_latency_ms,
        send_latency_ms=options.receive_latency_ms,
        peer_version=0x010505,
        peer_flags=flags,
        mtu=options.mtu,
        peer_window=options.window_packets,
        congestion=options.congestion_name,
        started_at=start,
        peer_started_at=start + transit,
        established_at=net.now,
        rtt=rtt,
        filter=packet_filter,
        secrets=secrets or Secrets(),
    )
    listener = replace(
        caller,
        role=Role.LISTENER,
        peer=CALLER,
        socket_id=202,
        peer_socket_id=101,
        send_sequence=back,
        receive_sequence=first,
    )
    return caller, listener


@dataclass(slots=True)
class Arrival:
    """One payload that was handed out."""

    at: float
    number: int
    lost: int


class Door:
    """Stands before a connection: which numbers of the wire came, and when they first did."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.opened: dict[int, float] = {}

    def receive_datagrams(self, datagrams: Sequence[bytes], address: Address, now: float) -> None:
        """See `Machine`."""
        for datagram in datagrams:
            if not datagram[0] & 0x80:
                self.opened.setdefault(int.from_bytes(datagram[:4], "big"), now)
        self._connection.receive_datagrams(datagrams, address, now)

    def handle_timer(self, now: float) -> None:
        """See `Machine`."""
        self._connection.handle_timer(now)

    def get_timer(self) -> float | None:
        """See `Machine`."""
        return self._connection.get_timer()

    def datagrams_to_send(self, now: float) -> list[Run]:
        """See `Machine`."""
        return self._connection.datagrams_to_send(now)


class Log:
    """Takes a connection's events."""

    def __init__(self, connection: Connection, *, has_numbers: bool = True) -> None:
        self.connection = connection
        self.has_numbers = has_numbers
        self.arrivals: list[Arrival] = []
        self.payloads: list[bytes] = []
        self.keeps_payloads = not has_numbers
        self.lost = 0
        self.dropped = 0
        self.rooms = 0
        self.closed: ConnectionClosed | None = None
        self.closed_at = 0.0
        self.others: list[Any] = []

    def take(self, now: float) -> None:
        """All events so far."""
        while (event := self.connection.next_event()) is not None:
            if isinstance(event, DataReceived):
                self.lost += event.lost
                if self.keeps_payloads:
                    self.payloads += event.payloads
                if self.has_numbers:
                    lost = event.lost
                    for payload in event.payloads:
                        (number,) = NUMBER.unpack_from(payload)
                        self.arrivals.append(Arrival(now, number, lost))
                        lost = 0
            elif isinstance(event, SendDropped):
                self.dropped += event.packets
            elif isinstance(event, SendRoom):
                self.rooms += 1
            elif isinstance(event, ConnectionClosed):
                self.closed = event
                self.closed_at = now
            else:
                self.others.append(event)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the payloads, as they were handed out."""
        return [arrival.number for arrival in self.arrivals]


class Pair:
    """A caller that sends and a listener that receives (it may send as well).

    `skew`: how much faster the caller's clock runs. `sent_at`: when each payload was given.
    """

    def __init__(
        self,
        link: Link,
        back: Link | None = None,
        *,
        seed: int = 1,
        options: Options | None = None,
        peer_options: Options | None = None,
        coalesce: float = 0.0,
        has_numbers: bool = True,
        skew: float = 0.0,
        **agreed: Any,
    ) -> None:
        self.options = options or Options()
        self.net = SimNet(seed)
        dice = random.Random(seed)
        agreed.setdefault("transit", link.delay)
        ours, theirs = results(self.net, self.options, **agreed)
        now = self.net.now
        self.caller = Connection(ours, self.options, dice.randbytes, now)
        self.listener = Connection(theirs, peer_options or self.options, dice.randbytes, now)
        self.sent = Log(self.caller, has_numbers=has_numbers)
        self.received = Log(self.listener, has_numbers=has_numbers)
        net = self.net
        self.clock = OffClock(self.caller, skew, now)
        self.door = Door(self.listener)
        caller = self.clock if skew else self.caller
        net.add(CALLER, caller, coalesce=coalesce, on_turn=self.sent.take)
        net.add(LISTENER, self.door, coalesce=coalesce, on_turn=self.received.take)
        self.there: Wire
        self.here: Wire
        self.there, self.here = net.connect(CALLER, LISTENER, link, back)
        self.number = 0
        self.refused = 0
        self.sent_at: list[float] = []

    def payload(self, size: int = 1316) -> bytes:
        """The next numbered payload."""
        self.number += 1
        return NUMBER.pack(self.number - 1).ljust(size, b"G")

    def stream(
        self, packets: int, *, rate: float = 950.0, burst: int = 1, size: int = 1316
    ) -> None:
        """Let the caller send so many packets, `rate` per second in bursts; time does not pass."""
        left = packets
        end = self.net.now + packets / rate

        def tick(now: float) -> None:
            nonlocal left
            count = min(burst, left)
            if count:
                left -= count
                payloads = [self.payload(size) for _ in range(count)]
                self.sent_at += [now] * count
                taken = self.caller.send(payloads, self.clock.local(now))
                self.refused += count - taken

        self.net.every(burst / rate, tick, end + burst / rate / 2, touches=[CALLER])

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.net.run(seconds)

    def transfer(self, packets: int, *, rate: float = 950.0, burst: int = 1) -> None:
        """Send, and wait until all is played out."""
        self.stream(packets, rate=rate, burst=burst)
        self.run(packets / rate + 0.2 + self.options.receive_latency_ms / 1000 + 1.0)

    @property
    def delays(self) -> list[float]:
        """Seconds from giving to handing out, of each payload that came."""
        return [arrival.at - self.sent_at[arrival.number] for arrival in self.received.arrivals]

    @property
    def delivered(self) -> float:
        """Share of the packets that were sent which was handed out."""
        return len(self.received.arrivals) / max(self.number, 1)

    @property
    def overhead(self) -> float:
        """Packets that were sent for each that was given, less one."""
        values = self.caller.statistics(self.net.now).values
        return values["pktSentTotal"] / max(values["pktSentUniqueTotal"], 1) - 1
