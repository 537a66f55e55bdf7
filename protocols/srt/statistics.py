"""Statistics under libsrt's names, in total and since the last look, and what libsrt does not show.

Bytes count as libsrt counts them: payloads and 44 bytes of headers for each packet, of lost ones as
many as the mean. Names with `Total` are of the whole connection, the same without it of the
interval, the others of this moment. docs/srt.md has a line for each.
"""

from dataclasses import dataclass

from protocols.srt.congestion.control import UNLIMITED_RATE, WIRE_OVERHEAD_BYTES
from protocols.srt.message_inbox import MessageInbox
from protocols.srt.parts import Parts
from protocols.srt.playout import Playout
from protocols.srt.receive_count import ReceiveCount

Number = float | int
MEGA = 1e6
NO_WINDOW_PACKETS = 8192  # what libsrt shows where there is no congestion window


@dataclass(frozen=True, slots=True)
class Statistics:
    """One look. `values` by libsrt's name; `reasons`: what was refused; `extra`: see `to_json`."""

    values: dict[str, Number]
    reasons: dict[str, int]
    extra: dict[str, object]
    socket_id: int = 0  # ours

    def to_json(self) -> dict[str, object]:
        """All of it: libsrt's names, `reasons`, and histograms, drift and causes under `flux`."""
        return {**self.values, "reasons": dict(self.reasons), "flux": self.extra}

    def to_tool_json(self, timepoint: str) -> dict[str, object]:
        """The groups that srt-live-transmit prints, of the interval; `timepoint`: of the clock."""
        get = self.values.__getitem__
        return {
            "sid": self.socket_id,
            "timepoint": timepoint,
            "time": get("msTimeStamp"),
            "window": {
                "flow": get("pktFlowWindow"),
                "congestion": get("pktCongestionWindow"),
                "flight": get("pktFlightSize"),
            },
            "link": {
                "rtt": get("msRTT"),
                "bandwidth": get("mbpsBandwidth"),
                "maxBandwidth": get("mbpsMaxBW"),
            },
            "send": {name: get(key) for name, key in TOOL_SEND.items()},
            "recv": {name: get(key) for name, key in TOOL_RECEIVE.items()},
        }


TOOL_SEND = {
    "packets": "pktSent",
    "packetsUnique": "pktSentUnique",
    "packetsLost": "pktSndLoss",
    "packetsDropped": "pktSndDrop",
    "packetsRetransmitted": "pktRetrans",
    "packetsFilterExtra": "pktSndFilterExtra",
    "bytes": "byteSent",
    "bytesUnique": "byteSentUnique",
    "bytesDropped": "byteSndDrop",
    "byteAvailBuf": "byteAvailSndBuf",
    "msBuf": "msSndBuf",
    "mbitRate": "mbpsSendRate",
    "sendPeriod": "usPktSndPeriod",
}
TOOL_RECEIVE = {
    "packets": "pktRecv",
    "packetsUnique": "pktRecvUnique",
    "packetsLost": "pktRcvLoss",
    "packetsDropped": "pktRcvDrop",
    "packetsRetransmitted": "pktRcvRetrans",
    "packetsBelated": "pktRcvBelated",
    "packetsFilterExtra": "pktRcvFilterExtra",
    "packetsFilterSupply": "pktRcvFilterSupply",
    "packetsFilterLoss": "pktRcvFilterLoss",
    "bytes": "byteRecv",
    "bytesUnique": "byteRecvUnique",
    "bytesLost": "byteRcvLoss",
    "bytesDropped": "byteRcvDrop",
    "byteAvailBuf": "byteAvailRcvBuf",
    "msBuf": "msRcvBuf",
    "mbitRate": "mbpsRecvRate",
    "msTsbPdDelay": "msRcvTsbPdDelay",
}


