"""Decoder configuration records, which FLV and ISO files have in common.

avcC and hvcC: ISO/IEC 14496-15 sections 5.3.3.1 and 8.3.3.1; av1C: AV1 in ISOBMFF section 2.3;
vpcC: VP in ISOBMFF; AudioSpecificConfig: ISO/IEC 14496-3 section 1.6.2.1; OpusHead: RFC 7845
section 5.1. Each reader answers a `Record` and never raises.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Record:
    """What a decoder is told before the first frame."""

    faults: list[str] = field(default_factory=list)
    codec: str = ""  # RFC 6381
    length_size: int = 0  # bytes of a NAL unit's length
    sets: tuple[bytes, ...] = ()  # parameter sets
    rate_hz: int = 0
    channels: int = 0
    samples: int = 0  # of a frame
    has_sets_in_band: bool = False  # a record may leave them to the samples


class _ShortError(Exception):
    """The record ends too early."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise _ShortError
        self.at += size
        return self.data[self.at - size : self.at]

    def u(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")


class Bits:
    """Bits of a byte string, first one first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    @property
    def left(self) -> int:
        return self._left

    def u(self, width: int) -> int:
        if width > self._left:
            raise _ShortError
        self._left -= width
        return self._value >> self._left & (1 << width) - 1


def read_avcc(data: bytes) -> Record:
    """AVCDecoderConfigurationRecord."""
    record, reader = Record(), _Reader(data)
    fault = record.faults.append
    try:
        version, profile, constraints, level, sizes = reader.take(5)
        record.codec = f"avc1.{profile:02x}{constraints:02x}{level:02x}"
        record.length_size = (sizes & 3) + 1
        if version != 1:
            fault("configurationVersion")
        if sizes & 0xFC != 0xFC or record.length_size == 3:
            fault("lengthSizeMinusOne")
        counted = reader.u(1)
        if counted & 0xE0 != 0xE0:
            fault("reserved bits")
        sps = [reader.take(reader.u(2)) for _ in range(counted & 0x1F)]
        pps = [reader.take(reader.u(2)) for _ in range(reader.u(1))]
        record.sets = (*sps, *pps)
        record.has_sets_in_band = not sps
        if not sps or not pps:
            fault("no parameter sets")
        if any(nal[:1] and nal[0] & 0x1F != 7 for nal in sps) or any(
            nal[:1] and nal[0] & 0x1F != 8 for nal in pps
        ):
            fault("a set of another type")
        if sps and sps[0][1:4] != bytes((profile, constraints, level)):
            fault("profile and level are not those of the SPS")
        if profile in (100, 110, 122, 144) and reader.at < len(data):
            chroma, luma_depth, chroma_depth = reader.take(3)
            if chroma & 0xFC != 0xFC or (luma_depth | chroma_depth) & 0xF8 != 0xF8:
                fault("reserved bits of the extension")
            for _ in range(reader.u(1)):
                reader.take(reader.u(2))
        if reader.at != len(data):
            fault(f"{len(data) - reader.at} bytes too many")
    except _ShortError:
        fault("too short")
    return record


def read_hvcc(data: bytes) -> Record:
    """HEVCDecoderConfigurationRecord."""
    record, reader = Record(), _Reader(data)
    fault = record.faults.append
    try:
        head = reader.take(23)
        if head[0] not in (0, 1):  # some programs write 0 before the standard was there
            fault("configurationVersion")
        record.codec = hevc_codec(head[1:13])
        record.length_size = (head[21] & 3) + 1
        if record.length_size == 3:
            fault("lengthSizeMinusOne")
        if head[13] & 0xF0 != 0xF0 or head[15] & 0xFC != 0xFC or head[16] & 0xFC != 0xFC:
            fault("reserved bits")
        sets: dict[int, list[bytes]] = {}
        for _ in range(head[22]):
            kind = reader.u(1) & 0x3F
            for _ in range(reader.u(2)):
                nal = reader.take(reader.u(2))
                sets.setdefault(kind, []).append(nal)
                if len(nal) > 2 and nal[0] >> 1 & 0x3F != kind:
                    fault("a set of another type")
        record.sets = tuple(nal for kind in (32, 33, 34) for nal in sets.get(kind, []))
        record.has_sets_in_band = not sets
        if not {32, 33, 34} <= set(sets):
            fault("no parameter sets")
        sps = sets.get(33, [b""])[0]
        if len(sps) > 15 and unescape(sps)[3:15] != head[1:13]:
            fault("profile and level are not those of the SPS")
        if reader.at != len(data):
            fault(f"{len(data) - reader.at} bytes too many")
    except _ShortError:
        fault("too short")
    return record


def hevc_codec(profile_tier_level: bytes) -> str:
    """The `codecs` parameter of general_profile_space to general_level_idc; 14496-15 annex E.3."""
    first, level = profile_tier_level[0], profile_tier_level[11]
    flags = int(f"{int.from_bytes(profile_tier_level[1:5], 'big'):032b}"[::-1], 2)
    constraints = profile_tier_level[5:11].rstrip(b"\0")
    parts = [f"{'ABC'[(first >> 6) - 1] if first >> 6 else ''}{first & 0x1F}", f"{flags:X}"]
    parts.append(f"{'H' if first & 0x20 else 'L'}{level}")
    return ".".join(["hvc1", *parts, *(f"{byte:X}" for byte in constraints)])


def read_av1c(data: bytes) -> Record:
    """AV1CodecConfigurationRecord."""
    record = Record()
    if len(data) < 4:
        record.faults.append("too short")
        return record
    if data[0] != 0x81:
        record.faults.append("marker and version")
    profile, level, tier = data[1] >> 5, data[1] & 31, data[2] >> 7
    depth = 8 + (4 if data[2] & 0x60 == 0x60 else 2 if data[2] & 0x40 else 0)
    record.codec = f"av01.{profile}.{level:02d}{'H' if tier else 'M'}.{depth:02d}"
    if data[3] & 0xE0:
        record.faults.append("reserved bits")
    record.sets = (data[4:],)
    if data[4:] and data[4] >> 3 & 15 != 1:
        record.faults.append("no sequence header first")
    return record


def read_vpcc(data: bytes) -> Record:
    """VPCodecConfigurationRecord, behind the version and flags of its box."""
    record = Record()
    if len(data) < 8:
        record.faults.append("too short")
        return record
    record.codec = f"vp09.{data[0]:02d}.{data[1]:02d}.{data[2] >> 4:02d}"
    if data[0] > 3 or data[2] >> 4 not in (8, 10, 12):
        record.faults.append("profile or bit depth")
    if 8 + int.from_bytes(data[6:8], "big") != len(data) or data[6:8] != b"\0\0":
        record.faults.append("codec initialization data, which VP8 and VP9 have none of")
    return record


RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
CHANNELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8, 11: 7, 12: 8, 14: 8}


def read_asc(data: bytes) -> Record:
    """AudioSpecificConfig."""
    record, bits = Record(), Bits(data)
    try:
        kind = _object_type(bits)
        record.codec = f"mp4a.40.{kind}"
        record.rate_hz = _rate(bits)
        channels = bits.u(4)
        if kind in (5, 29):
            _rate(bits)
            kind = _object_type(bits)
        if channels == 0 and kind in (1, 2, 3, 4):
            record.channels = 0  # a program_config_element tells
        elif channels not in CHANNELS:
            record.faults.append(f"channelConfiguration {channels}")
        record.channels = CHANNELS.get(channels, 0)
        record.samples = 960 if kind in (1, 2, 3, 4) and bits.u(1) else 1024
        if kind not in (1, 2, 3, 4, 17, 22, 23, 39, 42):
            record.faults.append(f"audioObjectType {kind}")
        if not record.rate_hz:
            record.faults.append("samplingFrequencyIndex")
    except _ShortError:
        record.faults.append("too short")
    return record


def _object_type(bits: Bits) -> int:
    kind = bits.u(5)
    return 32 + bits.u(6) if kind == 31 else kind


def _rate(bits: Bits) -> int:
    index = bits.u(4)
    if index == 15:
        return bits.u(24)
    return RATES[index] if index < len(RATES) else 0


def read_opus_head(data: bytes) -> Record:
    """The identification header."""
    record = Record(codec="opus", rate_hz=48_000)
    if len(data) < 19 or data[:8] != b"OpusHead":
        record.faults.append("OpusHead")
        return record
    return _opus(record, data[8] >> 4 == 0, data[9], data[18], data[19:])


def read_dops(data: bytes) -> Record:
    """The OpusSpecificBox; Opus in ISOBMFF section 4.3.2."""
    record = Record(codec="opus", rate_hz=48_000)
    if len(data) < 11:
        record.faults.append("too short")
        return record
    return _opus(record, data[0] == 0, data[1], data[10], data[11:])


def _opus(record: Record, is_known: bool, channels: int, family: int, mapping: bytes) -> Record:
    record.channels = channels
    if not is_known:
        record.faults.append("version")
    if family == 0 and (channels not in (1, 2) or mapping):
        record.faults.append("mapping family 0 is for one and two channels, without a table")
    if family and len(mapping) != 2 + channels:
        record.faults.append("channel mapping table")
    return record


def unescape(nal: bytes) -> bytes:
    """A NAL unit without emulation prevention bytes."""
    return nal.replace(b"\0\0\3", b"\0\0")


def nal_lengths(data: bytes, length_size: int) -> list[bytes] | None:
    """The NAL units of a sample; None where lengths and bytes do not agree."""
    nals, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + length_size], "big")
        at += length_size
        if not size or at + size > len(data):
            return None
        nals.append(data[at : at + size])
        at += size
    return nals or None
