"""LATM as a sender writes it, bit by bit; ISO/IEC 14496-3 section 1.7.3."""

from collections.abc import Sequence

ASC = bytes.fromhex("1190")  # AAC-LC, 48 kHz, stereo
SBR = bytes.fromhex("2b118800")  # SBR on 24 kHz AAC-LC, signalled hierarchically: 25 bits


def _long(value: int) -> str:
    return "01" + f"{value:016b}"


def mux_config(
    audio: bytes,
    *,
    bits: int = 0,
    version: int = 0,
    version_a: int = 0,
    same_time: int = 1,
    sub_frames: int = 1,
    programs: int = 0,
    layers: int = 0,
    length_type: int = 0,
    frame_length: int = -1,
    other_bits: int = 0,
    crc: int = -1,
) -> bytes:
    """A StreamMuxConfig, filled up with zeros; `bits` of `audio` are taken (16 where 0)."""
    used = bits or (25 if audio == SBR else 16)
    out = "1" + str(version_a) + _long(255) if version else "0"
    out += f"{same_time}{sub_frames - 1:06b}{programs:04b}{layers:03b}"
    if version:
        out += _long(used)
    out += "".join(f"{byte:08b}" for byte in audio)[:used]
    out += f"001{frame_length:09b}" if frame_length >= 0 else f"{length_type:03b}11111111"
    if other_bits and version:
        out += "1" + _long(other_bits)
    elif other_bits:
        out += f"11{other_bits >> 8:08b}0{other_bits & 255:08b}"
    else:
        out += "0"
    out += "0" if crc < 0 else f"1{crc:08b}"
    out += "0" * (-len(out) % 8)
    return int(out, 2).to_bytes(len(out) // 8, "big")


def element(frames: Sequence[bytes], config: str | None = None) -> bytes:
    """An AudioMuxElement; `config`: None: out of band, "": the one before, else a new one."""
    out = ""
    if config is not None:
        out = "1" if not config else "0" + _config_bits(config)
    for frame in frames:
        count, rest = divmod(len(frame), 255)
        out += "1" * 8 * count + f"{rest:08b}" + "".join(f"{byte:08b}" for byte in frame)
    out += "0" * (-len(out) % 8)
    return int(out, 2).to_bytes(len(out) // 8, "big") if out else b""


def _config_bits(config: str) -> str:
    """The bits of a plain configuration of `mux_config`, less those that fill it up."""
    data = bytes.fromhex(config)
    used = 25 if data[1] & 1 == 0 and data[2:4] == mux_config(SBR)[2:4] else 16
    return "".join(f"{byte:08b}" for byte in data)[: 15 + used + 13]
