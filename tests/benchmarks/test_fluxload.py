"""The load generator sees every fault of servers that are made to have them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import native
from tests.support import fake_servers
from tests.support.fake_servers import FakeServer, Handler

pytestmark = pytest.mark.interop  # it needs a C compiler

QUICK = ("-q", "-d", "2", "-r", "0.2", "-w", "0.5")


def load(mode: str, handler: Handler, *options: str, path: str = "x") -> dict[str, Any]:
    """The result of some readers of one fake server."""
    scheme = "rtsp" if mode.startswith("rtsp") else "http"
    with FakeServer(handler) as server:
        url = f"{scheme}://127.0.0.1:{server.port}/{path}"
        return run(*QUICK, *options, mode, url, "3" if "-S" in options else "2")


def run(*arguments: str) -> dict[str, Any]:
    """One run of the program; its last line."""
    command = [str(native.program("fluxload")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.fixture
def reference(tmp_path: Path) -> tuple[str, str]:
    """The option that makes it compare every frame."""
    file = tmp_path / "clip.flv"
    file.write_bytes(fake_servers.flv_clip())
    return "-F", str(file)


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("piece_bytes", [1 << 16, 3])
def test_a_clean_flv_stream(is_chunked: bool, piece_bytes: int, reference: tuple[str, str]) -> None:
    handler = fake_servers.flv(is_chunked=is_chunked, piece_bytes=piece_bytes, start=17)
    result = load("flv", handler, *reference)
    assert result["complete"] == 2
    assert result["ts_gaps"] == result["tag_errors"] == 0
    assert result["video_frames"] > 80
    assert result["check"]["frames"] > 160
    assert result["check"]["wrong"] == result["check"]["missing"] == 0


@pytest.mark.parametrize("piece_bytes", [1 << 16, 3])
def test_a_clean_stream_over_websocket(piece_bytes: int, reference: tuple[str, str]) -> None:
    handler = fake_servers.flv(is_websocket=True, piece_bytes=piece_bytes, start=17)
    result = load("ws-flv", handler, *reference)
    assert result["complete"] == 2
    assert result["video_frames"] > 80
    assert result["check"]["wrong"] == result["check"]["missing"] == 0


def test_a_frame_of_websocket_that_is_none_is_seen() -> None:
    result = load("ws-flv", fake_servers.flv(is_websocket=True, fault="opcode"))
    assert result["fail"] == {"protocol": 2}


def test_wrapping_nal_units_do_not_count(reference: tuple[str, str]) -> None:
    result = load("flv", fake_servers.flv(fault="wrapped"), *reference)
    assert result["complete"] == 2


def test_dropped_frames_are_seen(reference: tuple[str, str]) -> None:
    result = load("flv", fake_servers.flv(fault="drop"), *reference)
    assert result["complete"] == 0
    assert result["ts_gaps"] == 2
    assert result["check"]["missing"] >= 2 * 10


def test_a_changed_frame_is_seen(reference: tuple[str, str]) -> None:
    result = load("flv", fake_servers.flv(fault="change"), *reference)
    assert result["complete"] == 0
    assert result["check"]["wrong"] == 2


def test_a_repeated_frame_is_seen(reference: tuple[str, str]) -> None:
    result = load("flv", fake_servers.flv(fault="repeat"), *reference)
    assert result["complete"] == 0
    assert result["check"]["missing"] > 0


def test_a_pause_is_seen() -> None:
    assert load("flv", fake_servers.flv(fault="stall"))["stall_ms"]["max"] > 550


def test_stalled_readers_count_apart(reference: tuple[str, str]) -> None:
    result = load("flv", fake_servers.flv(), "-S", "1", *reference)
    assert result["readers"] == result["complete"] == 2
    assert result["stalled"] == {"readers": 1, "stopped": 1, "closed_by_server": 0}
    assert result["stall_ms"]["n"] == 2


def test_a_refused_connection_is_a_failure() -> None:
    result = run(*QUICK, "flv", "http://127.0.0.1:1/x", "2")
    assert result["failed"] == 2
    assert result["fail"] == {"connect": 2}


@pytest.mark.parametrize("fault", ["", "split", "text"])
def test_a_clean_rtsp_stream(fault: str) -> None:
    result = load("rtsp-tcp", fake_servers.rtsp(fault))
    assert result["complete"] == 2
    assert result["rtp_lost"] == 0
    assert min(result["rtp_packets"], result["rtcp_packets"]) > 80


def test_a_gap_in_sequence_numbers_is_seen() -> None:
    result = load("rtsp-tcp", fake_servers.rtsp("lost"))
    assert (result["complete"], result["rtp_seq_gaps"], result["rtp_lost"]) == (0, 2, 6)


def test_hls_segments_are_followed_and_missed_ones_seen() -> None:
    result = load("hls", fake_servers.hls(), path="m.m3u8")
    assert result["complete"] == 2
    assert result["segment_gaps"] == 0
    assert result["segments_window"] >= 4
    result = load("hls", fake_servers.hls("gap"), path="m.m3u8")
    assert result["complete"] == 0
    assert result["segment_gaps"] > 0


def test_low_latency_parts_are_followed_and_missed_ones_seen() -> None:
    result = load("llhls", fake_servers.low_latency(), path="ll.m3u8")
    assert result["complete"] == 2
    assert result["http_errors"] == 0
    assert 2 * 15 <= result["segments_window"] <= 2 * 22  # parts of 100 ms in 2 s
    assert 2 * 15 <= result["playlists_window"] <= 2 * 22
    result = load("llhls", fake_servers.low_latency("gap"), path="ll.m3u8")
    assert result["complete"] == 0
    assert result["segment_gaps"] > 0


def test_playlists_alone_fetch_no_media() -> None:
    result = load("llpoll", fake_servers.low_latency(), path="ll.m3u8")
    assert result["complete"] == 2
    assert result["media_bytes"] == result["segments_window"] == 0
    assert 2 * 15 <= result["playlists_window"] <= 2 * 22


def test_only_loopback_is_a_target() -> None:
    command = [str(native.program("fluxload")), "-d", "1", "flv", "http://192.0.2.1/x", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 2
    assert "only loopback" in done.stderr
