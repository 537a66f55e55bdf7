"""Low-Latency HLS: parts, promises, hints, delta updates; draft-pantos-hls-rfc8216bis."""

import re
from dataclasses import replace

import pytest

from media.frame import Frame
from media.hls.container import Fmp4Container
from media.hls.options import HlsOptions
from media.hls.segment import Segment
from media.hls.segmenter import Segmenter
from media.track import Kind
from tests.support import clips, frames

PERIOD = 10.0


class Live:
    """A segmenter of parts that plays a clip again and again; playlists at each change."""

    def __init__(self, clip: list[Frame], **options: float) -> None:
        settings = HlsOptions(
            part_duration=0.2, segment_duration=1.0, ready_segments=1, ready_wait=0.0
        )
        self.clip = clip
        self.lap = 0
        self.done: list[Segment] = []
        self.texts: list[str] = []
        self.segmenter = Segmenter(
            clips.tracks_of(clip),
            replace(settings, **options),  # type: ignore[arg-type]  # by test
            "run",
            container=Fmp4Container,
            on_change=self._changed,
            on_part=self._note,
        )

    def _changed(self, segment: Segment | None) -> None:
        if segment is not None:
            self.done.append(segment)
        self._note()

    def _note(self) -> None:
        if self.segmenter.is_ready(0.0):
            self.texts.append(self.segmenter.media_playlist().decode())

    def play(self, laps: int = 1) -> None:
        for _ in range(laps):
            for frame in clips.shifted(self.clip, round(self.lap * PERIOD * 1000)):
                self.segmenter.frame(frame, frame.arrived)
            self.lap += 1


def values(name: str, text: str) -> list[str]:
    return re.findall(rf"(?m)^#{name}:(.*)$", text)


def uris(text: str) -> list[str]:
    return re.findall(r'#EXT-X-PART:.*URI="([^"]*)"', text)


@pytest.fixture
def live() -> Live:
    """Ten seconds of a clip with a key frame each second or so."""
    found = Live(clips.read(clips.PYRAMID))
    found.play()
    return found


def test_the_promises_hold_and_stay(live: Live) -> None:
    live.play(2)
    targets = {value for text in live.texts for value in values("EXT-X-PART-INF", text)}
    assert targets == {"PART-TARGET=0.20000"}
    (control,) = {value for text in live.texts for value in values("EXT-X-SERVER-CONTROL", text)}
    assert "CAN-BLOCK-RELOAD=YES" in control
    assert "PART-HOLD-BACK=0.60000" in control
    assert (
        len({value for text in live.texts for value in values("EXT-X-TARGETDURATION", text)}) == 1
    )
    assert {value for text in live.texts for value in values("EXT-X-VERSION", text)} == {"9"}
    for text in live.texts:
        for part in values("EXT-X-PART", text):
            assert 0 < float(part.split(",")[0].removeprefix("DURATION=")) <= 0.20001


def test_parts_make_up_their_segment(live: Live) -> None:
    text = live.texts[-1]
    parts, found = [], 0
    for line in text.splitlines():
        if line.startswith("#EXT-X-PART:"):
            parts.append(line)
        elif line.startswith("#EXTINF") and parts:
            seconds = sum(float(part.split("DURATION=")[1].split(",")[0]) for part in parts)
            assert seconds == pytest.approx(float(line[8:].rstrip(",")), abs=0.001)
            assert "INDEPENDENT=YES" in parts[0]
        elif line.endswith(".m4s") and parts:
            found += 1
            data = b""
            for name in uris("\n".join(parts)):
                part = live.segmenter.part(name)
                assert part is not None
                data += part.data
            segment = live.segmenter.segment(line)
            assert segment is not None and segment.data == data
            parts = []
    assert found >= 2


def test_the_hint_is_the_next_part(live: Live) -> None:
    live.play()
    seen = 0
    for before, after in zip(live.texts, live.texts[1:], strict=False):
        (hint,) = re.findall(r'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="(.*)"', before)
        assert hint not in uris(before)
        fresh = [name for name in uris(after) if name not in uris(before)]
        if fresh:
            assert fresh[0] == hint
            seen += 1
    assert seen > 30


def test_the_frames_are_all_there(live: Live) -> None:
    live.segmenter.end()
    head = live.done[0].initialization
    assert head is not None
    data = head.data + b"".join(segment.data for segment in live.done)
    sent, got = frames.read(clips.PYRAMID), frames.read(data, "mp4")
    assert frames.compare(sent, got, frames.HLS) == []
    text = live.segmenter.media_playlist().decode()
    assert "#EXT-X-ENDLIST" in text and "PRELOAD-HINT" not in text


def test_old_parts_are_neither_named_nor_kept(live: Live) -> None:
    live.play(7)
    text = live.texts[-1]
    parts = live.segmenter.parts
    assert parts is not None
    target = int(values("EXT-X-TARGETDURATION", text)[0])
    assert len(uris(text)) * 0.2 <= 4 * target + 2.5
    first = uris(live.texts[0])[0]
    assert live.segmenter.part(first) is None
    assert parts.size_bytes < sum(len(segment.data) for segment in live.done) / 3


def test_a_delta_update_leaves_out_what_is_old() -> None:
    live = Live(clips.read(clips.PYRAMID), window_segments=40)
    live.play(4)
    whole = live.segmenter.media_playlist().decode().splitlines()
    delta = live.segmenter.media_playlist(may_skip=True).decode().splitlines()
    (skip,) = [line for line in delta if line.startswith("#EXT-X-SKIP:SKIPPED-SEGMENTS=")]
    skipped = int(skip.partition("=")[2])
    segments = [line for line in whole if line.endswith(".m4s")]
    assert [line for line in delta if line.endswith(".m4s")] == segments[skipped:]
    assert 0 < skipped < len(segments)
    boundary = float(
        values("EXT-X-SERVER-CONTROL", "\n".join(whole))[0].split("UNTIL=")[1].split(",")[0]
    )
    lengths = [float(line[8:-1]) for line in whole if line.startswith("#EXTINF")]
    assert sum(lengths[skipped:]) <= boundary < sum(lengths[skipped - 1 :])


def test_what_there_is_to_wait_for(live: Live) -> None:
    parts = live.segmenter.parts
    assert parts is not None
    now = parts.sequence
    count = len(parts.open)
    assert parts.has(now - 1, None) and not parts.has(now, None)
    assert parts.has(now, count - 1) and not parts.has(now, count)
    assert parts.has(now - 1, 99)  # beyond a whole segment: the next one's first


@pytest.mark.parametrize("rate", [10, 24, 25, 50])
def test_the_target_is_a_whole_number_of_frames(rate: int) -> None:
    clip = clips.only(clips.read(clips.PYRAMID), Kind.VIDEO)
    step = 90_000 // rate
    steady = [
        replace(frame, pts=n * step, dts=n * step, arrived=n / rate) for n, frame in enumerate(clip)
    ]
    live = Live(steady)
    live.play()
    (target,) = {value for text in live.texts for value in values("EXT-X-PART-INF", text)}
    frames_of = float(target.removeprefix("PART-TARGET=")) * rate
    longest = max(
        float(part.split(",")[0].removeprefix("DURATION="))
        for part in values("EXT-X-PART", live.texts[-1])
    )
    assert longest * rate == pytest.approx(int(frames_of + 1e-3), abs=0.01)
    assert longest >= 0.85 * float(target.removeprefix("PART-TARGET=")) or frames_of < 1
