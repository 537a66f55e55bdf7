"""One stream as FLV: the file header, script data and sequence headers, then a tag a frame.

Time is milliseconds from the muxer's first frame, the same for all readers. The first frame's DTS
is put at `HEADROOM_MS`, not at 0: frames of the other track, which the source may send up to two
seconds later than their time, then still have a place above 0. What lies even further back is
clamped to 0. DTS and PTS are both rounded to the nearest millisecond from exact ticks, so each is
at most 0.5 ms off, nothing adds up, and tags of one track keep their order.

Parsers that read the 32-bit timestamp as signed break at 2^31 ms. `is_exhausted` says so in time
for the feed to end its responses and begin a new file.
"""

from collections.abc import Sequence

from media.flv import tags
from media.flv.amf import Value, ecma_array, string
from media.flv.forms import Form, carries_track, writer_for
from media.flv.writers import Writer
from media.frame import Frame
from media.parameters import Parameters
from media.track import Kind, Track

NAME = "flv"
HEADROOM_MS = 2_000  # a track silent for longer does not delay the start of a stream
EXHAUSTED_AT_MS = (1 << 31) - 120_000  # two minutes in which a feed finds its next key frame
MAX_CTS_MS = 0x7FFFFF  # signed 24 bits


class FlvMuxer:
    """Turns frames into FLV tags.

    FLV has room for one video and one audio track: the first of each kind that it can carry.
    Frames of others give no bytes.
    """

    name = NAME

    def __init__(self, tracks: Sequence[Track], form: Form = Form.AUTO) -> None:
        self._states: dict[Track, _TrackState] = {}
        for track in tracks:
            kinds = {taken.kind for taken in self._states}
            if carries_track(track, form) and track.kind not in kinds:
                self._states[track] = _TrackState(track, writer_for(track, form))
        self._origin_ms: int | None = None
        self._last_ms = 0
        self._header: bytes | None = None
        self._told = self._metadata()  # what onMetaData said last

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks that are in the file."""
        return tuple(self._states)

    @property
    def is_exhausted(self) -> bool:
        """Whether time is near the end of what players can count; a new file is due."""
        return self._last_ms >= EXHAUSTED_AT_MS

    def header(self) -> bytes:
        """All that a reader needs before any frame, with timestamp 0 and the parameters of now."""
        if self._header is None:
            self._header = self._make_header()
        return self._header

    def resume(self) -> bytes:
        """The sequence headers of now, for a reader that missed some tags and may a change."""
        return b"".join(state.headers(self._last_ms) for state in self._states.values())

    def trailer(self) -> bytes:
        """What ends the tracks, after the last frame."""
        ends = ((state.tag_type, state.writer.sequence_end()) for state in self._states.values())
        return b"".join(tags.tag(kind, self._last_ms, body) for kind, body in ends if body)

    def encode(self, frame: Frame) -> bytes:
        """The frame's tag, after a new sequence header tag where the parameters changed.

        Empty for a track that is not carried, for a frame without payload, and as long as the
        track's parameters are not known.
        """
        state = self._states.get(frame.track)
        if state is None:
            return b""
        rate = state.rate
        dts_ms = (2000 * frame.dts + rate) // (2 * rate)
        pts_ms = (2000 * frame.pts + rate) // (2 * rate)
        origin = self._origin_ms
        if origin is None:
            origin = self._origin_ms = dts_ms - HEADROOM_MS
        cts_ms = pts_ms - dts_ms
        dts_ms -= origin
        if dts_ms < 0:
            cts_ms += dts_ms  # PTS stays where it is
            dts_ms = 0
        if dts_ms > self._last_ms:
            self._last_ms = dts_ms
        if not -MAX_CTS_MS <= cts_ms <= MAX_CTS_MS:
            cts_ms = MAX_CTS_MS if cts_ms > 0 else -MAX_CTS_MS
        before = b""
        if frame.parameters is not state.parameters:
            before = self._change(state, frame.parameters, dts_ms)
        if not frame.payload or not state.is_ready:
            return before
        return before + state.write(frame, dts_ms, cts_ms)

    def _change(self, state: "_TrackState", parameters: Parameters | None, dts_ms: int) -> bytes:
        """Take new parameters; the sequence header tag if its content is another one."""
        if parameters is None or not state.take(parameters):
            return b""
        self._header = None
        metadata = self._metadata()
        if metadata == self._told:
            return state.headers(dts_ms)
        self._told = metadata
        return self._script(dts_ms) + state.headers(dts_ms)

    def _script(self, milliseconds: int) -> bytes:
        body = string("onMetaData") + ecma_array(self._metadata())
        return tags.tag(tags.TAG_SCRIPT, milliseconds, body)

    def _make_header(self) -> bytes:
        kinds = {track.kind for track in self._states}
        pieces = [
            tags.file_header(Kind.VIDEO in kinds, Kind.AUDIO in kinds),
            self._script(0),
        ]
        pieces += [state.headers(0) for state in self._states.values()]
        return b"".join(pieces)

    def _metadata(self) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for state in self._states.values():
            values |= state.writer.metadata(state.parameters)
        return values


class _TrackState:
    """One carried track: its writer and the parameters that readers have been told."""

    __slots__ = (
        "is_ready",
        "parameters",
        "rate",
        "sequence_header",
        "supplement",
        "tag_type",
        "write",
        "writer",
    )

    def __init__(self, track: Track, writer: Writer) -> None:
        self.rate = track.clock_rate
        self.writer = writer
        self.write = writer.tag
        self.tag_type = tags.TAG_VIDEO if track.kind is Kind.VIDEO else tags.TAG_AUDIO
        self.parameters = track.parameters
        self.sequence_header = writer.sequence_header(track.parameters)
        self.supplement = writer.supplement(track.parameters)
        self.is_ready = bool(self.sequence_header) or not writer.needs_header

    def take(self, parameters: Parameters) -> bool:
        """Use other parameters from now on; whether the sequence header became another one."""
        self.parameters = parameters
        header = self.writer.sequence_header(parameters)
        supplement = self.writer.supplement(parameters)
        if not header and self.writer.needs_header:
            return False
        if (header, supplement) == (self.sequence_header, self.supplement):
            return False
        self.sequence_header, self.supplement = header, supplement
        self.is_ready = True
        return True

    def headers(self, milliseconds: int) -> bytes:
        """The tags with what a decoder must know before any frame."""
        bodies = (self.sequence_header, self.supplement)
        return b"".join(tags.tag(self.tag_type, milliseconds, body) for body in bodies if body)
