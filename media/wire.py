"""The one form in which frames travel between processes and machines, over a stream socket.

A connection is a sequence of messages, all numbers big-endian:

    0               1                               5
    +---------------+-------------------------------+----------------
    | type (8 bits) | length of the body (32 bits)  | body ...
    +---------------+-------------------------------+----------------

    HELLO   4 bytes "FLUX", version (16), name of the stream (8 length, UTF-8)
    TRACKS  count (8), then as many announcements: the whole set, before the first frame
    TRACK   one announcement: new parameters of a track, before the first frame that needs them
    FRAME   track (16), flags (8), count of NALs (16), pts (64), dts (64), ntp (64),
            length of each NAL (32), then the NALs one after the other
    DROP    track (16, 0xffff: the stream), count (32), reason (8 length, ASCII)
    BYE     reason (8 length, ASCII); nothing follows

    announcement: id (16), kind (8), channels (8), clock rate (32), version of the parameters (32),
            codec (8 length, ASCII), count of configuration items (16), each 32 length and bytes

HELLO comes first, then TRACKS, then the rest in any order. A message type that is not known is
kept as `Unknown`, so that a later version can say more. Timestamp 0 is the same instant on every
track of a connection, so tracks are aligned without any other word.

Pure: no socket, no clock. `Decoder` takes bytes as they come and never holds more than one message.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct, pack
from typing import Any

from flux.base.errors import StateError, WireError
from media.track import Kind

VERSION = 1
MAGIC = b"FLUX"
MAX_FRAME_BYTES = 16 << 20  # body of one FRAME
MAX_CONTROL_BYTES = 1 << 20  # body of any other message
MAX_TRACKS = 64
MAX_NALS = 1024  # of one access unit
MAX_CONFIGURATION_ITEMS = 512  # 32 SPS, 256 PPS and 16 VPS fit
WHOLE_STREAM = 0xFFFF  # track of a DROP that belongs to no track

FLAG_KEY = 1
FLAG_DISCONTINUITY = 2

HELLO, TRACKS, TRACK, FRAME, DROP, BYE = range(1, 7)

HEADER = Struct("!BI")  # type, length of the body
HELLO_FIXED = Struct("!4sH")
ANNOUNCEMENT_FIXED = Struct("!HBBII")
FRAME_FIXED = Struct("!HBHqqQ")
FRAME_WHOLE = Struct("!BIHBHqqQ")  # header and fixed part in one
LENGTHS = tuple(Struct(f"!{count}I") for count in range(9))  # of most access units
DROP_FIXED = Struct("!HI")
LENGTH_16 = Struct("!H")
LENGTH_32 = Struct("!I")

KIND_CODES = {Kind.VIDEO: 0, Kind.AUDIO: 1, Kind.DATA: 2}
KINDS = {code: kind for kind, code in KIND_CODES.items()}
SLUG = re.compile(rb"[a-z0-9][a-z0-9-]{0,63}")  # reasons become metric labels
CODEC = re.compile(rb"[a-z0-9][a-z0-9._/+-]{0,63}")


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message."""

    version: int
    name: str  # of the stream; may be empty where the receiver knows it


@dataclass(frozen=True, slots=True)
class Announcement:
    """One track. `configuration` is what its codec needs before the first frame: the parameter
    NAL units (H.264: SPS, PPS; H.265: VPS, SPS, PPS), one AudioSpecificConfig (AAC), the format
    parameters of a payload format that is not known, nothing (Opus, G.711). See
    `media/announcement.py`.
    """

    id: int
    kind: Kind
    codec: str
    clock_rate: int  # Hz of pts and dts
    channels: int = 0  # of sound; 0 for anything else
    version: int = 0  # of the parameters
    configuration: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Tracks:
    """The whole set of tracks."""

    tracks: tuple[Announcement, ...]


@dataclass(frozen=True, slots=True)
class TrackChanged:
    """New parameters of one track of the set."""

    track: Announcement


@dataclass(slots=True)
class WireFrame:
    """One frame. Read-only; not frozen because one is built per frame."""

    track_id: int
    flags: int  # FLAG_*
    pts: int  # ticks of the track's clock
    dts: int  # ticks; media.frame.NO_TIME where the sender has none
    ntp: int  # 64-bit NTP; 0 where the sender has none
    payload: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Dropped:
    """The sender left frames out."""

    track_id: int | None  # None: the whole stream
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Bye:
    """The sender ends."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message of a later version."""

    type: int
    body: bytes


