"""Publishers: what they announce and send becomes a stream; who may, who may not, how it ends."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from flux.bridges.rtsp.server import MAX_TRACKS
from media.events import PublisherStarted, PublisherStopped
from media.publisher import Publisher
from media.stream import State, Stream, StreamOptions
from media.track import AAC, H264, PCMU
from protocols.rtcp import Goodbye, ReceiverReport, RtcpPacket, SenderReport, parse_compound
from protocols.rtsp.server_options import ServerOptions
from tests.support import ts_build
from tests.support.h264_sets import PPS, SPS
from tests.support.rtsp_app import TCP_01, TCP_23
from tests.support.rtsp_caller import until
from tests.support.rtsp_sender import (
    AUDIO_SECTION,
    HEAD,
    SDP,
    SSRCS,
    VIDEO_SECTION,
    Sender,
    Watcher,
)
from tests.support.rtsp_stage import Stage

NAME = "studio"
WAYS = pytest.mark.parametrize("way", ["tcp", "udp"])


def declare(stage: Stage, *, take_over: bool = False) -> Stream:
    return stage.router.declare(NAME, StreamOptions(), take_over=take_over).stream


def watch(stage: Stage) -> Watcher:
    """Look at the stream from now on."""
    watcher = Watcher()
    stage.stream(NAME).outputs[watcher.name] = watcher
    return watcher


@dataclass(frozen=True)
class Seen:
    """What the API shows of a publisher."""

    origin: str
    address: str
    transport: str
    lost: int


def publisher_of(stage: Stage) -> Publisher:
    publisher = stage.router.publisher(NAME)
    assert publisher is not None
    return publisher


def seen(stage: Stage) -> Seen:
    publisher = publisher_of(stage)
    assert publisher.link is not None
    figures = publisher.link()
    return Seen(publisher.origin, publisher.address, figures.transport, figures.lost)


def codecs(stage: Stage) -> list[str]:
    return [track.codec for track in publisher_of(stage).tracks]


def agent(stage: Stage) -> str:
    return publisher_of(stage).user_agent


def reports(packets: Sequence[bytes]) -> list[RtcpPacket]:
    return [report for data in packets for report in parse_compound(data)]


# -- what comes through ------------------------------------------------------------------------


@WAYS
async def test_what_is_sent_is_the_stream(way: str) -> None:
    async with Stage() as stage:
        declare(stage)
        sender = await Sender.start(stage, way)
        watcher = watch(stage)
        for number in range(6):
            sender.frame(number, key=number == 0)
        await until(lambda: len(watcher.payloads(H264)) == 6)
        assert watcher.payloads(H264) == [
            ((b"\x65\x88" if n == 0 else b"\x41\x9a") + bytes((n,)) * 200,) for n in range(6)
        ]
        await until(lambda: len(watcher.payloads(PCMU)) >= 5)
        times = [f.pts / f.track.clock_rate for f in watcher.frames if f.track.codec == H264]
        assert [round(time - times[0], 3) for time in times] == [0, 0.04, 0.08, 0.12, 0.16, 0.2]
        assert watcher.frames[0].key
        assert seen(stage) == Seen("rtsp", "127.0.0.1", way, 0)
        assert dict(stage.stream(NAME).drops) == {}


@WAYS
async def test_a_player_plays_what_is_published(way: str) -> None:
    async with Stage() as stage:
        declare(stage)
        sender = await Sender.start(stage, way)
        sender.frame(0, key=True)
        sender.frame(1)
        player = await stage.call(NAME)
        await player.play(TCP_01, TCP_23)
        for number in range(2, 5):
            sender.frame(number)
        packets = await player.until_packets(0, 5)
        assert packets[-1][12:] == b"\x41\x9a" + bytes((4,)) * 200


async def test_udp_is_told_our_ports_and_tcp_its_channels() -> None:
    async with Stage() as stage:
        declare(stage)
        sender = await Sender.start(stage, "udp")
        rtp = stage.rtp_port
        for pair, transport in zip(sender.pairs, sender.transports, strict=True):
            assert "client_port={}-{}".format(*pair.ports) in transport
            assert f"server_port={rtp}-{rtp + 1}" in transport
            assert transport.endswith("mode=record")
        stage.router.declare("other", StreamOptions())
        other = await Sender.start(stage, "tcp", "other")
        assert ["interleaved=0-1" in other.transports[0], "2-3" in other.transports[1]] == [
            True
        ] * 2


async def test_channels_are_the_publishers_choice() -> None:
    async with Stage() as stage:
        declare(stage)
        sender = Sender(stage, await stage.call(NAME), "tcp", SDP)
        await sender.announce()
        await sender.set_up(0, "RTP/AVP/TCP;unicast;interleaved=7-8")
        await sender.set_up(1, "RTP/AVP/TCP;unicast;interleaved=20-21")
        assert (await sender.record()).status == 200
        watcher = watch(stage)
        for number, head in enumerate((b"\x65\x88", b"\x41\x9a")):
            sender.caller.send_frame(7, sender.packet(0, head + bytes(50), seconds=number))
            sender.caller.send_frame(20, sender.packet(1, bytes(160), seconds=number))
        await until(lambda: len(watcher.payloads(H264)) == 2 and len(watcher.payloads(PCMU)) >= 1)


async def test_media_that_does_not_wait_for_the_answer_to_record() -> None:
    async with Stage() as stage:
        declare(stage)
        sender = Sender(stage, await stage.call(NAME), "tcp", SDP)
        await sender.announce()
        await sender.set_up(0)
        await sender.set_up(1)
        sender.caller.send("RECORD", Session=sender.session)
        sender.frame(0, key=True)
        sender.frame(1)
        await sender.caller.until(lambda: len(sender.caller.replies) == 4)
        await until(lambda: stage.stream(NAME).state is State.READY)
        assert len(stage.stream(NAME).gop.frames()) >= 3


async def test_one_track_alone_may_be_set_up() -> None:
    async with Stage() as stage:
        declare(stage)
        sender = Sender(stage, await stage.call(NAME), "tcp", SDP)
        await sender.announce()
        await sender.set_up(1)
        assert (await sender.record()).status == 200
        assert codecs(stage) == [PCMU]


# -- reports -----------------------------------------------------------------------------------


@WAYS
async def test_receiver_reports_go_back(way: str) -> None:
    async with Stage() as stage:
        declare(stage)
        sender = await Sender.start(stage, way)
        sent = SenderReport(SSRCS[0], 0xE000_0000_8000_0000, 90_000, 1, 1)
        sender.frame(0, key=True)
        sender.send(0, sent.serialize(), is_rtcp=True)
        for number in (1, 2, 5):  # two are lost
            sender.send(0, sender.packet(0, b"\x41\x9a" + bytes(9), seconds=number))
            if number == 2:
                for lost in (3, 4):
                    sender.packet(0, b"", seconds=lost)
        await until(lambda: seen(stage).lost == 2)
        for _ in range(8):
            await stage.advance(1.0)
            sender.send(1, sender.packet(1, bytes(160), seconds=9))
        await until(lambda: bool(sender.heard(0)) and bool(sender.heard(1)))
        (report, *_) = [r for r in reports(sender.heard(0)) if isinstance(r, ReceiverReport)]
        (block,) = report.blocks
        assert (block.ssrc, block.cumulative_lost) == (SSRCS[0], 2)
        assert block.last_sr == 0x0000_8000
        if way == "udp":
            assert {address[1] for _, address in sender.pairs[0].heard[1]} == {stage.rtp_port + 1}
        assert seen(stage) == Seen("rtsp", "127.0.0.1", way, 2)


async def test_rtcp_of_a_publisher_through_a_nat() -> None:
    """From a port that no SETUP named: its SSRC tells the track."""
    async with Stage() as stage:
        declare(stage)
        sender = await Sender.start(stage, "udp")
        nat = stage.pair()
        for number in range(3):
            sender.frame(number, key=number == 0)
        await until(lambda: len(stage.stream(NAME).gop.frames()) >= 4)
        sent = SenderReport(SSRCS[1], 0xE000_0000_4000_0000, 8_000, 1, 1)
        nat.send(1, sent.serialize(), stage.rtp_port + 1)
        nat.send(1, ReceiverReport(77).serialize(), stage.rtp_port + 1)
        await until(lambda: stage.stream(NAME).drops["rtcp-sr-other-source"] == 1)
        for _ in range(8):
            await stage.advance(1.0)
            sender.frame(4)
        await until(lambda: bool(sender.heard(1)))
        (report, *_) = [r for r in reports(sender.heard(1)) if isinstance(r, ReceiverReport)]
        assert report.blocks[0].last_sr == 0x0000_4000
        assert stage.bridge.refusals()["rtcp-stranger"] == 0


# -- names -------------------------------------------------------------------------------------


async def test_a_name_that_somebody_has() -> None:
    async with Stage() as stage:
        declare(stage)
        await Sender.start(stage)
        late = Sender(stage, await stage.call(NAME), "tcp", SDP)
        reply = await late.announce()
        assert (reply.status, "name-taken" in reply.phrase) == (403, True)
        assert stage.bridge.refusals()["name-taken"] == 1


async def test_a_name_that_is_taken_between_announce_and_record() -> None:
    async with Stage() as stage:
        declare(stage)
        late = Sender(stage, await stage.call(NAME), "tcp", SDP)
        await late.announce()
        await late.set_up(0)
        await Sender.start(stage)
        reply = await late.record()
        assert (reply.status, "name-taken" in reply.phrase) == (403, True)


@WAYS
async def test_another_one_takes_over(way: str) -> None:
    async with Stage() as stage:
        declare(stage, take_over=True)
        first = await Sender.start(stage, way)
        first.frame(0, key=True)
        first.frame(1)
        player = await stage.call(NAME)
        await player.play(TCP_01)
        second = await Sender.start(stage, way)
        await first.caller.wait_closed()
        second.frame(0, key=True)
        await player.until_packets(0, 3)
        assert not player.is_closed
        (stopped,) = stage.heard(PublisherStopped)
        assert isinstance(stopped, PublisherStopped)
        assert stopped.reason == "taken-over"


async def test_undeclared_names_may_be_published_where_that_is_allowed() -> None:
    async with Stage() as stage:
        sender = Sender(stage, await stage.call("anything/at-all"), "tcp", SDP)
        reply = await sender.announce()
        assert (reply.status, "stream-not-found" in reply.phrase) == (404, True)

        def resolve(name: str) -> bool:
            stage.router.declare(name, StreamOptions(), origin="publisher")
            return True

        stage.router.resolve_published = resolve
        sender = await Sender.start(stage, "tcp", "anything/at-all")
        assert stage.router.publisher("anything/at-all") is not None


async def test_publishing_can_be_switched_off() -> None:
    async with Stage(server=ServerOptions(may_publish=False)) as stage:
        declare(stage)
        sender = Sender(stage, await stage.call(NAME), "tcp", SDP)
        assert (await sender.announce()).status == 405


# -- what is no publication --------------------------------------------------------------------

RTX = "m=video 0 RTP/AVP 97\r\na=rtpmap:97 rtx/90000\r\n"


@pytest.mark.parametrize(
    ("sdp", "status", "reason"),
    [
        ("\0\1\2", 400, "sdp"),
        ("not sdp at all", 400, "sdp-empty"),
        (HEAD, 415, "no-usable-track"),
        (HEAD + "m=video 0 UDP 96\r\n", 415, "sdp-not-rtp"),
        (HEAD + "m=video 0 RTP/SAVP 96\r\na=rtpmap:96 H264/90000\r\n", 415, "sdp-secure-rtp"),
        (HEAD + "m=video 0 RTP/AVP 96\r\n", 415, "sdp-no-encoding"),
        (HEAD + RTX, 415, "sdp-auxiliary-only"),
        (HEAD + "m=video 0 RTP/AVP 96\r\n" * 65, 400, "sdp-too-many-media"),
        ("v=0\r\n" * 5000, 400, "sdp-too-many-lines"),
    ],
)
async def test_descriptions_that_are_refused(sdp: str, status: int, reason: str) -> None:
    async with Stage() as stage:
        declare(stage)
        sender = Sender(stage, await stage.call(NAME), "tcp", sdp)
        reply = await sender.announce()
        assert reply.status == status
        assert reason in reply.phrase
        assert stage.bridge.usage().sessions == 0
        assert (await sender.caller.ask("OPTIONS")).status == 200


async def test_sections_that_cannot_be_taken_do_not_hurt_the_others() -> None:
    async with Stage() as stage:
        declare(stage)
        sender = Sender(stage, await stage.call(NAME), "tcp", HEAD + RTX + VIDEO_SECTION)
        assert (await sender.announce()).status == 200
        assert (await sender.set_up(0)).status == 200
        assert (await sender.set_up(1)).status == 404
        assert (await sender.record()).status == 200


async def test_tracks_have_a_limit() -> None:
    sections = "".join(
        f"m=audio 0 RTP/AVP 0\r\na=control:streamid={number}\r\n" for number in range(40)
    )
    async with Stage() as stage:
        declare(stage)
        sender = Sender(stage, await stage.call(NAME), "tcp", HEAD + sections)
        await sender.announce()
        statuses = [(await sender.set_up(track)).status for track in range(20)]
        assert statuses == [200] * MAX_TRACKS + [404] * 4


async def test_requests_in_the_wrong_order() -> None:
    async with Stage() as stage:
        declare(stage)
        sender = Sender(stage, await stage.call(NAME), "tcp", SDP)
        assert (await sender.record()).status == 454
        reply = await sender.caller.ask(
            "SETUP", sender.caller.url + "/streamid=0", Transport=TCP_01 + ";mode=record"
        )
        assert (reply.status, "record-without-announce" in reply.phrase) == (455, True)
        await sender.announce()
        reply = await sender.record()
        assert reply.status == 455
        assert (await sender.caller.ask("PLAY", Session=sender.session)).status == 455
        await sender.set_up(0)
        await sender.set_up(1)
        assert (await sender.record()).status == 200
        assert (await sender.set_up(0)).status == 455


@pytest.mark.parametrize(
    "transport", ["RTP/AVP;multicast", "RTP/SAVP;unicast;client_port=5000-5001", "RTP/AVP"]
)
async def test_transports_that_no_publisher_may_have(transport: str) -> None:
    async with Stage() as stage:
        declare(stage)
        sender = Sender(stage, await stage.call(NAME), "tcp", SDP)
        await sender.announce()
        assert (await sender.set_up(0, transport)).status == 461
        assert (await sender.set_up(0)).status == 200
        pair = stage.pair()
        assert (await sender.set_up(1, pair.offer)).status == 461  # one session does not mix


# -- the end -----------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("method", ["TEARDOWN", "hang-up"])
async def test_who_leaves_is_waited_for(way: str, method: str) -> None:
    async with Stage() as stage:
        declare(stage)
        sender = await Sender.start(stage, way)
        sender.frame(0, key=True)
        sender.frame(1)
        player = await stage.call(NAME)
        await player.play(TCP_01, TCP_23)
        await player.until_packets(0, 2)
        if method == "TEARDOWN":
            reply = await sender.caller.ask("TEARDOWN", Session=sender.session)
            assert reply.status == 200
        else:
            sender.caller.hang_up()
        await until(lambda: stage.stream(NAME).state is State.LOST)
        assert not player.is_closed
        again = await Sender.start(stage, way)
        again.frame(0, key=True)
        packets = await player.until_packets(0, 3)
        numbers = [int.from_bytes(data[2:4], "big") for data in packets]
        assert [(number - numbers[0]) & 0xFFFF for number in numbers] == [0, 1, 2]


@WAYS
async def test_who_sends_nothing_is_sent_away(way: str) -> None:
    options = replace(ServerOptions(), media_timeout=5.0)
    async with Stage(server=options) as stage:
        declare(stage)
        sender = await Sender.start(stage, way)
        for number in range(10):
            sender.frame(number, key=number == 0)
            await stage.advance(1.0)
        assert not sender.caller.is_closed
        await stage.advance(5.1)
        await sender.caller.wait_closed()
        (stopped,) = stage.heard(PublisherStopped)
        assert isinstance(stopped, PublisherStopped)
        assert stopped.reason == "media-timeout"


@WAYS
async def test_goodbye_of_all_tracks_is_the_end(way: str) -> None:
    async with Stage() as stage:
        declare(stage)
        sender = await Sender.start(stage, way)
        for number in range(3):
            sender.frame(number, key=number == 0)
        await until(lambda: len(stage.stream(NAME).gop.frames()) >= 4)
        for track in (0, 1):
            assert stage.router.publisher(NAME) is not None
            report = ReceiverReport(SSRCS[track]).serialize()
            sender.send(track, report + Goodbye((SSRCS[track],)).serialize(), is_rtcp=True)
            await stage.advance(0.1)
        await until(lambda: stage.router.publisher(NAME) is None)
        (stopped,) = stage.heard(PublisherStopped)
        assert isinstance(stopped, PublisherStopped)
        assert stopped.reason == "source-ended"
        assert (await sender.caller.ask("TEARDOWN", Session=sender.session)).status == 454


async def test_goodbye_of_one_track_is_not_the_end() -> None:
    async with Stage() as stage:
        declare(stage)
        sender = await Sender.start(stage)
        sender.frame(0, key=True)
        report = ReceiverReport(SSRCS[1]).serialize()
        sender.send(1, report + Goodbye((SSRCS[1],)).serialize(), is_rtcp=True)
        sender.frame(1)
        await sender.caller.ask("OPTIONS")
        assert stage.router.publisher(NAME) is not None
        reply = await sender.caller.ask(
            "TEARDOWN", sender.caller.url + "/streamid=0", Session=sender.session
        )
        assert reply.status == 200
        sender.frame(2)
        await until(lambda: stage.router.publisher(NAME) is None)  # the other one had left


async def test_a_publisher_is_kicked() -> None:
    async with Stage() as stage:
        declare(stage)
        sender = await Sender.start(stage)
        (started,) = stage.heard(PublisherStarted)
        assert isinstance(started, PublisherStarted)
        assert stage.router.kick(started.session, 0.0)
        await sender.caller.wait_closed()
        (stopped,) = stage.heard(PublisherStopped)
        assert isinstance(stopped, PublisherStopped)
        assert stopped.reason == "kicked"
        await until(lambda: stage.bridge.usage().sessions == 0)


@WAYS
async def test_pause_and_record_again(way: str) -> None:
    async with Stage() as stage:
        declare(stage)
        sender = await Sender.start(stage, way)
        watcher = watch(stage)
        sender.frame(0, key=True)
        await until(lambda: len(watcher.payloads(H264)) == 1)
        assert (await sender.caller.ask("PAUSE", Session=sender.session)).status == 200
        await stage.advance(15)  # longer than the media timeout
        assert (await sender.record()).status == 200
        sender.frame(1)
        await until(lambda: len(watcher.payloads(H264)) == 2)
        assert len(stage.heard(PublisherStarted)) == 1


async def test_one_connection_publishes_and_plays() -> None:
    """Their channels are apart: what is of one session is no drop of the other."""
    async with Stage() as stage:
        declare(stage)
        stage.camera("cam")
        sender = await Sender.start(stage)
        sender.frame(0, key=True)
        caller = sender.caller
        reply = await caller.ask(
            "SETUP",
            stage.url("cam") + "/trackID=0",
            Transport="RTP/AVP/TCP;unicast;interleaved=10-11;mode=play",
        )
        assert (await caller.ask("PLAY", stage.url("cam"), Session=reply.session)).status == 200
        await caller.until_packets(10, 2)
        caller.send_frame(11, ReceiverReport(5).serialize())
        sender.frame(1)
        await until(lambda: len(stage.stream(NAME).gop.frames()) >= 3)
        assert dict(stage.stream(NAME).drops) == {}
        assert stage.bridge.usage().sessions == 2
        await caller.ask("TEARDOWN", Session=sender.session)
        assert not caller.is_closed
        assert stage.bridge.usage().sessions == 1


async def test_how_a_publisher_calls_itself_is_kept_in_part() -> None:
    async with Stage() as stage:
        declare(stage)
        caller = await stage.call(NAME)
        reply = await caller.ask("ANNOUNCE", body=SDP.encode(), User_Agent="e" * 1000)
        await caller.ask(
            "SETUP", caller.url + "/streamid=0", Transport=TCP_01, Session=reply.session
        )
        await caller.ask("RECORD", Session=reply.session)
        assert agent(stage) == "e" * 256


# -- MPEG-TS inside RTP ------------------------------------------------------------------------

TS_SECTION = "m=video 0 RTP/AVP 33\r\na=control:streamid=0\r\n"
ADTS = bytes.fromhex("fff14c80") + ((7 + 20) << 5 | 0x1F).to_bytes(2, "big") + b"\xfc" + bytes(20)


def transport_stream(frames: int) -> list[bytes]:
    """RTP payloads of seven packets: H.264 and AAC."""
    mux = ts_build.Mux()
    start = b"\0\0\0\1"
    data = mux.tables([(0x1B, ts_build.VIDEO_PID), (0x0F, ts_build.AUDIO_PID)])
    for number in range(frames):
        at = 90_000 + 3_600 * number
        key = start + SPS + start + PPS + start + b"\x65\x88" if not number else start + b"\x41\x9a"
        unit = start + b"\x09\xf0" + key + bytes((number + 1,)) * 300
        data += mux.unit(ts_build.VIDEO_PID, ts_build.pes(unit, at, length=0))
        data += mux.unit(ts_build.AUDIO_PID, ts_build.pes(ADTS, at, stream_id=0xC0))
    return [data[at : at + 7 * 188] for at in range(0, len(data), 7 * 188)]


@WAYS
async def test_a_transport_stream_inside_rtp(way: str) -> None:
    async with Stage() as stage:
        declare(stage)
        sender = await Sender.start(stage, way, sdp=HEAD + TS_SECTION + AUDIO_SECTION[:0])
        for number, payload in enumerate(transport_stream(12)):
            head = b"\x80\x21" + number.to_bytes(2, "big") + bytes(4) + b"MP2T"
            sender.send(0, head + payload)
        await until(lambda: stage.stream(NAME).state is State.READY)
        assert sorted(codecs(stage)) == [AAC, H264]
        assert seen(stage) == Seen("rtsp", "127.0.0.1", way, 0)
        pictures = [f for f in stage.stream(NAME).gop.frames() if f.track.codec == H264]
        assert len(pictures) >= 9
        assert pictures[1].payload == (b"\x41\x9a" + b"\2" * 300,)
        player = await stage.call(NAME)
        await player.play(TCP_01)
        await player.until_packets(0, 9)
        reply = await sender.caller.ask("TEARDOWN", Session=sender.session)
        assert reply.status == 200
        assert stage.router.publisher(NAME) is None


async def test_a_transport_stream_is_alone() -> None:
    async with Stage() as stage:
        declare(stage)
        sender = Sender(stage, await stage.call(NAME), "tcp", HEAD + TS_SECTION + AUDIO_SECTION)
        await sender.announce()
        assert (await sender.set_up(0)).status == 200
        assert (await sender.set_up(1)).status == 404


async def test_bytes_that_hold_no_program() -> None:
    async with Stage() as stage:
        declare(stage)
        sender = await Sender.start(stage, sdp=HEAD + TS_SECTION)
        junk = b"".join(ts_build.Mux().packet(0x1FFF, bytes(184)) for _ in range(7))
        for number in range(12):
            sender.send(0, b"\x80\x21" + number.to_bytes(2, "big") + bytes(4) + b"MP2T" + junk)
            await stage.advance(1.0)
        await sender.caller.wait_closed()
        await until(lambda: stage.bridge.usage().sessions == 0)


async def test_the_name_of_a_transport_stream_may_be_taken() -> None:
    async with Stage() as stage:
        declare(stage)
        late = Sender(stage, await stage.call(NAME), "tcp", HEAD + TS_SECTION)
        await late.announce()
        await late.set_up(0)
        await Sender.start(stage)
        reply = await late.record()
        assert (reply.status, "name-taken" in reply.phrase) == (403, True)


async def test_two_transport_streams_begin_under_one_name() -> None:
    """Both may record as long as no program is known; the second to know its own is sent away."""
    async with Stage() as stage:
        declare(stage)
        senders = [await Sender.start(stage, sdp=HEAD + TS_SECTION) for _ in range(2)]
        for sender in senders:
            for number, payload in enumerate(transport_stream(12)):
                head = b"\x80\x21" + number.to_bytes(2, "big") + bytes(4) + b"MP2T"
                sender.send(0, head + payload)
            await until(lambda: stage.router.publisher(NAME) is not None)
        await senders[1].caller.wait_closed()
        assert not senders[0].caller.is_closed
        assert stage.router.publisher(NAME) is not None
