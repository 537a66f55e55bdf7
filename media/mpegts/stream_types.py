"""What a PMT entry carries: stream_type, and for private data the descriptors.

ISO/IEC 13818-1 table 2-34; ATSC A/53 part 3 for 0x81 and 0x87; ETSI EN 300 468 annex D for AC-3 in
private data; MISB ST 1402 for KLV. What FLUX does not know is an opaque track, `ts/<stream_type>`,
whose frame is the payload of one PES packet; its descriptors go with it.
"""

from dataclasses import dataclass

from media.mpegts.pes import STREAM_ID_PRIVATE_1, STREAM_ID_VIDEO
from media.mpegts.psi import (
    STREAM_AAC_ADTS,
    STREAM_AC3,
    STREAM_EAC3,
    STREAM_H264,
    STREAM_H265,
    STREAM_MPEG1_AUDIO,
    STREAM_MPEG2_AUDIO,
)
from media.mpegts.tables import (
    DESCRIPTOR_AC3,
    DESCRIPTOR_EAC3,
    DESCRIPTOR_EXTENSION,
    DESCRIPTOR_METADATA,
    EXTENSION_OPUS,
    Descriptor,
    Entry,
)
from media.parameters import Parameters
from media.track import AAC, AC3, EAC3, H264, H265, KLV, MP3, OPAQUE_TS, OPUS, Kind

STREAM_PRIVATE = 0x06
STREAM_AAC_LATM = 0x11
STREAM_METADATA = 0x15

KLVA = b"KLVA"
KLV_LABEL = b"\x06\x0e\x2b\x34"  # SMPTE ST 336: how every key of a local set begins
MAX_OPUS_CHANNELS = 2  # what mapping family 0 can say; more is carried opaquely

# Stream types whose packets hold sections and no PES: private sections (SCTE-35 among them),
# MHEG and DSM-CC, metadata in sections.
_SECTIONS = frozenset((0x05, *range(0x08, 0x0F), 0x13, 0x14, 0x16, 0x17, 0x18, 0x19, 0x86, 0xC0))
_VIDEO = frozenset((0x01, 0x02, 0x10, 0x1E, 0x1F, 0x20, 0x21, 0x32, 0x33, 0xD1, 0xEA))
_TYPES = {
    STREAM_MPEG1_AUDIO: (Kind.AUDIO, MP3),
    STREAM_MPEG2_AUDIO: (Kind.AUDIO, MP3),
    STREAM_AAC_ADTS: (Kind.AUDIO, AAC),
    STREAM_AAC_LATM: (Kind.AUDIO, AAC),
    STREAM_H264: (Kind.VIDEO, H264),
    STREAM_H265: (Kind.VIDEO, H265),
    STREAM_AC3: (Kind.AUDIO, AC3),
    STREAM_EAC3: (Kind.AUDIO, EAC3),
}
_REGISTRATIONS = {
    b"AC-3": (Kind.AUDIO, AC3),
    b"EAC3": (Kind.AUDIO, EAC3),
    b"HEVC": (Kind.VIDEO, H265),
    KLVA: (Kind.DATA, KLV),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpaqueParameters(Parameters):
    """What TS outputs need to pass on a stream that FLUX does not know."""

    stream_type: int
    descriptors: bytes = b""  # as they stand in the PMT

    @property
    def is_video(self) -> bool:
        """Whether its PES packets may be long, and need not tell their length."""
        return self.stream_type in _VIDEO

    @property
    def stream_id(self) -> int:
        """Of its PES packets."""
        return STREAM_ID_VIDEO if self.is_video else STREAM_ID_PRIVATE_1


def carries_pes(entry: Entry) -> bool:
    """Whether the packets of this PID hold PES packets, and not sections."""
    return entry.stream_type not in _SECTIONS and entry.stream_type != 0


def identify(entry: Entry) -> tuple[Kind, str] | None:
    """Kind and codec of a PMT entry; None where only its first payload can tell."""
    known = _TYPES.get(entry.stream_type)
    if known is not None:
        return known
    if entry.stream_type == STREAM_PRIVATE:
        return _identify_private(entry)
    if entry.stream_type == STREAM_METADATA:
        if KLVA in (entry.registration, _metadata_format(entry)):
            return Kind.DATA, KLV
        if not entry.descriptors:
            return None
    return opaque(entry)


def opaque(entry: Entry) -> tuple[Kind, str]:
    """The codec of a stream that FLUX does not know."""
    return Kind.DATA, f"{OPAQUE_TS}{entry.stream_type:02x}"


def sniff(entry: Entry, payload: bytes) -> tuple[Kind, str]:
    """Kind and codec of private data without any descriptor, by how its first payload begins.

    quirk: muxers that leave the descriptors away, against 2.6.8 for KLV and EN 300 468 annex D for
    AC-3; test: test_private_data_without_descriptors
    """
    if payload.startswith(KLV_LABEL) or payload.startswith(KLV_LABEL, 5):
        return Kind.DATA, KLV
    if payload.startswith(b"\x0b\x77") and len(payload) > 5:
        return Kind.AUDIO, AC3 if payload[5] >> 3 <= 10 else EAC3  # bsid
    return opaque(entry)


def descriptor_bytes(descriptors: tuple[Descriptor, ...]) -> bytes:
    """Descriptors as they stand in a PMT."""
    return b"".join(bytes((each.tag, len(each.data))) + each.data for each in descriptors)


def opus_channels(entry: Entry) -> int:
    """Channels by the Opus extension descriptor's channel_config_code; 0 for what is not simple."""
    extension = entry.find(DESCRIPTOR_EXTENSION)
    if extension is None or len(extension) < 2 or extension[0] != EXTENSION_OPUS:
        return 2
    code = extension[1]
    if code == 0:
        return 0  # dual mono
    return code if code <= MAX_OPUS_CHANNELS else 0


def _identify_private(entry: Entry) -> tuple[Kind, str] | None:
    if entry.registration == b"Opus":
        return (Kind.AUDIO, OPUS) if opus_channels(entry) else opaque(entry)
    registered = _REGISTRATIONS.get(entry.registration)
    if registered is not None:
        return registered
    if entry.find(DESCRIPTOR_AC3) is not None:
        return Kind.AUDIO, AC3
    if entry.find(DESCRIPTOR_EAC3) is not None:
        return Kind.AUDIO, EAC3
    return opaque(entry) if entry.descriptors else None


def _metadata_format(entry: Entry) -> bytes:
    """metadata_format_identifier of a metadata_descriptor, 2.6.60."""
    data = entry.find(DESCRIPTOR_METADATA) or b""
    at = 2
    if data[:2] == b"\xff\xff":
        at += 4  # metadata_application_format_identifier
    if data[at : at + 1] == b"\xff":
        return data[at + 1 : at + 5]
    return b""
