"""Tracks to SDP: the answer to DESCRIBE, the body of ANNOUNCE, an .sdp file (RFC 8866)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flux.bridges.rtp.packer import RtpOutTrack
from media.payloads.encodings import sdp_kind
from media.payloads.formats import fmtp_for
from protocols.sdp import Attribute, MediaDescription, PayloadType, SessionDescription
from protocols.sdp.fmtp import FormatParameters
from protocols.sdp.session import Origin

NAME = "FLUX"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one section's media goes, as far as a description says it."""

    port: int = 0  # 0: SETUP tells
    connection: str | None = None  # c= of the section, such as "IN IP4 239.1.1.1/16"
    protocol: str = "RTP/AVP"
    attributes: tuple[Attribute, ...] = ()  # keys, source filters


NOWHERE = Place()


def control_of(index: int) -> str:
    """The control attribute of a track; relative to the Content-Base."""
    return f"trackID={index}"


def describe(
    tracks: Sequence[RtpOutTrack],
    *,
    session_id: int,
    address: str,
    connection: str,
    title: str = NAME,
    has_controls: bool = True,
    places: Mapping[int, Place] | None = None,
) -> SessionDescription:
    """A session of these tracks.

    `address` is ours, for `o=`; `connection` the `c=` of the session, "IN IP4 0.0.0.0" where SETUP
    tells. `places` by track index. There is no `a=range` but `npt=now-`: players show a seek bar
    for anything else.
    """
    controls = (Attribute("control", "*"), Attribute("range", "npt=now-")) if has_controls else ()
    family = "IP6" if ":" in address else "IP4"
    return SessionDescription(
        media=tuple(
            _section(t, (places or {}).get(t.index, NOWHERE), has_controls) for t in tracks
        ),
        origin=Origin("-", str(session_id), "1", "IN", family, address),
        name=title,
        connection=connection,
        timing="0 0",
        attributes=(Attribute("tool", NAME), *controls),
    )


def _section(out: RtpOutTrack, place: Place, has_control: bool) -> MediaDescription:
    encoding = out.encoding
    payload_type = PayloadType(
        out.payload_type,
        encoding.name,
        encoding.clock_rate,
        encoding.channels,
        FormatParameters(fmtp_for(out.track.parameters).items()),
    )
    attributes = [*payload_type.attributes(), *place.attributes]
    if has_control:
        attributes.append(Attribute("control", control_of(out.index)))
    return MediaDescription(
        kind=sdp_kind(out.track),
        port=place.port,
        protocol=place.protocol,
        formats=(str(out.payload_type),),
        connection=place.connection,
        attributes=tuple(attributes),
    )
