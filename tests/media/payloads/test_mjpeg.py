"""RTP payload format for JPEG."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs.mjpeg import H420, H422, Picture, scaled_tables
from media.payloads.base import MAX_UNIT_BYTES
from media.payloads.mjpeg import MjpegDepacketizer, MjpegPacketizer
from tests.support.coded import encoded, pixels_of
from tests.support.payload_checks import Format
from tests.support.payloads import Drops, Packet, number, packets_of

PACKETIZER_DROPS = Drops()
MJPEG = Format(MjpegDepacketizer, lambda limit: MjpegPacketizer(limit, PACKETIZER_DROPS))
TABLES = bytes(range(1, 129))


def jpeg(
    scan: bytes = b"s" * 2500,
    size: tuple[int, int] = (320, 240),
    sampling: int = H420,
    tables: bytes = TABLES,
    interval: int = 0,
) -> bytes:
    """A file as the depacketizer makes it; what is in its scan nobody looks at."""
    return Picture(*size, sampling, tables, interval, scan).serialize()


UNITS = [(jpeg(),), (jpeg(b"t" * 90),), (jpeg(b"u" * 1200, interval=20),), (jpeg(b"v" * 700),)] * 3


@pytest.mark.parametrize("limit", [300, 500, 1400])
def test_round_trip(limit: int) -> None:
    MJPEG.check_round_trip(UNITS, limit)


@pytest.mark.parametrize("sampling", [H422, H420])
@pytest.mark.parametrize("tables", [TABLES, *map(scaled_tables, (1, 25, 50, 75, 99))])
@pytest.mark.parametrize("interval", [0, 1, 65535])
def test_round_trip_of_all_types(sampling: int, tables: bytes, interval: int) -> None:
    unit = (jpeg(sampling=sampling, tables=tables, interval=interval, size=(2040, 8)),)
    MJPEG.check_round_trip([unit, unit], 1400)


@pytest.mark.parametrize("threads", ["1", "2"])  # two: with restart markers
@pytest.mark.parametrize("size", [(320, 240), (642, 482)])
def test_pictures_of_an_encoder(size: tuple[int, int], threads: str) -> None:
    options = (("threads", threads), ("thread_type", "slice"))
    made = encoded("mjpeg", 3, size, "yuvj420p", options)
    units = [(data,) for data, _ in made]
    found, drops = MJPEG.run(packets_of(MJPEG.packetizer(1400), units))
    assert len(found) == 3
    assert drops == []
    for (_, (data,)), (original,) in zip(found, units, strict=True):
        before, after = Picture.parse(original), Picture.parse(data)
        assert (after.scan, after.tables) == (before.scan, before.tables)
        assert after.restart_interval == before.restart_interval
        assert bool(after.restart_interval) == (threads == "2")
        assert (after.width, after.height) == (-(-size[0] // 8) * 8, -(-size[1] // 8) * 8)
        if size == (320, 240):
            assert pixels_of("mjpeg", data) == pixels_of("mjpeg", original)


def test_packets_of_pictures() -> None:
    made = MJPEG.packetizer(1000)
    packets = made.packetize((jpeg(interval=20),))
    head = bytes.fromhex("00000000 41 ff 28 1e 0014 ffff 00000080")
    assert packets[0][0].startswith(head + TABLES + b"sss")
    assert len({len(data) for data, _ in packets[:-1]}) == 1
    sizes = [len(data) - 12 for data, _ in packets]
    offsets = [int.from_bytes(data[:4], "big") for data, _ in packets]
    assert offsets == [0, sizes[0] - 132, sizes[0] + sizes[1] - 132]
    assert [marker for _, marker in packets] == [False, False, True]
    ((data, _),) = made.packetize((jpeg(b"abc", tables=scaled_tables(75), sampling=H422),))
    assert data == bytes.fromhex("00000000 00 4b 28 1e") + b"abc"


@given(st.integers(0, 1500), st.integers(0, 3000))
def test_tables_are_whole_in_the_first_packet(limit: int, size: int) -> None:
    unit = (jpeg(b"s" * size),)
    found, drops = MJPEG.run(packets_of(MJPEG.packetizer(limit), [unit]))
    assert [payload for _, payload in found] == [unit]
    assert drops == []


REFUSED = [
    (b"", "mjpeg-malformed"),
    (b"\xff\xd8", "mjpeg-malformed"),
    (jpeg().replace(b"\xff\xc0", b"\xff\xc2"), "mjpeg-progressive-unsupported"),
    (jpeg(sampling=0x11), "mjpeg-sampling-unsupported"),
    (jpeg(size=(2048, 1080)), "mjpeg-size-unsupported"),
    (jpeg().replace(b"\xff\xdb\x00\x43\x01", b"\xff\xdb\x00\x43\x11"), "mjpeg-tables-unsupported"),
    (jpeg().replace(b"\x24\x33\x62\x72", b"\x24\x33\x62\x73"), "mjpeg-tables-unsupported"),
    (jpeg().replace(b"\xff\xda\x00\x0c\x03", b"\xff\xda\x00\x0c\x01"), "mjpeg-scans-unsupported"),
]


@pytest.mark.parametrize(("data", "reason"), REFUSED)
def test_what_rtp_cannot_carry_is_refused_and_counted(data: bytes, reason: str) -> None:
    drops = Drops()
    made = MjpegPacketizer(1400, drops)
    assert made.packetize((data,)) == []
    assert drops.reasons == [reason]
    assert made.packetize((jpeg(),))
    assert len(drops.reasons) == 1


def test_a_whole_444_picture_of_an_encoder_is_refused() -> None:
    drops = Drops()
    ((data, _),) = encoded("mjpeg", 1, (64, 64), "yuvj444p")
    assert MjpegPacketizer(1400, drops).packetize((data,)) == []
    assert drops.reasons == ["mjpeg-sampling-unsupported"]


def packet(
    data: bytes, *, offset: int = 0, kind: int = 1, quality: int = 75, special: int = 0
) -> bytes:
    """A packet without restart header."""
    return pack("!IBBBB", special << 24 | offset, kind, quality, 40, 30) + data


def tables(content: bytes = TABLES, precision: int = 0) -> bytes:
    """A quantisation table header."""
    return pack("!BBH", 0, precision, len(content)) + content


STANDARD = scaled_tables(75)


@pytest.mark.parametrize(
    ("payloads", "expected"),
    [
        ((packet(b"abc"),), jpeg(b"abc", tables=STANDARD)),
        ((packet(b"abc\xff\xd9"),), jpeg(b"abc", tables=STANDARD)),  # with EOI
        ((packet(b"abc\xff\xd9\0\0"),), jpeg(b"abc", tables=STANDARD)),  # quirk: padded
        ((packet(b"ab", kind=0),), jpeg(b"ab", tables=STANDARD, sampling=H422)),
        ((packet(b"ab"), packet(b"cd", offset=2)), jpeg(b"abcd", tables=STANDARD)),
        ((packet(b"\0\x14\x80\x03ab", kind=65),), jpeg(b"ab", tables=STANDARD, interval=20)),
        ((packet(tables() + b"ab", quality=255),), jpeg(b"ab")),
        ((packet(tables() + b"ab", quality=128),), jpeg(b"ab")),
        # quirk: one table for both
        ((packet(tables(TABLES[:64]) + b"ab", quality=255),), jpeg(b"ab", tables=TABLES[:64] * 2)),
        # a single field that is shown as a frame
        ((packet(b"abc", special=3),), jpeg(b"abc", tables=STANDARD)),
    ],
)
def test_what_senders_do(payloads: tuple[bytes, ...], expected: bytes) -> None:
    found, drops = MJPEG.run(number(*payloads))
    assert [payload for _, payload in found] == [(expected,)]
    assert drops == []


def test_tables_of_a_quality_hold_for_later_pictures() -> None:
    first = number(packet(tables() + b"ab", quality=200))
    later = number(packet(tables(b"") + b"cd", quality=200), sequence=1, timestamp=1)
    other = number(packet(tables(b"") + b"ef", quality=201), sequence=2, timestamp=2)
    found, drops = MJPEG.run([*first, *later, *other])
    assert [payload for _, payload in found] == [(jpeg(b"ab"),), (jpeg(b"cd"),)]
    assert drops == ["mjpeg-tables-missing"]


@pytest.mark.parametrize(
    ("payloads", "reason"),
    [
        ((b"\0" * 7,), "mjpeg-malformed"),
        ((packet(b"abc", kind=65)[:9],), "mjpeg-malformed"),  # no restart header
        ((packet(b"abc", kind=2),), "mjpeg-type-unsupported"),
        ((packet(b"abcdefgh", kind=66),), "mjpeg-type-unsupported"),
        ((packet(b"abcdefgh", kind=129),), "mjpeg-type-unsupported"),
        ((packet(b"abc", special=1),), "mjpeg-interlaced-unsupported"),
        ((packet(b"abc", quality=0),), "mjpeg-malformed"),
        ((packet(b"abc", quality=100),), "mjpeg-malformed"),
        ((packet(b"ab", quality=255),), "mjpeg-malformed"),  # no table header
        ((packet(tables(b"") + b"ab", quality=255),), "mjpeg-tables-missing"),
        ((packet(tables()[:99], quality=255),), "mjpeg-malformed"),
        ((packet(tables(precision=1) + b"ab", quality=255),), "mjpeg-malformed"),
        ((packet(tables(TABLES[:9]) + b"ab", quality=255),), "mjpeg-malformed"),
        ((pack("!IBBBB", 0, 1, 75, 0, 30) + b"ab",), "mjpeg-size-unknown"),
        ((packet(b"ab"), packet(b"cd", offset=3)), "mjpeg-malformed"),  # a hole in the scan
        ((packet(b"ab"), packet(b"cd")), "mjpeg-malformed"),  # two pictures of one time
        ((packet(b"cd", offset=3),), "mjpeg-fu-loss"),
    ],
)
def test_malformed_packets_drop_their_picture(payloads: tuple[bytes, ...], reason: str) -> None:
    before = number(packet(b"good"), sequence=-1, timestamp=-9)
    after = number(packet(b"good"), sequence=len(payloads), timestamp=9)
    found, drops = MJPEG.run([*before, *number(*payloads), *after])
    good = (jpeg(b"good", tables=STANDARD),)
    assert found == [(-9, good), (9, good)]
    assert drops == [reason]


def test_joining_in_the_middle_of_a_picture_is_no_loss() -> None:
    assert MJPEG.run(number(packet(b"cd", offset=3))) == ([], [])


@given(st.sets(st.integers(0, 1000)))
def test_losses(lost: set[int]) -> None:
    MJPEG.check_losses(UNITS, 400, lost)


def test_truncation() -> None:
    MJPEG.check_truncation(packets_of(MJPEG.packetizer(400), UNITS[:3]), UNITS[0])


def test_size_is_bounded() -> None:
    drops = Drops()
    machine = MjpegDepacketizer(drops)
    offset = 0
    for index in range(MAX_UNIT_BYTES // 60000 + 10):
        assert not machine.push(packet(b"x" * 60000, offset=offset), False, index, 0)
        offset += 60000
    assert drops.reasons == ["mjpeg-unit-too-large"]


PIECES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([p.payload for p in packets_of(MJPEG.packetizer(400), UNITS[:3])]),
    st.tuples(st.binary(min_size=8, max_size=8), st.integers(0, 200)).map(
        lambda pair: b"\0\0\0\0" + pair[0] + bytes(pair[1])
    ),
)


@given(st.lists(st.tuples(PIECES, st.booleans(), st.integers(-1, 3), st.integers(0, 1))))
def test_any_packets_are_taken(packets: list[tuple[bytes, bool, int, int]]) -> None:
    MJPEG.check_any(packets, "mjpeg")


@given(st.binary(max_size=64), st.integers(0, 700), st.integers(0, 255))
def test_any_file_is_taken_apart_or_refused(data: bytes, at: int, byte: int) -> None:
    drops = Drops()
    made = MjpegPacketizer(1400, drops)
    whole = jpeg()
    for file in (
        data,
        b"\xff\xd8" + data,
        whole[:at],
        whole[:at] + bytes((byte,)) + whole[at + 1 :],
    ):
        count = len(drops.reasons)
        assert bool(made.packetize((file,))) != (len(drops.reasons) > count)


def test_pictures_without_marker_end_with_the_next_time() -> None:
    found, _ = MJPEG.run([Packet(packet(b"a"), False, 0, 0), Packet(packet(b"b"), True, 1, 7)])
    assert [timestamp for timestamp, _ in found] == [0, 7]
