"""Step 2 of a frame's walk: parameter sets are taken out of the payload and kept by id.

Outputs put the sets where their format wants them (sequence header, before a key frame, in band),
so a payload carries pictures only: no parameter sets, no access unit delimiters, no filler. A set
whose content differs from the kept one of its id makes a new, higher version of the parameters.
Where the access unit is no key frame, the changed set also stays in band there, since outputs will
not repeat the sets before it.

An access unit without any slice shows nothing and comes back empty. quirk: cameras that set the
marker on every NAL unit (RFC 6184 section 5.1 wants it on the last of the picture only) send their
sets as units of their own: a set that changed in one is put in band into the next picture, unless
that is a key frame.

AAC whose configuration comes in band (LATM, ADTS) is a payload of two pieces, AudioSpecificConfig
and frame, wherever the configuration may be a new one; frames alone go on with the last one. MP3,
AC-3 and E-AC-3 have their parameters in the header of each frame. AV1, VP8, VP9 and MJPEG are in
`picture_tracker`.
"""

from collections.abc import Callable
from dataclasses import replace

from flux.base.bits import BitReader
from flux.base.errors import WireError
from media.codecs import h264, h265_sets
from media.codecs.aac import AacParameters
from media.codecs.ac3 import Ac3Parameters
from media.codecs.eac3 import Eac3Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.codecs.inspection import Inspected as Inspected
from media.codecs.inspection import ParameterTracker as ParameterTracker
from media.codecs.mjpeg import MjpegParameters
from media.codecs.mp3 import Mp3Parameters
from media.codecs.nal import MAX_PARSED_BYTES, has_sei_message, unescape
from media.codecs.picture_tracker import Av1Tracker, KeyFrameReader, KeyFrameTracker
from media.codecs.vp8 import Vp8Parameters
from media.codecs.vp9 import Vp9Parameters
from media.parameters import Parameters
from media.track import AAC, AC3, AV1, EAC3, H264, H265, MJPEG, MP3, VP8, VP9, Track

RECOVERY_POINT = 6  # SEI payloadType, H.264 section D.1.8
MAX_SEEN_HEADS = 256
INTRA_SLICE_TYPES = frozenset((2, 4, 7, 9))  # I and SI, H.264 table 7-6


class PassTracker:
    """The tracker of audio and of codecs that FLUX does not know: every payload is a key."""

    __slots__ = ("broken", "parameters")

    def __init__(self, parameters: Parameters | None) -> None:
        self.parameters = parameters
        self.broken = 0

    def inspect(self, payload: tuple[bytes, ...]) -> Inspected:
        """The payload as it is."""
        return Inspected(payload, True, False)


SetReader = Callable[[bytes], int]


def _read_sps_id(nal: bytes) -> int:
    return h264.parse_sps(nal).id


def _read_h265_vps_id(nal: bytes) -> int:
    return h265_sets.parse_vps(nal).id


def _read_h265_sps_id(nal: bytes) -> int:
    return h265_sets.parse_sps(nal).id


class _SetTracker:
    """What the trackers of H.264 and H.265 have in common: the sets by kind and id."""

    __slots__ = ("_known", "_pending", "_readers", "_sets", "broken", "parameters")

    parameters: Parameters | None

    def __init__(self, readers: dict[int, SetReader]) -> None:
        self._readers = readers
        # Ids are bounded by the specifications (their readers check), so this is bounded too.
        self._sets: dict[int, dict[int, bytes]] = {kind: {} for kind in readers}
        self._known: set[bytes] = set()  # all kept sets: one look-up tells that nothing changed
        self._pending: dict[tuple[int, int], bytes] = {}  # changed, no picture seen since
        self.broken = 0
        self.parameters = None

    def _build(self, version: int) -> Parameters:
        raise NotImplementedError

    def _keep(self, kind: int, nals: tuple[bytes, ...]) -> None:
        """Start with sets that are known from elsewhere."""
        for nal in nals:
            self._store(kind, nal)
        self._pending.clear()

    def _store(self, kind: int, nal: bytes) -> bool:
        """Keep a set; tell whether it is new."""
        nal = nal.rstrip(b"\0")  # quirk: padded sets; trailing zeros are no part of a NAL unit
        content = bytes((kind,)) + nal[1:]  # nal_ref_idc may differ: it is no content
        if content in self._known:
            return False
        try:
            set_id = self._readers[kind](nal)
        except WireError:
            self.broken += 1
            return False
        sets = self._sets[kind]
        if set_id in sets:
            self._known.discard(bytes((kind,)) + sets[set_id][1:])
        self._known.add(content)
        sets[set_id] = nal
        self._pending[kind, set_id] = nal
        return True

    def _rebuild(self) -> bool:
        """Make new parameters of the kept sets; tell whether there are any."""
        version = self.parameters.version + 1 if self.parameters else 0
        try:
            self.parameters = self._build(version)
        except WireError:
            return False  # a kind of set is still missing
        return True

    def _finish(
        self, pictures: list[bytes], has_slice: bool, key: bool, changed: bool
    ) -> Inspected:
        """The end of a payload that was more than plain slices."""
        if changed:
            changed = self._rebuild()
        if not has_slice:
            return Inspected((), False, changed)
        if self._pending:
            if not key:
                pictures = [*self._pending.values(), *pictures]
            self._pending.clear()
        return Inspected(tuple(pictures), key, changed)


