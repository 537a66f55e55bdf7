"""Access units: one, several or a part of one in a PES packet; with and without delimiters."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.frame import Frame
from media.mpegts.elementary.base import Output, Pes
from media.mpegts.elementary.video import PROOF, VideoParser
from media.track import H264, H265, Kind
from tests.support import clips, ts_elementary
from tests.support.ts_elementary import Kept, pes

Nals = tuple[bytes, ...]
AUD = {H264: b"\x09\xf0", H265: b"\x46\x01\x50"}
PIECES = (b"\0\0\1", b"\0", b"\x09", b"\x67", b"\x65\x88", b"\x41\x9a", b"\x6e")
CLIPS = {H264: clips.PYRAMID, H265: clips.HDR}


def pictures(codec: str) -> list[tuple[Frame, Nals]]:
    """Frames of a clip, with the NAL units of their access units: sets before key frames."""
    found = []
    for frame in clips.only(clips.read(CLIPS[codec]), Kind.VIDEO)[:28]:
        sets: Nals = ()
        if frame.key:
            parameters = frame.parameters
            if isinstance(parameters, H264Parameters):
                sets = (*parameters.sps, *parameters.pps)
            elif isinstance(parameters, H265Parameters):
                sets = (*parameters.vps, *parameters.sps, *parameters.pps)
        found.append((frame, (*sets, *frame.payload)))
    return found


def annexb(nals: Nals, code: bytes = b"\0\0\0\1") -> bytes:
    return b"".join(code + nal for nal in nals)


def run(codec: str, *packets: Pes, flush: bool = True) -> Kept:
    def make(output: Output) -> VideoParser:
        return VideoParser(codec, output)

    return ts_elementary.run(make, *packets, flush=flush)


def expected(units: list[tuple[Frame, Nals]]) -> list[tuple[int, int, Nals]]:
    return [(frame.pts, frame.dts, nals) for frame, nals in units]


@pytest.mark.parametrize("codec", [H264, H265])
@pytest.mark.parametrize("has_delimiters", [True, False])
@pytest.mark.parametrize("code", [b"\0\0\1", b"\0\0\0\1", b"\0\0\0\0\1"])
def test_a_pes_packet_for_each(codec: str, has_delimiters: bool, code: bytes) -> None:
    units = pictures(codec)
    before = (AUD[codec],) if has_delimiters else ()
    kept = run(codec, *(pes(annexb((*before, *n), code), f.pts, f.dts) for f, n in units))
    assert kept.units == expected(units)
    assert not kept.drops
    assert [clock for clock, _ in kept.described] == [90_000]


def test_units_go_on_at_once_where_each_has_its_pes_packet() -> None:
    units = pictures(H264)
    packets = [pes(annexb(nals), frame.pts, frame.dts) for frame, nals in units]
    held = len(run(H264, *packets[:PROOF], flush=False).units)
    assert held == PROOF - 1  # the next one tells that this one is over
    assert len(run(H264, *packets[: PROOF + 4], flush=False).units) == PROOF + 4


@pytest.mark.parametrize("codec", [H264, H265])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 1000, 20_000])
def test_pes_packets_cut_anywhere(codec: str, size: int) -> None:
    """Cut without regard to NAL units; the time is that of the access unit that begins there."""
    units = pictures(codec)[:4]
    data = b""
    starts = []
    for frame, nals in units:
        starts.append((len(data), frame))
        data += annexb((AUD[codec], *nals))
    if len(data) // size > 30_000:
        data, units = data[:60_000], units[:1]
    packets = []
    for at in range(0, len(data), size):
        packet = pes(data[at : at + size])
        for place, frame in reversed(starts):
            if at <= place < at + size:
                packet = pes(data[at : at + size], frame.pts, frame.dts)
        packets.append(packet)
    kept = run(codec, *packets)
    got = kept.payloads
    if len(units) > 1:
        assert got == [nals for _, nals in units]
    else:
        assert got[0][:-1] == units[0][1][: len(got[0]) - 1]  # the last one was cut
    if 100 <= size < 4000:
        assert kept.pts == [frame.pts for frame, _ in units]


@pytest.mark.parametrize("codec", [H264, H265])
def test_a_pes_packet_for_each_nal_unit(codec: str) -> None:
    """Parameter sets, SEI and slices apart: the unit ends where the next one begins."""
    units = pictures(codec)
    packets = []
    for frame, nals in units:
        packets += [pes(annexb((nal,)), frame.pts, frame.dts) for nal in nals]
    assert run(codec, *packets).payloads == [nals for _, nals in units]


def test_slices_of_one_picture_in_pes_packets_of_their_own() -> None:
    units = pictures(H264)
    later = [b"\x41\x1f" + bytes((n,)) * 50 for n in range(1, 4)]  # first_mb_in_slice is not 0
    packets = []
    for frame, nals in units:
        packets.append(pes(annexb(nals), frame.pts, frame.dts))
        packets += [pes(annexb((nal,))) for nal in later]
    kept = run(H264, *packets)
    assert kept.units == [(pts, dts, (*nals, *later)) for pts, dts, nals in expected(units)]


def test_a_stream_that_splits_units_late_is_noticed_once() -> None:
    units = pictures(H264)
    later = b"\x41\x1f" + bytes(range(1, 50))
    packets = []
    for number, (frame, nals) in enumerate(units):
        packets.append(pes(annexb(nals), frame.pts, frame.dts))
        if number > PROOF + 2:
            packets.append(pes(annexb((later,))))
    kept = run(H264, *packets)
    assert kept.drops == {"ts-unit-split": 1}
    assert [later in nals for nals in kept.payloads[-6:]] == [True] * 6


@pytest.mark.parametrize("codec", [H264, H265])
@pytest.mark.parametrize("has_delimiters", [True, False])
def test_several_units_in_a_pes_packet(codec: str, has_delimiters: bool) -> None:
    """The first has the packet's time, the others equal parts of the distance between packets."""
    units = pictures(codec)
    before = (AUD[codec],) if has_delimiters else ()
    packets = []
    for at in range(0, 12, 2):
        data = b"".join(annexb((*before, *nals)) for _, nals in units[at : at + 2])
        packets.append(pes(data, 6000 * at, 6000 * at))
    kept = run(codec, *packets)
    assert kept.payloads == [nals for _, nals in units[:12]]
    assert kept.pts[2:] == [6000 * n for n in range(2, 12)]


