"""What can be chosen about HLS."""

from dataclasses import dataclass

from media.hls.options import HlsOptions


@dataclass(frozen=True, slots=True)
class HlsBridgeOptions:
    """What configuration says of HLS, or of HLS of one stream."""

    segmenter: HlsOptions = HlsOptions()  # noqa: RUF009 - frozen
    always: bool = False  # make segments even if nobody asks
    shared: bool = False  # no tokens: all viewers get the same playlists
    close_after: float = 30.0  # a session without a request for so long is over
    hold: float = 15.0  # longest wait of a playlist request for the first segments
