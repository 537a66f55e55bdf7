"""NAL units for tests, written without any code of what is tested.

Bits are kept as text of 0 and 1: slow, and easy to see through.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av

DATA = Path(__file__).parents[1] / "data"
CLIPS = DATA / "media"
CLIP_NAMES = (
    "video_big_buck_bunny.mp4",
    "bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4",
    "hdr10-video-with-sdr-container.mp4",
    "sample_h264.ts",
    "sample_h265.ts",
)


# Bits.


def ue(value: int) -> str:
    """Exp-Golomb of an unsigned number."""
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


def se(value: int) -> str:
    """Exp-Golomb of a signed number."""
    return ue(2 * value - 1 if value > 0 else -2 * value)


def u(value: int, width: int) -> str:
    """A fixed field."""
    return f"{value:0{width}b}"


def escape(rbsp: bytes) -> bytes:
    """Put emulation prevention bytes in."""
    out = bytearray()
    zeros = 0
    for byte in rbsp:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def remove_escapes(data: bytes) -> bytes:
    """Take emulation prevention bytes out."""
    out = bytearray()
    zeros = 0
    for byte in data:
        if zeros >= 2 and byte == 3:
            zeros = 0
            continue
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def nal(header: bytes, bits: str) -> bytes:
    """A NAL unit of a header and RBSP bits, with the trailing bits put behind."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    return header + escape(int(bits, 2).to_bytes(len(bits) // 8, "big"))


class Bits:
    """Reads what `nal` wrote."""

    def __init__(self, data: bytes) -> None:
        self.text = "".join(f"{byte:08b}" for byte in data)
        self.at = 0

    def u(self, width: int) -> int:
        """A fixed field."""
        self.at += width
        assert self.at <= len(self.text), "out of bits"
        return int(self.text[self.at - width : self.at] or "0", 2)

    def ue(self) -> int:
        """Unsigned Exp-Golomb; read where only its length matters, it stands for se too."""
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)


# Parameter sets.


def h264_sps(
    *,
    profile: int = 100,
    constraints: int = 0,
    level: int = 31,
    set_id: int = 0,
    width_mbs: int = 40,
    height_units: int = 30,
    is_frame_only: bool = True,
    chroma: int = 1,
    scaling: str = "0",
    poc: str = ue(2),
    crop: tuple[int, int, int, int] | None = None,
    vui: str = "",
) -> bytes:
    """An SPS, 640x480 unless told otherwise; `poc`, `scaling` and `vui` are bits."""
    bits = u(profile, 8) + u(constraints, 8) + u(level, 8) + ue(set_id)
    if profile in (100, 110, 122, 244):
        bits += ue(chroma) + ("0" if chroma == 3 else "") + ue(0) + ue(0) + "0" + scaling
    bits += ue(0) + poc + ue(1) + "0"
    bits += ue(width_mbs - 1) + ue(height_units - 1)
    bits += "1" if is_frame_only else "00"
    bits += "1"
    bits += "0" if crop is None else "1" + "".join(map(ue, crop))
    bits += "1" + vui if vui else "0"
    return nal(b"\x67", bits)


def h264_vui(
    *, timing: tuple[int, int] | None = None, reorder: int | None = None, hrd: bool = False
) -> str:
    """VUI bits with sample aspect ratio, colour, timing (ticks, scale), HRD and restriction."""
    bits = "1" + u(255, 8) + u(4, 16) + u(3, 16)  # extended aspect ratio
    bits += "11" + "1" + u(5, 3) + "1" + "1" + u(1, 8) * 3  # overscan, video signal, colour
    bits += "1" + ue(0) + ue(1)  # chroma location
    bits += "0" if timing is None else "1" + u(timing[0], 32) + u(timing[1], 32) + "1"
    one_hrd = ue(1) + u(0, 8) + (ue(999) + ue(77) + "0") * 2 + u(0, 20)
    bits += ("1" + one_hrd) * 2 + "0" if hrd else "00"
    bits += "0"
    if reorder is None:
        return bits + "0"
    return bits + "11" + ue(0) + ue(0) + ue(10) + ue(10) + ue(reorder) + ue(max(reorder, 1))


def h264_pps(set_id: int = 0, sps_id: int = 0, extra: str = "") -> bytes:
    """A PPS; `extra` bits make another one of the same id."""
    return nal(b"\x68", ue(set_id) + ue(sps_id) + "00" + ue(0) * 3 + "0000" + extra)


