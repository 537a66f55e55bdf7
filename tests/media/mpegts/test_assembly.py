"""PES packets: lengths true and false, headers in pieces, duplicates, gaps."""

from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.frame import NO_TIME
from media.mpegts.assembly import PesAssembler
from media.mpegts.pes import parse_pes_header, pes_header
from tests.support import ts_build, ts_demux
from tests.support.ts_build import AUDIO_PID, DATA_PID, VIDEO_PID, Mux, packets_of

OPAQUE = [(0x02, VIDEO_PID, b""), (0x06, DATA_PID, b"\x56\x00")]  # payloads come as they went in


class Rig:
    """An assembler for one PID, fed by transport packets that are read in the plainest way."""

    def __init__(self, *, is_video: bool = True, salvages: bool = False) -> None:
        self.found: list[tuple[bytes, float, bool]] = []
        self.losses = 0
        self.drops: Counter[str] = Counter()
        self.assembler = PesAssembler(
            VIDEO_PID,
            lambda pieces, *rest: self.found.append((b"".join(pieces), *rest)),
            self._lost,
            lambda reason: self.drops.update((reason,)),
            lambda: True,
            is_video=is_video,
            salvages=salvages,
        )

    def _lost(self) -> None:
        self.losses += 1

    def feed(self, packets: list[bytes]) -> "Rig":
        for now, packet in enumerate(packets):
            start = 5 + packet[4] if packet[3] & 0x20 else 4
            self.assembler.is_broken |= bool(packet[3] & 0x20 and packet[4] and packet[5] & 0x80)
            if packet[3] & 0x10:
                is_start = bool(packet[1] & 0x40)
                self.assembler.packet(packet[start:], is_start, packet[3] & 15, float(now))
        return self

    @property
    def data(self) -> list[bytes]:
        return [data for data, _, _ in self.found]


def cut(mux: Mux, data: bytes, first: int = 184) -> list[bytes]:
    return packets_of(mux.unit(VIDEO_PID, data, first=first))


# -- headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pts", "dts"), [(0, 0), (3000, 0), ((1 << 33) - 1, 1 << 32)])
def test_header_round_trip(pts: int, dts: int) -> None:
    header = parse_pes_header(pes_header(0xE0, pts, dts, 100) + bytes(100))
    assert (header.stream_id, header.pts, header.dts) == (0xE0, pts, dts)
    assert header.payload_at == (14 if pts == dts else 19)


def test_header_without_times_and_without_header() -> None:
    assert parse_pes_header(ts_build.pes(b"x")).pts == NO_TIME
    header = parse_pes_header(b"\0\0\1\xbf\0\2ab")
    assert (header.pts, header.payload_at) == (NO_TIME, 6)


def test_header_truncated() -> None:
    data = ts_build.pes(b"", 3000, 0)
    for size in range(len(data)):
        with pytest.raises(WireError, match="ts-pes-malformed"):
            parse_pes_header(data[:size])


@pytest.mark.parametrize("at", [9, 11, 13, 14, 16, 18])
def test_marker_bits(at: int) -> None:
    data = bytearray(ts_build.pes(b"", 3000, 0))
    data[at] &= 0xFE
    with pytest.raises(WireError, match="ts-pes-malformed"):
        parse_pes_header(bytes(data))


def test_scrambled_header() -> None:
    data = bytearray(ts_build.pes(b"", 3000, 0))
    data[6] |= 0x10
    with pytest.raises(WireError, match="ts-scrambled"):
        parse_pes_header(bytes(data))


@given(st.binary(max_size=30))
def test_any_header(data: bytes) -> None:
    for start in (b"", b"\0\0\1\xe0\0\0"):
        with suppress(WireError):
            assert parse_pes_header(start + data).payload_at <= len(start + data)


# -- packets ---------------------------------------------------------------------------------------


def test_a_length_ends_a_packet_at_once_and_none_with_the_next() -> None:
    mux = Mux()
    one, two = ts_build.pes(b"a" * 400, 0), ts_build.pes(b"b" * 400, 0, length=0)
    rig = Rig().feed(cut(mux, one))
    assert rig.data == [one]
    rig.feed(cut(mux, two))
    assert rig.data == [one]
    rig.feed(cut(mux, one))
    assert rig.data == [one, two, one]
    assert not rig.drops


@pytest.mark.parametrize("first", range(1, 20))
def test_a_header_in_pieces(first: int) -> None:
    mux = Mux()
    data = ts_build.pes(b"a" * 400, 3000, 0)
    rig = Rig().feed(cut(mux, data, first) + cut(mux, data, first))
    rig.assembler.flush()
    assert rig.data == [data, data]


def test_what_is_behind_the_length_is_cut_off() -> None:
    mux = Mux()
    data = ts_build.pes(b"a" * 100, 0, length=3 + 5 + 90)
    assert Rig().feed(cut(mux, data)).data == [data[:-10]]


