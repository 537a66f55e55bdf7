"""Which key opens a packet where a slot had several: late ones, early ones, unseen ones."""

from random import Random

import pytest

from protocols.srt.cipher import PacketCipher, make_cipher
from protocols.srt.keys import CipherKind, KeyRing
from protocols.srt.packet import (
    KEY_CLEAR,
    KEY_EVEN,
    KEY_ODD,
    KEY_SHIFT,
    SEQUENCE_MASK,
    pack_header,
)
from protocols.srt.receive_keys import MAX_AWAITED, ReceiveKeys
from tests.support.srt_refresher import KEK, SALT, Refresher, Road

CTR, GCM = CipherKind.CTR, CipherKind.GCM
KEYS = [Random(7).randbytes(16 * 16)[at : at + 16] for at in range(0, 256, 16)]
WRAP = (1 << 31) - 100
PERIOD = 64


class Bench:
    """The peer has its keys in turn: key 0 is even, key 1 is odd, key 2 is even again."""

    def __init__(self, kind: CipherKind = CTR) -> None:
        self.kind = kind
        self.keys = ReceiveKeys(KeyRing(kind, SALT, KEK, KEYS[0]))
        self.next = 0

    def tell(self, turn: int) -> None:
        """The message that announces this key."""
        new, other = KEYS[turn], KEYS[turn - 1]
        even, odd = (other, new) if turn % 2 else (new, other)
        self.keys.take(KeyRing(self.kind, SALT, KEK, even, odd))

    def packet(self, turn: int, number: int) -> bytes:
        """One packet under a key."""
        flag = KEY_ODD if turn % 2 else KEY_EVEN
        sequence = number & SEQUENCE_MASK
        header = pack_header(sequence, 3 << 30 | flag << KEY_SHIFT | 1, 0, 1)
        cipher = make_cipher(self.kind, KEYS[turn], SALT)
        return header + cipher.seal(sequence, header, b"number %d" % number)

    def opens(self, turn: int, number: int) -> bool:
        """Whether a packet under this key is read, as the receiver does it."""
        flag, missing = KEY_ODD if turn % 2 else KEY_EVEN, number - self.next
        cipher = self.keys.find(flag, number, missing)
        if cipher is None:
            self.keys.is_awaited(flag, number, missing)
            return False
        data = self.packet(turn, number)
        payload = cipher.open(number & SEQUENCE_MASK, data)
        if payload is None:
            payload = self.keys.open_otherwise(flag, number, data, cipher)
        return payload == b"number %d" % number

    def come(self, turn: int, *numbers: int) -> None:
        """Packets that are the highest, each, and are read."""
        for number in numbers:
            assert number >= self.next
            assert self.opens(turn, number), number
            flag = KEY_ODD if turn % 2 else KEY_EVEN
            is_new = self.keys.word != flag << KEY_SHIFT
            if is_new or number - self.next >= self.keys.hidden:
                self.keys.advance(flag, self.next, number, 0)
            self.next = number + 1

    def run(self, turns: int) -> None:
        """So many keys, all told in time, all packets there; the last key has had one packet."""
        for turn in range(turns):
            if turn:
                self.tell(turn)
            last = (turn + 1) * PERIOD if turn < turns - 1 else turn * PERIOD + 1
            self.come(turn, *range(turn * PERIOD, last))


def test_what_is_late_has_the_old_key_of_its_slot() -> None:
    bench = Bench()
    bench.run(2)
    assert bench.opens(0, 60)
    bench.tell(2)
    assert bench.opens(0, 60), "the new key is told, and this one is of before"
    bench.come(2, *range(128, 150))
    assert bench.opens(0, 63)
    assert bench.opens(1, 65)
    assert bench.opens(2, 128)
    bench.tell(3)
    assert bench.opens(1, 127)
    assert bench.opens(0, 0)


def test_any_packet_between_is_the_boundary() -> None:
    """Of the odd key one packet in the middle came, of the even ones neither last nor first."""
    bench = Bench()
    bench.come(0, 0, 1, 50)
    bench.tell(1)
    bench.come(1, 100)
    bench.tell(2)
    bench.come(2, 150)
    for turn, numbers in ((0, range(51, 64)), (1, range(64, 128)), (2, range(128, 150))):
        assert all(bench.opens(turn, number) for number in numbers)


@pytest.mark.parametrize("kind", [CTR, GCM])
def test_told_before_the_other_slot_is_seen(kind: CipherKind) -> None:
    """The announcement overtook what was sent before it."""
    bench = Bench(kind)
    bench.come(0, *range(60))
    bench.tell(1)
    bench.tell(2)
    bench.come(0, 60, 61)
    bench.come(1, 66)
    bench.come(2, 129)
    assert bench.opens(0, 63)
    assert bench.opens(1, 64)
    assert bench.opens(2, 128)


