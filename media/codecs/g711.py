"""G.711 parameters; one byte is one sample of one channel (RFC 3551 section 4.5.14)."""

from dataclasses import dataclass

from media.parameters import AudioParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class G711Parameters(AudioParameters):
    """The configuration of an A-law or mu-law track; which one, its codec says."""
