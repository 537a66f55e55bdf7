"""Players: transports, the first packets, reports, PAUSE, TEARDOWN, ends; by TCP and by UDP."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from flux.base.units import NTP_SECOND
from media.codecs.g711 import G711Parameters
from media.events import ReaderClosed, ReaderSkipped
from media.feed_reader import FeedOptions
from media.link import Linked, LinkFigures
from media.stream import Reader, State, StreamOptions
from media.track import PCMA, Kind, TrackDescription
from protocols.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    parse_compound,
)
from protocols.rtp import RtpPacket
from tests.support.h264_sets import PPS, SPS
from tests.support.rtsp_app import TCP_01, TCP_23, Reply
from tests.support.rtsp_caller import Caller, UdpPair, until
from tests.support.rtsp_stage import AUDIO, FRAME, NAME, VIDEO, Camera, Stage

KEY_UNIT = 24  # STAP-A, RFC 6184 section 5.7.1: the parameter sets before a key frame
MULTICAST = "RTP/AVP;multicast"
INFO = re.compile(r"url=([^;]+);seq=(\d+);rtptime=(\d+)")


def rtp(packets: Sequence[bytes]) -> list[RtpPacket]:
    return [RtpPacket.parse(data) for data in packets]


def reports(packets: Sequence[bytes]) -> list[RtcpPacket]:
    return [report for data in packets for report in parse_compound(data)]


def sender_reports(packets: Sequence[bytes]) -> list[SenderReport]:
    return [report for report in reports(packets) if isinstance(report, SenderReport)]


def is_unbroken(packets: Sequence[RtpPacket]) -> bool:
    return all((two.sequence - one.sequence) & 0xFFFF == 1 for one, two in pairwise(packets))


def is_key(packet: RtpPacket) -> bool:
    return packet.payload[0] & 31 == KEY_UNIT


def info_of(reply: Reply) -> dict[str, tuple[int, int]]:
    """RTP-Info: sequence and timestamp by URL."""
    return {url: (int(seq), int(time)) for url, seq, time in INFO.findall(reply["RTP-Info"])}


class Player:
    """A client that plays by TCP or by UDP; `packets` and `reports` by track."""

    def __init__(self, stage: Stage, caller: Caller, pairs: Sequence[UdpPair]) -> None:
        self.stage = stage
        self.caller = caller
        self.pairs = pairs
        self.session = ""
        self.reply: Reply

    @classmethod
    async def start(cls, stage: Stage, way: str, query: str = "", name: str = NAME) -> "Player":
        pairs = [stage.pair(), stage.pair()] if way == "udp" else []
        player = cls(stage, await stage.call(name, query), pairs)
        player.session = await player.caller.set_up(*player.offers)
        player.reply = await player.caller.ask("PLAY", Session=player.session)
        assert player.reply.status == 200
        return player

    @property
    def offers(self) -> list[str]:
        return [pair.offer for pair in self.pairs] or [TCP_01, TCP_23]

    def packets(self, track: int) -> list[RtpPacket]:
        if self.pairs:
            return rtp(self.pairs[track].rtp)
        return rtp(self.caller.packets(2 * track))

    def reports(self, track: int) -> list[bytes]:
        return self.pairs[track].rtcp if self.pairs else self.caller.packets(2 * track + 1)

    def report(self, track: int, data: bytes) -> None:
        if self.pairs:
            self.pairs[track].send(1, data, self.stage.rtp_port + 1)
        else:
            self.caller.send_frame(2 * track + 1, data)

    async def until(self, track: int, number: int) -> list[RtpPacket]:
        """Wait for so many packets."""
        await until(lambda: len(self.packets(track)) >= number, f"{number} of track {track}")
        return self.packets(track)


WAYS = pytest.mark.parametrize("way", ["tcp", "udp"])


# -- transports --------------------------------------------------------------------------------


async def test_channels_are_the_clients_choice() -> None:
    async with Stage() as stage:
        camera = stage.camera()
        caller = await stage.call()
        offers = [
            "RTP/AVP/TCP;unicast;interleaved=9-10",
            "RTP/AVP/TCP;unicast;interleaved=250-251;mode=play",
        ]
        ssrcs = []
        session = ""
        for index, offer in enumerate(offers):
            headers = {"Session": session} if session else {}
            caller.send("SETUP", f"{caller.url}/trackID={index}", b"", Transport=offer, **headers)
            await caller.until(lambda wanted=index + 1: len(caller.replies) == wanted)
            reply = caller.replies[-1]
            session = reply.session
            match = re.search(r"interleaved=([\d-]+);ssrc=([0-9A-F]{8})", reply["Transport"])
            assert match is not None
            assert match[1] == ("9-10", "250-251")[index]
            ssrcs.append(int(match[2], 16))
        assert (await caller.ask("PLAY", Session=session)).status == 200
        camera.run(2)
        video, audio = await caller.until_packets(9, 4), await caller.until_packets(250, 3)
        assert [{packet.ssrc for packet in rtp(each)} for each in (video, audio)] == [
            {ssrcs[0]},
            {ssrcs[1]},
        ]
        assert {each.channel for each in caller.came if not each.reply} == {9, 10, 250, 251}


async def test_udp_leaves_from_the_ports_that_setup_told() -> None:
    async with Stage() as stage:
        camera = stage.camera()
        caller, pair = await stage.call(), stage.pair()
        reply = await caller.ask("SETUP", caller.url + "/trackID=0", Transport=pair.offer)
        rtp_port, rtcp_port = stage.rtp_port, stage.rtp_port + 1
        transport = reply["Transport"]
        assert "client_port={}-{}".format(*pair.ports) in transport
        assert f"server_port={rtp_port}-{rtcp_port}" in transport
        await caller.ask("PLAY", Session=reply.session)
        camera.run(2)
        await until(lambda: len(pair.rtp) >= 4)
        assert {address for _, address in pair.heard[0]} == {("127.0.0.1", rtp_port)}
        assert {address for _, address in pair.heard[1]} == {("127.0.0.1", rtcp_port)}
        match = re.search(r"ssrc=([0-9A-F]{8})", transport)
        assert match is not None
        assert {packet.ssrc for packet in rtp(pair.rtp)} == {int(match[1], 16)}


async def test_one_session_does_not_mix_transports() -> None:
    async with Stage() as stage:
        stage.camera()
        for first, second in ((TCP_01, "udp"), ("udp", TCP_23), ("udp", MULTICAST)):
            caller, pair = await stage.call(), stage.pair()
            one, two = (pair.offer if each == "udp" else each for each in (first, second))
            session = await caller.set_up(one)
            reply = await caller.ask(
                "SETUP", caller.url + "/trackID=1", Transport=two, Session=session
            )
            assert (reply.status, "transport-not-offered" in reply.phrase) == (461, True)
            both = f"{two},{TCP_23 if first == TCP_01 else stage.pair().offer}"
            reply = await caller.ask(
                "SETUP", caller.url + "/trackID=1", Transport=both, Session=session
            )
            assert reply.status == 200  # the offer that fits is taken
            caller.hang_up()


async def test_a_track_that_is_alone_may_change_its_transport() -> None:
    async with Stage() as stage:
        camera = stage.camera()
        caller, pair = await stage.call(), stage.pair()
        session = ""
        for offer in (MULTICAST, pair.offer, TCP_01, MULTICAST, pair.offer):
            session = await caller.set_up(offer, session=session)
        assert stage.bridge.usage().groups == 0
        await caller.ask("PLAY", Session=session)
        camera.run()
        await until(lambda: len(pair.rtp) >= 3)


@pytest.mark.parametrize(
    ("transports", "statuses"),
    [({"tcp"}, [200, 461, 461]), ({"udp"}, [461, 200, 461]), ({"multicast"}, [461, 461, 200])],
)
async def test_what_is_not_configured_is_not_offered(
    transports: set[str], statuses: list[int]
) -> None:
    async with Stage(transports=frozenset(transports)) as stage:
        stage.camera()
        pair = stage.pair()
        found = []
        for offer in (TCP_01, pair.offer, MULTICAST):
            caller = await stage.call()
            reply = await caller.ask("SETUP", caller.url + "/trackID=0", Transport=offer)
            found.append(reply.status)
        assert found == statuses
        if "udp" not in transports:
            assert stage.bridge.udp_ports is None


async def test_the_next_offer_is_taken_where_the_first_cannot_be() -> None:
    """What VLC of today sends: everything in one header."""
    async with Stage(transports=frozenset({"tcp"})) as stage:
        stage.camera()
        caller, pair = await stage.call(), stage.pair()
        reply = await caller.ask(
            "SETUP", caller.url + "/trackID=0", Transport=f"{pair.offer},{MULTICAST},{TCP_23}"
        )
        assert "interleaved=2-3" in reply["Transport"]


@pytest.mark.parametrize("track", ["trackID=2", "trackID=-1", "trackID=x", "trackID=0001"])
async def test_tracks_that_there_are_not(track: str) -> None:
    async with Stage() as stage:
        stage.camera()
        caller = await stage.call()
        reply = await caller.ask("SETUP", f"{caller.url}/{track}", Transport=TCP_01)
        assert reply.status == 404
        assert stage.stream().outputs == {}


async def test_the_only_track_needs_no_name() -> None:
    async with Stage() as stage:
        stage.camera(descriptions=[VIDEO])
        caller = await stage.call()
        assert (await caller.ask("SETUP", Transport=TCP_01)).status == 200
        stage.camera("two")
        caller = await stage.call("two")
        assert (await caller.ask("SETUP", Transport=TCP_01)).status == 404


# -- the beginning -----------------------------------------------------------------------------


@WAYS
async def test_rtp_info_is_what_is_really_sent_first(way: str) -> None:
    """The times of all tracks are one instant: that of the earliest packet."""
    async with Stage() as stage:
        camera = stage.camera()
        camera.run(7)
        player = await Player.start(stage, way)
        info = info_of(player.reply)
        camera.run(2)
        for track, clock, offset in ((0, 90_000, 0.0), (1, 8_000, FRAME)):
            first = (await player.until(track, 10))[0]
            sequence, time = info[f"{player.caller.url}/trackID={track}"]
            assert sequence == first.sequence
            later = ((first.timestamp - time) & 0xFFFF_FFFF) / clock
            assert later == pytest.approx(offset, abs=0.002 if offset else 0.0)
            assert is_unbroken(player.packets(track))
        assert player.reply["Range"] == "npt=now-"
        assert is_key(player.packets(0)[0])


@WAYS
@pytest.mark.parametrize("query", ["?start=key", "?start=live"])
async def test_rtp_info_is_absent_where_nobody_knows(way: str, query: str) -> None:
    async with Stage() as stage:
        camera = stage.camera()
        player = await Player.start(stage, way, query)
        assert "RTP-Info" not in player.reply
        assert player.reply["Range"] == "npt=now-"
        camera.run(3)
        if query == "?start=key":
            camera.run(2, key=True)
            packets = await player.until(0, 2)
            assert is_key(packets[0])
        else:
            packets = await player.until(0, 3)
            assert not any(map(is_key, packets))
            assert len(packets) == 3


@WAYS
async def test_a_track_that_has_said_nothing_makes_rtp_info_unknown(way: str) -> None:
    async with Stage() as stage:
        stage.router.declare(NAME, StreamOptions())
        camera = Camera(stage, NAME, [VIDEO, AUDIO])
        stage.cameras.append(camera)
        camera.audio()
        camera.video(key=True)  # the sound is before it: no part of what a joiner gets
        player = await Player.start(stage, way)
        assert "RTP-Info" not in player.reply
        camera.run(2)
        assert is_key((await player.until(0, 3))[0])
        assert len(await player.until(1, 2)) == 2


async def test_the_reply_is_in_front_of_the_media() -> None:
    async with Stage() as stage:
        camera = stage.camera()
        player = await Player.start(stage, "tcp")
        camera.run()
        await player.until(0, 3)
        came = player.caller.came
        assert [each.channel for each in came[:5]] == [-1, -1, -1, 1, 3]  # SETUP, PLAY, reports
        assert all(each.reply is None for each in came[3:])


async def test_default_start_is_configured() -> None:
    async with Stage(start="live") as stage:
        camera = stage.camera()
        player = await Player.start(stage, "tcp")
        camera.run(3)
        assert not any(map(is_key, await player.until(0, 3)))
        other = await Player.start(stage, "tcp", "?start=gop")
        assert is_key((await other.until(0, 1))[0])
        odd = await Player.start(stage, "tcp", "?start=nonsense")
        camera.run(1)
        assert not any(map(is_key, await odd.until(0, 1)))


# -- reports -----------------------------------------------------------------------------------


@WAYS
async def test_sender_reports_come_first_and_then_each_five_seconds(way: str) -> None:
    async with Stage() as stage:
        camera = stage.camera()
        player = await Player.start(stage, way)
        await until(lambda: all(len(player.reports(track)) == 1 for track in (0, 1)))
        for wanted in (2, 3):
            await camera.flow(4.4)
            assert [len(player.reports(track)) for track in (0, 1)] == [wanted - 1] * 2
            await camera.flow(1.2)
            await until(
                lambda wanted=wanted: all(len(player.reports(track)) == wanted for track in (0, 1))
            )


@WAYS
async def test_reports_tell_one_instant_for_all_tracks(way: str) -> None:
    async with Stage() as stage:
        camera = stage.camera()
        player = await Player.start(stage, way)
        await camera.flow(5.6)
        await until(lambda: all(len(player.reports(track)) == 2 for track in (0, 1)))
        video, audio = (sender_reports(player.reports(track)) for track in (0, 1))
        assert abs(video[1].ntp - audio[1].ntp) < NTP_SECOND / 1000
        # A frame's timestamp and the report's are apart by as much as their instants are.
        ((first, second), (clock_video, clock_audio)) = (video, audio), (90_000, 8_000)
        for pair, clock in ((first, clock_video), (second, clock_audio)):
            ticks = (pair[1].rtp_timestamp - pair[0].rtp_timestamp) & 0xFFFF_FFFF
            seconds = (pair[1].ntp - pair[0].ntp) / NTP_SECOND
            assert ticks / clock == pytest.approx(seconds, abs=0.002)
        # Picture and sound that were written together are one instant by the reports; the first
        # picture had no sound.
        at = []
        for track, report, clock in ((0, video[0], 90_000), (1, audio[0], 8_000)):
            packet = player.packets(track)[1 - track]
            ticks = (packet.timestamp - report.rtp_timestamp + (1 << 31) & 0xFFFF_FFFF) - (1 << 31)
            at.append(report.ntp / NTP_SECOND + ticks / clock)
        assert at[0] == pytest.approx(at[1], abs=0.002)
        names = {
            item
            for track in (0, 1)
            for report in reports(player.reports(track))
            if isinstance(report, SourceDescription)
            for chunk in report.chunks
            for item in chunk.items
        }
        assert len(names) == 1


@WAYS
async def test_reports_count_what_this_player_got(way: str) -> None:
    async with Stage() as stage:
        camera = stage.camera()
        early = await Player.start(stage, way)
        await camera.flow(5.6, gop=1000)
        late = await Player.start(stage, way)
        await camera.flow(5.6, gop=1000)
        for player, count in ((early, 3), (late, 2)):
            await until(lambda player=player, count=count: len(player.reports(0)) == count)
            report = sender_reports(player.reports(0))[-1]
            packets = player.packets(0)
            assert 0 <= len(packets) - report.packet_count < 40  # what came since
            sizes = [len(packet.payload) for packet in packets[: report.packet_count]]
            assert report.octet_count == sum(sizes)


@WAYS
async def test_what_receivers_report_is_in_the_link(way: str) -> None:
    async with Stage() as stage:
        camera = stage.camera()
        player = await Player.start(stage, way)

        def link() -> LinkFigures:
            (reader,) = stage.stream().readers.values()
            assert isinstance(reader, Linked)
            return reader.link()

        assert (link().transport, link().lost, link().round_trip) == (way, 0, None)
        await until(lambda: bool(player.reports(0)) and bool(player.reports(1)))
        for track, lost, jitter in ((0, 5, 900), (1, 2, 8)):
            (report,) = sender_reports(player.reports(track))
            last = report.ntp >> 16 & 0xFFFF_FFFF
            block = ReportBlock(report.ssrc, 0, lost, 0, jitter, last, 0)
            player.report(track, ReceiverReport(1, (block,)).serialize())
        await until(lambda: link().lost == 7)
        assert link().jitter == pytest.approx(0.01)
        assert 0 <= (link().round_trip or -1) < 5
        player.report(0, b"no RTCP")
        await until(lambda: stage.bridge.refusals()["rtcp-malformed"] == 1)
        camera.run()


@WAYS
async def test_a_silent_track_brings_no_flood_of_reports(way: str) -> None:
    async with Stage() as stage:
        metadata = TrackDescription(Kind.DATA, "onvif", 90_000)
        stage.router.declare(NAME, StreamOptions())
        camera = Camera(stage, NAME, [VIDEO, metadata])
        stage.cameras.append(camera)
        camera.video(key=True)
        player = await Player.start(stage, way)
        for _ in range(100):
            camera.video()
            await stage.advance(0.02)
        assert len(player.reports(0)) == 2
        assert player.reports(1) == []
        camera.write(1, (b"<xml/>",))
        await stage.advance(0.6)
        await until(lambda: len(player.reports(1)) == 1)


# -- PLAY again, PAUSE, TEARDOWN ---------------------------------------------------------------


@WAYS
async def test_a_second_play_changes_nothing(way: str) -> None:
    async with Stage() as stage:
        camera = stage.camera()
        player = await Player.start(stage, way)
        camera.run(3)
        await player.until(0, 5)
        seen = len(player.packets(0))
        reply = await player.caller.ask("PLAY", Session=player.session)
        assert (reply.status, "RTP-Info" in reply) == (200, False)
        camera.run(2)
        packets = await player.until(0, seen + 2)
        assert len(packets) == seen + 2
        assert is_unbroken(packets)
        assert len(stage.stream().readers) == 1
        assert [len(player.reports(track)) for track in (0, 1)] == [1, 1]


@WAYS
async def test_after_a_pause_it_goes_on_at_a_key_frame(way: str) -> None:
    async with Stage() as stage:
        camera = stage.camera()
        player = await Player.start(stage, way)
        await player.until(0, 2)
        await player.until(1, 1)
        assert (await player.caller.ask("PAUSE", Session=player.session)).status == 200
        seen = len(player.packets(0)), len(player.packets(1)), len(player.reports(0))
        await camera.flow(6.0)
        assert (len(player.packets(0)), len(player.packets(1)), len(player.reports(0))) == seen
        camera.run(3)
        reply = await player.caller.ask("PLAY", Session=player.session)
        assert (reply.status, "RTP-Info" in reply) == (200, False)
        camera.run(3)
        camera.run(2, key=True)
        packets = await player.until(0, seen[0] + 2)
        assert is_key(packets[seen[0]])
        assert len(packets) == seen[0] + 2  # nothing of what was before the key frame
        assert len(stage.heard(ReaderClosed)) == 0
        assert (await player.caller.ask("TEARDOWN", Session=player.session)).status == 200
        (closed,) = stage.heard(ReaderClosed)
        assert isinstance(closed, ReaderClosed)
        size = sum(len(each.payload) + 12 for track in (0, 1) for each in player.packets(track))
        framing = 0 if way == "udp" else 4 * sum(len(player.packets(track)) for track in (0, 1))
        assert closed.sent_bytes == size + framing


@WAYS
async def test_teardown_of_one_track(way: str) -> None:
    async with Stage() as stage:
        camera = stage.camera()
        player = await Player.start(stage, way)
        camera.run(2)
        await player.until(0, 4)
        reply = await player.caller.ask(
            "TEARDOWN", player.caller.url + "/trackID=1", Session=player.session
        )
        assert (reply.status, reply.session) == (200, player.session)
        seen = len(player.packets(1))
        camera.run(4)  # no key frame: the picture goes on all the same
        packets = await player.until(0, 8)
        assert is_unbroken(packets)
        assert len(player.packets(1)) == seen
        before = stage.bridge.usage()
        assert (before.sessions, before.players) == (1, 1)
        reply = await player.caller.ask("TEARDOWN", Session=player.session)
        assert reply.status == 200
        assert stage.stream().outputs == {}
        after = stage.bridge.usage()
        assert (after.sessions, after.claims, after.registrations) == (0, 0, 0)
        assert not player.caller.is_closed
        assert (await player.caller.ask("PLAY", Session=player.session)).status == 454


@WAYS
async def test_tracks_may_be_played_and_paused_one_by_one(way: str) -> None:
    async with Stage() as stage:
        camera = stage.camera()
        pairs = [stage.pair(), stage.pair()] if way == "udp" else []
        player = Player(stage, await stage.call(), pairs)
        caller = player.caller
        session = await caller.set_up(*player.offers)
        video, sound = (f"{caller.url}/trackID={track}" for track in (0, 1))
        reply = await caller.ask("PLAY", video, Session=session)
        assert list(info_of(reply)) == [video]
        camera.run(2)
        await player.until(0, 4)
        assert player.packets(1) == []
        assert (await caller.ask("PLAY", sound, Session=session)).status == 200
        camera.run(2)
        assert len(await player.until(1, 2)) == 2
        assert (await caller.ask("PAUSE", sound, Session=session)).status == 200
        camera.run(2)
        assert is_unbroken(await player.until(0, 8))
        assert len(player.packets(1)) == 2
        assert (await caller.ask("PLAY", sound, Session=session)).status == 200
        assert (await caller.ask("PAUSE", video, Session=session)).status == 200
        camera.run(2)
        await player.until(1, 4)
        assert len(player.packets(0)) == 8
        reply = await caller.ask("PLAY", video, Session=session)
        assert "RTP-Info" not in reply
        camera.run(2)
        camera.run(2, key=True)
        assert is_key((await player.until(0, 10))[8])
        assert len(stage.stream().readers) == 1


@pytest.mark.parametrize("method", ["TEARDOWN", "hang-up"])
async def test_the_output_ends_with_its_last_player(method: str) -> None:
    async with Stage() as stage:
        stage.camera()
        players = [await Player.start(stage, way) for way in ("tcp", "udp")]
        output = stage.stream().outputs["rtp"]
        for player in players:
            assert stage.stream().outputs["rtp"] is output
            if method == "TEARDOWN":
                await player.caller.ask("TEARDOWN", Session=player.session)
            player.caller.hang_up()
        del output
        await until(lambda: stage.stream().outputs == {})


# -- ends --------------------------------------------------------------------------------------


def goodbyes(packets: Sequence[bytes]) -> list[int]:
    return [
        ssrc for report in reports(packets) if isinstance(report, Goodbye) for ssrc in report.ssrcs
    ]


def kick(stage: Stage) -> None:
    (session,) = stage.stream().readers
    assert stage.router.kick(session, 0.0)


def delete(stage: Stage) -> None:
    stage.router.remove(NAME, "stream-deleted", 0.0)


@WAYS
@pytest.mark.parametrize(
    ("end", "reason"), [(kick, "kicked"), (delete, "stream-deleted")], ids=["kick", "delete"]
)
async def test_who_is_sent_away_hears_goodbye(
    way: str, end: Callable[[Stage], None], reason: str
) -> None:
    async with Stage() as stage:
        stage.camera()
        player = await Player.start(stage, way)
        await player.until(0, 2)
        end(stage)
        await player.caller.wait_closed()
        for track in (0, 1):
            await until(lambda track=track: len(goodbyes(player.reports(track))) == 1)
            assert goodbyes(player.reports(track)) == [player.packets(track)[0].ssrc]
        (closed,) = stage.heard(ReaderClosed)
        assert isinstance(closed, ReaderClosed)
        assert closed.reason == reason


@pytest.mark.parametrize("leave", ["TEARDOWN", "timeout"])
async def test_goodbye_by_udp_whoever_ends_it(leave: str) -> None:
    async with Stage() as stage:
        camera = stage.camera()
        player = await Player.start(stage, "udp")
        if leave == "TEARDOWN":
            await player.caller.ask("TEARDOWN", Session=player.session)
        else:
            await camera.flow(66.0)
        await until(lambda: len(goodbyes(player.reports(0))) == 1)
        (closed,) = stage.heard(ReaderClosed)
        assert isinstance(closed, ReaderClosed)
        assert closed.reason == ("teardown" if leave == "TEARDOWN" else "session-timeout")


@pytest.mark.parametrize("life", ["request", "rtcp", "tcp"])
async def test_what_keeps_a_session_alive(life: str) -> None:
    async with Stage() as stage:
        camera = stage.camera()
        player = await Player.start(stage, "tcp" if life == "tcp" else "udp")
        for _ in range(3):
            await camera.flow(50.0, size=10)
            if life == "request":
                reply = await player.caller.ask("GET_PARAMETER", Session=player.session)
                assert (reply.status, reply.session) == (200, player.session)
            elif life == "rtcp":
                player.report(1, ReceiverReport(9).serialize())
                await stage.advance(0.0)
        assert stage.bridge.usage().players == 1
        seen = len(player.packets(0))
        camera.run(2)
        await player.until(0, seen + 2)


async def test_everybody_gets_the_rest_before_the_end() -> None:
    """More players than one turn can end: each has the last picture, then the connection closes."""
    async with Stage() as stage:
        camera = stage.camera()
        players = [await Player.start(stage, "tcp") for _ in range(60)]
        idle = await stage.call()
        await idle.set_up(TCP_01)
        camera.run(1, size=3000)
        camera.video(size=77)
        delete(stage)
        for player in players:
            await player.caller.wait_closed()
            assert len(player.packets(0)[-1].payload) == 79
            assert is_unbroken(player.packets(0))
        await idle.wait_closed()  # it was set up and had not played
        reasons = {event.reason for event in stage.heard(ReaderClosed)}  # type: ignore[attr-defined]
        assert reasons == {"stream-deleted"}


async def test_the_end_waits_for_no_one_who_does_not_read() -> None:
    async with Stage(send_buffer=16 << 10) as stage:
        camera = stage.camera()
        caller = await stage.call(room=8 << 10)
        await caller.play(TCP_01, TCP_23)
        caller.transport.pause_reading()
        camera.run(1, key=True, size=2_000_000)
        await stage.advance(0.0)
        delete(stage)
        await until(lambda: stage.bridge.usage().players == 0)
        assert stage.bridge.connections == 1
        await stage.advance(2.1)
        await until(lambda: stage.bridge.connections == 0)


async def test_other_tracks_end_the_session() -> None:
    async with Stage() as stage:
        camera = stage.camera()
        players = [await Player.start(stage, way) for way in ("tcp", "udp")]
        idle = await stage.call()
        await idle.set_up(TCP_01)
        camera.stop()
        camera.descriptions = [
            VIDEO,
            TrackDescription(
                Kind.AUDIO, PCMA, 8_000, G711Parameters(sample_rate=8_000, channels=1)
            ),
        ]
        camera.start()
        camera.run(2, key=True)
        for caller in (*(player.caller for player in players), idle):
            await caller.wait_closed()
        reasons = [event.reason for event in stage.heard(ReaderClosed)]  # type: ignore[attr-defined]
        assert reasons == ["tracks-changed"] * 2
        again = await Player.start(stage, "tcp")
        await again.until(1, 1)


# -- the source returns ------------------------------------------------------------------------


@WAYS
async def test_a_source_that_returns_is_continued(way: str) -> None:
    async with Stage() as stage:
        camera = stage.camera()
        player = await Player.start(stage, way)
        camera.run(3)
        await player.until(0, 5)
        await player.until(1, 4)
        seen = [len(player.packets(track)) for track in (0, 1)]
        camera.stop()
        assert stage.stream().state is State.LOST
        await stage.advance(5.0)
        camera.start()
        camera.run(3, key=True)
        for track, clock in ((0, 90_000), (1, 8_000)):
            packets = await player.until(track, seen[track] + 3)
            assert is_unbroken(packets)
            assert len({packet.ssrc for packet in packets}) == 1
            last, first = packets[seen[track] - 1], packets[seen[track]]
            gap = ((first.timestamp - last.timestamp) & 0xFFFF_FFFF) / clock
            assert 4.9 < gap < 5.3
        assert is_key(player.packets(0)[seen[0]])
        assert not player.caller.is_closed


# -- those who do not take what they get -------------------------------------------------------


def first_reader(stage: Stage) -> Reader:
    return next(iter(stage.stream().readers.values()))


async def test_a_slow_player_skips_and_costs_the_others_nothing() -> None:
    options = StreamOptions(feed=FeedOptions(lag_bound=2.0, stall_timeout=30.0))
    async with Stage() as stage:
        stage.router.declare(NAME, options)
        camera = stage.camera()
        good = await Player.start(stage, "tcp")
        slow = await stage.call(room=8 << 10)
        await slow.play(TCP_01, TCP_23)
        await slow.until_packets(0, 2)
        slow.transport.pause_reading()
        await camera.flow(8.0, size=40_000, taken=lambda: first_reader(stage).lag() < 0.5)
        assert stage.heard(ReaderSkipped)
        assert [reader.dropped > 0 for reader in stage.stream().readers.values()] == [False, True]
        slow.transport.resume_reading()
        await camera.flow(4.0, size=4_000)
        await until(lambda: rtp(slow.packets(0))[-1].sequence == good.packets(0)[-1].sequence)
        assert is_unbroken(good.packets(0))
        packets = rtp(slow.packets(0))
        assert not is_unbroken(packets)
        jumps = [
            two for one, two in pairwise(packets) if (two.sequence - one.sequence) & 0xFFFF > 1
        ]
        assert all(map(is_key, jumps))


async def test_a_player_that_takes_nothing_is_cut() -> None:
    options = StreamOptions(feed=FeedOptions(lag_bound=2.0, stall_timeout=5.0))
    async with Stage() as stage:
        stage.router.declare(NAME, options)
        camera = stage.camera()
        good = await Player.start(stage, "tcp")
        dead = await stage.call(room=8 << 10)
        await dead.play(TCP_01, TCP_23)
        await dead.until_packets(0, 2)
        dead.transport.pause_reading()
        await camera.flow(10.0, size=40_000, taken=lambda: first_reader(stage).lag() < 0.5)
        await until(lambda: stage.bridge.usage().players == 1)
        (closed,) = stage.heard(ReaderClosed)
        assert isinstance(closed, ReaderClosed)
        assert closed.reason == "reader-stalled"
        await until(lambda: stage.bridge.connections == 1)
        camera.run(2)
        assert is_unbroken(good.packets(0))


# -- parameter sets ----------------------------------------------------------------------------


async def test_each_key_frame_brings_its_parameter_sets() -> None:
    async with Stage() as stage:
        camera = stage.camera()
        player = await Player.start(stage, "tcp")
        camera.run(2, key=True)
        packets = await player.until(0, 4)
        keys = [packet for packet in packets if is_key(packet)]
        assert len(keys) == 2
        assert all(SPS in packet.payload and PPS in packet.payload for packet in keys)
