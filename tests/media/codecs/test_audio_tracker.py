"""Sound whose parameters come in band."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs.aac import AacParameters
from media.codecs.ac3 import Ac3Parameters
from media.codecs.eac3 import Eac3Parameters
from media.codecs.mp3 import Mp3Parameters
from media.codecs.tracker import Inspected, ParameterTracker, tracker_for
from media.parameters import AudioParameters, Parameters
from media.track import AAC, AC3, EAC3, MP3, Kind, Track
from tests.support.dolby import ac3_frame, eac3_frame

LC, OTHER = bytes.fromhex("1190"), bytes.fromhex("1210")
MP3_FRAME = bytes.fromhex("fffb9064") + b"x" * 413
PADDED = bytes.fromhex("fffb9264") + b"x" * 414
JOINT = bytes.fromhex("fffb9074") + b"x" * 413
MONO = bytes.fromhex("fffb90c4") + b"x" * 413


def tracker(
    codec: str, parameters: Parameters | None = None, rate: int = 48000
) -> ParameterTracker:
    return tracker_for(Track(0, Kind.AUDIO, codec, rate, parameters))


def known(made: ParameterTracker) -> tuple[int, int, int]:
    """Version, sample rate and channels."""
    parameters = made.parameters
    assert isinstance(parameters, AudioParameters)
    return parameters.version, parameters.sample_rate, parameters.channels


def test_aac_without_configuration_passes_as_it_is() -> None:
    made = tracker(AAC, AacParameters.build(LC))
    payload = (b"frame",)
    inspected = made.inspect(payload)
    assert inspected == Inspected(payload, True, False)
    assert inspected.payload is payload


def test_aac_configurations_are_taken_out() -> None:
    made = tracker(AAC)
    assert made.inspect((LC, b"frame")) == Inspected((b"frame",), True, True)
    assert known(made) == (0, 48000, 2)
    assert made.inspect((LC, b"frame")) == Inspected((b"frame",), True, False)
    assert made.inspect((OTHER, b"frame")) == Inspected((b"frame",), True, True)
    assert known(made) == (1, 44100, 2)
    assert isinstance(made.parameters, AacParameters)
    assert made.parameters.frame_samples == 1115  # on the track's clock of 48 kHz
    assert made.inspect((b"\0", b"frame")) == Inspected((b"frame",), True, False)
    assert (made.broken, known(made)) == (1, (1, 44100, 2))


def test_aac_whose_configuration_is_that_of_the_description() -> None:
    made = tracker(AAC, AacParameters.build(LC, 0, 5))
    assert not made.inspect((LC, b"frame")).changed
    assert made.inspect((OTHER, b"frame")).changed
    assert known(made) == (6, 44100, 2)


@pytest.mark.parametrize(
    ("codec", "rate", "first", "other", "expected"),
    [
        (MP3, 90000, MP3_FRAME, MONO, [(0, 44100, 2), (1, 44100, 1)]),
        (AC3, 48000, ac3_frame(), ac3_frame(acmod=7, lfe=True), [(0, 48000, 2), (1, 48000, 6)]),
        (
            EAC3,
            48000,
            eac3_frame(),
            eac3_frame(acmod=7) + eac3_frame(kind=1, channel_map=0x0200),
            [(0, 48000, 2), (1, 48000, 7)],
        ),
    ],
)
def test_headers(
    codec: str, rate: int, first: bytes, other: bytes, expected: list[tuple[int, int, int]]
) -> None:
    made = tracker(codec, None, rate)
    assert made.inspect((first,)) == Inspected((first,), True, True)
    assert known(made) == expected[0]
    kept = made.parameters
    for _ in range(3):
        assert made.inspect((first,)) == Inspected((first,), True, False)
    assert made.parameters is kept
    assert made.inspect((b"no header",)) == Inspected((b"no header",), True, False)
    assert made.broken == 1
    assert made.inspect((other,)) == Inspected((other,), True, True)
    assert known(made) == expected[1]
    assert made.inspect((first,)).changed
    assert known(made)[0] == 2


def test_headers_that_differ_in_nothing_that_counts() -> None:
    made = tracker(MP3, None, 90000)
    made.inspect((MP3_FRAME,))
    assert not any(made.inspect((frame,)).changed for frame in (PADDED, JOINT, MP3_FRAME))


def test_parameters_that_a_source_knew_before() -> None:
    parameters = Mp3Parameters.from_frame(MP3_FRAME, 90000, 4)
    made = tracker(MP3, parameters, 90000)
    assert not made.inspect((MP3_FRAME,)).changed
    assert made.parameters is parameters
    for codec, kind in ((AC3, Ac3Parameters), (EAC3, Eac3Parameters)):
        made = tracker(codec)
        made.inspect((ac3_frame() if codec == AC3 else eac3_frame(),))
        assert type(made.parameters) is kind


@given(st.sampled_from([AAC, MP3, AC3, EAC3]), st.lists(st.binary(max_size=12), max_size=3))
def test_nothing_is_raised(codec: str, pieces: list[bytes]) -> None:
    made = tracker(codec)
    for payload in (tuple(pieces), (b"\x0b\x77" + b"".join(pieces),), ()):
        inspected = made.inspect(payload)
        assert inspected.key
        assert len(inspected.payload) <= len(payload)
