"""`rtp://` as a source: an RTP session that a description describes.

Without a description it is MPEG-TS in RTP (RFC 2250), the one format that needs none.
"""

import random
from collections.abc import Callable
from dataclasses import replace

from flux.base.errors import WireError
from flux.bridges.rtp.figures import RtpFigures
from flux.bridges.udp.description import read_description
from flux.bridges.udp.plan import Senders, plan_session
from flux.bridges.udp.rtp_listener import RtpListener
from flux.bridges.udp.rtp_run import ORIGIN
from flux.bridges.udp.source import (
    DatagramOptions,
    Listener,
    ListeningSource,
)
from flux.bridges.udp.ts import source_url
from flux.bridges.udp.ts_listener import TsListener
from flux.core.persistent import OnState
from media.publisher import Publishing


class RtpSource(ListeningSource):
    """Receives one RTP session into one stream; the same shape as the RTSP source."""

    def __init__(
        self,
        name: str,
        url: str,
        sdp: str,
        router: Publishing,
        on_state: OnState,
        options: DatagramOptions | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """`sdp` is the description itself, the path of a file, or nothing for MPEG-TS in RTP.

        Raises WireError for a URL that is none.
        """
        self._url = source_url(url)
        if not sdp and not self._url.port:
            raise WireError("url-invalid", "neither a description nor a port")
        self._sdp = sdp
        self._router = router
        self._options = options or DatagramOptions()
        self._random = chance or random.SystemRandom()
        self._past = RtpFigures()
        self._listener: RtpListener | TsListener | None = None
        super().__init__(name, on_state, self._options, self._random)

    def figures(self) -> RtpFigures:
        """What came in over RTP so far."""
        figures = replace(self._past)
        if self._listener is not None and not self._listener.ended.done():
            self._listener.add_figures(figures)
        return figures

    async def open_listener(self, on_running: Callable[[], None]) -> Listener:
        """Read the description, open what it says."""
        url = self._url
        if not self._sdp:
            senders = Senders((url.source,) if url.source else ())
            return await self._open_ts(url.host, url.port, senders, on_running)
        description = await read_description(self._sdp)
        plan = plan_session(url, description)
        for refused in plan.refused:
            self.log.info("media not taken", kind=refused.kind, reason=refused.reason)
        ts = plan.transport_stream
        if ts is not None:
            return await self._open_ts(ts.host, ts.port, ts.senders, on_running)
        listener = RtpListener(
            self.name,
            plan,
            self._router,
            self._options,
            on_running,
            self._past,
            self._random,
        )
        await listener.open(url.interface)
        self._listener = listener
        return listener

    async def _open_ts(
        self, host: str, port: int, senders: Senders, on_running: Callable[[], None]
    ) -> Listener:
        listener = TsListener(
            self.name, ORIGIN, self._router, self._options, senders, on_running, self._past
        )
        await listener.open(host, port, self._url.interface)
        self._listener = listener
        return listener
