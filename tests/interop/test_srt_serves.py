"""What SRT users get of a running server: every frame in every protocol, plain words when not."""

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path

import imageio_ffmpeg
import pytest

from tests.support import capture, clip, clips, frames, rtsp_clients, same_run, ts_check
from tests.support.datagrams import program
from tests.support.flux_process import FluxProcess
from tests.support.srt_knock import knock

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
QUIET = ("-hide_banner", "-loglevel", "error", "-nostdin")
SRT_TO_FILE = ("srt-live-transmit", "-q", "-a:no", "-c:1316")
OPUS = str(clips.FOLDER / clip.OPUS)
PUBLISHED, READ = "a-secret-of-one", "a-secret-of-two"
CARD = "testcard:?size=320x180&rate=25&bitrate=300k"
STREAMS: dict[str, dict[str, object]] = {
    "open/vault": {"srt": {"publish_passphrase": PUBLISHED, "read_passphrase": READ}},
    "open/safe": {"source": CARD, "srt": {"read_passphrase": READ}},
    "open/card": {"source": CARD},
    "closed": {"source": CARD},
    "open/none": {"source": "rtsp://127.0.0.1:9/none", "on_demand": True},
}
ACCESS = {
    "users": [
        {"name": "bob", "password": "sesame", "permissions": [{"action": ["read", "publish"]}]},
        {"name": "ann", "password": "opal", "permissions": [{"action": "read", "streams": "x"}]},
        {
            "name": "any",
            "permissions": [
                {"action": ["api", "metrics"]},
                {"action": ["read", "publish"], "streams": "open/*"},
            ],
        },
    ]
}


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    settings: dict[str, Mapping[str, object] | str] = {
        "access": ACCESS,
        "sources": {"start_timeout": "1s"},
    }
    with FluxProcess(tmp_path_factory.mktemp("srt"), STREAMS, settings) as process:
        process.wait_until(lambda: process.stream("open/card")["state"] == "ready", "a card")
        yield process


def place(flux: FluxProcess) -> str:
    return f"127.0.0.1:{flux.srt_port}"


# -- frames ----------------------------------------------------------------------------------------

WAYS: dict[str, tuple[tuple[str, ...], float]] = {  # what is sent, its seconds
    "h264-aac": (("-t", "3.5", "-i", str(clip.path_of("bunny"))), 3.5),
    "h265-aac": (("-stream_loop", "2", "-i", str(clip.path_of("hdr"))), 3.6),
    "h264-opus": (
        (
            *("-t", "3.5", "-i", str(clip.path_of("bunny")), "-t", "3.5", "-i", OPUS),
            *("-map", "0:v", "-map", "1:a"),
        ),
        3.5,
    ),
    "b-frames": (("-i", str(clip.path_of("pyramid"))), 4.0),
}


@contextlib.asynccontextmanager
async def to_file(*command: str, file: Path) -> AsyncIterator[None]:
    """A program whose output is a file."""
    with file.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*command, stdout=out)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def flv(url: str, seconds: float) -> bytes:
    return capture.whole_tags(await asyncio.to_thread(capture.flv, url, seconds))


@pytest.mark.parametrize(
    "way",
    [w if w.endswith("aac") else pytest.param(w, marks=pytest.mark.long) for w in WAYS],
)
async def test_every_frame_in_every_protocol(way: str, flux: FluxProcess, tmp_path: Path) -> None:
    """Published over SRT; read over SRT, RTSP and HTTP-FLV at once."""
    source, seconds = WAYS[way]
    name = f"open/{way}"
    sent_file, srt_file = tmp_path / "sent.mkv", tmp_path / "srt.ts"
    async with program(FFMPEG, *QUIET, *source, "-c", "copy", str(sent_file)) as made:
        assert await made.wait() == 0
    sent = frames.read(sent_file)
    minimum = {k: sum(t.seconds(u.pts) < seconds - 1.5 for u in t.units) for k, t in sent.items()}
    url = flux.srt(f"publish:{name}") + "&pkt_size=1316"
    publish = ["-re", "-i", str(sent_file), "-c", "copy", "-f", "mpegts", url]
    async with program(FFMPEG, *QUIET, *publish) as publisher:
        await asyncio.to_thread(
            flux.wait_until, lambda: flux.get(f"/api/v1/streams/{name}")[0] == 200, "published"
        )
        await asyncio.to_thread(
            flux.wait_until, lambda: flux.stream(name)["state"] == "ready", "ready"
        )
        srt = (*SRT_TO_FILE, flux.srt(f"read:{name}"), "file://con")
        async with to_file(*srt, file=srt_file):
            rtsp = asyncio.to_thread(rtsp_clients.capture, flux.rtsp(name), minimum, 8.0)
            got_rtsp, got_flv = await asyncio.gather(rtsp, flv(flux.flv(name), seconds - 1.5))
            assert await publisher.wait() == 0
            await asyncio.sleep(0.3)
    check = partial(same_run.problems, sent, minimum=minimum, spread=Fraction(30, 1000))
    assert check(frames.read(srt_file)) == []
    assert check(got_rtsp) == []
    assert check(frames.read(got_flv, "flv")) == []
    faults = {*ts_check.check(srt_file.read_bytes()).problems}
    assert faults <= {"pes-length", *(("stream-type",) if "opus" in way else ())}  # it was cut off


