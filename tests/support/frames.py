"""What a file, a capture or a clip holds: access units and their exact times, read by PyAV.

A judge of FLUX's output, so it imports nothing from FLUX. `read` takes MP4, FLV, MPEG-TS or
whatever else PyAV opens and gives one `TrackUnits` for each track: the NAL units of every access
unit less access unit delimiters, parameter sets and filler, or the raw audio units, in decode
order, with PTS and DTS in ticks of the track's time base. `compare` holds a capture against a clip
that a server sent in a loop and answers the list of all differences in words.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import av

H264_DROPPED = frozenset(
    {7, 8, 9, 12, 13}
)  # SPS, PPS, AUD, filler, SPS extension: ITU-T H.264 7.4.1
H265_DROPPED = frozenset({32, 33, 34, 35, 38})  # VPS, SPS, PPS, AUD, filler: ITU-T H.265 7.4.2.2
AV1_DROPPED = frozenset({1, 2, 15})  # sequence header, temporal delimiter, padding: AV1 6.2.2
DECODERS = {"libdav1d": "av1", "libaom-av1": "av1", "libopus": "opus"}  # PyAV names the decoder
START_CODES = (b"\0\0\1", b"\0\0\0\1")
ADTS_SYNC = 0xFFF
MAX_REPORTED = 5  # differences of one kind that are worth reading


class FormatError(Exception):
    """The capture is not what its container says it is."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One access unit of video or one packet of audio."""

    pieces: tuple[bytes, ...]  # NAL units without start codes or lengths; one audio unit
    pts: int  # ticks of the track's time base
    dts: int

    def describe(self) -> str:
        """Sizes and a short hash, for a reader of a test report."""
        sizes = "+".join(str(len(piece)) for piece in self.pieces)
        return f"{sizes} bytes, {fingerprint(self.pieces)}"


@dataclass(frozen=True, slots=True)
class TrackUnits:
    """One track: its units in decode order."""

    kind: str  # "video" or "audio"
    codec: str  # h264, hevc, aac, opus, pcm_alaw, ...
    time_base: Fraction  # seconds of one tick
    units: tuple[Unit, ...]
    sample_rate: int = 0  # Hz, audio only

    def seconds(self, ticks: int) -> Fraction:
        """A time of this track in seconds."""
        return ticks * self.time_base

    @property
    def rtp_rate(self) -> int:
        """The clock rate in Hz that RTP uses for this track (RFC 6184, 7798, 3640, 7587)."""
        if self.kind == "video":
            return 90_000
        return 48_000 if self.codec == "opus" else self.sample_rate

    def in_rtp_ticks(self) -> "TrackUnits":
        """The same track with its times rounded to the RTP clock, as any RTP sender must."""
        scale = self.time_base * self.rtp_rate
        units = tuple(
            replace(unit, pts=nearest(unit.pts * scale), dts=nearest(unit.dts * scale))
            for unit in self.units
        )
        return replace(self, time_base=Fraction(1, self.rtp_rate), units=units)


@dataclass(frozen=True, slots=True)
class Expectation:
    """How exactly a capture must match; times in seconds."""

    tolerance: Fraction  # of PTS - first PTS
    offset_tolerance: Fraction  # of the distance between the tracks
    period: Fraction | None = None  # of the sender's loop; None: the clip is sent once
    minimum: dict[str, int] = field(default_factory=dict)  # units by kind; default: the whole clip
    check_dts: bool = True


FLV = Expectation(tolerance=Fraction(1, 1000), offset_tolerance=Fraction(2, 1000))
HLS = Expectation(tolerance=Fraction(1, 90_000), offset_tolerance=Fraction(1, 1000))


def nearest(value: Fraction) -> int:
    """The integer next to `value`, halves upwards."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def fingerprint(pieces: Sequence[bytes]) -> str:
    """A short hash of a unit; the sizes are part of it, so moved borders show."""
    digest = sha256()
    for piece in pieces:
        digest.update(len(piece).to_bytes(4, "big"))
        digest.update(piece)
    return digest.hexdigest()[:12]


def read(source: Path | bytes | BinaryIO, container: str | None = None) -> dict[str, TrackUnits]:
    """The first video and the first audio track of `source`, by kind.

    `container` is FFmpeg's name of the format (`flv`, `mpegts`); None lets it find out. A capture
    that was cut in the middle of its last unit loses that unit only.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    target = str(file) if isinstance(file, Path) else file
    found: dict[int, list[Unit]] = {}
    with av.open(target, mode="r", format=container, options={"fflags": "+nofillin"}) as opened:
        chosen: dict[int, av.stream.Stream] = {}
        for stream in opened.streams:
            if stream.type in ("video", "audio") and all(
                other.type != stream.type for other in chosen.values()
            ):
                chosen[stream.index] = stream
                found[stream.index] = []
        splitters = {index: Splitter(stream) for index, stream in chosen.items()}
        for packet in opened.demux(list(chosen.values())):
            if packet.size == 0 or packet.pts is None or packet.is_corrupt:
                continue
            pieces = splitters[packet.stream.index].split(bytes(packet))
            if pieces:
                dts = packet.pts if packet.dts is None else packet.dts
                found[packet.stream.index].append(Unit(pieces, packet.pts, dts))
        return {
            stream.type: TrackUnits(
                kind=stream.type,
                codec=codec_of(stream),
                time_base=Fraction(stream.time_base or 0),
                units=tuple(found[index]),
                sample_rate=getattr(stream.codec_context, "sample_rate", 0) or 0,
            )
            for index, stream in chosen.items()
        }


