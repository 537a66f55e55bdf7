"""One program as an MPEG-2 transport stream; ISO/IEC 13818-1.

**Time.** All tracks share one 90 kHz clock that stands at ten seconds at the first frame, so that
everything stays positive; it wraps at 33 bits (26.5 hours) in the packets and nowhere else.

**PCR.** The program clock may never be later than the DTS of anything still to come. It runs
`PCR_LEAD` before the frames, and since tracks come skewed but each in DTS order, it never passes
the last DTS of the track that is furthest behind. A track that lags `STALLED` more than it used to
has stopped and no longer counts; if it comes all the same, behind the clock, that is set anew once:
then its lag is known. Sound that runs ahead of the others waits here, since a decoder keeps no more
than a second of it (2.4.2.6). The PCR rides on the frames of its own PID (video if there is any);
where these are too far apart, packets with nothing but a PCR go in between.

**Breaks.** At a frame with `discontinuity` every PID gets discontinuity_indicator in its next
packet and the clock is set anew. The other tracks' first frames after the break, which carry the
same mark, belong to this break and start none of their own.
"""

from collections import deque
from collections.abc import Sequence

from flux.base.units import rescale
from media.codecs.aac import AacParameters
from media.codecs.mp3 import Mp3Parameters
from media.frame import NO_TIME, Frame
from media.mpegts import psi
from media.mpegts.bulk import PACKET_BYTES
from media.mpegts.carriage import carries_privately, private_stream
from media.mpegts.muxed_track import MuxedTrack, Pes
from media.mpegts.packet import NO_PCR, PacketWriter, adaptation_flags
from media.track import AAC, AC3, EAC3, H264, H265, MP3, Kind, Track

NAME = "ts"
CLOCK_HZ = 90_000
FIRST_DTS = 10 * CLOCK_HZ
PCR_LEAD = CLOCK_HZ // 5
PCR_MIN_LEAD = 1_800  # 20 ms
PCR_INTERVAL = 5_400  # 60 ms; with a frame's length on top still below the 100 ms of 2.7.2
PCR_MAX_GAP = 8_100  # 90 ms
STALLED = CLOCK_HZ * 7 // 10  # with PCR_MIN_LEAD and a usual lag less than what sound may wait
MAX_AHEAD = CLOCK_HZ * 6 // 10  # of sound before the track furthest behind
MAX_FILLED = 3 * CLOCK_HZ  # of a clock that stood; what is longer was silence
MAX_LAG = 8 * CLOCK_HZ  # that is made up for: H.264 and H.265 may wait ten seconds
LAG_DECAY = 8  # bits: of what a lag has shrunk by, so much less is forgotten a frame
TABLES_INTERVAL = 5_400
FIRST_PID = 0x100


_STREAM_TYPES = {
    H264: psi.STREAM_H264,
    H265: psi.STREAM_H265,
    AAC: psi.STREAM_AAC_ADTS,
    MP3: psi.STREAM_MPEG1_AUDIO,
    AC3: psi.STREAM_AC3,
    EAC3: psi.STREAM_EAC3,
}
_REGISTRATIONS = {AC3: psi.registration(b"AC-3"), EAC3: psi.registration(b"EAC3")}


def carries(codec: str) -> bool:
    """Whether these transport streams have a place for tracks of this codec."""
    return codec in _STREAM_TYPES


def carries_track(track: Track) -> bool:
    """Whether this very track has a place: of AAC, ADTS can only describe some object types."""
    parameters = track.parameters
    if isinstance(parameters, AacParameters) and not parameters.is_adts_possible:
        return False
    return carries(track.codec)


def carries_live(track: Track) -> bool:
    """The same for live outputs, which have a place for private data too."""
    return carries_track(track) or carries_privately(track)


def _stream(track: Track, pid: int) -> psi.Stream:
    """The track's entry of the PMT."""
    if carries_privately(track):
        return private_stream(track, pid)
    parameters = track.parameters
    stream_type = _STREAM_TYPES[track.codec]
    if isinstance(parameters, Mp3Parameters) and not parameters.is_mpeg1:
        stream_type = psi.STREAM_MPEG2_AUDIO
    return psi.Stream(pid, stream_type, _REGISTRATIONS.get(track.codec, b""))


