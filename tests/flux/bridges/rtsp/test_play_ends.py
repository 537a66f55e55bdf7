"""Players: reports, ends, sources that return, those who do not take what they get."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from flux.base.units import NTP_SECOND
from media.causes import Cause
from media.codecs.g711 import G711Parameters
from media.events import ReaderClosed, ReaderSkipped
from media.feed_reader import FeedOptions
from media.link import Linked, LinkFigures
from media.stream import Reader, State, StreamOptions
from media.track import PCMA, Kind, TrackDescription
from protocols.rtcp import ReceiverReport, ReportBlock, SourceDescription
from tests.support.rtsp_app import TCP_01, TCP_23
from tests.support.rtsp_caller import until
from tests.support.rtsp_stage import NAME, VIDEO, Camera, Stage
from tests.support.rtsp_viewer import (
    Player,
    goodbyes,
    is_key,
    is_unbroken,
    reports,
    rtp,
    sender_reports,
)

WAYS = pytest.mark.parametrize("way", ["tcp", "udp"])


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
            for track in (0, 1):
                await player.until_reports(track, wanted)


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
        # Picture and sound that were written together are one instant by the reports, but for the
        # time that the machine needed between them; the first picture had no sound.
        at = []
        for track, report, clock in ((0, video[0], 90_000), (1, audio[0], 8_000)):
            packet = player.packets(track)[1 - track]
            ticks = (packet.timestamp - report.rtp_timestamp + (1 << 31) & 0xFFFF_FFFF) - (1 << 31)
            at.append(report.ntp / NTP_SECOND + ticks / clock)
        apart = camera.times[0][1] - camera.times[1][1]
        assert at[0] - at[1] == pytest.approx(apart, abs=0.001)
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
            await player.until_reports(0, count)
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
        tallies = stage.stream().readers.interruptions.total()
        assert {cause: tally.count for cause, tally in tallies.items()} == {
            Cause.NETWORK: 2,  # two reports told of new losses
            Cause.SERVER: 0,
            Cause.SOURCE: 0,
        }
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


# -- ends --------------------------------------------------------------------------------------


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
            await player.until_goodbye(track)
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
        for _ in range(20):
            await camera.flow(2.0, size=40_000, taken=lambda: first_reader(stage).lag() < 0.5)
            if stage.bridge.usage().players == 1:
                break
        (closed,) = stage.heard(ReaderClosed)
        assert isinstance(closed, ReaderClosed)
        assert closed.reason == "reader-stalled"
        await until(lambda: stage.bridge.connections == 1)
        camera.run(2)
        assert is_unbroken(good.packets(0))
