"""The pull machine: a client of RFC 2326 (1.0) that plays one presentation. Sans-IO.

Theory of operation. After `connect` the machine asks OPTIONS (for the keepalive method; its answer
may be an error, many cameras have none) and DESCRIBE, then it stops at *described*: its owner
reads the description and calls `set_up` with the control attributes of the tracks it wants. One
SETUP a track, PLAY, and the media flows until somebody ends it. One request is under way at a
time, each with a deadline. While playing, a keepalive goes out at half the session's timeout; one
without an answer is no fault, the media timeout is the judge of life.

    new -connect-> options -answered-> describing -answered-> described -set_up-> setting-up
    setting-up -answered-> starting -answered-> playing -close-> leaving -answered-> closed
    setting-up -refused-> described     (another transport may be tried on the same connection)
    any state with a fault -> closed    (with a TEARDOWN to be sent where there is a session)

Whatever the peer sends, no verb raises for it: `Closed(reason)` is the last event, `drops` counts
what was thrown away.
"""

from collections import Counter, deque
from collections.abc import Sequence

from flux.base.errors import StateError, WireError
from protocols.rtsp import events, peer_requests
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.exchange import Exchange, Outstanding, status_reason
from protocols.rtsp.message import Request, Response
from protocols.rtsp.options import PullOptions
from protocols.rtsp.reader import MessageReader
from protocols.rtsp.rtp_info import match_tracks, parse_rtp_info
from protocols.rtsp.setup import TrackSetup, session_of
from protocols.rtsp.states import TRANSITIONS, State
from protocols.rtsp.transport import PortPair
from protocols.rtsp.url import Url, base_url, resolve_control

MAX_TRACKS = 32
MAX_EARLY_FRAMES = 1024  # media that overtakes the answer to PLAY
MIN_KEEPALIVE_INTERVAL = 1.0

# Answers to SETUP that some camera gives for a transport that it does not have; 461 is right.
TRANSPORT_REFUSALS = frozenset({400, 406, 451, 461, 500, 501, 551})
METHOD_REFUSALS = frozenset({400, 404, 405, 451, 455, 500, 501, 551})
SESSION_NOT_FOUND = 454


