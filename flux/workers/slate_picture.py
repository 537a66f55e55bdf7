"""The built-in slate: the stream's name, what is wrong, and a light that moves."""

import numpy as np
from numpy.typing import NDArray

from flux.workers.letters import HEIGHT, draw, width_of

Plane = NDArray[np.uint8]

GROUND, NEUTRAL = 34, 128
NAME, TEXT, RAIL, LIGHT = 225, 150, 60, 200  # luma
MESSAGE = "SIGNAL LOST"
SECONDS = 2  # in which the light goes there and back
LONGEST = 40  # letters of a name


class SlatePicture:
    """The pictures of one size, in planes as FFmpeg's yuv420p has them; sides are even."""

    def __init__(self, width: int, height: int, name: str) -> None:
        flat = np.full(width * height * 3 // 2, NEUTRAL, np.uint8)
        self.pixels: Plane = flat.reshape(height * 3 // 2, width)
        self._luma: Plane = flat[: width * height].reshape(height, width)
        self._luma[:] = GROUND
        shown = name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."
        self._line(shown, height * 38 // 100, height // 60, NAME)
        self._line(MESSAGE, height * 55 // 100, height // 90, TEXT)
        rail = width // 3
        left, top = (width - rail) // 2, height * 70 // 100
        self._rail: Plane = self._luma[top : top + max(2, height // 90), left : left + rail]
        self._light = max(2, rail // 8)

    def _line(self, text: str, middle: int, scale: int, level: int) -> None:
        width = self._luma.shape[1]
        scale = max(1, min(scale, width * 9 // 10 // max(1, width_of(text))))
        x = (width - width_of(text) * scale) // 2
        draw(self._luma, text, x, middle - HEIGHT * scale // 2, scale, level)

    def draw(self, phase: float) -> Plane:
        """The picture at `phase`, 0 to 1, of the light's way there and back."""
        travel = self._rail.shape[1] - self._light
        x = round(travel * 2 * min(phase % 1.0, 1.0 - phase % 1.0))
        self._rail[:] = RAIL
        self._rail[:, x : x + self._light] = LIGHT
        return self.pixels
