"""RTP payload format for AV1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs.av1 import Av1Parameters
from media.codecs.obu import leb128, split_obus, with_size
from media.payloads.av1 import Av1Depacketizer, Av1Packetizer, fmtp_from_parameters
from media.payloads.base import MAX_UNIT_BYTES
from tests.support.coded import packets_of_clip
from tests.support.payload_checks import Format
from tests.support.payloads import Drops, Packet, number, packets_of

AV1 = Format(Av1Depacketizer, Av1Packetizer)
SEQUENCE = bytes.fromhex("080000002d4c37b3dfff9804")  # of the clip, without its size field
KEY, INTER = b"\x30\x10" + b"k" * 2500, b"\x30\x30" + b"i" * 90
HIDDEN, SHOWN = b"\x30\x20" + b"h" * 700, b"\x18\xc8"  # a frame that is shown by a header alone
UNITS = [(SEQUENCE, KEY), (INTER,), (INTER * 8,), (b"\x28\x01metadata", INTER)] * 3
GROUPED = [(SEQUENCE, KEY), (HIDDEN, INTER, INTER), (INTER,), (SHOWN,)] * 3
DELIMITER, PADDING, TILES = b"\x10", b"\x78\x00\x00", b"\x40tiles"


@pytest.mark.parametrize("limit", [64, 500, 1400])
@pytest.mark.parametrize("units", [UNITS, GROUPED])
def test_round_trip(units: list[tuple[bytes, ...]], limit: int) -> None:
    AV1.check_round_trip(units, limit)


@pytest.mark.parametrize("limit", [100, 1400])
def test_round_trip_of_a_clip(limit: int) -> None:
    AV1.check_round_trip([split_obus(data) for data, _ in packets_of_clip("sample_av1.mp4")], limit)


def test_packets_of_units() -> None:
    made = Av1Packetizer(1000)
    packets = made.packetize((SEQUENCE, KEY))
    assert packets[0] == (b"\x18" + SEQUENCE, False)  # W 1, N
    assert [data[0] for data, _ in packets[1:]] == [0x50, 0xD0, 0x90]  # W 1 with Y, both, Z
    assert [marker for _, marker in packets] == [False, False, False, True]
    small = made.packetize((SEQUENCE, INTER, INTER))
    assert small == [(b"\x38\x0c" + SEQUENCE + b"\x5c" + INTER + INTER, True)]
    assert [data[0] for data, _ in made.packetize((SHOWN,) * 7)] == [0x30, 0x30, 0x10]
    assert made.packetize(()) == made.packetize((b"", DELIMITER)) == []


@given(st.integers(64, 1500), st.integers(1, 20_000))
def test_fragments_are_equal_but_for_the_last(limit: int, size: int) -> None:
    sizes = [len(data) for data, _ in Av1Packetizer(limit).packetize((b"\x30" * size,))]
    assert len(set(sizes[:-1])) <= 1
    assert sizes[-1] <= sizes[0] <= limit


@given(st.lists(st.integers(1, 400), min_size=1, max_size=9), st.integers(64, 500))
def test_any_sizes_fit(sizes: list[int], limit: int) -> None:
    unit = tuple(b"\x30" + bytes(size - 1) for size in sizes)
    packets = packets_of(Av1Packetizer(limit), [unit])
    assert max(len(packet.payload) for packet in packets) <= limit
    assert AV1.run(packets) == ([(5_000_000_000, unit)], [])


def sized(*elements: bytes) -> bytes:
    """Elements with a length each."""
    return b"".join(leb128(len(element)) + element for element in elements)


@pytest.mark.parametrize(
    ("payloads", "expected"),
    [
        ((b"\x00" + sized(SEQUENCE, KEY, INTER, SHOWN),), (SEQUENCE, KEY, INTER, SHOWN)),  # W 0
        ((b"\x20" + sized(SEQUENCE) + KEY,), (SEQUENCE, KEY)),
        # OBUs with size fields, and with something behind their end
        ((b"\x20" + sized(with_size(SEQUENCE)) + with_size(KEY) + b"\0",), (SEQUENCE, KEY)),
        # what nobody needs
        (
            (b"\x00" + sized(DELIMITER, b"\x12\x00", SEQUENCE, KEY, TILES, PADDING),),
            (SEQUENCE, KEY),
        ),
        # fragments between whole OBUs: of one, over three packets, and another one after it
        (
            (
                b"\x60" + sized(SEQUENCE) + KEY[:100],
                b"\xd0" + KEY[100:200],
                b"\xa0" + sized(KEY[200:]) + INTER,
            ),
            (SEQUENCE, KEY, INTER),
        ),
        ((b"\x40" + sized(INTER[:50]), b"\x80" + sized(INTER[50:], SHOWN)), (INTER, SHOWN)),
        # an OBU with an extension: temporal layer 1
        ((b"\x10\x34\x20" + INTER[1:],), (b"\x34\x20" + INTER[1:],)),
        ((b"\x10\x36\x20\x03abcd",), (b"\x34\x20abc",)),
    ],
)
def test_what_senders_do(payloads: tuple[bytes, ...], expected: tuple[bytes, ...]) -> None:
    found, drops = AV1.run(number(*payloads))
    assert [payload for _, payload in found] == [expected]
    assert drops == []


@pytest.mark.parametrize(
    ("payloads", "reason"),
    [
        ((b"\x10",), "av1-malformed"),  # no element
        ((b"\x20\x7f" + INTER,), "av1-malformed"),  # an element that goes beyond the packet
        ((b"\x30" + sized(INTER, SHOWN),), "av1-malformed"),  # W 3, two elements
        ((b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\x01",), "av1-malformed"),
        ((b"\x10\xb0" + INTER,), "av1-malformed"),  # forbidden bit
        ((b"\x10\x32\x50abc",), "av1-malformed"),  # an OBU that is longer than its element
        ((b"\x10\x34",), "av1-malformed"),  # no extension
        ((b"\x10" + INTER, b"\x90" + INTER), "av1-fu-loss"),  # Z after a packet without Y
        ((b"\x50" + KEY[:99], b"\x10" + INTER), "av1-malformed"),  # Y before a packet without Z
        ((b"\x50" + KEY[:99],), "av1-fu-loss"),  # Y in the last packet
    ],
)
def test_malformed_packets_drop_their_unit(payloads: tuple[bytes, ...], reason: str) -> None:
    before = number(b"\x10" + INTER, sequence=-1, timestamp=-9)
    after = number(b"\x10" + INTER, sequence=len(payloads), timestamp=9)
    found, drops = AV1.run([*before, *number(*payloads), *after])
    assert found == [(-9, (INTER,)), (9, (INTER,))]
    assert drops == [reason]


def after_a_gap(first: bytes, *before: bytes) -> tuple[int, list[str]]:
    """How many units come of one packet after a loss, and what is counted."""
    packets = [*number(*before), *number(first, sequence=9, timestamp=9)]
    found, drops = AV1.run(packets)
    return sum(timestamp == 9 for timestamp, _ in found), drops


def test_what_begins_a_unit_after_a_gap() -> None:
    one = b"\x10" + INTER
    assert after_a_gap(one, one) == (1, ["av1-unit-loss"])
    assert after_a_gap(b"\x90" + INTER, one) == (0, ["av1-fu-loss"])
    assert after_a_gap(b"\x10\x20tiles", one) == (0, ["av1-unit-loss"])
    assert after_a_gap(b"\x10", one) == (0, ["av1-unit-loss"])
    # A stream whose units have several frames: this one may have lost its first.
    several = b"\x20" + sized(HIDDEN) + INTER
    assert after_a_gap(one, several) == (0, ["av1-unit-loss"])
    assert after_a_gap(b"\x28" + sized(SEQUENCE) + KEY, several) == (1, ["av1-unit-loss"])
    assert after_a_gap(b"\x18" + KEY, several) == (1, ["av1-unit-loss"])


@given(st.sets(st.integers(0, 1000)))
def test_losses(lost: set[int]) -> None:
    AV1.check_losses([(SEQUENCE, KEY), (INTER,), (INTER * 8,), (INTER,)] * 3, 400, lost)


@given(st.sets(st.integers(0, 1000)))
def test_units_of_several_frames_are_whole(lost: set[int]) -> None:
    packets = packets_of(Av1Packetizer(400), GROUPED)
    known = next(i for i, p in enumerate(packets) if p.timestamp == packets[0].timestamp + 6000)
    kept = [p for i, p in enumerate(packets) if i < known or i % (len(packets) + 1) not in lost]
    for timestamp, payload in AV1.run(kept)[0]:
        assert payload == GROUPED[(timestamp - packets[0].timestamp) // 3000]


def test_truncation() -> None:
    packets = packets_of(Av1Packetizer(400), UNITS[:4])
    AV1.check_truncation(packets, (INTER,))


def test_size_is_bounded() -> None:
    drops = Drops()
    machine = Av1Depacketizer(drops)
    machine.push(b"\x50" + KEY, False, 0, 0)
    for index in range(MAX_UNIT_BYTES // 60000 + 10):
        assert not machine.push(b"\xd0" + b"x" * 60000, False, index + 1, 0)
    assert drops.reasons == ["av1-unit-too-large"]
    machine = Av1Depacketizer(drops)
    for index in range(20):
        assert not machine.push(b"\x00" + sized(*[SHOWN] * 100), False, index, 0)
    assert drops.reasons == ["av1-unit-too-large"] * 2


PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([packet.payload for packet in packets_of(Av1Packetizer(400), UNITS[:4])]),
)


@given(st.lists(st.tuples(PIECES, st.booleans(), st.integers(-1, 3), st.integers(0, 1))))
def test_any_packets_are_taken(packets: list[tuple[bytes, bool, int, int]]) -> None:
    AV1.check_any(packets, "av1")


def test_description() -> None:
    fmtp = fmtp_from_parameters(Av1Parameters.build(SEQUENCE))
    assert fmtp == {"profile": "0", "level-idx": "5", "tier": "0"}


def test_a_unit_without_marker_ends_with_the_next_time() -> None:
    found, _ = AV1.run([Packet(b"\x10" + INTER, False, 0, 0), Packet(b"\x10" + KEY, True, 1, 7)])
    assert found == [(0, (INTER,)), (7, (KEY,))]
