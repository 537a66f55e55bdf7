"""Setting up the tracks of one presentation: what SETUP asks for and what its answer means."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from flux.base.errors import WireError
from protocols.rtsp.events import TrackTransport
from protocols.rtsp.message import Response
from protocols.rtsp.session import SessionHeader
from protocols.rtsp.transport import TCP, UDP, PortPair, Transport, parse_transports


@dataclass(slots=True)
class TrackSetup:
    """Progress through the tracks of one `set_up`, RFC 2326 section 10.4. `ports` empty = TCP."""

    urls: Sequence[str]
    ports: Sequence[PortPair]
    index: int = 0  # the track whose turn it is
    tracks: list[TrackTransport] = field(default_factory=list)  # those that are set up
    refusal: int = 0  # status of the last refused track
    channels: dict[int, int] = field(default_factory=dict)  # server's -> ours, where they differ

    @property
    def is_udp(self) -> bool:
        """How the media comes."""
        return bool(self.ports)

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
        if self.ports:
            return Transport(client_port=self.ports[self.index])
        first = 2 * self.index
        return Transport(lower=TCP, interleaved=PortPair(first, first + 1))

    def accept(self, response: Response) -> bool:
        """Read a good answer; false if the server chose what was not asked for."""
        offered = parse_transports(response.headers.get("Transport"))
        # quirk: a few cameras answer without a Transport header; then what was asked for holds
        chosen = offered[0] if offered else self.transport()
        if chosen.lower != (UDP if self.is_udp else TCP) or chosen.is_multicast:
            return False
        if chosen.interleaved is not None and not self.is_udp:
            first = 2 * self.index
            pairs = ((chosen.interleaved.rtp, first), (chosen.interleaved.rtcp, first + 1))
            self.channels.update((theirs, ours) for theirs, ours in pairs if theirs != ours)
        self.tracks.append(TrackTransport(self.index, self.url, chosen.server_port, chosen.ssrc))
        return True

    def server_channel(self, channel: int) -> int:
        """The server's number of one of our channels."""
        return next((theirs for theirs, ours in self.channels.items() if ours == channel), channel)


def session_of(response: Response) -> SessionHeader | None:
    """The session that an answer names, if it does."""
    try:
        return SessionHeader.parse(response.headers.get("Session"))
    except WireError:
        return None
