"""How sound is named to RTP receivers; that the names are those that are understood."""

import pytest

from media.codecs.aac import AacParameters
from media.codecs.ac3 import Ac3Parameters
from media.codecs.adpcm import G722Parameters, G726Parameters
from media.codecs.eac3 import Eac3Parameters
from media.codecs.mp3 import Mp3Parameters
from media.codecs.opus import OpusParameters, multistream
from media.codecs.pcm import L16Parameters
from media.parameters import Parameters
from media.payloads.encodings import Encoding, encoding_for
from media.payloads.formats import fmtp_for, payload_format
from media.track import AAC, AC3, EAC3, G722, G726, L16, MP3, OPUS, Kind, Track
from protocols.sdp.media import STATIC_PAYLOADS
from tests.support.dolby import ac3_frame, eac3_frame

MPEG_FRAME = bytes.fromhex("fffb9064")


@pytest.mark.parametrize(
    ("codec", "clock", "parameters", "expected"),
    [
        (
            AAC,
            48000,
            AacParameters.build(bytes.fromhex("1190"), 48000),
            Encoding("mpeg4-generic", 48000, 2),
        ),
        (OPUS, 48000, OpusParameters(sample_rate=48000, channels=1), Encoding("opus", 48000, 2)),
        (OPUS, 48000, multistream(3, 2, 1, b"\0\2\1"), Encoding("multiopus", 48000, 3)),
        (G722, 8000, G722Parameters(sample_rate=16000, channels=1), Encoding("G722", 8000, 1, 9)),
        (G722, 16000, G722Parameters(sample_rate=16000, channels=2), Encoding("G722", 8000, 2)),
        (
            G726,
            8000,
            G726Parameters(sample_rate=8000, channels=1, bits=3, is_aal2=True),
            Encoding("AAL2-G726-24", 8000),
        ),
        (L16, 44100, L16Parameters(sample_rate=44100, channels=2), Encoding("L16", 44100, 2, 10)),
        (L16, 44100, L16Parameters(sample_rate=44100, channels=1), Encoding("L16", 44100, 1, 11)),
        (L16, 48000, L16Parameters(sample_rate=48000, channels=2), Encoding("L16", 48000, 2)),
        (MP3, 90000, Mp3Parameters.from_frame(MPEG_FRAME, 90000), Encoding("MPA", 90000, 1, 14)),
        (AC3, 90000, Ac3Parameters.from_frame(ac3_frame(), 90000), Encoding("ac3", 48000, 2)),
        (EAC3, 48000, Eac3Parameters.from_frame(eac3_frame(), 48000), Encoding("eac3", 48000, 2)),
    ],
)
def test_names(codec: str, clock: int, parameters: Parameters, expected: Encoding) -> None:
    found = encoding_for(Track(0, Kind.AUDIO, codec, clock, parameters))
    assert found == expected
    back = payload_format(
        expected.name, expected.clock_rate, expected.channels, fmtp_for(parameters)
    )
    assert (back.codec, back.kind, back.clock_rate) == (codec, Kind.AUDIO, expected.clock_rate)
    assert back.parameters == parameters or codec in (MP3, AC3, EAC3)  # these come in band
    if expected.payload_type is not None:
        static = STATIC_PAYLOADS[expected.payload_type]
        assert static == (expected.name, expected.clock_rate, expected.channels)


def test_g726_of_which_nothing_is_known_has_no_name() -> None:
    assert encoding_for(Track(0, Kind.AUDIO, G726, 8000)) is None
