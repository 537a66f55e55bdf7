"""Bodies of FLV's audio and video tags: Adobe's annex E.4.2 and E.4.3, "Enhanced RTMP v2".

A body says its codec, what it is (a configuration, frames, an end) and what is in it. Multitrack
bodies are refused: FLV has one track of each kind here.
"""

from dataclasses import dataclass

from flux.base.errors import WireError
from media.flv import tags
from media.track import AAC, AC3, AV1, EAC3, H264, H265, MP3, OPUS, PCMA, PCMU, VP8, VP9

START, FRAMES, END, OTHER = range(4)  # what a body is

VIDEO_CODECS = {tags.VIDEO_AVC: H264, tags.VIDEO_HEVC_LEGACY: H265}
VIDEO_FOURCC = {
    tags.FOURCC_AVC: H264,
    tags.FOURCC_HEVC: H265,
    b"hev1": H265,  # not in the specification; encoders write it
    tags.FOURCC_AV1: AV1,
    tags.FOURCC_VP8: VP8,
    tags.FOURCC_VP9: VP9,
}
AUDIO_CODECS = {
    tags.AUDIO_MP3: MP3,
    14: MP3,  # at 8 kHz
    tags.AUDIO_PCMA: PCMA,
    tags.AUDIO_PCMU: PCMU,
    tags.AUDIO_AAC: AAC,
}
AUDIO_FOURCC = {
    tags.FOURCC_AAC: AAC,
    tags.FOURCC_MP3: MP3,
    tags.FOURCC_OPUS: OPUS,
    tags.FOURCC_AC3: AC3,
    tags.FOURCC_EAC3: EAC3,
}
HAS_OFFSET = frozenset((H264, H265))
FRAME_COMMAND = 5  # frame type of something that is no picture
FRAME_KEY = 1
MAX_MODIFIERS = 8


@dataclass(slots=True)
class Body:
    """One body, taken apart."""

    codec: str  # `flv/...` for one that is not known
    what: int  # START, FRAMES, END, OTHER
    data: bytes
    key: bool = True
    offset_ms: int = 0  # PTS minus DTS
    channels: int = 0  # of legacy sound that tells nothing else


def read_video(body: bytes) -> Body:
    """A VIDEODATA or ExVideoTagBody; `WireError` if it is cut or refused."""
    if not body:
        raise WireError("flv-tag-truncated")
    first = body[0]
    if first & tags.VIDEO_ENHANCED:
        return _read_enhanced_video(body)
    frame, number = first >> 4, first & 0x0F
    codec = VIDEO_CODECS.get(number, f"flv/{number}")
    if frame == FRAME_COMMAND:
        return Body(codec, OTHER, b"")
    if codec not in HAS_OFFSET:
        return Body(codec, FRAMES, body[1:], frame == FRAME_KEY)
    if len(body) < 5:
        raise WireError("flv-tag-truncated")
    what = body[1] if body[1] <= END else OTHER
    offset = int.from_bytes(body[2:5], "big", signed=True)
    return Body(codec, what, body[5:], frame == FRAME_KEY, offset)


def _read_enhanced_video(body: bytes) -> Body:
    packet, at = _modifiers(body, body[0] & 0x0F)
    if packet == tags.VIDEO_MULTITRACK:
        raise WireError("flv-multitrack-refused")
    frame = body[0] >> 4 & 7
    if frame == FRAME_COMMAND and packet != tags.VIDEO_METADATA:
        return Body("", OTHER, b"")
    codec = _fourcc(VIDEO_FOURCC, body, at)
    at += 4
    offset = 0
    if packet == tags.CODED_FRAMES and codec in HAS_OFFSET:
        if len(body) < at + 3:
            raise WireError("flv-tag-truncated")
        offset = int.from_bytes(body[at : at + 3], "big", signed=True)
        at += 3
    if packet == tags.SEQUENCE_HEADER:
        what = START
    elif packet in (tags.CODED_FRAMES, tags.CODED_FRAMES_X):
        what = FRAMES
    else:
        what = END if packet == tags.SEQUENCE_END else OTHER
    return Body(codec, what, body[at:], frame == FRAME_KEY, offset)


def read_audio(body: bytes) -> Body:
    """An AUDIODATA or ExAudioTagBody; `WireError` if it is cut or refused."""
    if not body:
        raise WireError("flv-tag-truncated")
    number = body[0] >> 4
    if number == tags.AUDIO_ENHANCED:
        return _read_enhanced_audio(body)
    codec = AUDIO_CODECS.get(number, f"flv/{number}")
    channels = 1 + (body[0] & 1)
    if codec != AAC:
        return Body(codec, FRAMES, body[1:], channels=channels)
    if len(body) < 2:
        raise WireError("flv-tag-truncated")
    what = (START, FRAMES)[body[1]] if body[1] < 2 else OTHER
    return Body(codec, what, body[2:], channels=channels)


def _read_enhanced_audio(body: bytes) -> Body:
    packet, at = _modifiers(body, body[0] & 0x0F)
    if packet == tags.AUDIO_MULTITRACK:
        raise WireError("flv-multitrack-refused")
    codec = _fourcc(AUDIO_FOURCC, body, at)
    what = packet if packet in (START, FRAMES, END) else OTHER
    return Body(codec, what, body[at + 4 :])


def _modifiers(body: bytes, packet: int) -> tuple[int, int]:
    """The packet type behind all modifiers (ModEx), and where it goes on."""
    at = 1
    for _ in range(MAX_MODIFIERS):
        if packet != tags.MOD_EX:
            return packet, at
        size = body[at] + 1 if at < len(body) else 0
        at += 1
        if size == 256:
            size = int.from_bytes(body[at : at + 2], "big") + 1
            at += 2
        at += size
        if at >= len(body):
            raise WireError("flv-tag-truncated")
        packet = body[at] & 0x0F
        at += 1
    raise WireError("flv-modifiers")


def _fourcc(known: dict[bytes, str], body: bytes, at: int) -> str:
    name = body[at : at + 4]
    if len(name) < 4:
        raise WireError("flv-tag-truncated")
    codec = known.get(name)
    if codec is None:
        text = name.decode("latin-1").strip()
        codec = f"flv/{text if text.isascii() and text.isalnum() else name.hex()}"
    return codec
