"""Each rule of the judge of fragmented MP4 rejects its broken sample; FFmpeg's files pass."""

from struct import pack

import pytest

from tests.support.conform import samples
from tests.support.conform.fmp4 import (
    RULES,
    Fmp4Limits,
    Fmp4Reader,
    check_fmp4,
    header_size,
    read_fmp4,
)
from tests.support.conform.problem import slugs, told
from tests.support.conform.samples import CMAF, FRAGMENTED, box_at, patch

MOOV, TRAK, MDIA = (b"moov",), (b"moov", b"trak"), (b"moov", b"trak", b"mdia")
STBL = (*MDIA, b"minf", b"stbl")
ENTRY = (*STBL, b"stsd")
TRAF = (b"moof", b"traf")
STRICT = Fmp4Limits(cmaf=True)
GOOD = samples.fmp4(samples.PYRAMID)  # one track, B-frames
TWO = samples.fmp4(samples.SHORT)  # pictures and sound
SOUND = samples.fmp4(samples.SHORT, FRAGMENTED, "audio")
EDITED = samples.fmp4(samples.PYRAMID, {"movflags": "frag_keyframe+empty_moov+delay_moov"})
INIT = header_size(GOOD)


def put(data: bytes, path: tuple[bytes, ...], offset: int, new: bytes, nth: int = 0) -> bytes:
    """A box with other bytes at one place of its content."""
    return patch(data, box_at(data, *path, nth=nth) + offset, new)


def gone(data: bytes, *path: bytes, nth: int = 0) -> bytes:
    """A box made one that nobody reads."""
    return patch(data, box_at(data, *path, nth=nth) - 4, b"free")


def box(kind: bytes, content: bytes) -> bytes:
    return pack(">I", 8 + len(content)) + kind + content


def number(data: bytes, path: tuple[bytes, ...], offset: int, size: int = 4, nth: int = 0) -> int:
    at = box_at(data, *path, nth=nth) + offset
    return int.from_bytes(data[at : at + size], "big")


def entry_at(data: bytes, offset: int, new: bytes) -> bytes:
    """The first sample entry with other bytes; `offset` counts behind its size and type."""
    return put(data, ENTRY, 16 + offset, new)


def configured(data: bytes, name: bytes, offset: int, new: bytes) -> bytes:
    """The configuration box of the first entry with other bytes."""
    return patch(data, data.index(name) + 4 + offset, new)


def second(data: bytes) -> bytes:
    """From the second fragment on."""
    return data[box_at(data, b"moof", nth=1) - 8 :]


def with_time(data: bytes, shift: int) -> bytes:
    """The second fragment at another decode time."""
    rest = second(data)
    path = (*TRAF, b"tfdt")
    wide = 8 if number(rest, path, 0, 1) else 4
    time = number(rest, path, 4, wide) + shift
    head = data[: -len(rest)]
    return head + put(rest, path, 4, time.to_bytes(wide, "big"))


def run_at(data: bytes, offset: int, new: bytes) -> bytes:
    return put(data, (*TRAF, b"trun"), offset, new)


def emsg(version: int, content: bytes) -> bytes:
    return box(b"emsg", bytes((version, 0, 0, 0)) + content)


def sidx(size: int, time: int, scale: int, track: int = 1) -> bytes:
    body = pack(">IIIIIHH", 0, track, scale, time, 0, 0, 1)
    return box(b"sidx", body + pack(">III", size, 1, 0x90000000))


def before(piece: bytes) -> bytes:
    """The good file with something before its fragments."""
    return GOOD[:INIT] + piece + GOOD[INIT:]


def first_fragment() -> bytes:
    return GOOD[INIT : box_at(GOOD, b"moof", nth=1) - 8]


def indexed(size: int = 0, time: int = -1, track: int = 1) -> bytes:
    """An initialization section and one fragment with an index before it."""
    fragment = first_fragment()
    at = number(fragment, (*TRAF, b"tfdt"), 4, 8) if time < 0 else time
    scale = number(GOOD, (*MDIA, b"mdhd"), 12)
    return GOOD[:INIT] + sidx(len(fragment) + size, at, scale, track) + fragment


