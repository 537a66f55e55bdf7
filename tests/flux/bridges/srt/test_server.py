"""The SRT server with clients of our own: who gets in, what arrives, how it ends."""

import asyncio
import time
from unittest.mock import ANY

import pytest

from flux.bridges.srt.server import Passphrases
from flux.core.admission import AccessRequest, Answer, Verdict
from media.codecs.g711 import G711Parameters
from media.events import (
    PublisherStarted,
    PublisherStopped,
    ReaderClosed,
    ReaderJoined,
    ReaderRefused,
)
from media.feed_reader import START_KEY
from media.router import Router
from media.stream import State
from media.track import Kind, TrackDescription
from protocols.srt.options import Mode
from protocols.srt.reject import Reject
from tests.support import clips, frames, ts_check
from tests.support.datagrams import play, publish, until
from tests.support.frame_log import FrameLog
from tests.support.srt_peers import Collector
from tests.support.srt_stage import SrtStage, pour, transport_stream

FRESH = 1.5  # seconds of media that readers begin with
SECRET, OTHER = "a-secret-of-one", "a-secret-of-another"


def is_ready(router: Router, name: str) -> bool:
    stream = router.find(name)
    return stream is not None and stream.state is State.READY


async def published(stage: SrtStage, name: str = "cam") -> None:
    """A stream that somebody publishes without SRT."""
    stage.declare(name)
    clip = [f for f in clips.read(clips.BUNNY) if f.dts / f.track.clock_rate < FRESH]
    publisher = publish(stage.router, name, clip)
    await play(publisher, clip, speed=50.0)
    await until(lambda: is_ready(stage.router, name), "ready")


# -- publishing ----------------------------------------------------------------------------


async def test_what_is_published_becomes_frames() -> None:
    async with SrtStage() as stage:
        link = await stage.connect("publish:live/cam1")
        ts = transport_stream(clips.BUNNY)
        log = FrameLog(stage.router, "live/cam1", time.monotonic)
        for at in range(0, len(ts), 20):
            pour(link, ts[at : at + 20])
            await asyncio.sleep(0.005)
        wanted = frames.read(clips.BUNNY)
        pictures = len(wanted["video"].units)
        await until(lambda: log.count(Kind.VIDEO) >= pictures - 1, "all pictures")
        publisher = stage.router.publisher("live/cam1")
        assert publisher is not None
        assert (publisher.origin, publisher.address) == ("srt", "127.0.0.1")
        assert publisher.user_agent.startswith("srt/1.5")
        assert publisher.link is not None and publisher.link().transport == "udp"
        link.close("done", time.monotonic())
        await until(lambda: stage.router.publisher("live/cam1") is None, "over")
        assert not len(stage.sessions)
        got = log.units()["video"]
        assert [u.pieces for u in got.units] == [u.pieces for u in wanted["video"].units][
            : len(got.units)
        ]


async def test_a_second_publisher_is_refused_unless_it_takes_over() -> None:
    async with SrtStage() as stage:
        first = await stage.connect("publish:cam")
        assert await stage.refusal("publish:cam") == Reject.CONFLICT
        pour(first, transport_stream(clips.BUNNY)[:300])
        await until(lambda: stage.router.publisher("cam") is not None, "published")
        assert await stage.refusal("#!::r=cam,m=publish") == Reject.CONFLICT
        stage.declare("free", take_over=True)
        old = await stage.connect("publish:free")
        pour(old, transport_stream(clips.BUNNY)[:300])
        await until(lambda: stage.router.publisher("free") is not None, "published")
        new = await stage.connect("publish:free")
        pour(new, transport_stream(clips.BUNNY)[:300])
        await until(lambda: bool(old.end), "the old one is out")
        assert not new.end


async def test_a_publisher_that_leaves_frees_its_name() -> None:
    async with SrtStage() as stage:
        first = await stage.connect("publish:cam")
        first.close("done", time.monotonic())
        await until(lambda: not stage.bridge.connections, "gone")
        assert not (await stage.connect("publish:cam")).end


async def test_a_publisher_without_media_is_closed() -> None:
    async with SrtStage(media_timeout=0.5) as stage:
        link = await stage.connect("publish:cam")
        await until(lambda: bool(link.end), "closed")
        assert link.end == "srt-peer-closed"


