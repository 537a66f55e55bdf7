"""AV1 sequence headers."""

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.av1 import Av1Parameters, parse_sequence_header, sync_unit
from media.codecs.obu import split_obus
from tests.support.coded import AV1_CLIP, packets_of_clip
from tests.support.nal import u, ue

TIMING = u(1, 32) + u(30, 32) + "1" + ue(0)
NO_MODEL = "0"
MODEL = "1" + u(9, 5) + u(1, 32) + u(9, 5) + u(9, 5)


def sequence_header(
    *,
    profile: int = 0,
    timing: str = "",
    model: str = NO_MODEL,
    points: str = "",
    ids: str = "0",
    tools: str = "",
    colours: str = "0" + "0" + "0" + "0" + "01",
    reduced: bool = False,
    extension: bool = False,
) -> bytes:
    """A sequence header OBU of 1280x720; arguments are bits."""
    bits = u(profile, 3) + "0" + str(int(reduced))
    if reduced:
        bits += u(5, 5)
    else:
        bits += "1" + timing + model if timing else "0"
        bits += points or "0" + u(0, 5) + u(0, 12) + u(5, 5)
    bits += u(10, 4) + u(9, 4) + u(1279, 11) + u(719, 10)
    if not reduced:
        bits += ids
    bits += "000"
    if not reduced:
        bits += tools or "0000" + "1" + "00" + "1" + "1" + u(6, 3)
    bits += "000" + colours + "0" + "1"  # ... separate_uv_delta_q or film grain, trailing bits
    bits += "0" * (-len(bits) % 8)
    head = b"\x0c\x00" if extension else b"\x08"
    return head + int(bits, 2).to_bytes(len(bits) // 8, "big")


def test_a_real_sequence_header() -> None:
    obu = split_obus(packets_of_clip(AV1_CLIP.name)[0][0])[0]
    parameters = Av1Parameters.build(obu, 4)
    assert (parameters.width, parameters.height, parameters.version) == (1080, 720, 4)
    assert parameters.reorder_frames == 0
    assert parameters.codec_string() == "av01.0.05M.08"
    with av.open(str(AV1_CLIP)) as container:
        record = container.streams.video[0].codec_context.extradata
    assert parameters.decoder_configuration() == record


@pytest.mark.parametrize(
    ("obu", "name", "rate"),
    [
        (sequence_header(), "av01.0.05M.08", (0, 1)),
        (sequence_header(extension=True), "av01.0.05M.08", (0, 1)),
        (sequence_header(timing=TIMING), "av01.0.05M.08", (30, 1)),
        (sequence_header(timing=u(1, 32) + u(30, 32) + "0"), "av01.0.05M.08", (0, 1)),
        # a decoder model and display delays: levels 5.1 of the high tier, and 2.1
        (
            sequence_header(
                timing=TIMING,
                model=MODEL,
                points="1" + u(1, 5)
                + u(3, 12) + u(13, 5) + "1" + "1" + u(0, 21) + "1" + u(3, 4)
                + u(1, 12) + u(1, 5) + "0" + "0",
            ),
            "av01.0.13H.08",
            (30, 1),
        ),
        (sequence_header(ids="1" + u(5, 7)), "av01.0.05M.08", (0, 1)),
        # no order hint; screen content tools forced off, forced on with integer vectors forced
        (sequence_header(tools="0000" + "0" + "0" + "0"), "av01.0.05M.08", (0, 1)),
        (sequence_header(tools="0000" + "0" + "0" + "1" + "0" + "1"), "av01.0.05M.08", (0, 1)),
        (sequence_header(reduced=True), "av01.0.05M.08", (0, 1)),
        # 10 bits in BT.2020 with PQ
        (
            sequence_header(colours="1" + "0" + "1" + u(9, 8) + u(16, 8) + u(9, 8) + "0" + "01"),
            "av01.0.05M.10.0.111.09.16.09.0",
            (0, 1),
        ),
        # monochrome
        (sequence_header(colours="0" + "1" + "0" + "0"), "av01.0.05M.08.1.110.01.01.01.0", (0, 1)),
        # profile 1: 4:4:4
        (sequence_header(profile=1, colours="0001"), "av01.1.05M.08.0.000.01.01.01.0", (0, 1)),
        # sRGB
        (
            sequence_header(profile=1, colours="0" + "1" + u(1, 8) + u(13, 8) + u(0, 8)),
            "av01.1.05M.08.0.000.01.13.00.1",
            (0, 1),
        ),
        # profile 2: 4:2:2 of 10 bits, 4:2:0 of 12
        (sequence_header(profile=2, colours="10000"), "av01.2.05M.10.0.100.01.01.01.0", (0, 1)),
        (sequence_header(profile=2, colours="11000" + "1110"), "av01.2.05M.12", (0, 1)),
    ],
)  # fmt: skip
def test_sequence_headers(obu: bytes, name: str, rate: tuple[int, int]) -> None:
    parameters = Av1Parameters.build(obu)
    assert parameters.codec_string() == name
    assert (parameters.width, parameters.height) == (1280, 720)
    assert (parameters.frame_rate_num, parameters.frame_rate_den) == rate


def test_the_record_says_how_samples_are() -> None:
    def third(obu: bytes) -> int:
        record = Av1Parameters.build(obu).decoder_configuration()
        assert record[:1] + record[3:4] == b"\x81\x00"
        assert record[4:6] == bytes((obu[0] | 2, len(obu) - 1))  # configOBUs, with its size
        return record[2]

    assert third(sequence_header()) == 0b00001101
    assert third(sequence_header(profile=2, colours="11000" + "1110")) == 0b01101110
    assert third(sequence_header(colours="0" + "1" + "0" + "0")) == 0b00011100
    assert third(sequence_header(profile=1, colours="0001")) == 0b00000000


def test_truncation() -> None:
    obu = sequence_header(timing=TIMING)
    for size in range(len(obu) - 2):
        with pytest.raises(WireError):
            parse_sequence_header(obu[:size])


@pytest.mark.parametrize(
    ("obu", "reason"),
    [
        (b"\x30\x10", "av1-sequence-header-malformed"),
        (sequence_header(profile=3), "av1-sequence-header-malformed"),
        (sequence_header() + b"x" * 2000, "av1-sequence-header-too-large"),
    ],
)
def test_what_is_no_sequence_header(obu: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        Av1Parameters.build(obu)


@given(st.binary(max_size=40))
def test_any_bytes(data: bytes) -> None:
    try:
        parameters = Av1Parameters.build(b"\x08" + data)
    except WireError:
        return
    assert parameters.codec_string().startswith("av01.")
    assert parameters.decoder_configuration()


def test_a_unit_gets_its_sequence_header_once() -> None:
    parameters = Av1Parameters.build(sequence_header())
    frame = b"\x30\x10"
    whole = (parameters.obu, frame)
    assert sync_unit((frame,), parameters) == whole
    assert sync_unit(whole, parameters) == whole
    assert sync_unit((frame,), None) == (frame,)