class Meter:
    """Looks at a connection's parts. The interval begins at the last look that cleared it."""

    __slots__ = ("_before", "_began_at", "_parts")

    def __init__(self, parts: Parts, now: float) -> None:
        self._parts = parts
        self._before: dict[str, int] = {}
        self._began_at = now

    def look(self, now: float, reasons: dict[str, int], is_clearing: bool) -> Statistics:
        """Everything; `reasons` of the connection itself are joined to those of its parts."""
        parts = self._parts
        totals = totals_of(parts, now)
        span = max(now - self._began_at, 1e-6)
        interval = {name: value - self._before.get(name, 0) for name, value in totals.items()}
        values: dict[str, Number] = {
            "msTimeStamp": int((now - parts.result.established_at) * 1000),
            **{name + "Total": value for name, value in totals.items()},
            **interval,
            "mbpsSendRate": interval["byteSent"] * 8 / span / MEGA,
            "mbpsRecvRate": interval["byteRecv"] * 8 / span / MEGA,
            **present_of(parts),
        }
        if is_clearing:
            self._before = totals
            self._began_at = now
            parts.receiver.count.reorder_distance = 0
        joined: dict[str, int] = dict(reasons)
        counts = (parts.sender.count.reasons, parts.receiver.count.reasons, parts.crypto.counters)
        for source in counts:
            for reason, number in source.items():
                joined[reason] = joined.get(reason, 0) + number
        return Statistics(values, joined, extra_of(parts), parts.result.socket_id)


def totals_of(parts: Parts, now: float) -> dict[str, int]:
    """Everything that only grows, by its name without `Total`."""
    sent, received = parts.sender.count, parts.receiver.count
    inbox, filters = parts.inbox, parts.filter
    extra, rebuilt, mended_not = 0, 0, 0
    extra_bytes = rebuilt_bytes = 0
    if filters is not None:
        extra, rebuilt, mended_not = filters.filter_packets, filters.rebuilt, filters.lost
        extra_bytes, rebuilt_bytes = filters.filter_bytes, filters.rebuilt_bytes
    if isinstance(inbox, Playout):
        dropped = inbox.skipped + inbox.unreadable
    else:
        dropped = inbox.given_up if isinstance(inbox, MessageInbox) else 0
    mean = mean_of(received)
    wire = WIRE_OVERHEAD_BYTES
    # What the filter rebuilt was never received.
    packets = received.packets + extra - rebuilt
    readable = received.unique - received.unreadable
    return {
        "pktSent": sent.packets + sent.filter_packets,
        "pktRecv": packets,
        "pktSndLoss": sent.lost,
        "pktRcvLoss": received.lost,
        "pktRetrans": sent.repeated,
        "pktRcvRetrans": max(received.retransmitted - rebuilt, 0),
        "pktSentACK": parts.acks.full,
        "pktRecvACK": sent.acks,
        "pktSentNAK": received.naks,
        "pktRecvNAK": sent.naks,
        "usSndDuration": int(sent.active(now) * MEGA),
        "pktSndDrop": sent.dropped,
        "pktRcvDrop": dropped,
        "pktRcvUndecrypt": received.undecryptable,
        "pktRcvBelated": received.belated,
        "byteSent": sent.bytes + sent.filter_bytes + wire * (sent.packets + sent.filter_packets),
        "byteRecv": received.bytes
        + received.undecryptable_bytes
        + extra_bytes
        - rebuilt_bytes
        + wire * packets,
        "byteRcvLoss": (mean + wire) * received.lost,
        "byteRetrans": sent.repeated_bytes + wire * sent.repeated,
        "byteSndDrop": sent.dropped_bytes + wire * sent.dropped,
        "byteRcvDrop": (mean + wire) * dropped,
        "byteRcvUndecrypt": received.undecryptable_bytes + wire * received.undecryptable,
        "pktSentUnique": sent.unique,
        "pktRecvUnique": readable,
        "byteSentUnique": sent.unique_bytes + wire * sent.unique,
        "byteRecvUnique": received.unique_bytes + wire * readable,
        "pktSndFilterExtra": sent.filter_packets,
        "pktRcvFilterExtra": extra,
        "pktRcvFilterSupply": rebuilt,
        "pktRcvFilterLoss": mended_not,
    }


def mean_of(received: ReceiveCount) -> int:
    """Bytes of a payload that came."""
    return received.bytes // received.packets if received.packets else 0


