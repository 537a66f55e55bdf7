"""VP9 key frames and superframes."""

from dataclasses import replace
from io import BytesIO

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.vp9 import (
    Vp9Parameters,
    is_key_frame,
    join_superframe,
    split_superframe,
)
from tests.support.coded import VP9_CLIP, packets_of_clip
from tests.support.nal import u

PLAIN = Vp9Parameters(width=1920, height=1080, reorder_frames=0)


def key_frame(profile: int = 0, colour: str = "0000", depth: str = "", size: str = "") -> bytes:
    """The uncompressed header of a key frame, 1920x1080; `colour` and `depth` are bits."""
    bits = "10" + str(profile & 1) + str(profile >> 1) + "0" * (profile == 3)
    bits += "0" + "0" + "1" + "0"  # show_existing_frame, frame_type, show_frame, error_resilient
    bits += u(0x498342, 24) + depth + colour
    bits += size or u(1919, 16) + u(1079, 16)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big") + b"compressed"


@pytest.mark.parametrize(
    ("frame", "expected", "name"),
    [
        (key_frame(), PLAIN, "vp09.00.41.08"),
        (key_frame(colour="0101"), replace(PLAIN, is_full_range=True, colour=(1, 1, 1)), ""),
        (
            key_frame(1, colour="0100" + "100"),
            replace(PLAIN, profile=1, subsampling=2, colour=(1, 1, 1)),
            "vp09.01.41.08",
        ),
        (
            key_frame(1, colour="111" + "0"),
            replace(PLAIN, profile=1, subsampling=3, is_full_range=True, colour=(1, 13, 0)),
            "",
        ),
        (
            key_frame(2, depth="0", colour="1010"),
            replace(PLAIN, profile=2, bit_depth=10, colour=(9, 14, 9)),
            "vp09.02.41.10",
        ),
        (
            key_frame(3, depth="1", colour="1010" + "000"),
            replace(PLAIN, profile=3, bit_depth=12, subsampling=3, colour=(9, 14, 9)),
            "vp09.03.41.12",
        ),
    ],
)
def test_key_frames(frame: bytes, expected: Vp9Parameters, name: str) -> None:
    found = Vp9Parameters.read(frame)
    assert found == expected
    assert not name or found.codec_string() == name


@pytest.mark.parametrize(
    ("width", "height", "level"),
    [(256, 144, 11), (640, 360, 30), (1280, 720, 40), (1920, 1080, 41), (3840, 2160, 51)],
)
def test_levels_are_for_sixty_pictures_a_second(width: int, height: int, level: int) -> None:
    assert replace(PLAIN, width=width, height=height).level == level


def test_there_is_a_level_for_everything() -> None:
    assert replace(PLAIN, width=65536, height=65536).level == 62


def test_a_real_clip() -> None:
    for data, is_key in packets_of_clip(VP9_CLIP.name):
        assert is_key_frame(data) == is_key
        found = Vp9Parameters.read(data)
        assert (found is not None) == is_key
        assert found is None or (found.width, found.height) == (642, 642)


def test_the_configuration_record_is_that_of_ffmpeg() -> None:
    target = BytesIO()
    with av.open(str(VP9_CLIP)) as source, av.open(target, "w", format="mp4") as made:
        stream = made.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    data = target.getvalue()
    box = data.index(b"vpcC") + 4
    found = Vp9Parameters.read(packets_of_clip(VP9_CLIP.name)[0][0])
    assert found
    record = found.decoder_configuration()
    theirs = data[box + 4 : box + 12]  # behind version and flags
    # FFmpeg's level is for the clip's 30 pictures a second.
    assert (record[:1] + record[2:], found.level) == (theirs[:1] + theirs[2:], 31)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x86" + key_frame()[1:],  # not a key frame
        b"\x8a" + key_frame()[1:],  # an existing frame is shown
        b"\xb4" + key_frame(3, depth="0")[1:],  # the same in profile 3
        b"\x42" + key_frame()[1:],  # no frame marker
    ],
)
def test_what_is_no_key_frame(frame: bytes) -> None:
    assert Vp9Parameters.read(frame) is None


def test_truncation() -> None:
    for size in range(1, 9):
        with pytest.raises(WireError):
            Vp9Parameters.read(key_frame()[:size])
    with pytest.raises(WireError, match="vp9-no-sync-code"):
        Vp9Parameters.read(b"\x82" + bytes(20))


@given(st.binary(max_size=24))
def test_any_bytes(data: bytes) -> None:
    try:
        Vp9Parameters.read(data)
    except WireError as error:
        assert error.reason in ("vp9-no-sync-code", "bits-truncated")


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=2, max_size=8))
def test_superframes(frames: list[bytes]) -> None:
    joined = join_superframe(frames)
    assert split_superframe(joined) == frames
    for size in range(len(joined)):
        split_superframe(joined[:size])


def test_a_superframe_byte_by_byte() -> None:
    assert join_superframe([b"ab", b"c"]) == b"abc\xc1\x02\x01\xc1"
    large = b"x" * 300
    assert join_superframe([large, b"c"]) == large + b"c\xc9\x2c\x01\x01\x00\xc9"
    assert join_superframe([b"ab"]) == b"ab"
    assert split_superframe(b"ab\xc1\x02\x00\xc1") == [b"ab"]  # an empty frame is none
    for count in (0, 9):
        with pytest.raises(WireError, match="vp9-superframe-size"):
            join_superframe([b"a"] * count)


@given(st.binary(max_size=40))
def test_any_bytes_are_frames(data: bytes) -> None:
    assert b"".join(split_superframe(data)) in data
