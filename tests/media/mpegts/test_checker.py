"""Each rule of the TS checker rejects its broken sample."""

import pytest

from tests.support.ts_check import check, crc

SPS, PPS, IDR, SLICE = b"\x67\x42\x00\x1e", b"\x68\xce", b"\x65\x88\x84", b"\x41\x9a\x02"
AUD = b"\x09\xf0"
ADTS = bytes.fromhex("fff15080017ffc") + b"\x21\x10\x04\x60"


def packet(pid: int, counter: int, payload: bytes, flags: int = 0, pcr: int = -1) -> bytes:
    """One packet with stuffing; a negative PID marks a payload that goes on."""
    starts, pid = pid >= 0, abs(pid)
    field = bytes((flags | (0x10 if pcr >= 0 else 0),))
    if pcr >= 0:
        field += (pcr << 15 | 0x7E00).to_bytes(6, "big")
    field += b"\xff" * (183 - len(payload) - len(field))
    control = 0x30 if payload else 0x20
    head = bytes((0x47, pid >> 8 | (0x40 if starts and payload else 0), pid & 255))
    return head + bytes((control | counter, len(field))) + field + payload


def section(pid: int, counter: int, body: str, *, table: int, version: int = 0) -> bytes:
    data = bytes.fromhex(body)
    head = bytes((table, 0xB0, len(data) + 9, 0, 1, 0xC1 | version << 1, 0, 0))
    data = head + data
    data = b"\0" + data + crc(data).to_bytes(4, "big")
    return bytes((0x47, 0x40 | pid >> 8, pid & 255, 0x10 | counter)) + data.ljust(184, b"\xff")


def stamp(prefix: int, ticks: int) -> bytes:
    bits = f"{prefix:04b}{ticks >> 30:03b}1{ticks >> 15 & 0x7FFF:015b}1{ticks & 0x7FFF:015b}1"
    return int(bits, 2).to_bytes(5, "big")


def pes(payload: bytes, pts: int, dts: int = -1, stream: int = 0xE0, length: int = -1) -> bytes:
    times = stamp(2, pts) if dts < 0 else stamp(3, pts) + stamp(1, dts)
    flags = 0x80 if dts < 0 else 0xC0
    size = 3 + len(times) + len(payload) if length < 0 else length
    head = b"\0\0\1" + bytes((stream,)) + size.to_bytes(2, "big")
    return head + bytes((0x84, flags, len(times))) + times + payload


def nals(*units: bytes) -> bytes:
    return b"".join(b"\0\0\0\1" + unit for unit in units)


PMT_BODY = "e100f0001be100f0000fe101f000"
PAT = section(0, 0, "0001f000", table=0)
PMT = section(0x1000, 0, PMT_BODY, table=2)
KEY = packet(0x100, 0, pes(nals(AUD, SPS, PPS, IDR), 5_000, 2_000), 0x40, 1_000)
SOUND = packet(0x101, 0, pes(ADTS, 2_500, stream=0xC0))
NEXT = packet(0x100, 1, pes(nals(AUD, SLICE), 8_000, 5_000), 0, 4_000)
PIECES = [PAT, PMT, KEY, SOUND, NEXT]
GOOD = b"".join(PIECES)


def swap(index: int, piece: bytes) -> bytes:
    """The good stream with another piece."""
    return b"".join([*PIECES[:index], piece, *PIECES[index + 1 :]])


def patch(piece: bytes, at: int, value: int) -> bytes:
    return piece[:at] + bytes((value,)) + piece[at + 1 :]


def key(payload: bytes, flags: int = 0x40, pcr: int = 1_000) -> bytes:
    return swap(2, packet(0x100, 0, payload, flags, pcr))


def following(payload: bytes, flags: int = 0, pcr: int = 4_000) -> bytes:
    return swap(4, packet(0x100, 1, payload, flags, pcr))


def sound(payload: bytes) -> bytes:
    return swap(3, packet(0x101, 0, payload))


FULL = pes(nals(AUD, SPS, PPS, IDR), 5_000, 2_000)
H265 = PMT_BODY.replace("1be100", "24e100")
UNKNOWN = PMT_BODY.replace("0fe101", "83e101")
AC3 = PMT_BODY.replace("0fe101f000", "81e101f0060504" + b"AC-3".hex())

