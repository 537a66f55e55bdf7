"""RTP and frames: what every protocol that carries RTP shares."""

from flux.bridges.rtp.events import SessionEvent, SourceEnded, SourceRestarted
from flux.bridges.rtp.receiver import RtpSessionReceiver
from flux.bridges.rtp.tracks import RefusedMedia, RtpTrack, SessionTracks, tracks_from_sdp

__all__ = (
    "RtpSessionReceiver",
    "SessionEvent",
    "SourceEnded",
    "SourceRestarted",
    "tracks_from_sdp",
    "SessionTracks",
    "RtpTrack",
    "RefusedMedia",
)
