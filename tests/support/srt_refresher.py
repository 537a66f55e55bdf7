"""A sender of SRT that takes new keys by the count, as libsrt does: it waits for no answer.

It drives one `Receiver` over a line that is made of dice, in virtual time; what it sends again has
the key of its first time. `Delivery` is what the receiver makes of it.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

from protocols.srt.cipher import make_cipher
from protocols.srt.control import parse_losses
from protocols.srt.keys import CipherKind, KeyRing
from protocols.srt.packet import KEY_SHIFT, RETRANSMITTED, SEQUENCE_MASK, SOLO, pack_header
from protocols.srt.playout import Playout
from protocols.srt.receive_keys import ReceiveKeys
from protocols.srt.receiver import Receiver
from protocols.srt.rtt import RttEstimator
from protocols.srt.tsbpd import PlayClock

SALT, KEK = bytes(range(16)), bytes(16)
ID = 77
ATTEMPTS = 10  # of one announcement
PACE = 0.001  # seconds between two packets
TURN = 0.002  # seconds between two turns of the receiver
NEVER = float("inf")


@dataclass(frozen=True)
class Road:
    """The line, and how often there is a new key on it."""

    period: int = 64  # packets with one key
    ahead: int = 31  # packets that the next key is told before
    loss: float = 0.0
    burst: float = 1.0  # mean length of a loss in packets
    reorder: float = 0.0  # share of packets that come 10 ms later
    rtt: float = 0.040
    latency: float = 0.600
    still: tuple[float, float] = (NEVER, NEVER)  # nothing comes through from then to then


@dataclass
class Delivery:
    """What was handed out."""

    payloads: list[bytes] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    unreadable: int = 0

    @property
    def numbers(self) -> list[int]:
        """Of the packets that are what was sealed."""
        return [int(each[2:]) for each in self.payloads if each.startswith(b"n ")]


class Refresher:
    """One run: `run` sends so many packets and answers what came of them."""

    def __init__(self, kind: CipherKind, road: Road, seed: int, first: int) -> None:
        self._kind = kind
        self._road = road
        self._first = first
        self._dice = Random(seed)
        self._keys = [self._dice.randbytes(16)]
        self._ciphers = [make_cipher(kind, self._keys[0], SALT)]
        rtt = RttEstimator()
        for tick in range(100):
            rtt.add(road.rtt, tick * 0.01 - 1.0)
        self._opening = ReceiveKeys(KeyRing(kind, SALT, KEK, self._keys[0]))
        self._inbox = Playout(first, PlayClock(0.0, road.latency), 8192)
        self._receiver = Receiver(first, ID, self._inbox, rtt, self._opening)
        self._receiver.is_secured = True
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = count()
        self._told: set[int] = set()  # keys that the receiver has confirmed
        self._is_bad = False
        self._total = 0
        self._delivery = Delivery()

    def run(self, packets: int) -> Delivery:
        """Until all are played out."""
        self._total = packets
        self._at(0.0, lambda now: self._send(now, 0))
        self._at(0.0, self._turn)
        while self._heap:
            at, _, act = heapq.heappop(self._heap)
            act(at)
        self._delivery.reasons = dict(self._receiver.count.reasons)
        self._delivery.unreadable = self._receiver.count.unreadable
        return self._delivery

    def _at(self, at: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._heap, (at, next(self._numbers), act))

    def _carry(self, now: float, act: Callable[[float], None]) -> None:
        road, dice = self._road, self._dice
        if self._is_bad:
            self._is_bad = dice.random() >= 1 / road.burst
        else:
            self._is_bad = dice.random() < road.loss / (1 - road.loss) / road.burst
        if not self._is_bad and not road.still[0] <= now < road.still[1]:
            late = 0.010 if dice.random() < road.reorder else 0.0
            self._at(now + road.rtt / 2 + late, act)

    # -- the sender --------------------------------------------------------------------------

    def _send(self, now: float, number: int) -> None:
        road = self._road
        self._carry(now, self._coming(number, 0))
        if number % road.period == road.period - road.ahead:
            self._keys.append(self._dice.randbytes(16))
            self._ciphers.append(make_cipher(self._kind, self._keys[-1], SALT))
            self._announce(now, len(self._keys) - 1, ATTEMPTS)
        if number + 1 < self._total:
            self._at(now + PACE, lambda now: self._send(now, number + 1))

    def _coming(self, number: int, again: int) -> Callable[[float], None]:
        turn = number // self._road.period
        sequence = self._first + number & SEQUENCE_MASK
        word = SOLO | 1 + turn % 2 << KEY_SHIFT | again | 1
        header = pack_header(sequence, word, int(number * PACE * 1e6), ID)
        datagram = header + self._ciphers[turn].seal(sequence, header, b"n %d" % number)
        return lambda now: self._receiver.receive([datagram], now)

    def _announce(self, now: float, turn: int, left: int) -> None:
        if turn in self._told or not left or turn + 2 <= len(self._keys) - 1:
            return  # there is a newer one of that slot
        new, other = self._keys[turn], self._keys[turn - 1]
        even, odd = (other, new) if turn % 2 else (new, other)

        def heard(now: float) -> None:
            self._opening.take(KeyRing(self._kind, SALT, KEK, even, odd))
            self._carry(now, lambda now: self._told.add(turn))

        self._carry(now, heard)
        self._at(now + 1.5 * self._road.rtt, lambda now: self._announce(now, turn, left - 1))

    def _answer(self, body: bytes, now: float) -> None:
        for first, last in parse_losses(body)[0]:
            start = first - self._first & SEQUENCE_MASK
            for number in range(start, start + (last - first & SEQUENCE_MASK) + 1):
                if number < self._total:
                    self._carry(now, self._coming(number, RETRANSMITTED))

    # -- the receiver ------------------------------------------------------------------------

    def _turn(self, now: float) -> None:
        for body in self._receiver.naks(now):
            self._carry(now, lambda now, body=body: self._answer(body, now))  # type: ignore[misc]
        for event in self._inbox.release(now):
            self._delivery.payloads += event.payloads
        if now < self._total * PACE + self._road.latency + 0.5:
            self._at(now + TURN, self._turn)
