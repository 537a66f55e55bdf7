"""The forms of FLV as a reader asks for them: `?flv=`, and what configuration says."""

import asyncio

import pytest

from media.codecs.opus import OpusParameters
from media.events import TrackDropped
from media.flv.forms import Form
from media.track import OPUS, Kind, TrackDescription
from tests.support import clips
from tests.support.conform.flv import read_flv
from tests.support.conform.problem import told
from tests.support.feed_rig import FeedRig, Response, running

BUNNY, HDR = clips.read(clips.BUNNY), clips.read(clips.HDR)
AVC1 = float(int.from_bytes(b"avc1", "big"))
HVC1 = float(int.from_bytes(b"hvc1", "big"))


async def body_of(rig: FeedRig, target: str) -> bytes:
    """What a reader gets that comes late, and its end."""
    reader, writer = await rig.open(target)
    await rig.until_leased(1)
    rig.stream.end_outputs("test-over")
    response = Response(await asyncio.wait_for(reader.read(), 5))
    writer.close()
    assert response.status == 200
    content = read_flv(response.body)
    assert content.problems == [], told(content.problems)
    await rig.until_leased(0)
    return response.body


@pytest.mark.parametrize(
    ("usual", "query", "codec"),
    [
        (Form.AUTO, "", HVC1),
        (Form.AUTO, "?flv=legacy", 12.0),
        (Form.AUTO, "?flv=enhanced", HVC1),
        (Form.LEGACY, "", 12.0),
        (Form.LEGACY, "?flv=auto", HVC1),
    ],
)
async def test_a_reader_gets_the_form_that_it_asks_for(
    usual: Form, query: str, codec: float
) -> None:
    async with running(form=usual) as rig:
        rig.begin(HDR)
        await rig.send(HDR)
        body = await body_of(rig, f"/live/cam.flv{query}")
    assert read_flv(body).metadata["videocodecid"] == codec


async def test_forms_that_are_the_same_share_an_output() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        await rig.send(BUNNY)
        writers = []
        for form in ("auto", "legacy", "enhanced", "legacy"):
            _, writer = await rig.open(f"/live/cam.flv?flv={form}")
            writers.append(writer)
        await rig.until_leased(4)
        assert set(rig.stream.outputs) == {"flv", "flv-enhanced"}
        assert rig.stream.outputs["flv"].feed.readers == 3  # type: ignore[attr-defined]  # its feed
        for writer in writers:
            writer.close()
        await rig.until_leased(0)
        assert rig.stream.outputs == {}


async def test_what_a_form_cannot_carry_is_named() -> None:
    opus = OpusParameters(sample_rate=48_000, channels=2)
    more = TrackDescription(Kind.AUDIO, OPUS, 48_000, opus)
    picture = [frame for frame in BUNNY if frame.track.kind is Kind.VIDEO]
    async with running() as rig:
        publisher = rig.begin(picture, more)
        publisher.write(publisher.tracks[1], 0, (b"\xfc\xff\xfe",), rig.now)
        await rig.send(picture)
        body = await body_of(rig, "/live/cam.flv?flv=legacy")
    dropped = [event for event in rig.events if isinstance(event, TrackDropped)]
    assert [(event.output, event.codec) for event in dropped] == [("flv-legacy", OPUS)]
    assert "audiocodecid" not in read_flv(body).metadata


async def test_a_form_that_there_is_not_wakes_no_source() -> None:
    async with running(on_demand=True) as rig:
        reader, writer = await rig.open("/live/cam.flv?flv=new")
        response = Response(await asyncio.wait_for(reader.read(), 5))
        writer.close()
        assert (response.status, response.reason) == (400, "unknown-flv-form")
        assert rig.source.calls == []
