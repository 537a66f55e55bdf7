"""A router with the SRT bridge in the test's own process, and clients that speak to it."""

import time
from pathlib import Path
from typing import Self

from flux.bridges.srt.forward import SrtForward
from flux.bridges.srt.server import Passphrases, SrtBridge, SrtBridgeOptions
from flux.bridges.srt.sessions import SrtSessions
from flux.bridges.srt.source import SrtSource, SrtSourceOptions
from flux.core.admission import ALLOWED, AccessRequest, Admission, Answer
from flux.core.forward import Forward, OnState
from flux.core.forwarding import Forwards
from media.mpegts.format import TsFormat
from protocols.srt.endpoint import Endpoint
from protocols.srt.link import Channel
from protocols.srt.options import Options, SecurityOptions
from tests.support import clips
from tests.support.datagrams import DatagramRig, until
from tests.support.srt_peers import PACKET, Collector, cut

LOCAL = "127.0.0.1"
SOURCE_OPTIONS = SrtSourceOptions(media_timeout=5.0, retry_first=0.1, retry_longest=0.2)


def transport_stream(path: Path) -> list[bytes]:
    """A clip as MPEG-TS in datagrams."""
    clip = clips.read(path)
    form = TsFormat(clips.tracks_of(clip))
    return cut(form.header() + b"".join(map(form.encode, clip)))


class SrtStage(DatagramRig):
    """A `DatagramRig` with an SRT server; any name may be published."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.admission = Admission(self.events.append)
        self.passphrases: dict[str, Passphrases] = {}
        self.sessions = SrtSessions()
        self.requests: list[AccessRequest] = []
        self.bridge = SrtBridge(
            self.router,
            self.admission,
            self.events.append,
            SrtBridgeOptions(
                host=LOCAL,
                port=0,
                passphrases_of=lambda name: self.passphrases.get(name, Passphrases()),
                **options,  # type: ignore[arg-type]
            ),
            self.sessions,
        )
        self.admission.add(self._note)
        self.router.resolve_published = self._declare
        self.client: Endpoint

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self.bridge.start()
        self.client = Endpoint.bind(LOCAL, 0)
        return self

    async def __aexit__(self, *what: object) -> None:
        self.client.close()
        await super().__aexit__(*what)
        await self.bridge.stop()

    @property
    def place(self) -> tuple[str, int]:
        """Where the server listens."""
        return LOCAL, self.bridge.address[1]

    def call(self, stream_id: str, passphrase: str = "", **options: object) -> Collector:
        """A client that calls the server."""
        return self.call_at(self.place, stream_id, passphrase, **options)

    def call_at(
        self, place: tuple[str, int], stream_id: str, passphrase: str = "", **options: object
    ) -> Collector:
        """The same by another way."""
        handler = Collector()
        self.client.call(
            place,
            Options(
                stream_id=stream_id,
                security=SecurityOptions(passphrase),
                **options,  # type: ignore[arg-type]
            ),
            handler,
        )
        return handler

    async def connect(self, stream_id: str, passphrase: str = "") -> Channel:
        """A client that is let in."""
        handler = self.call(stream_id, passphrase)
        await until(lambda: handler.link is not None or handler.end is not None, stream_id)
        assert handler.link is not None, handler.end
        handler.link.attachment = handler
        return handler.link

    async def refusal(self, stream_id: str, passphrase: str = "", **options: object) -> int:
        """The code with which a client is refused."""
        handler = self.call(stream_id, passphrase, **options)
        await until(lambda: handler.link is not None or handler.end is not None, stream_id)
        assert handler.end is not None, "it was let in"
        return handler.end[1]

    def source(self, name: str, url: str) -> SrtSource:
        """A source of a declared name, started."""
        source = SrtSource(name, url, self.router, self.says(name), SOURCE_OPTIONS, self.sessions)
        self.begin(name, source)
        return source

    def forward(self) -> Forwards:
        """Begin to forward; the retries are quick."""

        def srt(name: str, url: str, say: OnState) -> Forward:
            return SrtForward(name, url, say, self.sessions)

        self.forwards = Forwards(
            self.router, self.events.append, {"srt": srt}, retry_first=0.1, retry_longest=0.2
        )
        return self.forwards

    def _declare(self, name: str) -> bool:
        self.declare(name)
        return True

    def _note(self, request: AccessRequest, answer: Answer) -> None:
        self.requests.append(request)
        answer(ALLOWED)


def pour(link: Channel, datagrams: list[bytes]) -> None:
    """Send datagrams at once."""
    assert all(len(each) <= PACKET for each in datagrams)
    assert link.send(datagrams, time.monotonic()) == len(datagrams)
