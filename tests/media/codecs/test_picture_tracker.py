"""Parameters of AV1, VP8, VP9 and MJPEG as they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs.av1 import Av1Parameters
from media.codecs.mjpeg import Picture, scaled_tables
from media.codecs.obu import split_obus, with_size
from media.codecs.tracker import Inspected, ParameterTracker, tracker_for
from media.parameters import Parameters, VideoParameters
from media.track import AV1, KLV, MJPEG, ONVIF, VP8, VP9, Kind, Track
from tests.support.coded import AV1_CLIP, VP9_CLIP, encoded, packets_of_clip

SEQUENCE = bytes.fromhex("080000002d4c37b3dfff9804")  # 1080x720
OTHER = bytes.fromhex("08000000354c37b3dfff9804")  # another level
KEY, INTER = b"\x30\x10key", b"\x30\x30inter"
DELIMITER, PADDING = b"\x10", b"\x78\x00"


def tracker(codec: str, parameters: Parameters | None = None) -> ParameterTracker:
    return tracker_for(Track(0, Kind.VIDEO, codec, 90000, parameters))


def state(made: ParameterTracker) -> tuple[int, int, int]:
    """Width, height and version."""
    assert isinstance(made.parameters, VideoParameters)
    assert made.parameters.reorder_frames == 0
    return made.parameters.width, made.parameters.height, made.parameters.version


def vp8(width: int) -> bytes:
    return bytes.fromhex("1002009d012a") + width.to_bytes(2, "little") + b"\xf0\x00data"


def vp9(width: int) -> bytes:
    bits = (0x82498342 << 36) | (width - 1) << 16 | 239
    return (bits << 4).to_bytes(9, "big") + b"data"


def jpeg(width: int) -> bytes:
    return Picture(width, 240, 0x22, scaled_tables(80), 0, b"scan").serialize()


@pytest.mark.parametrize(
    ("codec", "make", "inter"),
    [(VP8, vp8, b"\x11data"), (VP9, vp9, b"\x86data"), (MJPEG, jpeg, None)],
)
def test_key_frames_speak_for_themselves(codec: str, make: object, inter: bytes | None) -> None:
    assert callable(make)
    made = tracker(codec)
    small, large = (make(320),), (make(640),)
    if inter is not None:
        assert made.inspect((inter,)) == Inspected((inter,), False, False)
        assert made.parameters is None
    assert made.inspect(small) == Inspected(small, True, True)
    assert state(made) == (320, 240, 0)
    assert made.inspect(small) == Inspected(small, True, False)
    assert made.inspect(large) == Inspected(large, True, True)
    assert state(made) == (640, 240, 1)
    if inter is not None:
        assert made.inspect((inter,)) == Inspected((inter,), False, False)
    again = tracker(codec, made.parameters)
    assert again.inspect(large) == Inspected(large, True, False)


@pytest.mark.parametrize(
    ("codec", "broken"), [(VP8, b"\x10\x02"), (VP9, b"\x82\x00"), (MJPEG, b"\xff\xd8x")]
)
def test_broken_key_frames_change_nothing(codec: str, broken: bytes) -> None:
    made = tracker(codec)
    assert made.inspect((broken,)) == Inspected((broken,), False, False)
    assert made.parameters is None
    assert made.broken == 1


def test_pictures_of_encoders() -> None:
    for codec, name, pixels in ((VP8, "libvpx", "yuv420p"), (MJPEG, "mjpeg", "yuvj420p")):
        made = tracker(codec)
        for data, is_key in encoded(name, pixels=pixels):
            assert made.inspect((data,)).key == is_key
        assert state(made) == (320, 240, 0)
    made = tracker(VP9)
    for data, is_key in packets_of_clip(VP9_CLIP.name):
        assert made.inspect((data,)).key == is_key
    assert state(made) == (642, 642, 0)


def test_sequence_headers_are_taken_out() -> None:
    made = tracker(AV1)
    assert made.inspect((INTER,)) == Inspected((INTER,), False, False)
    assert made.parameters is None
    assert made.inspect((DELIMITER, SEQUENCE, KEY, PADDING)) == Inspected((KEY,), True, True)
    assert state(made) == (1080, 720, 0)
    payload = (INTER, INTER)
    inspected = made.inspect(payload)
    assert inspected == Inspected(payload, False, False)
    assert inspected.payload is payload
    assert made.inspect((with_size(SEQUENCE), KEY)) == Inspected((KEY,), True, False)
    assert made.inspect((OTHER, KEY)) == Inspected((KEY,), True, True)
    assert state(made)[2] == 1
    again = tracker(AV1, made.parameters)
    assert again.inspect((OTHER, KEY)) == Inspected((KEY,), True, False)


def test_a_sequence_header_that_changes_before_no_key_frame_stays_in_band() -> None:
    made = tracker(AV1, Av1Parameters.build(SEQUENCE))
    assert made.inspect((OTHER, INTER)) == Inspected((OTHER, INTER), False, True)
    assert made.inspect((SEQUENCE,)) == Inspected((), False, True)  # a unit of its own
    assert made.inspect((INTER,)) == Inspected((SEQUENCE, INTER), False, False)
    assert made.inspect((INTER,)) == Inspected((INTER,), False, False)
    assert made.inspect((OTHER,)) == Inspected((), False, True)
    assert made.inspect((KEY,)) == Inspected((KEY,), True, False)
    assert made.inspect((INTER,)) == Inspected((INTER,), False, False)


def test_broken_sequence_headers_change_nothing() -> None:
    made = tracker(AV1, Av1Parameters.build(SEQUENCE, 3))
    assert made.inspect((b"\x08\xff", KEY)) == Inspected((KEY,), True, False)
    assert state(made) == (1080, 720, 3)
    assert made.broken == 1


def test_units_of_a_clip() -> None:
    made = tracker(AV1)
    for data, is_key in packets_of_clip(AV1_CLIP.name):
        inspected = made.inspect(split_obus(data))
        assert inspected.key == is_key
        assert all(obu[0] >> 3 & 15 in (3, 6) for obu in inspected.payload)
    assert state(made) == (1080, 720, 0)


@pytest.mark.parametrize("codec", [KLV, ONVIF])
def test_data_passes(codec: str) -> None:
    assert tracker(codec).inspect((b"data",)) == Inspected((b"data",), True, False)


PIECES = st.one_of(
    st.binary(max_size=9), st.sampled_from([SEQUENCE, OTHER, KEY, INTER, vp8(9), vp9(9), jpeg(9)])
)


@given(st.lists(st.lists(PIECES, max_size=4)), st.sampled_from([AV1, VP8, VP9, MJPEG]))
def test_any_payload_is_taken(payloads: list[list[bytes]], codec: str) -> None:
    made = tracker(codec)
    version = 0
    for payload in payloads:
        inspected = made.inspect(tuple(payload))
        if inspected.changed:
            assert made.parameters is not None
            assert made.parameters.version in (version, version + 1)
            version = made.parameters.version
