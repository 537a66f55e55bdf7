"""Packets on their way from a packetizer to a depacketizer, some of them lost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from media.payloads.base import Depacketizer, Packetizer, Unit


@dataclass
class Packet:
    """What a depacketizer is given of one RTP packet."""

    payload: bytes
    marker: bool
    sequence: int
    timestamp: int


@dataclass
class Drops:
    """A drop callback that remembers."""

    reasons: list[str] = field(default_factory=list)

    def __call__(self, reason: str) -> None:
        self.reasons.append(reason)


def packets_of(
    packetizer: Packetizer,
    units: Iterable[tuple[bytes, ...]],
    *,
    sequence: int = 70_000,
    timestamp: int = 5_000_000_000,
    step: int = 3000,
) -> list[Packet]:
    """All packets of some units, numbered, one time stamp a unit."""
    packets: list[Packet] = []
    for index, unit in enumerate(units):
        for payload, marker in packetizer.packetize(unit):
            packets.append(
                Packet(payload, marker, sequence + len(packets), timestamp + index * step)
            )
    return packets


def number(
    *payloads: bytes, timestamp: int = 0, marker: bool = True, sequence: int = 0
) -> list[Packet]:
    """Packets of one unit; the marker, if there is one, is on the last."""
    last = len(payloads) - 1
    return [
        Packet(payload, marker and index == last, sequence + index, timestamp)
        for index, payload in enumerate(payloads)
    ]


def deliver(depacketizer: Depacketizer, packets: Iterable[Packet]) -> list[Unit]:
    """The units that come out."""
    units: list[Unit] = []
    for packet in packets:
        units += depacketizer.push(packet.payload, packet.marker, packet.sequence, packet.timestamp)
    return units


def without(packets: Sequence[Packet], *indices: int) -> list[Packet]:
    """The packets less those at some indices."""
    return [packet for index, packet in enumerate(packets) if index not in indices]