def h264_slice(
    kind: int = 1, slice_type: int = 5, first_mb: int = 0, size_bytes: int = 20, fill: int = 0xA5
) -> bytes:
    """A slice of NAL unit type `kind` that is right as far as slice_type."""
    header = bytes((0x65 if kind == 5 else 0x40 | kind,))
    bits = ue(first_mb) + ue(slice_type) + u(fill, 8) * size_bytes
    return nal(header, bits)


def without_bitstream_restriction(sps: bytes) -> bytes:
    """The same H.264 SPS without bitstream_restriction: nothing else changes.

    The answer is `sps` itself where there is none.
    """
    bits = Bits(remove_escapes(sps[1:]))
    profile = bits.u(8)
    bits.u(16)
    bits.ue()
    if profile in (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135):
        chroma = bits.ue()
        if chroma == 3:
            bits.u(1)
        bits.ue()
        bits.ue()
        bits.u(1)
        assert not bits.u(1), "scaling lists are not expected here"
    bits.ue()
    poc_type = bits.ue()
    assert poc_type in (0, 2)
    if poc_type == 0:
        bits.ue()
    bits.ue()
    bits.u(1)
    bits.ue()
    bits.ue()
    if not bits.u(1):
        bits.u(1)
    bits.u(1)
    if bits.u(1):
        for _ in range(4):
            bits.ue()
    if not bits.u(1):
        return sps
    if bits.u(1) and bits.u(8) == 255:
        bits.u(32)
    if bits.u(1):
        bits.u(1)
    if bits.u(1):
        bits.u(4)
        if bits.u(1):
            bits.u(24)
    if bits.u(1):
        bits.ue()
        bits.ue()
    if bits.u(1):
        bits.u(65)
    has_hrd = 0
    for _ in range(2):
        if bits.u(1):
            has_hrd = 1
            count = bits.ue() + 1
            bits.u(8)
            for _ in range(count):
                bits.ue()
                bits.ue()
                bits.u(1)
            bits.u(20)
    bits.u(has_hrd)
    bits.u(1)
    kept = bits.text[: bits.at]
    return nal(sps[:1], kept + "0") if bits.u(1) else sps


def h265_header(kind: int, layer: int = 0) -> bytes:
    """The two bytes before an RBSP, temporal id 0."""
    return bytes((kind << 1 | layer >> 5, (layer & 31) << 3 | 1))


def h265_profile(sub_layers: int = 1) -> str:
    """profile_tier_level() of Main at level 3.1, sub-layers with a profile and a level each."""
    bits = u(0, 2) + "0" + u(1, 5) + u(0x60000000, 32) + u(0x90 << 40, 48) + u(93, 8)
    if sub_layers > 1:
        bits += "11" * (sub_layers - 1) + "00" * (9 - sub_layers)
        bits += u(0, 96) * (sub_layers - 1)
    return bits


def h265_vps(set_id: int = 0, timing: tuple[int, int] | None = None) -> bytes:
    """A VPS of one layer; timing is (ticks, scale)."""
    bits = u(set_id, 4) + "11" + u(0, 6) + u(0, 3) + "1" + u(0xFFFF, 16) + h265_profile()
    bits += "1" + ue(4) + ue(2) + ue(0) + u(0, 6) + ue(0)
    bits += "0" if timing is None else "1" + u(timing[0], 32) + u(timing[1], 32) + "00"
    return nal(h265_header(32), bits + "0")


def h265_sps(
    *,
    set_id: int = 0,
    sub_layers: int = 1,
    chroma: int = 1,
    width: int = 1280,
    height: int = 720,
    window: tuple[int, int, int, int] | None = None,
    reorder: tuple[int, ...] = (2,),
    tools: str = "",
    references: str = "",
    vui: str = "0",
    layer: int = 0,
) -> bytes:
    """An SPS; `tools` and `references` replace the bits from the scaling lists on."""
    bits = u(0, 4) + u(sub_layers - 1, 3) + "1" + h265_profile(sub_layers)
    bits += ue(set_id) + ue(chroma) + ("0" if chroma == 3 else "") + ue(width) + ue(height)
    bits += "0" if window is None else "1" + "".join(map(ue, window))
    bits += ue(0) + ue(0) + ue(4)
    bits += "1" if len(reorder) == sub_layers and sub_layers > 1 else "0"
    bits += "".join(ue(5) + ue(count) + ue(0) for count in reorder)
    bits += ue(0) + ue(3) + ue(0) + ue(3) + ue(1) + ue(1)
    bits += tools or "0" + "11" + "0"  # scaling lists, AMP and SAO, PCM
    bits += references or ue(0) + "0"  # short-term sets, long-term pictures
    return nal(h265_header(33, layer), bits + "11" + vui + "0")