class Splitter:
    """Takes the packets of one stream apart."""

    def __init__(self, stream: "av.stream.Stream") -> None:
        self._codec = codec_of(stream)
        extradata: bytes = stream.codec_context.extradata or b""
        self._length_bytes = 0  # of a NAL unit's length; 0: the stream has start codes
        if self._codec == "h264" and len(extradata) >= 7 and extradata[0] == 1:
            self._length_bytes = (extradata[4] & 3) + 1  # ISO/IEC 14496-15 5.3.3.1
        elif (
            self._codec == "hevc" and len(extradata) >= 23 and not extradata.startswith(START_CODES)
        ):
            self._length_bytes = (extradata[21] & 3) + 1  # ISO/IEC 14496-15 8.3.3.1

    def split(self, data: bytes) -> tuple[bytes, ...]:
        """The pieces of one packet that count."""
        if self._codec in ("h264", "hevc"):
            size = self._length_bytes
            nals = split_lengths(data, size) if size else split_start_codes(data)
            return tuple(nal for nal in nals if counts(nal, self._codec))
        if self._codec == "aac":
            return (strip_adts(data),)
        return split_obus(data) if self._codec == "av1" else (data,)


def codec_of(stream: "av.stream.Stream") -> str:
    """FFmpeg's name of a stream's codec."""
    name = stream.codec_context.name
    return DECODERS.get(name, name)


def counts(nal: bytes, codec: str) -> bool:
    """Whether a NAL unit belongs to the picture rather than to its wrapping."""
    if codec == "h264":
        return nal[0] & 0x1F not in H264_DROPPED
    return (nal[0] >> 1) & 0x3F not in H265_DROPPED


def split_lengths(data: bytes, length_bytes: int) -> list[bytes]:
    """NAL units with lengths in front (ISO/IEC 14496-15)."""
    nals, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + length_bytes], "big")
        at += length_bytes
        if at + size > len(data):
            raise FormatError(f"a NAL unit of {size} bytes, {len(data) - at} are left")
        nal = data[at : at + size].rstrip(b"\0")
        if nal:
            nals.append(nal)
        at += size
    return nals


def split_start_codes(data: bytes) -> list[bytes]:
    """NAL units with start codes (ITU-T H.264 annex B, H.265 annex B)."""
    return [nal for piece in data.split(b"\0\0\1")[1:] if (nal := piece.rstrip(b"\0"))]


def split_obus(data: bytes) -> tuple[bytes, ...]:
    """OBUs that belong to the picture, as type and content (AV1 specification 5.3)."""
    found, at = [], 0
    while at < len(data):
        kind, extension, has_size = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + extension
        size = len(data) - at
        if has_size:
            size = shift = 0
            while True:
                size |= (data[at] & 0x7F) << shift
                shift, at = shift + 7, at + 1
                if data[at - 1] < 0x80:
                    break
        if at + size > len(data):
            raise FormatError(f"an OBU of {size} bytes, {len(data) - at} are left")
        if kind not in AV1_DROPPED:
            found.append(bytes((kind,)) + data[at : at + size])
        at += size
    return tuple(found)


def strip_adts(data: bytes) -> bytes:
    """The raw AAC unit of an ADTS frame (ISO/IEC 14496-3 1.A.2.2); a raw unit passes unchanged."""
    if len(data) < 7 or int.from_bytes(data[:2], "big") >> 4 != ADTS_SYNC or data[1] & 6:
        return data
    size = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
    if size != len(data):  # a raw unit that happens to begin like a sync word
        return data
    return data[7 if data[1] & 1 else 9 :]


def compare(
    clip: dict[str, TrackUnits], capture: dict[str, TrackUnits], expected: Expectation
) -> list[str]:
    """All differences between what was sent and what came out; empty if there is none.

    The capture must begin at the clip's first unit. With a period it may go on into further
    rounds of the loop, whose times continue by the period.
    """
    problems: list[str] = []
    for kind, sent in clip.items():
        if kind not in capture:
            problems.append(f"{kind}: the track is missing")
        else:
            problems += compare_track(sent.in_rtp_ticks(), capture[kind], expected)
    problems += [f"{kind}: a track that was not sent" for kind in capture if kind not in clip]
    if not problems and {"video", "audio"} <= clip.keys():
        problems += compare_offset(clip, capture, expected)
    return problems