async def test_a_kicked_publisher_is_closed() -> None:
    async with SrtStage() as stage:
        link = await stage.connect("publish:cam")
        pour(link, transport_stream(clips.BUNNY)[:300])
        await until(lambda: stage.router.publisher("cam") is not None, "published")
        publisher = stage.router.publisher("cam")
        assert publisher is not None
        assert stage.sessions.statistics(publisher.session) is not None
        assert stage.router.kick(publisher.session, time.monotonic())
        await until(lambda: bool(link.end), "closed")
        assert stage.sessions.statistics(publisher.session) is None


# -- reading -------------------------------------------------------------------------------


@pytest.mark.parametrize("stream_id", ["read:cam", "#!::r=cam,m=request", "cam"])
async def test_a_reader_gets_a_transport_stream(stream_id: str) -> None:
    async with SrtStage() as stage:
        await published(stage)
        link = await stage.connect(stream_id)
        handler = link.attachment
        assert isinstance(handler, Collector)
        stream = stage.router.find("cam")
        assert stream is not None
        await until(lambda: "srt" in stream.outputs, "reading")
        size = stream.outputs["srt"].size_bytes
        await until(lambda: sum(map(len, handler.payloads)) >= size, "media")
        (reader,) = stream.readers.values()
        assert (reader.protocol, reader.address) == ("srt", "127.0.0.1")
        assert reader.sent_bytes == size > 20 * 1316
        assert reader.lag() >= 0.0
        assert stage.sessions.statistics(reader.id) is not None
        data = b"".join(handler.payloads)
        assert max(map(len, handler.payloads)) == 1316
        assert data[1:3] == b"\x40\x00"  # PAT first
        assert ts_check.check(data).problems == []
        link.close("done", time.monotonic())
        await until(lambda: not stream.readers, "gone")
        assert any(isinstance(event, ReaderJoined) for event in stage.events)
        closed = [event for event in stage.events if isinstance(event, ReaderClosed)]
        assert [event.reason for event in closed] == ["srt-peer-closed"]
        assert not stream.outputs and not stage.router.leases("cam")


async def test_a_kicked_reader_is_closed() -> None:
    async with SrtStage() as stage:
        await published(stage)
        link = await stage.connect("read:cam")
        stream = stage.router.find("cam")
        assert stream is not None
        await until(lambda: bool(stream.readers), "joined")
        assert stage.router.kick(next(iter(stream.readers)), time.monotonic())
        await until(lambda: bool(link.end), "closed")
        assert not stream.readers


async def test_a_reader_is_let_in_before_its_stream_comes_and_refused_if_it_does_not() -> None:
    class Slow:
        """A source that never comes."""

        def start(self) -> None:
            pass

        def stop(self, reason: str) -> None:
            del reason

    async with SrtStage() as stage:
        stage.declare("late", on_demand=True, start_timeout=2.5)
        stage.router.set_source("late", Slow())
        stage.declare("never", on_demand=True, start_timeout=0.3)
        stage.router.set_source("never", Slow())
        early = stage.call("read:late")
        assert await stage.refusal("read:never") == 1503
        await until(lambda: early.link is not None, "let in")
        await until(lambda: early.end is not None, "closed")
        assert early.end == ("srt-peer-closed", -1)


async def test_a_stream_that_ends_ends_its_readers() -> None:
    async with SrtStage() as stage:
        await published(stage)
        link = await stage.connect("read:cam")
        stage.router.remove("cam", "stream-deleted", time.monotonic())
        await until(lambda: bool(link.end), "closed")


async def test_a_reader_may_wait_for_the_next_key_frame() -> None:
    async with SrtStage(start=START_KEY) as stage:
        await published(stage)
        link = await stage.connect("read:cam")
        stream = stage.router.find("cam")
        assert stream is not None
        await until(lambda: bool(stream.readers), "joined")
        handler = link.attachment
        assert isinstance(handler, Collector)
        assert handler.payloads == []


# -- who gets in ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream_id", "code"),
    [
        ("", Reject.BAD_REQUEST),
        ("#!::m=publish", Reject.BAD_REQUEST),
        ("publish:_hidden", Reject.BAD_REQUEST),
        ("read:a//b", Reject.BAD_REQUEST),
        ("#!::r=cam,m=bidirectional", Reject.BAD_MODE),
        ("read:nobody", Reject.NOT_FOUND),
        ("nobody", Reject.NOT_FOUND),
    ],
)
async def test_refusals_say_why(stream_id: str, code: Reject) -> None:
    async with SrtStage() as stage:
        assert await stage.refusal(stream_id) == code


async def test_names_that_may_not_be_published_are_refused() -> None:
    async with SrtStage() as stage:
        stage.router.resolve_published = lambda _name: False
        assert await stage.refusal("publish:cam") == Reject.NOT_FOUND