BROKEN: list[tuple[str, bytes]] = [
    ("packet-size", GOOD + b"\x47"),
    ("packet-size", b""),
    ("sync", swap(4, patch(NEXT, 0, 0x46))),
    ("header-bits", swap(4, patch(NEXT, 1, 0xC1))),
    ("header-bits", swap(4, patch(NEXT, 3, 0xB1))),
    ("adaptation-length", swap(4, patch(NEXT, 4, 183))),
    ("adaptation-length", GOOD + patch(packet(0x100, 1, b"", 0, 5_000), 4, 182)),
    ("adaptation-length", swap(4, NEXT[:4] + b"\x01\x10" + NEXT[6:])),
    ("adaptation-control", swap(4, patch(NEXT, 3, 0x01))),
    ("continuity", swap(4, patch(NEXT, 3, 0x32))),
    ("continuity", GOOD + packet(0x100, 2, b"", 0, 5_000)),
    ("continuity", GOOD + PAT),
    ("section-start", swap(1, PMT + patch(section(0x1000, 1, PMT_BODY, table=2), 1, 0x10))),
    ("unknown-pid", GOOD + packet(0x200, 0, FULL)),
    ("unknown-pid", GOOD[376:]),
    ("pes-start", GOOD[:564] + packet(-0x101, 0, b"xx")),
    ("stuffing", swap(4, patch(NEXT, 20, 0))),
    ("stuffing", swap(4, patch(NEXT, 5, 0x12))),
    ("pcr-pid", GOOD + packet(0x101, 1, pes(ADTS, 9_000, stream=0xC0), 0, 5_000)),
    ("pcr-pid", swap(1, section(0x1000, 0, "e102" + PMT_BODY[4:], table=2))),
    ("pcr-order", following(pes(nals(AUD, SLICE), 8_000, 5_000), 0, 1_000)),
    ("pcr-interval", following(pes(nals(AUD, SLICE), 18_000, 15_000), 0, 10_001)),
    ("pcr-missing", key(FULL, pcr=-1)),
    ("pcr-after-dts", key(FULL, pcr=2_000)),
    ("section-filler", swap(0, patch(PAT, 187, 0))),
    ("section-crc", swap(0, patch(PAT, 15, 0xF1))),
    ("section-crc", swap(1, patch(PMT, 18, 0x1C))),
    ("pat", swap(0, section(0, 0, "0001f000", table=1))),
    ("pmt-version", GOOD + section(0x1000, 1, H265, table=2)),
    ("pmt-version", GOOD + section(0x1000, 1, PMT_BODY, table=2, version=1)),
    ("pes-header", key(b"\0\0\2" + FULL[3:])),
    ("pes-header", key(FULL[:10])),
    ("pes-length", key(pes(nals(AUD, SPS, PPS, IDR), 5_000, 2_000, length=41))),
    ("pes-length", sound(pes(ADTS, 2_500, stream=0xC0, length=0))),
    ("pes-time", key(FULL[:7] + b"\x40" + FULL[8:])),
    ("pes-time", key(patch(FULL, 9, 0x20))),
    ("pes-time", key(patch(FULL, 13, FULL[13] & 0xFE))),
    ("pes-time", key(pes(nals(AUD, SPS, PPS, IDR), 5_000, 5_000))),
    ("dts-order", following(pes(nals(AUD, SLICE), 8_000, 2_000), 0, 1_500)),
    ("pts-before-dts", following(pes(nals(AUD, SLICE), 4_500, 5_000))),
    ("start-code", key(pes(b"\0\0\1" + AUD, 5_000, 2_000))),
    ("access-unit-delimiter", following(pes(nals(SLICE), 8_000, 5_000))),
    ("access-unit-delimiter", following(pes(nals(AUD, AUD, SLICE), 8_000, 5_000))),
    ("parameter-sets", key(pes(nals(AUD, SPS, IDR), 5_000, 2_000))),
    ("random-access", key(FULL, 0)),
    ("random-access", following(pes(nals(AUD, SLICE), 8_000, 5_000), 0x40)),
    ("stream-type", swap(1, section(0x1000, 0, UNKNOWN, table=2))),
    ("sync-word", swap(1, section(0x1000, 0, AC3, table=2))),
    ("registration", swap(1, section(0x1000, 0, AC3.replace("2d33", "2d34"), table=2))),
    ("adts", sound(pes(ADTS[:-1], 2_500, stream=0xC0))),
    ("adts", sound(pes(b"\xfe" + ADTS[1:], 2_500, stream=0xC0))),
    ("tables-missing", PAT),
]


def test_the_good_stream_is_good() -> None:
    report = check(GOOD)
    assert report.problems == []
    assert report.streams == {0x100: 0x1B, 0x101: 0x0F}
    assert [(unit.pts, unit.dts) for unit in report.units[0x100]] == [
        (5_000, 2_000),
        (8_000, 5_000),
    ]
    assert report.units[0x100][0].nals == (AUD, SPS, PPS, IDR)
    assert report.pcrs == [1_000, 4_000]


@pytest.mark.parametrize(("rule", "data"), BROKEN)
def test_rule_rejects(rule: str, data: bytes) -> None:
    assert rule in check(data).problems


def test_tables_must_come_often() -> None:
    def clock(n: int) -> bytes:
        return packet(0x100, 0, b"", 0, 1_000 + n * 5_000)

    late = GOOD[:376] + KEY + b"".join(clock(n) for n in range(1, 4))
    assert "tables-interval" in check(late).problems
    assert check(late, tables_within=0).problems == []
    assert check(GOOD[:376] + KEY + clock(1)).problems == []