def stretched(kind: bytes) -> bytes:
    """A table of samples that is not empty."""
    at = box_at(GOOD, *STBL, kind)
    place = at + (8 if kind == b"stsz" else 4)
    return patch(GOOD, place, b"\0\0\0\1")


EVENT = b"urn:x\0\0" + bytes(16)
SYNC_AT = 8 + 4  # first_sample_flags of a run with a data offset
BROKEN: list[tuple[str, bytes]] = [
    ("box-size", GOOD + b"\0\0"),
    ("box-size", GOOD[:-1]),
    ("box-size", put(GOOD, MOOV, -8, b"\xff")),
    ("box-type", patch(GOOD, INIT + 4, b"\0\1\2\3")),
    ("ftyp-first", GOOD[box_at(GOOD, b"moov") - 8 :]),
    ("brand", GOOD.replace(b"iso6", b"isom", 1).replace(b"iso5", b"isom", 1)),
    ("moov", GOOD[:INIT].replace(b"moov", b"free", 1)),
    ("header-samples", stretched(b"stts")),
    ("header-samples", stretched(b"stsz")),
    ("mvhd", gone(GOOD, b"moov", b"mvhd")),
    ("mvhd", put(GOOD, (b"moov", b"mvhd"), 12, bytes(4))),
    ("next-track", put(GOOD, (b"moov", b"mvhd"), 96, b"\0\0\0\1")),
    ("zero-duration", put(GOOD, (b"moov", b"mvhd"), 16, b"\0\0\0\1")),
    ("zero-duration", put(GOOD, (*TRAK, b"tkhd"), 20, b"\0\0\0\1")),
    ("zero-duration", put(GOOD, (*MDIA, b"mdhd"), 16, b"\0\0\0\1")),
    ("trak", gone(GOOD, *TRAK)),
    ("trak", gone(GOOD, *MDIA, b"minf")),
    ("tkhd", gone(GOOD, *TRAK, b"tkhd")),
    ("tkhd", put(GOOD, (*TRAK, b"tkhd"), 12, bytes(4))),
    ("tkhd", put(GOOD, (*TRAK, b"tkhd"), 0, bytes(4))),
    ("tkhd", put(GOOD, (*TRAK, b"tkhd"), 76, bytes(8))),
    ("tkhd", put(SOUND, (*TRAK, b"tkhd"), 76, b"\0\1\0\0")),
    ("mdhd", put(GOOD, (*MDIA, b"mdhd"), 12, bytes(4))),
    ("mdhd", gone(GOOD, *MDIA, b"mdhd")),
    ("hdlr", put(GOOD, (*MDIA, b"hdlr"), 8, b"vido")),
    ("media-header", gone(GOOD, *MDIA, b"minf", b"vmhd")),
    ("data-reference", gone(GOOD, *MDIA, b"minf", b"dinf")),
    ("data-reference", put(GOOD, (*MDIA, b"minf", b"dinf", b"dref"), 19, b"\0")),
    ("sample-table", gone(GOOD, *STBL, b"stsc")),
    ("sample-table", gone(GOOD, *STBL, b"stsz")),
    ("sample-entry", put(GOOD, ENTRY, 4, b"\0\0\0\2")),
    ("sample-entry", entry_at(GOOD, 6, b"\0\2")),
    ("sample-entry", entry_at(GOOD, 24, bytes(4))),
    ("sample-entry", entry_at(GOOD, -4, b"mp4a")),
    ("sample-entry-name", entry_at(GOOD, -4, b"avc3")),
    ("configuration", GOOD.replace(b"avcC", b"free", 1)),
    ("configuration", configured(GOOD, b"avcC", 0, b"\2")),
    ("configuration", configured(GOOD, b"avcC", 1, b"\x42")),
    ("configuration", configured(SOUND, b"esds", 4, b"\5")),
    ("configuration", entry_at(SOUND, 24, b"\x1f\x40")),
    ("mvex", gone(GOOD, b"moov", b"mvex")),
    ("trex", put(GOOD, (b"moov", b"mvex", b"trex"), 4, b"\0\0\0\7")),
    ("trex", gone(GOOD, b"moov", b"mvex", b"trex")),
    ("top-box", before(box(b"trak", b""))),
    ("styp", GOOD + box(b"styp", b"msdh\0\0\0\0")),
    ("mdat-missing", gone(GOOD, b"mdat")),
    ("mdat-missing", GOOD + first_fragment()[: box_at(first_fragment(), b"mdat") - 8]),
    ("mfhd", gone(GOOD, b"moof", b"mfhd")),
    ("sequence-order", put(GOOD, (b"moof", b"mfhd"), 4, b"\0\0\0\7")),
    ("traf", gone(GOOD, *TRAF)),
    ("traf", gone(GOOD, *TRAF, b"trun")),
    ("tfhd", gone(GOOD, *TRAF, b"tfhd")),
    ("tfhd", put(GOOD, (*TRAF, b"tfhd"), 3, b"\0")),
    ("track-unknown", put(GOOD, (*TRAF, b"tfhd"), 4, b"\0\0\0\7")),
    ("base-is-moof", put(GOOD, (*TRAF, b"tfhd"), 1, b"\0")),
    ("tfdt-missing", gone(GOOD, *TRAF, b"tfdt")),
    ("tfdt-order", with_time(GOOD, -1)),
    ("tfdt-continuity", with_time(GOOD, 1)),
    ("trun", run_at(GOOD, 4, b"\0\0\0\0")),
    ("trun", run_at(GOOD, 1, b"\xf0")),
    ("composition-version", run_at(run_at(GOOD, 0, b"\0"), 20, b"\xff\xff\xff\xff")),
    ("data-offset", run_at(GOOD, 8, b"\x00\x7f\xff\xff")),
    ("data-offset", run_at(GOOD, 8, b"\0\0\0\0")),
    ("mdat-unused", run_at(GOOD, 8, pack(">I", number(GOOD, (*TRAF, b"trun"), 8) + 1))),
    ("nal-lengths", put(GOOD, (b"mdat",), 0, b"\0\xff\xff\xff")),
    ("sync-flags", run_at(GOOD, SYNC_AT, b"\1\1\0\0")),
    ("depends-on", run_at(GOOD, SYNC_AT, b"\1\0\0\0")),
    ("sidx", indexed(track=9)),
    ("sidx", before(box(b"sidx", bytes(24)))),
    ("sidx-size", indexed(size=1)),
    ("sidx-time", indexed(time=77_777)),
    ("emsg", GOOD[:INIT] + first_fragment() + emsg(2, EVENT)),
    ("emsg", before(emsg(0, b"\0\0" + bytes(16)))),
    ("prft", before(box(b"prft", bytes(3 + 1) + pack(">I", 9) + bytes(16)))),
]
LIMITED: list[tuple[str, bytes]] = [
    ("header-tracks", TWO),
    ("fragment-tracks", TWO),
    ("edit-list", put(EDITED, (*TRAK, b"edts", b"elst"), 4, b"\0\0\0\2")),
]