def assert_same(
    clip: dict[str, TrackUnits], capture: dict[str, TrackUnits], expected: Expectation
) -> None:
    """AssertionError with all differences, one a line."""
    problems = compare(clip, capture, expected)
    assert not problems, "\n".join(["the capture differs from the clip:", *problems])


def compare_track(sent: TrackUnits, got: TrackUnits, expected: Expectation) -> list[str]:
    """The differences of one track."""
    kind, problems = sent.kind, Problems(sent.kind)
    if sent.codec != got.codec:
        return [f"{kind}: codec {got.codec}, sent was {sent.codec}"]
    wanted = expected.minimum.get(kind, len(sent.units))
    if len(got.units) < wanted:
        problems.add("count", f"{len(got.units)} units, at least {wanted} were due")
    if not got.units or not sent.units:
        return problems.all
    places: dict[tuple[bytes, ...], list[int]] = {}  # silence repeats: a unit has many places
    for index, unit in enumerate(sent.units):
        places.setdefault(unit.pieces, []).append(index)
    first_sent, first_got = sent.seconds(sent.units[0].pts), got.seconds(got.units[0].pts)
    place = 0  # in the sender's endless row of units
    for number, unit in enumerate(got.units):
        lap, index = divmod(place, len(sent.units))
        if lap and expected.period is None:
            problems.add("more", f"unit {number} came after the clip's end: {unit.describe()}")
            break
        if unit.pieces != sent.units[index].pieces:
            again = places.get(unit.pieces)
            if not again:
                problems.add(
                    "content",
                    f"unit {number} is {unit.describe()}; sent was number {index}, "
                    f"{sent.units[index].describe()}{first_difference(sent.units[index], unit)}",
                )
            else:
                skipped = min((other - index) % len(sent.units) for other in again)
                problems.add("order", f"unit {number}: {skipped} units are missing before it")
                place += skipped
                lap, index = divmod(place, len(sent.units))
        due = sent.seconds(sent.units[index].pts) + lap * (expected.period or 0) - first_sent
        came = got.seconds(unit.pts) - first_got
        if abs(came - due) > expected.tolerance:
            problems.add(
                "pts",
                f"unit {number}: PTS {milliseconds(came)} after the first, "
                f"{milliseconds(due)} was due",
            )
        place += 1
    if expected.check_dts:
        for number, (before, after) in enumerate(zip(got.units, got.units[1:], strict=False), 1):
            if after.dts <= before.dts:
                problems.add("dts", f"unit {number}: DTS {after.dts} follows {before.dts}")
        for number, unit in enumerate(got.units):
            if unit.pts < unit.dts:
                problems.add("pts<dts", f"unit {number}: PTS {unit.pts} before DTS {unit.dts}")
    return problems.all


def compare_offset(
    clip: dict[str, TrackUnits], capture: dict[str, TrackUnits], expected: Expectation
) -> list[str]:
    """The difference of the distance between the first video and the first audio unit."""

    def distance(tracks: dict[str, TrackUnits]) -> Fraction:
        video, audio = tracks["video"], tracks["audio"]
        return audio.seconds(audio.units[0].pts) - video.seconds(video.units[0].pts)

    due, came = distance(clip), distance(capture)
    if abs(came - due) <= expected.offset_tolerance:
        return []
    return [f"audio - video: {milliseconds(came)}, {milliseconds(due)} was due"]


class Problems:
    """Collects differences, the first few of each kind in words and the others as a number."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._lines: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def add(self, kind: str, text: str) -> None:
        """Note one difference."""
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        if count <= MAX_REPORTED:
            self._lines.setdefault(kind, []).append(f"{self._prefix}: {text}")

    @property
    def all(self) -> list[str]:
        """The lines to show."""
        lines = []
        for kind, texts in self._lines.items():
            lines += texts
            if self._counts[kind] > MAX_REPORTED:
                rest = self._counts[kind] - MAX_REPORTED
                lines.append(f"{self._prefix}: ... and {rest} more of this kind ({kind})")
        return lines


def first_difference(sent: Unit, got: Unit) -> str:
    """Where two units part: the piece and the byte."""
    if len(sent.pieces) != len(got.pieces):
        return f" ({len(got.pieces)} pieces instead of {len(sent.pieces)})"
    for number, (one, other) in enumerate(zip(sent.pieces, got.pieces, strict=True)):
        if one != other:
            pairs = enumerate(zip(one, other, strict=False))
            at = next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
            return f" (piece {number} differs from byte {at} on)"
    return ""


def milliseconds(value: Fraction) -> str:
    """A time for people."""
    return f"{float(value) * 1000:.3f} ms"
