"""RTSP: the same client and the same RTP receiver as the server's own pull."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import replace

from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.receiver import RtpSessionReceiver
from flux.bridges.rtsp.pull import MAX_REDIRECTS
from flux.bridges.rtsp.pull_run import PullRun
from flux.cli.probe.engine import ProbeFailed, ProbeOptions
from flux.cli.probe.figures import Board
from flux.cli.probe.gauge import Gauge
from media.publisher import Publisher
from media.track import TrackDescription
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.options import PullOptions, TransportChoice, fingerprint_of
from protocols.rtsp.url import Url


class RtspProbe:
    """Reads an RTSP URL."""

    def __init__(self, url: str, options: ProbeOptions) -> None:
        try:
            self._url = Url.parse(url)
        except WireError as error:
            raise ProbeFailed("url", error.reason) from None
        try:
            fingerprint = fingerprint_of(options.fingerprint)
        except WireError as error:
            raise ProbeFailed("fingerprint", "expected 64 hex digits") from error
        self._options = PullOptions(
            transport=TransportChoice(options.transport),
            fingerprint=fingerprint,
            interface=options.interface,
            connect_timeout=options.timeout,
            request_timeout=options.timeout,
            media_timeout=options.timeout,
        )
        self._board: Board | None = None
        self._receiver: RtpSessionReceiver | None = None

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        """What a run asks of a router."""
        del name, now, origin
        assert self._board is not None  # set before the run
        return Gauge(self._board, descriptions)

    def refresh(self, board: Board) -> None:
        """Take loss and jitter from the RTP receiver."""
        if self._receiver is None:
            return
        for meter, track in zip(board.tracks, self._receiver.tracks, strict=False):
            reception = track.reception
            meter.packets, meter.lost = reception.packets, max(0, reception.lost)
            meter.jitter = reception.jitter

    async def run(self, board: Board) -> str:
        """Read until cancelled, or until the server ends it."""
        self._board = board
        board.protocol = self._url.scheme
        url = self._url
        for _ in range(MAX_REDIRECTS + 1):
            reason, location = await self._play(url, board)
            if not location:
                if board.frames == 0:
                    raise ProbeFailed(reason)
                return reason
            try:
                url = Url.parse(location)
            except WireError as error:
                raise ProbeFailed(error.reason) from None
        raise ProbeFailed("rtsp-too-many-redirects")

    async def _play(self, url: Url, board: Board) -> tuple[str, str]:
        """One connection; answers why it ended and where it is to go on, if anywhere."""
        # The credentials of the first URL stay with its host, and what came by TLS in TLS.
        is_own = url.host == self._url.host and (url.is_secure or not self._url.is_secure)
        owner = url if url.username or not is_own else self._url
        options = self._options if is_own else replace(self._options, fingerprint=b"")
        chance = random.SystemRandom()
        cnonce = f"{chance.getrandbits(64):016x}"
        authenticator = Authenticator(owner.username, owner.password, cnonce)

        def playing() -> None:
            self._receiver = run.receiver
            is_tunnel = self._options.transport is TransportChoice.HTTP
            board.transport = "http" if is_tunnel else run.way.name.lower()

        run = PullRun("probe", url, options, authenticator, self, playing, chance)
        try:
            await run.connect()
        except PeerError as error:
            raise ProbeFailed(error.reason, error.detail) from None
        try:
            reason = await asyncio.shield(run.closed)
        finally:
            run.close("probe-over")
            await asyncio.wait((run.closed,), timeout=self._options.teardown_timeout + 1)
            board.now = time.monotonic()
            self.refresh(board)
            await run.wait_closed()
        return reason, run.location