def sample_fields(data: bytes, wanted: int) -> int:
    """Where a field of the first sample that tells it is, in the content of the first run."""
    flags = number(data, (*TRAF, b"trun"), 1, 3)
    assert flags & wanted, hex(flags)
    place = 8 + 4 * bool(flags & 1) + 4 * bool(flags & 4)
    return place + 4 * sum(bool(flags & bit) for bit in (0x100, 0x200, 0x400) if bit < wanted)


def by_sample() -> list[tuple[str, bytes]]:
    """Broken samples at a place that depends on what fields FFmpeg writes."""
    size_at = sample_fields(GOOD, 0x200)
    track_size = number(GOOD, (*TRAF, b"trun"), size_at)
    idr = box_at(GOOD, b"mdat") + 4
    return [
        ("sample-size", run_at(GOOD, size_at, bytes(4))),
        ("sample-duration", durationless()),
        ("sample-overlap", run_at(GOOD, size_at, pack(">I", track_size - 1))),
        ("in-band-sets", patch(GOOD, idr, b"\x67")),
    ]


def durationless() -> bytes:
    """A fragment whose samples last nothing."""
    flags = number(GOOD, (*TRAF, b"tfhd"), 1, 3)
    place = 8 + 4 * bool(flags & 2)
    return put(GOOD, (*TRAF, b"tfhd"), place, bytes(4))


