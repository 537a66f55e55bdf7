"""A network of its own for a test: this machine and one more, in a namespace, on one wire."""

import os
import subprocess
from typing import Self

NEAR, FAR = "10.77.0.1", "10.77.0.2"
FAR_OTHER = "10.77.0.3"
NEAR_V6, FAR_V6 = "fd77::1", "fd77::2"


class WireUnavailable(Exception):
    """This machine does not let us make one: no root, no namespaces, no `ip`."""


class Wire:
    """A veth pair whose far end lies in a namespace; `run` puts a command there."""

    def __init__(self) -> None:
        number = os.getpid() % 100_000
        self.namespace = f"flux{number}"
        self.interface = f"fluxn{number}"  # the near end

    def run(self, *command: str) -> list[str]:
        """The command as it runs at the far end."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def __enter__(self) -> Self:
        far = f"fluxf{os.getpid() % 100_000}"
        try:
            _ip("netns", "add", self.namespace)
            _ip("link", "add", self.interface, "type", "veth", "peer", far, "netns", self.namespace)
            _ip("addr", "add", f"{NEAR}/24", "dev", self.interface)
            _ip("addr", "add", f"{NEAR_V6}/64", "dev", self.interface, "nodad")
            _ip("link", "set", self.interface, "up")
            there = ("-n", self.namespace)
            for address in (FAR, FAR_OTHER):
                _ip(*there, "addr", "add", f"{address}/24", "dev", far)
            _ip(*there, "addr", "add", f"{FAR_V6}/64", "dev", far, "nodad")
            for link in ("lo", far):
                _ip(*there, "link", "set", link, "up")
            _ip(*there, "route", "add", "224.0.0.0/4", "dev", far)
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            raise WireUnavailable(str(error)) from error
        return self

    def __exit__(self, *_: object) -> None:
        for command in (("link", "del", self.interface), ("netns", "del", self.namespace)):
            subprocess.run(["ip", *command], capture_output=True, check=False, timeout=10)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, check=True, timeout=10)
