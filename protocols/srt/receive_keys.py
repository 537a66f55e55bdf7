"""Which key opens a packet: the peer's keys, in their two slots, and the numbers of each.

Theory of operation. A sender seals so many packets in a row with the key of one slot, then so many
with that of the other, and tells a slot's next key while the other slot is in use. What it sends
again keeps the key that it had. So the slot in a packet's header does not name one key:

    number   1000          1064         1097       1128
    sealed   even key 1    odd key 1               even key 2
    told                                even key 2

A packet 1060 that comes again at 1100 wants even key 1. Between two stretches of one slot there is
one of the other, and any packet of that tells them apart, be it the first or not. So a key of a
slot goes as far as the first packet beyond it that is seen of the other slot, and the next key of
the slot from there on. The order in which packets come does not matter, as only those beyond the
highest are looked at, and their numbers never go back.

| what happens | what is done |
|---|---|
| a key is told before anything of the other slot came | the key before goes on until that does |
| a key is told again, another one, before it is in use | the later one takes its place |
| a stretch has begun, its key is not told yet | refused, as if never come: it will be asked for |
| the key is forgotten, or one after it was told and it never was | it takes its place, unread |

A key is told while the other slot is in use. So where the next key of the slot in use is told, the
other slot's packets are late, or all lost: then a hole is in front of the next packets that a whole
stretch may be in. They too are refused, and a packet of the other slot that comes in answer says
where they belong.

Where the cipher proves nothing (CTR) this alone decides; where it does (GCM) the other keys of the
slot are tried as well. A forged packet of the other slot would seem to end a stretch: one much
shorter than any before is none, unless the next key of that slot is known.
"""

from collections import deque
from dataclasses import dataclass, field

from protocols.srt.cipher import PacketCipher, make_cipher
from protocols.srt.keys import CipherKind, KeyRing
from protocols.srt.packet import KEY_BOTH, KEY_CLEAR, KEY_EVEN, KEY_ODD, KEY_SHIFT, SEQUENCE_MASK

MAX_KEYS = 4  # of one slot: the new one, and what repeats may still need on a long line
MAX_TOLD = 8  # keys that are known again when a message comes once more
MAX_ENDS = 4  # stretches of one slot whose keys are not told yet
MAX_AWAITED = 1024  # packets that may be refused because their key is not told yet
EVER = -1  # before all numbers
NEVER = float("inf")


@dataclass(slots=True)
class _Key:
    start: float  # the first number that it may have; NEVER: it is not in use yet
    key: bytes = field(repr=False)
    cipher: PacketCipher | None  # None: it was never told


class _Slot:
    __slots__ = ("awaited", "ends", "keys", "loose")

    def __init__(self) -> None:
        self.keys: list[_Key] = []  # the newest first
        # From each of these numbers on a packet has another key, which is not told yet.
        self.ends: list[int] = [EVER]
        self.loose = NEVER  # from this number on it is one of the two newest keys
        self.awaited = 0  # packets that were refused

    @property
    def end(self) -> float:
        """The first number whose key is not told yet."""
        return self.ends[0] if self.ends else NEVER

    @property
    def is_waiting(self) -> bool:
        """Whether the next key is told, while the one before is in use."""
        return bool(self.keys) and self.keys[0].start == NEVER

    def leave(self, number: int) -> None:
        """The other slot is in use from this number on."""
        if self.is_waiting:
            self.keys[0].start = number
            self.loose = NEVER
            self.awaited = 0
        elif len(self.ends) < MAX_ENDS:
            self.ends.append(number)

    def forget(self, wanted: int) -> None:
        """Drop keys of packets that all lie below `wanted`."""
        while len(self.keys) > 1 and self.keys[-2].start <= wanted:
            self.keys.pop()


