"""H.264 and H.265 in PES packets: access units of NAL units; ISO/IEC 13818-1 section 2.14.

Mostly one PES packet is one access unit, and nothing has to be looked for. But a PES packet may
hold several (two fields of a picture), and an access unit may go on in the next one (a PES packet
for each slice, or PES packets cut without regard to the picture). So the stream is read as one row
of NAL units, and an access unit begins

- at an access unit delimiter, a parameter set, SEI or another NAL unit that stands before a picture
  only, if slices were seen since the last beginning (H.264 section 7.4.1.2.3, H.265 7.4.2.4.4);
- at a slice that is the first of its picture: first_mb_in_slice is 0, or
  first_slice_segment_in_pic_flag is set, in the base layer.

It ends where the next one begins. To hand it on without that wait, it is taken as complete with its
PES packet once `PROOF` of them in a row have begun an access unit, and as long as none goes on.

Times are those of the PES packet in which an access unit begins; each further one in it is a step
later, an equal part of the distance between PES packets.
"""

from dataclasses import dataclass, field

from media.codecs.nal import split_start_codes
from media.codecs.start_codes import START_CODE
from media.codecs.tracker import ParameterTracker, tracker_for
from media.mpegts.elementary.base import (
    MAX_UNIT_BYTES,
    MAX_UNIT_NALS,
    NO_TIME,
    NO_TIMESTAMP,
    Output,
    Pes,
)
from media.parameters import VideoParameters
from media.track import H264, Kind, Track

CLOCK_HZ = 90_000
DEFAULT_STEP = CLOCK_HZ // 30
MAX_STEP = CLOCK_HZ * 2
PROOF = 16
MAX_PIECES = 1 << 16  # of one NAL unit; a PES packet is one at least
MAX_PREFIX_BYTES = 64

_START_CODES = (START_CODE, b"\0" + START_CODE)

# What a NAL unit means for the borders of access units.
_REST, _SLICE, _PART, _BEFORE, _PREFIX, _DELIMITER, _FORBIDDEN = range(7)
_LEADS = bytes((_BEFORE, _DELIMITER))


def _h264_roles() -> bytes:
    roles = bytearray(256)
    for first in range(256):
        kind = first & 31
        if first & 0x80:
            roles[first] = _FORBIDDEN
        elif kind in (1, 2, 5):
            roles[first] = _SLICE
        elif kind in (3, 4):
            roles[first] = _PART  # data partitions B and C: no first_mb_in_slice
        elif kind in (6, 7, 8, 15, 16, 17, 18):
            roles[first] = _BEFORE
        elif kind == 14:
            roles[first] = _PREFIX  # stands before any slice of a scalable stream's base layer
        elif kind == 9:
            roles[first] = _DELIMITER
    return bytes(roles)


def _h265_roles() -> bytes:
    roles = bytearray(256)
    for first in range(256):
        kind = first >> 1 & 63
        if first & 0x80:
            roles[first] = _FORBIDDEN
        elif kind < 32:
            roles[first] = _SLICE
        elif kind in (32, 33, 34, 39, 41, 42, 43, 44) or 48 <= kind <= 55:
            roles[first] = _BEFORE
        elif kind == 35:
            roles[first] = _DELIMITER
    return bytes(roles)


@dataclass(slots=True)
class _Open:
    """An access unit that is being put together."""

    arrived: float
    pts: int = NO_TIME
    dts: int = NO_TIME
    nals: list[bytes] = field(default_factory=list)
    tail: list[bytes] = field(default_factory=list)  # the last NAL unit, in pieces
    has_slice: bool = False
    size_bytes: int = 0

    def end_nal(self) -> None:
        """The last NAL unit is complete."""
        tail = self.tail
        if tail:
            nal = tail[0] if len(tail) == 1 else b"".join(tail)
            tail.clear()
            self.nals.append(nal.rstrip(b"\0"))


