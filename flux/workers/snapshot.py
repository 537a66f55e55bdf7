"""Snapshots: `python -m flux.workers.snapshot` turns key frames into JPEG pictures.

Runs in one child process of the server for all streams and answers one request after the other.
Both directions speak the wire form of `media/wire.py`:

    server  HELLO, then for each request
            TRACKS  track 0: codec and parameter sets of the key frame
                    track 1: codec `jpeg`, configuration the width in decimal digits, 0 as it is
            FRAME   of track 0: the key frame; its pts is the number of the request
    worker  HELLO, TRACKS (track 1), then for each request
            FRAME   of track 1: the picture; the same pts
         or DROP    of track 1 with the reason, where there is no picture in that frame

A picture is never enlarged. Pixels that are not square become square; colours become those of
JFIF, which is what every browser takes a JPEG for.
"""

import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from flux.base.errors import WireError
from flux.workers.link import Desk, Refusal, run
from media.track import H264, H265, Kind
from media.wire import FLAG_KEY, Announcement, Message, Tracks, WireFrame

NAME = "snapshot"
PICTURE, JPEG_TRACK = 0, 1  # track ids
JPEG = "jpeg"
CLOCK_HZ = 90_000
DECODERS = {H264: "h264", H265: "hevc"}
START_CODE = b"\0\0\0\1"
MAX_PIXELS = 8192 * 8192
SMALLEST = 16  # pixels of a side
QUALITY = 3  # quantiser of the encoder: 2 is best, 31 worst

NO_PICTURE = "snapshot-no-picture"
DAMAGED = "snapshot-damaged"
BAD_CODEC = "snapshot-codec"
TOO_LARGE = "snapshot-too-large"

# AVColorSpace of a picture (H.264 table E-5) where the converter knows it; HD pictures that do not
# say are BT.709, smaller ones BT.601, as players take them.
UNKNOWN_COLOURS = 2
KNOWN_COLOURS = frozenset({1, 4, 5, 6, 7, 9})
HD_HEIGHT = 720


class NoPicture(Refusal):
    """A key frame that gives no picture."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture and the shape of its pixels."""

    frame: VideoFrame
    pixel_aspect: Fraction  # width of a pixel by its height


def decode(codec: str, configuration: Sequence[bytes], payload: Sequence[bytes]) -> Picture:
    """The picture of a key frame; raises `NoPicture`."""
    name = DECODERS.get(codec)
    if name is None:
        raise NoPicture(BAD_CODEC)
    context = av.CodecContext.create(name, "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1  # threads would only delay the single picture
    data = b"".join(START_CODE + nal for nal in (*configuration, *payload))
    try:
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except (FFmpegError, ValueError, MemoryError):
        raise NoPicture(NO_PICTURE) from None
    if not frames:
        raise NoPicture(NO_PICTURE)
    if frames[0].is_corrupt:  # what is missing was made up: the picture before shows more
        raise NoPicture(DAMAGED)
    aspect = context.sample_aspect_ratio
    return Picture(frames[0], aspect if aspect else Fraction(1))


def size_for(width: int, height: int, pixel_aspect: Fraction, wanted: int) -> tuple[int, int]:
    """Width and height of the JPEG, with square pixels."""
    shown = round(width * pixel_aspect) if pixel_aspect >= 1 else width
    tall = height if pixel_aspect >= 1 else round(height / pixel_aspect)
    chosen = min(wanted, shown) if wanted else shown
    return max(SMALLEST, chosen), max(SMALLEST, round(tall * chosen / shown))


def encode(picture: Picture, wanted_width: int) -> bytes:
    """The JPEG of a picture; width 0 is the picture's own."""
    frame = picture.frame
    if frame.width * frame.height > MAX_PIXELS:
        raise NoPicture(TOO_LARGE)
    width, height = size_for(frame.width, frame.height, picture.pixel_aspect, wanted_width)
    converted = frame.reformat(
        width,
        height,
        "yuvj420p",
        src_colorspace=colours_of(frame),
        dst_colorspace=Colorspace.ITU601,
        src_color_range=ColorRange.JPEG if frame.color_range == 2 else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=Interpolation.AREA,
    )
    converted.pts = 0
    context = av.CodecContext.create("mjpeg", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = width, height
    context.pix_fmt = "yuvj420p"
    context.time_base = Fraction(1, 25)
    context.thread_count = 1
    context.qmin = context.qmax = QUALITY
    return b"".join(bytes(packet) for packet in (*context.encode(converted), *context.encode(None)))


def colours_of(frame: VideoFrame) -> int:
    """The matrix that the picture's colours were made with."""
    if frame.colorspace in KNOWN_COLOURS:
        return frame.colorspace
    return int(Colorspace.ITU709 if frame.height >= HD_HEIGHT else Colorspace.ITU601)


class SnapshotDesk(Desk):
    """Takes requests and gives answers; `OSError` or the end of the socket ends the worker."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._tracks: dict[int, Announcement] = {}

    def serve(self) -> None:
        """Answer until the server closes its end. Raises `WireError` for what is no request."""
        self.open(NAME, [Announcement(JPEG_TRACK, Kind.VIDEO, JPEG, CLOCK_HZ)])
        super().serve()

    def heard(self, message: Message) -> None:
        """Take one half of a request."""
        if isinstance(message, Tracks):
            self._tracks = {track.id: track for track in message.tracks}
        elif isinstance(message, WireFrame):
            self._answer(message)

    def _answer(self, request: WireFrame) -> None:
        source, target = self._tracks.get(PICTURE), self._tracks.get(JPEG_TRACK)
        if source is None or target is None or request.track_id != PICTURE:
            raise WireError("snapshot-request")
        try:
            picture = decode(source.codec, source.configuration, request.payload)
            jpeg = encode(picture, width_of(target))
        except NoPicture as refusal:
            self.drop(1, refusal.reason, JPEG_TRACK)
        else:
            number = request.pts
            self.frame(JPEG_TRACK, FLAG_KEY, number, number, request.ntp, (jpeg,))


def width_of(target: Announcement) -> int:
    """The width that a request wants; raises `WireError` where it says none."""
    text = target.configuration[0] if target.configuration else b""
    if not text.isdigit() or len(text) > 5:
        raise WireError("snapshot-request")
    return int(text)


def main() -> int:
    """The worker's process."""
    av.logging.set_level(av.logging.PANIC)  # broken pictures are answered, not logged
    return run(NAME, SnapshotDesk, SnapshotDesk.serve)


if __name__ == "__main__":
    sys.exit(main())
