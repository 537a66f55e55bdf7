"""What a client that plays and one that records have in common. Sans-IO.

Theory of operation. One request is under way at a time, each with a deadline. The session begins
with the first good SETUP (or ANNOUNCE) and is kept alive while media flows: GET_PARAMETER where the
server lists it, else OPTIONS, at half of the session's timeout. A keepalive without an answer is no
fault. A session that ends by a fault of either side is still ended with TEARDOWN: a camera with
few sessions is glad of it. Whatever the peer sends, no verb raises for it: `Closed(reason)` is the
last event, `drops` counts what was thrown away.

A subclass has its own table of transitions and fills in `_answered` and `_receive_frames`.
"""

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Sequence

from flux.base.errors import StateError, WireError
from protocols.rtsp import events, peer_requests
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.exchange import Exchange, Outstanding, status_reason
from protocols.rtsp.message import Request, Response
from protocols.rtsp.options import ClientOptions
from protocols.rtsp.reader import MessageReader
from protocols.rtsp.setup import TrackSetup, session_of
from protocols.rtsp.states import State, Transitions
from protocols.rtsp.url import Url

MAX_TRACKS = 32
MIN_KEEPALIVE_INTERVAL = 1.0
FLOWING = (State.PLAYING, State.RECORDING)
IN_SESSION = (State.SETTING_UP, State.STARTING, *FLOWING)

# Answers to SETUP that some camera gives for a transport that it does not have; 461 is right.
TRANSPORT_REFUSALS = frozenset({400, 406, 451, 461, 500, 501, 551})
METHOD_REFUSALS = frozenset({400, 404, 405, 451, 455, 500, 501, 551})
SESSION_NOT_FOUND = 454


