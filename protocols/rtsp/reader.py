"""Bytes of an RTSP connection into messages and interleaved frames, RFC 2326 section 10.12.

Theory of operation. At a boundary the next byte decides: `$` begins a frame of four bytes and a
payload, a capital letter begins a message, line ends between messages are skipped. Everything else
is junk (a body longer than its Content-Length, a frame with a wrong size): the reader is then
*lost* and looks for the next thing that can only be a start: a status line (of a server's reader:
a request line), or a frame header whose payload begins like RTP or RTCP. Each decision waits until
the bytes that it needs are there, so the result does not depend on how the stream was cut into
reads.

What is incomplete is kept as a list of pieces and joined once enough has come: a large body
in small reads costs one copy.
"""

import re

from flux.base.errors import WireError
from protocols.rtsp.message import MAX_HEAD_BYTES, Message, content_length, parse_head

MAX_JUNK_BYTES = 256 * 1024  # between two good things; after that the peer does not speak RTSP
MAX_START_LINE_BYTES = 4 * 1024
DOLLAR = 0x24
FRAME_HEADER_BYTES = 4

HEAD_END = re.compile(rb"\r?\n\r?\n")
LINE_ENDS = re.compile(rb"[\r\n]+")
START_LINE = re.compile(
    rb"RTSP/\d\.\d +\d{3}(?: [^\x00-\x1f]*)?|[A-Z][A-Z_]* +[\x21-\xff]+ +RTSP/\d\.\d *"
)
START_LINE_SO_FAR = re.compile(rb"[A-Z][A-Z_]*(?:[ /][^\x00-\x1f]*)?\r?")
SYNC = re.compile(rb"\$[\x00-\x1f]..[\x80-\xbf]|RTSP/\d\.\d \d{3}", re.DOTALL)
SYNC_BYTES = 12  # length of the longest match
REQUEST_SYNC = re.compile(
    rb"\$[\x00-\x1f]..[\x80-\xbf]|"
    rb"(?:OPTIONS|DESCRIBE|ANNOUNCE|SETUP|PLAY|PAUSE|RECORD|TEARDOWN|[GS]ET_PARAMETER)"
    rb" (?:rtsp|[*/])",
    re.DOTALL,
)
REQUEST_SYNC_BYTES = 18


