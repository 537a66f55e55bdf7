"""`udp://` as a source: a transport stream in datagrams, plain or in RTP."""

import random
from collections.abc import Callable
from dataclasses import replace

from config.datagram_url import DatagramUrl
from flux.base.errors import WireError
from flux.bridges.rtp.figures import RtpFigures
from flux.bridges.udp.plan import Senders
from flux.bridges.udp.source import (
    DatagramOptions,
    Listener,
    ListeningSource,
)
from flux.bridges.udp.ts_listener import TsListener
from flux.core.persistent import OnState
from media.publisher import Publishing


class TsSource(ListeningSource):
    """Receives one transport stream into one stream; the same shape as the RTSP source."""

    def __init__(
        self,
        name: str,
        url: str,
        router: Publishing,
        on_state: OnState,
        options: DatagramOptions | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """Raises WireError for a URL that is none, or one without a port."""
        self._url = source_url(url)
        if not self._url.port:
            raise WireError("url-invalid", "no port")
        self._router = router
        self._options = options or DatagramOptions()
        self._past = RtpFigures()
        self._listener: TsListener | None = None
        super().__init__(name, on_state, self._options, chance or random.SystemRandom())

    def figures(self) -> RtpFigures:
        """What came so far: datagrams, of RTP with their losses."""
        figures = replace(self._past)
        if self._listener is not None and not self._listener.ended.done():
            self._listener.add_figures(figures)
        return figures

    async def open_listener(self, on_running: Callable[[], None]) -> Listener:
        """Open the port of the URL."""
        url = self._url
        senders = Senders((url.source,) if url.source else ())
        listener = TsListener(
            self.name, url.scheme, self._router, self._options, senders, on_running, self._past
        )
        await listener.open(url.host, url.port, url.interface)
        self._listener = listener
        return listener


def source_url(text: str) -> DatagramUrl:
    """Read the URL of a source; raises WireError `url-invalid`."""
    try:
        return DatagramUrl.parse_source(text)
    except ValueError as error:
        raise WireError("url-invalid", str(error)) from error
