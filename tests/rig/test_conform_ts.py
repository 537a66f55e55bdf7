"""Each rule of the judge of transport streams rejects its broken sample; FFmpeg's streams pass."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from tests.support import ts_build
from tests.support.conform import samples
from tests.support.conform.problem import slugs, told
from tests.support.conform.samples import flip, patch
from tests.support.conform.ts import RULES, TsLimits, TsReader, check_ts, read_ts
from tests.support.conform.ts_tables import crc32
from tests.support.ts_build import NONE, PACKET, Mux, pat, pes, pmt

AUD, SPS, PPS = b"\x09\xf0", b"\x67\x42\x00\x1e", b"\x68\xce"
IDR, SLICE = b"\x65\x88\x84", b"\x41\x9a\x02"
ADTS = bytes.fromhex("fff15080017ffc") + b"\x21\x10\x04\x60"
VIDEO, AUDIO, PMT = ts_build.VIDEO_PID, ts_build.AUDIO_PID, ts_build.PMT_PID
STREAMS = [(0x1B, VIDEO), (0x0F, AUDIO)]
STRICT = TsLimits(tables_within=0.1, tables_at_keys=True)
SEGMENT = TsLimits(tables_within=0, is_segment=True)


def nals(*units: bytes) -> bytes:
    return b"".join(b"\0\0\0\1" + unit for unit in units)


KEY, INTER = nals(AUD, SPS, PPS, IDR), nals(AUD, SLICE)


class Hand:
    """A stream by hand: a key frame, sound, then pictures every 40 ms."""

    def __init__(self) -> None:
        self.mux = Mux()
        self.out: list[bytes] = []

    def tables(self, **fields: object) -> "Hand":
        self.out.append(self.mux.table(0, pat({1: PMT})))
        self.out.append(self.mux.table(PMT, pmt(STREAMS, **fields)))  # type: ignore[arg-type]
        return self

    def video(self, time: int, payload: bytes = INTER, **fields: int) -> "Hand":
        """A picture whose DTS is `time` in ms; its PTS is 80 ms later."""
        data = pes(payload, (time + 80) * 90 + 90_000, time * 90 + 90_000)
        return self.unit(VIDEO, data, **{"pcr": time * 90 + 72_000, **fields})

    def audio(self, time: int, payload: bytes = ADTS, **fields: int) -> "Hand":
        return self.unit(AUDIO, pes(payload, time * 90 + 90_000, stream_id=0xC0), **fields)

    def unit(self, pid: int, data: bytes, **fields: int) -> "Hand":
        """One short PES packet with whatever adaptation field it is to have."""
        rai = bool(fields.pop("rai", b"\x65" in data[:64] and pid == VIDEO))
        packet = self.mux.packet(pid, data, start=True, **fields)  # type: ignore[arg-type]
        if rai:
            packet = flip(packet, 5, 0x40)
        self.out.append(packet)
        return self

    def raw(self, packet: bytes) -> "Hand":
        self.out.append(packet)
        return self

    @property
    def data(self) -> bytes:
        return b"".join(self.out)


def begun() -> Hand:
    return Hand().tables().video(0, KEY).audio(20)


def good() -> Hand:
    return begun().video(40).video(80).audio(43)


def at(index: int, change: Callable[[bytes], bytes]) -> bytes:
    """The good stream with one packet changed: 0 PAT, 1 PMT, 2 key, 3 sound, 4, 5 pictures."""
    data = good().data
    packet = data[index * PACKET : (index + 1) * PACKET]
    return patch(data, index * PACKET, change(packet))


def section_at(index: int, place: int, value: int) -> bytes:
    """The good stream with a table changed, its CRC put right."""

    def change(packet: bytes) -> bytes:
        size = 8 + ((packet[6] & 15) << 8 | packet[7])
        section = patch(packet[5:size], place, bytes((value,)))[:-4]
        return patch(packet, 5, section + crc32(section).to_bytes(4, "big"))

    return at(index, change)


def pes_at(place: int, value: int) -> bytes:
    """The good stream with one byte of the key frame's PES packet changed."""

    def change(packet: bytes) -> bytes:
        start = packet.index(b"\0\0\1\xe0")
        return patch(packet, start + place, bytes((value,)))

    return at(2, change)


