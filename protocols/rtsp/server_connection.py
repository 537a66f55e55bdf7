"""The server's machine: one connection of a client of RFC 2326 (1.0). Sans-IO.

Theory of operation. Requests are taken one after the other. What only concerns the protocol is
answered here: OPTIONS, keepalives, TEARDOWN, and everything that is wrong with a request whatever
it is about. The others become an `Asked` event and wait for `answer`; those behind them wait, too.
After any verb the owner calls `next_event` and `take_packets` by turns (the packets came before the
event) until there is no event, then `data_to_send` and `get_timer`; after `answer` it sends
`data_to_send` first, before any media that the answer lets go. So the reply to PLAY is in front of
the media, and that to TEARDOWN behind the last of it.

Sessions belong to their connection and end with it. There may be several, as clients need it:
ffmpeg that gets nothing by UDP pauses that session and sets up a second one by TCP on the same
connection. A request without a Session header is taken for the only session there is, if there is
only one (section 12.37 wants 454; small clients forget the header, and nobody is hurt); SETUP
without one always begins a new session, but for a publisher's after ANNOUNCE. An id of another
connection is unknown here: 454.

Interleaved frames are given out where a session plays or records on their channel. Others that come
behind a request which is not answered yet take their place in its queue: a publisher need not wait
for the answer to RECORD. All else is dropped: frames of nobody, those of a paused session.

Whatever the peer sends, no verb raises for it. `drops` counts what was thrown away or refused by
rule; `ConnectionEnded(reason)` is the last event.
"""

from collections import Counter, deque
from collections.abc import Callable

from flux.base.errors import WireError
from protocols.rtsp.message import Request
from protocols.rtsp.reader import MessageReader
from protocols.rtsp.server_answers import Answers
from protocols.rtsp.server_dispatch import Dispatcher
from protocols.rtsp.server_events import (
    Asked,
    ConnectionEnded,
    Event,
    Refusal,
    Reply,
    SessionEnded,
)
from protocols.rtsp.server_options import ServerOptions
from protocols.rtsp.server_replies import Replies
from protocols.rtsp.server_requests import RequestQueue
from protocols.rtsp.server_session import ServerSession
from protocols.rtsp.server_states import SessionState
from protocols.rtsp.server_table import SessionTable

TLS_HANDSHAKE = 0x16
NO_ANSWER = Refusal(503, "no-answer")
FAULT_STATUS = {"rtsp-body-too-long": 413}

Frames = list[tuple[int, bytes]]