Message = Hello | Tracks | TrackChanged | WireFrame | Dropped | Bye | Unknown


def serialize_hello(name: str, version: int = VERSION) -> bytes:
    """The HELLO message."""
    return _message(HELLO, HELLO_FIXED.pack(MAGIC, version) + _short(name.encode()))


def serialize_tracks(tracks: Sequence[Announcement]) -> bytes:
    """The TRACKS message: the whole set."""
    if len(tracks) > MAX_TRACKS:
        raise StateError(f"{len(tracks)} tracks do not fit one connection")
    return _message(TRACKS, bytes((len(tracks),)) + b"".join(map(_announcement, tracks)))


def serialize_track(track: Announcement) -> bytes:
    """The TRACK message: new parameters of one track."""
    return _message(TRACK, _announcement(track))


def serialize_frame(
    track_id: int, flags: int, pts: int, dts: int, ntp: int, payload: tuple[bytes, ...]
) -> bytes:
    """The FRAME message; the payload is copied once, by the join."""
    count = len(payload)
    lengths = [len(nal) for nal in payload]
    size = FRAME_FIXED.size + 4 * count + sum(lengths)
    if count > MAX_NALS or size > MAX_FRAME_BYTES:
        raise StateError(f"a frame of {count} NALs and {size} bytes does not fit")
    head = FRAME_WHOLE.pack(FRAME, size, track_id, flags, count, pts, dts, ntp)
    table = LENGTHS[count].pack(*lengths) if count < 9 else pack(f"!{count}I", *lengths)
    return b"".join((head, table, *payload))


def serialize_drop(track_id: int | None, count: int, reason: str) -> bytes:
    """The DROP message; `track_id` None means the whole stream."""
    fixed = DROP_FIXED.pack(WHOLE_STREAM if track_id is None else track_id, count)
    return _message(DROP, fixed + _short(reason.encode()))


def serialize_bye(reason: str) -> bytes:
    """The BYE message."""
    return _message(BYE, _short(reason.encode()))


def _message(kind: int, body: bytes) -> bytes:
    if len(body) > MAX_CONTROL_BYTES:
        raise StateError(f"a control message of {len(body)} bytes does not fit")
    return HEADER.pack(kind, len(body)) + body


def _short(text: bytes) -> bytes:
    if len(text) > 255:
        raise StateError("a text of more than 255 bytes does not fit")
    return bytes((len(text),)) + text


def _announcement(track: Announcement) -> bytes:
    pieces = [
        ANNOUNCEMENT_FIXED.pack(
            track.id, KIND_CODES[track.kind], track.channels, track.clock_rate, track.version
        ),
        _short(track.codec.encode()),
        LENGTH_16.pack(len(track.configuration)),
    ]
    for item in track.configuration:
        pieces += (LENGTH_32.pack(len(item)), item)
    return b"".join(pieces)