def h265_vui(*, timing: tuple[int, int] | None, hrd: str = "0", restriction: str = "0") -> str:
    """VUI bits with everything before the timing present."""
    bits = "1" + u(255, 8) + u(1, 16) + u(1, 16) + "11" + "1" + u(5, 3) + "0" + "1" + u(1, 8) * 3
    bits += "1" + ue(0) + ue(0) + "000" + "1" + ue(0) * 4
    if timing is None:
        return "1" + bits + "0" + restriction
    return "1" + bits + "1" + u(timing[0], 32) + u(timing[1], 32) + "1" + ue(0) + hrd + restriction


def h265_pps(set_id: int = 0, sps_id: int = 0, extra: str = "") -> bytes:
    """A PPS; `extra` bits make another one of the same id."""
    return nal(h265_header(34), ue(set_id) + ue(sps_id) + "00" + "000" + "0" * 8 + extra)


def h265_slice(kind: int = 1, is_first: bool = True, size_bytes: int = 20) -> bytes:
    """A slice segment that is right as far as first_slice_segment_in_pic_flag."""
    return nal(h265_header(kind), str(int(is_first)) + u(0xA5, 8) * size_bytes)


# Clips.


@dataclass
class Clip:
    """The access units of one track of a clip in decoding order."""

    codec: str
    width: int
    height: int
    frame_rate: float
    extradata: bytes
    units: list[tuple[bytes, ...]] = field(default_factory=list)
    pts: list[int] = field(default_factory=list)
    dts: list[int] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)

    @property
    def reorder(self) -> int:
        """How many frames at most come before one and are shown after it."""
        return max(
            sum(before > pts for before in self.pts[:index]) for index, pts in enumerate(self.pts)
        )


def split_start_codes(data: bytes) -> tuple[bytes, ...]:
    """NAL units of a byte stream."""
    pieces: list[bytes] = []
    start = -1
    at = 0
    while True:
        found = data.find(b"\0\0\1", at)
        if start >= 0:
            pieces.append(data[start : found if found >= 0 else len(data)].rstrip(b"\0"))
        if found < 0:
            return tuple(pieces)
        start = at = found + 3


def split_lengths(data: bytes) -> tuple[bytes, ...]:
    """NAL units behind 4-byte lengths."""
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        pieces.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    assert at == len(data)
    return tuple(pieces)


def record_sets(record: bytes, codec: str) -> list[bytes]:
    """The parameter sets of an avcC or hvcC record, in its order."""
    nals: list[bytes] = []

    def read(at: int, count: int) -> int:
        for _ in range(count):
            size = int.from_bytes(record[at : at + 2], "big")
            nals.append(record[at + 2 : at + 2 + size])
            at += 2 + size
        return at

    if codec == "h264":
        at = read(6, record[5] & 31)
        read(at + 1, record[at])
    else:
        at = 23
        for _ in range(record[22]):
            at = read(at + 3, int.from_bytes(record[at + 1 : at + 3], "big"))
    return nals


def read_clip(name: str) -> Clip:
    """The video of a clip below `tests/data/media`."""
    with av.open(str(CLIPS / name)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        split: Callable[[bytes], tuple[bytes, ...]] = (
            split_lengths if (context.extradata or b"")[:1] == b"\1" else split_start_codes
        )
        rate = stream.average_rate
        clip = Clip(
            codec={"hevc": "h265"}.get(context.name, context.name),
            width=context.width,
            height=context.height,
            frame_rate=float(rate) if rate else 0.0,
            extradata=context.extradata or b"",
        )
        for packet in container.demux(stream):
            if packet.pts is None or packet.dts is None:
                continue  # the flush packet
            clip.units.append(split(bytes(packet)))
            clip.pts.append(packet.pts)
            clip.dts.append(packet.dts)
            clip.is_key.append(packet.is_keyframe)
    return clip
