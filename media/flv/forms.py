"""The forms of FLV: what is written as in Adobe's specification, and what with a FourCC.

    codec           auto       legacy       enhanced
    H.264           id 7       id 7         avc1
    H.265           hvc1       id 12        hvc1
    AV1, VP8, VP9   FourCC     -            FourCC
    AAC             id 10      id 10        mp4a
    MP3             id 2       id 2         .mp3
    Opus            Opus       -            Opus, with its channels
    AC-3, E-AC-3    -          -            FourCC, with its channels
    G.711           id 7, 8    id 7, 8      id 7, 8

`auto` is what most players read: mpegts.js gives up at AC-3, and at a configuration of channels.
"""

from enum import StrEnum

from media.codecs.mp3 import LAYER_3, Mp3Parameters
from media.flv import tags
from media.flv.enhanced import AUDIO_FOURCC, VIDEO_FOURCC, NalWriter, PictureWriter, SoundWriter
from media.flv.writers import AacWriter, AvcWriter, G711Writer, Mp3Writer, Writer
from media.track import (
    AAC,
    AV1,
    H264,
    H265,
    MP3,
    OPUS,
    PCMA,
    PCMU,
    VP8,
    VP9,
    Track,
)


class Form(StrEnum):
    """Which tags a file has."""

    AUTO = "auto"
    LEGACY = "legacy"
    ENHANCED = "enhanced"


G711 = {PCMA: tags.AUDIO_PCMA, PCMU: tags.AUDIO_PCMU}
CODECS = {
    Form.LEGACY: frozenset((H264, H265, AAC, MP3, PCMA, PCMU)),
    Form.AUTO: frozenset((H264, H265, AV1, VP8, VP9, AAC, MP3, OPUS, PCMA, PCMU)),
    Form.ENHANCED: frozenset((*VIDEO_FOURCC, *AUDIO_FOURCC, PCMA, PCMU)),
}
SAME_IN_AUTO = {
    Form.LEGACY: frozenset((H264, AAC, MP3, PCMA, PCMU)),
    Form.ENHANCED: frozenset((H265, AV1, VP8, VP9, PCMA, PCMU)),
}


def carries(codec: str, form: Form = Form.AUTO) -> bool:
    """Whether this form has a place for tracks of this codec."""
    return codec in CODECS[form]


def carries_track(track: Track, form: Form = Form.AUTO) -> bool:
    """Whether this form can carry this very track.

    Its G.711 is 8 kHz, and its MPEG audio is layer III, whatever else the codec can.
    """
    parameters = track.parameters
    if isinstance(parameters, Mp3Parameters) and parameters.layer != LAYER_3:
        return False
    return carries(track.codec, form) and (track.codec not in G711 or track.clock_rate == 8000)


def is_same_in_auto(tracks: tuple[Track, ...], form: Form) -> bool:
    """Whether `auto` writes these tracks exactly as this form does."""
    return form is Form.AUTO or all(_is_same(track, form) for track in tracks)


def _is_same(track: Track, form: Form) -> bool:
    is_carried = carries_track(track, form)
    if is_carried != carries_track(track):
        return False
    return not is_carried or track.codec in SAME_IN_AUTO[form]


def writer_for(track: Track, form: Form) -> Writer:
    """What writes the tags of a track that this form carries."""
    codec = track.codec
    if codec in G711:
        return G711Writer(G711[codec], track.parameters)
    if form is not Form.ENHANCED:
        if codec == H264:
            return AvcWriter()
        if codec == H265 and form is Form.LEGACY:
            return AvcWriter(tags.VIDEO_HEVC_LEGACY)
        if codec == AAC:
            return AacWriter()
        if codec == MP3:
            return Mp3Writer()
    if codec in (H264, H265):
        return NalWriter(VIDEO_FOURCC[codec])
    if codec in VIDEO_FOURCC:
        return PictureWriter(VIDEO_FOURCC[codec])
    return SoundWriter(AUDIO_FOURCC[codec], tells_channels=form is Form.ENHANCED)
