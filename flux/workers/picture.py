"""The test card's picture, drawn straight into YUV 4:2:0 planes; only what moves is drawn again.

From top to bottom: the row of blocks (`blocks.py`), colour bars, a strip with a box that slides,
and below it the block that flashes, a dial whose sector fills once a second, and clock and frame
number for human readers.
"""

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from flux.workers.blocks import BLACK, WHITE, BlockRow
from flux.workers.letters import ADVANCE, HEIGHT, dots_of

Plane = NDArray[np.uint8]

# 75 % colour bars, red green blue.
BARS = ((1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0))
BAR_LEVEL = 0.75
GROUND = 40  # luma of what is not drawn on
NEUTRAL = 128
LINE = 16  # characters of the longest line of text
SLIDE_SECONDS = 4  # there and back


def _yuv(red: float, green: float, blue: float) -> tuple[int, int, int]:
    """BT.709, limited range."""
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (
        round(16 + 219 * luma),
        round(128 + 224 * (blue - luma) / 1.8556),
        round(128 + 224 * (red - luma) / 1.5748),
    )


class Text:
    """A line of fixed length; `write` draws only the characters that changed."""

    def __init__(self, luma: Plane, x: int, y: int, scale: int) -> None:
        self._luma = luma
        self._x = x
        self._y = y
        self._step = ADVANCE * scale
        self._written = ""
        self._scale = scale
        self._tiles: dict[str, Plane] = {}  # the letters that were drawn

    def write(self, text: str) -> None:
        """Draw the line."""
        for place, letter in enumerate(text):
            if self._written[place : place + 1] != letter:
                tile = self._tiles.get(letter)
                if tile is None:
                    tile = np.where(dots_of(letter, self._scale), WHITE, GROUND).astype(np.uint8)
                    self._tiles[letter] = tile
                x = self._x + place * self._step
                height, width = tile.shape
                self._luma[self._y : self._y + height, x : x + width] = tile
        self._written = text


class Picture:
    """The picture of one size; `pixels` has the planes as FFmpeg's yuv420p has them."""

    def __init__(self, width: int, height: int, rate: int) -> None:
        self._rate = rate
        flat = np.full(width * height * 3 // 2, NEUTRAL, np.uint8)
        self.pixels: Plane = flat.reshape(height * 3 // 2, width)
        self._luma: Plane = flat[: width * height].reshape(height, width)
        chroma: Plane = flat[width * height :].reshape(2, height // 2, width // 2)
        self._luma[:] = GROUND
        self._row = BlockRow(self._luma)
        top, middle, low = height // 15, height * 6 // 10 & ~1, height * 7 // 10 & ~1
        self._draw_bars(chroma, top, middle)
        self._strip: Plane = self._luma[middle + 4 : low - 4]
        box = width // 10 & ~1
        self._box: Plane = np.linspace(90, 220, box).astype(np.uint8)
        self._travel = width - box
        margin = height // 30
        side = min(height - low - 2 * margin, width // 6)
        self._flash: Plane = self._luma[low + margin : height - margin, width // 40 : width // 5]
        x = width // 4
        self._dial: Plane = self._luma[low + margin : low + margin + side, x : x + side]
        self._dials = _dials(side, rate)
        x = width * 43 // 100
        scale = max(min(height // 120, (width - x) // (LINE * ADVANCE)), 1)
        self._clock = Text(self._luma, x, low + margin, scale)
        self._number = Text(self._luma, x, low + margin + side - HEIGHT * scale, scale)

    def _draw_bars(self, chroma: Plane, top: int, bottom: int) -> None:
        width = self._luma.shape[1]
        for place, colour in enumerate(BARS):
            luma, blue, red = _yuv(*(BAR_LEVEL * part for part in colour))
            left = width * place // len(BARS) & ~1
            self._luma[top:bottom, left:] = luma
            chroma[0, (top + 1) // 2 : bottom // 2, left // 2 :] = blue
            chroma[1, (top + 1) // 2 : bottom // 2, left // 2 :] = red

    def draw(self, number: int, tick: int, flash: bool) -> Plane:
        """Draw frame `number`, whose Unix time is `tick / rate` seconds; the answer is `pixels`."""
        rate = self._rate
        wall_ms = tick * 1000 // rate
        self._row.draw(number, wall_ms)
        self._flash[:] = WHITE if flash else BLACK
        self._dial[:] = self._dials[tick % rate]
        period = SLIDE_SECONDS * rate
        phase = tick % period
        x = self._travel * min(phase, period - phase) * 2 // period
        self._strip[:] = GROUND
        self._strip[:, x : x + len(self._box)] = self._box
        seconds, ms = divmod(wall_ms, 1000)
        clock = datetime.fromtimestamp(seconds, UTC)
        self._clock.write(f"{clock:%H:%M:%S}.{ms:03} UTC")
        self._number.write(f"FLUX {number:08}")
        return self.pixels


def _dials(side: int, rate: int) -> list[Plane]:
    """The dial at each frame of a second: a ring and a sector from 12 o'clock, clockwise."""
    middle = (side - 1) / 2
    y, x = np.mgrid[0:side, 0:side] - middle
    radius = np.hypot(x, y) / (side / 2)
    turn = np.arctan2(x, -y) / (2 * np.pi) % 1.0
    ground = np.where((radius > 0.9) & (radius < 1.0), WHITE, GROUND)
    return [
        np.where((radius < 0.85) & (turn < (place + 1) / rate), 160, ground).astype(np.uint8)
        for place in range(rate)
    ]
