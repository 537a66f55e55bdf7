"""Which program of a transport stream is read: PAT, then PMTs, then a choice.

Without a wish it is the first program of the PAT that lists streams other than sections. PMTs come
in any order: such a program is taken at once if every one before it in the PAT has shown that it
has none, else when its PMT comes for the second time, since the others would have come by then.
"""

from collections.abc import Callable
from dataclasses import dataclass

from flux.base.errors import WireError
from media.mpegts.stream_types import carries_pes
from media.mpegts.tables import (
    MAX_PROGRAMS,
    PAT_TABLE_ID,
    PMT_TABLE_ID,
    Pmt,
    Section,
    SectionReader,
    parse_pat,
    parse_pmt,
)

PAT_PID = 0


@dataclass(slots=True)
class _Listed:
    """A program of the PAT."""

    pid: int
    reader: SectionReader
    pmt: Pmt | None = None
    last: bytes = b""  # the section that `pmt` was read from
    times: int = 0  # that a PMT came


class ProgramChooser:
    """Reads PAT and PMTs; `chosen` is the map of the program that is read, if there is one."""

    def __init__(self, wanted: int | None, on_drop: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._on_drop = on_drop
        self._pat = SectionReader()
        self._pat_parts: dict[int, Section] = {}
        self._last_pat = b""
        self._programs: dict[int, _Listed] = {}
        self._number: int | None = None  # of the chosen program
        # By PID the last payload, if it held whole tables, and the same again changes nothing.
        self._known: dict[int, bytes] = {}
        self.chosen: Pmt | None = None

    @property
    def pids(self) -> set[int]:
        """The PIDs whose payload is wanted here."""
        return {PAT_PID, *(listed.pid for listed in self._programs.values())}

    def lost(self, pid: int) -> None:
        """A packet of one of the PIDs is missing."""
        self._known.pop(pid, None)
        if pid == PAT_PID:
            self._pat.reset()
        for listed in self._programs.values():
            if listed.pid == pid:
                listed.reader.reset()

    def push(self, pid: int, payload: bytes, is_start: bool) -> bool:
        """Take a packet's payload; whether PIDs or the chosen map are other ones now."""
        if self._known.get(pid) == payload:
            return False
        self._known.pop(pid, None)
        reader = self._pat if pid == PAT_PID else self._reader_of(pid)
        if reader is None:
            return False
        try:
            sections = reader.push(payload, is_start)
            is_pat = pid == PAT_PID
            changed = self._read_pat(sections) if is_pat else self._read_pmt(pid, sections)
        except WireError as error:
            self._on_drop(error.reason)
            return False
        if changed:
            self._known.clear()
        elif is_start and self.chosen is not None and not reader.is_open:
            self._known[pid] = payload
        return changed

    def _reader_of(self, pid: int) -> SectionReader | None:
        """Of the PMTs on a PID."""
        return next((each.reader for each in self._programs.values() if each.pid == pid), None)

    def _read_pat(self, sections: list[bytes]) -> bool:
        changed = False
        for data in sections:
            if data == self._last_pat:
                continue
            section = Section.parse(data)
            if section.table_id != PAT_TABLE_ID or not section.is_current:
                continue
            parts = self._pat_parts
            if any(part.version != section.version for part in parts.values()):
                parts.clear()
            parts[section.number] = section
            if len(parts) <= section.last_number:
                continue
            self._last_pat = data if section.last_number == 0 else b""
            changed |= self._take_programs(
                {
                    number: pid
                    for index in sorted(parts)
                    for number, pid in parse_pat(parts[index]).items()
                }
            )
        return changed

    def _take_programs(self, programs: dict[int, int]) -> bool:
        """The PAT lists these PMT PIDs now."""
        if self._wanted is not None:
            programs = {n: pid for n, pid in programs.items() if n == self._wanted}
        old = self._programs
        if {n: listed.pid for n, listed in old.items()} == programs:
            return False
        self._programs = {}
        readers: dict[int, SectionReader] = {}  # several PMTs may share a PID
        for number, pid in list(programs.items())[:MAX_PROGRAMS]:
            kept = old.get(number)
            if kept is None or kept.pid != pid:
                kept = _Listed(pid, SectionReader())
            kept.reader = readers.setdefault(pid, kept.reader)
            self._programs[number] = kept
        if self._number is not None and self._number not in self._programs:
            self._number, self.chosen = None, None
            self._choose()
        return True

    def _read_pmt(self, pid: int, sections: list[bytes]) -> bool:
        changed = False
        for data in sections:
            if data[0] != PMT_TABLE_ID:
                continue
            number = data[3] << 8 | data[4] if len(data) > 4 else 0
            listed = self._programs.get(number)
            if listed is None or listed.pid != pid:
                continue
            if data != listed.last:
                section = Section.parse(data)
                if not section.is_current:
                    continue
                listed.pmt = parse_pmt(section)
                listed.last = data
                if number == self._number:
                    self.chosen = listed.pmt
                    changed = True
            listed.times += 1
            if self._number is None:
                changed |= self._choose()
        return changed

    def _choose(self) -> bool:
        """Choose a program if one can be chosen."""
        is_sure = True
        for number, listed in self._programs.items():
            if listed.pmt is None:
                is_sure = False
                continue
            has_media = self._wanted is not None or any(map(carries_pes, listed.pmt.entries))
            if has_media and (is_sure or listed.times > 1):
                self._number, self.chosen = number, listed.pmt
                return True
        return False
