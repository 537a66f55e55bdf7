"""Streams that nobody watches: counted as if they were taken apart, and taken apart for who comes.

The judge is a demuxer that reads all of the same stream.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from media.mpegts.events import TsEvent, TsHead, TsUnit
from media.mpegts.skim import is_start
from media.track import H264, H265
from tests.support import clips, ts_build, ts_demux
from tests.support.looped import looped
from tests.support.ts_build import AUDIO_PID, DATA_PID, VIDEO_PID, Mux, packets_of, pid_of
from tests.support.ts_demux import Demuxed, UnitKey, cut, key_of

VIDEO = 0x100
CLIPS = [clips.BUNNY, clips.HDR, clips.PYRAMID]
ROUNDS = 4
EVERY_CLIP = pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem[:5])


class Skimmed:
    """A demuxer that reads, skims from one piece on, and reads on from another one."""

    def __init__(self, pieces: list[bytes], first: int, last: int) -> None:
        self.result = ts_demux.start()
        self.heads: list[TsHead] = []
        self.log_bytes = 0  # at the most
        demuxer = self.result.demuxer
        for number, piece in enumerate(pieces):
            if number == first:
                demuxer.skim()
            if number == last:
                drops = self.result.drops.copy()
                self._take(demuxer.read_on())
                self.result.drops = drops  # who reads on has been told of them
            self._take(demuxer.feed(piece, float(number), is_datagram=True))
        self.result.events += demuxer.flush()

    def _take(self, events: Sequence[TsEvent]) -> None:
        for event in events:
            if isinstance(event, TsHead):
                self.heads.append(event)
            else:
                self.result.events.append(event)
        log = self.result.demuxer.log
        self.log_bytes = max(self.log_bytes, log.size_bytes if log is not None else 0)

    def counted(self, pid: int) -> int:
        """Units that were only counted."""
        return sum(h.units for h in self.heads if h.track.pid == pid)

    def of(self, pid: int) -> list[UnitKey]:
        return [key_of(unit) for unit in self.result.of(pid)]


def truth(pieces: list[bytes]) -> Demuxed:
    return ts_demux.demux(pieces, is_datagram=True)


def tail(got: list[UnitKey], all_: list[UnitKey]) -> int:
    """How many units at the end are the same."""
    same = 0
    while same < min(len(got), len(all_)) and got[-1 - same] == all_[-1 - same]:
        same += 1
    return same


# -- real clips ------------------------------------------------------------------------------------


@EVERY_CLIP
@pytest.mark.parametrize("size", [40 * 1316, 1000])
def test_nothing_is_missed_and_everything_counted(path: Path, size: int) -> None:
    pieces = cut(looped(path, 2 * ROUNDS if path == clips.HDR else ROUNDS), size)
    whole = truth(pieces)
    first, last = len(pieces) * 3 // 10, len(pieces) * 7 // 10
    skimmed = Skimmed(pieces, first, last)
    assert not skimmed.result.drops
    assert skimmed.heads  # off, everything is read
    for pid in {track.pid for track in whole.tracks}:
        every, got = [key_of(unit) for unit in whole.of(pid)], skimmed.of(pid)
        # Sound is counted by its times, and where the clip begins anew there is a gap.
        slack = 0 if pid == VIDEO else 5 * ROUNDS
        assert len(got) + skimmed.counted(pid) == pytest.approx(len(every), abs=slack)
        assert skimmed.counted(pid) > len(every) / 10
        # What comes last is whole, and begins with what the log held.
        same = tail(got, every)
        assert got[: len(got) - same] == every[: len(got) - same]
        assert same >= len(every) * 0.3


@EVERY_CLIP
def test_what_is_read_after_all_begins_with_a_start(path: Path) -> None:
    pieces = cut(looped(path, ROUNDS), 1316)
    result = ts_demux.start()
    demuxer = result.demuxer
    for piece in pieces[: len(pieces) // 2]:
        demuxer.feed(piece, 0.0, is_datagram=True)
    demuxer.skim()
    for piece in pieces[len(pieces) // 2 :]:
        demuxer.feed(piece, 0.0, is_datagram=True)
    log = demuxer.log
    assert log is not None
    heads = [head for head in log.heads if head.track.pid == VIDEO]
    units = [event for event in demuxer.read_on() if isinstance(event, TsUnit)]
    video = [unit for unit in units if unit.track.pid == VIDEO]
    assert heads[0].is_start
    assert len(video) == len(heads)
    assert is_start(video[0].track.codec, b"".join(b"\0\0\1" + nal[:4] for nal in video[0].payload))
    assert demuxer.log is None


@EVERY_CLIP
def test_the_log_holds_a_group_of_pictures(path: Path) -> None:
    """However long nobody comes."""
    round_bytes = len(looped(path, ROUNDS)) / ROUNDS
    pieces = cut(looped(path, 3 * ROUNDS), 1316)
    assert Skimmed(pieces, len(pieces) // 3, len(pieces)).log_bytes < 2.2 * round_bytes


def test_times_go_on_over_a_wrap() -> None:
    """33 bits of 90 kHz end while nobody watches."""
    units = ts_demux.demux(looped(clips.BUNNY, ROUNDS)).of(VIDEO)
    wrap = 1 << 33
    shift = wrap - (units[0].pts + units[-1].pts) // 2
    mux = Mux()
    data = mux.tables([(0x1B, VIDEO_PID)])
    for unit in units:
        stream = b"".join(b"\0\0\0\1" + nal for nal in (b"\x09\xf0", *unit.payload))
        pts, dts = (unit.pts + shift) % wrap, (unit.dts + shift) % wrap
        data += mux.unit(VIDEO_PID, ts_build.pes(stream, pts, dts, length=0))
    pieces = cut(data, 1316)
    whole = truth(pieces)
    skimmed = Skimmed(pieces, len(pieces) // 5, len(pieces) * 4 // 5)
    assert skimmed.counted(VIDEO_PID)
    assert skimmed.of(VIDEO_PID)[-1] == key_of(whole.of(VIDEO_PID)[-1])
    assert whole.of(VIDEO_PID)[-1].pts > wrap


# -- what is lost ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
@EVERY_CLIP
def test_losses_are_counted_as_ever(path: Path, seed: int) -> None:
    rng = random.Random(seed)
    packets = packets_of(looped(path, ROUNDS))
    first, last = len(packets) * 3 // 10, len(packets) * 7 // 10
    kept = [
        packet
        for number, packet in enumerate(packets)
        if not first * 1.2 < number < last * 0.9 or rng.random() > 0.002 or pid_of(packet) < 0x100
    ]
    pieces = cut(b"".join(kept), 7 * 188)
    whole = truth(pieces)
    skimmed = Skimmed(pieces, len(pieces) * 3 // 10, len(pieces) * 7 // 10)
    assert whole.drops["ts-packet-loss"]
    assert skimmed.result.drops["ts-packet-loss"] == whole.drops["ts-packet-loss"]
    every, got = [key_of(unit) for unit in whole.of(VIDEO)], skimmed.of(VIDEO)
    assert len(got) + skimmed.counted(VIDEO) == len(every)
    assert set(got) <= set(every)


@pytest.mark.parametrize("seed", range(8))
def test_no_garbage_disturbs_it(seed: int) -> None:
    """Damaged bytes, skimmed here and there: what comes out afterwards is right."""
    rng = random.Random(seed)
    clean = looped(clips.BUNNY, 2)
    broken = bytearray(clean)
    for _ in range(300):
        broken[rng.randrange(len(broken))] = rng.randrange(256)
    result = ts_demux.start()
    demuxer = result.demuxer
    for piece in cut(bytes(broken), 1316):
        if rng.random() < 0.02:
            changes: list[Callable[[], object]] = [demuxer.skim, demuxer.read_on]
            changes.append(lambda: demuxer.gap(20))
            rng.choice(changes)()
        demuxer.feed(piece, 0.0, is_datagram=True)
    demuxer.read_on()
    again = cut(looped(clips.BUNNY, 3, shift=30), 1316)
    units = [e for piece in again for e in demuxer.feed(piece, 0.0) if isinstance(e, TsUnit)]
    payloads = {(unit.track.pid, unit.payload) for unit in units}
    expected = Counter(unit.track.pid for unit in truth(again).units)
    found = Counter(unit.track.pid for unit in units)
    assert found[VIDEO] >= expected[VIDEO] * 0.6
    known = {(unit.track.pid, unit.payload) for unit in truth(again).units}
    assert len(payloads - known) <= 4  # what damage made of parameters


# -- where it is not done --------------------------------------------------------------------------


def test_sound_alone_is_read() -> None:
    mux = Mux()
    data = mux.tables([(0x0F, AUDIO_PID)])
    frame = bytes((0xFF, 0xF1, 0x4C, 0x80, 0x0D, 0x7F, 0xFC)) + bytes(100)
    data += b"".join(
        mux.unit(AUDIO_PID, ts_build.pes(frame, 1920 * n, stream_id=0xC0)) for n in range(100)
    )
    pieces = cut(data, 1316)
    assert not Skimmed(pieces, 2, len(pieces)).heads


def test_pes_packets_that_are_no_pictures_are_read() -> None:
    """Where a picture comes in several PES packets, nobody could count pictures."""
    whole = ts_demux.demux(looped(clips.BUNNY, 2))
    mux = Mux()
    data = mux.tables([(0x1B, VIDEO_PID)])
    for unit in whole.of(VIDEO):
        *front, last = unit.payload
        half = max(len(last) // 2, 1)
        stream = b"".join(b"\0\0\0\1" + nal for nal in (b"\x09\xf0", *front, last[:half]))
        data += mux.unit(VIDEO_PID, ts_build.pes(stream, unit.pts, unit.dts, length=0))
        data += mux.unit(VIDEO_PID, ts_build.pes(last[half:] or b"\x80", ts_build.NONE, length=0))
    pieces = cut(data, 1316)
    assert not Skimmed(pieces, len(pieces) // 2, len(pieces)).heads


def test_data_are_counted_by_their_packets() -> None:
    whole = ts_demux.demux(looped(clips.BUNNY, 4))
    mux = Mux()
    data = mux.tables([(0x1B, VIDEO_PID), (0x06, DATA_PID)])
    for unit in whole.of(VIDEO):
        stream = b"".join(b"\0\0\0\1" + nal for nal in (b"\x09\xf0", *unit.payload))
        data += mux.unit(VIDEO_PID, ts_build.pes(stream, unit.pts, unit.dts, length=0))
        data += mux.unit(DATA_PID, ts_build.pes(b"note", unit.pts, stream_id=0xBD))
    pieces = cut(data, 1316)
    skimmed = Skimmed(pieces, len(pieces) // 2, len(pieces))
    counted = Counter[int]()
    for head in skimmed.heads:
        counted[head.track.pid] += head.units
    assert counted[DATA_PID] == pytest.approx(counted[VIDEO_PID], abs=1)
    assert {h.size_bytes for h in skimmed.heads if h.track.pid == DATA_PID} == {4}


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_clock_that_is_set_is_no_hour_of_sound(jump: int) -> None:
    whole = ts_demux.demux(looped(clips.BUNNY, 4))
    mux = Mux()
    data = mux.tables([(0x1B, VIDEO_PID), (0x0F, AUDIO_PID)])
    frame = bytes((0xFF, 0xF1, 0x4C, 0x80, 0x0D, 0x7F, 0xFC)) + bytes(100)
    units = whole.of(VIDEO)
    for number, unit in enumerate(units):
        shift = 90_000 * (4000 + (jump if number > len(units) * 3 // 4 else 0))
        stream = b"".join(b"\0\0\0\1" + nal for nal in (b"\x09\xf0", *unit.payload))
        pts, dts = unit.pts + shift, unit.dts + shift
        data += mux.unit(VIDEO_PID, ts_build.pes(stream, pts, dts, length=0))
        data += mux.unit(AUDIO_PID, ts_build.pes(frame, dts, stream_id=0xC0))
    pieces = cut(data, 1316)
    skimmed = Skimmed(pieces, len(pieces) // 2, len(pieces))
    assert 0 < skimmed.counted(AUDIO_PID) < 2 * len(units)


@pytest.mark.parametrize(
    ("codec", "front", "expected"),
    [
        (H264, b"\0\0\0\1\x09\xf0\0\0\1\x65\x88", True),
        (H264, b"\0\0\1\x25\x88", True),
        (H264, b"\0\0\1\x67\0\0\1\x41\x9a", False),
        (H265, b"\0\0\1\x26\x01", True),  # IDR_W_RADL
        (H265, b"\0\0\1\x2a\x01", True),  # CRA
        (H265, b"\0\0\1\x02\x01", False),
        ("mpeg2", b"\0\0\1\x65", False),
    ],
)
def test_starts(codec: str, front: bytes, expected: bool) -> None:
    assert is_start(codec, front) is expected
