# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of `start_codes.py`; see there."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

cdef extern from *:
    """
    /* Where the last start code begins before `end`; -1: there is none. Whole blocks are looked at
       without a branch, which compilers turn into vectors. */
    static Py_ssize_t last_start_code(const unsigned char *data, Py_ssize_t end)
    {
        enum { BLOCK = 128 };
        Py_ssize_t at = end - 3;
        while (at >= 0) {
            if (at >= BLOCK - 1) {
                const unsigned char *block = data + at - (BLOCK - 1);
                unsigned char found = 0;
                int i;
                for (i = 0; i < BLOCK; i++)
                    found |= (unsigned char)((block[i] | block[i + 1] | (block[i + 2] ^ 1)) == 0);
                if (!found) {
                    at -= BLOCK;
                    continue;
                }
            }
            {
                Py_ssize_t least = at >= BLOCK - 1 ? at - (BLOCK - 1) : 0;
                for (; at >= least; at--)
                    if (data[at] == 0 && data[at + 1] == 0 && data[at + 2] == 1)
                        return at;
            }
        }
        return -1;
    }
    """
    Py_ssize_t last_start_code(const unsigned char *data, Py_ssize_t end) nogil


def split_start_codes(bytes data not None, Py_ssize_t most=0x7FFFFFFFFFFFFFFF):
    cdef const char *base = PyBytes_AS_STRING(data)
    cdef Py_ssize_t at, end = PyBytes_GET_SIZE(data)
    cdef list pieces = []
    while len(pieces) < most:
        at = last_start_code(<const unsigned char *>base, end)
        if at < 0:
            break
        pieces.append(PyBytes_FromStringAndSize(base + at + 3, end - at - 3))
        end = at
    pieces.append(PyBytes_FromStringAndSize(base, end))
    pieces.reverse()
    return pieces