class H264Tracker(_SetTracker):
    """Tracks SPS and PPS of H.264."""

    __slots__ = ()

    def __init__(self, parameters: Parameters | None) -> None:
        super().__init__({h264.NAL_SPS: _read_sps_id, h264.NAL_PPS: h264.parse_pps_id})
        if isinstance(parameters, H264Parameters):
            self._keep(h264.NAL_SPS, parameters.sps)
            self._keep(h264.NAL_PPS, parameters.pps)
            self.parameters = parameters

    def _build(self, version: int) -> Parameters:
        sps, pps = self._sets[h264.NAL_SPS], self._sets[h264.NAL_PPS]
        return H264Parameters.build(tuple(sps.values()), tuple(pps.values()), version)

    def inspect(self, payload: tuple[bytes, ...]) -> Inspected:
        """Take SPS, PPS, AUD and filler out; key: IDR, or recovery point with an I slice."""
        for nal in payload:
            if not nal or nal[0] & 31 != h264.NAL_SLICE:
                return self._sort(payload)
        if self._pending:
            return self._finish(list(payload), bool(payload), False, False)
        return Inspected(payload, False, False)

    def _sort(self, payload: tuple[bytes, ...]) -> Inspected:
        pictures: list[bytes] = []
        has_slice = is_idr = is_recovery = has_intra = changed = False
        for nal in payload:
            kind = nal[0] & 31 if nal else h264.NAL_FILLER
            if kind in (h264.NAL_SPS, h264.NAL_PPS):
                changed |= self._store(kind, nal)
                continue
            if kind in (h264.NAL_AUD, h264.NAL_FILLER):
                continue
            pictures.append(nal)
            if kind == h264.NAL_IDR:
                has_slice = is_idr = True
            elif 0 < kind < h264.NAL_IDR:
                has_slice = True
                has_intra = has_intra or (is_recovery and _is_intra(nal))
            elif kind == h264.NAL_SEI:
                is_recovery = is_recovery or _has_recovery_point(nal)
        return self._finish(pictures, has_slice, is_idr or has_intra, changed)


def _has_recovery_point(sei: bytes) -> bool:
    front = sei[1:MAX_PARSED_BYTES]
    return RECOVERY_POINT in front and has_sei_message(unescape(front), RECOVERY_POINT)


def _is_intra(nal: bytes) -> bool:
    """Tell whether a slice is an I or SI slice, H.264 section 7.3.3."""
    reader = BitReader(unescape(nal[1:16]))
    try:
        reader.golomb()  # first_mb_in_slice
        return reader.golomb() in INTRA_SLICE_TYPES
    except WireError:
        return False


class H265Tracker(_SetTracker):
    """Tracks VPS, SPS and PPS of H.265."""

    __slots__ = ()

    def __init__(self, parameters: Parameters | None) -> None:
        super().__init__(
            {
                h265_sets.NAL_VPS: _read_h265_vps_id,
                h265_sets.NAL_SPS: _read_h265_sps_id,
                h265_sets.NAL_PPS: h265_sets.parse_pps_id,
            }
        )
        if isinstance(parameters, H265Parameters):
            self._keep(h265_sets.NAL_VPS, parameters.vps)
            self._keep(h265_sets.NAL_SPS, parameters.sps)
            self._keep(h265_sets.NAL_PPS, parameters.pps)
            self.parameters = parameters

    def _build(self, version: int) -> Parameters:
        vps, sps, pps = (tuple(sets.values()) for sets in self._sets.values())
        return H265Parameters.build(vps, sps, pps, version)

    def inspect(self, payload: tuple[bytes, ...]) -> Inspected:
        """Take VPS, SPS, PPS, AUD and filler out; key: IDR, CRA and BLA (types 16 to 21)."""
        for nal in payload:
            if not nal or nal[0] >= h265_sets.NAL_BLA_W_LP << 1:
                return self._sort(payload)
        if self._pending:
            return self._finish(list(payload), bool(payload), False, False)
        return Inspected(payload, False, False)

    def _sort(self, payload: tuple[bytes, ...]) -> Inspected:
        pictures: list[bytes] = []
        has_slice = key = changed = False
        for nal in payload:
            kind = nal[0] >> 1 & 63 if nal else h265_sets.NAL_FILLER
            if h265_sets.NAL_VPS <= kind <= h265_sets.NAL_PPS and not _layer(nal):
                changed |= self._store(kind, nal)
                continue
            if kind in (h265_sets.NAL_AUD, h265_sets.NAL_FILLER):
                continue
            pictures.append(nal)
            if kind < h265_sets.NAL_VPS:
                has_slice = True
                key = key or h265_sets.NAL_BLA_W_LP <= kind <= h265_sets.NAL_CRA
        return self._finish(pictures, has_slice, key, changed)


