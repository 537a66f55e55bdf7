"""MPEG-TS in: bytes become tracks and units; ISO/IEC 13818-1.

The walk of a packet:

    sync.py       bytes -> packets, whatever the cut, with junk and damage in between
    here          header; runs of packets of one PID that are nothing but payload are taken at once
    program.py    PAT, PMT -> which program, and what is in it
    assembly.py   packets of a PID -> PES packets, none of which lost anything
    clock.py      33-bit times -> integers that never wrap
    elementary/   PES packets -> access units and frames

While nobody wants its frames a stream is only skimmed: `skim.py`.

Nothing here raises for what a peer sends: what is dropped is counted by `on_drop`, by reasons that
begin with `ts-` or with the name of the elementary stream's syntax.
"""

from flux.base.twins import twin
from media.frame import NO_TIME
from media.mpegts import bulk
from media.mpegts.assembly import OnDrop, PesAssembler
from media.mpegts.bulk import ERROR_OR_START, HEADER_BYTES, PACKET_BYTES
from media.mpegts.clock import ProgramClock
from media.mpegts.elementary.track import TrackReader
from media.mpegts.events import TracksChanged, TsEvent, TsHead, TsTrack
from media.mpegts.program import ProgramChooser
from media.mpegts.skim import Block, SkimLog, is_start
from media.mpegts.stream_types import carries_pes
from media.mpegts.sync import PacketSync
from media.mpegts.tables import Entry

MAX_TRACKS = 32
MAX_OPEN_BYTES = 32 << 20  # of all PES packets that are open
FIRST_PID, NULL_PID = 0x10, 0x1FFF  # those below are tables, 2.4.3.3
UNSURE_PACKETS = 16  # a gap of so many may look like none

_runs = twin(bulk.runs)


class _TableReader:
    """A PID of PAT or PMTs."""

    __slots__ = ("counter", "has_clock", "is_broken", "pid", "plain")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.plain = -1  # never in a run
        self.counter = -1
        self.has_clock = False
        self.is_broken = False