def test_length_that_overflowed() -> None:
    """The first picture is lost, the next ones are whole."""
    mux = Mux()
    big = [ts_build.pes(bytes((n,)) * 70_000, 0) for n in range(1, 5)]  # length modulo 65536
    rig = Rig()
    for data in big:
        rig.feed(cut(mux, data))
    rig.assembler.flush()
    assert rig.data[-3:] == big[1:]
    assert rig.drops == {"ts-pes-length": 1}


def test_a_packet_that_ends_too_early() -> None:
    mux = Mux()
    short = ts_build.pes(b"a" * 100, 0, length=500)
    good = ts_build.pes(b"b" * 100, 0)
    rig = Rig().feed(cut(mux, short) + cut(mux, good))
    assert rig.data == [good]
    assert rig.drops == {"ts-pes-truncated": 1}
    assert rig.losses == 1


def test_duplicates_of_any_packet() -> None:
    mux = Mux()
    data = ts_build.pes(bytes(range(256)) * 4, 0)
    packets = cut(mux, data) + cut(mux, data)
    rig = Rig().feed([packet for packet in packets for _ in range(2)])
    assert rig.data == [data, data]
    assert not rig.drops


def test_the_same_counter_with_other_bytes_is_a_gap() -> None:
    mux = Mux()
    data = ts_build.pes(bytes(range(256)) * 12, 0)
    packets = cut(mux, data)
    assert len(packets) > 16
    rig = Rig().feed(packets[:1] + packets[16:])
    assert rig.data == []
    assert rig.drops == {"ts-packet-loss": 1}


@pytest.mark.parametrize("lost", range(6))
def test_a_gap_costs_its_packet_alone(lost: int) -> None:
    mux = Mux()
    units = [ts_build.pes(bytes((n,)) * 1000, 0, length=0) for n in range(3)]
    packets = [cut(mux, data) for data in units]
    del packets[1][lost]
    rig = Rig().feed([packet for group in packets for packet in group])
    rig.assembler.flush()
    # Where its first packet is lost, the one before has no end that is known.
    assert rig.data == ([units[0], units[2]] if lost else [units[2]])
    assert rig.drops == {"ts-packet-loss": 1}


def test_a_gap_between_packets_is_counted() -> None:
    mux = Mux()
    units = [ts_build.pes(bytes((n,)) * 100, 0) for n in range(3)]
    packets = [cut(mux, data) for data in units]
    rig = Rig().feed(packets[0] + packets[2])
    assert rig.data == [units[0], units[2]]
    assert rig.drops == {"ts-packet-loss": 1}


def test_joining_in_the_middle_is_no_loss() -> None:
    mux = Mux()
    packets = cut(mux, ts_build.pes(bytes(1000), 0)) + cut(mux, ts_build.pes(b"x", 0))
    rig = Rig().feed(packets[2:])
    assert len(rig.found) == 1
    assert not rig.drops


def test_what_is_in_front_of_a_gap_is_kept_where_it_can_be_of_use() -> None:
    mux = Mux()
    packets = cut(mux, ts_build.pes(bytes(range(250)) * 4, 0))
    rig = Rig(is_video=False, salvages=True).feed(packets[:3] + packets[4:])
    (data, _, is_whole) = rig.found[0]
    assert not is_whole
    assert data == ts_build.pes(bytes(range(250)) * 4, 0)[: 3 * 184]


def test_runs_are_the_same_as_packets() -> None:
    """Four packets and more in a row are cut out together; other lengths one by one."""
    mux = Mux()
    payload = b"".join(n.to_bytes(4, "big") for n in range(40_000))
    data = ts_build.pes(payload, 0, length=0)
    stream = mux.tables(OPAQUE) + mux.unit(VIDEO_PID, data)
    whole = ts_demux.demux(stream)
    assert whole.payloads(VIDEO_PID) == [(payload,)]
    packets = packets_of(stream)
    other = b"".join(packet + bytes(16) for packet in packets)
    assert ts_demux.demux(other).payloads(VIDEO_PID) == [(payload,)]
    mixed = mux.tables(OPAQUE)
    small = mux.unit(DATA_PID, ts_build.pes(b"d" * 20, 0, stream_id=0xBD))
    for index, packet in enumerate(packets_of(mux.unit(VIDEO_PID, data))):
        mixed += packet + (small if index == 7 else b"")
    assert ts_demux.demux(mixed).payloads(VIDEO_PID) == [(payload,)]


def test_a_payload_that_is_no_pes_packet() -> None:
    mux = Mux()
    data = mux.tables([(0x0F, AUDIO_PID)]) + mux.packet(AUDIO_PID, b"nonsense", start=True)
    assert ts_demux.demux(data).drops == {"ts-pes-malformed": 1}