async def test_files_are_refused() -> None:
    async with SrtStage() as stage:
        assert await stage.refusal("publish:cam", mode=Mode.STREAM) == Reject.MESSAGE_API


@pytest.mark.parametrize(
    ("status", "code"), [(401, 1401), (403, 1403), (429, 1402), (503, 1503), (302, 1403)]
)
async def test_what_admission_says_becomes_a_code(status: int, code: int) -> None:
    async with SrtStage() as stage:
        await published(stage)
        stage.admission.add(lambda _request, answer: answer(Verdict(False, "why", status)))
        assert await stage.refusal("publish:other:bob:word") == code
        assert await stage.refusal("#!::r=cam,u=ann,s=sesame,token=t1") == code
        first, second = stage.requests
        assert (first.action, first.stream, first.user, first.password) == (
            "publish",
            "other",
            "bob",
            "word",
        )
        assert (second.action, second.stream, second.user, second.password, second.token) == (
            "read",
            "cam",
            "ann",
            "sesame",
            "t1",
        )
        assert first.protocol == "srt" and first.address == "127.0.0.1"


async def test_admission_may_take_its_time() -> None:
    async with SrtStage() as stage:
        answers: list[Answer] = []

        def later(request: AccessRequest, answer: Answer) -> None:
            del request
            answers.append(answer)

        stage.admission.add(later)
        handler = stage.call("publish:cam")
        await until(lambda: bool(answers), "asked")
        answers[0](Verdict(True))
        await until(lambda: handler.link is not None, "let in")


@pytest.mark.parametrize(
    ("stream_id", "passphrase", "code"),
    [
        ("publish:cam", SECRET, None),
        ("publish:cam", OTHER, Reject.BAD_SECRET),
        ("publish:cam", "", Reject.UNSECURE),
        ("read:vault", OTHER, None),
        ("read:vault", SECRET, Reject.BAD_SECRET),
        ("publish:plain", "", None),
        ("publish:plain", SECRET, Reject.UNSECURE),
    ],
)
async def test_passphrases_by_stream_and_direction(
    stream_id: str, passphrase: str, code: int | None
) -> None:
    async with SrtStage() as stage:
        stage.passphrases["cam"] = Passphrases(publish=SECRET, read=OTHER)
        stage.passphrases["vault"] = Passphrases(read=OTHER)
        await published(stage, "vault")
        if code is not None:
            assert await stage.refusal(stream_id, passphrase) == code
            assert not stage.bridge.connections
            return
        link = await stage.connect(stream_id, passphrase)
        if stream_id.startswith("read"):
            handler = link.attachment
            assert isinstance(handler, Collector)
            await until(lambda: len(handler.payloads) > 3, "media")
            assert handler.payloads[0][:1] == b"G"
        # What failed before holds no name.
        link.close("done", time.monotonic())


async def test_a_refused_publisher_holds_no_name() -> None:
    async with SrtStage() as stage:
        stage.passphrases["cam"] = Passphrases(publish=SECRET)
        assert await stage.refusal("publish:cam", OTHER) == Reject.BAD_SECRET
        assert not (await stage.connect("publish:cam", SECRET)).end


# -- what others are told ------------------------------------------------------------------


def refusals(stage: SrtStage) -> list[tuple[str, str]]:
    """Stream and reason of everybody who was refused."""
    return [(e.stream, e.reason) for e in stage.events if isinstance(e, ReaderRefused)]


async def test_every_refusal_is_an_event_with_its_reason() -> None:
    async with SrtStage() as stage:
        stage.passphrases["vault"] = Passphrases(publish=SECRET, read=SECRET)
        await published(stage, "vault")
        for stream_id, passphrase in (
            ("read:nobody", ""),
            ("#!:{}", ""),
            ("#!::r=x,m=both", ""),
            ("read:.hidden", ""),
            ("publish:vault", SECRET),
            ("read:vault", OTHER),
            ("publish:other", SECRET),
        ):
            await stage.refusal(stream_id, passphrase)
        await stage.refusal("publish:file", mode=Mode.STREAM)
        assert refusals(stage) == [
            ("nobody", "stream-not-found"),
            ("", "stream-id-nested"),
            ("", "stream-id-mode"),
            ("", "stream-name-invalid"),
            ("vault", "name-taken"),
            ("vault", "srt-bad-secret"),
            ("other", "srt-unsecure"),
            ("", "srt-message-api"),
        ]


