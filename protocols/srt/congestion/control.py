"""The interface of congestion control. Rates are bytes per second on the wire, with all headers."""

from dataclasses import dataclass
from typing import Protocol

WIRE_OVERHEAD_BYTES = 44  # SRT, UDP and IPv4 headers
UNLIMITED_RATE = 125_000_000.0  # 1 Gbit/s, as libsrt's -1
NO_WINDOW = float("inf")


@dataclass(slots=True)
class AckSample:
    """What an acknowledgement tells. Numbers are unwrapped, times seconds."""

    position: int  # all before it has come
    acknowledged: int  # packets that are new with this one
    in_flight: int  # packets
    rtt: float
    rtt_variance: float
    is_measured: bool = True  # the round trip; else it is a guess
    is_waiting: bool = False  # more would be sent if it might
    receive_packets: float = 0.0  # per second, as the peer measured; 0: it did not say
    capacity_packets: float = 0.0  # of the link, as the peer thinks


class CongestionControl(Protocol):
    """One connection's. `window` is packets in flight at most; `rate` is for the pacer.

    `hears_acks`: `on_ack` does something.
    """

    window: float
    rate: float
    hears_acks: bool

    def on_input(self, packets: int, size: int, now: float) -> None:
        """The application gave packets, `size` bytes together on the wire."""

    def on_ack(self, sample: AckSample, now: float) -> None:
        """The peer acknowledged."""

    def on_loss(self, lost: int, last: int, end: int, now: float) -> None:
        """The peer misses `lost` packets more, up to `last`; `end` is behind the highest sent."""

    def on_timeout(self, now: float) -> None:
        """Nothing was acknowledged for too long."""
