"""A publisher's session: ANNOUNCE, SETUP for each track, RECORD, and what it sends from then on."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count as counter

from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.events import SourceEnded
from flux.bridges.rtp.receiver import RtpSessionReceiver
from flux.bridges.rtp.secure import SecureTrack, is_secure, open_channels
from flux.bridges.rtp.tracks import RtpTrack
from flux.bridges.rtsp.play import (
    INTERLEAVED,
    KEY_HEADER,
    PROTOCOL,
    UDP,
    UNSUPPORTED,
    may_carry,
    mode_of,
)
from flux.bridges.rtsp.ports import Receiver, UdpPorts
from flux.bridges.rtsp.secured import ntp_now
from flux.net.timer import DeadlineTimer
from flux.net.udp import Address
from flux.net.udp_send import Run
from media.link import LinkFigures
from media.publisher import Publisher
from media.router import Router
from protocols.rtsp.server import RtspPeer
from protocols.rtsp.server_events import AnnounceAsked, Chosen, Done, Refusal, Reply, SetupAsked
from protocols.rtsp.server_target import track_of
from protocols.rtsp.transport import PortPair, Transport

_RANDOM = random.SystemRandom()


@dataclass(slots=True)
class _Way:
    """How one track comes in."""

    channel: int = -1
    rtcp: Address = ()
    client: PortPair | None = None
    receivers: tuple[Receiver, Receiver] | None = None  # of RTP, of RTCP


class RecordSession:
    """One publisher over RTSP."""

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
    ) -> None:
        """`keys`: by track index, of those whose section is one of SRTP."""
        self.session_id = session_id
        self.stream = asked.target.path
        self.user_agent = asked.user_agent
        self.peer = peer
        self.mode = ""
        self.publisher: Publisher | None = None
        self.receiver: RtpSessionReceiver | None = None
        self._base = asked.target.base
        self._offered = tracks
        self._router = router
        self._ports = ports
        self._transports = transports
        self._keys = keys
        self._ways: dict[int, _Way] = {}
        self._order: list[int] = []  # of the tracks that were set up
        self._ended: set[int] = set()
        self._timer = DeadlineTimer(asyncio.get_running_loop(), self._on_due)

    # -- requests ----------------------------------------------------------------------------

    def set_up(self, asked: SetupAsked) -> Reply:
        """Choose how one track comes."""
        controls = [track.control or "" for track in self._offered]
        track = track_of(asked.target.url, self._base, controls)
        if track is None:
            return Refusal(404, "track-not-found")
        for offer in asked.offers:
            mode = mode_of(offer)
            if mode not in self._transports or self.mode not in ("", mode):
                continue
            is_secured = is_secure(offer.profile)
            if not may_carry(self.peer, mode, offer) or is_secured is not (track in self._keys):
                continue
            try:
                headers = self._exchange_keys(track, asked) if is_secured else ()
            except WireError as error:
                return Refusal(400, error.reason)
            transport = self._choose(track, mode, offer)
            if transport is not None:
                self.mode = mode
                return Chosen(track, transport, headers)
        return UNSUPPORTED

    def _exchange_keys(self, track: int, asked: SetupAsked) -> tuple[tuple[str, str], ...]:
        """Take the publisher's key, tell ours for the reports; raises `WireError`."""
        keys = self._keys[track]
        theirs = asked.headers.get(KEY_HEADER)
        if theirs:
            keys.take_header(theirs)
        if keys.receiver is None:
            raise WireError("srtp-no-key")
        return ((KEY_HEADER, keys.header(asked.target.url, ntp_now())),)

    def record(self, answer: Callable[[Reply], bool]) -> None:
        """Begin to publish."""
        now = time.monotonic()
        self._order = sorted(self._ways)
        tracks = [self._offered[index] for index in self._order]
        if not tracks:
            answer(Refusal(455, "no-track-set-up"))
            return
        try:
            publisher = self._router.publish(
                self.stream, [track.description for track in tracks], now=now, origin=PROTOCOL
            )
        except PeerError as error:
            answer(Refusal(error.status, error.reason))
            return
        places = counter()
        channels = {}
        for index in self._order:
            place, channel = next(places), self._ways[index].channel
            if channel >= 0:
                channels[channel] = (place, False)
                channels[channel + 1] = (place, True)
        self.receiver = RtpSessionReceiver(
            publisher,
            tracks,
            reliable=self.mode == INTERLEAVED,
            ssrc=_RANDOM.getrandbits(32),
            cname=f"flux-{_RANDOM.getrandbits(64):016x}",
            random=_RANDOM.random,
            now=now,
            channels=channels,
        )
        self.publisher = publisher
        publisher.on_ended = self._publisher_ended
        publisher.address, publisher.user_agent = self.peer.address, self.user_agent
        publisher.link = self.link
        if not answer(Done()):
            self.close("peer-closed")
            return
        self._timer.arm(self.receiver.get_timer(), now)

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

    def close(self, reason: str) -> None:
        """Nothing of it is left after this; readers are held for the grace period."""
        self._timer.cancel()
        for track in tuple(self._ways):
            self._forget(track)
        self.receiver = None
        publisher, self.publisher = self.publisher, None
        if publisher is not None:
            for keys in self._keys.values():
                for fault, count in keys.receiver.drops.items() if keys.receiver else ():
                    publisher.dropped(fault, None, count)
            publisher.finish(reason, time.monotonic())

    # -- media -------------------------------------------------------------------------------

    def take_packets(self, packets: list[tuple[int, bytes]], now: float) -> None:
        """Interleaved RTP and RTCP."""
        receiver = self.receiver
        if receiver is None:
            return
        if self._keys:
            by_channel = {way.channel >> 1: index for index, way in self._ways.items()}
            keys = {c: self._keys[i] for c, i in by_channel.items() if i in self._keys}
            packets = open_channels(keys, packets)
        receiver.receive_interleaved(packets, now)
        self._pump(receiver, now)

    def _on_due(self, now: float) -> None:
        if self.receiver is not None:
            self.receiver.handle_timer(now)
            self._pump(self.receiver, now)

    def _pump(self, receiver: RtpSessionReceiver, now: float) -> None:
        while (event := receiver.next_event()) is not None:
            if isinstance(event, SourceEnded):
                self._ended.add(event.track_index)
        for place, report in receiver.reports_to_send():
            self._send_rtcp(self._order[place], report)
        if self.receiver is None:
            return  # it ended while packets went through
        self._timer.arm(receiver.get_timer(), now)
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
            if not self.peer.transport.is_closing():
                frame = b"$" + bytes((way.channel + 1,)) + len(data).to_bytes(2, "big") + data
                self.peer.transport.write(frame)
        elif self._ports is not None:
            self._ports.rtcp.send(Run(track, data, len(data), 1), way.rtcp)

    # -- inside ------------------------------------------------------------------------------

    def _choose(self, track: int, mode: str, offer: Transport) -> Transport | None:
        if mode == INTERLEAVED and offer.interleaved is not None:
            self._forget(track)
            self._ways[track] = _Way(channel=offer.interleaved.rtp)
            return offer
        ports, client = self._ports, offer.client_port
        if mode != UDP or ports is None or client is None:
            return None
        self._forget(track)
        host = self.peer.address

        def receive_rtp(datagrams: list[bytes], now: float) -> None:
            self._receive(track, datagrams, now, is_rtcp=False)

        def receive_rtcp(datagrams: list[bytes], now: float) -> None:
            self._receive(track, datagrams, now, is_rtcp=True)

        ports.listen(host, client.rtp, receive_rtp, is_rtcp=False)
        ports.listen(host, client.rtcp, receive_rtcp, is_rtcp=True)
        self._ways[track] = _Way(
            rtcp=ports.address(host, client.rtcp),
            client=client,
            receivers=(receive_rtp, receive_rtcp),
        )
        return replace(offer, server_port=PortPair(*ports.numbers))

    def _receive(self, track: int, datagrams: list[bytes], now: float, *, is_rtcp: bool) -> None:
        receiver = self.receiver
        if receiver is None:
            return
        place = self._order.index(track)
        keys = self._keys.get(track)
        if keys is not None and keys.receiver is not None:
            way = keys.receiver.unprotect_rtcp if is_rtcp else keys.receiver.unprotect
            datagrams = way(datagrams)
        if is_rtcp:
            receiver.receive_rtcp(place, datagrams, now)
            self.peer.touch(self.session_id, now)
        else:
            receiver.receive_rtp(place, datagrams, now)
            self.peer.media_received(self.session_id, now)
        self._pump(receiver, now)

    def _forget(self, track: int) -> None:
        way = self._ways.pop(track, None)
        if way is None or way.client is None or way.receivers is None or self._ports is None:
            return
        host = self.peer.address
        self._ports.forget(host, way.client.rtp, way.receivers[0], is_rtcp=False)
        self._ports.forget(host, way.client.rtcp, way.receivers[1], is_rtcp=True)

    def _publisher_ended(self, reason: str) -> None:
        """It was kicked, or somebody else took the name over."""
        self.publisher = None
        self.peer.end_session(self.session_id, reason)
        self.peer.close(reason)
