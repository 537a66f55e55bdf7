"""Many datagrams in one system call: recvmmsg(2), which Python's `socket` does not have.

One `recvmsg` a datagram makes its address and its ancillary data anew each time, which costs more
than most of what is done with a packet later. Here the kernel fills a row of slots, and Python
looks at the columns: where all datagrams came alike there is one look for all of them. The layout
of the structures is that of 64-bit Linux; elsewhere `reader_of_thread` answers None.

`ManyReader` has a compiled twin: see `flux.base.twins`.
"""

import ctypes
import errno
import mmap
import socket
import sys
import threading
from struct import Struct

from flux.base.twins import twin
from flux.net.udp_hearing import Address, Hearing
from flux.net.udp_homes import Ancillary

SLOTS = 128
# A message begins in a row of short slots, which stay in the caches, and goes on in a long one.
SLOT_BYTES = 2048
REST_BYTES = 65_536 - SLOT_BYTES
NAME_BYTES = 32  # struct sockaddr_in6 has 28
CONTROL_BYTES = 192
HEAD_BYTES = 64  # struct mmsghdr
IOVEC_BYTES = 32  # two struct iovec

HEAD = Struct("@PI4xPNPNi4xI4x")  # name, iovec, control, flags, length
HEAD_WORDS, LENGTH = HEAD_BYTES // 4, 14
IOVEC = Struct("@PNPN")
CMSG = Struct("@Nii")  # length with itself, level, type
CMSG_ALIGN = 8
CONTROL_WORDS, SECONDS, NANOSECONDS = CONTROL_BYTES // 8, 2, 3  # behind the first head: a time
SOCKADDR_IN = Struct("@2sH4s")
SOCKADDR_IN6 = Struct("@2sHI16sI")
FAMILY_4, FAMILY_6 = (Struct("@H").pack(each) for each in (socket.AF_INET, socket.AF_INET6))
MAX_KNOWN = 4096  # addresses that are remembered as Python writes them

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; SCM_TIMESTAMPNS is the same
STAMP_HEAD = CMSG.pack(CMSG.size + 16, socket.SOL_SOCKET, SO_TIMESTAMPNS)

NAMES_AT = 0
CONTROLS_AT = NAMES_AT + SLOTS * NAME_BYTES
HEADS_AT = CONTROLS_AT + SLOTS * CONTROL_BYTES
IOVECS_AT = HEADS_AT + SLOTS * HEAD_BYTES
DATA_AT = IOVECS_AT + SLOTS * IOVEC_BYTES
RESTS_AT = DATA_AT + SLOTS * SLOT_BYTES
TOTAL_BYTES = RESTS_AT + SLOTS * REST_BYTES
NAME_STARTS = range(NAMES_AT, CONTROLS_AT, NAME_BYTES)
CONTROL_STARTS = range(CONTROLS_AT, HEADS_AT, CONTROL_BYTES)
DATA_STARTS = tuple(range(DATA_AT, RESTS_AT, SLOT_BYTES))
REST_STARTS = range(RESTS_AT, TOTAL_BYTES, REST_BYTES)
ZEROS = bytes(SLOTS * CONTROL_BYTES)
ZERO_WORDS = memoryview(ZEROS).cast("q")


