"""Frames to fragmented MP4: an initialization section, and fragments that go on without a gap.

A sample's duration is the time to the next one of its track, so a frame is ready only when its
successor is known: what is not ready waits for the next fragment. The caller cuts when the frame
that begins the next fragment is there and names it; then all frames of its track are ready, and of
other tracks those that begin before it. So
`tfdt` of each fragment is exactly where the one before it ended, whatever the rates are.

Times count from `origin_seconds` before the time zero of the tracks, which keeps decode times of
sources that begin below zero out of the negative: `tfdt` has no sign. ISO/IEC 14496-12 section 8.8;
the constraints of CMAF (ISO/IEC 23000-19 section 7.5) hold.
"""

from collections.abc import Sequence
from itertools import pairwise
from struct import Struct

from flux.base.errors import WireError
from flux.base.units import rescale
from media.codecs.av1 import sync_unit
from media.codecs.obu import join_obus
from media.fmp4.boxes import box, full_box
from media.fmp4.sample_entries import sample_entry
from media.frame import Frame
from media.parameters import AudioParameters, Parameters, VideoParameters
from media.track import AV1, H264, H265, Kind, Track

ORIGIN_SECONDS = 10  # what a timeline's first decode times may lie below zero, and more
OVERDUES = 2  # of a second without a frame, after which a track rests
MAX_DURATION = 0xFFFF_FFFF  # ticks of a sample: 32 bits
MAX_WAITING = 100_000  # frames of a track without a cut
RECENT = 5  # frames, of which some are behind a hole
BOUNDARY_HZ = 90_000

_SYNC = 0x0200_0000  # sample_depends_on 2: on none
_NOT_SYNC = 0x0101_0000  # sample_depends_on 1, sample_is_non_sync_sample
_FRAGMENT_FLAGS = 0x02_0000 | 0x20  # default-base-is-moof, default sample flags are given
_DATA_OFFSET, _DURATION, _SIZE_GIVEN, _FLAGS, _CTS = 0x1, 0x100, 0x200, 0x400, 0x800
_IDENTITY = (0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000)
_LENGTH = Struct(">I")
BOX = Struct(">I4s")
_VIDEO_SAMPLE = Struct(">IIIi")
_AUDIO_SAMPLE = Struct(">II")
_TFHD = Struct(">II")
_TFDT = Struct(">Q")
FULL_BOX_BYTES = BOX.size + 4
# Where the number of the track and the decode time of the first run stand, from a `moof` on: behind
# its head, `mfhd` and the head of `traf`.
NUMBER_AT = BOX.size + FULL_BOX_BYTES + 4 + BOX.size + FULL_BOX_BYTES
TIME_AT = NUMBER_AT + _TFHD.size + FULL_BOX_BYTES
_TRUN = Struct(">Ii")
_MVHD = Struct(">IIIIIH10x9I24xI")
_TKHD = Struct(">IIIII8xhhHH9III")
_MDHD = Struct(">IIIIHH")
_TREX = Struct(">IIIII")
_HANDLERS = {Kind.VIDEO: b"vide", Kind.AUDIO: b"soun"}
_NAMES = {Kind.VIDEO: b"video\0", Kind.AUDIO: b"sound\0"}
_UNDETERMINED = 0x55C4  # the language "und", 14496-12 section 8.4.2
_WITH_LENGTHS = frozenset({H264, H265})