def present_of(parts: Parts) -> dict[str, Number]:
    """What holds at this moment."""
    sender, inbox, rate = parts.sender, parts.inbox, parts.acks.rate
    control, buffer, options = sender.control, sender.buffer, parts.options
    packet_bytes = parts.max_payload_bytes + WIRE_OVERHEAD_BYTES
    mtu = parts.result.mtu
    received = parts.receiver.count
    window = control.window
    unacknowledged = buffer.end - sender.acknowledged
    room = inbox.room()
    held = max(options.receive_buffer_packets - room, 0)  # acknowledged ones: those without a hole
    return {
        "usPktSndPeriod": packet_bytes / control.rate * MEGA if control.rate else 0.0,
        "pktFlowWindow": int(sender.peer_window),
        "pktCongestionWindow": int(window) if window < 1e9 else NO_WINDOW_PACKETS,
        "pktFlightSize": buffer.unsent - sender.acknowledged,
        "msRTT": parts.rtt.rtt * 1000,
        "mbpsBandwidth": (sender.peer_capacity or rate.capacity) * packet_bytes * 8 / MEGA,
        "mbpsMaxBW": min(control.rate, UNLIMITED_RATE) * 8 / MEGA,
        "byteMSS": mtu,
        "byteAvailSndBuf": max(options.send_buffer_packets - len(buffer), 0) * mtu,
        "byteAvailRcvBuf": room * mtu,
        "pktSndBuf": unacknowledged,
        "byteSndBuf": buffer.bytes_from(sender.acknowledged) + WIRE_OVERHEAD_BYTES * unacknowledged,
        "msSndBuf": int(buffer.seconds_from(sender.acknowledged) * 1000),
        "msSndTsbPdDelay": parts.result.send_latency_ms,
        "pktRcvBuf": held,
        "byteRcvBuf": held * (mean_of(received) + WIRE_OVERHEAD_BYTES),
        "msRcvBuf": int(inbox.held_seconds * 1000) if isinstance(inbox, Playout) else 0,
        "msRcvTsbPdDelay": parts.result.receive_latency_ms,
        "pktReorderDistance": received.reorder_distance,
        "pktReorderTolerance": int(parts.receiver.tolerance.seconds * rate.packets),
        "pktRcvAvgBelatedTime": received.belated_mean_ms,
    }


def extra_of(parts: Parts) -> dict[str, object]:
    """What libsrt does not show."""
    sent, received, recovery = parts.sender.count, parts.receiver.count, parts.recovery
    inbox, clock = parts.inbox, parts.inbox.clock
    return {
        "msRTTVar": parts.rtt.variance * 1000,
        "msLowestRTT": parts.rtt.lowest * 1000,
        "msDrift": clock.drift.applied * 1000 if clock is not None else 0.0,
        "msDriftEstimate": clock.drift.estimate * 1000 if clock is not None else 0.0,
        "msReorderTolerance": parts.receiver.tolerance.seconds * 1000,
        "recoveryMs": recovery.times.to_json(),
        "recoveryAttempts": {str(tries): count for tries, count in recovery.attempts.items()},
        "reorderedMs": recovery.overtaken.to_json(),
        "latenessMs": inbox.lateness.to_json() if isinstance(inbox, Playout) else None,
        "pktRecovered": received.recovered,
        "pktReordered": received.reordered,
        "pktDuplicate": received.duplicates,
        "pktSentLightACK": parts.acks.light,
        "pktRecvLightACK": sent.light_acks,
        "pktAsked": received.asked,
        "pktDoubled": sent.doubled,
        "pktUnasked": sent.unasked,
        "pktProbes": sent.probes,
        "timeouts": sent.timeouts,
        "pktsPairCapacity": parts.acks.rate.pairs.capacity,
        "pktsReceiveRate": parts.acks.rate.packets,
        "pktsHighestReceiveRate": parts.acks.rate.highest,
        "sendKeys": int(parts.crypto.send_state),
        "receiveKeys": int(parts.crypto.receive_state),
    }
