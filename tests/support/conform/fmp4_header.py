"""Initialization sections of fragmented MP4; ISO/IEC 14496-12 section 8, RFC 8216 section 3.3."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.conform.boxes import Box, entries, read_boxes
from tests.support.conform.problem import Findings
from tests.support.conform.records import (
    Record,
    read_asc,
    read_av1c,
    read_avcc,
    read_dops,
    read_hvcc,
    read_vpcc,
)

ISO, HLS, BIS = "ISO/IEC 14496-12", "RFC 8216 3.3", "rfc8216bis 3.1.2"
HEADER_RULES = {
    "box-size": f"{ISO} 4.2",
    "box-type": f"{ISO} 4.2",
    "ftyp-first": f"{ISO} 4.3",
    "brand": HLS,
    "moov": f"{ISO} 8.2.1",
    "header-samples": HLS,
    "mvhd": f"{ISO} 8.2.2",
    "next-track": f"{ISO} 8.2.2",
    "zero-duration": BIS,
    "trak": f"{ISO} 8.3.1",
    "tkhd": f"{ISO} 8.3.2",
    "mdhd": f"{ISO} 8.4.2",
    "hdlr": f"{ISO} 8.4.3",
    "media-header": f"{ISO} 8.4.5",
    "data-reference": f"{ISO} 8.7.2",
    "sample-table": f"{ISO} 8.5.1",
    "sample-entry": f"{ISO} 8.5.2",
    "sample-entry-name": "reference 5.4 row 43",
    "configuration": "ISO/IEC 14496-15 5.3.4",
    "mvex": f"{ISO} 8.8.1",
    "trex": f"{ISO} 8.8.3",
    "edit-list": "ISO/IEC 23000-19 7.5.13",
    "header-tracks": "ISO/IEC 23000-19 7.3.1",
}
BRANDS = frozenset(
    (b"iso6", b"iso7", b"iso8", b"iso9", b"isoa", b"isob", b"isoc", b"cmfc", b"cmf2")
)
TABLES = (b"stsd", b"stts", b"stsc", b"stco")


@dataclass(slots=True)
class TrackHead:
    """One track as the header has it."""

    id: int = 0
    timescale: int = 0
    handler: bytes = b""
    entry: bytes = b""
    record: Record = field(default_factory=Record)
    width: int = 0
    height: int = 0
    channels: int = 0
    rate_hz: int = 0
    duration: int = 0  # defaults of trex
    size: int = 0
    flags: int = 0

    @property
    def is_video(self) -> bool:
        """Whether it has pictures."""
        return self.handler == b"vide"


def read_header(data: bytes, findings: Findings, *, cmaf: bool) -> dict[int, TrackHead]:
    """The tracks of an initialization section by their ids."""
    add = findings.add
    boxes = read_boxes(data, findings)
    if not boxes or boxes[0].kind != b"ftyp":
        add("ftyp-first", "byte 0", data[4:8].hex())
    else:
        body = boxes[0].data
        brands = {body[at : at + 4] for at in range(8, len(body), 4)} | {body[:4]}
        if not brands & BRANDS:
            add("brand", boxes[0].where, str(sorted(brands)))
    movies = [box for box in boxes if box.kind == b"moov"]
    if len(movies) != 1:
        add("moov", "header", f"{len(movies)} of it")
        return {}
    if any(box.kind in (b"mdat", b"moof") for box in boxes):
        add("header-samples", "header", "sample data in the initialization section")
    movie = movies[0]
    tracks: dict[int, TrackHead] = {}
    for box in movie.all(b"trak"):
        track = _Trak(box, findings, cmaf).read()
        if track.id in tracks or not track.id:
            add("tkhd", box.where, f"track_ID {track.id}")
        tracks[track.id] = track
    if not tracks:
        add("trak", movie.where, "no track")
    if cmaf and len(tracks) != 1:
        add("header-tracks", movie.where, f"{len(tracks)} tracks")
    _judge_movie(movie, tracks, findings)
    return tracks


def _judge_movie(movie: Box, tracks: dict[int, TrackHead], findings: Findings) -> None:
    add = findings.add
    head = movie.find(b"mvhd")
    if head is None or head.version > 1 or len(head.data) != (112 if head.version else 100):
        add("mvhd", movie.where)
    else:
        scale_at = 20 if head.version else 12
        if not head.u(scale_at, 4):
            add("mvhd", head.where, "timescale 0")
        if head.u(scale_at + 4, 8 if head.version else 4):
            add("zero-duration", head.where)
        if head.u(len(head.data) - 4, 4) <= max(tracks, default=0):
            add("next-track", head.where, str(head.u(len(head.data) - 4, 4)))
    extends = movie.find(b"mvex")
    if extends is None:
        add("mvex", movie.where, "missing")
        return
    kinds = [box.kind for box in movie.children]
    if kinds.index(b"mvex") < max((n for n, k in enumerate(kinds) if k == b"trak"), default=0):
        add("mvex", extends.where, "comes before a track")
    seen = set()
    for box in extends.all(b"trex"):
        track = tracks.get(box.u(4, 4))
        if track is None or len(box.data) != 24 or box.u(8, 4) != 1 or track.id in seen:
            add("trex", box.where, f"track_ID {box.u(4, 4)}")
            continue
        seen.add(track.id)
        track.duration, track.size, track.flags = box.u(12, 4), box.u(16, 4), box.u(20, 4)
    if seen != set(tracks):
        add("trex", extends.where, f"for tracks {sorted(seen)} of {sorted(tracks)}")


class _Trak:
    """One track box."""

    def __init__(self, box: Box, findings: Findings, cmaf: bool) -> None:
        self._box = box
        self._cmaf = cmaf
        self._findings = findings
        self._track = TrackHead()
        self._size = (0, 0)

    def _add(self, slug: str, text: str = "") -> None:
        self._findings.add(slug, self._box.where, text)

    def read(self) -> TrackHead:
        """The track."""
        self._tkhd()
        media = self._box.find(b"mdia")
        info = media.find(b"minf") if media is not None else None
        table = info.find(b"stbl") if info is not None else None
        if media is None or info is None or table is None:
            self._add("trak", "mdia, minf or stbl is missing")
            return self._track
        self._mdia(media)
        self._minf(info)
        self._stbl(table)
        edits = self._box.find(b"edts", b"elst")
        if (
            edits is not None
            and self._cmaf
            and (edits.u(4, 4) != 1 or edits.u(8, 8 if edits.version else 4))
        ):
            self._add("edit-list", "more than one edit, or one that ends")
        return self._track

    def _tkhd(self) -> None:
        head = self._box.find(b"tkhd")
        if head is None or head.version > 1 or len(head.data) != (96 if head.version else 84):
            self._add("tkhd", "missing, or of another size")
            return
        at = 20 if head.version else 12
        self._track.id = head.u(at, 4)
        if head.u(at + 8, 8 if head.version else 4):
            self._add("zero-duration", "tkhd")
        if not head.flags & 1:
            self._add("tkhd", "not enabled")
        end = len(head.data)
        self._size = head.u(end - 8, 4), head.u(end - 4, 4)

    def _mdia(self, media: Box) -> None:
        head, handler = media.find(b"mdhd"), media.find(b"hdlr")
        if head is None or len(head.data) != (36 if head.version else 24):
            self._add("mdhd", "missing, or of another size")
        else:
            at = 20 if head.version else 12
            self._track.timescale = head.u(at, 4)
            if not self._track.timescale:
                self._add("mdhd", "timescale 0")
            if head.u(at + 4, 8 if head.version else 4):
                self._add("zero-duration", "mdhd")
        if handler is None or handler.data[8:12] not in (b"vide", b"soun", b"meta", b"text"):
            self._add("hdlr", "missing, or of another type")
        else:
            self._track.handler = handler.data[8:12]
            if not handler.data.endswith(b"\0"):
                self._add("hdlr", "the name has no end")

    def _minf(self, info: Box) -> None:
        wanted = {b"vide": b"vmhd", b"soun": b"smhd"}.get(self._track.handler)
        if wanted and info.find(wanted) is None:
            self._add("media-header", wanted.decode())
        references = info.find(b"dinf", b"dref")
        if references is None:
            self._add("data-reference", "missing")
            return
        boxes = read_boxes(references.data[8:], self._findings, references.at + 16, 1)
        if len(boxes) != references.u(4, 4) or not boxes:
            self._add("data-reference", "the count is another one")
        if any(not box.flags & 1 for box in boxes):
            self._add("data-reference", "to another file")

    def _stbl(self, table: Box) -> None:
        for kind in TABLES:
            box = table.find(kind)
            if box is None:
                self._add("sample-table", f"{kind.decode()} is missing")
            elif kind != b"stsd" and box.u(4, 4):
                self._add("header-samples", f"{kind.decode()} has entries")
        sizes = table.find(b"stsz") or table.find(b"stz2")
        if sizes is None:
            self._add("sample-table", "stsz is missing")
        elif sizes.u(8, 4):
            self._add("header-samples", "stsz has samples")
        described = table.find(b"stsd")
        if described is None:
            return
        found = list(entries(described, self._findings))
        if described.u(4, 4) != len(found) or not found:
            self._add("sample-entry", f"{described.u(4, 4)} are told, {len(found)} are there")
        if found:
            self._entry(found[0])

    def _entry(self, box: Box) -> None:
        track = self._track
        track.entry = box.kind
        video = box.kind in VIDEO_ENTRIES
        if (track.handler == b"vide") != video:
            self._add("sample-entry", f"{box.name} in a track of {track.handler!r}")
        if box.u(6, 2) != 1:
            self._add("sample-entry", f"data_reference_index {box.u(6, 2)}")
        if box.kind in (b"avc3", b"hev1"):
            self._add("sample-entry-name", f"{box.name}: Apple's players want the other one")
        rest = 78 if video else 28
        if len(box.data) < rest:
            self._add("sample-entry", "too short")
            return
        inner = read_boxes(box.data[rest:], self._findings, box.at + box.head + rest, 1)
        if video:
            track.width, track.height = box.u(24, 2), box.u(26, 2)
            if not track.width or not track.height:
                self._add("sample-entry", "no size")
            if self._size[0] >> 16 == 0 or self._size[1] >> 16 == 0:
                self._add("tkhd", "a picture without a size")
        else:
            track.channels, track.rate_hz = box.u(16, 2), box.u(24, 4) >> 16
            if not track.channels:
                self._add("sample-entry", "channelcount 0")
            if self._size != (0, 0):
                self._add("tkhd", "sound with a size")
        name, read = CONFIGURATIONS.get(box.kind, (b"", None))
        if read is None:
            return
        config = next((each for each in inner if each.kind == name), None)
        if config is None:
            self._add("configuration", f"{name.decode()} is missing")
            return
        track.record = read(config.data)
        for fault in track.record.faults:
            self._add("configuration", f"{name.decode()}: {fault}")
        rate = track.record.rate_hz
        is_plain = not track.record.codec.endswith((".5", ".29"))  # SBR doubles the rate
        if rate and is_plain and track.rate_hz not in (0, rate) and rate < 65_536:
            self._add("configuration", f"{rate} Hz, the entry says {track.rate_hz}")
        channels = track.record.channels
        if track.entry == b"Opus" and channels and track.channels != channels:
            self._add("configuration", f"{channels} channels, the entry says {track.channels}")


def _read_esds(data: bytes) -> Record:
    """ES_Descriptor with a DecoderConfigDescriptor; ISO/IEC 14496-1 section 7.2.6.5."""
    record = Record()
    tag, body, _ = _descriptor(data, 4)
    if tag != 3 or len(body) < 3:
        record.faults.append("no ES_Descriptor")
        return record
    at, flags = 3, body[2]
    at += 2 * bool(flags & 0x80) + 2 * bool(flags & 0x20)
    if flags & 0x40 and at < len(body):
        at += 1 + body[at]
    tag, config, after = _descriptor(body, at)
    if tag != 4 or len(config) < 13:
        record.faults.append("no DecoderConfigDescriptor")
        return record
    if config[1] >> 2 != 5 or not config[1] & 1:
        record.faults.append("streamType is not audio")
    if _descriptor(body, after)[0] != 6:
        record.faults.append("no SLConfigDescriptor")
    if config[0] in (0x69, 0x6B):  # MPEG audio needs no more
        record.codec = f"mp4a.{config[0]:02X}"
        return record
    tag, specific, _ = _descriptor(config, 13)
    if config[0] != 0x40 or tag != 5:
        record.faults.append(f"objectTypeIndication 0x{config[0]:02x}, descriptor {tag}")
        return record
    return read_asc(specific)


def _descriptor(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Tag, content and end of an expandable class; tag -1: there is none."""
    if at >= len(data):
        return -1, b"", at
    tag, size, at = data[at], 0, at + 1
    for _ in range(4):
        if at >= len(data):
            return -1, b"", at
        byte, at = data[at], at + 1
        size = size << 7 | byte & 0x7F
        if not byte & 0x80:
            break
    return (tag if at + size <= len(data) else -1), data[at : at + size], at + size


