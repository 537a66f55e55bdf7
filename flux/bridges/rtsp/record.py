"""A publisher's session: ANNOUNCE, SETUP for each track, RECORD, and what it sends from then on."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.events import SourceEnded
from flux.bridges.rtp.receiver import RtpSessionReceiver
from flux.bridges.rtp.secure import SecureTrack, is_secure
from flux.bridges.rtp.tracks import RtpTrack
from flux.bridges.rtsp.ports import Receiver, UdpPorts
from flux.bridges.rtsp.transport_stream import TS_CODEC, TsRun
from flux.bridges.rtsp.ways import (
    INTERLEAVED,
    PROTOCOL,
    UDP,
    UNSUPPORTED,
    exchange_keys,
    is_possible,
    mode_of,
    write_frame,
)
from flux.net.timer import DeadlineTimer
from flux.net.udp import Address
from flux.net.udp_send import Run
from media.link import LinkFigures
from media.publisher import Publisher
from media.router import Router
from media.track import TrackDescription
from protocols.rtsp.server import RtspPeer
from protocols.rtsp.server_events import AnnounceAsked, Chosen, Done, Refusal, Reply, SetupAsked
from protocols.rtsp.server_target import track_of
from protocols.rtsp.transport import PortPair, Transport

TAKEN, FORBIDDEN = 409, 403  # RTSP has no status of its own for a name that somebody has
SSRC_PLACE = slice(4, 8)  # of the sender, in RTCP; it is in the clear under SRTP, too
_RANDOM = random.SystemRandom()

Packets = list[bytes]


@dataclass(slots=True)
class _Way:
    """How one track comes in."""

    channel: int = -1  # of RTP; -1: not interleaved
    rtcp: Address = ()
    client: PortPair | None = None
    receivers: tuple[Receiver, Receiver] | None = None  # of RTP, of RTCP


class RecordSession:
    """One publisher over RTSP. It satisfies `Publishing`: its runs say who publishes."""

    def __init__(
        self,
        session_id: str,
        asked: AnnounceAsked,
        tracks: tuple[RtpTrack, ...],
        peer: RtspPeer,
        router: Router,
        ports: UdpPorts | None,
        transports: frozenset[str],
        keys: dict[int, SecureTrack],
        user_agent: str,
    ) -> None:
        """`keys`: by track index, of those whose section is one of SRTP."""
        self.session_id = session_id
        self.stream = asked.target.path
        self.user_agent = user_agent
        self.peer = peer
        self.mode = ""
        self.run: Publisher | TsRun | None = None
        self.receiver: RtpSessionReceiver | None = None
        self._base = asked.target.base
        self._offered = tracks
        self._router = router
        self._ports = ports
        self._transports = transports
        self._keys = keys
        self._ways: dict[int, _Way] = {}
        self._order: list[int] = []  # of the tracks that were set up
        self._ended: set[int] = set()  # their places
        self._timer = DeadlineTimer(asyncio.get_running_loop(), self._on_due)

    # -- requests ----------------------------------------------------------------------------

    def set_up(self, asked: SetupAsked) -> Reply:
        """Choose how one track comes."""
        controls = [track.control or "" for track in self._offered]
        track = track_of(asked.target.url, self._base, controls)
        if track is None:
            return Refusal(404, "track-not-found")
        mode = self.mode if self._ways.keys() - {track} else ""
        is_secured = track in self._keys
        for offer in asked.offers:
            if is_secure(offer.profile) is not is_secured:
                continue
            if not is_possible(self.peer, offer, self._transports, mode, is_secured):
                continue
            try:
                keys = self._keys.get(track)
                headers = exchange_keys(keys, asked, is_publisher=True) if keys else ()
            except WireError as error:
                return Refusal(400, error.reason)
            transport = self._choose(track, offer)
            if transport is not None:
                self.mode = mode_of(offer)
                return Chosen(track, transport, headers)
        return UNSUPPORTED

    def record(self, answer: Callable[[Reply], bool]) -> None:
        """Begin to publish, or go on after a PAUSE."""
        now = time.monotonic()
        if self.run is not None:
            answer(Done())
            return
        self._order = sorted(self._ways)
        tracks = [self._offered[index] for index in self._order]
        if not tracks:
            answer(Refusal(455, "no-track-set-up"))
            return
        try:
            run = self._begin(tracks, now)
        except PeerError as error:
            status = FORBIDDEN if error.status == TAKEN else error.status
            answer(Refusal(status, error.reason))
            return
        channels: dict[int, tuple[int, bool]] = {}
        for place, index in enumerate(self._order):
            channel = self._ways[index].channel
            if channel >= 0:
                channels |= {channel: (place, False), channel + 1: (place, True)}
        self.receiver = RtpSessionReceiver(
            run,
            tracks,
            reliable=self.mode == INTERLEAVED,
            ssrc=_RANDOM.getrandbits(32),
            cname=f"flux-{_RANDOM.getrandbits(64):016x}",
            random=_RANDOM.random,
            now=now,
            channels=channels,
        )
        self.run = run
        run.on_ended = self._run_ended
        if not answer(Done()):
            self.close("peer-closed")
            return
        self._arm(self.receiver, now)

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        """Begin a run that says who publishes it; raises `PeerError`."""
        publisher = self._router.publish(name, descriptions, now=now, origin=origin)
        publisher.address, publisher.user_agent = self.peer.address, self.user_agent
        publisher.link = self.link
        return publisher

    def link(self) -> LinkFigures:
        """What came over RTP."""
        figures = LinkFigures(self.mode)
        for track in self.receiver.tracks if self.receiver is not None else ():
            figures.lost += track.reception.lost
            figures.jitter = max(figures.jitter, track.reception.jitter)
        return figures

    def drop_track(self, track: int) -> None:
        """TEARDOWN of one track: nothing comes there any more."""
        self._forget(track)
        if track in self._order:
            self._ended.add(self._order.index(track))

    def close(self, reason: str) -> None:
        """Nothing of it is left after this; readers are held for the grace period."""
        self._timer.close()
        for track in tuple(self._ways):
            self._forget(track)
        self.receiver = None
        run, self.run = self.run, None
        if run is not None:
            run.on_ended = None
            run.close(reason, time.monotonic())

    # -- media -------------------------------------------------------------------------------

    @property
    def channels(self) -> frozenset[int]:
        """The interleaved channels that are its own."""
        return frozenset(
            channel
            for way in self._ways.values()
            if way.channel >= 0
            for channel in (way.channel, way.channel + 1)
        )

    def take_packets(self, packets: list[tuple[int, bytes]], now: float) -> None:
        """Interleaved RTP and RTCP."""
        receiver = self.receiver
        if receiver is None:
            return
        if self._keys:
            packets = self._opened(packets)
        receiver.receive_interleaved(packets, now)
        self._pump(receiver, now)

    def _opened(self, packets: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """What came on channels of tracks with keys, without SRTP."""
        owners = {
            channel: (index, channel != way.channel)
            for index, way in self._ways.items()
            for channel in (way.channel, way.channel + 1)
        }
        opened: list[tuple[int, bytes]] = []
        for channel, packet in packets:
            index, is_rtcp = owners.get(channel, (-1, False))
            found = self._open(index, [packet], is_rtcp=is_rtcp)
            opened += [(channel, plain) for plain in found]
        return opened

    def _open(self, track: int, packets: Packets, *, is_rtcp: bool) -> Packets:
        """Packets of one track without SRTP; what cannot be opened is counted."""
        keys = self._keys.get(track)
        if keys is None:
            return packets
        receiver = keys.receiver
        if receiver is None:  # SETUP has seen to it
            return []
        opened = receiver.unprotect_rtcp(packets) if is_rtcp else receiver.unprotect(packets)
        if receiver.drops and self.run is not None:
            for reason, count in receiver.drops.items():
                self.run.dropped(reason, None, count)
            receiver.drops.clear()
        return opened

    def _receive(self, track: int, is_rtcp: bool, datagrams: Packets, now: float) -> None:
        """What came by UDP."""
        receiver = self.receiver
        if receiver is None:
            return
        place = self._order.index(track)
        datagrams = self._open(track, datagrams, is_rtcp=is_rtcp)
        if not datagrams:
            return
        if is_rtcp:
            receiver.receive_rtcp(place, datagrams, now)
            self.peer.touch(self.session_id, now)
        else:
            receiver.receive_rtp(place, datagrams, now)
            self.peer.media_received(self.session_id, now)
        self._pump(receiver, now)

    def _hear_anywhere(self, datagrams: Packets, now: float) -> None:
        """RTCP from a port that nobody named: its sender tells the track."""
        receiver = self.receiver
        if receiver is None:
            return
        by_ssrc = {
            track.ssrc: index for index, track in zip(self._order, receiver.tracks, strict=True)
        }
        for datagram in datagrams:
            track = by_ssrc.get(int.from_bytes(datagram[SSRC_PLACE], "big"))
            if track in self._ways:
                self._receive(track, True, [datagram], now)
            elif self.run is not None:
                self.run.dropped("rtcp-sr-other-source")

    def _on_due(self, now: float) -> None:
        if isinstance(self.run, TsRun):
            self.run.handle_timer(now)
        if self.receiver is not None:
            self.receiver.handle_timer(now)
            self._pump(self.receiver, now)

    def _arm(self, receiver: RtpSessionReceiver, now: float) -> None:
        due = receiver.get_timer()
        if isinstance(self.run, TsRun):
            other = self.run.get_timer()
            if other is not None and (due is None or other < due):
                due = other
        self._timer.arm(due, now)

    def _pump(self, receiver: RtpSessionReceiver, now: float) -> None:
        while (event := receiver.next_event()) is not None:
            if isinstance(event, SourceEnded):
                self._ended.add(event.track_index)
            else:
                self._ended.discard(event.track_index)
        for place, report in receiver.reports_to_send():
            self._send_rtcp(self._order[place], report)
        if self.receiver is None:
            return  # it ended while packets went through
        self._arm(receiver, now)
        if len(self._ended) == len(self._order):
            self._ended.clear()
            self.peer.end_session(self.session_id, "source-ended")

    def _send_rtcp(self, track: int, data: bytes) -> None:
        way = self._ways.get(track)
        if way is None:
            return
        if track in self._keys:
            data = self._keys[track].sender.protect_rtcp(data)
        if way.channel >= 0:
            write_frame(self.peer, way.channel + 1, data)
        elif self._ports is not None:
            self._ports.rtcp.send(Run(track, data, len(data), 1), way.rtcp)

    # -- inside ------------------------------------------------------------------------------

    def _begin(self, tracks: Sequence[RtpTrack], now: float) -> Publisher | TsRun:
        """Begin the run, now or once a transport stream has shown what is in it."""
        if tracks[0].description.codec != TS_CODEC:
            descriptions = [track.description for track in tracks]
            return self.publish(self.stream, descriptions, now=now, origin=PROTOCOL)
        if is_taken(self._router, self.stream):
            raise PeerError("name-taken", FORBIDDEN)
        return TsRun(self.stream, self, tracks[0])

    def _choose(self, track: int, offer: Transport) -> Transport | None:
        mode = mode_of(offer)
        if mode == INTERLEAVED and offer.interleaved is not None:
            self._forget(track)
            self._ways[track] = _Way(channel=offer.interleaved.rtp)
            return offer
        ports, client, host = self._ports, offer.client_port, self.peer.address
        if mode != UDP or ports is None or client is None or not ports.reaches(host):
            return None
        self._forget(track)
        receivers = (partial(self._receive, track, False), partial(self._receive, track, True))
        ports.listen(host, client.rtp, receivers[0], is_rtcp=False)
        ports.expect(host, client.rtp)
        ports.listen(host, client.rtcp, receivers[1], is_rtcp=True)
        ports.listen_anywhere(host, self._hear_anywhere)
        self._ways[track] = _Way(
            rtcp=ports.address(host, client.rtcp), client=client, receivers=receivers
        )
        return replace(offer, server_port=PortPair(*ports.numbers))

    def _forget(self, track: int) -> None:
        way, ports = self._ways.pop(track, None), self._ports
        if way is None or way.client is None or way.receivers is None or ports is None:
            return
        host = self.peer.address
        ports.forget(host, way.client.rtp, way.receivers[0], is_rtcp=False)
        ports.forget(host, way.client.rtcp, way.receivers[1], is_rtcp=True)
        if not self._ways:
            ports.forget_anywhere(host, self._hear_anywhere)

    def _run_ended(self, reason: str) -> None:
        """It was kicked, or somebody else took the name over."""
        self.run = None
        self.peer.end_session(self.session_id, reason)
        if not self.peer.sessions:
            self.peer.close(reason)


def is_taken(router: Router, name: str) -> bool:
    """Whether somebody publishes there and would not be taken over."""
    return router.is_taken(name)
