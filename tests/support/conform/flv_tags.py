"""Bodies of FLV's audio and video tags: FLV 10.1 section E.4, Enhanced RTMP v2."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.support.conform.problem import Findings
from tests.support.conform.records import (
    Record,
    nal_lengths,
    read_asc,
    read_av1c,
    read_avcc,
    read_hvcc,
    read_opus_head,
    read_vpcc,
)

FLV, ERTMP = "FLV 10.1", "ERTMP v2"
AUDIO, VIDEO, SCRIPT = 8, 9, 18
BODY_RULES = {
    "frame-type": f"{FLV} E.4.3.1",
    "video-codec": f"{FLV} E.4.3.1",
    "avc-packet-type": f"{FLV} E.4.3.1",
    "header-composition-time": f"{FLV} E.4.3.1",
    "header-key": f"{FLV} E.4.3.1",
    "video-header": "ISO/IEC 14496-15 5.3.3.1",
    "nal-lengths": "ISO/IEC 14496-15 5.3.2",
    "key-flag": f"{FLV} E.4.3.1",
    "sound-format": f"{FLV} E.4.2.1",
    "aac-flags": f"{FLV} E.4.2.1",
    "aac-packet-type": f"{FLV} E.4.2.1",
    "audio-header": "ISO/IEC 14496-3 1.6.2.1",
    "audio-sync": f"{FLV} E.4.2.1",
    "video-fourcc": f"{ERTMP} ExVideoTagHeader",
    "video-packet-type": f"{ERTMP} ExVideoTagHeader",
    "coded-frames-x": f"{ERTMP} ExVideoTagBody",
    "audio-fourcc": f"{ERTMP} ExAudioTagHeader",
    "audio-packet-type": f"{ERTMP} ExAudioTagHeader",
    "multichannel": f"{ERTMP} ExAudioTagBody",
    "av1-unit": "AV1 in ISOBMFF 2.4",
    "av1-key": "AV1 in ISOBMFF 2.4",
    "vp9-frame": "VP9 bitstream 6.2",
    "multitrack": f"{ERTMP} multitrack",
    "mod-ex": f"{ERTMP} ModEx",
}
VIDEO_CODECS = {2: "h263", 4: "vp6", 7: "avc", 12: "hevc"}
VIDEO_FOURCC = {b"avc1": "avc", b"hvc1": "hevc", b"av01": "av1", b"vp09": "vp9", b"vp08": "vp8"}
SOUNDS = {0: "pcm", 1: "adpcm", 2: "mp3", 3: "pcm-le", 7: "pcma", 8: "pcmu", 10: "aac", 11: "speex"}
AUDIO_FOURCC = {
    b"mp4a": "aac",
    b"Opus": "opus",
    b"fLaC": "flac",
    b".mp3": "mp3",
    b"ac-3": "ac3",
    b"ec-3": "eac3",
}
HEADED = frozenset(("avc", "hevc", "av1", "vp9", "aac", "opus", "flac"))
RECORDS: dict[str, Callable[[bytes], Record]] = {
    "avc": read_avcc,
    "hevc": read_hvcc,
    "av1": read_av1c,
    "vp9": lambda data: read_vpcc(data[4:] if data[:4] == b"\1\0\0\0" else data),
    "aac": read_asc,
    "opus": read_opus_head,
}
SYNC = {"mp3": (0xFFE0, 0xFFE0), "ac3": (0xFFFF, 0x0B77), "eac3": (0xFFFF, 0x0B77)}


@dataclass(slots=True)
class Body:
    """A tag, or one track of it, taken apart."""

    kind: int
    time_ms: int
    codec: str = ""
    codec_ids: tuple[float, ...] = ()  # what onMetaData may call it
    is_header: bool = False
    is_frame: bool = False
    is_end: bool = False
    is_key: bool = False
    composition_ms: int = 0
    record: Record | None = None
    data: bytes = b""
    sets: tuple[bytes, ...] = ()  # parameter sets that stand in the frame
    track: int = 0
    offset_ns: int = 0  # of ModEx

    @property
    def needs_header(self) -> bool:
        """Whether nothing can be decoded before a sequence header."""
        return self.codec in HEADED


LengthSize = Callable[[int, int], int]


def read_body(
    kind: int, time: int, body: bytes, length_size: LengthSize, findings: Findings, where: str
) -> Iterator[Body]:
    """The tracks of one tag; most tags have one."""
    reader = _Bodies(kind, time, length_size, findings, where)
    if kind == AUDIO:
        if body[0] >> 4 == 9:
            yield from reader.enhanced(body, body[0] & 15, 0)
        else:
            yield from reader.sound(body)
    elif body[0] & 0x80:
        yield from reader.enhanced(body, body[0] & 15, body[0] >> 4 & 7)
    else:
        yield from reader.picture(body)


class _Bodies:
    def __init__(
        self, kind: int, time: int, length_size: LengthSize, findings: Findings, where: str
    ) -> None:
        self._kind, self._time, self._where = kind, time, where
        self._length_size = length_size
        self._findings = findings
        self._offset_ns = 0

    def _add(self, slug: str, text: str = "") -> None:
        self._findings.add(slug, self._where, text)

    def sound(self, body: bytes) -> Iterator[Body]:
        """AUDIODATA."""
        number = body[0] >> 4
        codec = SOUNDS.get(number, "")
        if not codec:
            self._add("sound-format", str(number))
            return
        tag = Body(AUDIO, self._time, codec, (float(number),), is_key=True)
        tag.data = body[1:]
        if codec == "aac":
            if body[0] & 15 != 15:
                self._add("aac-flags", "44 kHz, 16 bit and stereo, whatever it is")
            if len(body) < 2 or body[1] > 1:
                self._add("aac-packet-type", body[:2].hex())
                return
            tag.data, tag.is_header = body[2:], body[1] == 0
        self._finish(tag)
        yield tag

    def picture(self, body: bytes) -> Iterator[Body]:
        """VIDEODATA."""
        kind, number = body[0] >> 4, body[0] & 15
        codec = VIDEO_CODECS.get(number, "")
        if not 1 <= kind <= 5:
            self._add("frame-type", str(kind))
            return
        if not codec:
            self._add("video-codec", str(number))
            return
        tag = Body(VIDEO, self._time, codec, (float(number),), is_key=kind == 1)
        tag.data = body[1:]
        if kind == 5:  # a command, no picture
            yield tag
            return
        if codec in ("avc", "hevc"):
            if len(body) < 5 or body[1] > 2:
                self._add("avc-packet-type", body[:2].hex())
                return
            tag.composition_ms = int.from_bytes(body[2:5], "big", signed=True)
            tag.data, tag.is_header, tag.is_end = body[5:], body[1] == 0, body[1] == 2
            if body[1] != 1 and tag.composition_ms:
                self._add("header-composition-time", str(tag.composition_ms))
        self._finish(tag)
        yield tag

    def enhanced(self, body: bytes, packet: int, frame: int) -> Iterator[Body]:
        """ExAudioTagHeader and ExVideoTagHeader with what follows."""
        is_video = self._kind == VIDEO
        at = 1
        while packet == 7:
            packet, at = self._mod_ex(body, at)
        if packet < 0:
            return
        if is_video and not 1 <= frame <= 5:
            self._add("frame-type", str(frame))
            return
        if is_video and frame == 5 and packet != 4:
            return  # a command
        multi = packet == 6 if is_video else packet == 5
        if multi:
            yield from self._multitrack(body, at, frame)
            return
        codec = self._fourcc(body[at : at + 4])
        if codec:
            yield from self._packet(body[at + 4 :], packet, frame, codec, 0, body[at : at + 4])

    def _mod_ex(self, body: bytes, at: int) -> tuple[int, int]:
        """The packet type behind one modifier and where it goes on; -1: it cannot be read."""
        size = body[at] + 1 if at < len(body) else 0
        at += 1
        if size == 256:
            size = int.from_bytes(body[at : at + 2], "big") + 1
            at += 2
        data = body[at : at + size]
        at += size
        if not size or at >= len(body):
            self._add("mod-ex", "cut")
            return -1, at
        kind, packet = body[at] >> 4, body[at] & 15
        if kind == 0:
            self._offset_ns = int.from_bytes(data[:3], "big")
            if size < 3 or self._offset_ns > 999_999:
                self._add("mod-ex", f"timestamp offset {data.hex()}")
        return packet, at + 1

    def _fourcc(self, name: bytes) -> str:
        table = VIDEO_FOURCC if self._kind == VIDEO else AUDIO_FOURCC
        codec = table.get(name, "")
        if not codec:
            self._add("video-fourcc" if self._kind == VIDEO else "audio-fourcc", repr(name))
        return codec

    def _multitrack(self, body: bytes, at: int, frame: int) -> Iterator[Body]:
        if at >= len(body):
            self._add("multitrack", "cut")
            return
        kind, packet = body[at] >> 4, body[at] & 15
        at += 1
        if kind > 2 or packet in (5, 6, 7):
            self._add("multitrack", f"type {kind}, packet type {packet}")
            return
        name, codec = b"", ""
        if kind < 2:
            name, at = body[at : at + 4], at + 4
            codec = self._fourcc(name)
            if not codec:
                return
        while at < len(body):
            if kind == 2:
                name, at = body[at : at + 4], at + 4
                codec = self._fourcc(name)
                if not codec:
                    return
            track, at = body[at] if at < len(body) else -1, at + 1
            size = len(body) - at
            if kind:
                size, at = int.from_bytes(body[at : at + 3], "big"), at + 3
            if track < 0 or size < 0 or at + size > len(body):
                self._add("multitrack", f"track {track}: {size} bytes")
                return
            yield from self._packet(body[at : at + size], packet, frame, codec, track, name)
            at += size

    def _packet(
        self, data: bytes, packet: int, frame: int, codec: str, track: int, name: bytes
    ) -> Iterator[Body]:
        ids: tuple[float, ...] = (float(int.from_bytes(name, "big")),)
        if self._kind == VIDEO and codec in ("avc", "hevc"):  # what writers knew before
            ids += ({"avc": 7.0, "hevc": 12.0}[codec],)
        tag = Body(self._kind, self._time, codec, ids, track=track, data=data)
        tag.is_key = frame == 1 or self._kind == AUDIO
        tag.offset_ns = self._offset_ns
        if self._kind == AUDIO:
            if packet not in (0, 1, 2, 4):
                self._add("audio-packet-type", str(packet))
                return
            if packet == 4:
                self._multichannel(data)
                yield tag
                return
        else:
            if packet not in (0, 1, 2, 3, 4, 5):
                self._add("video-packet-type", str(packet))
                return
            if packet == 3 and codec not in ("avc", "hevc"):
                self._add("coded-frames-x", f"{codec} has no composition time anyway")
            if packet == 4:
                yield tag
                return
            if packet == 1 and codec in ("avc", "hevc"):
                tag.composition_ms = int.from_bytes(data[:3], "big", signed=True)
                tag.data = data[3:]
        tag.is_header, tag.is_end = packet in (0, 5), packet == 2
        if packet != 5:
            self._finish(tag)
        yield tag

    def _multichannel(self, data: bytes) -> None:
        """AudioChannelOrder, the count, and a mapping or flags."""
        order, count = (data[0], data[1]) if len(data) > 1 else (-1, 0)
        rest = {0: 0, 1: 4, 2: count}.get(order, -1)
        flags = int.from_bytes(data[2:6], "big") if order == 1 else 0
        if rest != len(data) - 2 or not count:
            self._add("multichannel", data.hex())
        elif order == 1 and flags.bit_count() != count:
            self._add("multichannel", f"{flags.bit_count()} flags for {count} channels")

    def _finish(self, tag: Body) -> None:
        """What is the same for both forms: the header's record, or a frame's data."""
        if tag.is_end:
            return
        rule = "video-header" if tag.kind == VIDEO else "audio-header"
        if tag.is_header:
            read = RECORDS.get(tag.codec)
            tag.record = read(tag.data) if read else Record()
            for fault in tag.record.faults:
                self._add(rule, f"{tag.codec}: {fault}")
            if tag.kind == VIDEO and not tag.is_key:
                self._add("header-key", "a sequence header is a key frame")
            return
        tag.is_frame = True
        if tag.codec in ("avc", "hevc"):
            self._nals(tag)
        elif tag.codec == "av1":
            self._obus(tag.data, tag.is_key)
        elif tag.codec == "vp9":
            if not tag.data or tag.data[0] >> 6 != 2:
                self._add("vp9-frame", f"no frame marker in {tag.data[:1].hex()}")
        elif tag.codec in SYNC:
            mask, word = SYNC[tag.codec]
            if int.from_bytes(tag.data[:2], "big") & mask != word:
                self._add("audio-sync", tag.data[:2].hex())

    def _obus(self, data: bytes, is_key: bool) -> None:
        """A temporal unit: OBUs with their sizes, without a temporal delimiter.

        A key frame has a sequence header before it.
        """
        at = 0
        kinds: list[int] = []
        while at < len(data):
            head, kind = data[at], data[at] >> 3 & 15
            kinds.append(kind)
            at += 2 if head & 4 else 1
            if head & 0x80 or not head & 2 or kind == 2:
                self._add("av1-unit", f"OBU header {head:02x}")
                return
            size = shift = 0
            while at < len(data):
                size |= (data[at] & 0x7F) << shift
                shift, at = shift + 7, at + 1
                if data[at - 1] < 0x80:
                    break
            at += size
        if at != len(data) or not data:
            self._add("av1-unit", f"{at} of {len(data)} bytes")
        elif is_key and 1 not in kinds:
            self._add("av1-key", f"OBUs of types {kinds}")

    def _nals(self, tag: Body) -> None:
        nals = nal_lengths(tag.data, self._length_size(tag.kind, tag.track))
        if nals is None:
            self._add("nal-lengths", f"in {len(tag.data)} bytes")
            return
        sets: tuple[int, ...]
        if tag.codec == "avc":
            types = [nal[0] & 0x1F for nal in nals]
            is_key, is_start, sets = 5 in types, 5 in types or 6 in types, (7, 8)
        else:
            types = [nal[0] >> 1 & 0x3F for nal in nals]
            is_key = any(16 <= kind <= 21 for kind in types)
            is_start, sets = is_key or 39 in types, (32, 33, 34)
        tag.sets = tuple(nal for kind, nal in zip(types, nals, strict=True) if kind in sets)
        if (is_key and not tag.is_key) or (tag.is_key and not is_start):
            self._add("key-flag", f"{tag.is_key} for NAL units {types}")
