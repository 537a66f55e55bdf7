"""A network of its own for a test: this machine and one more, in a namespace, on one wire."""

import os
import subprocess
from typing import Self

NUMBERS = 256  # wires that one machine has at once


class WireUnavailable(Exception):
    """This machine does not let us make one: no root, no namespaces, no `ip`."""


class Wire:
    """A veth pair whose far end lies in a namespace; `run` puts a command there.

    Public: `interface`, its near end; `far`, `far_other` and `far_v6`, addresses of the far one.
    Names and addresses are those of no other wire: several workers have one at the same time.
    """

    def __init__(self) -> None:
        self._take(os.getpid() % NUMBERS)

    def _take(self, number: int) -> None:
        self._number = number
        self.namespace = f"flux-wire-{number}"
        self.interface = f"fluxn{number}"
        self.far, self.far_other = (f"10.77.{number}.{host}" for host in (2, 3))
        self.far_v6 = f"fd77:0:0:{number + 1:x}::2"  # as a system writes it: a 0 would be left out

    def run(self, *command: str) -> list[str]:
        """The command as it runs at the far end."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def counters(self) -> str:
        """What the system counted at both ends and of the datagrams that came."""
        near = ["ip", "-s", "-s", "link", "show", self.interface]
        commands = (near, self.run("ip", "-s", "-s", "link"), ["cat", "/proc/net/snmp6"])
        done = [
            subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
            for command in commands
        ]
        return "\n".join(each.stdout + each.stderr for each in done)

    def __enter__(self) -> Self:
        try:
            self._name()
        except (OSError, subprocess.CalledProcessError) as error:
            raise WireUnavailable(str(error)) from error
        try:
            self._lay()
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            raise WireUnavailable(str(error)) from error
        return self

    def __exit__(self, *_: object) -> None:
        for command in (("link", "del", self.interface), ("netns", "del", self.namespace)):
            subprocess.run(["ip", *command], capture_output=True, check=False, timeout=10)

    def _name(self) -> None:
        """Make the namespace of the first number from ours on that nobody has."""
        first = self._number
        for step in range(NUMBERS):
            self._take((first + step) % NUMBERS)
            try:
                return _ip("netns", "add", self.namespace)
            except subprocess.CalledProcessError as error:
                if b"File exists" not in error.stderr or step == NUMBERS - 1:
                    raise
        return None

    def _lay(self) -> None:
        far = f"fluxf{self._number}"
        near, near_v6 = self.far[:-1] + "1", self.far_v6[:-1] + "1"
        _ip("link", "add", self.interface, "type", "veth", "peer", far, "netns", self.namespace)
        _ip("addr", "add", f"{near}/24", "dev", self.interface)
        _ip("addr", "add", f"{near_v6}/64", "dev", self.interface, "nodad")
        _ip("link", "set", self.interface, "up")
        there = ("-n", self.namespace)
        for address in (self.far, self.far_other):
            _ip(*there, "addr", "add", f"{address}/24", "dev", far)
        _ip(*there, "addr", "add", f"{self.far_v6}/64", "dev", far, "nodad")
        for link in ("lo", far):
            _ip(*there, "link", "set", link, "up")
        _ip(*there, "route", "add", "224.0.0.0/4", "dev", far)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, check=True, timeout=10)
