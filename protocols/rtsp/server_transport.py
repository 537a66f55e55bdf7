"""What of a client's Transport header can be had, RFC 2326 section 12.39.

Three rules. Media goes to the client and to nobody else: a `destination` of another host takes an
offer out (section 16.3 calls it a denial-of-service tool). A multicast group, its ports and its TTL
are the server's choice. Interleaved channels are the client's choice while they are a free pair of
neighbours, else the server's (section 12.39 lets it choose).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from flux.base.addresses import plain_address
from protocols.rtsp.transport import TCP, PortPair, Transport, parse_transports

MAX_CHANNEL = 255
RECORD_MODES = ("record", "receive")  # the second of old drafts, QuickTime Broadcaster sends it


@dataclass(frozen=True, slots=True)
class Offers:
    """The offers that can be had, in the client's order."""

    transports: tuple[Transport, ...]
    foreign: int = 0  # that lead to another host


def is_record_mode(value: str) -> bool:
    """Whether a Transport header asks for sending to the server."""
    return any(
        word.strip(" \"'") in RECORD_MODES
        for transport in parse_transports(value)
        for word in transport.mode.split(",")
    )


def offers_of(
    value: str, address: str, *, is_record: bool, is_taken: Callable[[int], bool]
) -> Offers:
    """Read a Transport header of the client at `address`; `is_taken` knows the channels in use."""
    found: list[Transport] = []
    foreign = 0
    own = plain_address(address)
    for offer in parse_transports(value):
        clean = replace(
            offer,
            server_port=None,
            port=None,
            ttl=None,
            source="",
            ssrc=offer.ssrc if is_record else None,
            mode="record" if is_record else offer.mode,
        )
        if offer.lower == TCP:
            channels = free_pair(offer.interleaved, is_taken)
            if channels is not None and not offer.is_multicast:
                found.append(replace(clean, interleaved=channels, client_port=None, destination=""))
        elif offer.is_multicast:
            if not is_record:
                found.append(replace(clean, destination="", client_port=None, interleaved=None))
        elif offer.destination and plain_address(offer.destination.strip("[]")) != own:
            foreign += 1
        elif offer.client_port is not None and offer.client_port.rtp and offer.client_port.rtcp:
            found.append(replace(clean, interleaved=None))
    return Offers(tuple(found), foreign)


def free_pair(wanted: PortPair | None, is_taken: Callable[[int], bool]) -> PortPair | None:
    """The channels that a client gets: its own or the lowest free ones; None if none are left."""
    pairs = [PortPair(first, first + 1) for first in range(0, MAX_CHANNEL, 2)]
    if wanted is not None and wanted.rtcp == wanted.rtp + 1:
        pairs.insert(0, wanted)
    return next((p for p in pairs if not is_taken(p.rtp) and not is_taken(p.rtcp)), None)


def leads_elsewhere(chosen: Transport, address: str) -> bool:
    """Whether a unicast transport would send to another host than the client."""
    if chosen.is_multicast or not chosen.destination:
        return False
    return plain_address(chosen.destination) != plain_address(address)


def channels_of(transports: Collection[Transport]) -> set[int]:
    """Every channel of these transports."""
    pairs = [transport.interleaved for transport in transports if transport.lower == TCP]
    return {channel for pair in pairs if pair is not None for channel in (pair.rtp, pair.rtcp)}
