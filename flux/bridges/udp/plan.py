"""From a URL and a session description: which ports are opened, and who is heard there.

Who says what: a multicast `c=` line of a section goes before that of the session, and that before
the URL's host. A unicast `c=` line is the address that the sender sends to; which of ours that is
the URL's host says, or it is all of them. The port stands in the `m=` line; sections with port 0
get the URL's port, the next one two more, and so on. The URL's `source` goes before the source
filters of the description (RFC 4570).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from config.datagram_url import DatagramUrl
from flux.base.addresses import plain_address
from flux.base.errors import WireError
from flux.bridges.rtp.tracks import RefusedMedia, RtpTrack, tracks_from_sdp
from flux.net.multicast import is_multicast
from flux.net.resolve import is_address
from protocols.sdp import Attribute, MediaDescription, SessionDescription

MAX_MEDIA = 16
MAX_SOURCES = 16  # of one filter
MAX_PORT = 65_535
TS_ENCODING = "rtp/mp2t"


@dataclass(frozen=True, slots=True)
class Senders:
    """Who is heard; both empty: anybody."""

    included: tuple[str, ...] = ()  # only these
    excluded: tuple[str, ...] = ()  # not these

    def has(self, host: str) -> bool:
        """Whether this address, as a socket writes it, is heard."""
        included = not self.included or host in map(plain_address, self.included)
        return included and host not in map(plain_address, self.excluded)


@dataclass(frozen=True, slots=True)
class MediaPlan:
    """One track: where its packets come."""

    track: RtpTrack
    host: str  # group, own address or name; "" is every address
    port: int
    rtcp_port: int  # the same as `port`: both on one (RFC 5761); 0: none
    senders: Senders


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """A whole session."""

    media: tuple[MediaPlan, ...]
    refused: tuple[RefusedMedia, ...]

    @property
    def transport_stream(self) -> MediaPlan | None:
        """The section that is MPEG-TS in RTP, RFC 2250; the others are then left alone."""
        return next((m for m in self.media if m.track.description.codec == TS_ENCODING), None)


def plan_session(url: DatagramUrl, description: SessionDescription) -> SessionPlan:
    """Say what to open; raises WireError `no-usable-track`.

    Sections are refused as by `tracks_from_sdp`, and with `sdp-no-port`, `sdp-port-taken` (the
    ports of two sections are the same), `sdp-too-many-tracks`.
    """
    found = tracks_from_sdp(description)
    refused = list(found.refused)
    media: list[MediaPlan] = []
    taken: set[tuple[str, int]] = set()
    next_port = url.port
    for track in found.tracks:
        section = description.media[track.media_index]
        port = section.port
        if not port and next_port:
            port, next_port = next_port, min(next_port + 2, MAX_PORT)
        host = _group_of(section, description) or url.host
        reason = ""
        if not port:
            reason = "sdp-no-port"
        elif (host, port) in taken:
            reason = "sdp-port-taken"
        elif len(media) == MAX_MEDIA:
            reason = "sdp-too-many-tracks"
        if reason:
            refused.append(RefusedMedia(track.media_index, section.kind, reason))
            continue
        taken.add((host, port))
        senders = _senders(url, section, description, host)
        media.append(MediaPlan(track, host, port, _rtcp_port(section, description, port), senders))
    if not media:
        raise WireError("no-usable-track", ", ".join(f"{r.kind}: {r.reason}" for r in refused))
    return SessionPlan(tuple(_part_rtcp(media)), tuple(refused))


def connection_address(connection: str | None) -> str:
    """The address of a `c=` value, without TTL and count; "" where there is none. Section 5.7."""
    fields = (connection or "").split()
    if len(fields) < 3 or fields[0].upper() != "IN":
        return ""
    address = fields[2].partition("/")[0]
    return address if is_address(address) else ""


def _group_of(section: MediaDescription, description: SessionDescription) -> str:
    for connection in (section.connection, description.connection):
        address = connection_address(connection)
        if address:
            return address if is_multicast(address) else ""
    return ""


def _rtcp_port(section: MediaDescription, description: SessionDescription, port: int) -> int:
    """RFC 3605 section 2.1, RFC 5761 section 5.1.1."""
    if any(each.attribute("rtcp-mux") is not None for each in (section, description)):
        return port
    text = (section.attribute("rtcp") or "").partition(" ")[0]
    if text.isascii() and text.isdigit() and 0 < len(text) < 6 and 0 < int(text) <= MAX_PORT:
        return int(text)
    return port + 1 if port < MAX_PORT else 0


def _part_rtcp(media: list[MediaPlan]) -> Iterable[MediaPlan]:
    """Leave out the RTCP of a track whose port is that of another track's RTP, or RTCP."""
    taken = {(each.host, each.port) for each in media}
    for each in media:
        key = (each.host, each.rtcp_port)
        if each.rtcp_port and each.rtcp_port != each.port:
            if key in taken:
                each = MediaPlan(each.track, each.host, each.port, 0, each.senders)
            taken.add(key)
        yield each


def _senders(
    url: DatagramUrl, section: MediaDescription, description: SessionDescription, host: str
) -> Senders:
    if url.source:
        return Senders((url.source,))
    places = section.connection, description.connection
    destinations = {"*", *map(plain_address, (host, *map(connection_address, places)))} - {""}
    own = [each for each in section.attributes if each.name.lower() == "source-filter"]
    if not own:
        own = [each for each in description.attributes if each.name.lower() == "source-filter"]
    included: list[str] = []
    excluded: list[str] = []
    for attribute in own:
        _read_filter(attribute, destinations, included, excluded)
    return Senders(tuple(included[:MAX_SOURCES]), tuple(excluded[:MAX_SOURCES]))


def _read_filter(
    attribute: Attribute, destinations: set[str], included: list[str], excluded: list[str]
) -> None:
    """`incl|excl IN IP4|IP6|* DESTINATION SOURCE...`, RFC 4570 section 3."""
    fields = (attribute.value or "").split()
    if len(fields) < 5 or fields[1].upper() != "IN" or plain_address(fields[3]) not in destinations:
        return
    sources = [each for each in fields[4:] if is_address(each)]
    if fields[0].lower() == "incl":
        included += sources
    elif fields[0].lower() == "excl":
        excluded += sources
