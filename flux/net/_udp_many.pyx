# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of `ManyReader` in `udp_many.py`; see there."""

from flux.net.udp_many import address_of, ancillary_of

from cpython cimport array
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno as last_error
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

import array

cdef extern from "<sys/socket.h>" nogil:
    cdef struct iovec:
        void *iov_base
        size_t iov_len
    cdef struct msghdr:
        void *msg_name
        unsigned int msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    cdef struct timespec:
        pass
    cdef struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    int recvmmsg(int descriptor, mmsghdr *heads, unsigned int count, int flags, timespec *timeout)
    enum:
        MSG_DONTWAIT
        SOL_SOCKET
        SO_TIMESTAMPNS

cdef enum:
    SLOTS = 128
    SLOT_BYTES = 2048  # a row of short slots, which stay in the caches
    REST_BYTES = 65_536 - 2048
    NAME_BYTES = 32
    CONTROL_BYTES = 192
    CONTROL_WORDS = 24
    STAMP_BYTES = 16 + 16  # cmsghdr, timespec
    MAX_KNOWN = 4096

cdef array.array LONGS = array.array("q")


cdef struct Slots:
    mmsghdr heads[SLOTS]
    iovec parts[SLOTS][2]
    char names[SLOTS][NAME_BYTES]
    long long controls[SLOTS][CONTROL_WORDS]
    char data[SLOTS][SLOT_BYTES]
    char rests[SLOTS][REST_BYTES]


