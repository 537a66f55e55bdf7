"""VP8: what its key frames say (RFC 6386 section 9.1)."""

from dataclasses import dataclass
from struct import Struct
from typing import Self

from flux.base.errors import WireError
from media.codecs.vpc import configuration_record
from media.parameters import VideoParameters

KEY_FRAME = Struct("<3s3sHH")  # frame tag, start code, width and height with their scales
START_CODE = b"\x9d\x01\x2a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vp8Parameters(VideoParameters):
    """One version of a VP8 track."""

    profile: int = 0  # "version" in RFC 6386: 0 to 3

    @classmethod
    def read(cls, frame: bytes, version: int = 0) -> Self | None:
        """Parameters of a key frame; None for other frames, `WireError` if it is malformed."""
        if not frame or frame[0] & 1:
            return None
        if len(frame) < KEY_FRAME.size:
            raise WireError("vp8-truncated")
        _, start_code, width, height = KEY_FRAME.unpack_from(frame)
        if start_code != START_CODE:
            raise WireError("vp8-no-start-code")
        return cls(
            version=version,
            width=width & 0x3FFF,
            height=height & 0x3FFF,
            reorder_frames=0,
            profile=frame[0] >> 1 & 7,
        )

    def codec_string(self) -> str:
        """`vp8`, the name in use."""
        return "vp8"

    def decoder_configuration(self) -> bytes:
        """The VPCodecConfigurationRecord; VP8 has no levels and 8 bits."""
        return configuration_record(self.profile, 0, 8)
