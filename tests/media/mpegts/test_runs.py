"""Packets that are taken by runs, hundreds at once, come out as they do one by one: whatever they
are, of real clips that were damaged in every way."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.mpegts import bulk
from media.mpegts.bulk import Row
from media.mpegts.muxer import TsMuxer
from tests.support import clips, ts_demux
from tests.support.twins import KINDS as TWINS
from tests.support.twins import choose

PACKET = 188
PACKETS = 500  # of a clip; a run of one PID is up to some hundred
Change = tuple[str, int, int, int]


@cache
def stream(name: str) -> bytes:
    """The begin of a clip as packets."""
    if name == "ours":
        clip = clips.read(clips.BUNNY)
        data = b"".join(map(TsMuxer(clips.tracks_of(clip)).encode, clip))
    else:
        data = (clips.FOLDER / name).read_bytes()
    return data[: PACKETS * PACKET]


def changed(data: bytes, change: Change) -> bytes:
    """One thing that may happen to packets."""
    kind, place, other, value = change
    place %= len(data)
    start = place - place % PACKET
    packet = data[start : start + PACKET]
    if kind == "byte":
        return data[:place] + bytes((value,)) + data[place + 1 :]
    if kind == "header":  # sync, flags and PID, adaptation and counter
        at = start + other % 4
        return data[:at] + bytes((value,)) + data[at + 1 :]
    if kind == "counter":
        return data[: start + 3] + bytes((0x10 | value & 15,)) + data[start + 4 :]
    if kind == "twice":
        return data[:start] + packet * (1 + value % 3) + data[start:]
    if kind == "lost":
        return data[:start] + data[start + PACKET * (1 + value % 40) :]
    if kind == "swapped":
        return (
            data[:start] + data[start + PACKET : start + 2 * PACKET] + packet + data[start + 376 :]
        )
    if kind == "null":
        return data[:start] + b"\x47\x1f\xff\x10" + bytes(184) + data[start:]
    if kind == "same PID":  # as if another program's packets were of this one
        end = start + PACKET * (1 + value)
        body = bytearray(data[start:end])
        body[1::PACKET] = packet[1:2] * len(body[1::PACKET])
        body[2::PACKET] = packet[2:3] * len(body[2::PACKET])
        return data[:start] + bytes(body) + data[end:]
    junk = bytes((value, 0x47, other % 256)) * (other % 97)
    return data[:place] + junk + data[place:]


KINDS = ("byte", "header", "counter", "twice", "lost", "swapped", "null", "same PID", "junk")
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.integers(0, PACKETS * PACKET),
        st.integers(0, 1000),
        st.integers(0, 255),
    ),
    max_size=12,
)


def one_by_one(data: bytes, start: int, count: int, stride: int) -> list[Row]:
    """Each packet is a run of its own."""
    rows: list[Row] = []
    for index in range(count):
        at = start + index * stride
        pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
        rows.append((index, pid, data[at + 1], data[at + 3], 1))
    return rows


def outcome(data: bytes, size: int, sort: object, strip: object) -> tuple[object, ...]:
    """All that a demuxer makes of it, fed in pieces of that size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("media.mpegts.demuxer._runs", sort)
        patch.setattr("media.mpegts.assembly._strip", strip)
        result = ts_demux.demux(ts_demux.cut(data, size))
    units = [ts_demux.key_of(unit) for unit in result.units]
    return units, result.drops, result.demuxer.packets, result.demuxer.junk_bytes


def check(data: bytes, size: int) -> None:
    expected = outcome(data, size, one_by_one, bulk.strip)
    for twin in TWINS:
        assert outcome(data, size, choose(bulk.runs, twin), choose(bulk.strip, twin)) == expected


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["sample_h264.ts", "sample_h265.ts", "ours"]), CHANGES)
def test_runs_are_as_packets(name: str, changes: list[Change]) -> None:
    data = stream(name)
    for change in changes:
        data = changed(data, change)
    for size in (len(data) or 1, 7 * PACKET * 40 + 11):
        check(data, size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0, 1, 15, 16, 0x47, 0x50, 0xFF])
def test_each_damage_by_itself(kind: str, value: int) -> None:
    for place in range(0, PACKETS * PACKET, 97 * PACKET + 13):
        data = changed(stream("ours"), (kind, place, place, value))
        check(data, len(data))