def null(control: int) -> bytes:
    return bytes((0x47, 0x1F, 0xFF, control)) + b"\xff" * 184


def pmt_of(streams: list[tuple[int, int] | tuple[int, int, bytes]], **fields: int) -> bytes:
    hand = Hand()
    hand.out.append(hand.mux.table(0, pat({1: PMT})))
    hand.out.append(hand.mux.table(PMT, pmt(streams, **fields)))  # type: ignore[arg-type]
    return hand.video(0, KEY).audio(20).video(40).data


def bare(pid: int, payload: bytes, time: int = 40) -> bytes:
    """The begun stream with a picture's PES packet as given."""
    return begun().unit(pid, payload, **({"pcr": time * 90 + 72_000} if pid == VIDEO else {})).data


def with_time(pts: int, dts: int = NONE, payload: bytes = INTER) -> bytes:
    return bare(VIDEO, pes(payload, pts, dts))


def key_pes(payload: bytes, **fields: int) -> bytes:
    return Hand().tables().video(0, payload, **fields).audio(20).video(40).data


def split_section() -> bytes:
    """A section that goes on in a packet that starts another one."""
    hand = Hand()
    long = pmt([(0x1B, VIDEO, b"\x05\xf0" + b"x" * 240)])
    hand.out.append(hand.mux.table(0, pat({1: PMT})))
    first = hand.mux.packet(PMT, (b"\0" + long)[:184], start=True)
    return hand.raw(first).raw(hand.mux.packet(PMT, b"\0" + long[:183], start=True)).data


def late_tables() -> bytes:
    hand = good()
    for n in range(3, 18):
        hand.video(n * 40)
    return hand.data


def second_key() -> bytes:
    return good().video(120, KEY).data


def new_pmt(version: int, kind: int = 0x24) -> bytes:
    hand = good()
    table = pmt([(kind, VIDEO), (0x0F, AUDIO)], version=version)
    hand.out.append(hand.mux.table(PMT, table))
    return hand.data


