"""One track of sound as an endless body without pictures: ADTS, MPEG audio, Ogg Opus.

Each format carries the first of the tracks that it is given.
"""

from collections.abc import Sequence

from media.codecs.aac import AacParameters
from media.codecs.mp3 import Mp3Parameters
from media.codecs.opus import OpusParameters
from media.frame import Frame
from media.ogg import OpusPages
from media.track import Track


class _Sound:
    """What these formats have in common: no header but in Ogg, and an end only with the stream."""

    is_exhausted = False

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._track = tracks[0]

    def header(self) -> bytes:
        """Nothing: frames describe themselves."""
        return b""

    def resume(self) -> bytes:
        """Nothing: a decoder finds the next frame."""
        return b""


class AdtsFormat(_Sound):
    """AAC with an ADTS header before each frame, ISO/IEC 14496-3 section 1.A.3.2."""

    name = "aac"

    @staticmethod
    def carries(track: Track) -> bool:
        """AAC of an object type that ADTS can describe."""
        return isinstance(track.parameters, AacParameters) and track.parameters.is_adts_possible

    def encode(self, frame: Frame) -> bytes:
        """Header and frame."""
        parameters = frame.parameters
        if frame.track is not self._track or not isinstance(parameters, AacParameters):
            return b""
        data = frame.payload[-1]
        return parameters.adts_header(len(data)) + data if parameters.is_adts_possible else b""


class Mp3Format(_Sound):
    """Frames of MPEG audio as they are."""

    name = "mp3"

    @staticmethod
    def carries(track: Track) -> bool:
        """MPEG audio of any layer."""
        return isinstance(track.parameters, Mp3Parameters)

    def encode(self, frame: Frame) -> bytes:
        """The frame."""
        return b"".join(frame.payload) if frame.track is self._track else b""


class OggOpusFormat(_Sound):
    """Opus in Ogg, RFC 7845: a page for each packet, so that none waits for another."""

    name = "opus"

    def __init__(self, tracks: Sequence[Track]) -> None:
        super().__init__(tracks)
        parameters = self._track.parameters
        assert isinstance(parameters, OpusParameters)
        self._parameters = parameters
        self._pages = OpusPages(parameters)

    @staticmethod
    def carries(track: Track) -> bool:
        """Opus."""
        return isinstance(track.parameters, OpusParameters)

    @property
    def is_exhausted(self) -> bool:  # type: ignore[override]
        """Another number of channels needs another header."""
        return self._track.parameters is not self._parameters

    def header(self) -> bytes:
        """The identification and comment headers, each on a page of its own."""
        return self._pages.header()

    def encode(self, frame: Frame) -> bytes:
        """The page of a packet."""
        if frame.track is not self._track or frame.parameters is not self._parameters:
            return b""
        return self._pages.page(frame.payload[0], frame.pts)