class TsDemuxer:
    """One transport stream in. `feed` answers what it brought, in order."""

    def __init__(self, on_drop: OnDrop, *, program: int | None = None) -> None:
        """`program` is the number of the one to read; None: the first one with media."""
        self._on_drop = on_drop
        self._sync = PacketSync(self._read_block, on_drop)
        self._chooser = ProgramChooser(program, on_drop)
        self._pids: dict[int, PesAssembler | _TableReader] = {}
        self._readers: dict[int, TrackReader] = {}  # by PID
        self._events: list[TsEvent] = []
        self._arrived = 0.0
        self._clock = ProgramClock()
        self._pcr_pid = NULL_PID
        self._number = 0  # of the program
        self._is_to_skim = False
        self._is_rereading = False  # what the log held
        self._log: SkimLog | None = None  # while it skims
        self._block = Block(b"", 0, 0, PACKET_BYTES, 0.0)  # that is being read
        self._place = 0  # of its first packet in the log
        self._index = 0  # in it, of the packet that is being read
        self.packets = 0  # with sync byte
        self._set_pids()

    @property
    def tracks(self) -> tuple[TsTrack, ...]:
        """The tracks of the program, in the order of its PMT."""
        return tuple(reader.track for reader in self._readers.values())

    @property
    def junk_bytes(self) -> int:
        """Bytes that stood where no packet was."""
        return self._sync.junk_bytes

    @property
    def log(self) -> SkimLog | None:
        """What is not taken apart, while it skims."""
        return self._log

    def close(self) -> None:
        """Forget what is not whole. Its parts, which hold this, are let go."""
        self._on_drop = _ignore
        self._sync = PacketSync(_pass_over, _ignore)
        self._chooser = ProgramChooser(None, _ignore)
        self._pids.clear()
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
        self._log = None
        self._is_to_skim = False
        self._events = []

    def feed(self, data: bytes, arrived: float, *, is_datagram: bool = False) -> list[TsEvent]:
        """Take bytes that arrived at `arrived`, cut anywhere.

        `is_datagram`: what came before may not go on here, since datagrams get lost.
        """
        events = self._events = []
        self._arrived = arrived
        self._sync.feed(data, is_datagram=is_datagram)
        return events

    def gap(self, packets: int) -> list[TsEvent]:
        """So many packets or more are known to be missing here.

        The continuity counters see that by themselves, unless it may be sixteen of one PID.
        """
        events = self._events = []
        self._sync.gap()
        if packets >= UNSURE_PACKETS:
            for reader in self._pids.values():
                if isinstance(reader, PesAssembler):
                    reader.lose("ts-packet-loss")
                else:
                    self._chooser.lost(reader.pid)
        return events

    def settle(self) -> list[TsEvent]:
        """Streams that have not shown what they are will be opaque."""
        events = self._events = []
        for reader in self._readers.values():
            reader.settle()
        return events

    def flush(self) -> list[TsEvent]:
        """The stream has ended, and not in the middle: what is open is complete."""
        events = self._events = []
        self._sync.flush()
        for pid, reader in self._readers.items():
            assembler = self._pids[pid]
            if isinstance(assembler, PesAssembler):
                assembler.flush()
            reader.flush()
        return events

    # -- skimming ----------------------------------------------------------------------------

    def skim(self) -> None:
        """Skim from the next place on where a decoder can start, if that can be done."""
        self._is_to_skim = True

    def read_on(self) -> list[TsEvent]:
        """Take everything apart again, and what the log holds first.

        Drops that this tells of have been told of before.
        """
        events = self._events = []
        self._take_log(None)
        return events

    def _take_log(self, end: int | None) -> None:
        """Take apart what the log holds, and skim no longer; `end`: a place to stop at."""
        self._is_to_skim = False
        log, self._log = self._log, None
        if log is None:
            return
        for head in log.heads:
            units, size = -head.units, -head.size_bytes
            self._put(TsHead(head.track, units, size, NO_TIME, is_start=False, place=0))
        for reader in self._pids.values():
            if isinstance(reader, PesAssembler):
                reader.read_on()
        for track in self._readers.values():
            track.lost()
        arrived, self._is_rereading = self._arrived, True
        for block in log.blocks(end):
            self._arrived = block.arrived
            self._read(block)
        self._arrived, self._is_rereading = arrived, False

    def _begin_to_skim(self) -> None:
        """The packet that is being read begins a picture that a decoder can start with."""
        readers = self._readers.values()
        if any(reader.unit_ticks is None for reader in readers):
            return
        self._is_to_skim = False
        log = self._log = SkimLog()
        self._place = log.add(self._block.after(self._index)) - self._index
        for pid, reader in self._readers.items():
            assembler = self._pids[pid]
            if isinstance(assembler, PesAssembler):
                assembler.skim(reader.skim)

    def _mark(self, reader: PesAssembler, packet: bytes, at: int) -> bool:
        """Tell a reader of the packet that comes, with which a PES packet begins; whether a
        decoder can start there."""
        track = self._readers[reader.pid].track
        is_random_access = at > HEADER_BYTES + 1 and packet[5] & 0x40 != 0
        can_start = self._is_lead(track) and (
            is_random_access or is_start(track.codec, packet[at:])
        )
        # Where there is no log it may begin here.
        place = self._place + self._index if self._log is not None else int(can_start)
        reader.mark = place << 1 | can_start
        return can_start

    def _is_lead(self, track: TsTrack) -> bool:
        """Whether this is the first one with pictures."""
        videos = (each.track for each in self._readers.values() if each.is_video)
        return next(videos, None) is track

    # -- packets -----------------------------------------------------------------------------

    def _read_block(self, data: bytes, start: int, count: int) -> None:
        """Read `count` packets of `data`; see `PacketSync`."""
        self.packets += count
        block = self._block = Block(data, start, count, self._sync.stride, self._arrived)
        if self._log is not None:
            self._place = self._log.add(block)
        self._read(block)

    def _read(self, block: Block) -> None:
        data, start, stride = block.data, block.start, block.stride
        pids = self._pids
        for row in _runs(data, start, block.count, stride):
            index, pid, one, three, run = row
            at = start + index * stride
            while run:
                reader = pids.get(pid)
                if reader is None:
                    break
                is_plain = three == reader.plain and not one & ERROR_OR_START
                if is_plain and isinstance(reader, PesAssembler):
                    reader.run(data, at, run, stride)
                    break
                self._index = index
                self._read_packet(reader, one, three, data[at : at + PACKET_BYTES])
                run -= 1
                if run:
                    index += 1
                    at += stride
                    three = data[at + 3]

    def _read_packet(
        self, reader: PesAssembler | _TableReader, one: int, three: int, packet: bytes
    ) -> None:
        """Read a packet that is not just more payload."""
        if one & 0x80:
            self._on_drop("ts-transport-error")
            return
        at = HEADER_BYTES
        if three & 0x20:
            length = packet[4]
            at += 1 + length
            if at > PACKET_BYTES - bool(three & 0x10):
                self._on_drop("ts-adaptation-malformed")
                return
            if length:
                flags = packet[5]
                if flags & 0x80:
                    reader.is_broken = True
                if flags & 0x10 and reader.has_clock and length >= 7:
                    self._clock.tick(int.from_bytes(packet[6:11], "big") >> 7)
        if not three & 0x10:
            return
        if self._is_rereading and isinstance(reader, _TableReader):
            return  # it is known, and may be old
        counter = three & 15
        if three & 0xC0:
            self._on_drop("ts-scrambled")
            if isinstance(reader, PesAssembler):
                reader.scrambled(counter)
            return
        is_first = bool(one & 0x40)
        if isinstance(reader, PesAssembler):
            is_skimmed = is_first and (self._is_to_skim or self._log is not None)
            can_start = is_skimmed and self._mark(reader, packet, at)
            reader.packet(packet[at:], is_first, counter, self._arrived)
            if can_start and self._is_to_skim:
                self._begin_to_skim()
        else:
            self._read_table(reader, packet[at:], is_first, counter)

    def _read_table(
        self, reader: _TableReader, payload: bytes, is_start: bool, counter: int
    ) -> None:
        if counter == reader.counter:
            return  # a duplicate
        if reader.counter >= 0 and counter != reader.counter + 1 & 15:
            self._chooser.lost(reader.pid)
        reader.counter = counter
        if self._chooser.push(reader.pid, payload, is_start):
            self._take_log(self._place + self._index)  # with the tables that it came with
            self._set_pids()

    # -- tables ------------------------------------------------------------------------------

    def _set_pids(self) -> None:
        """PAT or PMT changed: follow these PIDs from now on."""
        chosen = self._chooser.chosen
        tables = self._chooser.pids
        entries: dict[int, Entry] = {}
        for entry in chosen.entries if chosen is not None else ():
            is_usable = FIRST_PID <= entry.pid < NULL_PID and entry.pid not in tables
            if not is_usable or entry.pid in entries or not carries_pes(entry):
                continue
            if len(entries) < MAX_TRACKS:
                entries[entry.pid] = entry
            else:
                self._on_drop("ts-too-many-tracks")
        before = list(self._readers.values())
        kept = {r.track.pid: r for r in before if entries.get(r.track.pid) == r.track.entry}
        self._readers = {
            pid: kept.get(pid) or TrackReader(entry, self._clock, self._put, self._on_drop)
            for pid, entry in entries.items()
        }
        old = dict(self._pids)
        pids = self._pids
        pids.clear()
        for pid in tables:
            table = old.get(pid)
            pids[pid] = table if isinstance(table, _TableReader) else _TableReader(pid)
        for pid, reader in self._readers.items():
            assembler = old.get(pid) if pid in kept else None
            pids[pid] = assembler or PesAssembler(
                pid,
                reader.take,
                reader.lost,
                self._on_drop,
                self._may_grow,
                is_video=reader.is_video,
                salvages=reader.is_audio,
            )
        self._set_clock(chosen.pcr_pid if chosen is not None else NULL_PID)
        number = chosen.program if chosen is not None else 0
        if list(self._readers.values()) != before or number != self._number:
            self._number = number
            self._put(TracksChanged(number, self.tracks))

    def _set_clock(self, pcr_pid: int) -> None:
        """The program clock comes on this PID."""
        if pcr_pid not in self._pids and pcr_pid != NULL_PID:
            self._pids[pcr_pid] = _TableReader(pcr_pid)  # what else is on it, nobody reads
        for pid, reader in self._pids.items():
            reader.has_clock = pid == pcr_pid

    def _may_grow(self) -> bool:
        """Whether open PES packets may take more memory."""
        return (
            sum(
                reader.size_bytes
                for reader in self._pids.values()
                if isinstance(reader, PesAssembler)
            )
            <= MAX_OPEN_BYTES
        )

    def _put(self, event: TsEvent) -> None:
        if type(event) is TsHead and self._log is not None:
            self._log.note(event)
        self._events.append(event)


def _pass_over(data: bytes, start: int, count: int) -> None:
    """Of a demuxer that is closed."""


def _ignore(reason: str) -> None:
    """Of a demuxer that is closed."""
