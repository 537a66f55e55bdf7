"""The test card: `python -m flux.workers.testcard "testcard:?size=1280x720&rate=25"`.

Runs in a child process of the server and publishes a moving picture and a beep in sync with a
flash, on every full second of the wall clock. Frame number and wall clock are drawn as a row of
blocks that a program can read (`blocks.py`). H.264 with a key frame every two seconds, and AAC.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl

from flux.base.errors import ConfigError
from flux.base.units import NTP_SECOND, NTP_UNIX_OFFSET
from flux.workers.encoders import AAC_FRAME_SAMPLES, AudioEncoder, VideoEncoder
from flux.workers.link import Link, run
from flux.workers.pacer import Beat, Pacer
from flux.workers.picture import Picture
from flux.workers.sound import SAMPLE_RATE, Sound
from media.track import AAC, H264, Kind
from media.wire import FLAG_DISCONTINUITY, FLAG_KEY, Announcement, WireFrame

NAME = "testcard"
SCHEME = f"{NAME}:"
VIDEO_HZ = 90_000
GOP_SECONDS = 2
FLASH_MS = 80
AUDIO_BPS = 96_000
SMALLEST, LARGEST = (320, 180), (1920, 1080)
RATES = range(1, 61)
BITRATES = range(100_000, 50_000_001)
VIDEO, AUDIO = 0, 1  # track ids


@dataclass(frozen=True, slots=True)
class TestCardOptions:
    """What the URL can ask for."""

    __test__ = False  # its name is no wish to be collected by pytest

    width: int = 1280
    height: int = 720
    rate: int = 25  # frames a second
    bitrate: int = 2_000_000  # bits a second of video at most

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `testcard:?size=WxH&rate=N&bitrate=N[k|M]`; raises `ConfigError`."""
        if not url.startswith(SCHEME):
            raise ConfigError("", f"a test card's URL begins with {SCHEME}")
        query = url[len(SCHEME) :].lstrip("/").removeprefix("?")
        values: dict[str, int] = {}
        for key, text in parse_qsl(query, keep_blank_values=True):
            match key:
                case "size":
                    values["width"], values["height"] = _size(text)
                case "rate":
                    values[key] = _number(key, text, RATES)
                case "bitrate":
                    values[key] = _number(key, text, BITRATES)
                case _:
                    raise ConfigError(key, "expected size, rate or bitrate")
        return cls(**values)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return (
        _number("size", width, range(SMALLEST[0], LARGEST[0] + 1, 2)),
        _number("size", height, range(SMALLEST[1], LARGEST[1] + 1, 2)),
    )


def _number(key: str, text: str, allowed: range) -> int:
    factor = {"k": 1000, "M": 1_000_000}.get(text[-1:], 1)
    digits = text if factor == 1 else text[:-1]
    if digits.isascii() and digits.isdigit() and len(digits) < 10:
        value = int(digits) * factor
        if value in allowed:
            return value
    even = " (even)" if allowed.step == 2 else ""
    raise ConfigError(key, f"expected a number{even} from {allowed[0]} to {allowed[-1]}: {text!r}")


class TestCard:
    """Turns beats into frames: no clock, no socket."""

    __test__ = False

    def __init__(self, options: TestCardOptions) -> None:
        self._rate = options.rate
        self._picture = Picture(options.width, options.height, options.rate)
        self._video = VideoEncoder(options.width, options.height, options.rate, options.bitrate)
        self._sound = Sound()
        self._audio = AudioEncoder(SAMPLE_RATE, AUDIO_BPS)
        self._rendered = 0  # samples
        self.tracks = (
            Announcement(
                VIDEO, Kind.VIDEO, H264, VIDEO_HZ, configuration=self._video.configuration
            ),
            Announcement(
                AUDIO,
                Kind.AUDIO,
                AAC,
                SAMPLE_RATE,
                channels=2,
                configuration=self._audio.configuration,
            ),
        )

    def frames(self, beat: Beat) -> Iterator[WireFrame]:
        """The picture of this beat, then the sound packets that are complete by its end."""
        rate = self._rate
        since_second = beat.tick % rate
        if beat.skipped:
            self._rendered = max(self._rendered, beat.index * SAMPLE_RATE // rate)
        if since_second == 0:
            self._sound.beep(beat.index * SAMPLE_RATE // rate)
        flash = since_second == 0 or since_second * 1000 < FLASH_MS * rate
        pixels = self._picture.draw(beat.index, beat.tick, flash)
        key = beat.index % (GOP_SECONDS * rate) == 0 or beat.skipped > 0
        payload = self._video.encode(pixels, beat.index, key)
        break_flag = FLAG_DISCONTINUITY if beat.skipped else 0
        pts = beat.index * VIDEO_HZ // rate
        ntp = _ntp(beat.tick, rate)
        yield WireFrame(VIDEO, FLAG_KEY * key | break_flag, pts, pts, ntp, payload)
        end = (beat.index + 1) * SAMPLE_RATE // rate
        while self._rendered + AAC_FRAME_SAMPLES <= end:
            start = self._rendered
            self._rendered += AAC_FRAME_SAMPLES
            samples = self._sound.render(start, AAC_FRAME_SAMPLES)
            for at, packet in self._audio.encode(samples, start):
                since_start = at * rate - beat.index * SAMPLE_RATE  # in 1 / (rate * SAMPLE_RATE) s
                ntp_at = ntp + since_start * NTP_SECOND // (rate * SAMPLE_RATE)
                yield WireFrame(AUDIO, FLAG_KEY, at, at, ntp_at, (packet,))


def _ntp(tick: int, rate: int) -> int:
    """64-bit NTP of `tick / rate` seconds of Unix time, without a float."""
    return (NTP_UNIX_OFFSET * rate + tick) * NTP_SECOND // rate


def publish(link: Link, url: str) -> None:
    """Publish until the server closes the socket, which raises `OSError`.

    Raises `ConfigError` for a URL that is none, and tells the server.
    """
    try:
        options = TestCardOptions.parse(url)
    except ConfigError:
        link.refuse(NAME, "testcard-options")
        raise
    card, pacer = TestCard(options), Pacer(options.rate)
    link.open(NAME, card.tracks)
    while True:
        beat = pacer.next()
        if beat.skipped:
            link.drop(beat.skipped, "worker-late")
        for frame in card.frames(beat):
            link.frame(frame.track_id, frame.flags, frame.pts, frame.dts, frame.ntp, frame.payload)


def main(arguments: Sequence[str]) -> int:
    """The worker's process."""
    url = arguments[0] if arguments else SCHEME
    return run(NAME, Link, lambda link: publish(link, url))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
