"""Linear PCM parameters; samples are 16 bits, signed, most significant byte first.

RFC 3551 section 4.5.11 (`L16`); a payload is whole sampling instants, channels interleaved.
"""

from dataclasses import dataclass

from media.parameters import AudioParameters

L16_SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class L16Parameters(AudioParameters):
    """The configuration of a track of linear 16 bit samples."""
