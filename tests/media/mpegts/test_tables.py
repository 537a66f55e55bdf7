"""PAT and PMT read: across packets, damaged, in parts; and which program is chosen."""

from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.mpegts import psi
from media.mpegts.program import ProgramChooser
from media.mpegts.tables import (
    Descriptor,
    Entry,
    Section,
    SectionReader,
    parse_pat,
    parse_pmt,
)
from tests.support import ts_build

LANGUAGE = b"\x0a\x04deu\x00"


def test_round_trip() -> None:
    assert parse_pat(Section.parse(psi.pat(3))) == {1: psi.PMT_PID}
    streams = [psi.Stream(0x100, 0x1B), psi.Stream(0x101, 6, psi.registration(b"Opus") + LANGUAGE)]
    pmt = parse_pmt(Section.parse(psi.pmt(streams, 0x100, 5)))
    assert (pmt.program, pmt.version, pmt.pcr_pid) == (1, 5, 0x100)
    assert pmt.entries == (
        Entry(0x100, 0x1B),
        Entry(0x101, 6, (Descriptor(5, b"Opus"), Descriptor(10, b"deu\0"))),
    )
    assert pmt.entries[1].registration == b"Opus"
    assert pmt.entries[1].language == "deu"


def test_truncated_and_damaged_sections() -> None:
    section = ts_build.pmt([(0x1B, 0x100, LANGUAGE), (15, 0x101)], info=b"\x05\x04HDMV")
    assert len(parse_pmt(Section.parse(section)).entries) == 2
    for size in range(len(section)):
        with pytest.raises(WireError):
            Section.parse(section[:size])
    for at in range(len(section)):
        broken = bytearray(section)
        broken[at] ^= 1
        with pytest.raises(WireError, match="ts-section-crc"):
            Section.parse(bytes(broken))


@pytest.mark.parametrize(
    "body",
    [b"", b"\xe1\0", b"\xe1\0\xf0\x05", b"\xe1\0\xf0\0\x1b\xe1", b"\xe1\0\xf0\0\x1b\xe1\0\xf0\x09"],
)
def test_lengths_that_do_not_fit(body: bytes) -> None:
    with pytest.raises(WireError, match="ts-pmt-malformed"):
        parse_pmt(Section.parse(ts_build.section(2, 1, 0, body)))


def test_a_cut_descriptor_leaves_its_stream() -> None:
    pmt = parse_pmt(Section.parse(ts_build.pmt([(6, 0x100, LANGUAGE + b"\x05\x09Op")])))
    assert pmt.entries[0].descriptors == (Descriptor(10, b"deu\0"),)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    with suppress(WireError):
        section = Section.parse(data)
        parse_pat(section)
        parse_pmt(section)
    with suppress(WireError):
        parse_pmt(Section.parse(ts_build.section(2, 1, 0, data[:200])))


# -- sections across packets ---------------------------------------------------------------------


def payloads(*sections: bytes, size: int = 184) -> list[tuple[bytes, bool]]:
    data = b"\0" + b"".join(sections)
    return [(data[at : at + size].ljust(184, b"\xff"), not at) for at in range(0, len(data), size)]


def test_several_sections_in_one_packet_and_one_in_several() -> None:
    short = ts_build.pat({1: 0x100})
    long = ts_build.pmt([(6, 0x100 + n, LANGUAGE * 3) for n in range(30)])
    assert len(long) > 600
    reader = SectionReader()
    found = [each for part in payloads(short, long, short) for each in reader.push(*part)]
    assert found == [short, long, short]


def test_pointer_field_ends_the_section_before() -> None:
    long = ts_build.pmt([(6, 0x100 + n, LANGUAGE) for n in range(20)])
    first = b"\0" + long[:183]
    rest = long[183:]
    second = bytes((len(rest),)) + rest + ts_build.pat({1: 0x99})
    reader = SectionReader()
    assert reader.push(first, True) == []
    assert reader.push(second.ljust(184, b"\xff"), True) == [long, ts_build.pat({1: 0x99})]


def test_a_lost_packet_forgets_the_section() -> None:
    long = ts_build.pmt([(6, 0x100 + n, LANGUAGE * 2) for n in range(30)])
    first, _, *rest = payloads(long)
    reader = SectionReader()
    reader.push(*first)
    reader.reset()
    assert [reader.push(*part) for part in rest] == [[] for _ in rest]
    assert [each for part in payloads(long) for each in reader.push(*part)] == [long]


def test_sections_are_bounded() -> None:
    reader = SectionReader()
    with pytest.raises(WireError, match="ts-section-malformed"):
        reader.push(b"\0\x02\xbf\xff" + bytes(180), True)
    with pytest.raises(WireError, match="pointer_field"):
        reader.push(b"\xff" + bytes(100), True)


@given(st.lists(st.tuples(st.binary(max_size=184), st.booleans()), max_size=20))
def test_any_payloads(parts: list[tuple[bytes, bool]]) -> None:
    reader = SectionReader()
    for payload, is_start in parts:
        with suppress(WireError):
            assert all(len(each) <= 1024 for each in reader.push(payload, is_start))


# -- the choice ------------------------------------------------------------------------------------

VIDEO, SECTIONS = [(0x1B, 0x100)], [(0x05, 0x200)]


class Chooser:
    """A chooser with packets made for it."""

    def __init__(self, wanted: int | None = None) -> None:
        self.drops: Counter[str] = Counter()
        self.chooser = ProgramChooser(wanted, lambda reason: self.drops.update((reason,)))

    def push(self, pid: int, *sections: bytes) -> int:
        for payload, is_start in payloads(*sections):
            self.chooser.push(pid, payload, is_start)
        return self.chooser.chosen.program if self.chooser.chosen is not None else 0