def overlapping() -> bytes:
    """Two tracks whose samples lie over each other."""
    first = number(TWO, (*TRAF, b"trun"), 8)
    at = box_at(TWO, b"moof") + 0
    path = (b"trun",)
    inner = TWO[at:]
    second_traf = box_at(inner, b"traf", nth=1) if inner[4:8] == b"mfhd" else 0
    place = at + second_traf
    run = place + box_at(TWO[place:], *path)
    return patch(TWO, run + 8, pack(">I", first + 4))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (name, options)
        for name in (samples.PYRAMID, samples.OPUS, samples.VP9)
        for options in (FRAGMENTED, CMAF)
    ],
)
def test_what_ffmpeg_writes_is_good(name: str, options: dict[str, str]) -> None:
    content = read_fmp4(samples.fmp4(name, options))
    assert content.problems == [], told(content.problems)
    assert content.segments[0].runs


@pytest.mark.parametrize("name", [samples.BUNNY, samples.HDR, samples.SHORT])
def test_two_tracks_of_ffmpeg_have_one_fault(name: str) -> None:
    """FFmpeg gives next_track_ID 2 to a file with tracks 1 and 2."""
    content = read_fmp4(samples.fmp4(name))
    faults = ["next-track"] if name != samples.HDR else ["sample-entry-name", "next-track"]
    assert slugs(content.problems) == faults, told(content.problems)
    assert [track.entry for track in content.tracks.values()][1] == b"mp4a"


@pytest.mark.parametrize(("rule", "data"), BROKEN)
def test_rule_rejects(rule: str, data: bytes) -> None:
    assert rule in slugs(check_fmp4(data))


@pytest.mark.parametrize(("rule", "data"), LIMITED)
def test_limit_rejects(rule: str, data: bytes) -> None:
    assert rule in slugs(check_fmp4(data, STRICT))


def test_rules_of_samples_reject() -> None:
    for rule, data in by_sample():
        if rule == "sample-overlap":
            data = overlapping()
        assert rule in slugs(check_fmp4(data)), rule


def test_a_segment_begins_with_a_sync_sample() -> None:
    reader = Fmp4Reader(GOOD[:INIT])
    reader.segment(run_at(first_fragment(), SYNC_AT, b"\1\1\0\0"), "one")
    assert "segment-start" in slugs(reader.finish().problems)
    reader = Fmp4Reader(GOOD[:INIT], Fmp4Limits(starts_with_sync=False))
    reader.segment(first_fragment(), "part")
    assert reader.finish().problems == []


def test_every_rule_has_a_broken_sample() -> None:
    shown = {rule for rule, _ in (*BROKEN, *LIMITED, *by_sample())} | {"segment-start"}
    assert shown == set(RULES)


def test_segments_go_on_and_breaks_excuse() -> None:
    reader = Fmp4Reader(GOOD[:INIT])
    reader.segment(first_fragment(), "0")
    reader.segment(second(GOOD), "1")
    reader.discontinuity()
    reader.segment(first_fragment(), "2")
    content = reader.finish()
    assert content.problems == [], told(content.problems)
    reader.segment(first_fragment(), "3")
    assert {"tfdt-order", "sequence-order"} <= set(slugs(reader.finish().problems))


def test_boxes_around_fragments_are_good() -> None:
    for piece in (emsg(0, EVENT), box(b"styp", b"msdh\0\0\0\0"), box(b"prft", pack(">II", 0, 1))):
        assert check_fmp4(before(piece)) == []
    assert check_fmp4(indexed()) == []


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_cut_files_do_not_pass(cut: int) -> None:
    assert check_fmp4(TWO[:-cut]) != []
    assert check_fmp4(TWO[:INIT][:-cut]) != []