cdef class ManyReader:
    cdef Slots *slots
    cdef int used  # slots whose lengths the kernel has changed
    cdef dict known
    cdef bytes pattern
    cdef list ancillary

    def __cinit__(self):
        cdef int slot
        self.slots = <Slots *>calloc(1, sizeof(Slots))
        if self.slots is NULL:
            raise MemoryError
        for slot in range(SLOTS):
            self.slots.parts[slot][0].iov_base = &self.slots.data[slot]
            self.slots.parts[slot][0].iov_len = SLOT_BYTES
            self.slots.parts[slot][1].iov_base = &self.slots.rests[slot]
            self.slots.parts[slot][1].iov_len = REST_BYTES
            self.slots.heads[slot].msg_hdr.msg_name = &self.slots.names[slot]
            self.slots.heads[slot].msg_hdr.msg_iov = self.slots.parts[slot]
            self.slots.heads[slot].msg_hdr.msg_iovlen = 2
            self.slots.heads[slot].msg_hdr.msg_control = &self.slots.controls[slot]
        self.used = SLOTS
        self.known = {}
        self.pattern = None
        self.ancillary = []

    def __dealloc__(self):
        free(self.slots)

    def receive(self, int descriptor, hearing):
        cdef Slots *slots = self.slots
        cdef mmsghdr *head
        cdef int slot, count, error
        cdef Py_ssize_t total = 0
        cdef size_t length
        cdef bint is_alike
        cdef bytes message
        cdef array.array seconds, nanoseconds
        for slot in range(self.used):
            head = &slots.heads[slot]
            # The kernel leaves what lies between two parts as it was, and alike is what is equal.
            memset(slots.controls[slot], 0, min(head.msg_hdr.msg_controllen, <size_t>CONTROL_BYTES))
            head.msg_hdr.msg_namelen = NAME_BYTES
            head.msg_hdr.msg_controllen = CONTROL_BYTES
        # It never waits, so it may keep the interpreter's lock.
        count = recvmmsg(descriptor, slots.heads, SLOTS, MSG_DONTWAIT, NULL)
        error = last_error
        self.used = min(max(count, 0) + 1, SLOTS)
        if count <= 0:
            if count < 0 and error != EAGAIN and error != EINTR:
                hearing.errors += 1
            return 0, 0
        length = slots.heads[0].msg_hdr.msg_controllen
        is_alike = length >= STAMP_BYTES and is_stamp(<cmsghdr *>slots.controls[0])
        for slot in range(count):
            head = &slots.heads[slot]
            total += head.msg_len
            if slot and is_alike:
                is_alike = head.msg_hdr.msg_controllen == length and not (
                    memcmp(slots.controls[slot], slots.controls[0], 16)
                    or memcmp(
                        <char *>slots.controls[slot] + STAMP_BYTES,
                        <char *>slots.controls[0] + STAMP_BYTES,
                        length - STAMP_BYTES,
                    )
                )
        addresses = self.addresses(count)
        if is_alike:
            message = (<char *>slots.controls[0])[STAMP_BYTES:length]
            if message != self.pattern:
                self.pattern, self.ancillary = message, ancillary_of(message)
            if hearing.joins and len(addresses) == 1:
                stamp = slots.controls[0][2], slots.controls[0][3]
                data = self.joined(count, total)
                hearing.take_joined(data, self.sizes(count), self.ancillary, addresses[0], stamp)
                return count, total
            seconds = array.clone(LONGS, count, zero=False)
            nanoseconds = array.clone(LONGS, count, zero=False)
            for slot in range(count):
                seconds.data.as_longlongs[slot] = slots.controls[slot][2]
                nanoseconds.data.as_longlongs[slot] = slots.controls[slot][3]
            messages = [self.message(slot) for slot in range(count)]
            hearing.take_alike(messages, self.ancillary, addresses, seconds, nanoseconds)
        else:
            for slot in range(count):
                length = slots.heads[slot].msg_hdr.msg_controllen
                ancillary = ancillary_of((<char *>slots.controls[slot])[:length])
                address = addresses[slot if len(addresses) > 1 else 0]
                hearing.take(self.message(slot), ancillary, address)
        return count, total

    cdef bytes message(self, int slot):
        """What one slot holds."""
        cdef bytes made = PyBytes_FromStringAndSize(NULL, self.slots.heads[slot].msg_len)
        self.copy(slot, <char *>made)
        return made

    cdef bytes joined(self, int count, Py_ssize_t total):
        """What the first slots hold, in one piece."""
        cdef bytes made = PyBytes_FromStringAndSize(NULL, total)
        cdef char *at = <char *>made
        cdef int slot
        for slot in range(count):
            at = self.copy(slot, at)
        return made

    cdef char *copy(self, int slot, char *to) noexcept:
        """Write it there; answers where it ends."""
        cdef size_t size = self.slots.heads[slot].msg_len
        memcpy(to, self.slots.data[slot], min(size, <size_t>SLOT_BYTES))
        if size > SLOT_BYTES:
            memcpy(to + SLOT_BYTES, self.slots.rests[slot], size - SLOT_BYTES)
        return to + size

    cdef array.array sizes(self, int count):
        """How long the first messages are."""
        cdef array.array found = array.clone(LONGS, count, zero=False)
        cdef int slot
        for slot in range(count):
            found.data.as_longlongs[slot] = self.slots.heads[slot].msg_len
        return found

    cdef list addresses(self, int count):
        """The senders, as Python writes them; a single one where it is the same for all."""
        cdef int slot
        cdef unsigned int length = self.slots.heads[0].msg_hdr.msg_namelen
        for slot in range(1, count):
            if self.slots.heads[slot].msg_hdr.msg_namelen != length or memcmp(
                self.slots.names[slot], self.slots.names[0], min(length, NAME_BYTES)
            ):
                return [self.address(slot) for slot in range(count)]
        return [self.address(0)]

    cdef object address(self, int slot):
        cdef unsigned int length = self.slots.heads[slot].msg_hdr.msg_namelen
        cdef bytes raw = self.slots.names[slot][: min(length, NAME_BYTES)]
        address = self.known.get(raw)
        if address is None:
            if len(self.known) >= MAX_KNOWN:
                self.known.clear()
            address = self.known[raw] = address_of(raw)
        return address


cdef inline bint is_stamp(cmsghdr *head) noexcept:
    return (
        head.cmsg_len == STAMP_BYTES
        and head.cmsg_level == SOL_SOCKET
        and head.cmsg_type == SO_TIMESTAMPNS
    )
