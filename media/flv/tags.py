"""FLV on the wire: the file header and tags, each with the PreviousTagSize that follows it.

Adobe, "Adobe Flash Video File Format Specification 10.1", annex E; the FourCC forms
are those of Veovera, "Enhanced RTMP v2". A tag's timestamp is 32 bits wide: 24 low bits, then the
8 high ones in TimestampExtended. The composition time offset is a signed number of 24 bits.
"""

from struct import Struct

TAG_AUDIO = 8
TAG_VIDEO = 9
TAG_SCRIPT = 18

TAG_HEADER_BYTES = 11
MAX_BODY_BYTES = 0xFFFFFF

# First byte of a video body: frame type in the high nibble (with the enhanced bit on top).
FRAME_KEY = 0x10
FRAME_INTER = 0x20
VIDEO_AVC = 7
VIDEO_HEVC_LEGACY = 12  # what players knew before there was a standard way
VIDEO_ENHANCED = 0x80

# Second byte of an AVC body; low nibble of the first byte of an enhanced one.
SEQUENCE_HEADER = 0
CODED_FRAMES = 1
SEQUENCE_END = 2
CODED_FRAMES_X = 3  # enhanced only: the composition time offset is 0 and not sent
VIDEO_METADATA = 4  # enhanced video only: AMF, such as colours
MULTICHANNEL = 4  # enhanced audio only: which channels there are
MPEG2_TS_START = 5  # enhanced video only: a sequence header as transport streams have it
AUDIO_MULTITRACK = 5
VIDEO_MULTITRACK = 6
MOD_EX = 7  # enhanced only: modifiers of what follows

# First byte of an audio body: format, rate, size, channels. AAC is always "44 kHz, 16 bit,
# stereo" whatever it holds (E.4.2.1); G.711 formats have no meaningful rate bits.
AUDIO_AAC = 10
AUDIO_MP3 = 2
AUDIO_PCMA = 7
AUDIO_PCMU = 8
AUDIO_ENHANCED = 9
AUDIO_44KHZ = 0x0C
AUDIO_22KHZ = 0x08
AUDIO_11KHZ = 0x04
AUDIO_16BIT = 0x02
AUDIO_STEREO = 0x01

FOURCC_AVC = b"avc1"
FOURCC_HEVC = b"hvc1"
FOURCC_AV1 = b"av01"
FOURCC_VP8 = b"vp08"
FOURCC_VP9 = b"vp09"
FOURCC_AAC = b"mp4a"
FOURCC_MP3 = b".mp3"
FOURCC_OPUS = b"Opus"
FOURCC_AC3 = b"ac-3"
FOURCC_EAC3 = b"ec-3"

_FLAG_AUDIO = 0x04
_FLAG_VIDEO = 0x01
_FILE_HEADER = Struct(">3sBBII")  # the last field is PreviousTagSize0
_TAG = Struct(">III")  # type and size, timestamp, StreamID; its last byte is the body's first
_U32 = Struct(">I")


def file_header(has_video: bool, has_audio: bool) -> bytes:
    """The header of a file with PreviousTagSize0 behind it; E.2.

    A flag that promises a track which never comes makes browser players wait for ever.
    """
    flags = (_FLAG_AUDIO if has_audio else 0) | (_FLAG_VIDEO if has_video else 0)
    return _FILE_HEADER.pack(b"FLV", 1, flags, 9, 0)


def timestamp_field(milliseconds: int) -> int:
    """Timestamp and TimestampExtended as one 32-bit number; E.4.1."""
    return (milliseconds & 0xFFFFFF) << 8 | milliseconds >> 24 & 0xFF


def tag(tag_type: int, milliseconds: int, body: bytes) -> bytes:
    """A whole tag; `body` has at least one byte. Not for frames: those are joined once."""
    size = len(body)
    head = _TAG.pack(tag_type << 24 | size, timestamp_field(milliseconds), body[0])
    return b"".join((head, body[1:], _U32.pack(size + TAG_HEADER_BYTES)))


def avc_sequence_header(configuration: bytes) -> bytes:
    """Body with an AVCDecoderConfigurationRecord; E.4.3.1."""
    return bytes((FRAME_KEY | VIDEO_AVC, SEQUENCE_HEADER, 0, 0, 0)) + configuration


def hevc_sequence_header(configuration: bytes) -> bytes:
    """Body with an HEVCDecoderConfigurationRecord under codec id 12."""
    return bytes((FRAME_KEY | VIDEO_HEVC_LEGACY, SEQUENCE_HEADER, 0, 0, 0)) + configuration


def enhanced_video_header(fourcc: bytes, configuration: bytes) -> bytes:
    """Body of `SequenceStart`."""
    return bytes((VIDEO_ENHANCED | FRAME_KEY | SEQUENCE_HEADER,)) + fourcc + configuration


def enhanced_audio_header(
    fourcc: bytes, configuration: bytes, packet: int = SEQUENCE_HEADER
) -> bytes:
    """Body of `SequenceStart`, or of another packet of sound."""
    return bytes((AUDIO_ENHANCED << 4 | packet,)) + fourcc + configuration


def aac_sequence_header(configuration: bytes) -> bytes:
    """Body with an AudioSpecificConfig; E.4.2.1."""
    first = AUDIO_AAC << 4 | AUDIO_44KHZ | AUDIO_16BIT | AUDIO_STEREO
    return bytes((first, SEQUENCE_HEADER)) + configuration
