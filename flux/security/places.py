"""Where somebody comes from: the IP address of a peer, and the key that it is counted under."""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from config.access import Network

HOST_BITS = 64  # of an IPv6 address: whoever has one of a /64 has them all
MAX_TEXT = 64  # characters of an address that is none, such as that of a Unix socket


@dataclass(frozen=True, slots=True)
class Place:
    """An address; `key` is what failures are counted by: IPv4 as it is, IPv6 by its /64."""

    address: IPv4Address | IPv6Address | None  # None: not an IP address, so in no range
    key: str

    def is_in(self, networks: tuple[Network, ...]) -> bool:
        """Whether one of these ranges holds it."""
        address = self.address
        if address is None:
            return False
        # Of two versions the answer is False.
        return any(address in network for network in networks)


@lru_cache(maxsize=4096)
def place_of(text: str) -> Place:
    """The place of an address as a socket has it; `::ffff:192.0.2.1` is 192.0.2.1."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return Place(None, text[:MAX_TEXT])
    if isinstance(address, IPv4Address):
        return Place(address, str(address))
    if address.ipv4_mapped is not None:
        return Place(address.ipv4_mapped, str(address.ipv4_mapped))
    prefix = IPv6Address(int(address) >> HOST_BITS << HOST_BITS)
    return Place(address, f"{prefix}/{128 - HOST_BITS}")
