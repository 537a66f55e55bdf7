"""G.722 and G.726 parameters: codecs that have no headers at all."""

from dataclasses import dataclass

from flux.base.errors import WireError
from media.parameters import AudioParameters

G722_SAMPLE_RATE = 16000
G722_CLOCK_RATE = 8000  # half of what is sampled, RFC 3551 section 4.5.2
G726_SAMPLE_RATE = 8000
G726_BITS = (2, 3, 4, 5)  # of a sample: 16, 24, 32, 40 kbit/s


@dataclass(frozen=True, slots=True, kw_only=True)
class G722Parameters(AudioParameters):
    """The configuration of a G.722 track: 16 kHz, one byte for two samples of one channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class G726Parameters(AudioParameters):
    """The configuration of a G.726 track.

    A decoder must know both fields, nothing in the payload tells. `is_aal2`: the first sample is in
    the most significant bits of a byte (ITU-T I.366.2 annex E), else in the least significant ones
    (ITU-T X.420, RFC 3551 section 4.5.4).
    """

    bits: int = 4  # of a sample
    is_aal2: bool = False

    @property
    def bit_rate(self) -> int:
        """Bits a second of one channel."""
        return self.bits * self.sample_rate

    def serialize(self) -> bytes:
        """Both fields as two bytes, for announcements."""
        return bytes((self.bits, self.is_aal2))


def parse_g726(data: bytes) -> tuple[int, bool]:
    """The reverse of `G726Parameters.serialize`: bits, is_aal2; `WireError` if it is not that."""
    if len(data) != 2 or data[0] not in G726_BITS or data[1] > 1:
        raise WireError("g726-malformed", data.hex())
    return data[0], bool(data[1])
