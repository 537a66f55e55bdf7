"""Each rule of the judge of RTP rejects its broken sample; a stream by hand passes."""

from collections.abc import Callable
from struct import Struct

import pytest

from tests.support.conform.problem import slugs, told
from tests.support.conform.rtp import (
    NTP_SECOND,
    RULES,
    RtpContent,
    RtpJudge,
    RtpLimits,
    RtpLine,
    split_interleaved,
)

HEAD = Struct("!BBHII")
SPS, PPS, IDR, SLICE = b"\x67\x42\x00\x1e", b"\x68\xce", b"\x65\x88\x84", b"\x41\x9a\x02"
VPS5, SPS5, PPS5, IDR5 = b"\x40\x01\x0c", b"\x42\x01\x01", b"\x44\x01\xc0", b"\x26\x01\xaf"
SLICE5 = b"\x02\x01\xd0"
VIDEO, HEVC, SOUND = 0, 1, 2
LINES = {
    VIDEO: RtpLine("h264", 90_000, 96, is_video=True),
    HEVC: RtpLine("h265", 90_000, 97, is_video=True),
    SOUND: RtpLine("aac", 48_000, 98),
}


def sized(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)


class Hand:
    """A sender by hand, who counts."""

    def __init__(self, limits: RtpLimits | None = None) -> None:
        self.judge = RtpJudge(LINES, limits)
        self.sequence = {VIDEO: 65_534, HEVC: 7, SOUND: 0}
        self.counts = {track: [0, 0] for track in LINES}

    def send(
        self, track: int, time: int, payload: bytes, *, marker: bool = True, **other: int
    ) -> "Hand":
        """One packet; `other` are fields of the header that are to be wrong."""
        sequence = other.get("sequence", self.sequence[track])
        self.sequence[track] = sequence + 1
        kind = other.get("kind", LINES[track].payload_type or 0) | 0x80 * marker
        ssrc = other.get("ssrc", 0xF000 + track)
        wire = (time + 0xFFFF_FF00) & 0xFFFF_FFFF
        first = other.get("first", 0x80)
        data = HEAD.pack(first, kind, sequence & 0xFFFF, wire, ssrc) + payload
        self.counts[track][0] += 1
        self.counts[track][1] += len(payload)
        self.judge.packet(track, data)
        return self

    def frame(self, number: int, *, track: int = VIDEO) -> "Hand":
        """A picture 40 ms after the one before; the first one is a key frame."""
        if track == HEVC:
            sets, key, inter = b"\x60\x01" + sized(VPS5, SPS5, PPS5), IDR5, SLICE5
        else:
            sets, key, inter = b"\x78" + sized(SPS, PPS), IDR, SLICE
        if number == 0:
            self.send(track, 0, sets, marker=False)
            return self.send(track, 0, key)
        return self.send(track, 3600 * number, inter)

    def sound(self, number: int, frame: bytes = b"sound") -> "Hand":
        head = (16).to_bytes(2, "big") + (len(frame) << 3).to_bytes(2, "big")
        return self.send(SOUND, 1024 * number, head + frame)

    def report(self, track: int, seconds: float, time: int, **other: int) -> "Hand":
        packets, octets = self.counts[track]
        body = Struct("!IQIII").pack(
            other.get("ssrc", 0xF000 + track),
            round((3_900_000_000 + seconds) * NTP_SECOND),
            (time + 0xFFFF_FF00) & 0xFFFF_FFFF,
            other.get("packets", packets),
            octets,
        )
        self.judge.rtcp(track, b"\x80\xc8\x00\x06" + body + NAME)
        return self

    def goodbye(self) -> "Hand":
        source = b"\x00\x00\xf0\x00"
        empty = b"\x80\xc9\x00\x01" + source
        self.judge.rtcp(VIDEO, empty + NAME + b"\x81\xcb\x00\x01" + source)
        return self

    def done(self) -> RtpContent:
        return self.judge.finish()


NAME = b"\x81\xca\x00\x03\x00\x00\xf0\x00\x01\x04flux\x00\x00"


def good() -> Hand:
    hand = Hand()
    for number in range(50):
        hand.frame(number).frame(number, track=HEVC).sound(number)
        if number % 20 == 10:
            for track in (VIDEO, HEVC):
                hand.report(track, number / 25, 3600 * number)
    return hand


def test_a_stream_by_hand_passes() -> None:
    content = good().done()
    assert content.problems == [], told(content.problems)
    assert len(content.units) == 150
    assert content.reports == 4
    video = [unit for unit in content.units if unit.track == VIDEO]
    assert [unit.is_key for unit in video] == [True] + [False] * 49
    assert all(unit.tail == SLICE for unit in video[1:])
    assert video[0].ntp is not None
    assert video[25].ntp is not None
    assert (video[25].ntp - video[0].ntp) / NTP_SECOND == pytest.approx(1.0)