class VideoParser:
    """Access units of one video PID."""

    __slots__ = (
        "_carry",
        "_count",
        "_done",
        "_header_bytes",
        "_is_first_begun",
        "_is_h264",
        "_last_dts",
        "_open",
        "_output",
        "_prefix",
        "_proof",
        "_roles",
        "_skips",
        "_spare",
        "_started",
        "_step",
        "_tracker",
    )

    def __init__(self, codec: str, output: Output) -> None:
        self._output = output
        self._is_h264 = codec == H264
        self._roles = _ROLES[self._is_h264]
        self._header_bytes = 2 if self._is_h264 else 3  # as far as a slice's first flag
        # Until the parameters are known; who reads the units then finds changes by itself.
        self._tracker: ParameterTracker | None = tracker_for(Track(0, Kind.VIDEO, codec, CLOCK_HZ))
        self._open: _Open | None = None
        self._started: list[_Open] = []  # access units that began in this PES packet
        self._done: list[_Open] = []  # those that are complete
        self._prefix: list[bytes] = []  # NAL units that belong to the slice that follows
        self._carry = b""  # the end of the last payload, if a start code may begin there
        self._proof = 0  # PES packets in a row that were access units; negative: never again
        self._skips = True  # what belongs to no known access unit is no news
        self._spare: tuple[int, int] | None = None  # time of the packet in which `_carry` began
        self._is_first_begun = False  # an access unit began with the first NAL unit
        self._last_dts = NO_TIME  # of the last PES packet with a time
        self._count = 0  # access units that began in it and since
        self._step = DEFAULT_STEP  # ticks between access units

    def push(self, pes: Pes) -> None:
        """Take a PES packet: NAL units in Annex B form."""
        if not pes.is_whole:
            self.lost()
            return
        data = pes.payload
        # A start code that goes on here began in the packet before, and has its time.
        is_seam = bool(self._carry) and not data.startswith(_START_CODES)
        if self._carry:
            data = self._carry + data
            self._carry = b""
        if data.endswith(b"\0"):  # perhaps of a start code
            stripped = data.rstrip(b"\0")
            self._carry = data[len(stripped) : len(stripped) + 2]
            data = stripped
        pieces = split_start_codes(data, MAX_UNIT_NALS)
        if len(pieces) > MAX_UNIT_NALS or len(data) > MAX_UNIT_BYTES:
            self._fail()
            return
        if len(pieces) > 1 and self._is_cut_short(pieces[-1]):
            self._carry = START_CODE + pieces.pop() + self._carry
        if self._is_picture(pieces):
            self._take_picture(pes, pieces)
            return
        went_on = self._take(pes, pieces)
        if went_on:
            self._proof = -1
        elif self._started and self._proof >= 0:
            self._proof += 1
        self._time(pes, is_seam=is_seam)
        if self._proof > PROOF and self._open is not None and self._open.has_slice:
            self._carry = b""
            self._end()
        self._emit()

    def lost(self) -> None:
        """Packets are missing: what is held cannot be completed."""
        self._open = None
        self._carry = b""
        self._prefix.clear()
        self._skips = True
        self._last_dts = NO_TIME

    def flush(self) -> None:
        """The stream has ended."""
        self._carry = b""
        if self._open is not None and self._open.has_slice:
            self._end()
            self._emit()

    @property
    def unit_ticks(self) -> float | None:
        """See `ElementaryParser`."""
        return 0.0 if self._proof > PROOF else None

    def _is_cut_short(self, nal: bytes) -> bool:
        """Whether a payload ended before it could be told what this NAL unit is."""
        if not nal:
            return True
        role = self._roles[nal[0]]
        if role == _PREFIX:
            return len(nal) < MAX_PREFIX_BYTES
        return role == _SLICE and len(nal) < self._header_bytes

    def _is_picture(self, pieces: list[bytes]) -> bool:
        """Whether what comes is one access unit as those before it were: what belongs before a
        picture, if anything, and its slices. `_take` would find the same, step by step."""
        if self._proof <= PROOF or self._open is not None or self._carry or self._prefix:
            return False
        if pieces[0].strip(b"\0") or b"" in pieces[1:]:
            return False
        roles = bytes([nal[0] for nal in pieces[1:]]).translate(self._roles)
        slices = len(roles.lstrip(_LEADS))
        if not slices or roles.count(_SLICE, -slices) != slices:
            return False
        if not self._is_first(pieces[-slices]):
            return False
        return slices == 1 or not any(map(self._is_first, pieces[1 - slices :]))

    def _take_picture(self, pes: Pes, pieces: list[bytes]) -> None:
        """Hand it on."""
        self._skips = False
        self._proof += 1
        unit = _Open(pes.arrived, nals=[nal.rstrip(b"\0") for nal in pieces[1:]])
        self._set_times([unit], pes.pts, pes.dts)
        self._spare = None
        self._hand_on(unit)

    def _take(self, pes: Pes, pieces: list[bytes]) -> bool:
        """Sort the NAL units; whether the access unit that was open went on here."""
        lead = pieces[0]
        unit = self._open
        size = 0
        if unit is not None:
            size = unit.size_bytes
            if lead.strip(b"\0"):
                unit.tail.append(lead)
                self._grow(unit, len(lead))
            elif len(pieces) > 1:
                unit.end_nal()
        elif lead.strip(b"\0"):
            self._orphan()
        roles = self._roles
        self._is_first_begun = False
        for index in range(1, len(pieces)):
            nal = pieces[index]
            if nal:
                self._add(nal, roles[nal[0]], pes)
                if index == 1:
                    self._is_first_begun = bool(self._started)
        return unit is not None and unit.size_bytes != size

    def _add(self, nal: bytes, role: int, pes: Pes) -> None:
        """One more NAL unit; the ones before it are complete."""
        unit = self._open
        if role == _SLICE:
            is_first = self._is_first(nal)
            if unit is None or (is_first and unit.has_slice):
                if not is_first:
                    self._orphan()
                    return
                unit = self._begin(pes)
            unit.has_slice = True
        elif role == _PREFIX:
            if len(self._prefix) < MAX_UNIT_NALS:
                self._prefix.append(nal.rstrip(b"\0"))
            return
        elif role in (_BEFORE, _DELIMITER):
            if unit is None or unit.has_slice:
                unit = self._begin(pes)
        elif role == _FORBIDDEN:  # as where the start of a PES packet was not marked as one
            self._fail("ts-nal-malformed")
            return
        elif unit is None:
            return  # filler, the end of a sequence: of a unit that is gone
        unit.end_nal()
        if self._prefix:
            unit.nals += self._prefix
            self._prefix.clear()
        unit.tail.append(nal)
        self._grow(unit, len(nal))

    def _is_first(self, nal: bytes) -> bool:
        """Whether a slice is the first of its picture, or looks like that."""
        if len(nal) < self._header_bytes:
            return False
        if self._is_h264:
            return nal[1] & 0x80 != 0  # ue(v) of first_mb_in_slice: a one says 0
        return nal[2] & 0x80 != 0 and not nal[0] & 1 and nal[1] < 8  # nuh_layer_id 0

    def _begin(self, pes: Pes) -> _Open:
        """A new access unit; its time is set at the end of the PES packet."""
        self._end()
        self._skips = False
        unit = self._open = _Open(pes.arrived)
        self._started.append(unit)
        return unit

    def _end(self) -> None:
        if self._open is not None:
            self._open.end_nal()
            self._done.append(self._open)
            self._open = None

    def _grow(self, unit: _Open, size: int) -> None:
        unit.size_bytes += size
        if (
            unit.size_bytes > MAX_UNIT_BYTES
            or len(unit.nals) > MAX_UNIT_NALS
            or len(unit.tail) > MAX_PIECES
        ):
            self._fail()

    def _fail(self, reason: str = "ts-unit-too-large") -> None:
        self._output.drop(reason)
        self.lost()

    def _orphan(self) -> None:
        """Something of a picture whose beginning is not there: lost, or handed on before."""
        if not self._skips:
            self._skips = True
            self._proof = -1
            self._output.drop("ts-unit-split")

    # -- times -------------------------------------------------------------------------------

    def _time(self, pes: Pes, *, is_seam: bool) -> None:
        """Give the access units that began in this PES packet their times."""
        started, self._started = self._started, []
        if is_seam and self._is_first_begun:
            self._set_times(started[:1], *(self._spare or (NO_TIME, NO_TIME)))
            self._spare = None
            del started[:1]
        self._set_times(started, pes.pts, pes.dts)
        if started or not self._carry:
            self._spare = None
        elif pes.dts != NO_TIME:
            self._spare = pes.pts, pes.dts

    def _set_times(self, started: list[_Open], pts: int, dts: int) -> None:
        """Give the access units that began in a PES packet with this time theirs."""
        if not started:
            return
        if dts == NO_TIME:
            if self._last_dts == NO_TIME:
                return
            pts = dts = self._last_dts + self._count * self._step
            self._count += len(started)
        else:
            if self._last_dts != NO_TIME and 0 < dts - self._last_dts <= MAX_STEP:
                self._step = max(1, (dts - self._last_dts) // self._count)
            self._last_dts = dts
            self._count = len(started)
        for unit in started:
            unit.pts, unit.dts = pts, dts
            pts += self._step
            dts += self._step

    def _emit(self) -> None:
        if not self._done:
            return
        done, self._done = self._done, []
        for unit in done:
            self._hand_on(unit)

    def _hand_on(self, unit: _Open) -> None:
        """One access unit, without delimiters."""
        roles = self._roles
        nals = tuple([nal for nal in unit.nals if nal and roles[nal[0]] != _DELIMITER])
        if self._tracker is not None and not self._describe(self._tracker, nals):
            return
        if unit.dts == NO_TIME:
            self._output.drop(NO_TIMESTAMP)
        else:
            self._output.unit(unit.pts, unit.dts, nals, unit.arrived)

    def _describe(self, tracker: ParameterTracker, nals: tuple[bytes, ...]) -> bool:
        """Look for the parameters; units before them can be shown by nobody."""
        tracker.inspect(nals)
        parameters = tracker.parameters
        if parameters is None:
            return False
        self._tracker = None
        if isinstance(parameters, VideoParameters) and parameters.frame_rate_num > 0:
            step = CLOCK_HZ * parameters.frame_rate_den // parameters.frame_rate_num
            if self._step == DEFAULT_STEP:
                self._step = max(1, step)
        self._output.describe(CLOCK_HZ, parameters)
        return True


_ROLES = (_h265_roles(), _h264_roles())
