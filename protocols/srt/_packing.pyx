# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of `packing.py`; see there."""

from cpython.list cimport PyList_Check, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

cdef enum:
    HEAD_BYTES = 8
    TAIL_BYTES = 8


def pack_even(unsigned long long head, bytes tail not None, payloads):
    cdef Py_ssize_t index, size, count, total = 0
    cdef int shift
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
        for shift in range(HEAD_BYTES):
            target[shift] = <char>(head >> (8 * (7 - shift)) & 0xFF)
        memcpy(target + HEAD_BYTES, PyBytes_AS_STRING(tail), TAIL_BYTES)
        memcpy(target + HEAD_BYTES + TAIL_BYTES, PyBytes_AS_STRING(payload), size)
        target += HEAD_BYTES + TAIL_BYTES + size
        head += 1ULL << 32 | 1
    return made
