# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of `packing.py`; see there."""

from cpython.list cimport PyList_Check, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

cdef enum:
    HEAD_BYTES = 8
    TAIL_BYTES = 8


cdef inline void put_header(char *target, unsigned long long head, const char *tail) noexcept:
    cdef int shift
    for shift in range(HEAD_BYTES):
        target[shift] = <char>(head >> (8 * (7 - shift)) & 0xFF)
    memcpy(target + HEAD_BYTES, tail, TAIL_BYTES)


def pack_even(unsigned long long head, bytes tail not None, payloads):
    cdef Py_ssize_t index, size, count, total = 0
    cdef object payload
    cdef bytes made
    cdef char *target
    if not PyList_Check(payloads):  # or of a kind of its own
        raise TypeError("a list of payloads")
    count = PyList_GET_SIZE(payloads)
    if PyBytes_GET_SIZE(tail) != TAIL_BYTES:
        raise ValueError("no tail of a header")
    for index in range(count):
        payload = <object>PyList_GET_ITEM(payloads, index)
        if type(payload) is not bytes:
            raise TypeError("payloads of bytes")
        total += HEAD_BYTES + TAIL_BYTES + PyBytes_GET_SIZE(payload)
    made = PyBytes_FromStringAndSize(NULL, total)
    target = PyBytes_AS_STRING(made)
    for index in range(count):
        payload = <object>PyList_GET_ITEM(payloads, index)
        size = PyBytes_GET_SIZE(payload)
        put_header(target, head, PyBytes_AS_STRING(tail))
        memcpy(target + HEAD_BYTES + TAIL_BYTES, PyBytes_AS_STRING(payload), size)
        target += HEAD_BYTES + TAIL_BYTES + size
        head += 1ULL << 32 | 1
    return made


def pack_row(
    unsigned long long head,
    bytes tail not None,
    bytes data not None,
    Py_ssize_t start,
    Py_ssize_t end,
    Py_ssize_t step,
):
    cdef Py_ssize_t some, count
    cdef bytes made
    cdef char *target
    cdef const char *source
    if PyBytes_GET_SIZE(tail) != TAIL_BYTES:
        raise ValueError("no tail of a header")
    if step < 1 or start < 0 or end <= start or end > PyBytes_GET_SIZE(data):
        raise ValueError("payloads beyond the end")
    count = (end - start - 1) // step + 1
    made = PyBytes_FromStringAndSize(NULL, end - start + count * (HEAD_BYTES + TAIL_BYTES))
    target = PyBytes_AS_STRING(made)
    source = PyBytes_AS_STRING(data) + start
    while count:
        count -= 1
        put_header(target, head, PyBytes_AS_STRING(tail))
        some = end - start if end - start < step else step
        memcpy(target + HEAD_BYTES + TAIL_BYTES, source, some)
        target += HEAD_BYTES + TAIL_BYTES + some
        source += some
        start += some
        head += 1ULL << 32 | 1
    return made