def test_fragments_and_lists_of_frames_are_put_together() -> None:
    hand = Hand().frame(0)
    hand.send(VIDEO, 3600, b"\x5c\x81ab", marker=False)
    hand.send(VIDEO, 3600, b"\x5c\x01cd", marker=False)
    hand.send(VIDEO, 3600, b"\x5c\x41ef")
    hand.frame(0, track=HEVC)
    hand.send(HEVC, 3600, b"\x62\x01\x81ab", marker=False)
    hand.send(HEVC, 3600, b"\x62\x01\x41ef")
    hand.send(SOUND, 0, bytes((0, 32, 0, 2 << 3, 0, 3 << 3)) + b"abcde")
    hand.send(SOUND, 2048, bytes((0, 16, 0, 6 << 3)) + b"abc", marker=False)
    hand.send(SOUND, 2048, bytes((0, 16, 0, 6 << 3)) + b"def")
    content = hand.done()
    assert content.problems == [], told(content.problems)
    assert [unit.tail for unit in content.units if unit.track == VIDEO][-1] == b"\x41abcdef"
    assert [unit.tail for unit in content.units if unit.track == HEVC][-1] == b"\x02\x01abef"
    assert [unit.tail for unit in content.units if unit.track == SOUND] == [b"cde", b"abcdef"]


def test_interleaved_frames_are_split() -> None:
    data = b"$\x00\x00\x03abc$\x01\x00\x01z"
    assert list(split_interleaved(data)) == [(0, b"abc"), (1, b"z")]
    with pytest.raises(ValueError, match="byte 7"):
        list(split_interleaved(b"$\x00\x00\x03abcX\x00\x00\x00"))


BROKEN: dict[str, Callable[[Hand], object]] = {
    "rtp-size": lambda hand: hand.judge.packet(VIDEO, b"\x80\x60"),
    "rtp-version": lambda hand: hand.send(VIDEO, 180_000, SLICE, first=0x40),
    "payload-type": lambda hand: hand.send(VIDEO, 180_000, SLICE, kind=99),
    "ssrc": lambda hand: hand.send(VIDEO, 180_000, SLICE, ssrc=5),
    "sequence": lambda hand: hand.send(VIDEO, 180_000, SLICE, sequence=9999),
    "payload-empty": lambda hand: hand.send(VIDEO, 180_000, b""),
    "timestamp-order": lambda hand: hand.sound(20),
    "timestamp-back": lambda hand: hand.send(VIDEO, 3600, SLICE),
    "timestamp-jump": lambda hand: hand.send(VIDEO, 180_000 + 90_000 * 20, SLICE),
    "marker": lambda hand: hand.send(VIDEO, 180_000, SLICE, marker=False).send(
        VIDEO, 190_000, SLICE
    ),
    "nal-type": lambda hand: hand.send(VIDEO, 180_000, b"\x7e123"),
    "aggregation": lambda hand: hand.send(VIDEO, 180_000, b"\x78\x00\x09abc"),
    "fragment": lambda hand: hand.send(VIDEO, 180_000, b"\x5c\x01cd"),
    "hevc-aggregation": lambda hand: hand.send(HEVC, 180_000, b"\x60\x01\x00\x00"),
    "hevc-fragment": lambda hand: hand.send(HEVC, 180_000, b"\x62\x01\xc1ab"),
    "parameter-sets": lambda hand: hand.send(VIDEO, 180_000, IDR),
    "au-headers": lambda hand: hand.send(SOUND, 51_200, b"\x00\x10\x00\x08sound"),
    "rtcp-length": lambda hand: hand.judge.rtcp(VIDEO, b"\x80\xc8\x00\x07" + bytes(8)),
    "rtcp-first": lambda hand: hand.judge.rtcp(VIDEO, NAME),
    "rtcp-name": lambda hand: hand.judge.rtcp(VIDEO, NAME.replace(b"flux", b"FLUX")),
    "report-source": lambda hand: hand.report(VIDEO, 2.0, 180_000, ssrc=1),
    "report-clock": lambda hand: hand.report(VIDEO, 2.02, 180_000),
    "report-far": lambda hand: hand.report(VIDEO, 42.0, 42 * 90_000),
    "report-counts": lambda hand: hand.report(VIDEO, 2.0, 180_000, packets=3),
    "after-bye": lambda hand: hand.goodbye().send(VIDEO, 180_000, SLICE),
}


def test_each_rule_has_a_broken_sample() -> None:
    assert set(BROKEN) == set(RULES)


@pytest.mark.parametrize("slug", BROKEN)
def test_what_is_broken_is_found(slug: str) -> None:
    hand = good()
    BROKEN[slug](hand)
    assert slug in slugs(hand.done().problems)


@pytest.mark.parametrize(
    ("limits", "silent"),
    [
        (RtpLimits(jump=0), "timestamp-jump"),
        (RtpLimits(report_far=0), "report-far"),
        (RtpLimits(counts=False), "report-counts"),
        (RtpLimits(sets_at_keys=False), "parameter-sets"),
    ],
)
def test_what_is_not_asked_is_not_found(limits: RtpLimits, silent: str) -> None:
    hand = Hand(limits)
    for number in range(50):
        hand.frame(number)
    BROKEN[silent](hand)
    assert silent not in slugs(hand.done().problems)
