"""Scripted players against `flux run`: habits of VLC and ffplay, and every packet on the wire.

Debian's VLC is built without live555, so its habits are scripts (`tests/support/rtsp_players.py`).
"""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.support import clip
from tests.support.camera import Camera
from tests.support.flux_process import FluxProcess
from tests.support.network import Network, NetworkImpossible, in_network
from tests.support.rtsp_players import FFPLAY, FFPLAY_TCP, VLC, Player, play
from tests.support.rtsp_wire import Heard, faults, listen

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

SHORTEST = {"rtsp": {"session_timeout": "10s"}}
CLIPS = {"/av": "fragmented", "/b": "pyramid"}
HABITS = (VLC, FFPLAY, FFPLAY_TCP)
SECONDS = 4.0
QUIET = 10.0  # seconds without media until a player tries TCP


@contextmanager
def house(folder: Path) -> Iterator[FluxProcess]:
    """FLUX with two streams of a camera."""
    with Camera({path: clip.path_of(name) for path, name in CLIPS.items()}) as camera:
        streams = {path[1:]: {"source": camera.url(path)} for path in CLIPS}
        with FluxProcess(folder, streams, SHORTEST) as flux:
            for name in streams:
                flux.wait_until(partial(is_ready, flux, name), f"{name} is ready")
            yield flux


def is_ready(flux: FluxProcess, name: str) -> bool:
    return bool(flux.stream(name)["state"] == "ready")


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    with house(tmp_path_factory.mktemp("scripted")) as running:
        yield running


def loss_of(sign: str) -> None:
    """Drop datagrams that `sign` chooses, each for itself."""
    for words in (
        ("ip", "link", "set", "lo", "gso_max_segs", "1"),
        ("nft", "add table inet loss"),
        ("nft", "add chain inet loss input { type filter hook input priority 0; }"),
        ("nft", f"add rule inet loss input meta l4proto udp {sign} drop"),
    ):
        subprocess.run(words, check=True, capture_output=True, timeout=10)


async def test_players_are_at_home(flux: FluxProcess) -> None:
    """They find their tracks behind a query, and keep their sessions by what Public offers."""
    players = [Player(flux.rtsp("av") + "?start=gop", habits) for habits in HABITS]

    def is_done(one: Player) -> bool:
        asked = [method for method, _ in one.asked]
        return asked.count("GET_PARAMETER") >= 2 and len(one.statuses) == len(asked)

    # The habit is to ask at half the timeout of 10 s: twice is longer than the session would live.
    await asyncio.gather(*(play(one, "127.0.0.1", flux.rtsp_port, is_done) for one in players))
    for player in players:
        assert player.failed == 0
        assert set(player.statuses) == {200}
        assert player.timeout == 10
        setups = [url for method, url in player.asked if method == "SETUP"]
        assert len(setups) == 2
        assert all("/trackID=" in url for url in setups)
        is_udp = player.habits.udp_first
        assert all(("RTP/AVP/TCP" in text) is not is_udp for text in player.transports)
        assert player.rtp_info.count("rtptime=") == 2
        assert player.fallbacks == 0


def test_udp_that_does_not_come_is_tried_by_tcp(tmp_path: Path) -> None:
    """VLC and ffplay wait ten seconds, then set the same stream up through the connection."""

    async def both(flux: FluxProcess) -> list[Player]:
        players = [Player(flux.rtsp("av"), replace(h, fallback_after=QUIET)) for h in (VLC, FFPLAY)]

        def is_done(one: Player) -> bool:
            return one.fallbacks == 1 and len(one.frames) > 50

        runs = (play(one, "127.0.0.1", flux.rtsp_port, is_done) for one in players)
        await asyncio.gather(*runs)
        return players

    def body(_network: Network) -> None:
        loss_of("")
        with house(tmp_path) as flux:
            for player in asyncio.run(both(flux)):
                assert player.failed == 0
                assert player.fallbacks == 1
                assert all("RTP/AVP/TCP" in text for text in player.transports)
                channels = {channel for channel, _ in player.frames}
                assert {0, 2} <= channels <= {0, 1, 2, 3}

    inside(body)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("name", ["av", "b"])
def test_every_packet_is_in_its_place(name: str, transport: str, flux: FluxProcess) -> None:
    tracks = listen(flux.rtsp(name), transport, SECONDS)
    assert [fault for track in tracks for fault in faults(track, is_lossy=False)] == []
    assert all(track.lost == 0 and len(track.packets) > 100 for track in tracks)
    assert all(track.reports for track in tracks)
    assert_one_clock(tracks)


def test_every_packet_that_comes_is_in_its_place(tmp_path: Path) -> None:
    """With one datagram in a hundred lost there are gaps, and nothing else changes."""

    def body(_network: Network) -> None:
        with house(tmp_path) as flux:
            loss_of("numgen random mod 100 < 1")
            lost = 0
            for name in ("av", "b"):
                tracks = listen(flux.rtsp(name), "udp", SECONDS)
                found = [faults(t, is_lossy=True, first_may_be_lost=True) for t in tracks]
                assert [fault for each in found for fault in each] == []
                lost += sum(track.lost for track in tracks)
            assert 0 < lost < 60

    inside(body)


def inside(body: Callable[[Network], None]) -> None:
    """Run it in a network of its own."""
    try:
        in_network(body, limit=80)
    except NetworkImpossible as error:
        pytest.skip(f"no network namespace: {error}")


def assert_one_clock(tracks: list[Heard]) -> None:
    """RTP-Info and sender reports lay the tracks upon each other in the same way."""
    if len(tracks) < 2:
        return
    instants = []
    for track in tracks:
        assert track.info is not None
        ntp, rtp = int.from_bytes(track.reports[0][8:16], "big"), track.reports[0][16:20]
        ahead = (int.from_bytes(rtp, "big") - track.info[1] + (1 << 31)) % (1 << 32) - (1 << 31)
        instants.append(ntp / (1 << 32) - ahead / track.clock_rate)
    assert max(instants) - min(instants) < 0.002
