"""One PID of the program: from its PES packets to units of its track."""

from collections.abc import Callable

from flux.base.errors import WireError
from media.frame import NO_TIME
from media.mpegts.assembly import Pieces
from media.mpegts.clock import CLOCK_HZ, ProgramClock
from media.mpegts.elementary.ac3 import Ac3Parser, Eac3Parser
from media.mpegts.elementary.adts import AdtsParser
from media.mpegts.elementary.base import ElementaryParser, Output, Pes
from media.mpegts.elementary.data import KlvParser, OpaqueParser
from media.mpegts.elementary.loas import LoasParser
from media.mpegts.elementary.mpeg_audio import MpegAudioParser
from media.mpegts.elementary.opus import OpusParser
from media.mpegts.elementary.video import VideoParser
from media.mpegts.events import TrackDescribed, TsEvent, TsHead, TsTrack, TsUnit
from media.mpegts.pes import STREAM_ID_PADDING, PesHeader, parse_pes_header
from media.mpegts.stream_types import (
    STREAM_AAC_LATM,
    STREAM_METADATA,
    OpaqueParameters,
    descriptor_bytes,
    identify,
    opaque,
    opus_channels,
    sniff,
)
from media.mpegts.tables import Entry
from media.parameters import Parameters
from media.track import AAC, AC3, EAC3, H264, H265, KLV, MP3, OPUS, Kind

LONGEST = 2 * CLOCK_HZ  # of a PES packet with sound; more is a pause, or a clock that was set


class TrackReader:
    """Gives a PID its parser; the parser's `Output`."""

    __slots__ = ("_clock", "_on_drop", "_parser", "_pts", "_put", "track")

    def __init__(
        self,
        entry: Entry,
        clock: ProgramClock,
        put: Callable[[TsEvent], None],
        on_drop: Callable[[str], None],
    ) -> None:
        self.track = TsTrack(entry)
        self._clock = clock
        self._put = put
        self._on_drop = on_drop
        self._parser: ElementaryParser | None = None
        self._pts = NO_TIME  # of the last PES packet with a time
        known = identify(entry)
        if known is not None:
            self._set_codec(*known)

    def close(self) -> None:
        """Let go of the parser, which holds this."""
        self._parser = None

    @property
    def is_video(self) -> bool:
        """Whether its PES packets may be long."""
        track = self.track
        if isinstance(track.parameters, OpaqueParameters):
            return track.parameters.is_video
        return track.kind is Kind.VIDEO

    @property
    def is_audio(self) -> bool:
        """Whether its PES packets are rows of frames."""
        return self.track.kind is Kind.AUDIO

    def settle(self) -> None:
        """What has not shown what it is will be opaque."""
        if self._parser is None:
            self._set_codec(*opaque(self.track.entry))
            self._put(TrackDescribed(self.track))

    # From the assembler.

    def take(self, pieces: Pieces, arrived: float, is_whole: bool) -> None:
        """Take a PES packet."""
        try:
            header = self._header(pieces)
        except WireError as error:
            if is_whole:
                self._on_drop(error.reason)
            self.lost()
            return
        if header.stream_id == STREAM_ID_PADDING:
            return
        pts = dts = NO_TIME
        if header.pts != NO_TIME:
            pts, dts = self._clock.times(header.pts, header.dts)
            self._pts = pts
        # The header goes off before the pieces are joined: a picture is copied once less.
        pieces[0] = pieces[0][header.payload_at :]
        payload = b"".join(pieces)
        parser = self._parser
        if parser is None:
            if not payload:
                return
            parser = self._set_codec(*sniff(self.track.entry, payload))
            if self.track.clock_rate:
                self._put(TrackDescribed(self.track))
        parser.push(Pes(payload, pts, dts, arrived, is_whole))

    def _header(self, pieces: Pieces) -> PesHeader:
        """The header, which is all in the first piece afterwards; `WireError` as for any."""
        try:
            return parse_pes_header(bytes(pieces[0]))
        except WireError:
            if len(pieces) == 1:
                raise
        whole = b"".join(pieces)  # it goes on in the next packet
        pieces[:] = [whole]
        return parse_pes_header(whole)

    def skim(self, front: bytes, size_bytes: int, mark: int) -> None:
        """Take the front of a PES packet; `mark` is twice its place, and one for a start."""
        try:
            header = parse_pes_header(front)
        except WireError as error:
            if size_bytes <= len(front):  # else the header goes on in the next packet
                self._on_drop(error.reason)
            return
        if header.stream_id == STREAM_ID_PADDING:
            return
        pts, before = NO_TIME, self._pts
        if header.pts != NO_TIME:
            pts = self._pts = self._clock.times(header.pts, header.dts)[0]
        units, ticks = 1, self.unit_ticks
        if ticks and NO_TIME not in (pts, before) and 0 <= pts - before <= LONGEST:
            units = round((pts - before) / ticks)
        size_bytes -= header.payload_at
        self._put(TsHead(self.track, units, size_bytes, pts, bool(mark & 1), mark >> 1))

    @property
    def unit_ticks(self) -> float | None:
        """See `ElementaryParser`."""
        return None if self._parser is None else self._parser.unit_ticks

    def lost(self) -> None:
        """Packets are missing."""
        if self._parser is not None:
            self._parser.lost()

    def flush(self) -> None:
        """The stream has ended."""
        if self._parser is not None:
            self._parser.flush()

    # The parser's output.

    def unit(self, pts: int, dts: int, payload: tuple[bytes, ...], arrived: float) -> None:
        """One unit."""
        self._put(TsUnit(self.track, pts, dts, payload, arrived))

    def describe(self, clock_rate: int, parameters: Parameters | None) -> None:
        """The track is known now."""
        self.track.clock_rate = clock_rate
        self.track.parameters = parameters
        self._put(TrackDescribed(self.track))

    def drop(self, reason: str) -> None:
        """Something was dropped."""
        self._on_drop(reason)

    def time(self) -> int:
        """The time of what comes without any."""
        now = self._clock.now()
        return NO_TIME if now is None else now

    def _set_codec(self, kind: Kind, codec: str) -> ElementaryParser:
        """Kind and codec are known; data have nothing more to show."""
        track, entry = self.track, self.track.entry
        track.kind, track.codec = kind, codec
        if kind is Kind.DATA:
            track.clock_rate = CLOCK_HZ
            if codec != KLV:
                track.parameters = OpaqueParameters(
                    stream_type=entry.stream_type, descriptors=descriptor_bytes(entry.descriptors)
                )
        self._parser = _parser_for(track, self)
        return self._parser


def _parser_for(track: TsTrack, output: Output) -> ElementaryParser:
    """The parser of a track whose codec is known."""
    entry = track.entry
    if track.codec in (H264, H265):
        return VideoParser(track.codec, output)
    if track.codec == OPUS:
        return OpusParser(output, opus_channels(entry))
    if track.codec == KLV:
        return KlvParser(output, has_cells=entry.stream_type == STREAM_METADATA)
    if track.codec == AAC and entry.stream_type == STREAM_AAC_LATM:
        return LoasParser(output)
    return _PARSERS.get(track.codec, OpaqueParser)(output)


_PARSERS: dict[str, Callable[[Output], ElementaryParser]] = {
    AAC: AdtsParser,
    MP3: MpegAudioParser,
    AC3: Ac3Parser,
    EAC3: Eac3Parser,
}
