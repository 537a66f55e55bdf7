"""Sequence headers, read: what FLV tells a decoder before its first frame.

avcC and hvcC: ISO/IEC 14496-15 sections 5.3.3.1 and 8.3.3.1; av1C: AV1 in ISOBMFF section 2.3. A
configuration without parameter sets is one whose sets are in the frames.
"""

from dataclasses import dataclass

from flux.base.errors import WireError
from media.codecs.av1 import Av1Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.codecs.obu import SEQUENCE_HEADER, obu_type, split_obus
from media.parameters import Parameters
from media.track import AV1, H264, H265

AVCC_HEAD, HVCC_HEAD, AV1C_HEAD = 5, 22, 4  # bytes before the sets
MAX_RECORD_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a sequence header of a picture says."""

    length_size: int = 4  # bytes of a NAL unit's length
    sets: tuple[bytes, ...] = ()  # NAL units, or the sequence header OBU
    parameters: Parameters | None = None  # None where the sets are not here, or cannot be read


def read_configuration(codec: str, record: bytes) -> Configuration:
    """Read a decoder configuration; `WireError` if it is cut."""
    if len(record) > MAX_RECORD_BYTES:
        raise WireError("flv-sequence-header", "size")
    if codec == H264:
        return _read_avcc(record)
    if codec == H265:
        return _read_hvcc(record)
    if codec == AV1:
        return _read_av1c(record)
    return Configuration()


class _Record:
    """Bytes that may end too early."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        piece = self._data[self.at : self.at + size]
        if len(piece) < size:
            raise WireError("flv-sequence-header", "cut")
        self.at += size
        return piece


def _length_size(last: int) -> int:
    size = (last & 3) + 1
    if size == 3:
        raise WireError("flv-sequence-header", "lengthSizeMinusOne")
    return size


def _read_avcc(data: bytes) -> Configuration:
    record = _Record(data, 0)
    length_size = _length_size(record.take(AVCC_HEAD)[4])
    sps = [record.take(record.number(2)) for _ in range(record.number(1) & 0x1F)]
    pps = [record.take(record.number(2)) for _ in range(record.number(1))]
    parameters = None
    if sps and pps:
        parameters = H264Parameters.build(sps, pps)
    return Configuration(length_size, (*sps, *pps), parameters)


def _read_hvcc(data: bytes) -> Configuration:
    record = _Record(data, 0)
    length_size = _length_size(record.take(HVCC_HEAD)[21])
    vps: list[bytes] = []
    sps: list[bytes] = []
    pps: list[bytes] = []
    found = {32: vps, 33: sps, 34: pps}
    for _ in range(record.number(1)):
        kind = record.number(1) & 0x3F
        for _ in range(record.number(2)):
            nal = record.take(record.number(2))
            if kind in found:
                found[kind].append(nal)
    parameters = None
    if vps and sps and pps:
        parameters = H265Parameters.build(vps, sps, pps)
    return Configuration(length_size, (*vps, *sps, *pps), parameters)


def _read_av1c(data: bytes) -> Configuration:
    obus = split_obus(_Record(data, 0).take(len(data))[AV1C_HEAD:])
    for obu in obus:
        if obu and obu_type(obu) == SEQUENCE_HEADER:
            return Configuration(sets=(obu,), parameters=Av1Parameters.build(obu))
    return Configuration()


def split_lengths(data: bytes, length_size: int) -> tuple[bytes, ...]:
    """NAL units that stand behind their lengths; `WireError` if they do not fit."""
    nals: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        start = at + length_size
        at = start + int.from_bytes(data[at:start], "big")
        if at > end or start > end:
            raise WireError("flv-nal-lengths")
        if at > start:
            nals.append(data[start:at])
    return tuple(nals)
