"""Slates: `python -m flux.workers.slate` encodes what streams show while their sources are away.

Runs in one child process of the server for all streams and answers one request after the other.
Both directions speak the wire form of `media/wire.py`:

    server  HELLO, then for each request
            TRACKS  track 0: codec `slate`, configuration the order as JSON, see `Order`
    worker  HELLO, TRACKS (track 0), then for each request
            TRACKS  track 0, and what was encoded: track 1 video, track 2 audio
            FRAME   of tracks 1 and 2: the units of one repetition; their pts is their index
            FRAME   of track 0, when all are there: how long a unit of each track lasts, as JSON
         or DROP    of track 0 with the reason, where there can be no slate
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Self

import av
from av.error import FFmpegError
from av.video.frame import VideoFrame

from flux.base.errors import WireError
from flux.workers import slate_file
from flux.workers.link import Desk, run
from flux.workers.slate_codecs import (
    AudioFormat,
    Encoded,
    NoSlate,
    VideoFormat,
    encode_pictures,
    encode_sound,
)
from flux.workers.slate_picture import SECONDS, SlatePicture
from media.track import Kind
from media.wire import (
    FLAG_KEY,
    Announcement,
    Message,
    Tracks,
    serialize_tracks,
)

NAME = "slate"
ORDER, VIDEO, AUDIO = 0, 1, 2  # track ids
CLOCK_HZ = 90_000
BUILTIN = "builtin"
MAX_LOOP_BYTES = 32 << 20
MAX_SIDE = 8192
CONTROL = Announcement(ORDER, Kind.DATA, NAME, CLOCK_HZ)


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted: the slate of one stream."""

    number: int
    slate: str  # builtin, or the path of a file
    name: str  # of the stream
    video: VideoFormat | None
    audio: AudioFormat | None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the JSON of a request; raises `WireError`."""
        try:
            fields: dict[str, Any] = json.loads(data)
            video, audio = fields["video"], fields["audio"]
            return cls(
                int(fields["number"]),
                str(fields["slate"]),
                str(fields["name"]),
                _video(**video) if video is not None else None,
                AudioFormat(**audio) if audio is not None else None,
            )
        except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise WireError("slate-request", str(error)) from None


def _video(codec: str, width: int, height: int, rate: str, profile: int, level: int) -> VideoFormat:
    return VideoFormat(codec, width & ~1, height & ~1, Fraction(rate), int(profile), int(level))


@dataclass(frozen=True, slots=True)
class Slate:
    """One repetition; `seconds` of it are the video's, or the audio's without one."""

    video: Encoded | None
    audio: Encoded | None
    seconds: Fraction


def make(order: Order) -> Slate:
    """Encode what is wanted; raises `NoSlate`."""
    path = None if order.slate == BUILTIN else Path(order.slate)
    seconds = Fraction(SECONDS)
    video = audio = None
    if order.video is not None:
        form = order.video
        if not (16 <= form.width <= MAX_SIDE and 16 <= form.height <= MAX_SIDE and form.rate > 0):
            raise NoSlate("slate-size")
        shown = _builtin(form, order.name) if path is None else slate_file.pictures(path, form)
        first = next(shown)  # a file that cannot be read is known before the encoder is made
        video = encode_pictures(form, chain((first,), shown))
        seconds = len(video.units) / form.rate
    if order.audio is not None:
        heard = None
        if path is not None:
            limit = float(seconds) if video is not None else slate_file.MAX_SECONDS
            heard = slate_file.sound(path, order.audio, limit)
            if heard is not None and video is None:
                seconds = Fraction(heard.shape[1], order.audio.sample_rate)
        audio = encode_sound(order.audio, float(seconds), heard)
    if video is None and audio is None:
        raise NoSlate("slate-no-track")
    if sum(each.size_bytes for each in (video, audio) if each is not None) > MAX_LOOP_BYTES:
        raise NoSlate("slate-too-large")
    return Slate(video, audio, seconds)


def _builtin(form: VideoFormat, name: str) -> Iterator[VideoFrame]:
    picture = SlatePicture(form.width, form.height, name)
    count = max(1, round(form.rate * SECONDS))
    for index in range(count):
        yield VideoFrame.from_ndarray(picture.draw(index / count), format="yuv420p")


class SlateDesk(Desk):
    """Takes orders and delivers; `OSError` or the end of the socket ends the worker."""

    def serve(self) -> None:
        """Answer until the server closes its end. Raises `WireError` for what is no request."""
        self.open(NAME, [CONTROL])
        super().serve()

    def heard(self, message: Message) -> None:
        """Take an order."""
        if isinstance(message, Tracks):
            self._answer(message)

    def _answer(self, request: Tracks) -> None:
        control = next((track for track in request.tracks if track.id == ORDER), None)
        if control is None or not control.configuration:
            raise WireError("slate-request")
        order = Order.parse(control.configuration[0])
        try:
            slate = make(order)
        except NoSlate as refusal:
            self.drop(1, refusal.reason, ORDER)
        except (FFmpegError, MemoryError, ValueError) as error:
            sys.stderr.write(f"slate of {order.name}: {error}\n")
            self.drop(1, "slate-encoder", ORDER)
        else:
            self._deliver(order, slate)

    def _deliver(self, order: Order, slate: Slate) -> None:
        tracks, found, lasts = [CONTROL], {}, {}
        if slate.video is not None and order.video is not None:
            sets = slate.video.configuration
            codec = order.video.codec
            tracks.append(Announcement(VIDEO, Kind.VIDEO, codec, CLOCK_HZ, configuration=sets))
            found[VIDEO] = slate.video
            lasts["video"] = str(1 / order.video.rate)
        if slate.audio is not None and order.audio is not None:
            form = order.audio
            sets = slate.audio.configuration if all(slate.audio.configuration) else ()
            tracks.append(
                Announcement(
                    AUDIO, Kind.AUDIO, form.codec, form.sample_rate, form.channels, 0, sets
                )
            )
            found[AUDIO] = slate.audio
            lasts["audio"] = str(Fraction(form.packet, form.sample_rate))
        self._socket.sendall(serialize_tracks(tracks))
        for track_id, encoded in found.items():
            keys = frozenset(encoded.keys)
            for index, unit in enumerate(encoded.units):
                flags = FLAG_KEY if index in keys else 0
                self.frame(track_id, flags, index, index, 0, unit)
        summary = {"number": order.number, "seconds": str(slate.seconds), "lasts": lasts}
        payload = (json.dumps(summary).encode(),)
        self.frame(ORDER, FLAG_KEY, order.number, order.number, 0, payload)


def main() -> int:
    """The worker's process."""
    av.logging.set_level(av.logging.PANIC)
    return run(NAME, SlateDesk, SlateDesk.serve)


if __name__ == "__main__":
    sys.exit(main())