def test_told_again_before_it_is_in_use() -> None:
    """The sender heard no answer, and began anew with another key."""
    bench = Bench()
    bench.run(2)
    bench.tell(2)
    bench.keys.take(KeyRing(CTR, SALT, KEK, KEYS[4], KEYS[1]))
    assert bench.opens(0, 60), "the one in between was never used, the old one was"
    bench.come(1, 100)
    bench.come(4, 130)
    assert bench.opens(0, 60)


def test_an_old_message_that_comes_once_more_changes_nothing() -> None:
    bench = Bench()
    bench.run(2)
    bench.tell(2)
    for turn in (1, 2, 1):
        bench.tell(turn)
    assert bench.opens(0, 60)
    bench.come(2, 128, 129)
    bench.tell(3)
    for turn in (1, 2):
        bench.tell(turn)
    assert bench.opens(2, 130)
    assert bench.opens(1, 127)
    bench.come(3, 192)


def test_a_stretch_whose_key_is_not_told_yet_is_waited_for() -> None:
    bench = Bench()
    bench.run(2)
    assert not bench.opens(2, 130)
    assert bench.keys.is_awaited(KEY_EVEN, 131)
    assert not bench.opens(3, 200), "nor that of the one behind it"
    assert bench.opens(0, 40)
    assert bench.opens(1, 100)
    bench.tell(2)
    assert bench.opens(2, 130)
    assert not bench.opens(3, 200)
    bench.tell(3)
    assert bench.opens(3, 200)


def test_two_keys_in_one_message() -> None:
    """The announcement before was lost: both keys are news, in the order of their use."""
    bench = Bench()
    bench.run(2)
    assert not bench.opens(2, 130)
    bench.tell(3)
    assert bench.opens(2, 130)
    assert bench.opens(0, 63)
    bench.come(2, 140)
    bench.come(3, 200)
    assert bench.opens(1, 70)


def test_waiting_has_an_end() -> None:
    """A peer that has one key a slot for ever is read again."""
    bench = Bench()
    bench.run(2)
    refused = 0
    while not bench.opens(0, 200 + refused):
        refused += 1
    assert refused == MAX_AWAITED


def test_a_key_that_is_forgotten_is_not_waited_for() -> None:
    bench = Bench()
    bench.run(10)
    assert bench.opens(3, 200), "three old keys"
    assert not bench.opens(1, 70), "not four"
    assert not bench.keys.is_awaited(KEY_ODD, 70)
    assert bench.opens(2, 129)


def test_a_key_is_forgotten_when_nobody_wants_its_packets() -> None:
    bench = Bench()
    bench.run(2)
    bench.tell(2)
    bench.keys.advance(KEY_EVEN, bench.next, 128, 60)
    bench.next = 129
    assert bench.opens(0, 63), "the play-out is at 60"
    bench.tell(3)
    bench.keys.advance(KEY_ODD, bench.next, 192, 64)
    assert bench.keys.find(KEY_EVEN, 63) is None, "the play-out is at 64"
    assert bench.opens(1, 127)


@pytest.mark.parametrize("at", [67, 110], ids=["early", "late"])
@pytest.mark.parametrize("is_told", [False, True])
def test_a_forged_packet_of_the_other_slot_ends_nothing(is_told: bool, at: int) -> None:
    bench = Bench()
    bench.run(2)
    bench.come(1, *range(65, at))
    if is_told:
        bench.tell(2)
    if bench.keys.find(KEY_EVEN, at) is None:
        assert not is_told
        assert bench.keys.is_awaited(KEY_EVEN, at)
    else:
        bench.keys.advance(KEY_EVEN, bench.next, at, 0)
    bench.next = at + 1
    bench.opens(1, at + 1)  # this one may be taken for another key's
    bench.next = at + 2
    bench.come(1, *range(at + 2, 128))
    if not is_told:
        bench.tell(2)
    bench.come(2, *range(128, 140))
    bench.tell(3)
    assert bench.opens(1, 127)
    bench.come(2, *range(140, 192))
    bench.come(3, *range(192, 200))
    assert bench.opens(0, 63)


