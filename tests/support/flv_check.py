"""A judge of FLV files. It imports nothing from FLUX; it follows Adobe's annex E and Enhanced RTMP.

`check(data)` reads a whole file and answers its tags and a list of slugs of broken rules. Rules
are those that players depend on, stricter than what most of them accept.
"""

from dataclasses import dataclass, field
from struct import unpack_from

AUDIO, VIDEO, SCRIPT = 8, 9, 18
SOUND_CODECS = {2: "mp3", 7: "pcma", 8: "pcmu", 10: "aac"}


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag, taken apart."""

    type: int
    timestamp: int  # ms, 32 bits
    codec: str = ""
    is_header: bool = False  # a sequence header
    is_key: bool = False
    cts: int = 0  # ms, signed
    payload: tuple[bytes, ...] = ()  # NAL units; one audio packet; a configuration
    is_end: bool = False  # the end of the sequence


@dataclass(slots=True)
class Report:
    """What a file holds and which rules it breaks."""

    tags: list[Tag] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    metadata: dict[str, object] = field(default_factory=dict)

    def frames(self, tag_type: int) -> list[Tag]:
        """The tags of one type that are neither headers, ends nor metadata."""
        return [
            tag
            for tag in self.tags
            if tag.type == tag_type and not tag.is_header and not tag.is_end
        ]


class _BrokenError(Exception):
    """A rule without which the rest cannot be read."""


def check(data: bytes) -> Report:
    """Read a whole file."""
    report = Report()
    try:
        _read(data, report)
    except _BrokenError as error:
        report.problems.append(str(error))
        return report
    _judge(data, report)
    return report


def _read(data: bytes, report: Report) -> None:
    if len(data) < 13 or data[:3] != b"FLV" or data[3] != 1:
        raise _BrokenError("signature")
    if data[4] & 0xFA or unpack_from(">I", data, 5)[0] != 9:
        raise _BrokenError("file-header")
    if unpack_from(">I", data, 9)[0] != 0:
        raise _BrokenError("previous-tag-size")
    at = 13
    while at < len(data):
        if at + 11 > len(data):
            raise _BrokenError("truncated")
        tag_type = data[at]
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        timestamp = int.from_bytes(data[at + 4 : at + 7], "big") | data[at + 7] << 24
        if data[at + 8 : at + 11] != b"\0\0\0":
            report.problems.append("stream-id")
        body = data[at + 11 : at + 11 + size]
        at += 11 + size
        if at + 4 > len(data):
            raise _BrokenError("truncated")
        if unpack_from(">I", data, at)[0] != size + 11:
            raise _BrokenError("previous-tag-size")
        at += 4
        if not body:
            raise _BrokenError("empty-tag")
        report.tags.append(_tag(tag_type, timestamp, body, report))


def _tag(tag_type: int, timestamp: int, body: bytes, report: Report) -> Tag:
    if tag_type == VIDEO:
        return _video(timestamp, body)
    if tag_type == AUDIO:
        return _audio(timestamp, body)
    if tag_type == SCRIPT:
        report.metadata = _script(body)
        return Tag(SCRIPT, timestamp, is_header=True)
    raise _BrokenError("tag-type")


def _video(timestamp: int, body: bytes) -> Tag:
    first = body[0]
    frame_type = first >> 4 & 7
    if frame_type not in (1, 2):
        raise _BrokenError("frame-type")
    is_key = frame_type == 1
    if first & 0x80:
        packet_type, fourcc = first & 15, body[1:5]
        if fourcc != b"hvc1" or packet_type not in (0, 1, 2, 3):
            raise _BrokenError("video-codec")
        if packet_type == 2:
            return Tag(VIDEO, timestamp, "h265", is_end=True)
        cts = int.from_bytes(body[5:8], "big", signed=True) if packet_type == 1 else 0
        data = body[8:] if packet_type == 1 else body[5:]
        codec, is_header = "h265", packet_type == 0
    else:
        codec = {7: "h264", 12: "h265"}.get(first & 15, "")
        if not codec or len(body) < 5 or body[1] not in (0, 1, 2):
            raise _BrokenError("video-codec")
        if body[1] == 2:
            return Tag(VIDEO, timestamp, codec, is_end=True)
        cts = int.from_bytes(body[2:5], "big", signed=True)
        data, is_header = body[5:], body[1] == 0
    if is_header:
        if not data or data[0] != 1 or not is_key:
            raise _BrokenError("video-header")
        return Tag(VIDEO, timestamp, codec, True, True, 0, (data,))
    return Tag(VIDEO, timestamp, codec, False, is_key, cts, _nals(data))


def _nals(data: bytes) -> tuple[bytes, ...]:
    nals, at = [], 0
    while at < len(data):
        if at + 4 > len(data):
            raise _BrokenError("nal-length")
        size = unpack_from(">I", data, at)[0]
        nal = data[at + 4 : at + 4 + size]
        if not size or len(nal) != size:
            raise _BrokenError("nal-length")
        nals.append(nal)
        at += 4 + size
    if not nals:
        raise _BrokenError("nal-length")
    return tuple(nals)


def _audio(timestamp: int, body: bytes) -> Tag:
    codec_id = body[0] >> 4
    if codec_id == 9:
        if body[1:5] != b"Opus" or body[0] & 15 not in (0, 1, 2):
            raise _BrokenError("audio-codec")
        if body[0] & 15 == 2:
            return Tag(AUDIO, timestamp, "opus", is_end=True)
        return Tag(AUDIO, timestamp, "opus", not body[0] & 15, True, 0, (body[5:],))
    codec = SOUND_CODECS.get(codec_id, "")
    if not codec:
        raise _BrokenError("audio-codec")
    if codec != "aac":
        return Tag(AUDIO, timestamp, codec, False, True, 0, (body[1:],))
    if body[0] != 0xAF or len(body) < 3 or body[1] not in (0, 1):
        raise _BrokenError("audio-codec")
    return Tag(AUDIO, timestamp, codec, body[1] == 0, True, 0, (body[2:],))


def _script(body: bytes) -> dict[str, object]:
    if body[:13] != b"\x02\x00\x0aonMetaData" or body[13] != 8:
        raise _BrokenError("metadata")
    count, at = unpack_from(">I", body, 14)[0], 18
    values: dict[str, object] = {}
    while body[at : at + 3] != b"\0\0\x09":
        if at + 3 > len(body):
            raise _BrokenError("metadata")
        size = unpack_from(">H", body, at)[0]
        name = body[at + 2 : at + 2 + size].decode()
        marker, at = body[at + 2 + size], at + 3 + size
        if marker == 0:
            values[name], at = unpack_from(">d", body, at)[0], at + 8
        elif marker == 1:
            values[name], at = bool(body[at]), at + 1
        else:
            raise _BrokenError("metadata")
    if at + 3 != len(body) or count != len(values):
        raise _BrokenError("metadata")
    return values


def _judge(data: bytes, report: Report) -> None:
    problems, tags = report.problems, report.tags
    types = {tag.type for tag in tags}
    flags = (4 if AUDIO in types else 0) | (1 if VIDEO in types else 0)
    if data[4] != flags:
        problems.append("flags")
    if not tags or tags[0].type != SCRIPT:
        problems.append("metadata-first")
    if ("videocodecid" in report.metadata) != (VIDEO in types):
        problems.append("metadata-codecs")
    if ("audiocodecid" in report.metadata) != (AUDIO in types):
        problems.append("metadata-codecs")
    for tag_type in (AUDIO, VIDEO):
        _judge_track([tag for tag in tags if tag.type == tag_type], problems)


def _judge_track(tags: list[Tag], problems: list[str]) -> None:
    header: Tag | None = None
    last: int | None = None
    for tag in tags:
        if tag.is_end:
            continue
        if tag.is_header:
            if header is not None and header.payload == tag.payload:
                problems.append("header-repeated")
            header = tag
            continue
        if last is None and not tag.is_key:
            problems.append("first-not-key")
        if header is None and tag.codec not in ("pcma", "pcmu", "mp3"):
            problems.append("no-header")
        if header is not None and header.codec != tag.codec:
            problems.append("codec-changed")
        if last is not None and tag.timestamp < last:
            problems.append("timestamp-order")
        if tag.timestamp + tag.cts < 0 or tag.timestamp >= 1 << 31:
            problems.append("timestamp-range")
        last = tag.timestamp
