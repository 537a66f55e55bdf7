"""SDP media sections become tracks: what can be carried, and why the rest cannot."""

from dataclasses import dataclass

from flux.base.errors import WireError
from media.payloads.formats import PayloadFormat, payload_format
from media.track import OPAQUE_RTP, Kind, TrackDescription
from protocols.sdp import MediaDescription, PayloadType, SessionDescription

# Encodings that only accompany the media: repair, events, comfort noise. Never a track's own.
AUXILIARY = frozenset(
    {"telephone-event", "tone", "cn", "rtx", "red", "ulpfec", "flexfec", "flexfec-03", "parityfec"}
)


@dataclass(frozen=True, slots=True)
class RtpTrack:
    """A media section that can be received."""

    media_index: int  # place of the section in the description, from 0
    control: str | None  # a=control of the section
    payload_type: int  # the one of the section's payload types that is taken
    description: TrackDescription
    format: PayloadFormat


@dataclass(frozen=True, slots=True)
class RefusedMedia:
    """A media section that cannot be received."""

    media_index: int
    kind: str  # video, audio, application, ...
    reason: str  # stable slug
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SessionTracks:
    """What a description offers."""

    tracks: tuple[RtpTrack, ...]
    refused: tuple[RefusedMedia, ...]


def tracks_from_sdp(session: SessionDescription, *, is_secure: bool = False) -> SessionTracks:
    """Sort the media sections of a description into tracks and refused ones.

    `is_secure`: sections of SRTP are taken too, since their keys came through TLS.

    Reasons: `sdp-not-rtp`, `sdp-secure-rtp`, `sdp-inactive`, `sdp-back-channel`,
    `sdp-no-payload-type`, `sdp-no-encoding` (a dynamic payload type without rtpmap),
    `sdp-no-clock-rate`, `sdp-auxiliary-only`. A payload format that FLUX does not know is no
    reason: it is a track of codec `rtp/<encoding>`.
    """
    tracks: list[RtpTrack] = []
    refused: list[RefusedMedia] = []
    for index, media in enumerate(session.media):
        try:
            _check_transport(media, session, is_secure)
            tracks.append(_track(index, media))
        except WireError as error:
            refused.append(RefusedMedia(index, media.kind, error.reason, error.detail))
    return SessionTracks(tuple(tracks), tuple(refused))


def _check_transport(media: MediaDescription, session: SessionDescription, is_secure: bool) -> None:
    protocol = media.protocol.upper()
    if not protocol.startswith("RTP/"):
        raise WireError("sdp-not-rtp", media.protocol)
    if "SAVP" in protocol and not is_secure:
        raise WireError("sdp-secure-rtp", media.protocol)
    if media.direction == "inactive":
        raise WireError("sdp-inactive")
    # ONVIF marks the section that the camera wants to hear as sendonly; but some cameras write
    # sendonly at what they send. It is a back channel if there is another of its kind without it.
    # test: test_back_channel
    if media.direction == "sendonly" and any(
        other.kind == media.kind and other.direction != "sendonly" for other in session.media
    ):
        raise WireError("sdp-back-channel")


def _track(index: int, media: MediaDescription) -> RtpTrack:
    """The track of a section: its first payload type of a known codec, else the first at all."""
    offers = media.payload_types
    if not offers:
        raise WireError("sdp-no-payload-type", " ".join(media.formats))
    opaque: RtpTrack | None = None
    why: tuple[str, str] | None = None  # not the error itself, which would hold this frame
    for offer in offers:
        try:
            track = _track_of_offer(index, media, offer)
        except WireError as refusal:
            why = why or (refusal.reason, refusal.detail)
            continue
        if not track.description.codec.startswith(OPAQUE_RTP):
            return track
        opaque = opaque or track
    if opaque is not None:
        return opaque
    raise WireError(*(why or ("sdp-no-payload-type", "")))


def _track_of_offer(index: int, media: MediaDescription, offer: PayloadType) -> RtpTrack:
    if not offer.encoding:
        raise WireError("sdp-no-encoding", f"payload type {offer.number}")
    if offer.encoding.lower() in AUXILIARY:
        raise WireError("sdp-auxiliary-only", offer.encoding)
    kind = Kind(media.kind) if media.kind in (Kind.VIDEO, Kind.AUDIO) else Kind.DATA
    form = payload_format(
        offer.encoding, offer.clock_rate, offer.channels, offer.fmtp, kind, offer.fmtp.text
    )
    if form.clock_rate <= 0:
        raise WireError("sdp-no-clock-rate", offer.encoding)
    description = TrackDescription(form.kind, form.codec, form.clock_rate, form.parameters)
    return RtpTrack(index, media.control, offer.number, description, form)
