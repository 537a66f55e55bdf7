"""Letters of 5 x 7 dots, drawn into the luma of a picture; small letters look like capitals."""

import numpy as np
from numpy.typing import NDArray

from flux.workers.picture import GLYPHS

Plane = NDArray[np.uint8]

ADVANCE = 6  # dots from one letter to the next
HEIGHT = 7  # dots
UNKNOWN = (31, 17, 17, 17, 17, 17, 31)
LETTERS = {
    **GLYPHS,
    "A": (14, 17, 17, 31, 17, 17, 17),
    "B": (30, 17, 17, 30, 17, 17, 30),
    "D": (30, 17, 17, 17, 17, 17, 30),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "G": (14, 17, 16, 23, 17, 17, 15),
    "H": (17, 17, 17, 31, 17, 17, 17),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "J": (7, 2, 2, 2, 2, 18, 12),
    "K": (17, 18, 20, 24, 20, 18, 17),
    "M": (17, 27, 21, 21, 17, 17, 17),
    "N": (17, 17, 25, 21, 19, 17, 17),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "P": (30, 17, 17, 30, 16, 16, 16),
    "Q": (14, 17, 17, 17, 21, 18, 13),
    "R": (30, 17, 17, 30, 20, 18, 17),
    "S": (15, 16, 16, 14, 1, 1, 30),
    "V": (17, 17, 17, 17, 17, 10, 4),
    "W": (17, 17, 17, 21, 21, 27, 17),
    "Y": (17, 17, 10, 4, 4, 4, 4),
    "Z": (31, 1, 2, 4, 8, 16, 31),
    "-": (0, 0, 0, 31, 0, 0, 0),
    "_": (0, 0, 0, 0, 0, 0, 31),
    "/": (1, 1, 2, 4, 8, 16, 16),
    "+": (0, 4, 4, 31, 4, 4, 0),
    "=": (0, 0, 31, 0, 31, 0, 0),
    "~": (0, 0, 8, 21, 2, 0, 0),
    "@": (14, 17, 23, 21, 23, 16, 14),
}


def width_of(text: str) -> int:
    """Dots of a line."""
    return max(0, len(text) * ADVANCE - 1)


def draw(luma: Plane, text: str, x: int, y: int, scale: int, level: int) -> None:
    """Draw a line with its upper left dot at (x, y); what lies outside the picture is cut off."""
    for place, letter in enumerate(text):
        rows = LETTERS.get(letter.upper(), UNKNOWN)
        left = x + place * ADVANCE * scale
        for row, dots in enumerate(rows):
            top = y + row * scale
            for column in range(5):
                if dots >> (4 - column) & 1:
                    at = left + column * scale
                    luma[max(top, 0) : max(top + scale, 0), max(at, 0) : max(at + scale, 0)] = level