class _Lane:
    """One track's samples since the last fragment."""

    __slots__ = ("is_video", "number", "overdue", "parameters", "shift", "track", "waiting")

    def __init__(self, track: Track, number: int) -> None:
        self.track = track
        self.number = number  # track_ID
        self.is_video = track.kind is Kind.VIDEO
        self.shift = ORIGIN_SECONDS * track.clock_rate
        self.overdue = track.clock_rate // OVERDUES
        self.parameters = track.parameters
        self.waiting: list[tuple[int, int, int, bytes]] = []  # dts, cts, flags, data

    def add(self, frame: Frame) -> None:
        if len(self.waiting) < MAX_WAITING:
            flags = _SYNC if frame.key else _NOT_SYNC
            data = _sample(self.track.codec, frame)
            self.waiting.append((frame.dts, frame.pts - frame.dts, flags, data))

    def nominal(self) -> int:
        """How long the last frame may last, in ticks: as long as most of the last ones."""
        if len(self.waiting) > 1:
            times = [dts for dts, _, _, _ in self.waiting[-RECENT:]]
            steps = sorted(after - before for before, after in pairwise(times))
            return steps[(len(steps) - 1) // 2]
        if isinstance(self.parameters, AudioParameters) and self.parameters.frame_samples:
            return self.parameters.frame_samples
        if isinstance(self.parameters, VideoParameters) and self.parameters.frame_rate_num:
            rate = self.parameters
            return self.track.clock_rate * rate.frame_rate_den // rate.frame_rate_num
        return self.track.clock_rate // 25

    def take(
        self, end: int | None, before: int | None, is_last: bool, *, is_over: bool = False
    ) -> tuple[int, bytes, list[bytes]] | None:
        """Decode time, `trun` entries and data of what is ready; None: nothing.

        `end`: when the first frame that stays is decoded, if that is known. `before`: what begins
        from there on stays. `is_over`: nothing more comes before that.
        """
        overdue = 0 if is_over else self.overdue
        waiting = self.waiting
        if not waiting:
            return None
        if end is None and is_last:
            end = waiting[-1][0] + self.nominal()
        elif end is None and before is not None and waiting[-1][0] + overdue <= before:
            # The track rests: its last frame is of this fragment, whenever the next one comes.
            end = waiting[-1][0] + self.nominal()
        count = len(waiting)
        if end is None:
            count -= 1
            while before is not None and count and waiting[count - 1][0] >= before:
                count -= 1
            end = waiting[count][0]
        else:
            while count and waiting[count - 1][0] >= end:
                count -= 1
        ready, self.waiting = waiting[:count], waiting[count:]
        if not ready:
            return None
        entries: list[bytes] = []
        ends = [dts for dts, _, _, _ in ready[1:]]
        ends.append(end)
        for (dts, cts, flags, data), until in zip(ready, ends, strict=True):
            lasts = min(max(0, until - dts), MAX_DURATION)
            if self.is_video:
                entries.append(_VIDEO_SAMPLE.pack(lasts, len(data), flags, cts))
            else:
                entries.append(_AUDIO_SAMPLE.pack(lasts, len(data)))
        return ready[0][0] + self.shift, b"".join(entries), [data for _, _, _, data in ready]


class FragmentMuxer:
    """The fragments of one set of tracks; another set needs another muxer and initialization."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._lanes = {track: _Lane(track, number) for number, track in enumerate(tracks, 1)}
        self._sequence = 0

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks, in the order of their ids."""
        return tuple(self._lanes)

    def initialization(self) -> bytes:
        """`ftyp` and `moov` for the parameters of now; WireError `fmp4-no-parameters`."""
        brands = b"iso6" + bytes(4) + b"iso6cmfcmp41"
        boxes = [_track_box(lane) for lane in self._lanes.values()]
        extends = [
            full_box(b"trex", 0, 0, _TREX.pack(lane.number, 1, 0, 0, 0))
            for lane in self._lanes.values()
        ]
        head = _MVHD.pack(0, 0, 1000, 0, 0x1_0000, 0x100, *_IDENTITY, len(boxes) + 1)
        return box(b"ftyp", brands) + box(
            b"moov", full_box(b"mvhd", 0, 0, head), *boxes, box(b"mvex", *extends)
        )

    def set_parameters(self, track: Track, parameters: Parameters | None) -> None:
        """What the next initialization says of this track."""
        self._lanes[track].parameters = parameters

    def add(self, frame: Frame) -> None:
        """Take the next frame of one of the tracks."""
        lane = self._lanes[frame.track]
        if lane.parameters is None:
            lane.parameters = frame.parameters
        lane.add(frame)

    def cut(
        self,
        following: Frame | None = None,
        boundary: int | None = None,
        *,
        rests: Track | None = None,
    ) -> bytes:
        """A fragment, `moof` and `mdat`, of what is ready; empty if nothing is.

        `following`: the frame that begins the next fragment, added before this or after; frames of
        other tracks that begin from `boundary` on, in ticks of 90 kHz, stay, too; without one,
        those that begin after it. None: the last frame of each track waits for the next fragment,
        but for that of the track that `rests` until the boundary.
        """
        return self._fragment(following, boundary, is_last=False, rests=rests)

    def finish(self) -> bytes:
        """The last fragment: everything, the last frames lasting as long as those before them."""
        return self._fragment(None, None, is_last=True)

    def single(self, frame: Frame, until: int | None) -> bytes:
        """A fragment of nothing but this frame, which lasts until then, in ticks of its clock.

        None: as long as its codec or its picture rate says. Not to be mixed with `add`.
        """
        lane = self._lanes[frame.track]
        if lane.parameters is None:
            lane.parameters = frame.parameters
        lane.add(frame)
        taken = lane.take(until, None, is_last=True)
        assert taken is not None
        self._sequence += 1
        run = (lane, *taken)
        size = len(_moof(self._sequence, (run,), (0,))) + BOX.size
        data = taken[2]
        head = _moof(self._sequence, (run,), (size,)), BOX.pack(8 + sum(map(len, data)), b"mdat")
        return b"".join((*head, *data))

    def _fragment(
        self,
        following: Frame | None,
        boundary: int | None,
        *,
        is_last: bool,
        rests: Track | None = None,
    ) -> bytes:
        runs: list[tuple[_Lane, int, bytes, list[bytes]]] = []
        for track, lane in self._lanes.items():
            end = before = None
            if following is not None and following.track is track:
                end = following.dts
            elif boundary is not None:
                before = rescale(boundary, BOUNDARY_HZ, track.clock_rate)
            elif following is not None:
                before = rescale(following.dts, following.track.clock_rate, track.clock_rate)
            taken = lane.take(end, before, is_last, is_over=track is rests)
            if taken is not None:
                runs.append((lane, *taken))
        if not runs:
            return b""
        self._sequence += 1
        sizes = [sum(map(len, data)) for _, _, _, data in runs]
        # The size of `moof` does not depend on the offsets in it.
        size = len(_moof(self._sequence, runs, [0] * len(runs)))
        offsets, at = [], size + BOX.size
        for each in sizes:
            offsets.append(at)
            at += each
        pieces = [_moof(self._sequence, runs, offsets), BOX.pack(8 + sum(sizes), b"mdat")]
        for _, _, _, data in runs:
            pieces += data
        return b"".join(pieces)


def _moof(
    sequence: int, runs: Sequence[tuple[_Lane, int, bytes, list[bytes]]], offsets: Sequence[int]
) -> bytes:
    parts = [full_box(b"mfhd", 0, 0, _LENGTH.pack(sequence))]
    for (lane, start, entries, data), offset in zip(runs, offsets, strict=True):
        given = _DATA_OFFSET | _DURATION | _SIZE_GIVEN
        if lane.is_video:
            given |= _FLAGS | _CTS
        parts.append(
            box(
                b"traf",
                full_box(b"tfhd", 0, _FRAGMENT_FLAGS, _TFHD.pack(lane.number, _SYNC)),
                full_box(b"tfdt", 1, 0, _TFDT.pack(start)),
                full_box(b"trun", 1, given, _TRUN.pack(len(data), offset), entries),
            )
        )
    return box(b"moof", *parts)


def _track_box(lane: _Lane) -> bytes:
    parameters = lane.parameters
    if parameters is None:
        raise WireError("fmp4-no-parameters")
    width = height = volume = 0
    media_header = full_box(b"smhd", 0, 0, bytes(4))
    if isinstance(parameters, VideoParameters):
        width, height = parameters.width << 16, parameters.height << 16
        media_header = full_box(b"vmhd", 0, 1, bytes(8))
    else:
        volume = 0x100
    kind = lane.track.kind
    head = _TKHD.pack(0, 0, lane.number, 0, 0, 0, 0, volume, 0, *_IDENTITY, width, height)
    empty = bytes(4)
    table = box(
        b"stbl",
        full_box(b"stsd", 0, 0, _LENGTH.pack(1), sample_entry(parameters)),
        full_box(b"stts", 0, 0, empty),
        full_box(b"stsc", 0, 0, empty),
        full_box(b"stsz", 0, 0, bytes(8)),
        full_box(b"stco", 0, 0, empty),
    )
    here = full_box(b"dref", 0, 0, _LENGTH.pack(1), full_box(b"url ", 0, 1))
    return box(
        b"trak",
        full_box(b"tkhd", 0, 3, head),
        box(
            b"mdia",
            full_box(b"mdhd", 0, 0, _MDHD.pack(0, 0, lane.track.clock_rate, 0, _UNDETERMINED, 0)),
            full_box(b"hdlr", 0, 0, bytes(4), _HANDLERS[kind], bytes(12), _NAMES[kind]),
            box(b"minf", media_header, box(b"dinf", here), table),
        ),
    )


def _sample(codec: str, frame: Frame) -> bytes:
    """A frame as MP4 stores it: NAL units with lengths, OBUs with sizes, others as they are."""
    payload = frame.payload
    if codec in _WITH_LENGTHS:
        pieces: list[bytes] = []
        for nal in payload:
            pieces += (_LENGTH.pack(len(nal)), nal)
        return b"".join(pieces)
    if codec == AV1:
        return join_obus(sync_unit(payload, frame.parameters) if frame.key else payload)
    return payload[0] if len(payload) == 1 else b"".join(payload)