# -- words -----------------------------------------------------------------------------------------

REFUSALS: list[tuple[str, str, int]] = [
    ("read:open/nobody", "", 1404),
    ("open/nobody", "", 1404),
    ("", "", 1400),
    ("read:open//x", "", 1400),
    ('#!:{"r":"open/card","m":"request"}', "", 1400),
    ("#!::m=publish", "", 1400),
    ("#!::r=open/card,m=bidirectional", "", 1405),
    ("#!::r=open/card,m=publish,t=file", "", 1405),
    ("publish:open/card", "", 1409),
    ("read:closed", "", 1401),
    ("publish:closed:bob:wrong", "", 1401),
    ("#!::r=closed,u=ann,s=opal", "", 1403),
    ("read:open/none", "", 1503),
    ("read:open/safe", "", 11),
    ("read:open/safe", PUBLISHED, 10),
    ("publish:open/vault", READ, 10),
    ("publish:open/new", PUBLISHED, 11),
]


@pytest.mark.parametrize(("stream_id", "secret", "code"), REFUSALS)
async def test_libsrt_is_told_why(
    stream_id: str, secret: str, code: int, flux: FluxProcess
) -> None:
    assert await knock(flux.srt_port, stream_id, secret) == code


@pytest.mark.parametrize(
    ("stream_id", "secret"),
    [
        ("read:open/card", ""),
        ("#!::r=open/card", ""),
        ("/open/card", ""),
        ("read:closed:bob:sesame", ""),
        ("publish%3Aopen%2Fescaped", ""),
        ("publish:open/vault", PUBLISHED),
        ("read:open/safe", READ),
    ],
)
async def test_libsrt_is_let_in(stream_id: str, secret: str, flux: FluxProcess) -> None:
    assert await knock(flux.srt_port, stream_id, secret) == 0


# -- the API ---------------------------------------------------------------------------------------


def delete(flux: FluxProcess, path: str) -> int:
    url = f"http://127.0.0.1:{flux.api_port}{path}"
    with capture.DIRECT.open(urllib.request.Request(url, method="DELETE"), timeout=5) as answer:
        status: int = answer.status
        return status


async def test_sessions_can_be_seen_and_ended(flux: FluxProcess, tmp_path: Path) -> None:
    """One that publishes and one that reads: figures of both, then both are kicked."""
    url = flux.srt("publish:open/kicked") + "&pkt_size=1316"
    source = ["-re", "-i", str(clip.path_of("bunny")), "-c", "copy", "-f", "mpegts", url]
    read = (*SRT_TO_FILE, flux.srt("read:open/kicked"), "file://con")

    def found() -> dict[str, str]:
        listed = json.loads(flux.get("/api/v1/sessions?stream=open/kicked")[1])["items"]
        assert all(each["protocol"] == "srt" for each in listed)
        return {each["role"]: each["id"] for each in listed}

    def count(role: str, name: str) -> int:
        status, body = flux.get(f"/api/v1/sessions/{found()[role]}/srt")
        return int(json.loads(body)[name]) if status == 200 else 0

    def wait(condition: Callable[[], bool], what: str) -> Awaitable[None]:
        return asyncio.to_thread(flux.wait_until, condition, what)

    async with program(FFMPEG, *QUIET, *source) as publisher:
        await wait(lambda: "publisher" in found(), "published")
        async with to_file(*read, file=tmp_path / "got.ts"):
            await wait(lambda: len(found()) == 2, "read")
            await wait(lambda: count("publisher", "pktRecvTotal") > 50, "it receives")
            await wait(lambda: count("reader", "pktSentTotal") > 50, "it sends")
            ids = found()
            for role in ("reader", "publisher"):
                assert await asyncio.to_thread(delete, flux, f"/api/v1/sessions/{ids[role]}") == 204
            await wait(lambda: not found(), "both are out")
            assert await publisher.wait() != 0
