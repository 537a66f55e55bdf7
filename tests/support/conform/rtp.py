"""A judge of RTP and RTCP as one sender gives them, clause by clause. It imports nothing of FLUX.

RFC 3550; the payload formats of RFC 6184 (H.264), RFC 7798 (H.265) and RFC 3640 (AAC-hbr). It takes
what one receiver got on a line without loss: each packet of each track in the order of sending.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.support.conform.problem import Findings, Problem

RFC, AVC, HEVC, AAC_FORMAT = "RFC 3550", "RFC 6184", "RFC 7798", "RFC 3640"
RULES = {
    "rtp-size": f"{RFC} 5.1",
    "rtp-version": f"{RFC} 5.1",
    "payload-type": f"{RFC} 5.1",
    "ssrc": f"{RFC} 8",
    "sequence": f"{RFC} 5.1",
    "payload-empty": f"{RFC} 5.1",
    "timestamp-order": f"{RFC} 5.1",
    "timestamp-back": f"{RFC} 5.1",
    "timestamp-jump": "reference 5.1",
    "marker": f"{AVC} 5.1",
    "nal-type": f"{AVC} 5.2",
    "aggregation": f"{AVC} 5.7.1",
    "fragment": f"{AVC} 5.8",
    "hevc-aggregation": f"{HEVC} 4.4.2",
    "hevc-fragment": f"{HEVC} 4.4.3",
    "parameter-sets": "reference 5.1",
    "au-headers": f"{AAC_FORMAT} 3.2.1",
    "rtcp-length": f"{RFC} 6.4",
    "rtcp-first": f"{RFC} 6.1",
    "rtcp-name": f"{RFC} 6.1",
    "report-source": f"{RFC} 6.4.1",
    "report-clock": f"{RFC} 6.4.1",
    "report-far": f"{RFC} 6.4.1",
    "report-counts": f"{RFC} 6.4.1",
    "after-bye": f"{RFC} 6.6",
}
SR, RR, SDES, BYE, APP = 200, 201, 202, 203, 204
NTP_SECOND = 1 << 32
TAIL_BYTES = 8
NEAR = 12.0  # seconds; a report tells nothing of units farther off


@dataclass(frozen=True, slots=True)
class RtpLine:
    """What the description says of a track."""

    codec: str  # h264, h265, aac, or anything else
    clock_rate: int
    payload_type: int | None = None  # None: that of the first packet
    is_video: bool = False


@dataclass(frozen=True, slots=True)
class RtpLimits:
    """What is asked beyond the syntax; seconds, 0: not judged."""

    back: float = 1.0  # a picture that is sent after one that is shown later
    jump: float = 10.0  # from one unit to the next
    report_clock: float = 0.003  # two reports in a row
    clock_slew: float = 0.001  # more of it, for each second between them
    report_far: float = 12.0  # a report and the newest packet
    counts: bool = True  # the receiver got everything from the first packet on
    sets_at_keys: bool = True


@dataclass(slots=True)
class RtpUnit:
    """All packets of one timestamp, or one access unit of sound."""

    track: int
    timestamp: int  # unwrapped
    ntp: int | None  # of that instant by the sender report that is next to it
    is_key: bool
    tail: bytes


@dataclass(slots=True)
class RtpContent:
    """What was received."""

    problems: list[Problem]
    units: list[RtpUnit]
    reports: int


@dataclass(slots=True)
class _Stream:
    line: RtpLine
    ssrc: int = -1
    payload_type: int = -1
    sequence: int = -1
    timestamp: int | None = None  # unwrapped, of the last packet
    greatest: int = 0
    has_marker: bool = True  # of the last packet
    pieces: list[bytes] = field(default_factory=list)  # NAL units or frames of the open unit
    fragment: list[bytes] = field(default_factory=list)
    packets: int = 0
    octets: int = 0
    report: tuple[int, int] | None = None  # NTP, unwrapped timestamp
    name: bytes = b""
    has_ended: bool = False
    unnamed: list[RtpUnit] = field(default_factory=list)  # before the first report


class RtpJudge:
    """Judges all tracks of one receiver."""

    def __init__(self, lines: Mapping[int, RtpLine], limits: RtpLimits | None = None) -> None:
        self._findings = Findings(RULES)
        self._limits = limits or RtpLimits()
        self._streams = {number: _Stream(line) for number, line in lines.items()}
        self._units: list[RtpUnit] = []
        self._reports = 0

    def finish(self) -> RtpContent:
        """All has been received."""
        for number, stream in self._streams.items():
            self._end_unit(number, stream)
        return RtpContent(self._findings.problems, self._units, self._reports)

    def packet(self, track: int, data: bytes) -> None:
        """An RTP packet."""
        stream = self._streams[track]
        where = f"track {track} packet {stream.packets}"
        add = self._findings.add
        if len(data) < 12:
            add("rtp-size", where, f"{len(data)} bytes")
            return
        if data[0] >> 6 != 2:
            add("rtp-version", where, str(data[0] >> 6))
            return
        start = 12 + 4 * (data[0] & 15)
        if data[0] & 0x10:
            start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
        end = len(data) - (data[-1] if data[0] & 0x20 else 0)
        if start > end:
            add("rtp-size", where, f"{start} bytes of header in {end}")
            return
        if stream.has_ended:
            add("after-bye", where)
        self._head(stream, data, where)
        marker = bool(data[1] & 0x80)
        payload = data[start:end]
        stream.packets += 1
        stream.octets += len(payload)
        if not payload:
            add("payload-empty", where)
            return
        self._timestamp(track, stream, int.from_bytes(data[4:8], "big"), where)
        codec = stream.line.codec
        if codec == "h264":
            self._avc(stream, payload, where)
        elif codec == "h265":
            self._hevc(stream, payload, where)
        elif codec == "aac":
            self._aac(stream, payload, where)
        else:
            stream.pieces.append(payload)
        stream.has_marker = marker

    def _head(self, stream: _Stream, data: bytes, where: str) -> None:
        add = self._findings.add
        kind, sequence = data[1] & 0x7F, int.from_bytes(data[2:4], "big")
        ssrc = int.from_bytes(data[8:12], "big")
        wanted = stream.line.payload_type if stream.payload_type < 0 else stream.payload_type
        if wanted is not None and kind != wanted:
            add("payload-type", where, f"{kind}, not {wanted}")
        stream.payload_type = kind
        if stream.ssrc >= 0 and ssrc != stream.ssrc:
            add("ssrc", where, f"0x{ssrc:08x} after 0x{stream.ssrc:08x}")
        if stream.sequence >= 0 and sequence != stream.sequence + 1 & 0xFFFF:
            add("sequence", where, f"{sequence} after {stream.sequence}")
        stream.ssrc, stream.sequence = ssrc, sequence

    def _timestamp(self, track: int, stream: _Stream, value: int, where: str) -> None:
        """Unwrap and judge; another timestamp is another unit."""
        add, rate, last = self._findings.add, stream.line.clock_rate, stream.timestamp
        if last is None:
            stream.timestamp = stream.greatest = value
            return
        step = _distance(value, last)
        if not step:
            return
        if stream.line.is_video and not stream.has_marker:
            add("marker", where, "the unit before ended without one")
        self._end_unit(track, stream)
        time = last + step
        if not stream.line.is_video and step < 0:
            add("timestamp-order", where, f"{step} ticks")
        behind = (stream.greatest - time) / rate
        if behind > self._limits.back:
            add("timestamp-back", where, f"{behind:.3f} s behind another")
        ahead = (time - stream.greatest) / rate
        if self._limits.jump and ahead > self._limits.jump:
            add("timestamp-jump", where, f"{ahead:.3f} s")
        stream.timestamp = time
        stream.greatest = max(stream.greatest, time)

    # -- payload formats ---------------------------------------------------------------------

    def _avc(self, stream: _Stream, payload: bytes, where: str) -> None:
        add, kind = self._findings.add, payload[0] & 31
        if stream.fragment and kind != 28:
            add("fragment", where, "the one before has no end")
            stream.fragment = []
        if 1 <= kind <= 23:
            stream.pieces.append(payload)
        elif kind == 24:
            stream.pieces += self._aggregated(payload[1:], "aggregation", where)
        elif kind == 28 and len(payload) > 2:
            head = bytes((payload[0] & 0xE0 | payload[1] & 31,))
            self._fragmented(stream, payload[1], head, payload[2:], "fragment", where)
        else:
            add("nal-type", where, f"type {kind} in {len(payload)} bytes")

    def _hevc(self, stream: _Stream, payload: bytes, where: str) -> None:
        add, kind = self._findings.add, payload[0] >> 1 & 63
        if stream.fragment and kind != 49:
            add("hevc-fragment", where, "the one before has no end")
            stream.fragment = []
        if kind < 48:
            stream.pieces.append(payload)
        elif kind == 48:
            stream.pieces += self._aggregated(payload[2:], "hevc-aggregation", where)
        elif kind == 49 and len(payload) > 3:
            first = payload[0] & 0x81 | (payload[2] & 63) << 1
            head = bytes((first, payload[1]))
            self._fragmented(stream, payload[2], head, payload[3:], "hevc-fragment", where)
        else:
            add("nal-type", where, f"type {kind} in {len(payload)} bytes")

    def _aggregated(self, data: bytes, slug: str, where: str) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 2], "big")
            if not size or at + 2 + size > len(data):
                self._findings.add(slug, where, f"{size} bytes, {len(data) - at - 2} are left")
                return
            yield data[at + 2 : at + 2 + size]
            at += 2 + size

    def _fragmented(
        self, stream: _Stream, header: int, head: bytes, data: bytes, slug: str, where: str
    ) -> None:
        is_start, is_end = bool(header & 0x80), bool(header & 0x40)
        if is_start == bool(stream.fragment) or (is_start and is_end):
            self._findings.add(slug, where, f"start {is_start}, end {is_end}")
            stream.fragment = []
        if is_start:
            stream.fragment = [head]
        stream.fragment.append(data)
        if is_end:
            stream.pieces.append(b"".join(stream.fragment))
            stream.fragment = []

    def _aac(self, stream: _Stream, payload: bytes, where: str) -> None:
        """Sizes of 13 bits, indexes of 3."""
        bits = int.from_bytes(payload[:2], "big")
        count, at = bits // 16, 2 + bits // 8
        sizes = [int.from_bytes(payload[2 + 2 * n : 4 + 2 * n], "big") >> 3 for n in range(count)]
        if not count or bits % 16 or (count > 1 and at + sum(sizes) != len(payload)):
            self._findings.add("au-headers", where, f"{bits} bits, sizes {sizes[:4]}")
            return
        if count == 1:  # whole, or a fragment of what has this size
            if len(payload) - at > sizes[0]:
                self._findings.add("au-headers", where, f"{len(payload) - at} of {sizes[0]} bytes")
            stream.pieces = [b"".join((*stream.pieces, payload[at:]))]
            return
        for size in sizes:
            stream.pieces.append(payload[at : at + size])
            at += size

    def _end_unit(self, track: int, stream: _Stream) -> None:
        pieces, stream.pieces = stream.pieces, []
        if not pieces or stream.timestamp is None:
            return
        where = f"track {track} before packet {stream.packets - 1}"
        if stream.fragment:
            slug = "fragment" if stream.line.codec == "h264" else "hevc-fragment"
            self._findings.add(slug, where, "no end")
            stream.fragment = []
        is_key, has_sets = _look_at(stream.line.codec, pieces)
        if is_key and not has_sets and self._limits.sets_at_keys:
            self._findings.add("parameter-sets", where)
        unit = RtpUnit(track, stream.timestamp, None, is_key, pieces[-1][-TAIL_BYTES:])
        near = self._limits.report_far or NEAR
        if stream.report is None or (
            abs(unit.timestamp - stream.report[1]) > near * stream.line.clock_rate
        ):
            stream.unnamed.append(unit)
        else:
            unit.ntp = _instant(stream.report, unit.timestamp, stream.line.clock_rate)
        self._units.append(unit)

    # -- RTCP --------------------------------------------------------------------------------

    def rtcp(self, track: int, data: bytes) -> None:
        """A compound on the track's RTCP channel."""
        stream = self._streams[track]
        where = f"track {track} report {self._reports}"
        add = self._findings.add
        at, kinds, name = 0, [], b""
        while at < len(data):
            size = 4 * (int.from_bytes(data[at + 2 : at + 4], "big") + 1)
            if len(data) - at < 4 or at + size > len(data) or data[at] >> 6 != 2:
                add("rtcp-length", where, f"{size} bytes at {at} of {len(data)}")
                return
            packet = data[at : at + size]
            kinds.append(packet[1])
            if packet[1] == SR:
                self._report(track, stream, packet, where)
            elif packet[1] == SDES and len(packet) > 10 and packet[8] == 1:
                name = packet[10 : 10 + packet[9]]
            elif packet[1] == BYE:
                stream.has_ended = True
            at += size
        if not kinds or kinds[0] not in (SR, RR):
            add("rtcp-first", where, str(kinds))
        if not name or (stream.name and name != stream.name):
            add("rtcp-name", where, f"{name!r} after {stream.name!r}")
        stream.name = stream.name or name

    def _report(self, track: int, stream: _Stream, packet: bytes, where: str) -> None:
        add, rate, limits = self._findings.add, stream.line.clock_rate, self._limits
        if len(packet) < 28:
            add("rtcp-length", where, f"a sender report of {len(packet)} bytes")
            return
        self._reports += 1
        ssrc = int.from_bytes(packet[4:8], "big")
        if stream.ssrc not in (-1, ssrc):
            add("report-source", where, f"0x{ssrc:08x}, the packets have 0x{stream.ssrc:08x}")
        ntp = int.from_bytes(packet[8:16], "big")
        wire = int.from_bytes(packet[16:20], "big")
        if stream.timestamp is None:
            return
        timestamp = stream.timestamp + _distance(wire, stream.timestamp & 0xFFFF_FFFF)
        far = abs(timestamp - stream.timestamp) / rate
        if limits.report_far and far > limits.report_far:
            add("report-far", where, f"{far:.3f} s from the newest packet")
        if stream.report is not None:
            clock = (ntp - stream.report[0]) / NTP_SECOND
            media = (timestamp - stream.report[1]) / rate
            room = limits.report_clock + limits.clock_slew * abs(clock)
            if abs(clock - media) > room:
                add("report-clock", where, f"NTP says {clock:.4f} s, RTP {media:.4f} s")
        counts = int.from_bytes(packet[20:24], "big"), int.from_bytes(packet[24:28], "big")
        seen = stream.packets & 0xFFFF_FFFF, stream.octets & 0xFFFF_FFFF
        if limits.counts and counts != seen:
            add("report-counts", where, f"{counts}, {seen} came")
        stream.report = ntp, timestamp
        for unit in stream.unnamed:
            unit.ntp = _instant(stream.report, unit.timestamp, rate)
        stream.unnamed = []


def split_interleaved(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(channel, packet) of interleaved binary data, RFC 2326 section 10.12."""
    at = 0
    while at < len(data):
        if data[at] != 0x24 or at + 4 > len(data):
            raise ValueError(f"no interleaved frame at byte {at}")
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at + 1], data[at + 4 : at + 4 + size]
        at += 4 + size


def _look_at(codec: str, pieces: list[bytes]) -> tuple[bool, bool]:
    """Whether these NAL units are a key picture, and hold its parameter sets."""
    if codec == "h264":
        types = {nal[0] & 31 for nal in pieces if nal}
        return 5 in types, {7, 8} <= types
    if codec == "h265":
        types = {nal[0] >> 1 & 63 for nal in pieces if nal}
        return any(16 <= kind <= 21 for kind in types), {32, 33, 34} <= types
    return False, True


def _instant(report: tuple[int, int], timestamp: int, rate: int) -> int:
    return report[0] + (timestamp - report[1]) * NTP_SECOND // rate


def _distance(new: int, old: int) -> int:
    """How far a 32-bit number is ahead of another."""
    return (new - (old & 0xFFFF_FFFF) + (1 << 31)) % (1 << 32) - (1 << 31)
