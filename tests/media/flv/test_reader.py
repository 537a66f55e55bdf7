"""FLV from bytes: cut anywhere, with junk in between, with wrong back pointers, broken files."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.flv.reader import MAX_JUNK_BYTES, FlvReader, FlvTag
from media.flv.tags import TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO, file_header, tag
from tests.support.conform import samples

HEADER = file_header(has_video=True, has_audio=True)
BODIES = [b"\x17" + bytes([n]) * (5 + 300 * n) for n in range(6)]
TAGS = [
    tag(kind, 40 * n, body)
    for n, (kind, body) in enumerate(zip((18, 9, 8) * 2, BODIES, strict=True))
]
WHOLE = HEADER + b"".join(TAGS)


def read(*pieces: bytes) -> list[FlvTag]:
    reader = FlvReader()
    return [each for piece in pieces for each in reader.feed(piece)]


def bodies(*pieces: bytes) -> list[bytes]:
    return [each.body for each in read(*pieces)]


def test_tags_come_back() -> None:
    reader = FlvReader()
    found = reader.feed(WHOLE)
    assert [each.type for each in found] == [TAG_SCRIPT, TAG_VIDEO, TAG_AUDIO] * 2
    assert [each.timestamp for each in found] == [0, 40, 80, 120, 160, 200]
    assert [each.body for each in found] == BODIES
    assert (reader.flags, reader.junk_bytes) == (5, 0)


def test_times_have_32_bits() -> None:
    assert read(HEADER + tag(9, 0xFEDCBA98, b"x"))[0].timestamp == 0xFEDCBA98


def test_truncation_at_every_length_gives_no_half_tag() -> None:
    for size in range(len(WHOLE)):
        assert bodies(WHOLE[:size]) == BODIES[: len(bodies(WHOLE[:size]))]


@given(st.lists(st.integers(0, len(WHOLE)), max_size=8))
def test_cuts_do_not_matter(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(WHOLE)]
    pieces = [WHOLE[a:b] for a, b in pairwise(places)]
    assert bodies(*pieces) == BODIES


def test_a_file_of_ffmpeg_is_read() -> None:
    data = samples.flv(samples.BUNNY)
    assert len(read(data)) > 600


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-4] + b"\0\0\0\0",
        lambda data: data[:-4] + b"\xff\xff\xff\xff",
    ],
)
def test_wrong_back_pointers_do_not_matter(spoil: Callable[[bytes], bytes]) -> None:
    assert bodies(HEADER + b"".join(map(spoil, TAGS))) == BODIES


@pytest.mark.parametrize("junk", [b"x", b"\x00" * 50, b"\xff" * 400, b"HTTP/1.1 200 OK\r\n\r\n"])
def test_behind_junk_the_next_tag_is_found(junk: bytes) -> None:
    data = HEADER + TAGS[0] + TAGS[1] + junk + b"".join(TAGS[2:])
    for size in (len(data), 7, 50):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert bodies(*pieces) == BODIES
    reader = FlvReader()
    reader.feed(data)
    assert (reader.junk_bytes, reader.breaks) == (len(junk), 1)


def test_a_file_header_between_tags_is_stepped_over() -> None:
    assert bodies(WHOLE + WHOLE) == BODIES * 2


def test_a_kind_of_tag_that_nobody_knows_is_stepped_over() -> None:
    reader = FlvReader()
    found = reader.feed(HEADER + TAGS[0] + tag(15, 10, b"AMF3") + TAGS[1])
    assert ([each.body for each in found], reader.junk_bytes) == (BODIES[:2], 0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<html>", "flv-signature"),
        (b"F", ""),
        (b"FLV\x01\x05\x00\x00\x00\x08" + bytes(4), "flv-signature"),
        (b"FLV\x01\x05\x7f\x00\x00\x09" + bytes(4), "flv-signature"),
        (HEADER + b"\x29" + TAGS[1][1:], "flv-encrypted"),
        (HEADER + b"\x55" * (MAX_JUNK_BYTES + 20), "flv-junk"),
    ],
)
def test_what_is_no_flv_is_refused(data: bytes, reason: str) -> None:
    if not reason:
        assert read(data) == []
        return
    with pytest.raises(WireError) as refused:
        read(data)
    assert refused.value.reason == reason


@given(st.binary(max_size=400))
def test_any_bytes_are_tags_or_an_error(data: bytes) -> None:
    try:
        read(HEADER + data)
    except WireError as error:
        assert error.reason.startswith("flv-")