async def test_publishers_come_and_go_with_reasons() -> None:
    async with SrtStage() as stage:
        for reason in ("srt-peer-closed", "kicked"):
            link = await stage.connect("publish:cam")
            pour(link, transport_stream(clips.BUNNY)[:300])
            await until(lambda: stage.router.publisher("cam") is not None, "published")
            publisher = stage.router.publisher("cam")
            assert publisher is not None
            if reason == "kicked":
                assert stage.router.kick(publisher.session, time.monotonic())
            else:
                link.close("done", time.monotonic())
            await until(lambda: stage.router.publisher("cam") is None, "over")
            await until(lambda: not stage.bridge.connections, "gone")
        started = [e for e in stage.events if isinstance(e, PublisherStarted)]
        stopped = [e for e in stage.events if isinstance(e, PublisherStopped)]
        assert [each.protocol for each in started] == ["srt", "srt"]
        assert [each.session for each in started] == [each.session for each in stopped]
        assert [each.reason for each in stopped] == ["srt-peer-closed", "kicked"]


async def test_floods_of_refusals_are_told_of_in_part() -> None:
    async with SrtStage() as stage:
        await asyncio.gather(*(stage.refusal("read:nobody") for _ in range(60)))
        assert len(refusals(stage)) < 60
        assert stage.bridge.refusals()["srt-not-found"] == 60


async def test_a_stream_without_anything_for_ts_is_refused() -> None:
    async with SrtStage() as stage:
        stage.declare("sound")
        description = TrackDescription(Kind.AUDIO, "pcma", 8000, G711Parameters())
        publisher = stage.router.publish("sound", [description], now=time.monotonic(), origin="t")
        publisher.write(publisher.tracks[0], 0, (bytes(160),), time.monotonic())
        await until(lambda: is_ready(stage.router, "sound"), "ready")
        assert await stage.refusal("read:sound") == Reject.UNSUPPORTED_MEDIA
        assert refusals(stage) == [("sound", "no-playable-track")]


async def test_who_reads_and_sends_is_closed() -> None:
    """A stream key without `publish:`, as OBS has it, is no reason to keep a reader for ever."""
    async with SrtStage() as stage:
        await published(stage)
        link = await stage.connect("cam")
        pour(link, transport_stream(clips.BUNNY)[:3])
        await until(lambda: bool(link.end), "closed")
        await until(lambda: any(isinstance(e, ReaderClosed) for e in stage.events), "told")
        (closed,) = [e for e in stage.events if isinstance(e, ReaderClosed)]
        assert closed.reason == "reader-publishes"


async def test_a_passphrase_that_changes_is_for_the_next_caller() -> None:
    async with SrtStage() as stage:
        stage.passphrases["cam"] = Passphrases(publish=SECRET)
        first = await stage.connect("publish:cam", SECRET)
        stage.passphrases["cam"] = Passphrases(publish=OTHER)
        assert not first.end
        first.close("done", time.monotonic())
        await until(lambda: not stage.bridge.connections, "gone")
        assert await stage.refusal("publish:cam", SECRET) == Reject.BAD_SECRET
        assert not (await stage.connect("publish:cam", OTHER)).end


async def test_a_peer_with_short_packets_reads_whole_transport_packets() -> None:
    async with SrtStage() as stage:
        await published(stage)
        handler, other = stage.call("read:cam", mtu=1000), stage.call("read:cam")
        await until(lambda: len(handler.payloads) > 20 and len(other.payloads) > 20, "media")
        assert {len(each) for each in handler.payloads[:10]} == {940}
        assert len(other.payloads[0]) == 1316


@pytest.mark.parametrize("is_adaptive", [False, True])
async def test_readers_of_a_stream_may_be_paced_by_their_line(is_adaptive: bool) -> None:
    """Slow start has a window of some packets; without it there is none."""
    async with SrtStage(is_adaptive=lambda name: is_adaptive and name == "cam") as stage:
        await published(stage)
        await stage.connect("read:cam")
        stream = stage.router.find("cam")
        assert stream is not None
        await until(lambda: bool(stream.readers), "reading")
        (reader,) = stream.readers
        found = stage.sessions.statistics(reader)
        assert found is not None
        window = found["pktCongestionWindow"]
        assert isinstance(window, int) and (window < 1000) is is_adaptive
        report = stage.sessions.statistics(reader, is_tool=True)
        assert report is not None
        assert report["window"] == {"flow": ANY, "congestion": window, "flight": ANY}
        assert str(report["timepoint"]).endswith("+0000") and len(str(report["timepoint"])) == 31