def test_units_before_the_parameters_are_nobodys() -> None:
    units = pictures(H264)
    packets = [pes(annexb(nals), frame.pts, frame.dts) for frame, nals in (*units[1:6], *units)]
    kept = run(H264, *packets)
    assert kept.units == expected(units)
    assert not kept.drops


def test_a_unit_without_time_comes_a_step_later() -> None:
    units = pictures(H264)
    packets = [pes(annexb(nals), 90_000 + 3000 * n) for n, (_, nals) in enumerate(units)]
    packets[5].pts = packets[5].dts = packets[6].pts = packets[6].dts = pes(b"").pts
    assert run(H264, *packets).pts == [90_000 + 3000 * n for n in range(len(units))]


def test_without_any_time_units_are_dropped() -> None:
    units = pictures(H264)[:3]
    kept = run(H264, *(pes(annexb(nals)) for _, nals in units))
    assert not kept.units
    assert kept.drops == {"ts-time-missing": 3}


def test_what_is_held_is_forgotten_where_packets_are_lost() -> None:
    units = pictures(H264)
    kept = Kept()
    parser = VideoParser(H264, kept)
    for number, (frame, nals) in enumerate(units):
        if number == 4:
            parser.lost()
        parser.push(pes(annexb(nals), frame.pts, frame.dts))
    parser.flush()
    assert kept.units == expected([*units[:3], *units[4:]])


def test_a_forbidden_bit_drops_the_unit() -> None:
    """The start of a PES packet inside of another one: its mark in the packet was damaged."""
    units = pictures(H264)
    packets = [pes(annexb(nals), frame.pts, frame.dts) for frame, nals in units]
    packets[3].payload += b"\0\0\1\xe0" + bytes(20)
    kept = run(H264, *packets)
    assert kept.drops == {"ts-nal-malformed": 1}
    assert kept.units == expected([*units[:3], *units[4:]])