class ServerConnection:
    """One connection of a client at `address`; UDP leads nowhere else.

    `token` gives a fresh unguessable word each time (session ids, nonces), `date` the value of
    the Date header; `refused` counts refusals by reason, for all who share it.
    """

    def __init__(
        self,
        options: ServerOptions,
        token: Callable[[], str],
        address: str,
        now: float,
        date: Callable[[], str] | None = None,
        refused: Counter[str] | None = None,
    ) -> None:
        self._options = options
        self._reader = MessageReader(is_server=True)
        self._queue = RequestQueue(options)
        self._table = SessionTable()
        self._replies = Replies(options, date, Counter() if refused is None else refused)
        self._events: deque[Event] = deque()
        self._dispatcher = Dispatcher(
            options, token, address, self._table, self._queue, self._replies, self._events.append
        )
        self._answers = Answers(options, address, self._table, self._dispatcher.desk, self._replies)
        self._out: list[bytes] = []
        self._packets: Frames = []
        self._unexpected_bytes = 0  # of frames of nobody, since the last session began
        self._now = now
        self._heard_at = now
        self._part_at: float | None = None  # when the message began that is not whole yet
        self._fault = ""  # the stream cannot be read on
        self._has_ended = False
        self.drops: Counter[str] = Counter()

    @property
    def junk_bytes(self) -> int:
        """Bytes that belonged to no message and no frame."""
        return self._reader.junk_bytes

    @property
    def sessions(self) -> tuple[str, ...]:
        """The ids of the sessions that there are."""
        return tuple(session.id for session in self._table)

    # Verbs of the application.

    def answer(self, handle: int, reply: Reply, now: float) -> bool:
        """Answer a question. False: it waits no more (answered, expired, its session or the
        connection gone), and nothing came of the reply.

        Raises StateError for a reply that does not fit the request; it waits on.
        """
        waiting = self._queue.waiting
        if waiting is None or waiting.event.handle != handle:
            return False
        self._answers.check(waiting, reply)
        self._now = now
        return self._reply(reply, now)

    def touch(self, session_id: str, now: float) -> None:
        """RTCP of this session came by UDP: its client lives."""
        session = self._table.get(session_id)
        if session is not None:
            session.touch(now)

    def media_received(self, session_id: str, now: float) -> None:
        """A packet of a publisher came by UDP."""
        session = self._table.get(session_id)
        if session is not None:
            session.media_received(now)

    def end_session(self, session_id: str, reason: str, now: float) -> None:
        """Forget a session: `SessionEnded(reason)`. Its next request gets 454."""
        self._now = now
        session = self._table.get(session_id)
        if session is not None:
            self._end_session(session, reason)

    def close(self, reason: str, now: float) -> None:
        """End every session and the connection."""
        self._now = now
        self._end(reason)

    # Verbs of the network.

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes of the connection."""
        if self._is_over() or self._fault:
            return
        self._now = self._heard_at = now
        fault = ""
        try:
            self._reader.feed(data)
        except WireError as error:
            fault = error.reason
        if self._reader.is_stranger:
            is_tls = data[0] == TLS_HANDSHAKE  # no text begins with it
            self._fail("rtsp-tls-on-plain-port" if is_tls else "rtsp-not-rtsp", not is_tls)
            return
        marks = self._reader.take_marks()
        messages = self._reader.take_messages()
        frames = self._reader.take_frames()
        if messages or frames or not self._reader.has_part:
            self._part_at = now if self._reader.has_part else None
        elif self._part_at is None:
            self._part_at = now
        position = 0
        for mark, message in zip(marks, messages, strict=True):
            if mark > position:
                self._receive_frames(frames[position:mark], now)
                position = mark
            if self._is_over():
                return
            if isinstance(message, Request):
                self._receive_request(message, now)
            else:
                self.drops["rtsp-unexpected-response"] += 1
        if position < len(frames) and not self._is_over():
            self._receive_frames(frames[position:] if position else frames, now)
        if fault and not self._is_over():
            self._fault = fault
            self._advance()

    def receive_eof(self, now: float) -> None:
        """The connection is gone."""
        self._now = now
        self._end("peer-closed")

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if self._is_over():
            return
        self._now = now
        waiting = self._queue.waiting
        if waiting is not None and now >= waiting.expires_at:
            self.drops["rtsp-no-answer"] += 1
            self._reply(NO_ANSWER, now)
            self._advance()
        for session in self._table.expired(now):
            reason = session.expiry_reason
            self._end_session(session, reason)
            if reason == "media-timeout" and not self._table:
                self._end(reason)  # a publisher that hangs; what it sends later has no place
        if self._is_over():
            return
        if self._part_at is not None and now >= self._part_at + self._options.request_timeout:
            self._end("rtsp-slow-message")
        elif self._idle_at is not None and now >= self._idle_at:
            self._end("idle-timeout")

    def get_timer(self) -> float | None:
        """When to call handle_timer next, or None."""
        if self._is_over():
            return None
        waiting = self._queue.waiting
        due = (
            waiting.expires_at if waiting is not None else None,
            self._table.get_timer(),
            None if self._part_at is None else self._part_at + self._options.request_timeout,
            self._idle_at,
        )
        times = [at for at in due if at is not None]
        return min(times) if times else None

    def data_to_send(self) -> bytes:
        """Bytes for the connection; each is given once."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def next_event(self) -> Event | None:
        """The next event, oldest first."""
        if not self._events:
            self._advance()  # requests that stood behind one that is answered now
        return self._events.popleft() if self._events else None

    def take_packets(self) -> Frames:
        """(channel, payload) of sessions that record, or play (RTCP); the list is the caller's."""
        packets = self._packets
        if packets:
            self._packets = []
        return packets

    # Requests.

    def _receive_request(self, request: Request, now: float) -> None:
        fault = self._queue.add(request, now)
        if fault:
            self._end(fault)
        else:
            self._advance()

    def _advance(self) -> None:
        """Take requests until one waits or none is left; then go where there is no way on."""
        while not self._is_over() and (item := self._queue.next()) is not None:
            if not isinstance(item, Request):
                self._deliver([item], self._now)
                continue
            outcome = self._dispatcher.dispatch(item, self._now)
            if isinstance(outcome, Asked):
                self._events.append(outcome)
            else:
                self._send(item, outcome)
        self.drops["rtsp-foreign-destination"] = self._dispatcher.foreign_destinations
        if self._queue.waiting is None and self._fault and not self._is_over():
            self._fail(self._fault, True)

    def _reply(self, reply: Reply, now: float) -> bool:
        waiting = self._queue.waiting
        assert waiting is not None  # the callers have looked
        self._queue.waiting = None
        data, is_done = self._answers.apply(waiting, reply, now)
        self._unexpected_bytes = 0
        self._send(waiting.request, data)
        if self._answers.challenges >= self._options.max_challenges:
            self._end("rtsp-too-many-challenges")
        return is_done

    def _send(self, request: Request, data: bytes) -> None:
        self._out.append(data)
        if not self._table and request.headers.get("Connection").strip().lower() == "close":
            self._end("peer-asked-close")

    # Frames.

    def _receive_frames(self, frames: Frames, now: float) -> None:
        if self._queue.is_busy:
            # What flows is not held up by a question; what has no place yet may get one by it.
            channels = self._table.channels
            flowing: Frames = []
            for frame in frames:
                owner = channels.get(frame[0])
                if not self._queue.held_frames and owner is not None and owner.session.is_flowing:
                    flowing.append(frame)
                elif not self._queue.hold(frame):
                    self.drops["rtsp-early-frame"] += 1
            frames = flowing
        if frames:
            self._deliver(frames, now)

    def _deliver(self, frames: Frames, now: float) -> None:
        channels = self._table.channels
        keep = self._packets.append
        last: ServerSession | None = None
        for frame in frames:
            owner = channels.get(frame[0])
            if owner is None:
                self._count_unexpected(frame)
                continue
            session = owner.session
            if session is not last:
                session.touch(now)
                last = session
            state = session.state
            if state is SessionState.RECORDING:
                if owner.is_rtp:
                    session.media_received(now)
                keep(frame)
            elif state is SessionState.PLAYING:
                keep(frame)
            else:
                self.drops["rtsp-frame-while-paused"] += 1

    def _count_unexpected(self, frame: tuple[int, bytes]) -> None:
        self.drops["rtsp-unexpected-frame"] += 1
        self._unexpected_bytes += 4 + len(frame[1])
        if self._unexpected_bytes > self._options.max_unexpected_bytes:
            self._end("rtsp-unexpected-frames")

    # Ends.

    def _is_over(self) -> bool:
        return self._has_ended

    @property
    def _idle_at(self) -> float | None:
        if self._table or self._queue.waiting is not None:
            return None
        return self._heard_at + self._options.idle_timeout

    def _end_session(self, session: ServerSession, reason: str) -> None:
        self._table.remove(session)
        self._heard_at = max(self._heard_at, self._now)  # the idle time begins
        self._events.append(SessionEnded(session.id, reason))

    def _fail(self, reason: str, is_text: bool) -> None:
        """The stream cannot be read: say so where that can be understood, and end."""
        if is_text:
            refusal = Refusal(FAULT_STATUS.get(reason, 400), reason, (("Connection", "close"),))
            self._out.append(self._replies.refuse(None, refusal))
        self._end(reason)

    def _end(self, reason: str) -> None:
        if self._is_over():
            return
        self._has_ended = True
        self._queue.clear()
        for session in self._table:
            self._end_session(session, reason)
        self._events.append(ConnectionEnded(reason))