class PullConnection:
    """One connection to an RTSP server. Verbs in: `connect`, `set_up`, `send_frame`, `close`,
    `receive_data`, `media_received`, `receive_eof`, `handle_timer`. Out: `data_to_send`,
    `next_event`, `take_packets`, `get_timer`.

    `authenticator` holds credentials and the client's nonce; it may be handed on to the next
    connection, which then need not ask first.
    """

    def __init__(self, url: Url, options: PullOptions, authenticator: Authenticator) -> None:
        self._url = url.request
        self._options = options
        self._exchange = Exchange(authenticator, options.user_agent)
        self._reader = MessageReader()
        self._state = State.NEW
        self._reason = ""  # of an end that we wanted
        self._out: list[bytes] = []
        self._events: deque[events.Event] = deque()
        self._packets: list[tuple[int, bytes]] = []
        self._base = self._aggregate = self._url
        self._setup: TrackSetup | None = None
        self._keepalive_method = "OPTIONS"
        self._keepalive_interval = options.max_keepalive_interval
        self._keepalive_at = self._media_at = 0.0
        self._request_rate = peer_requests.RequestRate()
        self.drops: Counter[str] = Counter()

    @property
    def state(self) -> State:
        """Where the machine is."""
        return self._state

    @property
    def junk_bytes(self) -> int:
        """Bytes that belonged to no message and no frame."""
        return self._reader.junk_bytes

    # Verbs of the owner.

    def connect(self, now: float) -> None:
        """The TCP connection stands: begin."""
        self._go("connect")
        self._request("OPTIONS", self._url, (), now)

    def set_up(
        self,
        controls: Sequence[str | None],
        aggregate: str | None,
        now: float,
        ports: Sequence[PortPair] = (),
    ) -> None:
        """Set up and play the tracks with these control attributes.

        `aggregate` is the control attribute of the session. With `ports`, one pair a track, the
        media comes by UDP to them, else interleaved on channels 2 x index and 2 x index + 1.
        """
        if not 0 < len(controls) <= MAX_TRACKS or (ports and len(ports) != len(controls)):
            raise StateError("no tracks, too many, or not one port pair each")
        self._go("set_up")
        self._aggregate = resolve_control(self._base, aggregate or "*")
        urls = [resolve_control(self._base, control or "*") for control in controls]
        self._setup = TrackSetup(urls, tuple(ports))
        self._set_up_next(self._setup, now)

    def send_frame(self, channel: int, payload: bytes) -> None:
        """Send one interleaved frame, our RTCP (section 10.12); 64 KiB at most."""
        if self._state is State.PLAYING:
            if self._setup is not None:
                channel = self._setup.server_channel(channel)
            self._out.append(b"$%c%b" % (channel, len(payload).to_bytes(2, "big")) + payload)

    def close(self, reason: str, now: float) -> None:
        """End the session: TEARDOWN where there is one, `Closed(reason)` when it is answered."""
        if self._state in (State.LEAVING, State.CLOSED):
            return
        if self._exchange.session_id and "close" in TRANSITIONS[self._state]:
            self._go("close")
            self._reason = reason
            self._packets.clear()
            self._request("TEARDOWN", self._aggregate, (), now)
        else:
            self._end(reason)

    # Verbs of the network.

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes of the TCP connection."""
        if self._state is State.CLOSED:
            return
        fault = ""
        try:
            self._reader.feed(data)
        except WireError as error:
            fault = error.reason
        for message in self._reader.take_messages():
            if isinstance(message, Response):
                self._receive_response(message, now)
            else:
                self._receive_request(message, now)
        frames = self._reader.take_frames()
        if frames:
            self._receive_frames(frames, now)
        if fault:
            self._fail(fault)

    def receive_eof(self, now: float) -> None:
        """The TCP connection is gone."""
        self._end(self._reason or "peer-closed")

    def media_received(self, now: float) -> None:
        """An RTP packet came by UDP: the media is alive."""
        self._media_at = now + self._options.media_timeout

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        pending = self._exchange.outstanding
        if pending is not None and now >= pending.deadline_at:
            self._exchange.cancel()
            if self._state is State.LEAVING:
                self._end(self._reason)
            elif self._state is State.PLAYING:
                self.drops["rtsp-keepalive-unanswered"] += 1
            else:
                self._fail("request-timeout")
        if self._state is not State.PLAYING:
            return
        if now >= self._media_at:
            self._fail("media-timeout")
        elif now >= self._keepalive_at and self._exchange.outstanding is None:
            self._request(self._keepalive_method, self._aggregate, (), now)
            self._keepalive_at = now + self._keepalive_interval

    def get_timer(self) -> float | None:
        """When to call handle_timer next, or None."""
        pending = self._exchange.outstanding
        if self._state is State.PLAYING:
            other = pending.deadline_at if pending is not None else self._keepalive_at
            return min(self._media_at, other)
        return pending.deadline_at if pending is not None else None

    def data_to_send(self) -> bytes:
        """Bytes for the TCP connection; each is given once."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def next_event(self) -> events.Event | None:
        """The next event, oldest first."""
        return self._events.popleft() if self._events else None

    def take_packets(self) -> list[tuple[int, bytes]]:
        """(our channel, payload) of the interleaved frames since the last call; the caller's list.

        Empty until `Playing` was given out: what overtakes the answer to PLAY waits.
        """
        if self._state is not State.PLAYING:
            return []
        packets = self._packets
        if packets:
            self._packets = []
        return packets

    # What the peer sends.

    def _receive_frames(self, frames: list[tuple[int, bytes]], now: float) -> None:
        setup = self._setup
        if setup is None or setup.is_udp:
            self.drops["rtsp-unexpected-frame"] += len(frames)
            return
        if setup.channels:
            mapped = setup.channels
            frames = [(mapped.get(channel, channel), payload) for channel, payload in frames]
        if self._state is State.PLAYING:
            for channel, _ in frames:
                if not channel & 1:  # RTP; RTCP alone is no sign of media
                    self._media_at = now + self._options.media_timeout
                    break
            self._packets = self._packets + frames if self._packets else frames
        elif self._state is State.STARTING and len(self._packets) < MAX_EARLY_FRAMES:
            self._packets += frames[: MAX_EARLY_FRAMES - len(self._packets)]
        elif self._state is not State.LEAVING:
            self.drops["rtsp-unexpected-frame"] += len(frames)

    def _receive_request(self, request: Request, now: float) -> None:
        if self._state is State.CLOSED:
            return
        if self._request_rate.is_flood(now):
            self._fail("rtsp-request-flood")
            return
        reply = peer_requests.answer(request, self._exchange.session_id)
        self._out.append(reply.serialize())
        if request.method == "ANNOUNCE" and self._state is not State.LEAVING:
            self._events.append(events.Announced(request.body))
        elif request.method == "REDIRECT" and self._state is not State.LEAVING:
            self._redirect(request.headers.get("Location"), 0)
        elif request.method == "TEARDOWN":
            self._end(self._reason or "peer-teardown")

    def _receive_response(self, response: Response, now: float) -> None:
        pending, retry = self._exchange.receive(response)
        if retry:
            self._out.append(retry)
        if pending is None or self._state is State.CLOSED:
            return
        status = response.status
        location = response.headers.get("Location")
        if self._state is State.LEAVING:
            self._end(self._reason)
        elif self._state is State.PLAYING:
            self._keepalive_answered(pending, status)
        elif status == 401:
            self._fail(self._exchange.challenge_failed, status)
        elif 300 <= status < 400 and location:
            self._redirect(location, status)
        elif self._state is State.OPTIONS:
            self._options_answered(response, now)
        elif self._state is State.SETTING_UP and self._setup is not None:
            self._setup_answered(self._setup, response, now)
        elif not 200 <= status < 300:
            self._fail(status_reason(status), status)
        elif self._state is State.DESCRIBING:
            self._described(response)
        elif self._state is State.STARTING and self._setup is not None:
            self._started(self._setup, response, now)

    def _options_answered(self, response: Response, now: float) -> None:
        public = {word.strip().upper() for word in response.headers.get("Public").split(",")}
        if "GET_PARAMETER" in public and 200 <= response.status < 300:
            self._keepalive_method = "GET_PARAMETER"
        self._go("answered")
        self._request("DESCRIBE", self._url, (("Accept", "application/sdp"),), now)

    def _described(self, response: Response) -> None:
        if not response.body.strip():
            self._fail("rtsp-no-sdp")
            return
        headers = response.headers
        content_base, location = headers.get("Content-Base"), headers.get("Content-Location")
        self._base = base_url(self._url, content_base, location)
        self._go("answered")
        self._events.append(events.Described(self._base, response.body))

    def _set_up_next(self, setup: TrackSetup, now: float) -> None:
        if not setup.is_done:
            value = setup.transport().serialize()
            self._request("SETUP", setup.url, (("Transport", value),), now)
        elif not setup.tracks:
            self._fail(status_reason(setup.refusal), setup.refusal)
        else:
            self._go("answered")
            self._events.append(events.TracksReady(tuple(setup.tracks), setup.is_udp))
            self._request("PLAY", self._aggregate, (("Range", "npt=0.000-"),), now)

    def _setup_answered(self, setup: TrackSetup, response: Response, now: float) -> None:
        status = response.status
        if status == SESSION_NOT_FOUND:
            self._fail(status_reason(status), status)
            return
        if 200 <= status < 300:
            if setup.accept(response):
                self._take_session(response)
            else:
                status = 461
        if status in TRANSPORT_REFUSALS and not setup.tracks and not self._exchange.session_id:
            self._go("refused")
            self._setup = None
            self._events.append(events.TransportRefused(status, setup.is_udp))
            return
        if not 200 <= status < 300:
            setup.refusal = status
            self._events.append(events.TrackRefused(setup.index, status))
        setup.index += 1
        self._set_up_next(setup, now)

    def _take_session(self, response: Response) -> None:
        session = session_of(response)
        if session is not None:
            self._exchange.session_id = session.id
            half = max(session.timeout / 2, MIN_KEEPALIVE_INTERVAL)
            self._keepalive_interval = min(self._keepalive_interval, half)

    def _started(self, setup: TrackSetup, response: Response, now: float) -> None:
        self._go("answered")
        self._keepalive_at = now + self._keepalive_interval
        self._media_at = now + self._options.media_timeout
        entries = parse_rtp_info(",".join(response.headers.get_all("RTP-Info")))
        ready = [track.track_index for track in setup.tracks]
        matched = match_tracks(entries, [setup.urls[index] for index in ready])
        by_index = dict(zip(ready, matched, strict=True))
        infos = tuple(by_index.get(index) for index in range(len(setup.urls)))
        self._events.append(events.Playing(infos))

    def _keepalive_answered(self, pending: Outstanding, status: int) -> None:
        if status == SESSION_NOT_FOUND:
            self._fail(status_reason(status), status)
        elif status in METHOD_REFUSALS and pending.method == "GET_PARAMETER":
            self._keepalive_method = "OPTIONS"  # it lists the method but does not have it
        elif not 200 <= status < 300:
            self.drops["rtsp-keepalive-refused"] += 1

    # Ways on and out.

    def _go(self, event: str) -> None:
        following = TRANSITIONS[self._state].get(event)
        if following is None:
            raise StateError(f"{event} in state {self._state}")
        self._state = following

    def _request(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], now: float
    ) -> None:
        options = self._options
        is_end = method == "TEARDOWN"
        patience = options.teardown_timeout if is_end else options.request_timeout
        self._out.append(self._exchange.request(method, url, headers, now + patience))

    def _redirect(self, location: str, status: int) -> None:
        self._events.append(events.Redirected(location))
        self._fail("rtsp-redirected", status)

    def _fail(self, reason: str, status: int = 0) -> None:
        """End by a fault. A camera with few sessions is glad of a TEARDOWN all the same."""
        if self._state in (State.SETTING_UP, State.STARTING, State.PLAYING) and (
            self._exchange.session_id and status != SESSION_NOT_FOUND
        ):
            self._out.append(self._exchange.request("TEARDOWN", self._aggregate, (), 0.0))
        self._end(self._reason or reason, status)

    def _end(self, reason: str, status: int = 0) -> None:
        if self._state is not State.CLOSED:
            self._state = State.CLOSED
            self._exchange.cancel()
            self._packets.clear()
            self._events.append(events.Closed(reason, status))