class MessageReader:
    """Splits a byte stream. Feed it, then take `messages` and the frames.

    `is_server`: what comes are requests. Public counters: `junk_bytes` skipped, `resyncs` how often
    the reader had to look for a start.
    """

    __slots__ = (
        "_frames",
        "_held",
        "_is_lost",
        "_is_started",
        "_junk_run",
        "_marks",
        "_messages",
        "_needed",
        "_pieces",
        "_sync",
        "_sync_bytes",
        "is_stranger",
        "junk_bytes",
        "resyncs",
    )

    def __init__(self, *, is_server: bool = False) -> None:
        self._sync = REQUEST_SYNC if is_server else SYNC
        self._sync_bytes = REQUEST_SYNC_BYTES if is_server else SYNC_BYTES
        self._frames: list[tuple[int, bytes]] = []
        self._messages: list[Message] = []
        self._marks: list[int] = []  # of each message: how many frames came before it
        self._pieces: list[bytes] = []
        self._held = 0  # bytes in _pieces
        self._needed = 0  # held bytes from which another look is worth while
        self._is_lost = False
        self._is_started = False  # a message or a frame was read
        self.is_stranger = False  # the very first thing that came was neither
        self._junk_run = 0  # junk bytes since the last good thing
        self.junk_bytes = 0
        self.resyncs = 0

    @property
    def has_part(self) -> bool:
        """Bytes are held that wait for more."""
        return bool(self._pieces)

    def take_marks(self) -> list[int]:
        """Of each message not yet taken: how many of the frames not yet taken were before it.

        To be called before the other two, by who cares for the order.
        """
        return list(self._marks)

    def take_frames(self) -> list[tuple[int, bytes]]:
        """Interleaved frames (channel, payload) since the last call; the list is the caller's."""
        frames = self._frames
        self._frames = []
        return frames

    def take_messages(self) -> list[Message]:
        """Messages since the last call; the list is the caller's."""
        messages = self._messages
        if messages:
            self._messages = []
            self._marks.clear()
        return messages

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream.

        Raises `WireError` when the stream cannot be followed any further (too much junk, a head or
        a body beyond the limits); what came before can be taken, the reader is then finished.
        """
        if self._pieces:
            self._pieces.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        append = self._frames.append
        position, end = 0, len(data)
        last = end - FRAME_HEADER_BYTES
        while position < end:
            if self._is_lost:
                position = self._find_start(data, position)
                if self._is_lost:
                    return
            begin = position
            while position <= last and data[position] == DOLLAR:  # the hot path: one turn a frame
                start = position + 4
                stop = start + (data[position + 2] << 8 | data[position + 3])
                if stop > end:
                    if position > begin:
                        self._junk_run = 0
                        self._is_started = True
                    self._hold(data, position, stop - position)
                    return
                append((data[position + 1], data[start:stop]))
                position = stop
            if position > begin:
                self._junk_run = 0
                self._is_started = True
            if position < end:
                begin = position
                position = self._read_other(data, position)
                if position == begin:
                    return  # held: more bytes are needed

    def _hold(self, data: bytes, position: int, needed: int) -> None:
        self._pieces.append(data[position:] if position else data)
        self._held = len(data) - position
        self._needed = needed

    def _read_other(self, data: bytes, position: int) -> int:
        """Where to go on after what stands at a boundary; `position` itself if held."""
        first = data[position]
        if first == DOLLAR:  # fewer than four bytes are left
            self._hold(data, position, FRAME_HEADER_BYTES)
            return position
        if first in b"\r\n":
            gap = LINE_ENDS.match(data, position)
            stop = gap.end() if gap else position + 1
            self._count_junk(stop - position)
            return stop
        if not 0x41 <= first <= 0x5A or not self._is_start_line(data, position):
            if self._pieces:
                return position
            self._is_lost = True
            self.is_stranger = self.is_stranger or not self._is_started
            self.resyncs += 1
            self._count_junk(1)
            return position + 1
        head = HEAD_END.search(data, position, position + MAX_HEAD_BYTES)
        if head is None:
            if len(data) - position >= MAX_HEAD_BYTES:
                raise WireError("rtsp-headers-too-long")
            self._hold(data, position, len(data) - position + 1)
            return position
        message = parse_head(data[position : head.start()])
        stop = head.end() + content_length(message.headers)
        if stop > len(data):
            self._hold(data, position, stop - position)
            return position
        message.body = data[head.end() : stop]
        self._messages.append(message)
        self._marks.append(len(self._frames))
        self._is_started = True
        self._junk_run = 0
        return stop

    def _is_start_line(self, data: bytes, position: int) -> bool:
        """Whether a start line stands here; where it may still become one, data is held."""
        limit = position + MAX_START_LINE_BYTES
        newline = data.find(b"\n", position, limit)
        if newline >= 0:
            stop = newline - 1 if data[newline - 1 : newline] == b"\r" else newline
            return START_LINE.fullmatch(data, position, stop) is not None
        if len(data) < limit and START_LINE_SO_FAR.fullmatch(data, position):
            self._hold(data, position, len(data) - position + 1)
        return False

    def _find_start(self, data: bytes, position: int) -> int:
        """Skip junk up to the next sure start; still lost (and the tail held) if there is none."""
        found = self._sync.search(data, position)
        if found is not None:
            self._is_lost = False
            stop = found.start()
        else:
            stop = max(position, len(data) - self._sync_bytes + 1)
            self._hold(data, stop, len(data) - stop + 1)
        self._count_junk(stop - position)
        return stop

    def _count_junk(self, count: int) -> None:
        self.junk_bytes += count
        self._junk_run += count
        if self._junk_run > MAX_JUNK_BYTES:
            raise WireError("rtsp-no-sync")
