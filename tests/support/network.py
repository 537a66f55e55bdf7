"""A network of its own for one test: this side, another host, and a cable between them.

`in_network` runs a function in a thread that lives in a fresh network namespace; processes and
threads that it starts live there too. The other host is a second namespace, entered by a command
prefix. It needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN) and the program `ip`.
"""

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

CLONE_NEWNET = 0x40000000  # linux/sched.h
NEAR, FAR = "198.18.0.1", "198.18.0.2"  # RFC 2544: addresses of test set-ups

_numbers = count()


class NetworkImpossible(Exception):
    """This machine lets us make no namespace; the message is its own error text."""


@dataclass(frozen=True, slots=True)
class Network:
    """What a test needs to know of it."""

    near: str  # our address
    far: str  # the other host's
    interface: str  # ours, towards the other host
    wrapper: tuple[str, ...]  # puts a command on the other host


def in_network(body: Callable[[Network], None], *, limit: float = 60.0) -> None:
    """Run `body` with a network of its own; raises what it raises, and `NetworkImpossible`."""
    failure: list[BaseException] = []

    def run() -> None:
        try:
            with _network() as network:
                body(network)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit)
    if failure:
        raise failure[0]
    if thread.is_alive():
        raise TimeoutError(f"not done within {limit} s")


@contextmanager
def _network() -> Iterator[Network]:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise NetworkImpossible(f"unshare: {os.strerror(ctypes.get_errno())}")
    name = f"flux-{os.getpid()}-{next(_numbers)}"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns", name)
        for prefix, link, address in (((), "near", NEAR), (("-n", name), "far", FAR)):
            _ip(*prefix, "link", "set", "lo", "up")
            _ip(*prefix, "addr", "add", f"{address}/30", "dev", link)
            _ip(*prefix, "link", "set", link, "up")
            _ip(*prefix, "route", "add", "224.0.0.0/4", "dev", link)
        yield Network(NEAR, FAR, "near", ("ip", "netns", "exec", name))
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=10)
    except FileNotFoundError as error:
        raise NetworkImpossible(str(error)) from None
    except subprocess.CalledProcessError as error:
        raise NetworkImpossible(f"ip {' '.join(words)}: {error.stderr.strip()}") from None
