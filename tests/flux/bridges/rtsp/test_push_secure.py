"""The push of SRTP to a scripted server: when it is announced, what goes out, what comes back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from flux.bridges.rtp.srtp import SrtpSender
from flux.bridges.rtp.srtp_keys import AES_CM_128_80, MasterKey
from flux.bridges.rtsp.push import RtspPush
from flux.bridges.rtsp.secured import ntp_now
from flux.core.forward import FAILED, RUNNING
from flux.net.tls import ServerTls
from media.codecs.g711 import G711Parameters
from media.router import Router
from media.stream import StreamOptions
from media.track import PCMU, Kind, TrackDescription
from protocols.rtcp import ReceiverReport, ReportBlock, SenderReport, parse_compound
from protocols.rtp import RtpPacket
from protocols.rtsp.options import PushOptions, TransportChoice, fingerprint_of
from protocols.sdp import SessionDescription
from tests.support import certificate, secure_rtsp
from tests.support.certificate import Certificate
from tests.support.secure_rtsp import Session

AUDIO = TrackDescription(Kind.AUDIO, PCMU, 8_000, G711Parameters(sample_rate=8_000, channels=1))
Change = Callable[[Session], None]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate.make(tmp_path_factory.mktemp("tls"))


def as_it_is(session: Session) -> None:
    """A server that takes everything."""


def srtp_only(session: Session) -> None:
    session.is_srtp_only = True


def with_another_key(session: Session) -> None:
    session.is_srtp_only = True
    session.sender = SrtpSender(MasterKey.generate(AES_CM_128_80))


class House:
    """A stream of sound, its push, and the server's sessions."""

    def __init__(self, port: int, sessions: list[Session], own: Certificate, choice: str) -> None:
        self.sessions = sessions
        self.said: list[tuple[str, str]] = []
        self.changed = asyncio.Event()
        self.count = 0
        router = Router(lambda event: None)
        self.stream = router.declare("cam", StreamOptions()).stream
        now = asyncio.get_running_loop().time()
        self.publisher = router.publish("cam", [AUDIO], now=now, origin="test")
        self.write(1)
        options = PushOptions(
            transport=TransportChoice(choice), fingerprint=fingerprint_of(own.fingerprint)
        )
        url = f"rtsps://127.0.0.1:{port}/in"
        self.push = RtspPush("cam", url, self.on_state, lambda event: None, options)
        self.push.start(self.stream)

    def on_state(self, state: str, reason: str) -> None:
        self.said.append((state, reason))
        self.changed.set()

    def write(self, count: int) -> None:
        for _ in range(count):
            now = asyncio.get_running_loop().time()
            payload = (secure_rtsp.frame(self.count),)
            self.publisher.write(self.publisher.tracks[0], 160 * self.count, payload, now)
            self.count += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def pushing(own: Certificate, change: Change, choice: str) -> AsyncIterator[House]:
    tls = ServerTls(own.certificate, own.key)

    def soon() -> None:
        loop.call_soon(house.changed.set)

    def tell(session: Session) -> None:
        change(session)
        session.changed = soon

    loop = asyncio.get_running_loop()
    async with secure_rtsp.serving(tls, ntp_now(), tell) as (port, sessions):
        house = House(port, sessions, own, choice)
        yield house
        house.push.stop("done")
        await asyncio.wait_for(house.push.wait_stopped(), 5)


@pytest.mark.parametrize(
    ("change", "choice", "sessions"),
    [(as_it_is, "udp", 1), (srtp_only, "udp", 1), (srtp_only, "auto", 2), (srtp_only, "tcp", 2)],
)
async def test_srtp(own: Certificate, change: Change, choice: str, sessions: int) -> None:
    """By UDP always, within TLS where the server takes nothing else."""
    async with pushing(own, change, choice) as house:
        await house.until(lambda: house.said == [(RUNNING, "")])
        assert len(house.sessions) == sessions
        session = house.sessions[-1]
        announced = SessionDescription.parse(session.bodies[1])
        assert announced.media[0].protocol == "RTP/SAVP"
        assert announced.media[0].attribute("key-mgmt") is not None
        assert b"key-mgmt" not in house.push.description(), "the API shows it"
        asked = session.headers[session.requests.index("SETUP")]
        lower = "" if choice == "udp" else "/TCP"
        assert asked["Transport"].startswith(f"RTP/SAVP{lower};unicast;")
        house.write(50)
        await house.until(lambda: len(session.heard) >= 50 and bool(session.reports))
        packets = [RtpPacket.parse(data) for data in session.heard]
        start = packets[0].payload
        first = next(n for n in range(51) if secure_rtsp.frame(n) == start)
        assert [packet.payload for packet in packets] == [
            secure_rtsp.frame(first + n) for n in range(len(packets))
        ]
        sent = parse_compound(session.reports[0])[0]
        assert isinstance(sent, SenderReport)
        block = ReportBlock(sent.ssrc, 10, 7, 100, 0, sent.ntp >> 16 & 0xFFFF_FFFF, 0)
        session.report(ReceiverReport(9, (block,)).serialize())
        async with asyncio.timeout(5):
            while house.push.figures().round_trip is None:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.001)
        assert house.push.figures().lost == 7
    assert session.track.receiver is not None
    assert session.track.receiver.drops == {}


async def test_plain_rtp_within_tls_where_the_server_takes_it(own: Certificate) -> None:
    async with pushing(own, as_it_is, "auto") as house:
        await house.until(lambda: house.said == [(RUNNING, "")])
        (session,) = house.sessions
        assert b"RTP/AVP" in session.bodies[1]
        assert "KeyMgmt" not in session.headers[2]


async def test_reports_that_cannot_be_opened_are_counted(
    own: Certificate, capsys: pytest.CaptureFixture[str]
) -> None:
    async with pushing(own, with_another_key, "tcp") as house:
        await house.until(lambda: house.said == [(RUNNING, "")])
        session = house.sessions[-1]
        session.report(ReceiverReport(9, ()).serialize())
        session.hang_up()
        await house.until(lambda: house.said[1:] == [(FAILED, "peer-closed")])
    said = capsys.readouterr().out
    assert "reports not opened" in said
    assert "'srtcp-auth-failed': 1" in said


async def test_a_server_that_wants_neither(own: Certificate) -> None:
    def udp_only(session: Session) -> None:
        session.is_srtp_only = session.is_udp_only = True

    async with pushing(own, udp_only, "tcp") as house:
        await house.until(lambda: bool(house.said))
        assert house.said == [(FAILED, "rtsp-461")]
        assert len(house.sessions) == 2