HIGH = 0x8000 << 15
BROKEN: list[tuple[str, bytes]] = [
    ("packet-size", good().data + b"\x47"),
    ("packet-size", b""),
    ("sync-byte", at(4, lambda p: flip(p, 0, 1))),
    ("transport-error", at(4, lambda p: flip(p, 1, 0x80))),
    ("scrambling", at(4, lambda p: flip(p, 3, 0x80))),
    ("reserved-pid", good().raw(bytes((0x47, 0, 5, 0x10)) + bytes(184)).data),
    ("adaptation-control", at(4, lambda p: flip(p, 3, 0x30))),
    ("continuity", at(4, lambda p: flip(p, 3, 2))),
    ("continuity", good().raw(bytes((0x47, 1, 0, 0x25, 183, 0)) + b"\xff" * 182).data),
    ("duplicate", good().data + good().data[-PACKET:] * 2),
    ("null-packet", good().raw(null(0x20)).data),
    ("adaptation-length", at(4, lambda p: patch(p, 4, b"\xb7"))),
    ("adaptation-length", good().raw(bytes((0x47, 1, 0, 0x22, 100, 0)) + bytes(182)).data),
    ("adaptation-fields", at(4, lambda p: patch(p, 4, b"\x01\x10"))),
    ("adaptation-fields", at(4, lambda p: patch(p, 5, b"\x13"))),
    ("stuffing", at(4, lambda p: patch(p, 20, b"\0"))),
    ("pcr-extension", at(4, lambda p: patch(p, 10, b"\xff\xff"))),
    ("pcr-pid", begun().audio(43, pcr=76_000).data),
    ("pcr-missing", Hand().tables().video(0, KEY, pcr=NONE).data),
    ("pcr-order", begun().video(40, pcr=72_000).data),
    ("pcr-interval", begun().video(200, pcr=72_000 + 9_100).data),
    ("section-pointer", at(0, lambda p: patch(p, 4, b"\xff"))),
    ("section-pointer", at(0, lambda p: patch(p, 4, b"\x01"))),
    ("section-header", section_at(1, 0, 3)),
    ("section-header", section_at(1, 6, 1)),
    ("section-length", at(0, lambda p: patch(p, 6, b"\xb3\xff"))),
    ("section-length", split_section()),
    ("section-crc", at(1, lambda p: flip(p, 20, 1))),
    ("section-stuffing", at(0, lambda p: patch(p, 185, b"\0"))),
    ("pat-missing", good().data[PACKET:]),
    ("pat-programs", Hand().raw(Mux().table(0, pat({1: PMT, 2: 0x1001}))).data),
    ("pat-programs", Hand().raw(Mux().table(0, pat({1: 5}))).data),
    ("pat-version", good().raw(Mux({0: 1}).table(0, pat({1: PMT}, version=1))).data),
    ("pmt-missing", good().data[:PACKET] + good().data[2 * PACKET :]),
    ("pmt-program", section_at(1, 4, 9)),
    ("pmt-pid", pmt_of([(0x1B, VIDEO), (0x0F, VIDEO)])),
    ("pmt-pid", pmt_of([(0x1B, VIDEO), (0x0F, AUDIO)], pcr_pid=3)),
    ("pmt-version", new_pmt(0)),
    ("pmt-version", new_pmt(1, kind=0x1B)),
    ("pmt-version-step", new_pmt(2)),
    ("descriptors", pmt_of([(0x1B, VIDEO, b"\x05\x09ab")])),
    ("registration", pmt_of([(0x1B, VIDEO), (0x81, AUDIO)])),
    ("registration", pmt_of([(0x1B, VIDEO), (0x06, AUDIO)])),
    ("unannounced-pid", good().unit(0x200, pes(INTER, 99_000)).data),
    ("pes-start", pes_at(2, 2)),
    ("pes-start", good().data[: 3 * PACKET] + Mux().packet(AUDIO, ADTS)),
    ("pes-header", pes_at(6, 0x04)),
    ("pes-header", pes_at(8, 0xFF)),
    ("pes-header", pes_at(8, 5)),
    ("pes-length", pes_at(5, 1)),
    ("pes-length-open", bare(AUDIO, pes(ADTS, 95_000, stream_id=0xC0, length=0))),
    ("pes-stuffing", pes_at(8, 14)),
    ("stream-id", pes_at(3, 0xC0)),
    ("stream-id", bare(AUDIO, pes(ADTS, 95_000, stream_id=0xE0))),
    ("pts-dts-flags", pes_at(7, 0x40)),
    ("time-stamp", pes_at(9, 0x20)),
    ("time-stamp", pes_at(11, 0)),
    ("dts-equal", with_time(97_200, 97_200)),
    ("pts-missing", key_pes(KEY)[: 2 * PACKET] + Hand().unit(VIDEO, pes(KEY), pcr=1).data),
    ("pts-interval", begun().video(800).data),
    ("pts-before-dts", with_time(90_100, 93_600)),
    ("dts-order", with_time(97_200, 90_000)),
    ("pcr-before-unit", key_pes(KEY, pcr=NONE)),
    ("pcr-after-dts", begun().video(40, pcr=100_000).data),
    ("delay", begun().video(40, pcr=75_600).audio(1_500).data),
    ("random-access", begun().video(40, rai=1).data),
    ("random-access-missing", begun().video(40, KEY, rai=0).data),
    ("start-code", begun().video(40, INTER[1:]).data),
    ("delimiter", begun().video(40, nals(SLICE)).data),
    ("delimiter", begun().video(40, nals(AUD, SLICE, SLICE)).data),
    ("delimiter-twice", begun().video(40, nals(AUD, AUD, SLICE)).data),
    ("parameter-sets", begun().video(40, nals(AUD, SPS, IDR)).data),
    ("adts", begun().audio(43, ADTS[:-1]).data),
    ("adts", begun().audio(43, b"\xfe" + ADTS[1:]).data),
    ("sync-word", pmt_of([(0x1B, VIDEO), (0x81, AUDIO, ts_build.registration(b"AC-3"))])),
]
LIMITED: list[tuple[str, bytes, TsLimits]] = [
    ("tables-interval", late_tables(), STRICT),
    ("tables-at-key", second_key(), STRICT),
    ("tables-first", good().data[PACKET:], SEGMENT),
    ("tables-first", good().video(120).data[2 * PACKET :], SEGMENT),
]
MARKED = begun().video(40_000, KEY, discontinuity=1).video(40_040).data


