"""A judge of fragmented MP4 and CMAF, clause by clause. It imports nothing of FLUX.

`check_fmp4(data)` reads a progressive stream or a whole file; `Fmp4Reader` an initialization
section and then segments or parts in the order in which they play.
"""

from dataclasses import dataclass, field

from tests.support.conform.boxes import Box, read_boxes
from tests.support.conform.fmp4_header import BIS, HEADER_RULES, ISO, TrackHead, read_header
from tests.support.conform.problem import Findings, Problem
from tests.support.conform.records import nal_lengths

CMAF = "ISO/IEC 23000-19"
RULES = {
    **HEADER_RULES,
    "top-box": f"{ISO} 8.16.1",
    "styp": f"{ISO} 8.16.2",
    "mdat-missing": f"{ISO} 8.16.1",
    "mfhd": f"{ISO} 8.8.5",
    "sequence-order": f"{ISO} 8.8.5",
    "traf": f"{ISO} 8.8.6",
    "tfhd": f"{ISO} 8.8.7",
    "track-unknown": BIS,
    "base-is-moof": BIS,
    "tfdt-missing": BIS,
    "tfdt-order": f"{ISO} 8.8.12",
    "tfdt-continuity": f"{CMAF} 7.5.16",
    "trun": f"{ISO} 8.8.8",
    "sample-duration": f"{ISO} 8.8.8",
    "sample-size": f"{ISO} 8.8.8",
    "composition-version": f"{ISO} 8.8.8",
    "data-offset": f"{ISO} 8.8.8",
    "sample-overlap": f"{ISO} 8.8.8",
    "mdat-unused": f"{CMAF} 7.5.19",
    "sync-flags": f"{ISO} 8.8.3.1",
    "depends-on": f"{ISO} 8.6.4",
    "nal-lengths": "ISO/IEC 14496-15 5.3.2",
    "in-band-sets": "ISO/IEC 14496-15 5.4.2.1",
    "segment-start": "reference 5.4 row 39",
    "sidx": f"{ISO} 8.16.3",
    "sidx-size": f"{ISO} 8.16.3",
    "sidx-time": f"{ISO} 8.16.3",
    "emsg": "ISO/IEC 23009-1 5.10.3.3",
    "prft": f"{ISO} 8.16.5",
    "fragment-tracks": f"{CMAF} 7.3.2.3",
}
TOP = frozenset(
    (b"styp", b"sidx", b"ssix", b"emsg", b"prft", b"moof", b"mdat", b"free", b"skip", b"uuid")
)
NON_SYNC = 0x10000
TAIL_BYTES = 8


@dataclass(frozen=True, slots=True)
class Fmp4Limits:
    """What is asked beyond ISO/IEC 14496-12."""

    cmaf: bool = False  # one track, each fragment starts with a sync sample if it starts a segment
    starts_with_sync: bool = True  # each segment; parts are asked one by one
    gap: int = 0  # ticks that the decode times of two fragments may be apart


@dataclass(slots=True)
class TrackRun:
    """What a segment has of one track."""

    start: int = -1  # decode time of the first sample
    end: int = -1  # where the last one ends
    first_pts: int = -1
    samples: int = 0
    is_sync: bool = False  # the first sample
    syncs: int = 0
    shortest: int = 0  # ticks of a sample


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample; times in ticks of its track."""

    track: int
    dts: int
    pts: int
    is_sync: bool
    tail: bytes  # how its data end


@dataclass(slots=True)
class SegmentContent:
    """One segment or part that was read."""

    name: str
    size: int
    runs: dict[int, TrackRun] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)


@dataclass(slots=True)
class Fmp4Content:
    """A file that was read."""

    problems: list[Problem]
    tracks: dict[int, TrackHead]
    segments: list[SegmentContent]


def check_fmp4(data: bytes, limits: Fmp4Limits | None = None) -> list[Problem]:
    """The broken rules of an initialization section with fragments behind it."""
    return read_fmp4(data, limits).problems


def read_fmp4(data: bytes, limits: Fmp4Limits | None = None) -> Fmp4Content:
    """Read an initialization section with fragments behind it."""
    end = header_size(data)
    reader = Fmp4Reader(data[:end], limits)
    if end < len(data):
        reader.segment(data[end:], "stream")
    return reader.finish()


def header_size(data: bytes) -> int:
    """Where the movie box ends; all of it where there is none."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        at += max(size, 8)
        if data[at - size : at][4:8] == b"moov":
            return at
    return len(data)


@dataclass(slots=True)
class _Sample:
    at: int
    size: int
    duration: int
    flags: int
    offset: int