class Decoder:
    """Bytes in, messages out. After `receive_data`, call `next_message` until it answers None.

    It raises `WireError` at the first wrong message and with every call after that: there is no
    way to find the next message in a broken connection.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0  # of the first byte that is not used yet
        self._track_ids: frozenset[int] | None = None
        self._greeted = False
        self._ended = False
        self._error: WireError | None = None

    def receive_data(self, data: bytes) -> None:
        """Take what came from the socket, in pieces of any size."""
        if self._position:
            del self._buffer[: self._position]
            self._position = 0
        self._buffer += data

    def next_message(self) -> Message | None:
        """The next whole message, or None when more bytes are needed."""
        if self._error is not None:
            raise self._error
        try:
            return self._next()
        except WireError as error:
            self._error = error
            self._buffer.clear()
            self._position = 0
            raise

    def _next(self) -> Message | None:
        buffer = self._buffer
        start = self._position + HEADER.size
        if self._ended and len(buffer) > self._position:
            raise WireError("wire-after-bye")
        if len(buffer) < start:
            return None
        kind, length = HEADER.unpack_from(buffer, self._position)
        if length > (MAX_FRAME_BYTES if kind == FRAME else MAX_CONTROL_BYTES):
            raise WireError("wire-message-too-long", f"type {kind}, {length} bytes")
        if not self._greeted and kind != HELLO:
            raise WireError("wire-no-hello", f"type {kind}")
        end = start + length
        if len(buffer) < end:
            return None
        self._position = end
        if kind == FRAME:
            return self._frame(start, end)
        return self._control(kind, bytes(memoryview(buffer)[start:end]))

    def _frame(self, start: int, end: int) -> WireFrame:
        if self._track_ids is None:
            raise WireError("wire-frame-before-tracks")
        buffer = self._buffer
        at = start + FRAME_FIXED.size
        if at > end:
            raise WireError("wire-frame-truncated")
        track_id, flags, count, pts, dts, ntp = FRAME_FIXED.unpack_from(buffer, start)
        if track_id not in self._track_ids:
            raise WireError("wire-unknown-track", str(track_id))
        if count > MAX_NALS:
            raise WireError("wire-too-many-nals", str(count))
        table = at
        at += 4 * count
        if at > end:
            raise WireError("wire-frame-truncated")
        payload = []
        with memoryview(buffer) as view:
            for (size,) in LENGTH_32.iter_unpack(view[table:at]):
                payload.append(bytes(view[at : at + size]))
                at += size
                if at > end:
                    raise WireError("wire-frame-truncated")
        if at != end:
            raise WireError("wire-frame-trailing-bytes", str(end - at))
        return WireFrame(track_id, flags, pts, dts, ntp, tuple(payload))

    def _control(self, kind: int, body: bytes) -> Message:
        reader = _Body(body)
        if kind == HELLO:
            return self._hello(reader)
        if kind == TRACKS:
            return self._tracks(reader)
        if kind == TRACK:
            track = reader.announcement()
            reader.finish()
            self._check_known(track.id)
            return TrackChanged(track)
        if kind == DROP:
            track_id, count = reader.fixed(DROP_FIXED)
            reason = reader.text(SLUG, "wire-reason")
            reader.finish()
            if track_id == WHOLE_STREAM:
                return Dropped(None, count, reason)
            self._check_known(track_id)
            return Dropped(track_id, count, reason)
        if kind == BYE:
            reason = reader.text(SLUG, "wire-reason")
            reader.finish()
            self._ended = True
            return Bye(reason)
        return Unknown(kind, body)

    def _check_known(self, track_id: int) -> None:
        if self._track_ids is None or track_id not in self._track_ids:
            raise WireError("wire-unknown-track", str(track_id))

    def _hello(self, reader: "_Body") -> Hello:
        if self._greeted:
            raise WireError("wire-second-hello")
        magic, version = reader.fixed(HELLO_FIXED)
        if magic != MAGIC:
            raise WireError("wire-magic")
        if version != VERSION:
            raise WireError("wire-version", str(version))
        try:
            name = reader.short().decode()
        except UnicodeDecodeError:
            raise WireError("wire-name") from None
        reader.finish()
        self._greeted = True
        return Hello(version, name)

    def _tracks(self, reader: "_Body") -> Tracks:
        count = reader.take(1)[0]
        if count > MAX_TRACKS:
            raise WireError("wire-too-many-tracks", str(count))
        tracks = tuple(reader.announcement() for _ in range(count))
        reader.finish()
        ids = frozenset(track.id for track in tracks)
        if len(ids) != count:
            raise WireError("wire-track-twice")
        self._track_ids = ids
        return Tracks(tracks)


class _Body:
    """Reads one control message; running out raises `WireError("wire-truncated")`."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise WireError("wire-truncated")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def fixed(self, layout: Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))

    def short(self) -> bytes:
        return self.take(self.take(1)[0])

    def text(self, form: re.Pattern[bytes], reason: str) -> str:
        """A short text of which every character is allowed."""
        text = self.short()
        if form.fullmatch(text) is None:
            raise WireError(reason)
        return text.decode("ascii")

    def announcement(self) -> Announcement:
        track_id, code, channels, clock_rate, version = self.fixed(ANNOUNCEMENT_FIXED)
        kind = KINDS.get(code)
        if kind is None:
            raise WireError("wire-kind", str(code))
        if track_id == WHOLE_STREAM:
            raise WireError("wire-track-id")
        if not clock_rate:
            raise WireError("wire-clock-rate")
        codec = self.text(CODEC, "wire-codec")
        (count,) = LENGTH_16.unpack(self.take(2))
        if count > MAX_CONFIGURATION_ITEMS:
            raise WireError("wire-configuration", f"{count} items")
        items = tuple(self.take(LENGTH_32.unpack(self.take(4))[0]) for _ in range(count))
        return Announcement(track_id, kind, codec, clock_rate, channels, version, items)

    def finish(self) -> None:
        if self._at != len(self._data):
            raise WireError("wire-trailing-bytes")
