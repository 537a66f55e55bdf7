"""Broken streams: whatever is lost, doubled, swapped or damaged, no unit is wrong.

The judge is the whole stream: a unit that comes out of a broken one must be one of its units, bytes
and times. What is lost is counted, and no more is lost than must be.
"""

import random
from collections.abc import Callable
from functools import cache

import pytest

from media.mpegts.muxer import TsMuxer
from tests.support import clips, ts_build, ts_demux
from tests.support.ts_build import AUDIO_PID, PACKET, VIDEO_PID, Mux, packets_of, pid_of

Break = Callable[[list[bytes], random.Random], list[bytes]]
SEEDS = [
    pytest.param(range(5), id="quick"),
    pytest.param(range(5, 30), id="many", marks=pytest.mark.long),
]


@cache
def stream(name: str) -> bytes:
    """A clip as a transport stream: ours, or one with several AAC frames in a PES packet."""
    if name == "several":
        return several_frames()
    path = {"bunny": clips.BUNNY, "hdr": clips.HDR, "pyramid": clips.PYRAMID}[name]
    clip = clips.read(path)
    return b"".join(map(TsMuxer(clips.tracks_of(clip)).encode, clip))


@cache
def truth_of(name: str) -> ts_demux.Demuxed:
    """What is in it."""
    return ts_demux.demux(stream(name))