def test_units_are_bounded() -> None:
    huge = annexb((b"\x65\x88" + bytes([1]) * 1000,) * 1100)
    assert run(H264, pes(huge, 0)).drops == {"ts-unit-too-large": 1}
    kept = Kept()
    parser = VideoParser(H264, kept)
    parser.push(pes(annexb((b"\x65\x88",)), 0))
    for _ in range(20):
        parser.push(pes(b"\1" * (1 << 20)))
    assert kept.drops == {"ts-unit-too-large": 1}


def test_prefix_and_enhancement_units_stay_with_their_picture() -> None:
    """H.264 scalable: type 14 before each base slice, 20 behind; H.265: slices of layer 1."""
    h264 = pictures(H264)
    prefix, layer = b"\x6e\x40\x80\x07", b"\x74\x40\x80" + bytes(range(1, 40))
    packets = []
    wanted = []
    for frame, nals in h264:
        slices = (*nals[:-1], prefix, nals[-1], layer)
        packets.append(pes(annexb(slices), frame.pts, frame.dts))
        wanted.append(slices)
    assert run(H264, *packets).payloads == wanted
    h265 = pictures(H265)
    second = b"\x02\x09\xd0" + bytes(range(1, 40))  # nuh_layer_id 1, first segment of its picture
    packets = [pes(annexb((*nals, second)), f.pts, f.dts) for f, nals in h265]
    assert run(H265, *packets).payloads == [(*nals, second) for _, nals in h265]


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.lists(st.sampled_from(PIECES)).map(b"".join),
        ),
        max_size=20,
    ),
    st.sampled_from((H264, H265)),
)  # fmt: skip
def test_any_bytes(payloads: list[bytes], codec: str) -> None:
    run(codec, *(pes(payload, 3000 * n) for n, payload in enumerate(payloads)))


class LongWay(VideoParser):
    """Weighs each NAL unit by itself, whatever the PES packet looks like."""

    def _is_picture(self, pieces: list[bytes]) -> bool:
        return False


class ShortWay(VideoParser):
    """Counts the PES packets that are taken as whole pictures."""

    taken = 0

    def _take_picture(self, pes: Pes, pieces: list[bytes]) -> None:
        ShortWay.taken += 1
        super()._take_picture(pes, pieces)


@pytest.mark.parametrize("codec", [H264, H265])
@pytest.mark.parametrize("damage", ["none", "cut", "zeros", "joined", "swapped", "emptied"])
def test_the_short_way_for_whole_pictures_is_the_long_one(codec: str, damage: str) -> None:
    """Whatever comes in between, now and then."""
    dice = random.Random(f"{codec} {damage}")
    packets: list[Pes] = []
    for index, (_, nals) in enumerate(pictures(codec) * 3):
        spoiled = damage if index > 2 * PROOF and dice.random() < 0.2 else ""
        row = [*((AUD[codec],) if dice.random() < 0.5 else ()), *nals]
        if spoiled == "swapped":
            dice.shuffle(row)
        elif spoiled == "emptied":
            row[dice.randrange(len(row))] = b""
        payload = annexb(tuple(row), b"\0" * dice.choice((2, 3, 4)) + b"\1")
        if spoiled == "cut":
            payload = payload[: dice.randrange(1, len(payload))]
        elif spoiled == "zeros":
            payload += bytes(dice.randrange(1, 5))
        elif spoiled == "joined":
            last = packets.pop()
            payload = last.payload + payload
        packets.append(pes(payload, index * 3600, index * 3600))
    ShortWay.taken = 0
    ways = [
        ts_elementary.run(lambda output, way=way: way(codec, output), *packets)  # type: ignore[misc]
        for way in (ShortWay, LongWay)
    ]
    assert ShortWay.taken >= PROOF - 1
    assert ways[0].units == ways[1].units
    assert ways[0].drops == ways[1].drops
