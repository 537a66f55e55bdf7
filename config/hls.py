"""HLS in the configuration: for all streams, and what a single one has in its place."""

from typing import Annotated, Literal

from pydantic import Field

from config.quantities import DurationIn, SizeIn
from config.section import Section

PartDuration = Annotated[float, DurationIn("50ms", "5s")]
SegmentDuration = Annotated[float, DurationIn("500ms", "1m")]
SegmentCount = Annotated[int, Field(ge=3, le=100)]
WindowDuration = Annotated[float, DurationIn("0", "7d")]
WindowSize = Annotated[int, SizeIn("1M", "1T")]


class HlsSection(Section):
    """HLS with segments in memory."""

    mode: Literal["on_demand", "always"] = "on_demand"
    """Make segments only while somebody asks for them, or always."""
    container: Literal["auto", "mpegts", "fmp4"] = "auto"
    """What segments are: `auto` is MPEG-TS where it is as good as fragmented MP4 for all tracks."""
    low_latency: bool = False
    """Low-Latency HLS: parts of segments and playlists that wait for them; segments are fMP4."""
    part_duration: PartDuration = 0.2
    """How long parts are, or as many frames as come nearest to it."""
    segment_duration: SegmentDuration = 1.0
    """Shortest segment; it ends at the first key frame after that."""
    segment_count: SegmentCount = 7
    """Segments in the playlist."""
    segment_size: Annotated[int, SizeIn("64K", "1G")] = 50 << 20
    """A segment that grows larger is cut."""
    window: WindowDuration = 0.0
    """As many more segments as make up so long, for viewers who seek back; 0: `segment_count`."""
    window_size: WindowSize = 512 << 20
    """Most memory for the segments of one stream, whatever `window` says."""
    shared: bool = False
    """The same playlists for all, without a viewer's token, so that a CDN can keep them."""
    close_after: Annotated[float, DurationIn("1s", "1d")] = 30.0
    """Without a request for so long segments are no longer made; a viewer's session ends too."""


class HlsStreamSection(Section):
    """HLS of one stream, where it is not as `hls` has it; null: as there."""

    mode: Literal["on_demand", "always"] | None = None
    """Make its segments only while somebody asks for them, or always."""
    container: Literal["auto", "mpegts", "fmp4"] | None = None
    """What its segments are."""
    low_latency: bool | None = None
    """Low-Latency HLS."""
    part_duration: PartDuration | None = None
    """How long parts are."""
    segment_duration: SegmentDuration | None = None
    """Shortest segment."""
    segment_count: SegmentCount | None = None
    """Segments in the playlist."""
    window: WindowDuration | None = None
    """How far viewers can seek back."""
    window_size: WindowSize | None = None
    """Most memory for its segments."""
    shared: bool | None = None
    """The same playlists for all."""

    def over(self, common: HlsSection) -> HlsSection:
        """What holds for this stream."""
        own = {key: getattr(self, key) for key in type(self).model_fields}
        return common.model_copy(update={k: value for k, value in own.items() if value is not None})
