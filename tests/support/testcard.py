"""Reads a test card back: the row of blocks, the flash and the beep. Knows nothing of the server.

The row, from left to right, most significant bit first, 1 is white: 24 bits frame number, 40 bits
milliseconds since 2020-01-01 UTC, 16 bits CRC (CRC-16 with polynomial 0x1021 and start 0xffff of
the first 8 bytes). 80 fields of equal width span the picture at its upper edge; their middle is at
one thirtieth of the height.

`python -m tests.support.testcard FILE_OR_URL [SECONDS]` prints what it reads.
"""

import binascii
import io
import sys
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

FIELDS = 80
EPOCH_MS = 1_577_836_800_000  # 2020-01-01 in Unix milliseconds
BEEP_HZ = 1000
WINDOW = 48  # samples that one level is measured over
BEEP_LEVEL = 0.03  # of the 1 kHz part; the beep is five times as loud
MAX_HOLE_SECONDS = 60
QUIET_SECONDS = 0.2  # without a tone before the next onset counts
FLASH_PLACE = (0.85, 0.1)  # of height and width: within the block that flashes


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture that was read."""

    number: int  # frame number
    wall_ms: int  # Unix milliseconds
    pts: Fraction  # seconds
    flash: bool


@dataclass(slots=True)
class Recording:
    """All of a source. Times are seconds of the source's own timeline."""

    shots: list[Shot] = field(default_factory=list)
    unreadable: list[Fraction] = field(default_factory=list)  # pts of pictures whose row is wrong
    beeps: list[float] = field(default_factory=list)  # onsets
    keys: list[Fraction] = field(default_factory=list)  # pts of key frames

    @property
    def flashes(self) -> list[float]:
        """Times of the first picture of each flash."""
        return [
            float(shot.pts)
            for index, shot in enumerate(self.shots)
            if shot.flash and (index == 0 or not self.shots[index - 1].flash)
        ]


def read_row(luma: NDArray[np.uint8]) -> tuple[int, int] | None:
    """(frame number, Unix milliseconds) of a grey picture of any size; None if the CRC is wrong."""
    height, width = luma.shape
    middle = height // 30
    columns = [(2 * place + 1) * width // (2 * FIELDS) for place in range(FIELDS)]
    bits = luma[middle, columns] > 127
    data = np.packbits(bits).tobytes()
    if binascii.crc_hqx(data[:8], 0xFFFF) != int.from_bytes(data[8:], "big"):
        return None
    return int.from_bytes(data[:3], "big"), int.from_bytes(data[3:8], "big") + EPOCH_MS


def has_flash(luma: NDArray[np.uint8]) -> bool:
    """Whether the flashing block is white."""
    height, width = luma.shape
    return bool(luma[int(height * FLASH_PLACE[0]), int(width * FLASH_PLACE[1])] > 127)


def grey(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """The luma plane of a decoded yuv420p picture."""
    planes = frame.to_ndarray()  # luma first, then both chroma planes
    return planes[: frame.height].astype(np.uint8, copy=False)


class Sound:
    """The first channel of what was decoded, each frame where its time says."""

    def __init__(self) -> None:
        self._pieces: list[NDArray[np.float32]] = []
        self._start = Fraction(0)
        self._count = 0
        self._rate = 0

    def add(self, frame: av.AudioFrame) -> None:
        """Append a frame; a hole before it is filled with silence."""
        pts = seconds_of(frame)
        if not self._pieces:
            self._start, self._rate = pts, frame.sample_rate
        hole = round((pts - self._start) * self._rate) - self._count
        if WINDOW < hole < MAX_HOLE_SECONDS * self._rate:
            self._append(np.zeros(hole, np.float32))
        self._append(frame.to_ndarray()[0].astype(np.float32))

    def _append(self, samples: NDArray[np.float32]) -> None:
        self._pieces.append(samples)
        self._count += len(samples)

    def onsets(self) -> list[float]:
        """Where a 1 kHz tone begins, in seconds."""
        if not self._pieces:
            return []
        steps = self._count // WINDOW
        samples = np.concatenate(self._pieces)[: steps * WINDOW].reshape(steps, WINDOW)
        turn = np.exp(-2j * np.pi * BEEP_HZ / self._rate * np.arange(WINDOW))
        levels = np.abs(samples @ turn) * 2 / WINDOW
        found: list[float] = []
        heard = -QUIET_SECONDS
        for step in np.flatnonzero(levels > BEEP_LEVEL):
            time = float(step) * WINDOW / self._rate
            if time - heard >= QUIET_SECONDS:
                found.append(float(self._start) + time)
            heard = time
        return found


def read_testcard(source: str | io.BytesIO, seconds: float = float("inf")) -> Recording:
    """Decode a file, a URL or bytes, at most `seconds` of it by its video."""
    recording = Recording()
    sound = Sound()
    first: Fraction | None = None
    with av.open(source, "r") as container:
        for packet in container.demux():
            for frame in packet.decode():
                if isinstance(frame, av.AudioFrame):
                    sound.add(frame)
                elif isinstance(frame, av.VideoFrame):
                    pts = seconds_of(frame)
                    first = pts if first is None else first
                    if pts - first < seconds:
                        _read_picture(recording, frame, pts)
                        continue
                    recording.beeps = sound.onsets()
                    return recording
    recording.beeps = sound.onsets()
    return recording


def seconds_of(frame: av.VideoFrame | av.AudioFrame) -> Fraction:
    """The time of a decoded frame on the source's timeline."""
    assert frame.pts is not None
    assert frame.time_base is not None
    return frame.pts * frame.time_base


def _read_picture(recording: Recording, frame: av.VideoFrame, pts: Fraction) -> None:
    luma = grey(frame)
    row = read_row(luma)
    if frame.key_frame:
        recording.keys.append(pts)
    if row is None:
        recording.unreadable.append(pts)
    else:
        recording.shots.append(Shot(row[0], row[1], pts, has_flash(luma)))


def main() -> None:
    """Print what a source shows and sounds."""
    recording = read_testcard(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 10.0)
    for shot in recording.shots:
        print(f"{float(shot.pts):10.3f}  {shot.number:8}  {shot.wall_ms}{'  flash' * shot.flash}")
    print("unreadable", len(recording.unreadable))
    print("beeps", [round(onset, 3) for onset in recording.beeps])
    print("flashes", [round(flash, 3) for flash in recording.flashes])


if __name__ == "__main__":
    main()
