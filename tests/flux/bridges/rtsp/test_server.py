"""The RTSP server as a whole: descriptions, demand, admission, several sessions, counted refusals.

Each test ends with a look at what is left: nothing.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable

import pytest

from flux.bridges.rtsp.entrance import MAX_ADMITTED, MAX_CLAIMS
from flux.core.admission import ALLOWED, AccessRequest, Answer, Verdict
from flux.core.limits import Limits, LimitsGate
from media.codecs.aac import AacParameters
from media.codecs.av1 import Av1Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.codecs.opus import OpusParameters
from media.events import ReaderClosed, ReaderJoined
from media.payloads.opaque import OpaqueParameters
from media.stream import State, StreamOptions
from media.track import AAC, AV1, H264, H265, OPUS, PCMA, Kind, TrackDescription
from protocols.sdp import SessionDescription
from tests.support.h264_sets import PPS, SPS
from tests.support.rtsp_app import TCP_01, TCP_23, Reply
from tests.support.rtsp_caller import Caller, until
from tests.support.rtsp_stage import AUDIO, NAME, SOUND, VIDEO, Camera, OnDemand, Stage

MUTE_VIDEO = TrackDescription(Kind.VIDEO, H264, 90_000)  # its parameter sets come in band


def sdp_of(reply: Reply) -> SessionDescription:
    assert reply.status == 200, reply
    assert reply["Content-Type"] == "application/sdp"
    return SessionDescription.parse(reply.body)


# -- descriptions ------------------------------------------------------------------------------


async def test_a_description_for_players() -> None:
    async with Stage() as stage:
        stage.camera()
        caller = await stage.call()
        reply = await caller.ask("DESCRIBE", Accept="application/sdp")
        described = sdp_of(reply)
        assert reply["Content-Base"] == caller.url + "/"
        assert described.name == NAME
        assert described.connection == "IN IP4 0.0.0.0"
        assert described.control == "*"
        assert described.range == "npt=now-"
        video, audio = described.media
        (h264,) = video.payload_types
        assert (video.kind, video.protocol, video.control) == ("video", "RTP/AVP", "trackID=0")
        assert (h264.number, h264.encoding, h264.clock_rate) == (96, "H264", 90_000)
        assert h264.fmtp["packetization-mode"] == "1"
        assert h264.fmtp["profile-level-id"].upper() == SPS[1:4].hex().upper()
        sets = h264.fmtp["sprop-parameter-sets"].split(",")
        assert [b64decode(each) for each in sets] == [SPS, PPS]
        (pcmu,) = audio.payload_types
        assert (audio.kind, audio.control, pcmu.number) == ("audio", "trackID=1", 0)


ASC = bytes.fromhex("1190")  # AAC-LC, 48 kHz, stereo
H265_SETS = [
    bytes.fromhex(text)
    for text in (
        "40010c01ffff01600000030090000003000003005d95981809",
        "42010101600000030090000003000003005da00280802d165959a4932b9a02000003000200000300640810",
        "4401c172b46240",
    )
]
SEQUENCE = bytes.fromhex("080000002d4c37b3dfff9804")

FORMATS = [
    (
        TrackDescription(Kind.AUDIO, AAC, 48_000, AacParameters.build(ASC)),
        ("mpeg4-generic", 48_000, 2),
        {
            "mode": "AAC-hbr",
            "config": "1190",
            "sizelength": "13",
            "indexlength": "3",
            "indexdeltalength": "3",
        },
    ),
    (
        TrackDescription(Kind.AUDIO, OPUS, 48_000, OpusParameters(sample_rate=48_000, channels=2)),
        ("opus", 48_000, 2),
        {"sprop-stereo": "1"},
    ),
    (
        TrackDescription(Kind.AUDIO, PCMA, 8_000, SOUND),
        ("PCMA", 8_000, 1),
        {},
    ),
    (
        TrackDescription(Kind.VIDEO, AV1, 90_000, Av1Parameters.build(SEQUENCE)),
        ("AV1", 90_000, 1),
        {"profile": "0"},
    ),
    (
        TrackDescription(
            Kind.VIDEO,
            H265,
            90_000,
            H265Parameters.build(H265_SETS[:1], H265_SETS[1:2], H265_SETS[2:]),
        ),
        ("H265", 90_000, 1),
        {
            f"sprop-{name}": b64encode(each).decode()
            for name, each in zip(("vps", "sps", "pps"), H265_SETS, strict=True)
        },
    ),
    (
        TrackDescription(
            Kind.AUDIO,
            "rtp/speex",
            16_000,
            OpaqueParameters(fmtp='mode="1,any"; vbr=on', channels=2),
        ),
        ("speex", 16_000, 2),
        {"mode": "1,any", "vbr": "on"},
    ),
]


@pytest.mark.parametrize(("track", "encoding", "fmtp"), FORMATS, ids=lambda each: str(each)[:24])
async def test_formats_are_described(
    track: TrackDescription, encoding: tuple[str, int, int], fmtp: dict[str, str]
) -> None:
    async with Stage() as stage:
        stage.router.declare(NAME, StreamOptions())
        camera = Camera(stage, NAME, [track])
        stage.cameras.append(camera)
        camera.write(0, (b"\x28\x01payload",) if track.codec == H265 else (b"\x32\x05payload",))
        caller = await stage.call()
        (media,) = sdp_of(await caller.ask("DESCRIBE")).media
        (offer,) = media.payload_types
        assert (offer.encoding, offer.clock_rate, offer.channels) == encoding
        assert fmtp.items() <= dict(offer.fmtp).items()


async def test_a_description_waits_for_parameter_sets() -> None:
    async with Stage() as stage:
        camera = stage.camera(descriptions=[AUDIO, MUTE_VIDEO])
        caller = await stage.call()
        caller.send("DESCRIBE", CSeq=7)
        camera.write(0, (bytes(160),))
        await until(lambda: stage.router.leases(NAME) == 1)
        assert stage.stream().state is State.WAITING
        assert caller.replies == []
        camera.write(1, (SPS, PPS, b"\x65\x88payload"))
        await caller.until(lambda: bool(caller.replies))
        audio, video = sdp_of(caller.replies[0]).media
        assert video.payload_types[0].fmtp["packetization-mode"] == "1"
        assert audio.kind == "audio"


async def test_nobody_waits_for_ever() -> None:
    async with Stage() as stage:
        stage.router.declare(NAME, StreamOptions(), start_timeout=8.0)
        caller = await stage.call()
        caller.send("DESCRIBE")
        await until(lambda: stage.router.leases(NAME) == 1)
        await stage.advance(5)  # and what the machine takes for it
        assert caller.replies == []
        await stage.advance(3.1)
        await caller.until(lambda: bool(caller.replies))
        assert caller.replies[0].status == 503
        assert "start-timeout" in caller.replies[0].phrase
        assert stage.router.leases(NAME) == 0
        assert not caller.is_closed


@pytest.mark.parametrize("name", ["nothing", "_hidden", "a//b", "x" * 300, "%ff"])
async def test_what_there_is_not(name: str) -> None:
    async with Stage() as stage:
        stage.camera()
        caller = await stage.call(name)
        reply = await caller.ask("DESCRIBE")
        assert (reply.status, "stream-not-found" in reply.phrase) == (404, True)
        reply = await caller.ask("SETUP", caller.url + "/trackID=0", Transport=TCP_01)
        assert reply.status == 404
        assert stage.bridge.refusals()["stream-not-found"] == 2
        assert not caller.is_closed


async def test_a_stream_without_any_track_for_rtp() -> None:
    async with Stage() as stage:
        camera = stage.camera(descriptions=[TrackDescription(Kind.DATA, "ts/85", 90_000)])
        camera.write(0, (b"scte",))
        caller = await stage.call()
        reply = await caller.ask("DESCRIBE")
        assert (reply.status, reply.phrase.partition("(")[2]) == (415, "no-playable-track)")
        reply = await caller.ask("SETUP", caller.url + "/trackID=0", Transport=TCP_01)
        assert reply.status == 415


# -- demand ------------------------------------------------------------------------------------


async def test_a_source_on_demand() -> None:
    async with Stage() as stage:
        source = OnDemand()
        stage.router.declare(NAME, StreamOptions(), on_demand=True, close_after=10.0)
        stage.router.set_source(NAME, source)
        caller = await stage.call()
        caller.send("DESCRIBE")
        await until(lambda: source.told == ["start"])
        camera = stage.camera()
        await caller.until(lambda: bool(caller.replies))
        assert caller.replies[0].status == 200
        session = await caller.play(TCP_01, TCP_23)
        await stage.advance(30)
        camera.run(2, key=True)
        assert source.told == ["start"]  # somebody plays
        assert (await caller.ask("TEARDOWN", Session=session)).status == 200
        assert stage.router.leases(NAME) == 0  # though the connection is there
        await stage.advance(0.1)
        await stage.advance(10.1)
        assert source.told == ["start", "no-readers"]


async def test_a_description_alone_keeps_its_source_as_long_as_the_connection() -> None:
    async with Stage() as stage:
        source = OnDemand()
        stage.router.declare(NAME, StreamOptions(), on_demand=True, close_after=1.0)
        stage.router.set_source(NAME, source)
        caller = await stage.call()
        caller.send("DESCRIBE")
        await until(lambda: source.told == ["start"])
        stage.camera()
        await caller.until(lambda: bool(caller.replies))
        await stage.advance(5)
        assert source.told == ["start"]
        await caller.leave()
        await until(lambda: stage.router.leases(NAME) == 0)
        await stage.advance(0.1)
        await stage.advance(1.1)
        assert source.told == ["start", "no-readers"]


async def test_one_connection_claims_few_streams_at_a_time() -> None:
    async with Stage() as stage:
        names = [f"cam{number}" for number in range(3 * MAX_CLAIMS)]
        for name in names:
            stage.camera(name)
        caller = await stage.call()
        played = Caller(stage.url(names[0]))
        await caller.ask("SETUP", played.url + "/trackID=0", Transport=TCP_01)
        for name in names:
            assert (await caller.ask("DESCRIBE", stage.url(name))).status == 200
            assert stage.bridge.usage().claims <= MAX_CLAIMS + 1
        held = [name for name in names if stage.router.leases(name)]
        assert held == [names[0], *names[-MAX_CLAIMS:]]  # what has a session stays


# -- admission ---------------------------------------------------------------------------------


class Gate:
    """Answers as it is told to, now or later."""

    def __init__(self, stage: Stage) -> None:
        self.asked: list[AccessRequest] = []
        self.answers: list[Answer] = []
        self.decide: Callable[[AccessRequest], Verdict | None] = lambda _: ALLOWED
        stage.admission.add(self)

    def __call__(self, request: AccessRequest, answer: Answer) -> None:
        self.asked.append(request)
        verdict = self.decide(request)
        if verdict is None:
            self.answers.append(answer)
        else:
            answer(verdict)


def knows(password: str) -> Callable[[AccessRequest], Verdict]:
    """A user `u` with this password may enter, by Basic or by Digest."""

    def decide(request: AccessRequest) -> Verdict:
        proved = request.proof(password) if request.proof else request.password == password
        return ALLOWED if request.user == "u" and proved else Verdict(False, "x-needed", 401)

    return decide


async def test_credentials_are_asked_for_and_kept_for_the_connection() -> None:
    async with Stage() as stage:
        gate = Gate(stage)
        gate.decide = knows("secret")
        stage.camera()
        caller = await stage.call(query="?x=1")
        reply = await caller.ask("DESCRIBE")
        assert reply.status == 401
        assert 'Digest realm="FLUX", nonce="' in reply["WWW-Authenticate"]
        assert 'Basic realm="FLUX"' in reply["WWW-Authenticate"]
        assert (await caller.ask("DESCRIBE", Authorization="Basic dTpzZWNyZXQ=")).status == 200
        count = len(gate.asked)
        assert (gate.asked[-1].action, gate.asked[-1].stream) == ("read", NAME)
        assert (gate.asked[-1].query, gate.asked[-1].address) == ("x=1", "127.0.0.1")
        await caller.play(TCP_01)  # no credentials in these
        assert len(gate.asked) == count
        other = await stage.call()
        reply = await other.ask("SETUP", other.url + "/trackID=0", Transport=TCP_01)
        assert reply.status == 401


@pytest.mark.parametrize(
    ("header", "query", "token", "password"),
    [
        ("Bearer abc", "", "abc", ""),
        ("", "?token=def", "def", ""),
        ("", "?x=1&jwt=ghi", "ghi", ""),
        ("Basic dTpzZWNyZXQ=", "?token=def", "def", "secret"),
        ("Basic dTo=", "", "", ""),
        ("", "?" + "a=1&" * 100 + "token=x", "", ""),
    ],
)
async def test_what_a_client_shows(header: str, query: str, token: str, password: str) -> None:
    async with Stage() as stage:
        gate = Gate(stage)
        stage.camera()
        caller = await stage.call(query=query)
        headers = {"Authorization": header} if header else {}
        caller.send("DESCRIBE", "", b"", **headers)
        await caller.until(lambda: bool(caller.replies))
        assert (gate.asked[0].token, gate.asked[0].password) == (token, password)
        assert gate.asked[0].proof is None
        assert caller.replies[0].status == 200


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (Verdict(False, "permission-denied", 403), 403),
        (Verdict(False, "too-many-sessions", 429), 453),
        (Verdict(False, "server-overloaded", 503), 503),
    ],
)
async def test_refusals_have_a_reason(verdict: Verdict, status: int) -> None:
    async with Stage() as stage:
        gate = Gate(stage)
        gate.decide = lambda _: verdict
        stage.camera()
        caller = await stage.call()
        for request in (
            caller.ask("DESCRIBE"),
            caller.ask("SETUP", caller.url + "/trackID=0", Transport=TCP_01),
        ):
            reply = await request
            assert reply.status == status
            assert reply.phrase.endswith(f"({verdict.reason})")
        assert stage.bridge.refusals()[verdict.reason] == 2
        assert stage.stream().outputs == {}


async def test_limits_hold() -> None:
    async with Stage() as stage:
        limits = Limits(sessions_per_address=2)
        stage.admission.add_limit(LimitsGate(limits, stage.router, lambda: 0.0))
        stage.camera()
        for _ in range(2):
            await (await stage.call()).play(TCP_01)
        late = await stage.call()
        reply = await late.ask("DESCRIBE")
        assert (reply.status, "too-many-sessions" in reply.phrase) == (453, True)
        stage.callers[0].hang_up()
        await until(lambda: len(stage.stream().readers) == 1)
        assert (await late.ask("DESCRIBE")).status == 200


@pytest.mark.parametrize("method", ["DESCRIBE", "SETUP", "ANNOUNCE"])
@pytest.mark.parametrize("verdict", [ALLOWED, Verdict(False, "too-late", 403)])
async def test_an_answer_that_comes_when_the_peer_has_left(method: str, verdict: Verdict) -> None:
    async with Stage() as stage:
        gate = Gate(stage)
        gate.decide = lambda _: None
        stage.camera()
        caller = await stage.call()
        url = caller.url + "/trackID=0" if method == "SETUP" else caller.url
        body = b"v=0\r\nm=audio 0 RTP/AVP 0\r\n" if method == "ANNOUNCE" else b""
        caller.send(method, url, body, Transport=TCP_01)
        await until(lambda: len(gate.answers) == 1)
        caller.hang_up()
        await until(lambda: stage.bridge.connections == 0)
        gate.answers.pop()(verdict)
        assert stage.stream().outputs == {}
        assert stage.router.leases(NAME) == 0


async def test_what_stands_behind_a_question_is_done_when_the_answer_comes() -> None:
    """A session that begins and ends in the turn of a late answer leaves nothing behind."""
    async with Stage() as stage:
        gate = Gate(stage)
        gate.decide = lambda _: None
        stage.camera()
        caller = await stage.call()
        caller.send("SETUP", caller.url + "/trackID=0", Transport=TCP_01)
        caller.send("PLAY")
        caller.send("TEARDOWN")
        caller.send("OPTIONS")
        await until(lambda: len(gate.answers) == 1)
        gate.answers.pop()(ALLOWED)
        await caller.until(lambda: len(caller.replies) == 4)
        assert [reply.status for reply in caller.replies] == [200, 200, 200, 200]
        assert stage.bridge.usage().sessions == 0
        assert stage.router.leases(NAME) == 0
        assert len(stage.heard(ReaderClosed)) == len(stage.heard(ReaderJoined)) == 1


async def test_who_was_admitted_is_remembered_within_bounds() -> None:
    async with Stage() as stage:
        gate = Gate(stage)
        caller = await stage.call()
        for number in range(MAX_ADMITTED + 1):
            await caller.ask("DESCRIBE", stage.url(f"none{number}"))
            await stage.advance(0.1)  # below the limit of requests a second
        asked = len(gate.asked)
        await caller.ask("DESCRIBE", stage.url(f"none{MAX_ADMITTED}"))
        assert len(gate.asked) == asked
        await caller.ask("DESCRIBE", stage.url("none0"))
        assert len(gate.asked) == asked + 1


# -- several sessions on one connection --------------------------------------------------------


async def test_sessions_of_one_connection_are_apart() -> None:
    async with Stage() as stage:
        one, two = stage.camera("one"), stage.camera("two")
        caller = await stage.call("one")
        first = await caller.play(TCP_01)
        caller.url = stage.url("two")
        second = (await caller.ask("SETUP", caller.url + "/trackID=0", Transport=TCP_23)).session
        assert second != first
        assert (await caller.ask("PLAY", Session=second)).status == 200
        one.run(2, size=1100)
        two.run(2, size=1200)
        await caller.until(lambda: any(len(data) > 1100 for data in caller.packets(0)[1:]))
        await caller.until(lambda: any(len(data) > 1200 for data in caller.packets(2)[1:]))
        assert {reader.id for reader in stage.stream("one").readers.values()} == {"rtsp-1"}
        one.stop()
        await stage.advance(10.1)  # the grace period; it ends the session, the other one goes on
        await until(lambda: stage.bridge.usage().sessions == 1)
        before = len(caller.packets(2))
        two.run(3)
        await caller.until_packets(2, before + 3)
        assert (await caller.ask("PLAY", stage.url("one"), Session=first)).status == 454
        assert (await caller.ask("TEARDOWN", Session=second)).status == 200
        assert stage.bridge.usage().players == 0


async def test_udp_that_hears_nothing_falls_back_on_the_same_connection() -> None:
    """ffmpeg: PAUSE, forget the session, SETUP by TCP."""
    async with Stage() as stage:
        camera = stage.camera()
        caller = await stage.call()
        pair = stage.pair()
        first = await caller.play(pair.offer)
        await caller.ask("PAUSE", Session=first)
        second = await caller.play(TCP_01)
        camera.run(2, key=True)
        await caller.until_packets(0, 3)
        assert second != first
        assert stage.bridge.usage().players == 2
        assert stage.bridge.usage().claims == 1


async def test_each_connection_has_a_limit_of_sessions() -> None:
    async with Stage() as stage:
        stage.camera()
        caller = await stage.call()
        statuses = []
        for number in range(20):
            offer = f"RTP/AVP/TCP;unicast;interleaved={2 * number}-{2 * number + 1}"
            reply = await caller.ask("SETUP", caller.url + "/trackID=0", Transport=offer)
            statuses.append(reply.status)
        assert statuses == [200] * 8 + [503] * 12
        assert stage.bridge.usage().sessions == 8


# -- opaque tracks -----------------------------------------------------------------------------


async def test_an_unknown_format_passes_from_publisher_to_player() -> None:
    text = 'vbr=on; cng=on; mode="4,any"; X'
    sdp = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n"
        "m=audio 0 RTP/AVP 110\r\na=rtpmap:110 Speex/16000/2\r\n"
        f"a=fmtp:110 {text}\r\na=control:streamid=0\r\n"
    )
    async with Stage() as stage:
        stage.router.declare(NAME, StreamOptions())
        sender = await stage.call()
        assert (await sender.ask("ANNOUNCE", body=sdp.encode())).status == 200
        reply = await sender.ask(
            "SETUP", sender.url + "/streamid=0", Transport=TCP_01 + ";mode=record"
        )
        assert (await sender.ask("RECORD", Session=reply.session)).status == 200
        head = bytes((0x80, 110 | 0x80)) + bytes((0, 7)) + bytes(4) + b"SSRC"
        sender.send_frame(0, head + b"first payload")
        player = await stage.call()
        described = sdp_of(await player.ask("DESCRIBE"))
        (offer,) = described.media[0].payload_types
        assert (offer.encoding, offer.clock_rate, offer.channels) == ("speex", 16_000, 2)
        assert described.media[0].attribute("fmtp") == f"96 {text}"
        await player.play(TCP_01)
        seen = len(player.packets(0))
        sender.send_frame(0, head[:3] + b"\x08" + head[4:] + b"second")
        sender.send_frame(0, b"\x80\x6e" + head[2:3] + b"\x09" + head[4:] + b"third")
        packets = await player.until_packets(0, seen + 2)
        assert [(data[12:], data[1] >> 7) for data in packets[-2:]] == [
            (b"second", 1),
            (b"third", 0),
        ]


# -- counters ----------------------------------------------------------------------------------


async def test_all_that_is_refused_or_thrown_away_is_counted_once() -> None:
    async with Stage() as stage:
        stage.camera()
        caller = await stage.call()
        await caller.ask("PLAY", Session="nobody")
        await caller.ask("SETUP", caller.url + "/trackID=7", Transport=TCP_01)
        await caller.ask("SETUP", caller.url + "/trackID=0", Transport="RTP/AVP/QUIC;unicast")
        caller.send_frame(8, b"nobody's")
        await caller.ask("OPTIONS")
        expected = {
            "session-unknown": 1,
            "track-not-found": 1,
            "transport-unknown": 1,
            "rtsp-unexpected-frame": 1,
        }
        assert +stage.bridge.refusals() == expected
        await caller.leave()
        await until(lambda: stage.bridge.connections == 0)
        assert +stage.bridge.refusals() == expected  # and not once more at its end


async def test_readers_are_seen_by_the_router() -> None:
    async with Stage() as stage:
        camera = stage.camera()
        caller = await stage.call()
        session = await caller.set_up(TCP_01, TCP_23)
        assert stage.stream().readers == {}
        await caller.ask("PLAY", Session=session, User_Agent="x" * 1000)
        (reader,) = stage.stream().readers.values()
        assert (reader.protocol, reader.address) == ("rtsp", "127.0.0.1")
        assert reader.lag() < 1
        camera.run(3)
        await caller.until_packets(0, 5)
        sent = reader.sent_bytes
        assert sum(4 + len(each.data) for each in caller.came if each.reply is None) >= sent > 0
        (joined,) = stage.heard(ReaderJoined)
        assert isinstance(joined, ReaderJoined)
        assert (joined.stream, joined.protocol, joined.reader) == (NAME, "rtsp", reader.id)
        del reader
        caller.hang_up()
        await until(lambda: stage.stream().readers == {})
        (closed,) = stage.heard(ReaderClosed)
        assert isinstance(closed, ReaderClosed)
        assert (closed.reason, closed.sent_bytes) == ("peer-closed", sent)
        assert stage.stream().sent_bytes == sent


async def test_the_server_stops() -> None:
    async with Stage() as stage:
        stage.camera()
        pair = stage.pair()
        tcp, udp, idle = [await stage.call() for _ in range(3)]
        await tcp.play(TCP_01)
        await udp.play(pair.offer)
        await idle.ask("DESCRIBE")
        await stage.bridge.stop()
        for caller in (tcp, udp, idle):
            await caller.wait_closed()
        assert stage.stream().readers == {}
        await until(lambda: any(b"\x81\xcb\x00\x01" in data for data in pair.rtcp), "no BYE")


def test_h264_parameters_of_the_stage_are_whole() -> None:
    assert isinstance(VIDEO.parameters, H264Parameters)
