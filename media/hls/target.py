"""TARGETDURATION and EXT-X-INDEPENDENT-SEGMENTS: two promises that must not change later.

Players size their buffers by the target duration, no segment may be longer when rounded, and it
must stay as it is (RFC 8216 section 4.3.3.1). So it is taken from the longest whole GOP that was
seen before the first playlist was given out, plus a second for GOPs that vary. A source whose
first GOP does not end within `max_gop` gets segments that are cut without a key frame.

Segments are called independent only where the source has shown to keep a rhythm: two whole GOPs or
more, all of the same length, and no segment yet that had to start without a key frame. An encoder
that sets key frames where scenes change may at any time make a GOP that has to be cut.
"""

from math import ceil

from media.hls.segment import TIME_HZ

SLACK = 1  # second
RHYTHM_GOPS = 2  # whole GOPs that make a rhythm
RHYTHM_PERCENT = 110  # the longest of them against the shortest


class TargetDuration:
    """Watches the first key frames, then holds the values. `fixed`: seconds decided elsewhere."""

    def __init__(self, segment_duration: float, max_gop: float, fixed: int = 0) -> None:
        self._configured = ceil(segment_duration)
        self._max_gop = max(ceil(max_gop), self._configured)
        self._last_key: int | None = None
        self._longest_segment = 0
        self._is_final = False
        self.gop = 0  # ticks of the last whole GOP
        self.seconds = fixed  # the target duration; 0 until it is known
        self._is_fixed = fixed > 0
        self._gop_count = 0
        self._longest_gop = self._shortest_gop = 0
        self._is_audio_only = False
        self._is_refuted = False  # a segment started without a key frame
        self._is_independent = False  # what was promised, once it is final

    @property
    def is_known(self) -> bool:
        """Whether a playlist can be written."""
        return self.seconds > 0

    @property
    def is_independent(self) -> bool:
        """Whether every segment can be called decodable without the others."""
        if self._is_final:
            return self._is_independent
        if self._is_refuted:
            return False
        return self._is_audio_only or (
            self._gop_count >= RHYTHM_GOPS
            and self._longest_gop * 100 <= self._shortest_gop * RHYTHM_PERCENT
        )

    @property
    def limit(self) -> int:
        """Ticks that no segment may exceed."""
        return (self.seconds or self._max_gop + SLACK) * TIME_HZ

    def key_frame(self, start: int) -> None:
        """A key frame, shown at `start`, that may start a segment; two of them make a GOP."""
        if self._last_key is not None and start > self._last_key:
            self.gop = gop = start - self._last_key
            self._longest_gop = max(self._longest_gop, gop)
            self._shortest_gop = min(self._shortest_gop or gop, gop)
            self._gop_count += 1
            self._settle(ceil(self.gop / TIME_HZ))
        self._last_key = start

    def use_tracks(self, has_video: bool) -> None:
        """The tracks are known; audio alone can be cut anywhere."""
        self._is_audio_only = not has_video
        if not has_video:
            self._settle(0)

    def timeline_broke(self) -> None:
        """The next key frame does not end the GOP before it."""
        self._last_key = None

    def gop_too_long(self) -> None:
        """A segment reached its limit before any GOP was whole."""
        if not self.is_known:
            self._settle(self._max_gop)

    def starts_without_key(self) -> None:
        """The video of a segment starts with a frame that no decoder can start with."""
        self._is_refuted = True

    def segment_done(self, duration: int) -> None:
        """A segment of `duration` ticks was cut."""
        self._longest_segment = max(self._longest_segment, duration)

    def finish(self) -> None:
        """The stream ended; what is there is all there is."""
        self._settle(0)

    def freeze(self) -> None:
        """A playlist goes out: nothing changes any more."""
        if not self._is_final:
            self._is_independent = self.is_independent
            self._is_final = True

    def _settle(self, gop_seconds: int) -> None:
        if not (self._is_final or self._is_fixed):
            wanted = max(self._configured, min(gop_seconds, self._max_gop)) + SLACK
            longest = (self._longest_segment + TIME_HZ // 2) // TIME_HZ
            self.seconds = max(self.seconds, wanted, longest)
