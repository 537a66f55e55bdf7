"""The GOP cache: starts at a key frame, and is bounded three ways."""

from media.frame import Frame
from media.gop import GopCache, GopLimits
from media.track import AAC, H264, Kind, Track

VIDEO = Track(0, Kind.VIDEO, H264, 90_000)
AUDIO = Track(1, Kind.AUDIO, AAC, 48_000)


def frame(track: Track, dts: int, *, key: bool = False, size: int = 10) -> Frame:
    return Frame(track, dts, dts, 0, 0.0, key, False, None, (bytes(size),))


def test_begins_at_the_last_video_key_frame() -> None:
    cache = GopCache(GopLimits(), has_video=True)
    cache.add(frame(AUDIO, 0, key=True))
    cache.add(frame(VIDEO, 0))
    assert len(cache) == 0
    for dts, key in ((3000, True), (6000, False), (9000, True), (12000, False)):
        cache.add(frame(VIDEO, dts, key=key))
        cache.add(frame(AUDIO, dts, key=True))
    assert [f.dts for f in cache.frames()] == [9000, 6000, 9000, 12000, 12000]
    assert cache.size_bytes == 50


def test_sound_published_before_its_key_frame_is_kept() -> None:
    cache = GopCache(GopLimits(), has_video=True)
    for number in range(-10, 20):
        cache.add(frame(AUDIO, number * 1024, key=True))
    cache.add(frame(VIDEO, 0, key=True))
    assert [f.dts for f in cache.frames()] == [0, *(n * 1024 for n in range(20))]
    cache.add(frame(VIDEO, 3000))
    cache.add(frame(VIDEO, 36_000, key=True))
    assert [f.dts for f in cache.frames()] == [36_000, 19 * 1024]


def test_each_limit_empties_it_until_the_next_key_frame() -> None:
    for limits in (GopLimits(seconds=1), GopLimits(frames=3), GopLimits(size_bytes=35)):
        cache = GopCache(limits, has_video=True)
        cache.add(frame(VIDEO, 0, key=True))
        for number in range(1, 40):
            cache.add(frame(VIDEO, number * 3000))
        assert (len(cache), cache.size_bytes, cache.overflows) == (0, 0, 1)
        cache.add(frame(VIDEO, 200_000, key=True))
        assert len(cache) == 1


def test_sound_alone_keeps_half_a_second() -> None:
    cache = GopCache(GopLimits(), has_video=False)
    for number in range(200):
        cache.add(frame(AUDIO, number * 1024, key=True))
    kept = cache.frames()
    assert kept[-1].dts - kept[0].dts <= 24_000
    assert len(kept) > 10
    assert cache.size_bytes == 10 * len(kept)
