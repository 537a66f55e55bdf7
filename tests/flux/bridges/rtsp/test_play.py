"""Players: transports, the first packets, PAUSE and PLAY again, TEARDOWN; by TCP and by UDP."""

import re

import pytest

from media.events import ReaderClosed
from media.stream import StreamOptions
from tests.support.h264_sets import PPS, SPS
from tests.support.rtsp_app import TCP_01, TCP_23
from tests.support.rtsp_caller import until
from tests.support.rtsp_stage import AUDIO, FRAME, NAME, VIDEO, Camera, Stage
from tests.support.rtsp_viewer import Player, info_of, is_key, is_unbroken, rtp

MULTICAST = "RTP/AVP;multicast"
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
            headers: dict[str, object] = {"Session": session} if session else {}
            url = f"{caller.url}/trackID={index}"
            reply = await caller.ask("SETUP", url, b"", Transport=offer, **headers)
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
        # Pictures begin with the key frame, sound after it: with what was written next.
        offset = camera.times[1][1] - camera.times[0][0]
        assert offset >= FRAME
        for track, clock, due in ((0, 90_000, 0.0), (1, 8_000, offset)):
            first = (await player.until(track, 10))[0]
            sequence, time = info[f"{player.caller.url}/trackID={track}"]
            assert sequence == first.sequence
            later = ((first.timestamp - time) & 0xFFFF_FFFF) / clock
            assert later == pytest.approx(due, abs=2 / clock if due else 0.0)
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
        assert before.registrations == (3 if way == "udp" else 0)  # RTP, RTCP, and from anywhere
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
