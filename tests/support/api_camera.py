"""A camera that costs next to nothing: it replays one clip's packets under any path."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import native
from benchmarks.recording import recording
from tests.support import clip
from tests.support.program import Program

CLIP = "bunny"  # H.264 and AAC, 0.75 Mbit/s


@contextmanager
def replayed() -> Iterator[str]:
    """Where it plays, a path to be added; its first use records for as long as the clip is."""
    replay = Program([native.program("rtspreplay"), recording(clip.path_of(CLIP), CLIP).path])
    try:
        yield f"rtsp://user:secret@127.0.0.1:{replay.wait_for_json()['port']}"
    finally:
        replay.stop()
