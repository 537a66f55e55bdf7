"""RTSP push: a stream is recorded on another server (ANNOUNCE, RECORD), as a forward of it.

connecting --RECORD accepted--> running --fault, end of the stream, stop--> over

One attempt each; `flux.core.forwarding` decides when the next one is due. What is sent are the
packets of the stream's RTP output, the same that players get.

Within TLS they are plain RTP unless the server refuses that: then it is SRTP, announced anew. What
goes by UDP beside TLS is always SRTP.
"""

import asyncio
import random
import time
from dataclasses import replace

import structlog

from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.datagrams import DatagramReader
from flux.bridges.rtp.description import control_of, describe
from flux.bridges.rtp.output import Hold, RtpOutput, rtp_output_of
from flux.bridges.rtp.reports import REPORT_INTERVAL, ReaderReports
from flux.bridges.rtsp.client_keys import PushKeys
from flux.bridges.rtsp.secured import SecuredFrames, secured_runs
from flux.core.forward import FAILED, RUNNING, ForwardFigures, OnState
from flux.core.scheduler import LoopScheduler
from flux.net.sink import TransportSink
from flux.net.udp_send import Run
from media.feed_reader import START_GOP, START_KEY, FeedReader
from media.stream import Emit, Stream
from protocols.rtsp import events
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.options import PushOptions, TransportChoice
from protocols.rtsp.push.client import PushClient
from protocols.rtsp.transport import Way
from protocols.rtsp.url import Url

PROTOCOL = "rtsp"
START_SPAN = 2.0  # seconds of media at once with which a server's clock of arrival still agrees
FIRST_REPORT = 0.02  # seconds until every track has had a frame
MAX_REDIRECTS = 5
SEND_BUFFER_BYTES = 256 << 10
UNSUPPORTED_MEDIA, TRANSPORT_REFUSED = 415, "rtsp-461"  # of a server that wants SRTP

_random = random.SystemRandom()
logger = structlog.get_logger()


