"""The SRT server: publishers and readers on one UDP port.

What a caller wants stands in its stream id. It is asked about at admission, then the stream is
looked for, and only then the caller gets its answer: in, or a reject code that says why not. The
passphrase is chosen by stream and direction; the handshake itself refuses who has another one.

    refused because                          code
    the stream id cannot be read             1400
    credentials are missing or wrong         1401
    too many sessions, the server is busy    1402
    not allowed                              1403
    no such stream                           1404
    neither publish nor request              1405
    somebody else publishes there            1409
    nothing in the stream can be carried     1415
    the source does not start, no room       1503
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

from config.names import check_stream_name
from flux.base.errors import WireError
from flux.bridges.srt.banned import BannedCallers
from flux.bridges.srt.publisher import SrtPublisher
from flux.bridges.srt.reader import PROTOCOL, SrtReader, code_of
from flux.bridges.srt.sessions import SrtSessions
from flux.core.admission import PUBLISH, READ, AccessRequest, Admission, Verdict
from flux.net.resolve import host_of
from media.events import ReaderRefused
from media.feed_reader import START_GOP
from media.router import Router
from media.stream import Emit
from protocols.srt.endpoint import Endpoint, EndpointOptions
from protocols.srt.options import (
    Control,
    GroupType,
    ListenerOptions,
    Mode,
    Options,
    SecurityOptions,
)
from protocols.srt.reception import IncomingCall, group_key
from protocols.srt.reject import Reject, slug_of
from protocols.srt.stream_id import Action, StreamRequest

BANNED = "address-banned"  # the verdict on who failed too often
IGNORED = "srt-banned"
WRONG_SECRET = slug_of(Reject.BAD_SECRET)
MAX_TOLD = 20  # refusals a second that are an event; all of them are counted


@dataclass(frozen=True, slots=True)
class Passphrases:
    """Of one stream; empty: in the clear."""

    publish: str = field(default="", repr=False)
    read: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SrtBridgeOptions:
    """What configuration says of the server."""

    host: str = ""
    port: int = 8890
    latency_ms: int = 120
    read_latency_ms: int = 0
    key_bytes: int = 16
    start: str = START_GOP
    media_timeout: float = 10.0
    idle_timeout: float = 5.0
    max_sessions: int = 4096
    connections_per_address: int = 1024  # 0: no limit
    receive_buffer_bytes: int = 4 << 20
    passphrases_of: Callable[[str], Passphrases] = lambda name: Passphrases()
    is_adaptive: Callable[[str], bool] = lambda name: False  # whether readers are paced by AIMD
    failure_delay: float = 0.0  # how late a wrong passphrase is answered


class SrtBridge:
    """Owns the endpoint and every session on it."""

    def __init__(
        self,
        router: Router,
        admission: Admission,
        emit: Emit,
        options: SrtBridgeOptions,
        sessions: SrtSessions | None = None,
    ) -> None:
        """`sessions` may be shared with sources and forwards."""
        self._router = router
        self._admission = admission
        self._emit = emit
        self.options = options
        self.sessions = SrtSessions() if sessions is None else sessions
        self._endpoint: Endpoint | None = None
        self._numbers = count(1)
        # By stream, from their acceptance on. A name is taken by who is connected: one who has not
        # shown yet that he knows the passphrase keeps nobody out.
        self._publishers: dict[str, list[SrtPublisher]] = {}
        self._asking: dict[tuple[int, GroupType, str], SrtReader] = {}  # of groups, by their key
        self._banned = BannedCallers()
        self._told, self._told_at = 0, 0.0  # refusals, in the second that began then
        self.address: tuple[str, int] = ("", 0)  # as bound

    async def start(self) -> None:
        """Bind. Raises PeerError."""
        options = self.options
        endpoint = Endpoint.bind(
            options.host,
            options.port,
            EndpointOptions(
                receive_buffer_bytes=options.receive_buffer_bytes, max_links=options.max_sessions
            ),
        )
        listener = ListenerOptions(
            key_bytes=options.key_bytes,
            is_group_allowed=True,
            max_accepted_per_host=options.connections_per_address or options.max_sessions,
            wrong_secret_delay=options.failure_delay,
        )
        endpoint.listen(listener, self._called)
        self._endpoint = endpoint
        self.address = endpoint.local[0], endpoint.port

    async def stop(self) -> None:
        """End every session, then the socket."""
        if self._endpoint is not None:
            self._endpoint.close("server-stopping")
            self._endpoint = None

    @property
    def connections(self) -> int:
        """How many links there are."""
        return len(self._endpoint.links) if self._endpoint is not None else 0

    @property
    def is_clamped(self) -> bool:
        """Whether the kernel gave less receive buffer than asked."""
        return self._endpoint is not None and self._endpoint.is_clamped

    def refusals(self) -> Counter[str]:
        """Handshakes and datagrams that came to nothing, by reason."""
        return self._endpoint.figures() if self._endpoint is not None else Counter()

    # -- callers -----------------------------------------------------------------------------

    def _called(self, call: IncomingCall) -> None:
        """Somebody with a valid cookie wants in."""
        request = call.request
        if request.mode != Mode.LIVE:
            self._refuse(call, "", "srt-message-api", Reject.MESSAGE_API)
            return
        try:
            wish = StreamRequest.parse(request.stream_id)
            check_stream_name(wish.name)
        except WireError as error:
            is_mode = error.reason == "stream-id-mode"
            code = Reject.BAD_MODE if is_mode else Reject.BAD_REQUEST
            self._refuse(call, "", error.reason, code)
            return
        except ValueError:
            self._refuse(call, "", "stream-name-invalid", Reject.BAD_REQUEST)
            return
        session = f"{PROTOCOL}-{next(self._numbers)}"
        is_publish = wish.action is Action.PUBLISH
        access = AccessRequest(
            PUBLISH if is_publish else READ,
            wish.name,
            PROTOCOL,
            host_of(request.peer),
            query=request.stream_id,
            user_agent=agent_of(request.peer_version),
            user=wish.user,
            password=wish.password,
            session=session,
            token=wish.token,
        )

        def decided(verdict: Verdict) -> None:
            if not verdict.allowed:
                self._turn_away(call, verdict)
            elif call.group is not None:
                call.join()
            elif is_publish:
                self._publish(call, access)
            else:
                self._read(call, access, wish.start or self.options.start)

        self._admission.admit(access, decided)

    def _turn_away(self, call: IncomingCall, verdict: Verdict) -> None:
        """Who is not allowed gets the code; one who is banned and goes on asking gets nothing."""
        address = host_of(call.request.peer)
        if verdict.reason == BANNED and not self._banned.is_answered(address, time.monotonic()):
            call.ignore(IGNORED)
        else:
            call.reject(code_of(verdict.status))

    def _failed(self, call: IncomingCall, access: AccessRequest, reason: str) -> None:
        """A handshake came to nothing; a wrong passphrase is as bad as a wrong password."""
        self._tell(call, access.stream, reason)
        if reason == WRONG_SECRET:
            self._admission.failed(access, reason)

    def _publish(self, call: IncomingCall, access: AccessRequest) -> None:
        router, name = self._router, access.stream
        if router.find(name) is None and not router.resolve_published(name):
            self._refuse(call, name, "stream-not-found", Reject.NOT_FOUND)
            return
        declared = router.declared(name)
        takes_over = declared is not None and declared.take_over
        comers = self._publishers.get(name, [])
        is_taken = router.is_taken(name) or any(each.link for each in comers)
        if is_taken and not takes_over:
            self._refuse(call, name, "name-taken", Reject.CONFLICT)
            return

        def over(reason: str, code: int) -> None:
            del code
            if publisher.link is None:
                self._failed(call, access, reason)
            others = [each for each in self._publishers.pop(name, []) if each is not publisher]
            if others:
                self._publishers[name] = others

        publisher = SrtPublisher(
            name,
            agent_of(call.request.peer_version),
            router,
            self.sessions,
            self.options.media_timeout,
            over,
        )
        self._publishers[name] = [*comers, publisher]
        secret = self.options.passphrases_of(name).publish
        call.accept(self._options(secret, self.options.latency_ms, 0), publisher)

    def _read(self, call: IncomingCall, access: AccessRequest, start: str) -> None:
        name = access.stream
        if self._router.lookup(name) is None:
            self._refuse(call, name, "stream-not-found", Reject.NOT_FOUND)
            return
        key = group_key(call.request)
        asking = self._asking.get(key) if call.request.group is not None else None
        if asking is not None and asking.is_asking:
            asking.add(call)
            return
        secret = self.options.passphrases_of(name).read
        options = self._options(secret, 0, self.options.read_latency_ms)
        if self.options.is_adaptive(name):
            options = replace(options, control=Control.AIMD)
        reader = SrtReader(
            access.session,
            name,
            call.request.peer,
            agent_of(call.request.peer_version),
            start,
            self._emit,
            self.sessions,
            lambda reason: self._failed(call, access, reason),
        )
        reader.enter(self._router, call, options)
        if call.request.group is not None and reader.is_asking:
            self._asking = {k: each for k, each in self._asking.items() if each.is_asking}
            self._asking[key] = reader

    def _refuse(self, call: IncomingCall, name: str, reason: str, code: Reject) -> None:
        call.reject(code)
        self._tell(call, name, reason)

    def _tell(self, call: IncomingCall, name: str, reason: str) -> None:
        """Say that somebody was refused, at most `MAX_TOLD` times a second."""
        now = time.monotonic()
        if now - self._told_at >= 1.0:
            self._told_at, self._told = now, 0
        self._told += 1
        if self._told <= MAX_TOLD:
            self._emit(ReaderRefused(name, PROTOCOL, host_of(call.request.peer), reason))

    def _options(self, passphrase: str, latency_ms: int, peer_latency_ms: int) -> Options:
        return Options(
            receive_latency_ms=latency_ms,
            peer_latency_ms=peer_latency_ms,
            idle_timeout=self.options.idle_timeout,
            security=SecurityOptions(passphrase=passphrase),
        )


def agent_of(version: int) -> str:
    """What a peer's library calls itself."""
    return f"srt/{version >> 16 & 255}.{version >> 8 & 255}.{version & 255}"