class TsMuxer:
    """Turns frames into whole transport packets.

    PAT and PMT go before each video key frame and at least every `tables_interval` (in 90 kHz) as
    far as there are frames; 0 leaves only those before key frames and those asked for.
    """

    name = NAME

    def __init__(
        self,
        tracks: Sequence[Track],
        *,
        tables_interval: int = TABLES_INTERVAL,
        is_live: bool = False,
        origin: int | None = None,
    ) -> None:
        """`is_live`: carry what only live outputs carry as well.

        `origin`: where the zero of the tracks' time stands, the same for muxers of one programme's
        parts; None: where the first frame gets `FIRST_DTS`.
        """
        self._carries = carries_live if is_live else carries_track
        self._tables_interval = tables_interval
        self._writers: dict[int, PacketWriter] = {}  # by PID; counters outlive their tracks
        self._states: dict[Track, MuxedTrack] = {}
        self._version = -1
        self._tables: tuple[bytes, ...] = ()
        self._tables_counter = 0
        self._tables_due = True
        self._tables_at = NO_TIME
        self._tables_pcr = NO_PCR
        self._clock_due = False  # a PCR goes with the next frame, however little time passed
        self._clock_track: Track | None = None
        self._origin = origin  # what is added to a track's time in 90 kHz
        self._pcr = NO_PCR
        self._newest = NO_TIME  # greatest DTS that came since the last break
        self._behind = NO_TIME  # last DTS of the track furthest behind, when last looked at
        self._held: deque[tuple[MuxedTrack, int, Pes]] = deque()  # sound that waits: DTS, PES
        self.set_tracks(tracks)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks that are in the program."""
        return tuple(self._states)

    def set_tracks(self, tracks: Sequence[Track]) -> None:
        """Carry these tracks from now on: a new version of the PMT goes before the next frame."""
        kept = self._states
        carried = self._fitting(tracks)
        used = {kept[track].writer.pid for track in carried if track in kept}
        free = (pid for pid in range(FIRST_PID, psi.PMT_PID) if pid not in used)
        self._states = {track: kept.get(track) or self._add(track, next(free)) for track in carried}
        self._clock_track = next(
            (track for track in carried if track.kind is Kind.VIDEO), next(iter(carried), None)
        )
        for state in kept.values():
            state.is_listed = state.is_clock = False
        for state in self._states.values():
            state.is_listed = True
        if self._clock_track is not None:
            self._states[self._clock_track].is_clock = True
        self._version += 1
        streams = [_stream(track, state.writer.pid) for track, state in self._states.items()]
        pcr_pid = 0x1FFF  # 2.4.4.9: no PCR
        if self._clock_track is not None:
            pcr_pid = self._states[self._clock_track].writer.pid
        # Both counters go on where they are.
        counter, pmt_counter = self._tables_counter, 0
        if self._tables:
            pmt_counter = self._tables[counter][PACKET_BYTES + 3] & 15
        self._tables = psi.tables(streams, pcr_pid, self._version, counter, pmt_counter)
        self._tables_due = True

    def tables(self) -> bytes:
        """PAT and PMT of now for a reader that joins between them; counters stay as they are."""
        return self._tables[self._tables_counter - 1 & 15]

    def request_tables(self) -> None:
        """Put PAT, PMT and a PCR before the next frame, as at the start of a segment."""
        self._tables_due = self._clock_due = True

    def encode(self, frame: Frame) -> bytes:
        """The packets of one frame, with tables and clock before it where they are due.

        Empty for a track that is not carried, for a frame without payload, as long as the track's
        parameters are not known, and for sound that has to wait for pictures; it comes behind them.
        """
        track = frame.track
        state = self._states.get(track)
        if state is None or not frame.payload:
            return b""
        parameters = frame.parameters
        if parameters is not state.parameters and parameters is not None:
            state.take(parameters)
        if not state.is_ready:
            return b""
        pts, dts = frame.pts, frame.dts
        if track.clock_rate != CLOCK_HZ:
            pts = rescale(pts, track.clock_rate, CLOCK_HZ)
            dts = rescale(dts, track.clock_rate, CLOCK_HZ)
        origin = self._origin
        if origin is None:
            origin = self._origin = FIRST_DTS - dts
        dts += origin
        pts += origin
        if pts < dts:  # of a source that does not say how deep its B-frames are, at first
            pts = dts
        pes = state.pes(frame, pts, dts)
        if not pes:
            return b""
        out: list[bytes] = []
        if frame.discontinuity and state.last_dts != NO_TIME:
            self._release(out, is_forced=True)
            self._break()
        newest = self._newest
        if dts > newest:
            self._newest = newest = dts
        lag = newest - dts
        if lag < state.lag:
            state.lag -= state.lag - lag >> LAG_DECAY
        elif lag <= MAX_LAG:
            state.lag = lag
        if dts < self._pcr and lag <= MAX_LAG:  # nobody could know that it would lag so much
            self._break()
            self._newest = newest
        is_video = state.is_video
        if not is_video and (
            self._held
            or (dts - self._behind > MAX_AHEAD and dts - self._furthest_behind(state) > MAX_AHEAD)
        ):
            self._held.append((state, dts, pes))
        else:
            self._emit(state, dts, pes, out, is_key=is_video and frame.key)
        if self._held:
            self._release(out)
        return b"".join(out)

    def flush(self) -> bytes:
        """The sound that waits, where nothing else will come."""
        out: list[bytes] = []
        self._release(out, is_forced=True)
        return b"".join(out)

    def _emit(
        self, state: MuxedTrack, dts: int, pes: Pes, out: list[bytes], *, is_key: bool
    ) -> None:
        """Append the packets of one PES packet, and what has to go before them."""
        state.last_dts = dts
        is_access_point = is_key
        lead: list[bytes] = []
        interval = self._tables_interval
        is_late = interval > 0 and (
            dts - self._tables_at >= interval or self._pcr - self._tables_pcr >= interval
        )
        if is_key or self._tables_due or is_late:
            self._put_tables(dts, lead)
            is_access_point = is_access_point or not state.is_video
        pcr = self._advance_clock(state, dts, lead)
        flags = 0
        if is_access_point or state.is_broken:
            flags = adaptation_flags(is_access_point, state.is_broken)
            state.is_broken = False
        out.append(state.writer.write(pes, b"".join(lead), flags, pcr))

    def _release(self, out: list[bytes], *, is_forced: bool = False) -> None:
        """Append the sound that need not wait any more."""
        held = self._held
        while held:
            state, dts, pes = held[0]
            if not is_forced and dts - self._furthest_behind(state) > MAX_AHEAD:
                break
            held.popleft()
            if state.is_listed:
                self._emit(state, dts, pes, out, is_key=False)

    def _furthest_behind(self, apart_from: MuxedTrack | None = None) -> int:
        """The last DTS of the track that is furthest behind, of those that have not stopped."""
        newest = behind = self._newest
        for state in self._states.values():
            last = state.last_dts
            if last < behind and newest - last <= STALLED + state.lag and state is not apart_from:
                behind = last
        return behind

    def _put_tables(self, dts: int, out: list[bytes]) -> None:
        out.append(self._tables[self._tables_counter])
        self._tables_counter = self._tables_counter + 1 & 15
        self._tables_due = False
        self._tables_at = dts
        self._tables_pcr = self._pcr

    def _fitting(self, tracks: Sequence[Track]) -> list[Track]:
        """Those of the tracks that can be carried, as far as the PMT has room for them."""
        fitting: list[Track] = []
        room = psi.MAX_STREAMS_BYTES
        for track in tracks:
            if self._carries(track):
                size = _stream(track, 0).size_bytes
                if size <= room:
                    room -= size
                    fitting.append(track)
        return fitting

    def _add(self, track: Track, pid: int) -> MuxedTrack:
        writer = self._writers.get(pid)
        if writer is None:
            writer = self._writers[pid] = PacketWriter(pid)
        return MuxedTrack(track, writer)

    def _break(self) -> None:
        for state in self._states.values():
            state.last_dts = NO_TIME
            state.is_broken = True
        self._pcr = NO_PCR
        self._newest = self._behind = NO_TIME
        self._tables_due = True

    def _advance_clock(self, state: MuxedTrack, dts: int, out: list[bytes]) -> int:
        """The PCR for the packets of this frame, or `NO_PCR`; packets of its own go to `out`."""
        pcr = self._newest - PCR_LEAD
        behind = self._furthest_behind()
        behind = self._behind = dts if dts < behind else behind
        if self._held and self._held[0][1] < behind:
            behind = self._held[0][1]
        if behind - PCR_MIN_LEAD < pcr:
            pcr = behind - PCR_MIN_LEAD
        last = self._pcr
        rides = state.is_clock
        is_due, self._clock_due = self._clock_due, False
        if last == NO_PCR:
            self._pcr = pcr
            if rides:
                return pcr
            self._send_clock(pcr, out)
            return NO_PCR
        gap = pcr - last
        if is_due and gap <= PCR_MAX_GAP:
            self._pcr = max(pcr, last + 1)
            if not rides:
                self._send_clock(self._pcr, out)
            return self._pcr if rides else NO_PCR
        if gap > PCR_MAX_GAP:
            if gap <= MAX_FILLED:
                for between in range(last + PCR_INTERVAL, pcr, PCR_INTERVAL):
                    if self._tables_interval:
                        self._put_tables(self._tables_at, out)
                    self._send_clock(between, out)
            if not rides:
                self._send_clock(pcr, out)
            self._pcr = pcr
        elif rides:
            if gap <= 0:
                return NO_PCR
            self._pcr = pcr
        elif gap >= PCR_INTERVAL:
            self._send_clock(pcr, out)
            self._pcr = pcr
        return pcr if rides else NO_PCR

    def _send_clock(self, pcr: int, out: list[bytes]) -> None:
        if self._clock_track is None:
            return
        state = self._states[self._clock_track]
        flags = 0
        if state.is_broken:
            flags = adaptation_flags(False, True)
            state.is_broken = False
        out.append(state.writer.clock_packet(pcr, flags))