def _layer(nal: bytes) -> int:
    """nuh_layer_id: sets of enhancement layers have ids of their own and stay where they are."""
    return (nal[0] & 1) << 5 | nal[1] >> 3 if len(nal) > 1 else 0


class AacTracker:
    """Takes the AudioSpecificConfig out of payloads that bring one."""

    __slots__ = ("_clock_rate", "_config", "broken", "parameters")

    parameters: Parameters | None

    def __init__(self, parameters: Parameters | None, clock_rate: int) -> None:
        self.parameters = parameters
        self.broken = 0
        self._clock_rate = clock_rate
        self._config = parameters.config if isinstance(parameters, AacParameters) else b""

    def inspect(self, payload: tuple[bytes, ...]) -> Inspected:
        """The frame; changed where a configuration with other content came with it."""
        if len(payload) < 2:
            return Inspected(payload, True, False)
        config, *frames = payload
        changed = False
        if config != self._config:
            version = self.parameters.version + 1 if self.parameters else 0
            try:
                self.parameters = AacParameters.build(config, self._clock_rate, version)
            except WireError:
                self.broken += 1
            else:
                self._config = config
                changed = True
        return Inspected(tuple(frames), True, changed)


HeaderReader = Callable[[bytes, int, int], Parameters]  # of frame, clock rate and version


class HeaderTracker:
    """The tracker of codecs whose every frame begins with a header that says it all.

    The bytes of a header that were seen to mean what holds are remembered: those of a variable bit
    rate or of frames that take turns differ, and few frames are read.
    """

    __slots__ = ("_clock_rate", "_head", "_read", "_seen", "broken", "parameters")

    parameters: Parameters | None

    def __init__(
        self, parameters: Parameters | None, clock_rate: int, read: HeaderReader, head: slice | None
    ) -> None:
        """`head`: the bytes of a frame that its parameters depend on; None: nothing less than all.

        None costs a reading of each frame.
        """
        self.parameters = parameters
        self.broken = 0
        self._clock_rate = clock_rate
        self._read = read
        self._head = head
        self._seen: set[bytes] = set()

    def inspect(self, payload: tuple[bytes, ...]) -> Inspected:
        """The payload as it is; changed where its header says something new."""
        frame = payload[0] if payload else b""
        head = frame[self._head] if self._head else b""
        if head and head in self._seen:
            return Inspected(payload, True, False)
        old = self.parameters
        try:
            found = self._read(frame, self._clock_rate, old.version if old else 0)
        except WireError:
            self.broken += 1
            return Inspected(payload, True, False)
        changed = found != old
        if changed:
            self.parameters = replace(found, version=old.version + 1) if old else found
        if changed or len(self._seen) >= MAX_SEEN_HEADS:
            self._seen.clear()
        if head:
            self._seen.add(head)
        return Inspected(payload, True, changed)


# An E-AC-3 access unit has a header for each of its substreams.
HEADERS: dict[str, tuple[HeaderReader, slice | None]] = {
    MP3: (Mp3Parameters.from_frame, slice(1, 4)),
    AC3: (Ac3Parameters.from_frame, slice(4, 7)),
    EAC3: (Eac3Parameters.from_frame, None),
}

KEY_FRAMES: dict[str, KeyFrameReader] = {
    VP8: Vp8Parameters.read,
    VP9: Vp9Parameters.read,
    MJPEG: MjpegParameters.read,
}

TRACKERS: dict[str, Callable[[Parameters | None], ParameterTracker]] = {
    H264: H264Tracker,
    H265: H265Tracker,
    AV1: Av1Tracker,
}


def tracker_for(track: Track) -> ParameterTracker:
    """A tracker for a track's codec, starting with the parameters that the track has."""
    if track.codec == AAC:
        return AacTracker(track.parameters, track.clock_rate)
    if track.codec in HEADERS:
        return HeaderTracker(track.parameters, track.clock_rate, *HEADERS[track.codec])
    if track.codec in KEY_FRAMES:
        return KeyFrameTracker(track.parameters, KEY_FRAMES[track.codec])
    return TRACKERS.get(track.codec, PassTracker)(track.parameters)
