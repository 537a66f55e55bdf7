"""Parameter sets in band."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs.g711 import G711Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.codecs.tracker import Inspected, ParameterTracker, tracker_for
from media.parameters import Parameters, VideoParameters
from media.track import H264, H265, OPAQUE_RTP, OPUS, PCMA, Kind, Track
from tests.support import nal

SPS, PPS = nal.h264_sps(), nal.h264_pps()
OTHER_SPS = nal.h264_sps(width_mbs=20)
OTHER_PPS = nal.h264_pps(extra="1")
IDR, SLICE = nal.h264_slice(5, 7), nal.h264_slice(1, 5)
INTRA = nal.h264_slice(1, 2)
AUD, FILLER = b"\x09\xf0", b"\x0c\xff\xff\x80"
RECOVERY = bytes((6, 5, 1, 0, 6, 1, 0xC4, 0x80))


def tracker(parameters: Parameters | None = None, codec: str = H264) -> ParameterTracker:
    return tracker_for(Track(0, Kind.VIDEO, codec, 90000, parameters))


def known() -> ParameterTracker:
    return tracker(H264Parameters.build([SPS], [PPS], 7))


def version(made: ParameterTracker) -> int | None:
    return made.parameters.version if made.parameters else None


def width(made: ParameterTracker) -> int:
    assert isinstance(made.parameters, VideoParameters)
    return made.parameters.width


def test_plain_slices_pass_as_they_are() -> None:
    payload = (SLICE, SLICE)
    inspected = known().inspect(payload)
    assert inspected == Inspected(payload, False, False)
    assert inspected.payload is payload


def test_the_first_sets_come_in_band() -> None:
    made = tracker()
    assert version(made) is None
    assert made.inspect((AUD, SPS, PPS, IDR, FILLER)) == Inspected((IDR,), True, True)
    assert version(made) == 0
    assert made.inspect((SPS, PPS, IDR)) == Inspected((IDR,), True, False)


def test_there_are_no_parameters_before_both_kinds_are_there() -> None:
    made = tracker()
    assert made.inspect((SPS, IDR)) == Inspected((IDR,), True, False)
    assert version(made) is None
    assert made.inspect((PPS, IDR)) == Inspected((IDR,), True, True)
    assert width(made) == 640


def test_a_change_makes_a_new_version_and_keeps_the_others() -> None:
    made = known()
    old = made.parameters
    assert made.inspect((OTHER_SPS, PPS, IDR)) == Inspected((IDR,), True, True)
    assert made.parameters is not old
    assert isinstance(made.parameters, H264Parameters)
    assert made.parameters.version == 8
    assert (made.parameters.sps, made.parameters.pps) == ((OTHER_SPS,), (PPS,))
    assert made.inspect((SPS, PPS, IDR)).changed


def test_a_change_outside_a_key_frame_stays_in_band() -> None:
    made = known()
    assert made.inspect((AUD, SPS, OTHER_PPS, SLICE)) == Inspected((OTHER_PPS, SLICE), False, True)
    assert made.inspect((SLICE,)) == Inspected((SLICE,), False, False)


def test_sets_alone_show_nothing_and_go_into_the_next_picture() -> None:
    made = known()
    assert made.inspect((OTHER_SPS,)) == Inspected((), False, True)
    assert made.inspect((OTHER_PPS,)) == Inspected((), False, True)
    assert made.inspect((SLICE,)) == Inspected((OTHER_SPS, OTHER_PPS, SLICE), False, False)
    assert made.inspect((SPS,)) == Inspected((), False, True)
    assert made.inspect((IDR,)) == Inspected((IDR,), True, False)
    assert made.inspect((SLICE,)) == Inspected((SLICE,), False, False)


def test_nothing_shows_nothing() -> None:
    made = known()
    for payload in ((), (AUD,), (FILLER, AUD), (RECOVERY,), (SPS, PPS), (b"",)):
        assert made.inspect(payload) == Inspected((), False, False)


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        ((RECOVERY, INTRA), True),
        ((RECOVERY, SLICE), False),
        ((INTRA,), False),
        ((RECOVERY, SLICE, INTRA), True),
        ((bytes((6, 5, 1, 0, 0x80)), INTRA), False),
        ((IDR, IDR), True),
    ],
)
def test_keys(payload: tuple[bytes, ...], key: bool) -> None:
    assert known().inspect(payload) == Inspected(payload, key, False)


def test_importance_bits_and_padding_are_no_change() -> None:
    made = known()
    assert not made.inspect((b"\x27" + SPS[1:], PPS + b"\0\0", IDR)).changed


def test_broken_sets_are_counted_and_the_kept_ones_stay() -> None:
    made = known()
    old = made.parameters
    broken = b"\x67\x64\0\x1f\xff"[:4]
    assert made.inspect((broken, b"\x68", b"\x67" + b"x" * 70000, IDR)) == Inspected(
        (IDR,), True, False
    )
    assert made.broken == 3
    assert made.parameters is old


VPS5, SPS5, PPS5 = nal.h265_vps(), nal.h265_sps(), nal.h265_pps()
AUD5 = nal.h265_header(35) + b"\x50"


def known5() -> ParameterTracker:
    return tracker(H265Parameters.build([VPS5], [SPS5], [PPS5]), H265)


@pytest.mark.parametrize("kind", range(22))
def test_h265_keys(kind: int) -> None:
    payload = (nal.h265_slice(kind),)
    assert known5().inspect(payload) == Inspected(payload, 16 <= kind <= 21, False)


def test_h265_sets() -> None:
    made = tracker(None, H265)
    idr, trail = nal.h265_slice(19), nal.h265_slice(1)
    assert made.inspect((AUD5, VPS5, SPS5, PPS5, idr)) == Inspected((idr,), True, True)
    assert width(made) == 1280
    other = nal.h265_sps(width=640)
    assert made.inspect((other, trail)) == Inspected((other, trail), False, True)
    assert width(made) == 640
    assert made.inspect((VPS5,)) == Inspected((), False, False)
    assert made.inspect((nal.h265_header(33) + b"\xff", idr)) == Inspected((idr,), True, False)
    assert made.broken == 1


def test_h265_sets_of_other_layers_stay_where_they_are() -> None:
    payload = (nal.h265_sps(layer=1, width=640), nal.h265_slice(19))
    assert known5().inspect(payload) == Inspected(payload, True, False)


@pytest.mark.parametrize("codec", [OPUS, PCMA, f"{OPAQUE_RTP}vnd.x"])
def test_other_codecs_pass(codec: str) -> None:
    parameters = G711Parameters()
    made = tracker(parameters, codec)
    assert made.inspect((b"\x67\x42", b"")) == Inspected((b"\x67\x42", b""), True, False)
    assert made.parameters is parameters
    assert made.broken == 0


UNITS = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([SPS, PPS, OTHER_SPS, OTHER_PPS, IDR, SLICE, AUD, FILLER, RECOVERY, INTRA]),
    st.sampled_from([VPS5, SPS5, PPS5, AUD5, nal.h265_slice(1), nal.h265_slice(21)]),
)


@given(st.lists(st.lists(UNITS, max_size=5).map(tuple), max_size=8), st.sampled_from([H264, H265]))
def test_any_payload_is_taken(payloads: list[tuple[bytes, ...]], codec: str) -> None:
    made = tracker(None, codec)
    for payload in payloads:
        before = made.parameters
        inspected = made.inspect(payload)
        assert inspected.changed == (made.parameters is not before)
        assert not inspected.key or inspected.payload


@pytest.mark.parametrize("name", nal.CLIP_NAMES)
def test_real_clips(name: str) -> None:
    clip = nal.read_clip(name)
    made = tracker(None, clip.codec)
    drop = {"h264": {7, 8, 9, 12}, "h265": {32, 33, 34, 35, 38}}[clip.codec]
    if clip.extradata[:1] == b"\1":
        assert made.inspect(tuple(nal.record_sets(clip.extradata, clip.codec))).changed
    for index, unit in enumerate(clip.units):
        inspected = made.inspect(unit)
        kinds = [n[0] & 31 if clip.codec == "h264" else n[0] >> 1 & 63 for n in unit]
        expected = tuple(n for n, kind in zip(unit, kinds, strict=True) if kind not in drop)
        assert inspected.payload == expected
        assert inspected.key == clip.is_key[index]
    assert made.broken == 0
    assert (width(made), version(made)) == (clip.width, 0)