def _read_dac3(data: bytes) -> Record:
    """AC3SpecificBox; ETSI TS 102 366 annex F.4."""
    record = Record(codec="ac-3")
    if len(data) != 3:
        record.faults.append(f"{len(data)} bytes")
    elif data[0] >> 6 == 3 or data[2] & 0x1F:
        record.faults.append("fscod or reserved bits")
    return record


def _read_dec3(data: bytes) -> Record:
    """EC3SpecificBox; ETSI TS 102 366 annex F.6."""
    record = Record(codec="ec-3")
    if len(data) < 5:
        record.faults.append(f"{len(data)} bytes")
    return record


def _read_vpcc_box(data: bytes) -> Record:
    record = read_vpcc(data[4:])
    if data[:1] != b"\1":
        record.faults.append("version")
    return record


Read = Callable[[bytes], Record]
CONFIGURATIONS: dict[bytes, tuple[bytes, Read]] = {
    b"avc1": (b"avcC", read_avcc),
    b"avc3": (b"avcC", read_avcc),
    b"hvc1": (b"hvcC", read_hvcc),
    b"hev1": (b"hvcC", read_hvcc),
    b"av01": (b"av1C", read_av1c),
    b"vp09": (b"vpcC", _read_vpcc_box),
    b"vp08": (b"vpcC", _read_vpcc_box),
    b"mp4a": (b"esds", _read_esds),
    b"Opus": (b"dOps", read_dops),
    b"ac-3": (b"dac3", _read_dac3),
    b"ec-3": (b"dec3", _read_dec3),
}
VIDEO_ENTRIES = frozenset((b"avc1", b"avc3", b"hvc1", b"hev1", b"av01", b"vp09", b"vp08"))
