"""What an RTP session tells its owner."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceRestarted:
    """A track's sender began anew (new SSRC, or its sequence numbers jumped); media goes on."""

    track_index: int
    reason: str  # ssrc-changed, sequence-jumped


@dataclass(frozen=True, slots=True)
class SourceEnded:
    """RTCP BYE of a track's sender, RFC 3550 section 6.6."""

    track_index: int
    detail: str  # the sender's own words, may be empty


SessionEvent = SourceRestarted | SourceEnded
