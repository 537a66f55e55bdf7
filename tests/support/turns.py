"""Turns of tests in several workers: side by side, or one alone."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BYTES = 1 << 40  # of this file that can be locked; it need not have them


@contextmanager
def turn(run: str, *, alone: bool) -> Iterator[None]:
    """A test's turn among all workers of a run (hexadecimal digits): alone, or with others.

    Whoever waits holds the door: else one who wants to be alone would wait for ever.
    """
    room, door = (2 * int(run, 16) % BYTES + at for at in (0, 1))
    with Path(__file__).open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, door)
        fcntl.lockf(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, 1, room)
        fcntl.lockf(file, fcntl.LOCK_UN, 1, door)
        yield
