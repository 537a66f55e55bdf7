"""Setting up the tracks of one presentation: what SETUP asks for and what its answer means."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flux.base.errors import WireError
from protocols.rtsp.events import TrackTransport
from protocols.rtsp.message import Response
from protocols.rtsp.session import SessionHeader
from protocols.rtsp.transport import TCP, UDP, Group, PortPair, Transport, Way, parse_transports

DEFAULT_TTL = 16  # of a group whose server names none
KEY_HEADER = "KeyMgmt"  # RFC 4567 section 4.1
AVP = "RTP/AVP"


@dataclass(frozen=True, slots=True)
class Secured:
    """What SETUP says of a track whose media is SRTP."""

    profile: str  # RTP/SAVP or RTP/SAVPF
    key: Callable[[str], str] | None = None  # the value of our KeyMgmt header, by the track's URL


@dataclass(slots=True)
class TrackSetup:
    """Progress through the tracks of one `set_up`, RFC 2326 section 10.4."""

    urls: Sequence[str]
    way: Way
    ports: Sequence[PortPair] = ()  # ours, one pair a track, over UDP
    groups: Sequence[Group | None] = ()  # of the description, one a track, for multicast
    mode: str = ""  # "record" where we are the one who sends
    secured: Mapping[int, Secured] = field(default_factory=dict)  # by track
    index: int = 0  # the track whose turn it is
    tracks: list[TrackTransport] = field(default_factory=list)  # those that are set up
    refusal: int = 0  # status of the last refused track
    channels: dict[int, int] = field(default_factory=dict)  # server's -> ours, where they differ

    @property
    def is_done(self) -> bool:
        """No track is left to be asked for."""
        return self.index >= len(self.urls)

    @property
    def url(self) -> str:
        """The URL of the track whose turn it is."""
        return self.urls[self.index]

    def transport(self) -> Transport:
        """What to ask for."""
        secured = self.secured.get(self.index)
        profile = secured.profile if secured is not None else AVP
        if self.way is Way.MULTICAST:
            return Transport(profile, is_multicast=True)
        if self.way is Way.UDP:
            return Transport(profile, client_port=self.ports[self.index], mode=self.mode)
        first = 2 * self.index
        channels = PortPair(first, first + 1)
        return Transport(profile, TCP, interleaved=channels, mode=self.mode)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers of the request."""
        secured = self.secured.get(self.index)
        headers = (("Transport", self.transport().serialize()),)
        if secured is None or secured.key is None:
            return headers
        return (*headers, (KEY_HEADER, secured.key(self.url)))

    def accept(self, response: Response) -> bool:
        """Read a good answer; false if the server chose what was not asked for."""
        offered = parse_transports(response.headers.get("Transport"))
        # quirk: a few cameras answer without a Transport header; then what was asked for holds.
        # test: test_answers_without_a_transport_header
        chosen = offered[0] if offered else self.transport()
        is_multicast = self.way is Way.MULTICAST
        lower = TCP if self.way is Way.TCP else UDP
        if chosen.lower != lower or chosen.is_multicast != is_multicast:
            return False
        if chosen.is_secure != (self.index in self.secured):
            return False
        group = self._group(chosen) if is_multicast else None
        if is_multicast and group is None:
            return False
        first = 2 * self.index
        channels = chosen.interleaved or PortPair(first, first + 1)
        if self.way is Way.TCP:
            pairs = ((channels.rtp, first), (channels.rtcp, first + 1))
            self.channels.update((theirs, ours) for theirs, ours in pairs if theirs != ours)
        server_port = None if is_multicast else chosen.server_port
        self.tracks.append(
            TrackTransport(
                self.index,
                self.url,
                server_port,
                chosen.ssrc,
                chosen.source,
                channels,
                group,
                keys_of(response),
            )
        )
        return True

    def server_channel(self, channel: int) -> int:
        """The server's number of one of our channels."""
        return next((theirs for theirs, ours in self.channels.items() if ours == channel), channel)

    def _group(self, chosen: Transport) -> Group | None:
        """The group of a multicast answer; what it does not say the description may.

        quirk: some cameras give the port as client_port or server_port, against section 12.39, or
        leave the destination out. test: test_multicast_answers
        """
        told = self.groups[self.index] if self.index < len(self.groups) else None
        address = chosen.destination or (told.address if told else "")
        ports = chosen.port or chosen.client_port or chosen.server_port
        ports = ports or (told.ports if told else None)
        ttl = chosen.ttl or (told.ttl if told else None) or DEFAULT_TTL
        source = chosen.source or (told.source if told else "")
        try:
            is_group = ipaddress.ip_address(address).is_multicast
        except ValueError:
            return None
        if not is_group or ports is None or not ports.rtp:
            return None
        return Group(address, ports, ttl, source)


def keys_of(response: Response) -> str:
    """Every KeyMgmt header of an answer, as one."""
    return ",".join(response.headers.get_all(KEY_HEADER))


def session_of(response: Response) -> SessionHeader | None:
    """The session that an answer names, if it does."""
    try:
        return SessionHeader.parse(response.headers.get("Session"))
    except WireError:
        return None
