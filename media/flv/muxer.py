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

from media.codecs.mp3 import LAYER_3, Mp3Parameters
from media.flv import tags
from media.flv.amf import Value, ecma_array, string
from media.flv.writers import (
    AacWriter,
    AvcWriter,
    G711Writer,
    HevcWriter,
    Mp3Writer,
    OpusWriter,
    Writer,
)
from media.frame import Frame
from media.parameters import Parameters
from media.track import AAC, H264, H265, MP3, OPUS, PCMA, PCMU, Kind, Track

NAME = "flv"
HEADROOM_MS = 2_000  # a track silent for longer does not delay the start of a stream
EXHAUSTED_AT_MS = (1 << 31) - 120_000  # two minutes in which a feed finds its next key frame
MAX_CTS_MS = 0x7FFFFF  # signed 24 bits

_CODECS = frozenset((H264, H265, AAC, OPUS, PCMA, PCMU, MP3))


def carries(codec: str) -> bool:
    """Whether FLV has a place for tracks of this codec."""
    return codec in _CODECS


def carries_track(track: Track) -> bool:
    """Whether FLV can carry this very track.

    Its G.711 is 8 kHz, and its MPEG audio is layer III, whatever else the codec can.
    """
    parameters = track.parameters
    if isinstance(parameters, Mp3Parameters) and parameters.layer != LAYER_3:
        return False
    return carries(track.codec) and (track.codec not in (PCMA, PCMU) or track.clock_rate == 8000)


class FlvMuxer:
    """Turns frames into FLV tags.

    FLV has room for one video and one audio track: the first of each kind that it can carry.
    Frames of others give no bytes. `legacy_h265` writes H.265 under codec id 12, for players that
    do not know the FourCC form.
    """

    name = NAME

    def __init__(self, tracks: Sequence[Track], *, legacy_h265: bool = False) -> None:
        self._states: dict[Track, _TrackState] = {}
        for track in tracks:
            kinds = {taken.kind for taken in self._states}
            if carries_track(track) and track.kind not in kinds:
                self._states[track] = _TrackState(track, _writer_for(track, legacy_h265))
        self._origin_ms: int | None = None
        self._last_ms = 0
        self._header: bytes | None = None

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
        return b"".join(
            tags.tag(state.tag_type, self._last_ms, state.sequence_header)
            for state in self._states.values()
            if state.sequence_header
        )

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
        return tags.tag(state.tag_type, dts_ms, state.sequence_header)

    def _make_header(self) -> bytes:
        kinds = {track.kind for track in self._states}
        pieces = [
            tags.file_header(Kind.VIDEO in kinds, Kind.AUDIO in kinds),
            tags.tag(tags.TAG_SCRIPT, 0, string("onMetaData") + ecma_array(self._metadata())),
        ]
        pieces += [
            tags.tag(state.tag_type, 0, state.sequence_header)
            for state in self._states.values()
            if state.sequence_header
        ]
        return b"".join(pieces)

    def _metadata(self) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for state in self._states.values():
            values |= state.writer.metadata(state.parameters)
        return values


class _TrackState:
    """One carried track: its writer and the parameters that readers have been told."""

    __slots__ = ("is_ready", "parameters", "rate", "sequence_header", "tag_type", "write", "writer")

    def __init__(self, track: Track, writer: Writer) -> None:
        self.rate = track.clock_rate
        self.writer = writer
        self.write = writer.tag
        self.tag_type = tags.TAG_VIDEO if track.kind is Kind.VIDEO else tags.TAG_AUDIO
        self.parameters = track.parameters
        self.sequence_header = writer.sequence_header(track.parameters)
        self.is_ready = bool(self.sequence_header) or not writer.needs_header

    def take(self, parameters: Parameters) -> bool:
        """Use other parameters from now on; whether the sequence header became another one."""
        self.parameters = parameters
        header = self.writer.sequence_header(parameters)
        if not header or header == self.sequence_header:
            return False
        self.sequence_header = header
        self.is_ready = True
        return True


def _writer_for(track: Track, legacy_h265: bool) -> Writer:
    if track.codec == H264:
        return AvcWriter()
    if track.codec == H265:
        return AvcWriter(tags.VIDEO_HEVC_LEGACY) if legacy_h265 else HevcWriter()
    if track.codec == AAC:
        return AacWriter()
    if track.codec == OPUS:
        return OpusWriter()
    if track.codec == MP3:
        return Mp3Writer()
    codec_id = tags.AUDIO_PCMA if track.codec == PCMA else tags.AUDIO_PCMU
    return G711Writer(codec_id, track.parameters)