def test_the_first_program_with_media_is_chosen() -> None:
    chooser = Chooser()
    assert chooser.push(0, ts_build.pat({0: 16, 7: 0x20, 8: 0x21, 9: 0x22})) == 0
    assert chooser.chooser.pids == {0, 0x20, 0x21, 0x22}
    assert chooser.push(0x22, ts_build.pmt(VIDEO, program=9)) == 0  # 7 and 8 may have media
    assert chooser.push(0x20, ts_build.pmt(SECTIONS, program=7)) == 0
    assert chooser.push(0x21, ts_build.pmt(VIDEO, program=8)) == 8


def test_a_pmt_that_comes_twice_is_not_kept_waiting() -> None:
    chooser = Chooser()
    chooser.push(0, ts_build.pat({7: 0x20, 8: 0x21}))
    pmt = ts_build.pmt(VIDEO, program=8)
    assert chooser.push(0x21, pmt) == 0
    assert chooser.push(0x21, pmt) == 8


def test_a_wanted_program() -> None:
    chooser = Chooser(wanted=9)
    chooser.push(0, ts_build.pat({7: 0x20, 9: 0x20}))
    assert chooser.push(0x20, ts_build.pmt(VIDEO, program=7)) == 0
    assert chooser.push(0x20, ts_build.pmt(SECTIONS, program=9)) == 9


def test_programs_may_share_a_pid() -> None:
    chooser = Chooser()
    chooser.push(0, ts_build.pat({7: 0x20, 8: 0x20}))
    both = (ts_build.pmt(SECTIONS, program=7), ts_build.pmt(VIDEO, program=8))
    assert chooser.push(0x20, *both) == 8


def test_versions_and_tables_of_the_future() -> None:
    chooser = Chooser()
    chooser.push(0, ts_build.pat({1: 0x20}))
    assert chooser.push(0x20, ts_build.pmt(VIDEO, version=4)) == 1
    chooser.push(0x20, ts_build.pmt([(15, 0x101)], version=5, current=0))
    assert chooser.chooser.chosen is not None
    assert chooser.chooser.chosen.version == 4
    chooser.push(0x20, ts_build.pmt([(15, 0x101)], version=5))
    assert chooser.chooser.chosen.entries == (Entry(0x101, 15),)
    assert chooser.push(0, ts_build.pat({2: 0x30}, version=1)) == 0
    assert chooser.push(0x30, ts_build.pmt(VIDEO, program=2)) == 2


def test_what_came_before_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    chooser = Chooser()
    pat, pmt = ts_build.pat({1: 0x20}), ts_build.pmt(VIDEO, program=1)
    for _ in range(2):
        chooser.push(0, pat)
        chooser.push(0x20, pmt)
    read: list[bytes] = []
    push = SectionReader.push

    def counted(reader: SectionReader, payload: bytes, is_start: bool) -> list[bytes]:
        found = push(reader, payload, is_start)
        read.extend(found)
        return found

    monkeypatch.setattr(SectionReader, "push", counted)
    for _ in range(3):
        chooser.push(0, pat)
        assert chooser.push(0x20, pmt) == 1
    assert read == []
    for each in (ts_build.pmt(VIDEO, program=1, version=1), pmt):
        chooser.push(0x20, each)
        assert read.pop() == each


def test_another_pat_has_the_same_pmts_read_again() -> None:
    chooser = Chooser()
    both = (ts_build.pmt(VIDEO, program=1), ts_build.pmt(VIDEO, program=2))
    chooser.push(0, ts_build.pat({1: 0x20}))
    for _ in range(3):
        assert chooser.push(0x20, *both) == 1
    assert chooser.push(0, ts_build.pat({2: 0x20}, version=1)) == 0
    assert chooser.push(0x20, *both) == 2


def test_what_came_before_ends_a_table_that_is_not_whole() -> None:
    chooser = Chooser()
    chooser.push(0, ts_build.pat({1: 0x20}))
    pmt = ts_build.pmt(VIDEO, program=1)
    for _ in range(2):
        chooser.push(0x20, pmt)
    (start, _), (rest, _) = payloads(
        ts_build.pmt([(15, 0x101), *[(0x1B, 0x100)] * 40], program=1, version=1)
    )
    chooser.chooser.push(0x20, start, True)
    chooser.push(0x20, pmt)
    chooser.chooser.push(0x20, rest, False)
    assert chooser.chooser.chosen is not None
    assert chooser.chooser.chosen.version == 0
    assert chooser.drops == {}


def test_damage_is_counted_each_time_that_it_comes() -> None:
    chooser = Chooser()
    pat, pmt = ts_build.pat({1: 0x20}), ts_build.pmt(VIDEO, program=1)
    chooser.push(0, pat)
    chooser.push(0x20, pmt)
    for count in (1, 2, 3):
        chooser.push(0x20, pmt[:-1] + b"\0")
        assert chooser.drops == {"ts-section-crc": count}


def test_a_pat_in_parts() -> None:
    chooser = Chooser()
    chooser.push(0, ts_build.pat({1: 0x20}, number=0, last=1))
    assert chooser.chooser.pids == {0}
    chooser.push(0, ts_build.pat({2: 0x21}, number=1, last=1))
    assert chooser.chooser.pids == {0, 0x20, 0x21}


def test_damage_is_counted_and_changes_nothing() -> None:
    chooser = Chooser()
    pat = ts_build.pat({1: 0x20})
    chooser.push(0, pat[:-1] + b"\0")
    assert chooser.drops == {"ts-section-crc": 1}
    assert chooser.chooser.pids == {0}
