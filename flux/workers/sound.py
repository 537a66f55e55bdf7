"""The test card's sound: silence with a short, gentle tone at given samples."""

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 48_000
BEEP_HZ = 1000
BEEP_MS = 80
LEVEL = 0.15  # peak; -16 dBFS
EDGE_MS = 3  # raised cosine at both ends, so that it does not click


class Sound:
    """Renders one channel, from the beeps that it was told of."""

    def __init__(self) -> None:
        count = SAMPLE_RATE * BEEP_MS // 1000
        edge = SAMPLE_RATE * EDGE_MS // 1000
        tone = LEVEL * np.sin(2 * np.pi * BEEP_HZ / SAMPLE_RATE * np.arange(count))
        rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(edge) / edge)
        tone[:edge] *= rise
        tone[-edge:] *= rise[::-1]
        self._tone: NDArray[np.float32] = tone.astype(np.float32)
        self._begin: int | None = None  # sample of the last beep

    def beep(self, at: int) -> None:
        """A beep begins with sample `at`, which is not rendered yet."""
        self._begin = at

    def render(self, start: int, count: int) -> NDArray[np.float32]:
        """`count` samples from `start` on."""
        samples = np.zeros(count, np.float32)
        if self._begin is not None:
            skip = start - self._begin
            tone = self._tone[max(skip, 0) : max(skip + count, 0)]
            offset = max(-skip, 0)
            samples[offset : offset + len(tone)] = tone
        return samples
