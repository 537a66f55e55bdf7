"""One port, two sockets: what may wait comes to the first, what may not to the second.

A socket that is left unread for a while saves wakings, and holds back what somebody waits for. The
kernel can tell the two apart: sockets that share a port (SO_REUSEPORT) may bring a small program of
classic BPF that says for each datagram whose it is (socket(7), SO_ATTACH_REUSEPORT_CBPF; Linux 4.5
for UDP). Ours looks at the first two bytes:

    flag not set         waits: it is data
    one of `patient`     waits
    anything else        does not

Datagrams of less than two bytes wait. The first socket is bound without SO_REUSEPORT, so that a
port that somebody has is still refused, and only sockets that ask for it can join later.
"""

import ctypes
import socket
from collections.abc import Sequence
from struct import Struct

SO_ATTACH_REUSEPORT_CBPF = 51  # asm-generic/socket.h
INSTRUCTION = Struct("@HBBI")  # linux/filter.h: struct sock_filter
PROGRAM = Struct("@HP")  # struct sock_fprog: how many, and where
# linux/bpf_common.h: what the instructions do
LOAD_HALF = 0x28  # BPF_LD | BPF_H | BPF_ABS: two bytes at k, in the order of the network
JUMP_SET = 0x45  # BPF_JMP | BPF_JSET | BPF_K
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K
FIRST, SECOND = 0, 1  # by the order in which they were bound


def split(sock: socket.socket, flag: int, patient: Sequence[int]) -> socket.socket | None:
    """The second socket, for the port of `sock`; None: the system has nothing of the kind.

    `flag`: a bit of a datagram's first 16-bit word; `patient`: words, one at least, that wait
    although it is set.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        return None
    second = socket.socket(sock.family, socket.SOCK_DGRAM)
    try:
        if sock.family == socket.AF_INET6:
            only = sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            second.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        for each in (sock, second):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        second.bind(sock.getsockname())
        _attach(second, _program(flag, patient))
    except OSError:
        second.close()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
        return None
    return second


def _program(flag: int, patient: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Instructions: what to do, how many to skip if it is so, and if not, the operand."""
    last = len(patient) - 1
    return [
        (LOAD_HALF, 0, 0, 0),
        (JUMP_SET, 0, len(patient), flag),
        *(
            (JUMP_EQUAL, last - index, int(index == last), word)
            for index, word in enumerate(patient)
        ),
        (RETURN, 0, 0, FIRST),
        (RETURN, 0, 0, SECOND),
    ]


def _attach(sock: socket.socket, program: Sequence[tuple[int, int, int, int]]) -> None:
    """Let it decide for all sockets of the port; the kernel takes a copy."""
    code = b"".join(INSTRUCTION.pack(*each) for each in program)
    held = ctypes.create_string_buffer(code, len(code))
    option = PROGRAM.pack(len(program), ctypes.addressof(held))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, option)
