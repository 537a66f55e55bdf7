"""A reader of FLV: tags to meters."""

from flux.base.errors import WireError
from flux.cli.probe.figures import Board, TrackMeter
from media.codecs.aac import AacParameters
from media.codecs.g711 import G711Parameters
from media.codecs.opus import parse_id_header
from media.flv import reader
from media.flv.bodies import FRAMES, START, Body, read_audio, read_video
from media.flv.configuration import read_configuration
from media.flv.tags import TAG_AUDIO, TAG_VIDEO
from media.parameters import Parameters
from media.track import AAC, AV1, H264, H265, OPUS, PCMA, PCMU, Kind

NAMES = {"flv/3": "pcm", "flv/11": "speex"}  # what only a probe names; E.4.2.1


class FlvReader:
    """Bytes in, frames to a board's meters. Raises `WireError` for what is no FLV."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._reader = reader.FlvReader()
        self._meters: dict[Kind, TrackMeter] = {}

    def feed(self, data: bytes, now: float) -> None:
        """Take a piece that arrived at `now`."""
        for tag in self._reader.feed(data):
            if tag.type in (TAG_AUDIO, TAG_VIDEO) and tag.body:
                try:
                    self._tag(tag, now)
                except WireError as error:
                    self._board.notes[error.reason] += 1
        if self._reader.breaks:
            self._board.notes["flv-junk"] = self._reader.breaks

    def _tag(self, tag: reader.FlvTag, now: float) -> None:
        if tag.type == TAG_VIDEO:
            kind, body = Kind.VIDEO, read_video(tag.body)
        else:
            kind, body = Kind.AUDIO, read_audio(tag.body)
        if not body.codec or body.what not in (START, FRAMES):
            return
        meter = self._meter(kind, NAMES.get(body.codec, body.codec))
        if body.what == FRAMES:
            self._frame(meter, tag.timestamp, body, now)
        else:
            self._describe(meter, body.codec, body.data)

    def _meter(self, kind: Kind, codec: str) -> TrackMeter:
        meter = self._meters.get(kind)
        if meter is None or meter.codec != codec:
            meter = TrackMeter(kind, codec)
            self._meters[kind] = meter
            self._board.tracks.append(meter)
        return meter

    def _describe(self, meter: TrackMeter, codec: str, record: bytes) -> None:
        try:
            meter.describe(parameters_of(codec, record))
        except WireError:
            self._board.notes["flv-sequence-header"] += 1

    def _frame(self, meter: TrackMeter, milliseconds: int, body: Body, now: float) -> None:
        if body.codec in (PCMA, PCMU) and not meter.sample_rate:
            meter.describe(G711Parameters(sample_rate=8000, channels=body.channels or 1))
        self._board.media(now)
        meter.arrive(milliseconds / 1000, now)
        meter.add((milliseconds + body.offset_ms) / 1000, len(body.data), key=body.key)


def parameters_of(codec: str, record: bytes) -> Parameters | None:
    """What a sequence header says; raises `WireError` where it is broken."""
    if codec in (H264, H265, AV1):
        return read_configuration(codec, record).parameters
    if codec == AAC:
        return AacParameters.build(record)
    return parse_id_header(record) if codec == OPUS else None