class Dialogue(ABC):
    """One connection to an RTSP server. Verbs in: `connect`, `send_frame`, `close`,
    `receive_data`, `receive_eof`, `handle_timer`. Out: `data_to_send`, `next_event`, `get_timer`.

    `authenticator` holds credentials and the client's nonce; it may be handed on to the next
    connection, which then need not ask first.
    """

    def __init__(
        self,
        url: Url,
        options: ClientOptions,
        authenticator: Authenticator,
        transitions: Transitions,
    ) -> None:
        self._url = self._aggregate = url.request
        self._patience = (options.request_timeout, options.teardown_timeout)
        self._transitions = transitions
        self._exchange = Exchange(authenticator, options.user_agent)
        self._reader = MessageReader()
        self._state = State.NEW
        self._reason = ""  # of an end that we wanted
        self._out: list[bytes] = []
        self._events: deque[events.Event] = deque()
        self._setup: TrackSetup | None = None
        self._keepalive_method = "OPTIONS"
        self._keepalive_interval = options.max_keepalive_interval
        self._keepalive_at = 0.0
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
        """The connection stands: begin."""
        self._go("connect")
        self._request("OPTIONS", self._url, (), now)

    def send_frame(self, channel: int, payload: bytes) -> None:
        """Send one interleaved frame on a channel of ours (section 10.12); 64 KiB at most."""
        if self._state in FLOWING:
            if self._setup is not None:
                channel = self._setup.server_channel(channel)
            self._out.append(b"$%c%b" % (channel, len(payload).to_bytes(2, "big")) + payload)

    def close(self, reason: str, now: float) -> None:
        """End the session: TEARDOWN where there is one, `Closed(reason)` when it is answered."""
        if self._state in (State.LEAVING, State.CLOSED):
            return
        if self._exchange.session_id and "close" in self._transitions.get(self._state, ()):
            self._go("close")
            self._reason = reason
            self._request("TEARDOWN", self._aggregate, (), now)
        else:
            self._end(reason)

    # Verbs of the network.

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes of the connection."""
        if self._state is State.CLOSED:
            return
        fault = ""
        try:
            self._reader.feed(data)
        except WireError as error:
            fault = error.reason
        # Answers first: media may follow the one to PLAY at once. Requests last: an end of the
        # session does not take the media with it that came before.
        messages = self._reader.take_messages()
        for message in messages:
            if isinstance(message, Response):
                self._receive_response(message, now)
        frames = self._reader.take_frames()
        if frames:
            self._receive_frames(frames, now)
        for message in messages:
            if isinstance(message, Request):
                self._receive_request(message, now)
        if fault:
            self._fail(fault)

    def receive_eof(self, now: float) -> None:
        """The connection is gone."""
        del now
        self._end(self._reason or "peer-closed")

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        pending = self._exchange.outstanding
        if pending is not None and now >= pending.deadline_at:
            self._exchange.cancel()
            if self._state is State.LEAVING:
                self._end(self._reason)
            elif self._state in FLOWING:
                self.drops["rtsp-keepalive-unanswered"] += 1
            else:
                self._fail("request-timeout")
        if (
            self._state in FLOWING
            and now >= self._keepalive_at
            and self._exchange.outstanding is None
        ):
            self._request(self._keepalive_method, self._aggregate, (), now)
            self._keepalive_at = now + self._keepalive_interval

    def get_timer(self) -> float | None:
        """When to call handle_timer next, or None."""
        pending = self._exchange.outstanding
        if pending is not None:
            return pending.deadline_at
        return self._keepalive_at if self._state in FLOWING else None

    def data_to_send(self) -> bytes:
        """Bytes for the connection; each is given once."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def next_event(self) -> events.Event | None:
        """The next event, oldest first."""
        return self._events.popleft() if self._events else None

    # What a subclass fills in.

    @abstractmethod
    def _answered(self, response: Response, now: float) -> None:
        """Take the good answer of a state that is the subclass's own."""

    @abstractmethod
    def _receive_frames(self, frames: list[tuple[int, bytes]], now: float) -> None:
        """Take interleaved frames, (server's channel, payload)."""

    @abstractmethod
    def _begin_session(self, now: float) -> None:
        """The answer to OPTIONS is here: go on."""

    @abstractmethod
    def _noticed(self, request: Request, now: float) -> None:
        """Take a request of the server that was answered; the common ones are seen to."""

    @abstractmethod
    def _start(self, setup: TrackSetup, now: float) -> None:
        """Every track is set up: ask for PLAY or RECORD."""

    # What the peer sends.

    def _receive_request(self, request: Request, now: float) -> None:
        if self._state is State.CLOSED:
            return
        if self._request_rate.is_flood(now):
            self._fail("rtsp-request-flood")
            return
        reply = peer_requests.answer(request, self._exchange.session_id)
        self._out.append(reply.serialize())
        if request.method == "TEARDOWN":
            self._end(self._reason or "peer-teardown")
        elif self._state is State.LEAVING:
            return
        elif request.method == "REDIRECT":
            self._redirect(request.headers.get("Location"), 0)
        else:
            self._noticed(request, now)

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
        elif self._state in FLOWING:
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
        else:
            self._answered(response, now)

    def _options_answered(self, response: Response, now: float) -> None:
        """Its answer may be an error, many cameras do not have the method."""
        public = {word.strip().upper() for word in response.headers.get("Public").split(",")}
        if "GET_PARAMETER" in public and 200 <= response.status < 300:
            self._keepalive_method = "GET_PARAMETER"
        self._go("answered")
        self._begin_session(now)

    # Setting up.

    def _set_up(self, setup: TrackSetup, now: float) -> None:
        self._go("set_up")
        self._setup = setup
        self._set_up_next(setup, now)

    def _set_up_next(self, setup: TrackSetup, now: float) -> None:
        if not setup.is_done:
            self._request("SETUP", setup.url, setup.headers(), now)
        elif not setup.tracks:
            self._fail(status_reason(setup.refusal), setup.refusal)
        else:
            self._go("answered")
            self._events.append(events.TracksReady(tuple(setup.tracks), setup.way))
            self._start(setup, now)

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
        if status in TRANSPORT_REFUSALS and not setup.tracks:
            self._go("refused")
            self._setup = None
            self._events.append(events.TransportRefused(status, setup.way))
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

    def _keepalive_answered(self, pending: Outstanding, status: int) -> None:
        if status == SESSION_NOT_FOUND:
            self._fail(status_reason(status), status)
        elif status in METHOD_REFUSALS and pending.method == "GET_PARAMETER":
            self._keepalive_method = "OPTIONS"  # it lists the method but does not have it
        elif not 200 <= status < 300:
            self.drops["rtsp-keepalive-refused"] += 1

    # Ways on and out.

    def _go(self, event: str) -> None:
        following = self._transitions.get(self._state, {}).get(event)
        if following is None:
            raise StateError(f"{event} in state {self._state}")
        self._state = following

    def _request(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        now: float,
        body: bytes = b"",
    ) -> None:
        patience = self._patience[method == "TEARDOWN"]
        self._out.append(self._exchange.request(method, url, headers, now + patience, body))

    def _redirect(self, location: str, status: int) -> None:
        self._events.append(events.Redirected(location))
        self._fail("rtsp-redirected", status)

    def _fail(self, reason: str, status: int = 0) -> None:
        """End by a fault."""
        if self._state in IN_SESSION and self._exchange.session_id and status != SESSION_NOT_FOUND:
            self._out.append(self._exchange.request("TEARDOWN", self._aggregate, (), 0.0))
        self._end(self._reason or reason, status)

    def _end(self, reason: str, status: int = 0) -> None:
        if self._state is not State.CLOSED:
            self._state = State.CLOSED
            self._exchange.cancel()
            self._events.append(events.Closed(reason, status))
