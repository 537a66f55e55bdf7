"""A stand-in for what answers an RTSP server's questions, and a bench to put the machine on.

Requests are written as text here and replies parsed by a parser of the tests' own.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TypeVar

from protocols.rtsp import server_events as ask
from protocols.rtsp.server_connection import ServerConnection
from protocols.rtsp.server_options import ServerOptions
from protocols.rtsp.server_target import track_of
from protocols.rtsp.transport import TCP, PortPair

Kind = TypeVar("Kind", bound=ask.Event)

SDP = b"v=0\r\ns=live\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=control:trackID=0\r\n"
URL = "rtsp://server:8554/live/cam"
ADDRESS = "192.0.2.7"
TCP_01 = "RTP/AVP/TCP;unicast;interleaved=0-1"
TCP_23 = "RTP/AVP/TCP;unicast;interleaved=2-3"
UDP_OFFER = "RTP/AVP;unicast;client_port=5000-5001"


@dataclass
class Reply:
    """One reply as a client sees it."""

    status: int
    phrase: str
    headers: dict[str, str]  # lower-case names; several values of one name joined by ", "
    body: bytes

    def __getitem__(self, name: str) -> str:
        return self.headers[name.lower()]

    def __contains__(self, name: str) -> bool:
        return name.lower() in self.headers

    @property
    def session(self) -> str:
        """The id of the Session header, or nothing."""
        return self.headers.get("session", "").partition(";")[0]


def parse_replies(data: bytes) -> list[Reply]:
    """Every reply of a byte stream in which nothing else stands."""
    replies = []
    while data:
        head, mark, data = data.partition(b"\r\n\r\n")
        assert mark, head
        first, *lines = head.decode().split("\r\n")
        match = re.fullmatch(r"RTSP/1\.0 (\d{3}) (.+)", first)
        assert match is not None, first
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(": ")
            assert colon, line
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        length = int(headers.get("content-length", "0"))
        replies.append(Reply(int(match[1]), match[2], headers, data[:length]))
        assert len(replies[-1].body) == length
        data = data[length:]
    return replies


def request(method: str, url: str = URL, body: bytes = b"", **headers: object) -> bytes:
    """The bytes of a request; underscores in names of headers become hyphens."""
    lines = [f"{method} {url} RTSP/1.0"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def frame(channel: int, payload: bytes) -> bytes:
    """One interleaved frame."""
    return b"$" + bytes([channel]) + len(payload).to_bytes(2, "big") + payload


@dataclass
class App:
    """Answers as a server would that has the streams `sdps`, and takes every publisher."""

    sdps: dict[str, bytes] = field(default_factory=lambda: {"live/cam": SDP})
    controls: tuple[str, ...] = ("trackID=0", "trackID=1")
    transports: tuple[str, ...] = ("TCP", "UDP", "multicast")
    passwords: dict[str, str] = field(default_factory=dict)
    points: dict[int, ask.PlayPoint] = field(default_factory=dict)
    held: set[type[ask.Asked]] = field(default_factory=set)  # questions that it does not answer
    announced: dict[str, str] = field(default_factory=dict)  # base URL by session

    def reply(self, event: ask.Asked) -> ask.Reply | None:
        """The answer; None for later."""
        if type(event) in self.held:
            return None
        if self.passwords and not isinstance(event, ask.PauseAsked):
            known = event.credentials
            if known is None or not known.matches(self.passwords.get(known.user, "\0")):
                return ask.Unauthorized()
        if isinstance(event, ask.DescribeAsked):
            sdp = self.sdps.get(event.target.path)
            return ask.Refusal(404, "stream-unknown") if sdp is None else ask.Description(sdp)
        if isinstance(event, ask.AnnounceAsked):
            self.announced[event.session_id] = event.target.base
            return ask.Done()
        if isinstance(event, ask.SetupAsked):
            return self._set_up(event)
        if isinstance(event, ask.PlayAsked):
            return ask.Started(self.points)
        return ask.Done()

    def _set_up(self, event: ask.SetupAsked) -> ask.Reply:
        if not event.is_record and event.target.path not in self.sdps:
            return ask.Refusal(404, "stream-unknown")
        base = self.announced.get(event.session_id, "")
        if not base:
            path, query = event.target.path, event.target.query
            base = f"rtsp://server/{path}{'?' + query if query else ''}/"
        track = track_of(event.target.url, base, self.controls)
        if track is None:
            return ask.Refusal(404, "track-unknown")
        for offer in event.offers:
            way = "multicast" if offer.is_multicast else offer.lower
            if way not in self.transports:
                continue
            if offer.is_multicast:
                ports = PortPair(7000, 7001)
                chosen = replace(offer, destination="239.1.1.1", port=ports, ttl=16)
            elif offer.lower == TCP:
                chosen = replace(offer, ssrc=0xCAFE0000 + track)
            else:
                chosen = replace(offer, server_port=PortPair(8000, 8001), ssrc=0xCAFE0000 + track)
            return ask.Chosen(track, chosen)
        return ask.Refusal(461)


@dataclass
class Bench:
    """A machine with its application, in virtual time. `cut` makes one read into several."""

    app: App = field(default_factory=App)
    options: ServerOptions = field(default_factory=ServerOptions)
    cut: Callable[[bytes], Sequence[bytes]] = lambda data: [data]
    now: float = 100.0
    address: str = ADDRESS
    events: list[ask.Event] = field(default_factory=list)
    packets: list[tuple[int, bytes]] = field(default_factory=list)
    sent: bytes = b""  # everything that the machine has sent

    def __post_init__(self) -> None:
        numbers = count(1)
        self.machine = ServerConnection(
            self.options, lambda: f"token{next(numbers):04}", self.address, self.now
        )
        self._cseq = count(1)

    def feed(self, data: bytes) -> bytes:
        """Bytes of the client; what the machine says to them."""
        before = len(self.sent)
        for piece in self.cut(data):
            self.machine.receive_data(piece, self.now)
            self.pump()
        return self.sent[before:]

    def pump(self) -> None:
        """What the owner of a machine does after each verb."""
        while True:
            event = self.machine.next_event()
            self.packets += self.machine.take_packets()
            if event is None:
                break
            self.events.append(event)
            if isinstance(event, ask.Asked):
                reply = self.app.reply(event)
                if reply is not None:
                    self.answer(event, reply)
        self.sent += self.machine.data_to_send()

    def answer(self, event: ask.Asked, reply: ask.Reply) -> bool:
        """One answer; its bytes are sent first, as the shell does."""
        done = self.machine.answer(event.handle, reply, self.now)
        self.sent += self.machine.data_to_send()
        return done

    def later(self, reply: ask.Reply) -> tuple[bool, list[Reply]]:
        """Answer the last question now; what was sent then."""
        before = len(self.sent)
        done = self.answer(self.asked(ask.Asked), reply)
        self.pump()
        return done, parse_replies(self.sent[before:])

    def ask(self, method: str, url: str = URL, body: bytes = b"", **headers: object) -> Reply:
        """One request with the next CSeq and its only reply."""
        headers.setdefault("CSeq", next(self._cseq))
        replies = parse_replies(self.feed(request(method, url, body, **headers)))
        assert len(replies) == 1, replies
        return replies[0]

    def run(self, until: float) -> None:
        """Move time on, timer by timer."""
        while (due := self.machine.get_timer()) is not None and due <= until:
            assert due >= self.now - 1e-6
            self.now = max(self.now, due)
            self.machine.handle_timer(self.now)
            self.pump()
        self.now = until

    def asked(self, kind: type[Kind]) -> Kind:
        """The last event of a kind."""
        return next(event for event in reversed(self.events) if isinstance(event, kind))

    def set_up(self, *transports: str, session: str = "") -> str:
        """Set up one track after the other; the session's id."""
        for index, transport in enumerate(transports):
            url = f"{URL}/trackID={index}"
            if session:
                reply = self.ask("SETUP", url, Transport=transport, Session=session)
            else:
                reply = self.ask("SETUP", url, Transport=transport)
            assert reply.status == 200, reply
            session = reply.session
        return session

    def play(self, *transports: str) -> str:
        """A session that plays."""
        session = self.set_up(*transports)
        assert self.ask("PLAY", Session=session).status == 200
        return session

    def announce(self, *transports: str, url: str = "rtsp://server/pub") -> str:
        """A publisher's session with these transports, before RECORD."""
        session = self.ask("ANNOUNCE", url, SDP, Content_Type="application/sdp").session
        for index, transport in enumerate(transports):
            reply = self.ask(
                "SETUP", f"{url}/trackID={index}", Transport=transport, Session=session
            )
            assert reply.status == 200, reply
        return session

    @property
    def end(self) -> str:
        """Why the connection ended, or nothing."""
        last = self.events[-1] if self.events else None
        return last.reason if isinstance(last, ask.ConnectionEnded) else ""

    @property
    def ended(self) -> list[tuple[str, str]]:
        """The sessions that ended, and why."""
        return [(e.session_id, e.reason) for e in self.events if isinstance(e, ask.SessionEnded)]
