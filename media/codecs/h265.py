"""H.265 parameters of a track (ISO/IEC 14496-15 section 8.3.3.1 and Annex E)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Self

from flux.base.errors import WireError
from media.codecs.h265_sets import (
    NAL_PPS,
    NAL_SPS,
    NAL_VPS,
    Profile,
    parse_pps_id,
    parse_sps,
    parse_vps,
)
from media.parameters import VideoParameters

SIZE = Struct("!H")
RECORD = Struct("!BBIHIBHBBBBHBB")


@dataclass(frozen=True, slots=True, kw_only=True)
class H265Parameters(VideoParameters):
    """The parameter sets of one version of an H.265 track."""

    vps: tuple[bytes, ...]  # NAL units, ordered by id
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]
    profile: Profile  # of the first SPS

    @classmethod
    def build(
        cls,
        vps: Sequence[bytes],
        sps: Sequence[bytes],
        pps: Sequence[bytes],
        version: int = 0,
    ) -> Self:
        """Parameters of these sets; broken ones are left out, of equal ids the last counts.

        Raises `WireError` where no VPS, no SPS or no PPS is left.
        """
        ordered_vps = _by_id(vps, lambda nal: parse_vps(nal).id, "h265-vps-missing")
        ordered_sps = _by_id(sps, lambda nal: parse_sps(nal).id, "h265-sps-missing")
        ordered_pps = _by_id(pps, parse_pps_id, "h265-pps-missing")
        first = parse_sps(ordered_sps[0])
        num, den = first.frame_rate_num, first.frame_rate_den
        if not num:
            # Without a VUI the timing may still be in the VPS, section 7.3.2.1.
            video = parse_vps(ordered_vps[0])
            num, den = video.frame_rate_num, video.frame_rate_den
        return cls(
            version=version,
            width=first.width,
            height=first.height,
            frame_rate_num=num,
            frame_rate_den=den,
            reorder_frames=first.reorder_frames,
            vps=ordered_vps,
            sps=ordered_sps,
            pps=ordered_pps,
            profile=first.profile,
        )

    def codec_string(self) -> str:
        """`hvc1.` with profile, compatibility, tier, level and constraints, Annex E.3."""
        profile = self.profile
        space = ("", "A", "B", "C")[profile.space]
        compatibility = int(f"{profile.compatibility:032b}"[::-1], 2)
        tier = "H" if profile.is_high_tier else "L"
        parts = [
            f"hvc1.{space}{profile.idc}",
            f"{compatibility:X}",
            f"{tier}{profile.level_idc}",
        ]
        constraints = profile.constraints.to_bytes(6, "big").rstrip(b"\0")
        parts += [f"{byte:X}" for byte in constraints]
        return ".".join(parts)

    def decoder_configuration(self) -> bytes:
        """The HEVCDecoderConfigurationRecord, section 8.3.3.1.2, with 4-byte lengths."""
        first = parse_sps(self.sps[0])
        profile = self.profile
        arrays = ((NAL_VPS, self.vps), (NAL_SPS, self.sps), (NAL_PPS, self.pps))
        record = RECORD.pack(
            1,
            profile.space << 6 | profile.is_high_tier << 5 | profile.idc,
            profile.compatibility,
            profile.constraints >> 32,
            profile.constraints & 0xFFFFFFFF,
            profile.level_idc,
            0xF000 | first.min_spatial_segmentation_idc,
            0xFC,  # parallelismType: not known
            0xFC | first.chroma_format_idc,
            0xF8 | first.bit_depth_luma - 8,
            0xF8 | first.bit_depth_chroma - 8,
            0,  # avgFrameRate: not said
            first.sub_layers << 3 | first.is_temporal_id_nested << 2 | 3,
            len(arrays),
        )
        parts = [record]
        for kind, nals in arrays:
            parts.append(bytes((0x80 | kind,)) + SIZE.pack(len(nals)))  # the array is complete
            for nal in nals:
                parts += (SIZE.pack(len(nal)), nal)
        return b"".join(parts)


def _by_id(
    nals: Iterable[bytes], read_id: Callable[[bytes], int], missing: str
) -> tuple[bytes, ...]:
    """The readable sets ordered by id."""
    why = (missing, "")  # not the error itself, which would hold this frame
    by_id: dict[int, bytes] = {}
    for nal in nals:
        try:
            by_id[read_id(nal)] = nal
        except WireError as exc:
            why = exc.reason, exc.detail
    if not by_id:
        raise WireError(*why)
    return tuple(by_id[key] for key in sorted(by_id))
