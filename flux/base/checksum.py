"""The CRC of MPEG and Ogg: that of zlib (0x04C11DB7), with the bits the other way round."""

import zlib

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def crc32_forward(data: bytes | bytearray, *, starts_at_ones: bool = True) -> int:
    """The register after these bytes; it begins with all bits set (MPEG) or none (Ogg)."""
    start = 0 if starts_at_ones else 0xFFFFFFFF  # zlib takes the complement
    value = zlib.crc32(data.translate(_MIRRORED), start) ^ 0xFFFFFFFF
    return int.from_bytes(value.to_bytes(4, "little").translate(_MIRRORED), "big")