class RtspPush:
    """One attempt to send one stream to one RTSP server. Satisfies `flux.core.forward.Forward`."""

    def __init__(
        self,
        name: str,
        url: str,
        on_state: OnState,
        emit: Emit,
        options: PushOptions | None = None,
        send_buffer: int = SEND_BUFFER_BYTES,
    ) -> None:
        """Raises `WireError` for a URL that is none."""
        self._url = self._at = Url.parse(url)  # where it is to go, and where it was sent
        self._on_state = on_state
        self._emit = emit
        self._options = options or PushOptions()
        self._send_buffer = send_buffer
        self._scheduler = LoopScheduler()
        self._cname = f"flux-{_random.getrandbits(64):016x}"
        self._stream: Stream | None = None
        self._output: RtpOutput | None = None
        self._hold: Hold | None = None
        self._client: PushClient | None = None
        self._reader: FeedReader | DatagramReader | None = None
        self._reports: ReaderReports | None = None
        self._keys: PushKeys | None = None
        self._wants_srtp = (options or PushOptions()).transport is TransportChoice.UDP
        self._description = b""
        self._session_id = int(time.time())
        self._location = ""  # where the server sends us instead
        self._redirects = 0
        self._task: asyncio.Task[None] | None = None
        self._ends: list[PushClient] = []  # those that are still saying goodbye
        self._log = logger.bind(stream=name, protocol=PROTOCOL, target=self._url.request)
        self.is_over = False

    # -- for the core ------------------------------------------------------------------------

    def start(self, stream: Stream) -> None:
        """Connect and announce; raises `PeerError` where there is nothing that RTP can carry."""
        self._stream = stream
        self._output = output = rtp_output_of(stream, self._emit, self._scheduler)
        self._hold = output.hold(self._fail)
        self._description = self._describe(None)
        self._connect(self._url)

    def stop(self, reason: str) -> None:
        """End: BYE and TEARDOWN go out in the background; nothing is said any more."""
        if self.is_over:
            return
        self.is_over = True
        if self._task is not None:
            self._task.cancel()
        self._detach()
        if self._output is not None and self._hold is not None:
            self._output.release(self._hold)
        if self._client is not None:
            self._client.close(reason)
        if self._keys is not None and self._keys.drops:
            self._log.warning("reports not opened", reasons=dict(self._keys.drops))

    async def wait_stopped(self) -> None:
        """Return once nothing of it is left."""
        if self._task is not None:
            await asyncio.wait((self._task,))
        for client in self._ends:
            await client.wait_closed()

    def figures(self) -> ForwardFigures:
        """What was sent, and what the server says of it."""
        reader, reports = self._reader, self._reports
        if reader is None or reports is None or self._output is None:
            return ForwardFigures()
        if isinstance(reader, FeedReader):
            dropped, lag = reader.dropped_chunks, self._output.feed.lag(reader)
        else:
            dropped, lag = reader.dropped, 0.0
        return ForwardFigures(reader.sent_bytes, dropped, lag, reports.lost, reports.round_trip)

    def description(self) -> bytes:
        """What was announced, but for the keys."""
        return self._description

    # -- from the client ---------------------------------------------------------------------

    def on_event(self, event: events.Event) -> None:
        """Take an event of the client."""
        match event:
            case events.AnnounceAccepted() if self._keys is not None:
                self._keys.take_announced(event.keys)
            case events.TracksReady() if self._keys is not None:
                self._keys.take_answers(event.tracks)
            case events.Recording():
                self._record()
            case events.Redirected():
                self._location = event.location
            case events.Closed():
                self._closed(event)

    def on_report(self, track_index: int, data: bytes, now: float) -> None:
        """Take RTCP of the server."""
        if self._keys is not None:
            data = self._keys.open(track_index, data)
        if self._reports is not None and data:
            self._reports.receive(data, now)

    # -- as a datagram target ----------------------------------------------------------------

    def send(self, run: Run) -> bool:
        """A run of one track, over UDP."""
        client, keys = self._client, self._keys
        if client is None:
            return False
        if keys is None:
            return client.send(run)
        sent = [client.send(each) for each in secured_runs(keys.tracks[run.track], run)]
        return all(sent)

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """A compound of one track."""
        if self._keys is not None:
            data = self._keys.tracks[track_index].sender.protect_rtcp(data)
        if self._client is not None:
            self._client.send_rtcp(track_index, data)

    # -- inside ------------------------------------------------------------------------------

    def _connect(self, url: Url) -> None:
        assert self._output is not None  # set by start
        own, self._at = self._url, url
        self._keys = keys = None
        if url.is_secure and self._wants_srtp:
            self._keys = keys = PushKeys({t.index: t.ssrc for t in self._output.tracks})
        # Credentials go to the host that they were given for, and not in the clear.
        is_own = url.host == own.host and (url.is_secure or not own.is_secure)
        user = own if is_own and not url.username else url
        cnonce = f"{_random.getrandbits(64):016x}"
        self._client = client = PushClient(
            url,
            self._options if is_own else replace(self._options, fingerprint=b""),
            Authenticator(user.username, user.password, cnonce),
            self,
            self._description if keys is None else self._describe(keys),
            [control_of(track.index) for track in self._output.tracks],
            keys.secured() if keys is not None else None,
        )
        self._ends.append(client)
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._open(client), name=f"rtsp push {self._url.host}")

    def _describe(self, keys: PushKeys | None) -> bytes:
        assert self._output is not None  # set by start
        description = describe(
            self._output.tracks,
            session_id=self._session_id,
            address="127.0.0.1",
            connection="IN IP4 0.0.0.0",
            title=self._stream.name if self._stream is not None else "",
            places=keys.places() if keys is not None else None,
        )
        return description.serialize()

    async def _open(self, client: PushClient) -> None:
        try:
            await client.connect()
        except PeerError as error:
            self._task = None  # that is us
            self._log.warning("forward failed", reason=error.reason, detail=error.detail)
            self._fail(error.reason)
        except Exception:  # a fault of ours must be seen, and tried again
            self._task = None
            self._log.exception("forward fault")
            self._fail("internal-error")

    def _record(self) -> None:
        """RECORD was accepted: become a reader of the output."""
        output, client, stream = self._output, self._client, self._stream
        if self.is_over or output is None or client is None or stream is None:
            return
        start = start_of(stream)
        points = output.start_points(start)
        ahead = {index: (point.packets, point.octets) for index, point in points.items()}
        self._reports = ReaderReports(output.tracks, self._cname, ahead)
        for index, point in points.items():
            self._reports.start_at(index, point.begins)
        self._report()
        if client.way is Way.TCP:
            sink = TransportSink(client.transport, self._fail, self._send_buffer)
            keys, channels = self._keys, client.channels
            variant = SecuredFrames(keys.tracks, channels) if keys is not None else None
            self._reader = output.attach_stream(sink, channels, start, variant)
            output.names[self._reader] = (PROTOCOL, self._url.host)
        else:
            everything = frozenset(track.index for track in output.tracks)
            self._reader = output.attach_datagrams(self, everything, self._fail, start)
        self._on_state(RUNNING, "")

    def _report(self) -> None:
        """Sender reports: at once, again until every track has had a frame, then each 5 s."""
        reports = self._reports
        if self.is_over or reports is None:
            return
        now = time.monotonic()
        delay = REPORT_INTERVAL
        for index in reports.tracks:
            compound = reports.make(index, now)
            if compound is None:
                delay = FIRST_REPORT
            else:
                self.send_rtcp(index, compound)
        self._scheduler.call_later(delay, self._report)

    def _closed(self, closed: events.Closed) -> None:
        """The connection is over, by the server's doing or by ours."""
        if self.is_over:
            return
        following = self._following()
        is_refused = closed.status == UNSUPPORTED_MEDIA or closed.reason == TRANSPORT_REFUSED
        if is_refused and self._at.is_secure and not self._wants_srtp:
            self._wants_srtp = True
            self._connect(self._at)
        elif following is not None:
            self._redirects += 1
            self._location = ""
            self._log.info("redirected", to=following.request)
            self._detach()
            self._connect(following)
        else:
            self._fail(closed.reason)

    def _following(self) -> Url | None:
        if not self._location or self._redirects >= MAX_REDIRECTS:
            return None
        location = self._location
        try:
            return Url.parse(self._url.origin + location if location[:1] == "/" else location)
        except WireError:
            return None

    def _fail(self, reason: str) -> None:
        """It cannot go on: let go of everything and say so."""
        if not self.is_over:
            self.stop(reason)
            self._on_state(FAILED, reason)

    def _detach(self) -> None:
        reader, self._reader = self._reader, None
        if reader is None or self._output is None:
            return
        if self._reports is not None:
            now = time.monotonic()
            for index in self._reports.tracks:
                goodbye = self._reports.goodbye(index, now)
                if goodbye is not None:
                    self.send_rtcp(index, goodbye)
        self._output.detach(reader)


def start_of(stream: Stream) -> str:
    """Where a server begins: much media at once would seem to be a jump of time to it."""
    frames = stream.gop.frames()
    if not frames or not stream.is_open:
        return START_KEY
    first, last = frames[0], frames[-1]
    span = last.dts / last.track.clock_rate - first.dts / first.track.clock_rate
    return START_GOP if span <= START_SPAN else START_KEY
