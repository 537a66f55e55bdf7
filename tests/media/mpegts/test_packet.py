"""Transport packets: any PES comes back, counters run on."""

from hypothesis import given
from hypothesis import strategies as st

from media.mpegts.packet import NO_PCR, PacketWriter, adaptation_flags


def unpack(data: bytes, first_counter: int) -> bytes:
    """The payload of whole packets of PID 0x101, with all header rules checked."""
    assert len(data) % 188 == 0
    payload = []
    for number, at in enumerate(range(0, len(data), 188)):
        packet = data[at : at + 188]
        assert packet[0] == 0x47
        assert packet[1] == (0x41 if number == 0 else 0x01)
        assert packet[2] == 0x01
        assert packet[3] & 15 == (first_counter + number) % 16
        start = 5 + packet[4] if packet[3] & 0x20 else 4
        assert packet[3] & 0x10
        payload.append(packet[start:])
    return b"".join(payload)


@given(
    size=st.integers(1, 20_000),
    counter=st.integers(0, 15),
    flags=st.sampled_from([0, adaptation_flags(True, False), adaptation_flags(True, True)]),
    pcr=st.one_of(st.just(NO_PCR), st.integers(0, 1 << 34)),
)
def test_any_pes_comes_back(size: int, counter: int, flags: int, pcr: int) -> None:
    pes = bytes(range(256)) * (size // 256 + 1)
    writer = PacketWriter(0x101, counter)
    data = writer.write((pes[:size],), b"", flags, pcr)
    assert unpack(data, counter) == pes[:size]
    if flags or pcr != NO_PCR:
        assert data[3] & 0x20
        assert data[5] == flags | (0x10 if pcr != NO_PCR else 0)
    if pcr != NO_PCR:
        value = int.from_bytes(data[6:12], "big")
        assert value >> 15 == pcr % (1 << 33)
        assert value & 0x7FFF == 0x7E00  # reserved bits and extension
    assert writer.write((b"x",))[3] & 15 == (counter + len(data) // 188) % 16


def test_every_length_around_a_packet() -> None:
    for size in range(1, 600):
        for pcr in (NO_PCR, 5):
            writer = PacketWriter(0x101)
            data = writer.write((b"a" * size,), b"", 0, pcr)
            assert unpack(data, 0) == b"a" * size


def test_very_long_pes() -> None:
    writer = PacketWriter(0x101, 9)
    for size in (8_000_000, 10, 3_000_000):
        first = writer.clock_packet(0)[3] + 1 & 15
        assert unpack(writer.write((b"b" * size,)), first) == b"b" * size


def test_clock_packet_keeps_the_counter() -> None:
    writer = PacketWriter(0x101, 7)
    writer.write((b"x",))
    packet = writer.clock_packet(123, adaptation_flags(False, True))
    assert len(packet) == 188
    assert packet[:6] == bytes((0x47, 0x01, 0x01, 0x20 | 7, 183, 0x90))
    assert packet[12:] == b"\xff" * 176
    assert writer.write((b"x",))[3] & 15 == 8
