"""Packets out of bytes: any cut, three lengths, junk, damage, lost datagrams."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.mpegts.sync import CUT, DAMAGED, LOST, PacketSync
from tests.support.ts_demux import cut


class Taken:
    """A sync machine and what it handed on."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.drops: Counter[str] = Counter()
        self.sync = PacketSync(self._block, lambda reason: self.drops.update((reason,)))

    def _block(self, data: bytes, start: int, count: int) -> None:
        for index in range(count):
            at = start + index * self.sync.stride
            self.packets.append(data[at : at + 188])
            assert len(self.packets[-1]) == 188

    def feed(self, *pieces: bytes, is_datagram: bool = False, flush: bool = True) -> "Taken":
        for piece in pieces:
            self.sync.feed(piece, is_datagram=is_datagram)
        if flush:
            self.sync.flush()
        return self


def row(count: int, first: int = 0) -> list[bytes]:
    """Packets that differ, and whose bytes never look like a sync byte."""
    return [
        b"\x47" + bytes((n & 0x3F, n >> 6 & 0x3F)) + bytes((n * 7 + k) % 64 for k in range(185))
        for n in range(first, first + count)
    ]


def stretched(packets: list[bytes], stride: int) -> bytes:
    """As M2TS (192: bytes in front) or with parity (204: bytes behind)."""
    if stride == 192:
        return b"".join(b"\1\2\3\4" + packet for packet in packets)
    return b"".join(packet + bytes(stride - 188) for packet in packets)


@pytest.mark.parametrize("stride", [188, 192, 204])
@pytest.mark.parametrize("size", [1, 7, 100, 188, 189, 1316, 1472, 100_000])
def test_any_cut_gives_the_same_packets(stride: int, size: int) -> None:
    packets = row(40)
    taken = Taken().feed(*cut(stretched(packets, stride), size))
    assert taken.packets == packets
    assert not taken.drops
    assert taken.sync.stride == stride
    assert taken.sync.junk_bytes == 0


@given(st.lists(st.integers(1, 400), max_size=60), st.sampled_from((188, 192, 204)))
def test_random_cuts(sizes: list[int], stride: int) -> None:
    packets = row(30)
    data = stretched(packets, stride)
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    taken = Taken().feed(*pieces, data)
    assert taken.packets == packets


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_short_stream_is_taken_at_its_end(count: int) -> None:
    packets = row(count)
    taken = Taken().feed(b"".join(packets), flush=False)
    assert taken.packets == (packets if count == 3 else [])
    taken.sync.flush()
    assert taken.packets == packets


def test_blocks_are_bounded() -> None:
    packets = row(1500)
    assert Taken().feed(b"".join(packets)).packets == packets


def test_joining_in_the_middle_is_no_loss() -> None:
    packets = row(10)
    taken = Taken().feed(b"".join(packets)[100:])
    assert taken.packets == packets[1:]
    assert not taken.drops


@pytest.mark.parametrize("junk", [b"x", b"x" * 12, b"x" * 187, b"x" * 1000])
@pytest.mark.parametrize("size", [50, 188, 10_000])
def test_junk_between_packets_costs_none(junk: bytes, size: int) -> None:
    before, after = row(10), row(10, 10)
    taken = Taken().feed(*cut(b"".join(before) + junk + b"".join(after), size))
    assert taken.packets == before + after
    assert taken.drops == {LOST: 1}
    assert taken.sync.junk_bytes == len(junk)


def test_junk_that_looks_like_a_packet_is_one_that_was_cut() -> None:
    before, after = row(10), row(10, 10)
    taken = Taken().feed(b"".join(before) + b"G" * 5 + b"".join(after))
    assert taken.packets == before + after
    assert taken.drops == {LOST: 1, CUT: 1}


@pytest.mark.parametrize("size", [188, 1316, 10_000])
def test_a_damaged_sync_byte_costs_its_packet(size: int) -> None:
    packets = row(20)
    data = bytearray(b"".join(packets))
    data[7 * 188] = 0x46
    taken = Taken().feed(*cut(bytes(data), size))
    assert taken.packets == packets[:7] + packets[8:]
    assert taken.drops == {DAMAGED: 1}


@pytest.mark.parametrize("missing", [1, 60, 187])
def test_a_cut_packet_is_left_out(missing: int) -> None:
    packets = row(20)
    data = b"".join(packets[:8])[:-missing] + b"".join(packets[8:])
    taken = Taken().feed(data)
    assert taken.packets == packets[:7] + packets[8:]
    assert taken.drops == {LOST: 1, CUT: 1}


@pytest.mark.parametrize("size", [1400, 1472, 1000, 500])
def test_lost_odd_datagrams(size: int) -> None:
    """A datagram that holds no whole number of packets is lost: no packet of two halves."""
    packets = row(200)
    pieces = cut(b"".join(packets), size)
    for lost in range(1, len(pieces) - 3):
        taken = Taken().feed(*pieces[:lost], *pieces[lost + 1 :], is_datagram=True)
        known = set(packets)
        assert all(packet in known for packet in taken.packets), lost
        assert len(taken.packets) >= len(packets) - size // 188 - 3
        assert taken.drops[LOST] + taken.drops[DAMAGED] == 1


def test_whole_datagrams_are_lost_without_a_trace_here() -> None:
    packets = row(70)
    pieces = cut(b"".join(packets), 1316)
    taken = Taken().feed(*pieces[:3], *pieces[5:], is_datagram=True)
    assert taken.packets == packets[:21] + packets[35:]
    assert not taken.drops


def test_a_gap_that_is_told_ends_what_is_held() -> None:
    packets = row(30)
    data = b"".join(packets)
    taken = Taken().feed(data[: 10 * 188 + 90], flush=False)
    taken.sync.gap()
    taken.feed(data[12 * 188 :])
    assert taken.packets == packets[:10] + packets[12:]
    assert not taken.drops


def test_the_length_may_change_with_the_source() -> None:
    packets = row(40)
    taken = Taken().feed(b"".join(packets[:20]) + stretched(packets[20:], 204))
    assert taken.packets[-19:] == packets[21:]


@given(st.lists(st.binary(max_size=700), max_size=12), st.booleans())
def test_any_bytes(pieces: list[bytes], is_datagram: bool) -> None:
    taken = Taken().feed(*pieces, is_datagram=is_datagram)
    assert sum(map(len, taken.packets)) <= sum(map(len, pieces))


@pytest.mark.parametrize("seed", range(8))
def test_noise_never_holds_much(seed: int) -> None:
    """Sync bytes are frequent here, and packets are among the noise."""
    chance = random.Random(seed)
    taken = Taken()
    pieces = []
    for _ in range(300):
        if chance.random() < 0.4:
            pieces.append(b"".join(row(chance.randrange(1, 9))))
        else:
            size = chance.randrange(1, 900)
            pieces.append(bytes(chance.choice((0x47, 0x47, 0, 1)) for _ in range(size)))
    taken.feed(*pieces)
    assert taken.packets
