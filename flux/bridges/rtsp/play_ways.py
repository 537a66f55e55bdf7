"""How the tracks of one player's session go out: what SETUP chose, registered where it has to be.

One session does not mix transports, nor SRTP with plain RTP. A track that is alone may change both
by another SETUP.
"""

from collections import Counter
from collections.abc import Callable, Iterable, KeysView
from dataclasses import dataclass, replace
from functools import partial

from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.output import RtpOutput
from flux.bridges.rtp.secure import SecureTrack, is_secure
from flux.bridges.rtsp.groups import Group, MulticastGroups
from flux.bridges.rtsp.ports import Receiver, UdpPorts
from flux.bridges.rtsp.secured import open_reports, secured_runs
from flux.bridges.rtsp.slices import Slices
from flux.bridges.rtsp.ways import (
    INTERLEAVED,
    MULTICAST,
    UDP,
    UNSUPPORTED,
    exchange_keys,
    is_possible,
    mode_of,
    track_number,
    write_frame,
)
from flux.net.udp import Address
from flux.net.udp_send import Run
from media.stream import Stream
from protocols.rtsp.server import RtspPeer
from protocols.rtsp.server_events import Chosen, Refusal, Reply, SetupAsked
from protocols.rtsp.transport import PortPair, Transport

# (tracks that it may be about, RTCP compounds, seconds of their arrival)
Hearer = Callable[[Iterable[int], list[bytes], float], None]


@dataclass(frozen=True, slots=True)
class PlayContext:
    """What every session of a server shares."""

    ports: UdpPorts | None  # None: no UDP
    groups: MulticastGroups
    transports: frozenset[str]
    send_buffer: int
    cname: str
    start: str
    slices: Slices
    drops: Counter[str]


@dataclass(slots=True)
class _Way:
    """How one track goes out."""

    channel: int = -1  # of RTP; -1: not interleaved
    rtp: Address = ()
    rtcp: Address = ()
    client: PortPair | None = None
    receiver: Receiver | None = None


