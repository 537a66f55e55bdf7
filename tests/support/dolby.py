"""AC-3 and E-AC-3 frames with headers of all kinds and no sound; sizes by table 4.13, in words."""

RATES = (48000, 44100, 32000, 48000)
KILOBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)


def _packed(fields: list[tuple[int, int]], size: int) -> bytes:
    """(value, bits) one after the other, filled up with zeros."""
    bits = "".join(f"{value:0{width}b}" for value, width in fields)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").ljust(size, b"\0")


def ac3_frame(
    rate: int = 0, code: int = 20, bsid: int = 8, acmod: int = 2, lfe: bool = False
) -> bytes:
    """`rate` is fscod, `code` frmsizecod."""
    kilobits = KILOBITS[min(code // 2, len(KILOBITS) - 1)]
    words = kilobits * 96000 // RATES[rate] + (code & 1 if rate == 1 else 0)
    fields = [(0x0B77, 16), (0, 16), (rate, 2), (code, 6), (bsid, 5), (0, 3), (acmod, 3)]
    if acmod & 1 and acmod != 1:
        fields.append((1, 2))
    if acmod & 4:
        fields.append((1, 2))
    if acmod == 2:
        fields.append((0, 2))
    return _packed([*fields, (lfe, 1)], 2 * words)


def eac3_frame(
    kind: int = 0,
    substream: int = 0,
    rate: int = 0,
    blocks: int = 3,
    acmod: int = 2,
    lfe: bool = False,
    bsid: int = 16,
    size: int = 64,
    channel_map: int = 0,
) -> bytes:
    """`kind` is strmtyp, `rate` fscod, `blocks` numblkscod (fscod2 where `rate` is 3)."""
    fields = [(0x0B77, 16), (kind, 2), (substream, 3), (size // 2 - 1, 11), (rate, 2), (blocks, 2)]
    fields += [(acmod, 3), (lfe, 1), (bsid, 5), (31, 5), (0, 1)]
    if acmod == 0:
        fields += [(31, 5), (1, 1), (7, 8)]
    if kind == 1:
        fields += [(1, 1), (channel_map, 16)] if channel_map else [(0, 1)]
    return _packed(fields, size)