@cache
def clip(name: str) -> bytes:
    return samples.ts(name)


@pytest.mark.parametrize(
    "name", [samples.BUNNY, samples.PYRAMID, samples.HDR, samples.SHORT, samples.OPUS]
)
def test_what_ffmpeg_writes_is_good(name: str) -> None:
    content = read_ts(clip(name))
    # Where this clip has no picture for 133 ms, FFmpeg sends no clock either.
    breach = ["pcr-interval"] if name == samples.BUNNY else []
    assert slugs(content.problems) == breach, told(content.problems)
    assert content.units and content.pcrs


def test_the_stream_by_hand_is_good() -> None:
    for limits in (TsLimits(), STRICT, SEGMENT):
        problems = check_ts(good().data, limits)
        assert problems == [], told(problems)


@pytest.mark.parametrize(("rule", "data"), BROKEN)
def test_rule_rejects(rule: str, data: bytes) -> None:
    assert rule in slugs(check_ts(data))


@pytest.mark.parametrize(("rule", "data", "limits"), LIMITED)
def test_limit_rejects(rule: str, data: bytes, limits: TsLimits) -> None:
    assert rule in slugs(check_ts(data, limits))


def test_every_rule_has_a_broken_sample() -> None:
    assert {rule for rule, *_ in (*BROKEN, *LIMITED)} == set(RULES)


def test_marks_excuse_a_jump() -> None:
    assert slugs(check_ts(MARKED)) == []
    unmarked = begun().video(40_000, KEY).data
    assert {"pcr-interval", "pts-interval"} <= set(slugs(check_ts(unmarked)))


def test_times_may_wrap() -> None:
    hand = Hand().tables()
    start = (1 << 33) - 9_000
    for n in range(6):
        dts = start + n * 3_600
        data = pes(KEY if not n else INTER, (dts + 7_200) % (1 << 33), dts % (1 << 33))
        hand.unit(VIDEO, data, pcr=(dts - 9_000) % (1 << 33))
    problems = check_ts(hand.data)
    assert problems == [], told(problems)


def test_a_change_of_tracks_is_one_version() -> None:
    assert slugs(check_ts(new_pmt(1))) == []
    assert read_ts(new_pmt(1)).versions == [0, 1]


def test_a_duplicate_is_no_fault() -> None:
    assert check_ts(good().data + good().data[-PACKET:]) == []


def test_limits_can_be_lifted() -> None:
    loose = replace(TsLimits(), delimiters=False, random_access=False)
    data = begun().video(40, nals(SLICE)).video(80, nals(SPS, PPS, IDR), rai=0).data
    assert check_ts(data, loose) == []


def test_pieces_are_read_as_one() -> None:
    data = clip(samples.SHORT)
    reader = TsReader(TsLimits())
    for place in range(0, len(data), 10 * PACKET):
        reader.feed(data[place : place + 10 * PACKET])
    assert reader.finish() == read_ts(data)


@pytest.mark.parametrize("seed", range(4))
def test_lost_packets_never_pass(seed: int) -> None:
    """Any one packet of a real stream taken away is noticed, but where it is the last of a PID."""
    data = clip(samples.PYRAMID)
    count = len(data) // PACKET
    for index in range(200 + seed, count - 200, 331):
        broken = data[: index * PACKET] + data[(index + 1) * PACKET :]
        assert check_ts(broken) != [], index
