"""A reader of FLV: tags to meters. Adobe's FLV specification 10.1, and enhanced RTMP's FourCCs."""

from struct import Struct, error

from flux.base.errors import WireError
from flux.cli.probe.figures import Board, TrackMeter
from media.codecs.aac import AacParameters
from media.codecs.g711 import G711Parameters
from media.codecs.opus import parse_id_header
from media.flv.configuration import read_configuration
from media.parameters import Parameters
from media.track import AAC, AV1, H264, H265, OPUS, PCMA, PCMU, Kind

SIGNATURE = b"FLV"
FILE_HEADER_BYTES = 9
TAG_HEADER = Struct(">BHBHBB3x")  # type, size (16 + 8), time (16 + 8, then the high 8), stream id
TAG_HEADER_BYTES = 11
BACK_POINTER_BYTES = 4
AUDIO, VIDEO = 8, 9  # tag types
ENCRYPTED = 0x20
MAX_TAG_BYTES = (1 << 24) - 1

VIDEO_CODECS = {7: H264, 12: H265, b"avc1": H264, b"hvc1": H265, b"hev1": H265}
AUDIO_CODECS = {7: PCMA, 8: PCMU, 10: AAC, b"mp4a": AAC, b"Opus": OPUS}
OTHER_CODECS = {2: "mp3", 3: "pcm", 11: "speex", b"av01": "av1", b"vp09": "vp9", b"vp08": "vp8"}
OTHER_CODECS |= {b".mp3": "mp3", b"ac-3": "ac3", b"ec-3": "eac3"}
EX_AUDIO = 9
SEQUENCE_START, CODED, SEQUENCE_END, CODED_X, METADATA = 0, 1, 2, 3, 4


class FlvReader:
    """Bytes in, frames to a board's meters. Raises `WireError` for what is no FLV."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._buffer = bytearray()
        self._has_header = False
        self._meters: dict[str, TrackMeter] = {}

    def feed(self, data: bytes, now: float) -> None:
        """Take a piece that arrived at `now`."""
        buffer = self._buffer
        buffer += data
        if not self._has_header:
            if len(buffer) < FILE_HEADER_BYTES + BACK_POINTER_BYTES:
                return
            size = int.from_bytes(buffer[5:9], "big")
            if buffer[:3] != SIGNATURE or not FILE_HEADER_BYTES <= size <= 1024:
                raise WireError("flv-signature")
            if len(buffer) < size + BACK_POINTER_BYTES:
                return
            del buffer[: size + BACK_POINTER_BYTES]
            self._has_header = True
        at = 0
        while len(buffer) - at >= TAG_HEADER_BYTES:
            kind, high, low, time, time_low, time_high = TAG_HEADER.unpack_from(buffer, at)
            body = at + TAG_HEADER_BYTES
            end = body + (high << 8 | low)
            if len(buffer) < end + BACK_POINTER_BYTES:
                break
            milliseconds = time_high << 24 | time << 8 | time_low
            self._tag(kind, milliseconds, bytes(buffer[body:end]), now)
            at = end + BACK_POINTER_BYTES
        del buffer[:at]

    def _tag(self, kind: int, milliseconds: int, body: bytes, now: float) -> None:
        if kind & ENCRYPTED:
            raise WireError("flv-encrypted")
        if kind not in (AUDIO, VIDEO) or not body:
            return
        try:
            if kind == VIDEO:
                self._video(milliseconds, body, now)
            else:
                self._audio(milliseconds, body, now)
        except (IndexError, error):
            self._board.notes["flv-tag-truncated"] += 1

    def _video(self, milliseconds: int, body: bytes, now: float) -> None:
        first = body[0]
        if first & 0x80:
            packet, name, at = first & 0x0F, body[1:5], 5
            frame_type = first >> 4 & 7
            codec = VIDEO_CODECS.get(name) or OTHER_CODECS.get(name) or _word(name)
            has_offset = packet == CODED and codec in (H264, H265)
            is_frame = packet in (CODED, CODED_X)
        else:
            frame_type, number = first >> 4, first & 0x0F
            codec = VIDEO_CODECS.get(number, f"flv/{number}")
            packet, at = (body[1], 2) if codec in (H264, H265) else (CODED, 1)
            has_offset = codec in (H264, H265)
            is_frame = packet == CODED
        if packet == METADATA or frame_type == 5:  # 5: a command frame
            return
        meter = self._meter(Kind.VIDEO, codec)
        offset = 0
        if has_offset:
            offset = int.from_bytes(body[at : at + 3], "big", signed=True)
            at += 3
        if packet == SEQUENCE_START and codec in (H264, H265, AV1):
            self._describe(meter, codec, body[at:])
        elif is_frame:
            size = len(body) - at
            self._frame(meter, milliseconds, offset, size, now, key=frame_type == 1)

    def _audio(self, milliseconds: int, body: bytes, now: float) -> None:
        first = body[0]
        number = first >> 4
        if number == EX_AUDIO:
            packet, name, at = first & 0x0F, body[1:5], 5
            codec = AUDIO_CODECS.get(name) or OTHER_CODECS.get(name) or _word(name)
        else:
            codec = AUDIO_CODECS.get(number) or OTHER_CODECS.get(number, f"flv/{number}")
            packet, at = (body[1], 2) if codec == AAC else (CODED, 1)
        if packet not in (SEQUENCE_START, CODED):
            return
        meter = self._meter(Kind.AUDIO, codec)
        if codec in (PCMA, PCMU) and not meter.sample_rate:
            meter.describe(G711Parameters(sample_rate=8000, channels=1 + (first & 1)))
        if packet == SEQUENCE_START:
            self._describe(meter, codec, body[at:])
        else:
            self._frame(meter, milliseconds, 0, len(body) - at, now, key=True)

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

    def _frame(
        self, meter: TrackMeter, milliseconds: int, offset: int, size: int, now: float, *, key: bool
    ) -> None:
        self._board.media(now)
        meter.arrive(milliseconds / 1000, now)
        meter.add((milliseconds + offset) / 1000, size, key=key)


def parameters_of(codec: str, record: bytes) -> Parameters | None:
    """What a sequence header says; raises `WireError` where it is broken."""
    if codec in (H264, H265, AV1):
        return read_configuration(codec, record).parameters
    if codec == AAC:
        return AacParameters.build(record)
    return parse_id_header(record) if codec == OPUS else None


def _word(name: bytes) -> str:
    """A FourCC nobody knows, as text."""
    text = name.decode("latin-1").strip()
    return f"flv/{text if text.isascii() and text.isalnum() else name.hex()}"
