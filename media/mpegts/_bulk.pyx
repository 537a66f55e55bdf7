# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of `bulk.py`; see there."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy, memset

cdef enum:
    PACKET = 188
    PAYLOAD = 184
    HEADER = 4
    RUN = 512


cdef int check(Py_ssize_t last, Py_ssize_t start, Py_ssize_t count, Py_ssize_t stride) except -1:
    """`last` is the greatest place that a packet may begin at."""
    if start < 0 or count < 1 or stride < PACKET or start > last:
        raise ValueError("no packets")
    if count - 1 > (last - start) // stride:
        raise ValueError("packets beyond the end")
    return 0


def runs(bytes data not None, Py_ssize_t start, Py_ssize_t count, Py_ssize_t stride):
    cdef const unsigned char *at
    cdef const unsigned char *end
    cdef const unsigned char *follower
    cdef Py_ssize_t index = 0, run
    cdef unsigned int expected
    cdef list found = []
    if count == 0:
        return found
    check(PyBytes_GET_SIZE(data) - HEADER, start, count, stride)
    at = <const unsigned char *>PyBytes_AS_STRING(data) + start
    end = at + count * stride
    while at < end:
        run = 1
        if at[3] & 0xF0 == 0x10 and not at[1] & 0xC0:
            follower = at + stride
            expected = at[3]
            while follower < end and run < RUN:
                expected = 0x10 | (expected + 1 & 15)
                if follower[3] != expected or follower[2] != at[2] or follower[1] != at[1]:
                    break
                run += 1
                follower += stride
        found.append((index, (at[1] & 0x1F) << 8 | at[2], at[1], at[3], run))
        index += run
        at += run * stride
    return found


def strip(bytes data not None, Py_ssize_t at, Py_ssize_t count, Py_ssize_t stride):
    cdef const char *source
    cdef bytes made
    cdef char *target
    cdef Py_ssize_t index
    check(PyBytes_GET_SIZE(data) - PACKET, at, count, stride)
    source = PyBytes_AS_STRING(data) + at + HEADER
    made = PyBytes_FromStringAndSize(NULL, count * PAYLOAD)
    target = PyBytes_AS_STRING(made)
    for index in range(count):
        memcpy(target, source, PAYLOAD)
        target += PAYLOAD
        source += stride
    return made


cdef struct Source:
    # Pieces, read one after the other.
    Py_ssize_t piece
    Py_ssize_t left
    const char *at


cdef void _take(tuple pieces, Source *source, char *target, Py_ssize_t size) noexcept:
    cdef Py_ssize_t some
    cdef object piece
    while size:
        while not source.left:
            source.piece += 1
            piece = pieces[source.piece]
            source.at = PyBytes_AS_STRING(piece)
            source.left = PyBytes_GET_SIZE(piece)
        some = source.left if source.left < size else size
        memcpy(target, source.at, some)
        source.at += some
        source.left -= some
        target += some
        size -= some


def write(tuple pes not None, bytes lead not None, int pid, int counter, bytes field not None):
    cdef Py_ssize_t size = 0, room, packets, some, fill
    cdef Py_ssize_t before = PyBytes_GET_SIZE(lead), extra = PyBytes_GET_SIZE(field)
    cdef bytes made
    cdef object piece
    cdef char *target
    cdef Source source
    cdef unsigned char high = pid >> 8 & 0x1F, low = pid & 0xFF
    for piece in pes:
        if type(piece) is not bytes:
            raise TypeError("pieces of bytes")
        size += PyBytes_GET_SIZE(piece)
    if extra > PAYLOAD - 1 or size < 1:
        raise ValueError("nothing to write")
    room = PAYLOAD - extra
    packets = 1 if size <= room else 1 + (size - room + PAYLOAD - 1) // PAYLOAD
    made = PyBytes_FromStringAndSize(NULL, before + packets * PACKET)
    target = PyBytes_AS_STRING(made)
    memcpy(target, PyBytes_AS_STRING(lead), before)
    target += before
    source.piece = -1
    source.left = 0
    source.at = NULL
    target[1] = <char>(0x40 | high)
    while True:
        target[0] = 0x47
        target[2] = <char>low
        some = room if size > room else size
        fill = room - some
        if not extra and not fill:
            target[3] = <char>(0x10 | counter & 15)
            target += HEADER
        else:
            target[3] = <char>(0x30 | counter & 15)
            target += HEADER
            if extra:
                memcpy(target, PyBytes_AS_STRING(field), extra)
                target[0] = <char>(<unsigned char>target[0] + fill)
                memset(target + extra, 0xFF, fill)
                target += extra + fill
            else:
                target[0] = <char>(fill - 1)
                if fill > 1:
                    target[1] = 0
                    memset(target + 2, 0xFF, fill - 2)
                target += fill
        _take(pes, &source, target, some)
        target += some
        size -= some
        counter += 1
        if not size:
            break
        extra = 0
        room = PAYLOAD
        target[1] = <char>high
    return made
