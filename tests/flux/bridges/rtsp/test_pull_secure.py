"""The pull of SRTP from a scripted server: keys of every kind, wrong ones, none."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from flux.bridges.rtp.secure import SecureTrack, message_of
from flux.bridges.rtp.srtp import SrtpSender
from flux.bridges.rtp.srtp_keys import AES_CM_128_32, AES_CM_128_80, MasterKey
from flux.bridges.rtsp.pull import Retries
from flux.bridges.rtsp.secured import ntp_now
from flux.net.tls import ServerTls
from protocols.mikey import KeyManagement
from protocols.rtsp.options import PullOptions, TransportChoice, fingerprint_of
from protocols.sdp import Attribute
from tests.support import certificate, secure_rtsp
from tests.support.certificate import Certificate
from tests.support.rtsp_house import House
from tests.support.secure_rtsp import SSRC, Session

pytestmark = pytest.mark.usefixtures("steady_time")
UNITS = 40  # the sequence numbers roll over
Change = Callable[[Session], None]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(House, "retries", Retries(first=60.0, longest=60.0))


def house_of(
    port: int,
    own: Certificate,
    choice: str = "auto",
    scheme: str = "rtsps",
    media_timeout: float = 0.3,
) -> House:
    fingerprint = fingerprint_of(own.fingerprint)
    options = PullOptions(
        transport=TransportChoice(choice), fingerprint=fingerprint, media_timeout=media_timeout
    )
    return House(f"{scheme}://127.0.0.1:{port}/tone", options)


async def play(own: Certificate, change: Change, choice: str = "auto") -> tuple[House, Session]:
    """A house that has played some units, and what the server saw."""
    tls = ServerTls(own.certificate, own.key)
    async with secure_rtsp.serving(tls, ntp_now(), change) as (port, sessions):
        house = house_of(port, own, choice, media_timeout=30.0)  # nothing is silent here
        house.source.start()
        await house.until_units(UNITS)
        sessions[0].changed = house.changed.set
        await house.stop()
        await house.until(lambda: bool(sessions[0].reports))
    frames = [payload for _, _, payload in house.publishers[0].units]
    assert frames == [(secure_rtsp.frame(number),) for number in range(len(frames))]
    assert +house.publishers[0].reasons == {}
    return house, sessions[0]


def as_it_is(session: Session) -> None:
    """Keys by MIKEY in the description and in the answer to SETUP."""


def in_the_description_alone(session: Session) -> None:
    session.key_header = False


def with_feedback(session: Session) -> None:
    session.profile = "RTP/SAVPF"


def by_sdes(session: Session) -> None:
    """A camera that has one key for both ways, after one of a suite that nobody knows."""
    session.key_header = False
    session.keys = (Attribute("crypto", "1 AEAD_AES_256_GCM inline:AAAA"), session.track.crypto(2))
    session.track.take(message_of(session.sender.master, [], ntp_now()))


def with_a_short_tag(session: Session) -> None:
    session.track = SecureTrack(SSRC, suite=AES_CM_128_32)
    session.sender = session.track.sender
    session.keys = session.track.attributes(ntp_now())


@pytest.mark.parametrize(
    ("change", "choice"),
    [
        (as_it_is, "auto"),
        (as_it_is, "udp"),
        (in_the_description_alone, "udp"),
        (with_feedback, "udp"),
        (by_sdes, "tcp"),
        (with_a_short_tag, "tcp"),
    ],
)
async def test_it_plays(own: Certificate, change: Change, choice: str) -> None:
    """Media is opened, our reports are what the server opens, and SETUP says what it must."""
    _, session = await play(own, change, choice)
    asked = session.headers[session.requests.index("SETUP")]
    lower = "" if choice == "udp" else "/TCP"
    assert asked["Transport"].startswith(f"{session.profile}{lower};unicast;")
    assert ("KeyMgmt" in asked) is (change is not by_sdes)
    assert {report[1] for report in session.reports} == {201}  # receiver reports


async def test_the_key_is_for_the_tracks_url(own: Certificate) -> None:
    _, session = await play(own, as_it_is)
    (found,) = KeyManagement.parse_header(session.headers[2]["KeyMgmt"])
    assert found.uri.endswith("/tone/stream=0")


async def test_udp_is_asked_for_where_tcp_is_refused(own: Certificate) -> None:
    """Beside TLS only since it is SRTP."""

    def udp_only(session: Session) -> None:
        session.is_udp_only = True

    house, session = await play(own, udp_only)
    assert session.requests.count("SETUP") == 2
    assert house.publishers[0].link is not None
    assert house.publishers[0].link().transport == "udp"


def other_key(session: Session) -> None:
    session.sender = SrtpSender(MasterKey.generate(AES_CM_128_80))


@pytest.mark.parametrize("choice", ["tcp", "udp"])
async def test_a_wrong_key_is_counted_and_ends_it(own: Certificate, choice: str) -> None:
    tls = ServerTls(own.certificate, own.key)
    async with secure_rtsp.serving(tls, ntp_now(), other_key) as (port, _):
        house = house_of(port, own, choice)
        house.source.start()
        await house.until_said("waiting", "srtp-auth-failed")
        publisher = house.publishers[0]
        assert publisher.units == []
        assert publisher.end == "srtp-auth-failed"
        assert publisher.reasons["srtp-auth-failed"] >= 10
        assert publisher.reasons["srtcp-auth-failed"] >= 2
        await house.stop()


def without_a_key(session: Session) -> None:
    session.keys = ()


def with_half_a_key(session: Session) -> None:
    suite = session.sender.master.suite.name
    session.keys = (Attribute("crypto", f"1 {suite} inline:{'A' * 20}"),)


def with_junk(session: Session) -> None:
    session.keys = (Attribute("key-mgmt", "mikey AAAA"),)


def answering_with_plain_rtp(session: Session) -> None:
    session.answered = "RTP/AVP"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_a_key, "srtp-no-key"),
        (with_half_a_key, "srtp-key-length"),
        (with_junk, "mikey-truncated"),
        (answering_with_plain_rtp, "rtsp-461"),
    ],
)
async def test_refusals(own: Certificate, change: Change, reason: str) -> None:
    tls = ServerTls(own.certificate, own.key)
    async with secure_rtsp.serving(tls, ntp_now(), change) as (port, _):
        house = house_of(port, own)
        house.source.start()
        await house.until(lambda: "waiting" in {state for state, _ in house.states})
        assert house.states[-1] == ("waiting", reason)
        await house.stop()


async def test_keys_in_the_clear_are_not_taken(own: Certificate) -> None:
    async with secure_rtsp.serving(None, ntp_now()) as (port, sessions):
        house = house_of(port, own, scheme="rtsp")
        house.source.start()
        await house.until_said("waiting", "no-usable-track")
        assert "SETUP" not in sessions[0].requests
        await house.stop()


def test_the_same_on_uvloop(own: Certificate) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_it_plays(own, as_it_is, "udp"))
        runner.run(test_it_plays(own, as_it_is, "tcp"))
