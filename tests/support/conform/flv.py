"""A judge of FLV files, clause by clause. It imports nothing of FLUX.

Adobe, "Flash Video File Format Specification 10.1", annex E; Veovera, "Enhanced RTMP v2" (ERTMP).
`check_flv(data)` answers what is wrong with a whole file; rules that neither text has and players
need name the row of the reference.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.conform.flv_script import read_script
from tests.support.conform.flv_tags import AUDIO, BODY_RULES, SCRIPT, VIDEO, Body, read_body
from tests.support.conform.problem import Findings, Problem
from tests.support.conform.records import unescape

FLV = "FLV 10.1"
RULES = {
    "signature": f"{FLV} E.2",
    "version": f"{FLV} E.2",
    "type-flags": f"{FLV} E.2",
    "data-offset": f"{FLV} E.2",
    "header-flags": "reference 5.3 row 28",
    "previous-tag-size": f"{FLV} E.3",
    "truncated": f"{FLV} E.3",
    "tag-type": f"{FLV} E.4.1",
    "tag-flags": f"{FLV} E.4.1",
    "stream-id": f"{FLV} E.4.1",
    "empty-tag": f"{FLV} E.4.1",
    "timestamp-order": f"{FLV} E.4.1",
    "timestamp-extended": f"{FLV} E.4.1",
    "timestamp-signed": f"{FLV} E.4.1",
    "timestamp-jump": "reference 5.3 row 31",
    "composition-time": f"{FLV} E.4.3.1",
    "first-key": "reference 5.3 row 30",
    "header-missing": "reference 5.3 row 29",
    "header-stale": "reference 5.3 row 29",
    "header-late": "reference 5.3 row 29",
    "after-end": f"{FLV} E.4.3.1",
    "codec-change": "reference 5.3 row 36",
    "metadata-first": "reference 5.3 row 29",
    "metadata-syntax": f"{FLV} E.4.4",
    "metadata-count": f"{FLV} E.4.4.4",
    "metadata-codec": f"{FLV} E.5",
    "metadata-video": f"{FLV} E.5",
    "metadata-audio": f"{FLV} E.5",
    **BODY_RULES,
}
HEADER_TIME = 1_000  # ms; a sequence header of a change stands no further from its frame


@dataclass(frozen=True, slots=True)
class FlvLimits:
    """What is asked of a file beyond its syntax."""

    jump_ms: int = 10_000  # between two tags of a track; 0: not judged
    is_growing: bool = True  # times of a track go on or stand, as they have to


@dataclass(slots=True)
class FlvContent:
    """A file that was read."""

    problems: list[Problem]
    tags: list[Body]
    metadata: dict[str, object]


def check_flv(data: bytes, limits: FlvLimits | None = None) -> list[Problem]:
    """The broken rules of a whole file."""
    return read_flv(data, limits).problems


def read_flv(data: bytes, limits: FlvLimits | None = None) -> FlvContent:
    """Read a whole file."""
    reader = _Reader(limits or FlvLimits())
    reader.read(data)
    return FlvContent(reader.findings.problems, reader.tags, reader.metadata or {})


@dataclass(slots=True)
class _Track:
    """What has been seen of one kind of tag and one track id."""

    codec: str = ""
    header: Body | None = None
    last_ms: int = -1
    has_frames: bool = False
    has_ended: bool = False


class _Reader:
    def __init__(self, limits: FlvLimits) -> None:
        self.findings = Findings(RULES)
        self.tags: list[Body] = []
        self.metadata: dict[str, object] | None = None
        self._limits = limits
        self._tracks: dict[tuple[int, int], _Track] = {}

    def read(self, data: bytes) -> None:
        """A whole file."""
        add = self.findings.add
        if data[:3] != b"FLV" or len(data) < 13:
            add("signature", "byte 0", data[:3].hex())
            return
        if data[3] != 1:
            add("version", "byte 3", str(data[3]))
        if data[4] & 0xFA:
            add("type-flags", "byte 4", f"0x{data[4]:02x}")
        offset = int.from_bytes(data[5:9], "big")
        if offset != 9:
            add("data-offset", "byte 5", str(offset))
            if not 9 <= offset <= len(data) - 4:
                return
        if data[offset : offset + 4] != bytes(4):
            add("previous-tag-size", f"byte {offset}", "the first one is 0")
        self._tags(data, offset + 4)
        kinds = {kind for kind, _ in self._tracks}
        flags = (4 if AUDIO in kinds else 0) | (1 if VIDEO in kinds else 0)
        if data[4] & 5 != flags:
            add("header-flags", "byte 4", f"0x{data[4]:02x} for what needs 0x{flags:02x}")
        if self.metadata is not None:
            self._judge_metadata(self.metadata, kinds)

    def _tags(self, data: bytes, at: int) -> None:
        add = self.findings.add
        while at < len(data):
            where = f"byte {at}"
            if at + 11 > len(data):
                add("truncated", where, "a tag's header")
                return
            size = int.from_bytes(data[at + 1 : at + 4], "big")
            end = at + 11 + size
            if end + 4 > len(data):
                add("truncated", where, f"a tag of {size} bytes")
                return
            if int.from_bytes(data[end : end + 4], "big") != size + 11:
                add("previous-tag-size", f"byte {end}", data[end : end + 4].hex())
            self._tag(data[at : at + 11], data[at + 11 : end], where)
            at = end + 4

    def _tag(self, head: bytes, body: bytes, where: str) -> None:
        add = self.findings.add
        kind = head[0] & 0x1F
        if head[0] & 0xE0:
            add("tag-flags", where, f"0x{head[0]:02x}: reserved, or encrypted")
        if head[8:11] != b"\0\0\0":
            add("stream-id", where, head[8:11].hex())
        time = int.from_bytes(head[4:7], "big") | head[7] << 24
        if time >> 31:
            add("timestamp-signed", where, f"{time} ms is negative for a signed reader")
        if kind not in (AUDIO, VIDEO, SCRIPT):
            add("tag-type", where, str(kind))
            return
        if not body:
            add("empty-tag", where)
            return
        if kind == SCRIPT:
            self._script(body, where)
            return
        if not self.tags and self.metadata is None:
            add("metadata-first", where, "media before onMetaData")
        for tag in read_body(kind, time, body, self._length_size, self.findings, where):
            self.tags.append(tag)
            self._judge(tag, where)

    def _length_size(self, kind: int, track: int) -> int:
        """Bytes of a NAL unit's length by the last sequence header."""
        state = self._tracks.get((kind, track))
        header = state.header if state else None
        return header.record.length_size if header and header.record else 4

    def _script(self, body: bytes, where: str) -> None:
        values = read_script(body, self.findings, where)
        if values is not None:
            self.metadata = values

    def _judge(self, tag: Body, where: str) -> None:
        add = self.findings.add
        track = self._tracks.setdefault((tag.kind, tag.track), _Track())
        if tag.is_end:
            track.has_ended = True
            return
        if track.codec and tag.codec != track.codec and tag.codec:
            add("codec-change", where, f"{tag.codec} after {track.codec}")
        track.codec = tag.codec or track.codec
        self._judge_time(tag, track, where)
        if tag.is_header:
            if track.header is None and track.has_frames:
                add("header-late", where, "frames came before")
            track.header, track.has_ended = tag, False
            return
        if not tag.is_frame:
            return
        if track.has_ended:
            add("after-end", where, "a frame after the end of the sequence")
        if tag.needs_header and track.header is None:
            add("header-missing", where, tag.codec)
        if tag.kind == VIDEO:
            if not track.has_frames and not tag.is_key:
                add("first-key", where, "the first picture is none to start with")
            if tag.time_ms + tag.composition_ms < 0:
                add("composition-time", where, f"{tag.composition_ms} ms at {tag.time_ms}")
            self._judge_sets(tag, track, where)
        track.has_frames = True

    def _judge_time(self, tag: Body, track: _Track, where: str) -> None:
        add = self.findings.add
        last, limits = track.last_ms, self._limits
        track.last_ms = tag.time_ms
        if last < 0 or not tag.is_frame:
            track.last_ms = max(last, tag.time_ms) if tag.is_frame else last
            return
        step = tag.time_ms - last
        if step < 0 and limits.is_growing:
            wrapped = step + (1 << 24)
            if 0 <= wrapped < 60_000 and last >> 24 == tag.time_ms >> 24:
                add("timestamp-extended", where, f"{tag.time_ms} after {last}")
            else:
                add("timestamp-order", where, f"{tag.time_ms} after {last}")
        elif limits.jump_ms and step > limits.jump_ms:
            add("timestamp-jump", where, f"{step} ms")

    def _judge_sets(self, tag: Body, track: _Track, where: str) -> None:
        """Parameter sets that stand in a frame are those of the sequence header."""
        header = track.header
        if not tag.sets or header is None or header.record is None or not header.record.sets:
            return
        known = {unescape(nal).rstrip(b"\0") for nal in header.record.sets}
        for nal in tag.sets:
            if unescape(nal).rstrip(b"\0") not in known:
                self.findings.add("header-stale", where, "a parameter set that no header has")
                return

    def _judge_metadata(self, values: dict[str, object], kinds: set[int]) -> None:
        add = self.findings.add
        first: Callable[[int], Body | None] = lambda kind: next(  # noqa: E731
            (tag for tag in self.tags if tag.kind == kind and tag.is_frame), None
        )
        for kind, name in ((VIDEO, "videocodecid"), (AUDIO, "audiocodecid")):
            told, tag = values.get(name), first(kind)
            if (told is not None) != (kind in kinds):
                add("metadata-codec", "onMetaData", f"{name} {told}, has it: {kind in kinds}")
            elif tag is not None and told is not None and told not in tag.codec_ids:
                add("metadata-codec", "onMetaData", f"{name} {told}, not {tag.codec_ids}")
        for name in ("width", "height", "framerate", "videodatarate"):
            value = values.get(name)
            if value is None:
                continue
            if not isinstance(value, float) or value < 0 or VIDEO not in kinds:
                add("metadata-video", "onMetaData", f"{name} {value}")
        rate, stereo = values.get("audiosamplerate"), values.get("stereo")
        if rate is not None and (not isinstance(rate, float) or rate < 0 or AUDIO not in kinds):
            add("metadata-audio", "onMetaData", f"audiosamplerate {rate}")
        if stereo is not None and not isinstance(stereo, bool):
            add("metadata-audio", "onMetaData", f"stereo {stereo}")
        header = self._tracks[AUDIO, 0].header if (AUDIO, 0) in self._tracks else None
        if header is not None and header.record is not None and header.record.rate_hz:
            record = header.record
            if rate is not None and rate != record.rate_hz:
                add("metadata-audio", "onMetaData", f"{rate} Hz, the header says {record.rate_hz}")
            if stereo is not None and record.channels and stereo != (record.channels > 1):
                add("metadata-audio", "onMetaData", f"stereo {stereo}, {record.channels} channels")
