"""The row of blocks in all sizes, and through a scaler, by the reader that knows nothing of it."""

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from flux.workers.blocks import BlockRow, row_bytes
from flux.workers.picture import Picture
from flux.workers.sound import SAMPLE_RATE, Sound
from tests.support.testcard import has_flash, read_row

UNIX_MS = 1_800_000_000_040
TICK = UNIX_MS * 25 // 1000


def luma_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[: len(pixels) * 2 // 3]


@given(st.integers(0, (1 << 24) - 1), st.integers(0, (1 << 40) - 1))
def test_any_row_is_read_back(number: int, since_2020_ms: int) -> None:
    luma = np.zeros((360, 640), np.uint8)
    BlockRow(luma).draw(number, 1_577_836_800_000 + since_2020_ms)
    assert read_row(luma) == (number, 1_577_836_800_000 + since_2020_ms)


def test_the_row_as_documented() -> None:
    assert row_bytes(0x123456, UNIX_MS).hex() == "123456" + f"{222_163_200_040:010x}" + "29c3"


def test_a_row_with_one_wrong_field_is_refused() -> None:
    luma = np.zeros((360, 640), np.uint8)
    BlockRow(luma).draw(77, UNIX_MS)
    for place in range(80):
        broken = luma.copy()
        broken[:, place * 8 : place * 8 + 8] = 251 - broken[:, place * 8 : place * 8 + 8]
        assert read_row(broken) is None


def test_no_picture_is_no_row() -> None:
    for level in (0, 16, 128, 255):
        assert read_row(np.full((360, 640), level, np.uint8)) is None


@pytest.mark.parametrize(
    "size", [(320, 180), (640, 360), (640, 480), (854, 480), (480, 854), (1280, 720), (1918, 1080)]
)
@pytest.mark.parametrize("flash", [True, False])
def test_every_size_is_drawn(size: tuple[int, int], flash: bool) -> None:
    picture = Picture(*size, 25)
    for number in (0, 1, 99_999_999):
        luma = luma_of(picture.draw(number, TICK, flash))
        assert luma.shape == (size[1], size[0])
        assert read_row(luma) == (number & 0xFF_FFFF, UNIX_MS)
        assert has_flash(luma) == flash


@pytest.mark.parametrize("size", [(1920, 1080), (854, 480), (426, 240), (320, 180)])
def test_a_scaled_picture_can_be_read(size: tuple[int, int]) -> None:
    picture = Picture(1280, 720, 25)
    frame = av.VideoFrame.from_ndarray(picture.draw(4711, TICK, True), format="yuv420p")
    scaled = frame.reformat(size[0], size[1], "gray").to_ndarray()
    assert read_row(scaled.astype(np.uint8)) == (4711, UNIX_MS)


def test_something_moves_in_every_frame() -> None:
    picture = Picture(640, 360, 25)
    seen = {picture.draw(0, TICK + step, False)[24:].tobytes() for step in range(100)}
    assert len(seen) == 100


def test_a_beep_is_the_same_however_it_is_cut() -> None:
    whole = Sound()
    whole.beep(500)
    expected = whole.render(0, 6000)
    assert np.flatnonzero(expected)[0] > 500
    assert np.flatnonzero(expected)[-1] < 500 + SAMPLE_RATE * 80 // 1000
    assert float(np.abs(expected).max()) == pytest.approx(0.15, abs=0.001)
    for step in (1000, 700, 48):
        cut = Sound()
        cut.beep(500)
        pieces = [cut.render(at, step) for at in range(0, 6000 - step + 1, step)]
        joined = np.concatenate(pieces)
        assert np.array_equal(joined, expected[: len(joined)])