class ManyReader:
    """The slots of one thread; sockets take turns with them. Between turns names and controls are
    zeros."""

    __slots__ = ("_ancillary", "_call", "_heads_at", "_known", "_lengths", "_memory", "_pattern",
                 "_template", "_times")  # fmt: skip

    def __init__(self) -> None:
        """Raises OSError, AttributeError: the system has no such call."""
        # It never waits, so it may keep the interpreter's lock.
        self._call = ctypes.PyDLL(None, use_errno=True).recvmmsg
        memory = self._memory = mmap.mmap(-1, TOTAL_BYTES)
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self._heads_at = ctypes.c_void_p(base + HEADS_AT)
        heads: list[bytes] = []
        for slot in range(SLOTS):
            iovec_at = IOVECS_AT + slot * IOVEC_BYTES
            iovec = IOVEC.pack(
                base + DATA_STARTS[slot], SLOT_BYTES, base + REST_STARTS[slot], REST_BYTES
            )
            memory[iovec_at : iovec_at + IOVEC_BYTES] = iovec
            name_at, control_at = base + NAME_STARTS[slot], base + CONTROL_STARTS[slot]
            heads.append(
                HEAD.pack(name_at, NAME_BYTES, base + iovec_at, 2, control_at, CONTROL_BYTES, 0, 0)
            )
        self._template = b"".join(heads)
        memory[HEADS_AT:IOVECS_AT] = self._template
        view = memoryview(memory)
        self._lengths = view[HEADS_AT:IOVECS_AT].cast("I")
        self._times = view[CONTROLS_AT:HEADS_AT].cast("q")
        self._known: dict[bytes, Address] = {}
        self._pattern = b""  # a control without its time, that was seen last
        self._ancillary: Ancillary = []  # what it says

    def receive(self, descriptor: int, hearing: Hearing) -> tuple[int, int]:
        """Take what is there, as much as the slots hold: how many messages, how many bytes.

        No message: there is none, or the system has an error, which is counted.
        """
        count = self._call(descriptor, self._heads_at, SLOTS, socket.MSG_DONTWAIT, None)
        if count <= 0:
            if count < 0 and ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
                hearing.errors += 1
            return 0, 0
        memory = self._memory
        sizes = self._lengths[LENGTH : count * HEAD_WORDS : HEAD_WORDS].tolist()
        if max(sizes) <= SLOT_BYTES:
            starts = zip(DATA_STARTS, sizes, strict=False)
            messages = [memory[at : at + size] for at, size in starts]
        else:
            messages = [self._message(slot, size) for slot, size in enumerate(sizes)]
        addresses = self._addresses(count)
        times, end = self._times, count * CONTROL_WORDS
        seconds = times[SECONDS:end:CONTROL_WORDS].tolist()
        nanoseconds = times[NANOSECONDS:end:CONTROL_WORDS].tolist()
        times[SECONDS:end:CONTROL_WORDS] = ZERO_WORDS[:count]
        times[NANOSECONDS:end:CONTROL_WORDS] = ZERO_WORDS[:count]
        controls = memory[CONTROLS_AT : CONTROLS_AT + count * CONTROL_BYTES]
        pattern = controls[:CONTROL_BYTES]
        if pattern.startswith(STAMP_HEAD) and controls == pattern * count:
            if pattern != self._pattern:
                self._pattern, self._ancillary = pattern, ancillary_of(pattern)[1:]
            if hearing.joins and len(addresses) == 1:
                stamp = seconds[0], nanoseconds[0]
                data = b"".join(messages)
                hearing.take_joined(data, sizes, self._ancillary, addresses[0], stamp)
            else:
                hearing.take_alike(messages, self._ancillary, addresses, seconds, nanoseconds)
        else:
            for slot, message in enumerate(messages):
                at = slot * CONTROL_WORDS
                times[at + SECONDS], times[at + NANOSECONDS] = seconds[slot], nanoseconds[slot]
                start = CONTROL_STARTS[slot]
                ancillary = ancillary_of(memory[start : start + CONTROL_BYTES])
                hearing.take(message, ancillary, addresses[min(slot, len(addresses) - 1)])
        memory[NAMES_AT : NAMES_AT + count * NAME_BYTES] = ZEROS[: count * NAME_BYTES]
        memory[CONTROLS_AT : CONTROLS_AT + len(controls)] = ZEROS[: len(controls)]
        memory[HEADS_AT : HEADS_AT + count * HEAD_BYTES] = self._template[: count * HEAD_BYTES]
        return count, sum(sizes)

    def _message(self, slot: int, size: int) -> bytes:
        """One of any length."""
        start, rest = DATA_STARTS[slot], REST_STARTS[slot]
        data = self._memory[start : start + min(size, SLOT_BYTES)]
        return data + self._memory[rest : rest + size - SLOT_BYTES] if size > SLOT_BYTES else data

    def _addresses(self, count: int) -> list[Address]:
        """The senders, as Python writes them; a single one where it is the same for all."""
        memory = self._memory
        first = memory[NAMES_AT : NAMES_AT + NAME_BYTES]
        if memory[NAMES_AT : NAMES_AT + count * NAME_BYTES] == first * count:
            return [self._address(first)]
        known = self._known.get
        names = [memory[at : at + NAME_BYTES] for at in NAME_STARTS[:count]]
        found = [known(name) for name in names]
        return [
            self._address(name) if address is None else address
            for name, address in zip(names, found, strict=True)
        ]

    def _address(self, raw: bytes) -> Address:
        known = self._known
        address = known.get(raw)
        if address is None:
            if len(known) >= MAX_KNOWN:
                known.clear()
            address = known[raw] = address_of(raw)
        return address


def ancillary_of(data: bytes) -> Ancillary:
    """What `recvmsg` would give; zeros may follow it."""
    found: Ancillary = []
    at = 0
    while at + CMSG.size <= len(data):
        size, level, kind = CMSG.unpack_from(data, at)
        if size < CMSG.size:
            break
        found.append((level, kind, data[at + CMSG.size : at + size]))
        at += size + -size % CMSG_ALIGN
    return found


def address_of(raw: bytes) -> Address:
    """A socket address as Python writes it; an empty one where it is of no family of ours."""
    if raw.startswith(FAMILY_4):
        _, port, host = SOCKADDR_IN.unpack_from(raw)
        return socket.inet_ntop(socket.AF_INET, host), socket.ntohs(port)
    if raw.startswith(FAMILY_6):
        _, port, flow, host, scope = SOCKADDR_IN6.unpack_from(raw)
        name = socket.inet_ntop(socket.AF_INET6, host)
        return name, socket.ntohs(port), socket.ntohl(flow), scope
    return ()


_local = threading.local()


def reader_of_thread() -> ManyReader | None:
    """The reader of this thread; None: the system has no such thing, or another layout."""
    reader: ManyReader | None
    try:
        reader = _local.reader
    except AttributeError:
        reader = _local.reader = _make()
    return reader


def _make() -> ManyReader | None:
    kind = twin(ManyReader)
    if kind is ManyReader and (sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8):
        return None
    try:
        return kind()
    except (OSError, AttributeError):
        return None