def several_frames() -> bytes:
    """Video without lengths; AAC in PES packets of equal size, so that frames are cut in two."""
    clip = clips.read(clips.BUNNY)
    whole = ts_demux.demux(b"".join(map(TsMuxer(clips.tracks_of(clip)).encode, clip)))
    mux = Mux()
    row = b""
    starts: list[tuple[int, int]] = []
    video = []
    for unit in whole.units:
        if unit.track.pid == 0x100:
            data = b"".join(b"\0\0\0\1" + nal for nal in (b"\x09\xf0", *unit.payload))
            video.append(ts_build.pes(data, unit.pts, unit.dts, length=0))
        else:
            starts.append((len(row), unit.pts * 100 // 49))
            raw = unit.payload[0]
            head = clip_header(len(raw))
            row += head + raw
    size = 2_000
    sound = []
    for at in range(0, len(row), size):
        first = next((time for place, time in starts if at <= place < at + size), ts_build.NONE)
        sound.append(ts_build.pes(row[at : at + size], first, stream_id=0xC0))
    data = mux.tables([(0x1B, VIDEO_PID), (0x0F, AUDIO_PID)])
    ratio = len(video) / len(sound)
    for number, each in enumerate(video):
        data += mux.unit(VIDEO_PID, each)
        while sound and len(sound) * ratio > len(video) - number:
            data += mux.unit(AUDIO_PID, sound.pop(0))
        if number % 10 == 9:
            data += mux.tables([(0x1B, VIDEO_PID), (0x0F, AUDIO_PID)])
    return data


def clip_header(size: int) -> bytes:
    """ADTS for the clip: AAC-LC, 44.1 kHz, stereo."""
    size += 7
    return bytes((0xFF, 0xF1, 0x50, 0x80 | size >> 11, size >> 3 & 255, (size & 7) << 5 | 31, 0xFC))


def drop(packets: list[bytes], chance: random.Random) -> list[bytes]:
    return [packet for packet in packets if chance.random() > 0.01]


def drop_datagrams(packets: list[bytes], chance: random.Random) -> list[bytes]:
    groups = [packets[at : at + 7] for at in range(0, len(packets), 7)]
    return [packet for group in groups if chance.random() > 0.02 for packet in group]


def double(packets: list[bytes], chance: random.Random) -> list[bytes]:
    return [packet for packet in packets for _ in range(1 + (chance.random() < 0.05))]


def swap(packets: list[bytes], chance: random.Random) -> list[bytes]:
    moved = list(packets)
    for _ in range(len(packets) // 200):
        at, distance = chance.randrange(len(moved) - 9), chance.randrange(1, 9)
        moved[at], moved[at + distance] = moved[at + distance], moved[at]
    return moved


def swap_datagrams(packets: list[bytes], chance: random.Random) -> list[bytes]:
    groups = [packets[at : at + 7] for at in range(0, len(packets), 7)]
    for _ in range(len(groups) // 30):
        at = chance.randrange(len(groups) - 1)
        groups[at], groups[at + 1] = groups[at + 1], groups[at]
    return [packet for group in groups for packet in group]


def mark_errors(packets: list[bytes], chance: random.Random) -> list[bytes]:
    """transport_error_indicator set by a demodulator, and the rest of the packet is noise."""
    return [
        bytes((0x47, packet[1] | 0x80)) + chance.randbytes(186)
        if chance.random() < 0.01
        else packet
        for packet in packets
    ]


def noise(packets: list[bytes], chance: random.Random) -> list[bytes]:
    """A packet becomes noise, its sync byte too."""
    return [
        b"\x46" + chance.randbytes(187) if chance.random() < 0.01 else packet for packet in packets
    ]


def scramble(packets: list[bytes], chance: random.Random) -> list[bytes]:
    return [
        packet[:3] + bytes((packet[3] | 0x80,)) + chance.randbytes(184)
        if chance.random() < 0.01 and packet[3] & 0x10
        else packet
        for packet in packets
    ]


def truncate(packets: list[bytes], chance: random.Random) -> list[bytes]:
    return [
        packet[: chance.randrange(1, PACKET)] if chance.random() < 0.004 else packet
        for packet in packets
    ]


def insert(packets: list[bytes], chance: random.Random) -> list[bytes]:
    """Junk between packets, with sync bytes in it."""
    return [
        packet + bytes(chance.choice((0x47, 0, 1, 255)) for _ in range(chance.randrange(1, 300)))
        if chance.random() < 0.004
        else packet
        for packet in packets
    ]


BREAKS: list[Break] = [
    drop, drop_datagrams, double, swap, swap_datagrams, mark_errors, noise, scramble, truncate,
    insert,
]  # fmt: skip


@pytest.mark.parametrize("name", ["bunny", "pyramid", "hdr", "several"])
@pytest.mark.parametrize("breaking", BREAKS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("seeds", SEEDS)
def test_no_unit_is_wrong(name: str, breaking: Break, seeds: range) -> None:
    data = stream(name)
    truth = truth_of(name)
    known = truth.keys()
    packets = packets_of(data)
    for seed in seeds:
        chance = random.Random(seed)
        broken = b"".join(breaking(packets, chance))
        pieces = ts_demux.cut(broken, 1316 * chance.randrange(1, 5))
        result = ts_demux.demux(pieces, flush=False)
        wrong = result.keys() - known
        assert not wrong, (seed, len(wrong), [key[:3] for key in wrong])
        if name != "pyramid":  # where hardly any key frame comes through, and no sound
            assert len(result.units) > len(truth.units) // 8
        if breaking is double:
            assert len(known - result.keys()) <= 2  # those that the next one would end
            assert not result.drops


def test_loss_costs_the_units_that_it_hits_and_no_others() -> None:
    data = stream("bunny")
    truth = ts_demux.demux(data)
    packets = packets_of(data)
    hit = [at for at, packet in enumerate(packets) if pid_of(packet) == 0x100][900:4000:150]
    broken = b"".join(packet for at, packet in enumerate(packets) if at not in hit)
    result = ts_demux.demux(broken)
    missing = len(truth.units) - len(result.units)
    assert 0 < missing <= len(hit)
    assert result.drops == {"ts-packet-loss": missing}
    assert result.payloads(0x101) == truth.payloads(0x101)


def test_frames_before_a_gap_are_kept() -> None:
    """A PES packet of several AAC frames loses its last packet: the frames before it are whole."""
    data = stream("several")
    truth = ts_demux.demux(data)
    packets = packets_of(data)
    mine = [at for at, packet in enumerate(packets) if pid_of(packet) == AUDIO_PID]
    starts = [at for at in mine if packets[at][1] & 0x40]
    gone = mine[mine.index(starts[5]) + 7]  # of eleven
    result = ts_demux.demux(b"".join(p for at, p in enumerate(packets) if at != gone))
    lost = {unit.pts for unit in truth.of(AUDIO_PID)}
    lost -= {unit.pts for unit in result.of(AUDIO_PID)}
    assert len(lost) == 3  # of six: the one that was hit, and those behind it
    assert result.drops == {"ts-packet-loss": 1}


def test_sixteen_lost_packets_need_to_be_told() -> None:
    """The counters see nothing; who knows of the gap says so."""
    mux = Mux()
    tables = mux.tables([(0x1B, VIDEO_PID), (0x0F, AUDIO_PID)])
    picture = b"\0\0\0\1\x65\x88" + random.Random(1).randbytes(184 * 40)
    unit = packets_of(mux.unit(VIDEO_PID, ts_build.pes(picture, 0, length=0)))
    after = mux.unit(VIDEO_PID, ts_build.pes(picture, 3000, length=0))
    demuxer = ts_demux.start()
    feed = demuxer.demuxer.feed
    feed(tables + b"".join(unit[:10]), 0.0)
    demuxer.demuxer.gap(16)
    feed(b"".join(unit[26:]) + after, 0.0)
    assert demuxer.drops == {"ts-packet-loss": 1}
    assert not demuxer.units


def test_a_few_packets_that_are_told_are_left_to_the_counters() -> None:
    data = stream("bunny")
    demuxer = ts_demux.start()
    half = len(data) // 2 // PACKET * PACKET
    for piece in (data[:half], data[half:]):
        demuxer.events += demuxer.demuxer.feed(piece, 0.0)
        demuxer.events += demuxer.demuxer.gap(7)
    demuxer.events += demuxer.demuxer.flush()
    assert demuxer.keys() == ts_demux.demux(data).keys()
    assert not demuxer.drops


def test_scrambled_packets_are_counted() -> None:
    data = stream("pyramid")
    packets = [
        packet[:3] + bytes((packet[3] | 0xC0,)) + packet[4:] if pid_of(packet) == 0x100 else packet
        for packet in packets_of(data)
    ]
    result = ts_demux.demux(b"".join(packets))
    with_payload = sum(1 for p in packets if pid_of(p) == 0x100 and p[3] & 0x10)
    assert result.drops == {"ts-scrambled": with_payload}
    assert not result.units


@pytest.mark.parametrize("seed", range(20))
def test_any_byte_may_be_wrong(seed: int) -> None:
    """Nothing in a transport stream protects payloads: but nothing breaks either."""
    chance = random.Random(seed)
    data = bytearray(stream("several")[: 400 * PACKET])
    for _ in range(chance.randrange(1, 2_000)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    ts_demux.demux(ts_demux.cut(bytes(data), chance.randrange(1, 3_000)), is_datagram=True)
