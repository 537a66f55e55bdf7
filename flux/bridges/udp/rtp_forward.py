"""Forwarding to `rtp://HOST:PORT`: an RTP session a track, on HOST's ports PORT, PORT + 2, ..."""

import asyncio
import ipaddress
import os
import random
import time
from pathlib import Path

from flux.bridges.rtp.datagrams import DatagramReader
from flux.bridges.rtp.description import Place, describe
from flux.bridges.rtp.output import RtpOutput, rtp_output_of
from flux.bridges.rtp.reports import REPORT_INTERVAL, ReaderReports
from flux.bridges.udp.forward import DatagramForward
from flux.bridges.udp.target import DatagramEndpoint
from flux.core.forward import ForwardFigures, OnState
from media.feed_reader import START_GOP, START_KEY
from media.stream import Emit, Stream
from protocols.sdp import Attribute

START_SPAN = 2.0  # seconds of media that a target may begin with; a receiver has no more room
FIRST_REPORT = 0.02  # seconds after the start, and again until every track has had a frame
DEFAULT_TTL = 1  # of multicast, RFC 1112 section 6.1
SSM_V4 = ipaddress.ip_network("232.0.0.0/8")  # RFC 4607 section 1

_random = random.SystemRandom()


class RtpForward(DatagramForward):
    """One attempt to send one stream as plain RTP."""

    def __init__(self, name: str, url: str, on_state: OnState, emit: Emit) -> None:
        """Raises PeerError `url-invalid`."""
        super().__init__(name, url, on_state)
        self._emit = emit
        self._output: RtpOutput | None = None
        self._reports: ReaderReports | None = None
        self._description = b""
        self._writing: asyncio.Task[None] | None = None
        self._session_id = int(time.time())

    def attach(self, stream: Stream, endpoint: DatagramEndpoint) -> DatagramReader:
        """Join the stream's RTP output; write the description if that is wanted."""
        output = rtp_output_of(stream, self._emit, self.scheduler)
        start = start_of(stream)
        points = output.start_points(start)
        ahead = {index: (point.packets, point.octets) for index, point in points.items()}
        indexes = frozenset(track.index for track in output.tracks)
        cname = f"flux-{_random.getrandbits(64):016x}"
        self._output = output
        self._reports = ReaderReports(output.tracks, cname, ahead)
        for index, point in points.items():
            self._reports.start_at(index, point.begins)
        self._description = self._describe(output, endpoint)
        if self.url.sdp_path:
            self._writing = asyncio.get_running_loop().create_task(self._write())
        reader = output.attach_datagrams(endpoint, indexes, self.fail, start)
        self.scheduler.call_soon(self._report)
        return reader

    def detach(self, reason: str) -> None:
        """Leave it, with RTCP BYE."""
        del reason
        if self._output is None:
            return
        if self.reader is None:
            self._output.close_if_unused()
            return
        self._output.detach(self.reader)
        if self._reports is not None and self.endpoint is not None:
            now = time.monotonic()
            for index in self._reports.tracks:
                goodbye = self._reports.goodbye(index, now)
                if goodbye is not None:
                    self.endpoint.send_rtcp(index, goodbye)

    def description(self) -> bytes:
        """The session description that a receiver needs."""
        return self._description

    def figures(self) -> ForwardFigures:
        """What was sent, and what the target says of it."""
        figures, reports = super().figures(), self._reports
        if reports is None:
            return figures
        return ForwardFigures(
            figures.sent_bytes, figures.dropped, 0.0, reports.lost, reports.round_trip
        )

    def receive_reports(self, datagrams: list[bytes], now: float) -> None:
        """Take RTCP of the target."""
        if self._reports is not None:
            for data in datagrams:
                self._reports.receive(data, now)

    async def wait_stopped(self) -> None:
        """Return once nothing of it is left."""
        await super().wait_stopped()
        if self._writing is not None:
            await asyncio.wait((self._writing,))

    def _report(self) -> None:
        """Sender reports: as soon as there is a frame of every track, then each five seconds."""
        reports, endpoint = self._reports, self.endpoint
        if self.is_over or reports is None or endpoint is None:
            return
        now = time.monotonic()
        delay = REPORT_INTERVAL
        for index, track in reports.tracks.items():
            report = reports.make(index, now)
            if report is not None:
                endpoint.send_rtcp(index, report)
            elif not track.is_known:
                delay = FIRST_REPORT
        self.scheduler.call_later(delay, self._report)

    def _describe(self, output: RtpOutput, endpoint: DatagramEndpoint) -> bytes:
        url, host = self.url, endpoint.host
        is_v6 = ":" in host
        connection = f"IN {'IP6' if is_v6 else 'IP4'} {host}"
        attributes: tuple[Attribute, ...] = ()
        if endpoint.is_group and not is_v6:
            connection += f"/{DEFAULT_TTL if url.ttl is None else url.ttl}"
            if ipaddress.ip_address(host) in SSM_V4:
                source_filter = f"incl IN IP4 {host} {endpoint.local_host}"
                attributes = (Attribute("source-filter", source_filter),)  # RFC 4570
        places = {
            track.index: Place(port=url.port + 2 * track.index, attributes=attributes)
            for track in output.tracks
        }
        session = describe(
            output.tracks,
            session_id=self._session_id,
            address=endpoint.local_host.partition("%")[0],
            connection=connection,
            has_controls=False,
            places=places,
        )
        return session.serialize()

    async def _write(self) -> None:
        """Put the description where receivers look for it; media goes on without it."""
        path = Path(self.url.sdp_path)
        try:
            await asyncio.to_thread(_replace, path, self._description)
        except OSError as error:
            self.log.warning("sdp not written", path=str(path), reason=str(error))


def start_of(stream: Stream) -> str:
    """Where a target begins: a receiver of datagrams has no room for a long GOP at once."""
    frames = stream.gop.frames()
    if not frames:
        return START_KEY
    first, last = frames[0], frames[-1]
    span = last.dts / last.track.clock_rate - first.dts / first.track.clock_rate
    return START_GOP if span <= START_SPAN else START_KEY


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that no reader ever sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)