class ReceiveKeys:
    """The peer's keys. All numbers of packets are unwrapped.

    Public: `ring` of the newest keys; of the highest packets their `word` (key bits of a header's
    word 1; 0: in clear, or not known) and their `cipher`; `hidden`, packets in a row that are
    missing and may have been all of one key.
    """

    __slots__ = (
        "_before",
        "_doubted",
        "_gap",
        "_head",
        "_length",
        "_since",
        "_slots",
        "_told",
        "cipher",
        "hidden",
        "ring",
        "word",
    )

    def __init__(self, ring: KeyRing | None) -> None:
        self.ring: KeyRing | None = None
        self.word = KEY_CLEAR
        self.cipher: PacketCipher | None = None
        self.hidden = NEVER
        self._head = KEY_CLEAR  # the slot in use
        self._slots = [_Slot() for _ in range(KEY_BOTH + 1)]
        self._told: deque[bytes] = deque(maxlen=MAX_TOLD)
        # Where the stretch in use began at the earliest, and the one before it; EVER: not known.
        self._since = self._before = EVER
        self._length = NEVER  # of the one before it: the shortest but for those counted in `hidden`
        self._gap: tuple[int, int] | None = None  # where in it another one may be hidden
        self._doubted = 0  # the highest packet that was refused for that
        if ring is not None:
            self.take(ring)
            if not (ring.even and ring.odd):
                self._head = KEY_EVEN if ring.even else KEY_ODD

    # -- key material ------------------------------------------------------------------------

    def take(self, ring: KeyRing) -> None:
        """Keys are told; one that the message does not bring stays if the salt is the same."""
        old = self.ring
        if old is not None and (old.salt, old.cipher) != (ring.salt, ring.cipher):
            old = None
            self._slots = [_Slot() for _ in self._slots]
            self._told.clear()
            self._gap, self.hidden, self._length = None, NEVER, NEVER
        given = {KEY_EVEN: ring.even, KEY_ODD: ring.odd}
        # A key that is known may be of a message that was overtaken.
        news = [flag for flag, key in given.items() if key and key not in self._told]
        if len(news) == 1:
            self._pass_over(news[0], given[news[0] ^ KEY_BOTH])
        for flag in news:
            self._told.append(given[flag])
            self._add(flag, given[flag], make_cipher(ring.cipher, given[flag], ring.salt))
        even, odd = ring.even, ring.odd
        if old is not None:
            even, odd = even or old.even, odd or old.odd
        self.ring = KeyRing(ring.cipher, ring.salt, ring.kek, even, odd)
        self._look()

    def _pass_over(self, flag: int, other: bytes) -> None:
        """A key is told while the `other` one is in use: keys of before will not be told."""
        slot = self._slots[flag]
        for each in self._slots[flag ^ KEY_BOTH].keys:
            while each.key == other and slot.ends and slot.ends[0] < each.start < NEVER:
                slot.keys.insert(0, _Key(slot.ends.pop(0), b"", None))

    def _add(self, flag: int, key: bytes, cipher: PacketCipher) -> None:
        slot = self._slots[flag]
        start = NEVER
        if slot.ends:
            start = slot.ends.pop(0)
        elif slot.is_waiting or flag != self._head:
            start = slot.keys.pop(0).start  # of a key that was never used
        slot.keys.insert(0, _Key(start, key, cipher))
        del slot.keys[MAX_KEYS:]
        if not slot.ends:
            slot.awaited = 0
        if slot.is_waiting and self._gap is not None:
            slot.loose, self._doubted = self._gap

    # -- packets -----------------------------------------------------------------------------

    def find(self, flag: int, number: int, missing: int = 0) -> PacketCipher | None:
        """The cipher of a packet with this key flag (1..3); None: not known.

        `missing`: packets before it that have not come, where it is beyond the highest.
        """
        slot = self._slots[flag]
        keys, is_patient = slot.keys, slot.awaited < MAX_AWAITED
        if number >= slot.end and is_patient and not self._is_proven:
            return None
        if slot.is_waiting and (number >= slot.loose or missing >= self.hidden):
            return None if is_patient else keys[0].cipher
        for each in keys:
            if each.start <= number:
                return each.cipher
        return None

    def is_awaited(self, flag: int, number: int, missing: int = 0) -> bool:
        """Whether a packet for which `find` has nothing may be read once more is known.

        Each such packet is to be refused; after `MAX_AWAITED` of them nothing is waited for.
        """
        slot = self._slots[flag]
        if self.ring is None or flag == KEY_BOTH or slot.awaited >= MAX_AWAITED:
            return False
        found = next((each for each in slot.keys if each.start <= number), None)
        if slot.keys and number < slot.end and (found is None or found.cipher is None):
            return False  # of a key that is forgotten, or that was passed over
        slot.awaited += 1
        if slot.awaited == MAX_AWAITED and slot.keys:
            slot.ends.clear()  # what was told is all there is
            self._look()
        if missing >= 0 and flag != self._head and not self._is_proven:
            self._turn(flag, number - missing, number)
            self.word = KEY_CLEAR
            self._look()
        elif slot.is_waiting:
            if slot.loose == NEVER:
                slot.loose = number - missing
                self._look()
            self._doubted = max(self._doubted, number)
        return True

    @property
    def is_in_doubt(self) -> bool:
        """Whether the highest packets are refused, until a key is told or one of the other slot
        comes, maybe one of before."""
        return not self.word and self.ring is not None and not self._is_proven

    @property
    def _is_proven(self) -> bool:
        """Whether the cipher tells if a packet is what was sealed."""
        return self.ring is not None and self.ring.cipher == CipherKind.GCM

    def open_otherwise(
        self, flag: int, number: int, datagram: bytes, tried: PacketCipher
    ) -> bytes | None:
        """The payload of a packet that the cipher which `find` named does not open; None: no key
        of the slot does."""
        slot = self._slots[flag]
        for each in slot.keys:
            payload = None
            if each.cipher is not None and each.cipher is not tried:
                payload = each.cipher.open(number & SEQUENCE_MASK, datagram)
            if payload is not None:
                if each is slot.keys[0] and slot.is_waiting:
                    self._reveal(flag, number)
                elif each.start > number:
                    each.start = number
                return payload
        return None

    def advance(self, flag: int, first: int, number: int, wanted: int) -> None:
        """The highest packet is this one, of another `word` than those before, or beyond a hole of
        `hidden` packets. Those from `first` on are missing; nothing below `wanted` will come."""
        if not KEY_CLEAR < flag < KEY_BOTH:
            return
        if self._since == EVER:
            self._since = first
        slot = self._slots[flag]
        if flag != self._head:
            self._turn(flag, first, number)
        elif slot.is_waiting and number >= slot.loose:
            self._reveal(flag, number)
        elif number - first >= self.hidden:
            self._gap = first, number
        self.word = flag << KEY_SHIFT
        self._look()
        for each in self._slots:
            each.forget(wanted)

    def pin(self, flag: int, number: int) -> None:
        """A late packet is of another slot than the highest ones."""
        other = flag ^ KEY_BOTH
        if self._slots[other].loose <= number:
            self._reveal(other, number)

    def _turn(self, flag: int, first: int, number: int) -> None:
        """The other slot is in use."""
        slot, head = self._slots[flag], self._head
        length = number - self._since
        least = self.hidden if self.hidden < NEVER else self._length / 2
        self._gap = None
        self._head = flag
        if slot.ends and slot.ends[-1] > EVER and length < least < NEVER:
            slot.ends.pop()  # nothing was in between but a stranger's packet
            self._since = self._before
            self._length = NEVER
            if self._slots[head].is_waiting:
                self._slots[head].leave(number)
            return
        if head:
            self._slots[head].leave(number)
            if not self._is_proven:
                self.hidden = min(self.hidden, max(self._length / 2, 1))
                self._length = length
        self._before, self._since = self._since, first

    def _reveal(self, flag: int, number: int) -> None:
        """The key that waited is in use from this number on: there was a stretch of the other slot
        before, of which nothing was among the highest packets."""
        slot, other = self._slots[flag], self._slots[flag ^ KEY_BOTH]
        slot.keys[0].start = number
        slot.loose = NEVER
        slot.awaited = 0
        if not other.ends:
            other.ends.append(max(self._doubted, number))
        self._before, self._since = self._since, number
        self._gap = None
        self._look()

    def _look(self) -> None:
        """Find the cipher of the highest packets anew."""
        slot = self._slots[self._head]
        is_untold = bool(slot.ends) and slot.awaited < MAX_AWAITED and not self._is_proven
        if is_untold or slot.loose < NEVER:
            self.word = KEY_CLEAR  # each has to be looked at
        keys = slot.keys if self.word else []
        self.cipher = next((each.cipher for each in keys if each.start < NEVER), None)
