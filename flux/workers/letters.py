"""Letters of 5 x 7 dots for the luma of a picture; small letters look like capitals."""

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]

ADVANCE = 6  # dots from one letter to the next
HEIGHT = 7  # dots
UNKNOWN = (31, 17, 17, 17, 17, 17, 31)
LETTERS = {  # 5 x 7 dots, a row in each number
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
    ":": (0, 4, 4, 0, 4, 4, 0),
    ".": (0, 0, 0, 0, 0, 4, 4),
    " ": (0, 0, 0, 0, 0, 0, 0),
    "F": (31, 16, 16, 30, 16, 16, 16),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "U": (17, 17, 17, 17, 17, 17, 14),
    "X": (17, 17, 10, 4, 10, 17, 17),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "C": (14, 17, 16, 16, 16, 17, 14),
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


def dots_of(letter: str, scale: int) -> NDArray[np.bool_]:
    """Where the gap before a letter and the letter have dots; each is `scale` x `scale` pixels."""
    rows = LETTERS.get(letter.upper(), UNKNOWN)
    bits = range(ADVANCE - 1, -1, -1)
    dots = np.array([[row >> bit & 1 for bit in bits] for row in rows], np.bool_)
    return dots.repeat(scale, 0).repeat(scale, 1)


def width_of(text: str) -> int:
    """Dots of a line."""
    return max(0, len(text) * ADVANCE - 1)


def draw(luma: Plane, text: str, x: int, y: int, scale: int, level: int) -> None:
    """Draw a line with its upper left dot at (x, y); what lies outside the picture is cut off."""
    for place, letter in enumerate(text):
        dots = dots_of(letter, scale)
        left = x + (place * ADVANCE - 1) * scale
        shown = luma[max(y, 0) : max(y + len(dots), 0), max(left, 0) : max(left + len(dots[0]), 0)]
        top, first = max(-y, 0), max(-left, 0)
        shown[dots[top : top + len(shown), first : first + shown.shape[1]]] = level