class PlayWays:
    """The ways of one session, by track index. `mode` and `is_secured` hold for all of them."""

    def __init__(
        self,
        peer: RtspPeer,
        stream: Stream,
        output: RtpOutput,
        context: PlayContext,
        keys: dict[int, SecureTrack],
        hear: Hearer,
    ) -> None:
        """`keys`: those that the description told; `hear` gets RTCP that comes by UDP."""
        self.mode = ""  # udp, multicast or tcp, from the first SETUP on
        self.is_secured = False  # SRTP, from the first SETUP on
        self.group: Group | None = None
        self.keys = keys
        self._peer = peer
        self._stream = stream
        self._output = output
        self._context = context
        self._hear = hear
        self._ways: dict[int, _Way] = {}

    @property
    def tracks(self) -> KeysView[int]:
        """Those that are set up."""
        return self._ways.keys()

    @property
    def channels(self) -> dict[int, int]:
        """The RTP channel of each track that is interleaved; RTCP has the next one."""
        return {index: way.channel for index, way in self._ways.items() if way.channel >= 0}

    def set_up(self, asked: SetupAsked) -> Reply:
        """Choose a transport for one track."""
        track = track_number(asked.target.control, len(self._output.tracks))
        if track is None:
            return Refusal(404, "track-not-found")
        is_alone = not self._ways.keys() - {track}
        mode, secured = ("", None) if is_alone else (self.mode, self.is_secured)
        for offer in asked.offers:
            if not is_possible(self._peer, offer, self._context.transports, mode, secured):
                continue
            is_secured = is_secure(offer.profile)
            try:
                headers = self._exchange_keys(track, asked) if is_secured else ()
                transport = self._choose(track, offer)
            except PeerError as error:
                return Refusal(error.status, error.reason)
            except WireError as error:
                return Refusal(400, error.reason)
            if transport is not None:
                self.mode, self.is_secured = mode_of(offer), is_secured
                return Chosen(track, transport, headers)
        return UNSUPPORTED

    def forget(self, track: int) -> None:
        """Undo what SETUP of a track did; the group is left with its last track."""
        self._drop(track)
        if not self._ways and self.group is not None:
            self._context.groups.leave(self._output, self.group)
            self.group = None

    def close(self) -> None:
        """Undo what every SETUP did, and let go of the session, which holds this."""
        for track in tuple(self._ways):
            self.forget(track)
        self._hear = _deaf

    def send(self, run: Run) -> bool:
        """Send a run by UDP; false where the system took none of it."""
        ports, way = self._context.ports, self._ways.get(run.track)
        if ports is None or way is None:
            return False
        if not self.is_secured:
            return ports.rtp.send(run, way.rtp)
        runs = secured_runs(self.keys[run.track], run)
        taken = [ports.rtp.send(secured, way.rtp) for secured in runs]
        return all(taken)

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """Send a compound, the way that its track goes."""
        way = self._ways[track_index]
        if self.is_secured:
            data = self.keys[track_index].sender.protect_rtcp(data)
        if self.mode == INTERLEAVED:
            write_frame(self._peer, way.channel + 1, data)
        elif self._context.ports is not None:
            self._context.ports.rtcp.send(Run(track_index, data, len(data), 1), way.rtcp)

    def open(self, tracks: Iterable[int], packets: list[bytes]) -> list[bytes]:
        """RTCP of one of these tracks as it is without SRTP."""
        if not self.is_secured:
            return packets
        keys = [self.keys[track] for track in tracks]
        return open_reports(keys, packets, self._context.drops)

    # -- inside ------------------------------------------------------------------------------

    def _exchange_keys(self, track: int, asked: SetupAsked) -> tuple[tuple[str, str], ...]:
        keys = self.keys.setdefault(track, SecureTrack(self._output.tracks[track].ssrc))
        return exchange_keys(keys, asked, is_publisher=False)

    def _choose(self, track: int, offer: Transport) -> Transport | None:
        mode, ssrc = mode_of(offer), self._output.tracks[track].ssrc
        if mode == INTERLEAVED and offer.interleaved is not None:
            self.forget(track)
            self._ways[track] = _Way(channel=offer.interleaved.rtp)
            return replace(offer, ssrc=ssrc)
        if mode == MULTICAST:
            group = self.group
            if group is None:
                group = self._context.groups.enter(self._stream, self._output)
            self._drop(track)
            self.group = group
            self._ways[track] = _Way()
            return group.offer(offer, track, ssrc)
        ports, client, host = self._context.ports, offer.client_port, self._peer.address
        if mode != UDP or ports is None or client is None or not ports.reaches(host):
            return None
        self.forget(track)
        receiver = partial(self._hear, (track,))
        self._ways[track] = _Way(
            rtp=ports.address(host, client.rtp),
            rtcp=ports.address(host, client.rtcp),
            client=client,
            receiver=receiver,
        )
        ports.listen(host, client.rtp, _ignore, is_rtcp=False)  # what opens a NAT
        ports.listen(host, client.rtcp, receiver, is_rtcp=True)
        ports.listen_anywhere(host, self._hear_anywhere)
        return replace(offer, server_port=PortPair(*ports.numbers), ssrc=ssrc)

    def _drop(self, track: int) -> None:
        way, ports = self._ways.pop(track, None), self._context.ports
        if way is None or way.receiver is None or way.client is None or ports is None:
            return
        host = self._peer.address
        ports.forget(host, way.client.rtp, _ignore, is_rtcp=False)
        ports.forget(host, way.client.rtcp, way.receiver, is_rtcp=True)
        if not self._ways:
            ports.forget_anywhere(host, self._hear_anywhere)

    def _hear_anywhere(self, datagrams: list[bytes], now: float) -> None:
        """RTCP from a port that the player did not name; it is of any track."""
        self._hear(tuple(self._ways), datagrams, now)


def _ignore(datagrams: list[bytes], now: float) -> None:
    """What a player sends to the RTP port opens the way for what comes back, no more."""


def _deaf(tracks: Iterable[int], datagrams: list[bytes], now: float) -> None:
    """The session is over."""
