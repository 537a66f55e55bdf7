"""RTSPS: what comes through TLS leaves as SRTP or within the connection, never in the clear."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flux.base.units import ntp_from_unix
from flux.bridges.rtp.packer import RtpPacker, rtp_tracks
from flux.bridges.rtp.secure import SecureTrack
from flux.bridges.rtsp.secured import MAX_FRAME_BYTES, secured_frames
from media.frame import Frame
from media.link import Linked, LinkFigures
from media.stream import StreamOptions
from media.track import H264, PCMU, Kind, Track
from protocols.rtcp import ReceiverReport, ReportBlock, SenderReport, parse_compound
from protocols.rtp import RtpPacket
from protocols.sdp import MediaDescription, SessionDescription
from tests.support import certificate
from tests.support.certificate import Certificate
from tests.support.rtsp_app import TCP_01, Reply
from tests.support.rtsp_caller import Caller, UdpPair, until
from tests.support.rtsp_sender import AUDIO_SECTION, HEAD, SSRCS, VIDEO_SECTION, Sender, Watcher
from tests.support.rtsp_stage import Stage
from tests.support.rtsp_viewer import is_unbroken

NTP = ntp_from_unix(1_700_000_000)
WAYS = pytest.mark.parametrize("way", ["tcp", "udp"])


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certificate]:
    folder: Path = tmp_path_factory.mktemp("tls")
    yield certificate.make(folder)


def secure(offer: str) -> str:
    """The same offer with SRTP."""
    return offer.replace("RTP/AVP", "RTP/SAVP", 1)


class SecurePlayer:
    """A client that plays SRTP: keys of the description, its own for its reports."""

    def __init__(self, stage: Stage, caller: Caller, way: str) -> None:
        self.stage = stage
        self.caller = caller
        self.pairs: list[UdpPair] = [stage.pair(), stage.pair()] if way == "udp" else []
        self.keys = [SecureTrack(0xABC0 + track) for track in range(2)]
        self.session = ""

    @classmethod
    async def start(cls, stage: Stage, way: str, *, described: bool = True) -> "SecurePlayer":
        player = cls(stage, await stage.call(secure=True), way)
        if described:
            await player.describe()
        for track in range(2):
            reply = await player.set_up(track)
            assert reply.status == 200, reply
            player.session = reply.session
            player.keys[track].take_header(reply["KeyMgmt"])
        assert (await player.caller.ask("PLAY", Session=player.session)).status == 200
        return player

    async def describe(self) -> tuple[MediaDescription, ...]:
        reply = await self.caller.ask("DESCRIBE")
        assert reply.status == 200
        description = SessionDescription.parse(reply.body)
        for key, media in zip(self.keys, description.media, strict=True):
            key.take_media(media, description)
        return description.media

    async def set_up(self, track: int, key: str = "") -> Reply:
        url = f"{self.caller.url}/trackID={track}"
        tcp = f"RTP/AVP/TCP;unicast;interleaved={2 * track}-{2 * track + 1}"
        offer = secure(self.pairs[track].offer if self.pairs else tcp)
        mine = key or self.keys[track].header(url, NTP)
        if self.session:
            return await self.caller.ask(
                "SETUP", url, Transport=offer, KeyMgmt=mine, Session=self.session
            )
        return await self.caller.ask("SETUP", url, Transport=offer, KeyMgmt=mine)

    def raw(self, track: int, rtcp: bool = False) -> list[bytes]:
        if self.pairs:
            return self.pairs[track].rtcp if rtcp else self.pairs[track].rtp
        return self.caller.packets(2 * track + rtcp)

    async def until(self, track: int, number: int) -> list[bytes]:
        await until(lambda: len(self.raw(track)) >= number, f"{number} of track {track}")
        return self.raw(track)

    def opened(self, track: int, packets: list[bytes]) -> list[RtpPacket]:
        receiver = self.keys[track].receiver
        assert receiver is not None
        plain = receiver.unprotect(packets)
        assert receiver.drops == {}
        return [RtpPacket.parse(data) for data in plain]

    def report(self, track: int, data: bytes) -> None:
        if self.pairs:
            self.pairs[track].send(1, data, self.stage.rtp_port + 1)
        else:
            self.caller.send_frame(2 * track + 1, data)

    def link(self) -> LinkFigures:
        (reader,) = self.stage.stream().readers.values()
        assert isinstance(reader, Linked)
        return reader.link()


# -- players -----------------------------------------------------------------------------------


async def test_the_description_brings_the_keys(own: Certificate) -> None:
    async with Stage(own) as stage:
        stage.camera()
        player = SecurePlayer(stage, await stage.call(secure=True), "tcp")
        media = await player.describe()
        assert [each.protocol for each in media] == ["RTP/SAVP", "RTP/SAVP"]
        plain = await stage.call()
        reply = await plain.ask("DESCRIBE")
        description = SessionDescription.parse(reply.body)
        assert [each.protocol for each in description.media] == ["RTP/AVP", "RTP/AVP"]
        assert b"key-mgmt" not in reply.body


@WAYS
@pytest.mark.parametrize("described", [True, False])
async def test_media_and_reports_are_protected(own: Certificate, way: str, described: bool) -> None:
    async with Stage(own) as stage:
        camera = stage.camera()
        player = await SecurePlayer.start(stage, way, described=described)
        camera.run(3)
        camera.run(1, size=20_000)
        packets = await player.until(0, 20)
        video = player.opened(0, packets[:20])
        assert video[-1].payload.endswith(bytes(100))
        assert not any(bytes(100) in data for data in packets)
        audio = player.opened(1, (await player.until(1, 5))[:5])
        assert {packet.payload for packet in audio} == {bytes(320)}
        await until(lambda: bool(player.raw(0, rtcp=True)))
        receiver = player.keys[0].receiver
        assert receiver is not None
        (compound,) = receiver.unprotect_rtcp(player.raw(0, rtcp=True)[:1])
        report = parse_compound(compound)[0]
        assert isinstance(report, SenderReport)
        assert report.ssrc == video[0].ssrc


@WAYS
async def test_their_reports_are_opened_and_forgeries_are_not(own: Certificate, way: str) -> None:
    async with Stage(own) as stage:
        stage.camera()
        player = await SecurePlayer.start(stage, way)
        (first,) = player.opened(0, (await player.until(0, 1))[:1])
        block = ReportBlock(first.ssrc, 0, 6, 0, 0, 0, 0)
        plain = ReceiverReport(1, (block,)).serialize()
        player.report(0, plain)  # not protected
        player.report(0, SecureTrack(1).sender.protect_rtcp(plain))  # with another key
        await until(
            lambda: (
                stage.bridge.refusals()["srtcp-auth-failed"]
                + stage.bridge.refusals()["srtcp-malformed"]
                == 2
            )
        )
        assert player.link().lost == 0
        player.report(0, player.keys[0].sender.protect_rtcp(plain))
        await until(lambda: player.link().lost == 6)


async def test_reports_through_a_nat_are_opened_with_the_right_key(own: Certificate) -> None:
    async with Stage(own) as stage:
        stage.camera()
        player = await SecurePlayer.start(stage, "udp")
        nat = stage.pair()
        for track, lost in ((1, 3), (0, 4)):
            (first,) = player.opened(track, (await player.until(track, 1))[:1])
            block = ReportBlock(first.ssrc, 0, lost, 0, 0, 0, 0)
            compound = ReceiverReport(1 + track, (block,)).serialize()
            nat.send(1, player.keys[track].sender.protect_rtcp(compound), stage.rtp_port + 1)
        await until(lambda: player.link().lost == 7)
        assert stage.bridge.refusals()["srtcp-auth-failed"] == 0


async def test_players_have_keys_of_their_own(own: Certificate) -> None:
    async with Stage(own) as stage:
        camera = stage.camera()
        one = await SecurePlayer.start(stage, "tcp")
        two = await SecurePlayer.start(stage, "tcp")
        camera.run(2)
        first, second = [await each.until(0, 4) for each in (one, two)]
        assert first[-1][:12] == second[-1][:12]  # the same packet
        assert first[-1] != second[-1]
        receiver = two.keys[0].receiver
        assert receiver is not None
        assert receiver.unprotect(first[:1]) == []


@pytest.mark.parametrize("is_over", [False, True])
async def test_a_long_group_of_pictures_comes_whole_and_in_order(
    own: Certificate, is_over: bool
) -> None:
    """Within the connection it is protected in slices; the end waits for them."""
    async with Stage(own) as stage:
        camera = stage.camera()
        camera.run(40, size=20_000)
        player = await SecurePlayer.start(stage, "tcp")
        joined = 2 + 40 * 15
        camera.run(3)
        if is_over:
            stage.router.remove("cam", "stream-deleted", 0.0)
            await player.caller.wait_closed()
            assert len(player.raw(0)) == joined + 3
        else:
            await player.until(0, joined)
            camera.run(1)  # what came while it drained is given with what comes next
            await player.until(0, joined + 4)
        assert is_unbroken(player.opened(0, player.raw(0)))


@pytest.mark.parametrize("way", ["tcp", "udp"])
async def test_a_track_is_left_out_and_the_other_goes_on(own: Certificate, way: str) -> None:
    async with Stage(own) as stage:
        camera = stage.camera()
        player = await SecurePlayer.start(stage, way)
        await player.caller.ask(
            "TEARDOWN", player.caller.url + "/trackID=1", Session=player.session
        )
        seen = len(player.raw(1))
        camera.run(3)
        packets = await player.until(0, 5)
        assert len(player.opened(0, packets)) == 5
        assert len(player.raw(1)) == seen


async def test_within_the_connection_it_may_be_plain(own: Certificate) -> None:
    """ffmpeg knows no SRTP of RTSP: TLS protects the whole connection."""
    async with Stage(own) as stage:
        stage.camera()
        caller = await stage.call(secure=True)
        await caller.play(TCP_01)
        packets = await caller.until_packets(0, 2)
        assert RtpPacket.parse(packets[1]).payload == b"\x41\x9a" + bytes(1000)


async def test_nothing_leaves_in_the_clear(own: Certificate) -> None:
    async with Stage(own) as stage:
        stage.camera()
        caller, pair = await stage.call(secure=True), stage.pair()
        url = caller.url + "/trackID=0"
        for offer in (
            pair.offer,
            "RTP/AVP;multicast",
            "RTP/SAVP;multicast",
            f"{pair.offer},RTP/AVP;multicast",
        ):
            reply = await caller.ask("SETUP", url, Transport=offer)
            assert (reply.status, "transport-not-offered" in reply.phrase) == (461, True)
        assert stage.bridge.usage().registrations == 0
        reply = await caller.ask("SETUP", url, Transport=f"{pair.offer},{TCP_01}")
        assert "interleaved" in reply["Transport"]
        await caller.ask("PLAY", Session=reply.session)
        await caller.until_packets(0, 2)
        assert pair.rtp == pair.rtcp == []


async def test_keys_do_not_travel_in_the_clear(own: Certificate) -> None:
    async with Stage(own) as stage:
        stage.camera()
        caller, pair = await stage.call(), stage.pair()
        for offer in (pair.offer, TCP_01):
            reply = await caller.ask("SETUP", caller.url + "/trackID=0", Transport=secure(offer))
            assert reply.status == 461


async def test_one_session_is_secured_or_not(own: Certificate) -> None:
    async with Stage(own) as stage:
        stage.camera()
        player = SecurePlayer(stage, await stage.call(secure=True), "tcp")
        reply = await player.set_up(0)
        reply = await player.caller.ask(
            "SETUP",
            player.caller.url + "/trackID=1",
            Transport="RTP/AVP/TCP;unicast;interleaved=2-3",
            Session=reply.session,
        )
        assert reply.status == 461


@pytest.mark.parametrize("key", ["prot=mikey;uri=x;data=AAAA", "nonsense", "prot=mikey;data="])
async def test_keys_that_are_none(own: Certificate, key: str) -> None:
    async with Stage(own) as stage:
        stage.camera()
        player = SecurePlayer(stage, await stage.call(secure=True), "tcp")
        reply = await player.set_up(0, key)
        assert reply.status == 400
        assert stage.bridge.usage().sessions == 0
        assert not player.caller.is_closed


async def test_descriptions_hold_no_more_than_the_last_of_them(own: Certificate) -> None:
    async with Stage(own) as stage:
        for number in range(20):
            stage.camera(f"cam{number}")
        caller = await stage.call("cam0", secure=True)
        for _ in range(3):
            await caller.ask("DESCRIBE")
        assert stage.bridge.usage().keys == 1
        for number in range(20):
            await caller.ask("DESCRIBE", caller.url.replace("cam0", f"cam{number}"))
        assert stage.bridge.usage().keys <= 8
        held = [stream.name for stream in stage.router.streams() if "rtp" in stream.outputs]
        assert len(held) == stage.bridge.usage().keys
        stage.router.remove(held[-1], "stream-deleted", 0.0)
        assert stage.bridge.usage().keys == len(held) - 1


async def test_what_does_not_fit_a_frame_with_its_tag_is_left_out(own: Certificate) -> None:
    """A payload of an unknown format as long as interleaved frames can be."""
    track = Track(0, Kind.DATA, "rtp/x-big", 90_000)
    (out,) = rtp_tracks([track], lambda _: 1)
    packer = RtpPacker([out])
    size = MAX_FRAME_BYTES - 12
    sizes = [size, 100, size - 10, size - 9]
    data = b"".join(
        packer.encode(Frame(track, n, n, 0, 0.0, True, False, None, (bytes(each),)))
        for n, each in enumerate(sizes)
    )
    keys = SecureTrack(out.ssrc)
    dressed = secured_frames({0: keys}, {0: 6}, data)
    lengths = []
    while dressed:
        length = int.from_bytes(dressed[2:4], "big")
        assert dressed[:2] == b"$\x06"
        lengths.append(length - 12 - keys.sender.growth)
        dressed = dressed[4 + length :]
    assert lengths == [100, size - 10]


# -- publishers --------------------------------------------------------------------------------


class SecureSender(Sender):
    """A publisher whose packets are SRTP."""

    def __init__(self, stage: Stage, caller: Caller, way: str, keys: list[SecureTrack]) -> None:
        self.keys = keys
        sections = [VIDEO_SECTION, AUDIO_SECTION]
        lines = [
            section.replace("RTP/AVP", "RTP/SAVP")
            + "".join(f"{line}\r\n" for line in key.attributes(NTP))
            for section, key in zip(sections, keys, strict=True)
        ]
        super().__init__(stage, caller, way, HEAD + "".join(lines))

    @classmethod
    async def begin(cls, stage: Stage, way: str) -> "SecureSender":
        keys = [SecureTrack(ssrc) for ssrc in SSRCS]
        sender = cls(stage, await stage.call("studio", secure=True), way, keys)
        reply = await sender.announce()
        assert reply.status == 200, reply
        assert reply["KeyMgmt"].count("prot=mikey") == 2
        for track in range(2):
            reply = await sender.set_up(track)
            assert reply.status == 200, reply
            sender.keys[track].take_header(reply["KeyMgmt"])
        assert (await sender.record()).status == 200
        return sender

    async def set_up(self, track: int, transport: str = "") -> Reply:
        tcp = f"RTP/AVP/TCP;unicast;interleaved={2 * track + 1}-{2 * track + 2}"  # odd ones
        own = transport or secure(self.pairs[track].offer if self.pairs else tcp)
        return await super().set_up(track, own)

    def send(self, track: int, data: bytes, *, is_rtcp: bool = False) -> None:
        sender = self.keys[track].sender
        if is_rtcp:
            packets = [sender.protect_rtcp(data)]
        else:
            packets = [run for run, _ in sender.protect_run(data, len(data))]
        for packet in packets:
            self.send_raw(track, packet, is_rtcp=is_rtcp)

    def send_raw(self, track: int, data: bytes, *, is_rtcp: bool = False) -> None:
        if self.pairs:
            super().send(track, data, is_rtcp=is_rtcp)
        else:
            self.caller.send_frame(2 * track + 1 + is_rtcp, data)

    def heard(self, track: int) -> list[bytes]:
        return self.pairs[track].rtcp if self.pairs else self.caller.packets(2 * track + 2)


@WAYS
async def test_a_publisher_with_srtp(own: Certificate, way: str) -> None:
    async with Stage(own) as stage:
        stage.router.declare("studio", StreamOptions())
        sender = await SecureSender.begin(stage, way)
        watcher = Watcher()
        stage.stream("studio").outputs[watcher.name] = watcher
        for number in range(4):
            sender.frame(number, key=number == 0)
        await until(lambda: len(watcher.payloads(H264)) == 4 and len(watcher.payloads(PCMU)) >= 3)
        assert watcher.payloads(H264)[3] == (b"\x41\x9a" + bytes((3,)) * 200,)
        sender.send_raw(0, sender.packet(0, b"\x41\x9a", seconds=2))  # not protected
        await until(lambda: sum(stage.stream("studio").drops.values()) == 1)
        (reason,) = stage.stream("studio").drops
        assert reason.startswith("srtp-")
        sent = SenderReport(SSRCS[0], 0xE000_0000_8000_0000, 90_000, 1, 1)
        sender.send(0, sent.serialize(), is_rtcp=True)
        for number in range(8):
            await stage.advance(1.0)
            sender.frame(4 + number)
        await until(lambda: bool(sender.heard(0)))
        receiver = sender.keys[0].receiver
        assert receiver is not None
        (compound, *_) = receiver.unprotect_rtcp(sender.heard(0))
        report = parse_compound(compound)[0]
        assert isinstance(report, ReceiverReport)
        assert report.blocks[0].last_sr == 0x0000_8000


async def test_forged_packets_are_no_life(own: Certificate) -> None:
    async with Stage(own) as stage:
        stage.router.declare("studio", StreamOptions())
        sender = await SecureSender.begin(stage, "udp")
        for _ in range(12):
            sender.send_raw(0, sender.packet(0, b"\x41\x9a" + bytes(40), seconds=1))
            await stage.advance(1.0)
        await sender.caller.wait_closed()  # the media timeout
        assert stage.stream("studio").drops["srtp-auth-failed"] >= 9


async def test_a_publisher_without_a_key(own: Certificate) -> None:
    async with Stage(own) as stage:
        stage.router.declare("studio", StreamOptions())
        caller = await stage.call("studio", secure=True)
        sdp = HEAD + VIDEO_SECTION.replace("RTP/AVP", "RTP/SAVP")
        sender = Sender(stage, caller, "tcp", sdp)
        assert (await sender.announce()).status == 200  # it may come with SETUP
        reply = await sender.set_up(0, secure("RTP/AVP/TCP;unicast;interleaved=0-1"))
        assert (reply.status, "srtp-no-key" in reply.phrase) == (400, True)
        reply = await sender.set_up(0)
        assert reply.status == 461  # what was announced with SRTP does not come without


async def test_a_publisher_with_a_broken_key(own: Certificate) -> None:
    async with Stage(own) as stage:
        stage.router.declare("studio", StreamOptions())
        caller = await stage.call("studio", secure=True)
        section = VIDEO_SECTION.replace("RTP/AVP", "RTP/SAVP") + "a=key-mgmt:mikey AAAA\r\n"
        reply = await Sender(stage, caller, "tcp", HEAD + section).announce()
        assert reply.status == 400


async def test_a_publisher_through_tls_without_srtp(own: Certificate) -> None:
    """Within the connection it is protected; beside it, it may not come."""
    async with Stage(own) as stage:
        stage.router.declare("studio", StreamOptions())
        caller = await stage.call("studio", secure=True)
        sender = Sender(stage, caller, "tcp", HEAD + VIDEO_SECTION)
        await sender.announce()
        assert (await sender.set_up(0, stage.pair().offer)).status == 461
        assert (await sender.set_up(0)).status == 200
        assert (await sender.record()).status == 200