def test_a_stretch_that_is_lost_whole() -> None:
    """Odd, even and odd: the even one is in a hole. One packet of it, sent again, tells."""
    bench = Bench()
    bench.run(3)
    bench.tell(3)
    bench.come(2, *range(129, 192))
    bench.come(3, *range(192, 250))
    bench.tell(4)
    bench.tell(5)
    assert not bench.opens(5, 330), "it may be of the one key or the other"
    assert not bench.opens(3, 251)
    bench.next = 331
    assert bench.opens(4, 300)
    bench.keys.pin(KEY_EVEN, 300)
    assert bench.opens(3, 251)
    bench.come(5, 331)
    assert bench.opens(5, 330)
    bench.tell(6)
    bench.come(6, 384)
    assert bench.opens(4, 310)


def test_a_proving_cipher_needs_no_boundary() -> None:
    bench = Bench(GCM)
    bench.run(3)
    bench.tell(3)
    bench.come(2, *range(129, 192))
    bench.come(3, *range(192, 250))
    bench.tell(4)
    bench.tell(5)
    bench.come(5, *range(330, 340))
    assert bench.opens(3, 251)
    assert bench.opens(4, 300)
    assert not bench.opens(6, 400)


def test_the_highest_packets_have_one_cipher() -> None:
    """What the receiver reads whole batches with."""
    bench = Bench()
    assert (bench.keys.word, bench.keys.cipher) == (KEY_CLEAR, None)
    found: list[tuple[int, PacketCipher | None]] = []
    for turn in range(3):
        if turn:
            bench.tell(turn)
        bench.come(turn, *range(turn * PERIOD, (turn + 1) * PERIOD))
        found.append((bench.keys.word >> KEY_SHIFT, bench.keys.cipher))
        assert bench.keys.cipher is bench.keys.find(found[-1][0], bench.next)
    assert [flag for flag, _ in found] == [KEY_EVEN, KEY_ODD, KEY_EVEN]
    assert len({id(cipher) for _, cipher in found}) == 3


def test_a_new_salt_leaves_nothing_of_before() -> None:
    bench = Bench()
    bench.run(3)
    bench.keys.take(KeyRing(CTR, bytes(16), KEK, KEYS[9]))
    assert bench.keys.find(KEY_ODD, 70) is None
    assert bench.keys.find(KEY_EVEN, 0) is bench.keys.find(KEY_EVEN, 200)


@pytest.mark.parametrize("kind", [CTR, GCM])
def test_whatever_comes_it_goes_on(kind: CipherKind) -> None:
    """Flags, numbers and messages without sense; then a peer of sense is read again."""
    for seed in range(20):
        dice, bench = Random(seed), Bench(kind)
        for _ in range(300):
            number = max(bench.next + dice.choice((0, 0, 0, 1, 5, 40, 500, -1, -30, -300)), 0)
            turn = dice.randrange(12)
            step = dice.randrange(8)
            if step == 0:
                bench.tell(max(turn, 1))
            elif bench.opens(turn, number) and number >= bench.next:
                flag = KEY_ODD if turn % 2 else KEY_EVEN
                bench.keys.advance(flag, bench.next, number, dice.randrange(bench.next + 1))
                bench.next = number + 1
            elif step == 1:
                bench.keys.pin(dice.randrange(4), number)
            elif step == 2 and number >= bench.next:
                bench.next = number + 1
        read = 0
        for turn in (12, 13, 14, 15):
            bench.tell(turn)
            for _ in range(1200):
                if bench.opens(turn, bench.next):
                    flag = KEY_ODD if turn % 2 else KEY_EVEN
                    bench.keys.advance(flag, bench.next, bench.next, bench.next)
                    read += 1
                bench.next += 1
        assert bench.opens(15, bench.next), seed
        assert read > 2 * 1200, seed


ROADS = {
    "loss": Road(loss=0.1),
    "heavy": Road(loss=0.2, reorder=0.05),
    "bursts": Road(loss=0.1, burst=8),
    "still": Road(loss=0.02, still=(0.3, 0.365)),
    "short": Road(period=32, ahead=15, loss=0.05, rtt=0.010, latency=0.2),
    "long": Road(period=200, ahead=60, loss=0.1, rtt=0.1, latency=0.8),
}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("road", ROADS.values(), ids=ROADS.keys())
@pytest.mark.parametrize("kind", [CTR, GCM])
def test_all_that_is_handed_out_is_what_was_sealed(kind: CipherKind, road: Road, seed: int) -> None:
    """A sender that waits for no answer, keys that change all the time, and a wrap."""
    delivery = Refresher(kind, road, seed, WRAP).run(700)
    assert len(delivery.numbers) == len(delivery.payloads), "each is readable"
    assert delivery.numbers == sorted(set(delivery.numbers))
    assert len(delivery.numbers) >= 0.97 * 700