class Fmp4Reader:
    """Reads segments that belong to one initialization section."""

    def __init__(self, header: bytes, limits: Fmp4Limits | None = None) -> None:
        self._limits = limits or Fmp4Limits()
        self._findings = Findings(RULES)
        self.tracks = read_header(header, self._findings, cmaf=self._limits.cmaf)
        self.segments: list[SegmentContent] = []
        self._sequence = 0
        self._ends: dict[int, int] = {}  # decode time after the last sample
        self._place = ""  # of the segment in hand

    def finish(self) -> Fmp4Content:
        """All has been read."""
        return Fmp4Content(self._findings.problems, self.tracks, self.segments)

    def discontinuity(self) -> None:
        """The next segment need not go on where the last one ended."""
        self._ends = {}
        self._sequence = 0

    def lengths(self, content: SegmentContent) -> tuple[float, float]:
        """Seconds of a segment's pictures, or of its first track, and of all together."""
        runs = [
            (run.start / scale, run.end / scale, self.tracks[each].is_video)
            for each, run in content.runs.items()
            if (scale := self.tracks[each].timescale or 1)
        ]
        start, end, _ = next((run for run in runs if run[2]), runs[0])
        return end - start, max(run[1] for run in runs) - min(run[0] for run in runs)

    def segment(
        self, data: bytes, name: str, *, starts_with_sync: bool | None = None
    ) -> SegmentContent:
        """Read a segment or part."""
        add = self._findings.add
        self._place = name
        content = SegmentContent(name, len(data))
        self.segments.append(content)
        boxes = read_boxes(data, self._findings)
        moof: Box | None = None
        for index, box in enumerate(boxes):
            if box.kind not in TOP and not (box.kind == b"mfra" and box is boxes[-1]):
                add("top-box", self._at(box), "not a box of a segment")
            elif box.kind == b"styp" and index:
                add("styp", self._at(box), "not at the start")
            elif box.kind == b"sidx":
                self._sidx(box, boxes[index + 1 :])
            elif box.kind == b"emsg":
                self._emsg(box, moof)
            elif box.kind == b"prft" and box.u(4, 4) not in self.tracks:
                add("prft", self._at(box), "of a track that is not there")
            if moof is not None:
                if box.kind != b"mdat":
                    add("mdat-missing", self._at(moof), f"{box.name} comes next")
                    self._moof(moof, b"", 0, content)
                else:
                    self._moof(moof, box.data, box.at + box.head - moof.at, content)
                moof = None
            if box.kind == b"moof":
                moof = box
        if moof is not None:
            add("mdat-missing", self._at(moof), "nothing comes next")
        wants = self._limits.starts_with_sync if starts_with_sync is None else starts_with_sync
        if wants:
            self._judge_start(content)
        return content

    def _at(self, box: Box) -> str:
        return f"{self._place}: {box.where}"

    def _judge_start(self, content: SegmentContent) -> None:
        for track_id, run in content.runs.items():
            track = self.tracks.get(track_id)
            if track is not None and track.is_video and not run.is_sync:
                self._findings.add("segment-start", content.name, "no sync sample first")

    def _moof(self, moof: Box, mdat: bytes, mdat_at: int, content: SegmentContent) -> None:
        """A movie fragment; `mdat_at` counts from the moof's first byte."""
        add = self._findings.add
        head = moof.find(b"mfhd")
        if head is None or len(head.data) != 8:
            add("mfhd", self._at(moof))
        else:
            sequence = head.u(4, 4)
            if sequence <= self._sequence:
                add("sequence-order", self._at(moof), f"{sequence} after {self._sequence}")
            self._sequence = sequence
        fragments = moof.all(b"traf")
        if not fragments:
            add("traf", self._at(moof), "none")
        if self._limits.cmaf and len(fragments) != 1:
            add("fragment-tracks", self._at(moof), str(len(fragments)))
        used: list[tuple[int, int]] = []
        for fragment in fragments:
            samples = self._traf(fragment, mdat, mdat_at, content)
            used += [(sample.at, sample.at + sample.size) for sample in samples]
        used.sort()
        covered = mdat_at
        for start, end in used:
            if start < covered and start >= mdat_at:
                add("sample-overlap", self._at(moof), f"at {start}")
                break
            if start > covered:
                break
            covered = end
        if covered != mdat_at + len(mdat) and used:
            add("mdat-unused", self._at(moof), f"{mdat_at + len(mdat) - covered} bytes")

    def _traf(
        self, fragment: Box, mdat: bytes, mdat_at: int, content: SegmentContent
    ) -> list[_Sample]:
        add = self._findings.add
        head = fragment.find(b"tfhd")
        if head is None or len(head.data) < 8:
            add("tfhd", self._at(fragment), "missing")
            return []
        track = self.tracks.get(head.u(4, 4))
        if track is None:
            add("track-unknown", self._at(fragment), f"track_ID {head.u(4, 4)}")
            return []
        if head.flags & 1 or not head.flags & 0x20000:
            add("base-is-moof", self._at(fragment), f"flags 0x{head.flags:06x}")
        defaults = _defaults(head, track)
        if defaults is None:
            add("tfhd", self._at(fragment), f"{len(head.data)} bytes for its flags")
            return []
        time = self._tfdt(fragment, track)
        samples: list[_Sample] = []
        base = mdat_at
        for box in fragment.all(b"trun"):
            run = self._trun(box, defaults, base)
            samples += run
            base = run[-1].at + run[-1].size if run else base
        if not samples and not head.flags & 0x10000:  # duration-is-empty
            add("traf", self._at(fragment), "no sample")
        self._note(content, track, samples, time)
        self._judge_samples(fragment, track, samples, mdat, mdat_at)
        for sample in samples:
            end = sample.at - mdat_at + sample.size
            tail = mdat[max(0, end - min(TAIL_BYTES, sample.size)) : max(0, end)]
            is_sync = not sample.flags & NON_SYNC
            pts = time + sample.offset
            content.samples.append(Sample(track.id, time, pts, is_sync, tail))
            time += sample.duration
        return samples

    def _tfdt(self, fragment: Box, track: TrackHead) -> int:
        """baseMediaDecodeTime, judged against the end of the fragment before."""
        add = self._findings.add
        box = fragment.find(b"tfdt")
        end = self._ends.get(track.id)
        if box is None or len(box.data) != (12 if box.version else 8):
            add("tfdt-missing", self._at(fragment))
            return end or 0
        time = box.u(4, 8 if box.version else 4)
        if end is not None and time < end - self._limits.gap:
            add("tfdt-order", self._at(box), f"{time}, the last one ends at {end}")
        elif end is not None and time > end + self._limits.gap:
            add("tfdt-continuity", self._at(box), f"{time}, the last one ends at {end}")
        return time

    def _trun(self, box: Box, defaults: tuple[int, int, int], base: int) -> list[_Sample]:
        """The samples of a run; `base` is where they begin if it does not say."""
        add = self._findings.add
        flags, count = box.flags, box.u(4, 4)
        fields = [flags & bit for bit in (0x100, 0x200, 0x400, 0x800)]
        head = 8 + 4 * bool(flags & 1) + 4 * bool(flags & 4)
        if flags & 0xFFF0FA or len(box.data) != head + 4 * count * sum(map(bool, fields)):
            add(
                "trun",
                self._at(box),
                f"{len(box.data)} bytes, flags 0x{flags:06x}, {count} samples",
            )
            return []
        if not count:
            add("trun", self._at(box), "no sample")
        if flags & 4 and flags & 0x400:
            add("trun", self._at(box), "flags of the first sample and of each")
        at = base
        if flags & 1:
            at = int.from_bytes(box.data[8:12], "big", signed=True)
        first = box.u(head - 4, 4) if flags & 4 else -1
        samples, place = [], head
        for number in range(count):
            values = list(defaults)
            offset = 0
            for index, present in enumerate(fields):
                if present:
                    if index < 3:
                        values[index] = box.u(place, 4)
                    else:
                        offset = int.from_bytes(box.data[place : place + 4], "big", signed=True)
                    place += 4
            if number == 0 and first >= 0:
                values[2] = first
            if offset < 0 and not box.version:
                add("composition-version", self._at(box), f"{offset} needs version 1")
            if not values[0]:
                add("sample-duration", self._at(box), f"sample {number}: 0")
            if not values[1]:
                add("sample-size", self._at(box), f"sample {number}: 0")
            samples.append(_Sample(at, values[1], values[0], values[2], offset))
            at += values[1]
        return samples

    def _note(
        self, content: SegmentContent, track: TrackHead, samples: list[_Sample], time: int
    ) -> None:
        if not samples:
            return
        run = content.runs.setdefault(track.id, TrackRun())
        if not run.samples:
            run.start, run.first_pts = time, time + samples[0].offset
            run.is_sync = not samples[0].flags & NON_SYNC
        run.samples += len(samples)
        run.syncs += sum(not sample.flags & NON_SYNC for sample in samples)
        shortest = min(sample.duration for sample in samples)
        run.shortest = min(run.shortest or shortest, shortest)
        run.end = self._ends[track.id] = time + sum(sample.duration for sample in samples)

    def _judge_samples(
        self, fragment: Box, track: TrackHead, samples: list[_Sample], mdat: bytes, mdat_at: int
    ) -> None:
        """What the samples hold against what is said of them."""
        add = self._findings.add
        for number, sample in enumerate(samples):
            where = f"{self._at(fragment)} sample {number}"
            start = sample.at - mdat_at
            if start < 0 or start + sample.size > len(mdat):
                add("data-offset", where, f"byte {start} of an mdat of {len(mdat)}")
                return
            is_sync = not sample.flags & NON_SYNC
            depends = sample.flags >> 24 & 3
            if (is_sync and depends == 1) or (not is_sync and depends == 2):
                add("depends-on", where, f"sample_depends_on {depends}, sync {is_sync}")
            if not track.is_video:
                if not is_sync:
                    add("sync-flags", where, "sound that is not a sync sample")
                continue
            length_size = track.record.length_size
            if not length_size:
                continue
            nals = nal_lengths(mdat[start : start + sample.size], length_size)
            if nals is None:
                add("nal-lengths", where, f"in {sample.size} bytes")
                continue
            self._judge_nals(track, nals, is_sync, where)

    def _judge_nals(self, track: TrackHead, nals: list[bytes], is_sync: bool, where: str) -> None:
        if track.entry in (b"avc1", b"avc3"):
            types = [nal[0] & 0x1F for nal in nals]
            is_key, sets = 5 in types, {7, 8}
            may_be_key = is_key or 6 in types  # a recovery point
        else:
            types = [nal[0] >> 1 & 0x3F for nal in nals]
            is_key, sets = any(16 <= kind <= 21 for kind in types), {32, 33, 34}
            may_be_key = is_key
        if (is_key and not is_sync) or (is_sync and not may_be_key):
            self._findings.add("sync-flags", where, f"sync {is_sync} for NAL units {types}")
        if track.entry in (b"avc1", b"hvc1") and sets & set(types):
            self._findings.add("in-band-sets", where, f"{types} in {track.entry.decode()}")

    def _sidx(self, box: Box, rest: list[Box]) -> None:
        add = self._findings.add
        wide = 8 if box.version else 4
        at = 12 + 2 * wide
        count = box.u(at + 2, 2)
        if len(box.data) != at + 4 + 12 * count or not count:
            add("sidx", self._at(box), f"{count} references in {len(box.data)} bytes")
            return
        track = self.tracks.get(box.u(4, 4))
        if track is None or not box.u(8, 4):
            add("sidx", self._at(box), f"reference_ID {box.u(4, 4)}, timescale {box.u(8, 4)}")
        sizes = [box.u(at + 4 + 12 * n, 4) & 0x7FFFFFFF for n in range(count)]
        behind = sum(each.size for each in rest) - box.u(12 + wide, wide)
        if sum(sizes) != behind:
            add("sidx-size", self._at(box), f"{sum(sizes)}, it has {behind}")
        moof = next((each for each in rest if each.kind == b"moof"), None)
        fragments = moof.all(b"traf") if moof is not None else []
        first = next((each for each in fragments if _track_of(each) == box.u(4, 4)), None)
        time = first.find(b"tfdt") if first is not None else None
        if track is None or time is None or box.u(8, 4) != track.timescale:
            return
        run = first.find(b"trun") if first is not None else None
        offset = 0
        if run is not None and run.flags & 0x800:
            place = 8 + 4 * bool(run.flags & 1) + 4 * bool(run.flags & 4)
            place += 4 * sum(bool(run.flags & bit) for bit in (0x100, 0x200, 0x400))
            offset = int.from_bytes(run.data[place : place + 4], "big", signed=True)
        start = time.u(4, 8 if time.version else 4)
        earliest = box.u(12, wide)
        if not min(start, start + offset) <= earliest <= max(start, start + offset):
            add("sidx-time", self._at(box), f"{earliest}, the fragment is at {start + offset}")

    def _emsg(self, box: Box, moof: Box | None) -> None:
        strings = box.data[4:].split(b"\0") if not box.version else box.data[24:].split(b"\0")
        if moof is not None or box.version > 1 or len(strings) < 3 or not strings[0]:
            self._findings.add("emsg", self._at(box), "scheme_id_uri, or its place")


def _track_of(fragment: Box) -> int:
    """track_ID of a track fragment."""
    head = fragment.find(b"tfhd")
    return head.u(4, 4) if head else 0


def _defaults(head: Box, track: TrackHead) -> tuple[int, int, int] | None:
    """Duration, size and flags of a sample that does not tell; None: of another size."""
    values = [track.duration, track.size, track.flags]
    at = 8 + 8 * bool(head.flags & 1) + 4 * bool(head.flags & 2)
    for index, bit in enumerate((0x08, 0x10, 0x20)):
        if head.flags & bit:
            values[index] = head.u(at, 4)
            at += 4
    return (values[0], values[1], values[2]) if at == len(head.data) else None
