"""What a connection is made of, put together from what the handshake agreed on."""

from dataclasses import dataclass, field, replace
from typing import Self

from flux.base.serial import extend
from protocols.srt.acknowledger import Acknowledger
from protocols.srt.congestion.aimd import AimdControl
from protocols.srt.congestion.control import CongestionControl
from protocols.srt.congestion.live import LiveControl
from protocols.srt.crypto import Crypto
from protocols.srt.filter import FILTER_HEAD_BYTES, Arq, FilterLayout, FilterSender
from protocols.srt.filter_receiver import FilterReceiver
from protocols.srt.handshake import RandomBytes
from protocols.srt.handshake_wire import HsFlag
from protocols.srt.histogram import Histogram
from protocols.srt.inbox import Inbox
from protocols.srt.losses import Missing
from protocols.srt.message_inbox import MessageInbox
from protocols.srt.options import (
    HEADER_BYTES,
    UDP_IPV4_BYTES,
    UDP_IPV6_BYTES,
    Control,
    Mode,
    Options,
)
from protocols.srt.packet import SEQUENCE_BITS
from protocols.srt.playout import Playout
from protocols.srt.rates import MIN_CAPACITY, MIN_FILE_CAPACITY
from protocols.srt.receiver import Receiver
from protocols.srt.result import HandshakeResult
from protocols.srt.rtt import RttEstimator
from protocols.srt.sender import Sender
from protocols.srt.tsbpd import PlayClock

MIN_LATENCY = 0.001  # of a live peer that wants none: its packets are timed all the same
FILE_CONTROL = "file"


@dataclass(slots=True)
class Recovery:
    """How losses ended. `times`: ms from noticing to arrival; `attempts`: questions it took."""

    times: Histogram = field(default_factory=Histogram)
    attempts: dict[int, int] = field(default_factory=dict)
    overtaken: Histogram = field(default_factory=Histogram)  # ms that reordered packets were late

    def note(self, missing: Missing, is_again: bool, now: float) -> None:
        """A missing packet came; `is_again`: because it was sent again."""
        milliseconds = (now - missing.seen_at) * 1000
        if not is_again:
            self.overtaken.observe(milliseconds)
            return
        self.times.observe(milliseconds)
        self.attempts[missing.asked] = self.attempts.get(missing.asked, 0) + 1


@dataclass(slots=True)
class Parts:
    """The machines of one connection."""

    result: HandshakeResult
    options: Options
    rtt: RttEstimator
    crypto: Crypto
    inbox: Inbox
    is_inbox_shared: bool  # by the links of a group, whose business its time then is
    receiver: Receiver
    acks: Acknowledger
    sender: Sender
    filter: FilterReceiver | None
    recovery: Recovery
    max_payload_bytes: int

    @classmethod
    def build(
        cls,
        result: HandshakeResult,
        options: Options,
        random: RandomBytes,
        now: float,
        inbox: Inbox | None,
    ) -> Self:
        """Everything, as agreed."""
        rtt = RttEstimator(result.rtt)
        crypto = Crypto(result.secrets, options.security, random)
        layout = FilterLayout.parse(result.filter) if result.filter else None
        is_shared = inbox is not None
        first = result.receive_sequence
        if inbox is None:
            inbox = make_inbox(result, options)
        else:
            first = extend(first, inbox.expected, SEQUENCE_BITS)
        recovery = Recovery()
        receiver = Receiver(
            first,
            result.socket_id,
            inbox,
            rtt,
            crypto.receiving,
            arq=layout.arq if layout is not None else Arq.ALWAYS,
            capacity=options.receive_buffer_packets,
            on_arrival=recovery.note,
            repair=options.repair,
            now=now,
        )
        size = max_payload(result, options, crypto.overhead_bytes, layout is not None)
        return cls(
            result,
            options,
            rtt,
            crypto,
            inbox,
            is_shared,
            receiver,
            Acknowledger(first, rtt, now, MIN_CAPACITY if options.is_live else MIN_FILE_CAPACITY),
            make_sender(result, options, rtt, crypto, layout, size, now),
            FilterReceiver(layout, result.receive_sequence, result.socket_id) if layout else None,
            recovery,
            size,
        )


def make_inbox(result: HandshakeResult, options: Options) -> Inbox:
    """The receive buffer of a connection by itself."""
    first, capacity = result.receive_sequence, options.receive_buffer_packets
    if result.mode != Mode.LIVE:
        return MessageInbox(first, capacity, result.mode == Mode.STREAM)
    clock = PlayClock(result.peer_started_at, result.receive_latency_ms / 1000)
    return Playout(first, clock, capacity, options.repair.drops_late)


def make_control(
    result: HandshakeResult, options: Options, payload_bytes: int
) -> CongestionControl:
    """What decides how fast is sent."""
    control = options.control
    if control is Control.BY_NAME and options.congestion_name == FILE_CONTROL:
        control = Control.AIMD
    if control is Control.AIMD:
        window = min(options.flow_window, options.send_buffer_packets)
        return AimdControl(payload_bytes, window, options.rate.max_rate, options.is_live)
    return LiveControl(options.rate)


def make_sender(
    result: HandshakeResult,
    options: Options,
    rtt: RttEstimator,
    crypto: Crypto,
    layout: FilterLayout | None,
    payload_bytes: int,
    now: float,
) -> Sender:
    """The sending half."""
    packet_filter = None
    if layout is not None:
        sealed_bytes = payload_bytes + crypto.overhead_bytes
        packet_filter = FilterSender(
            layout, result.send_sequence, result.peer_socket_id, sealed_bytes
        )
    latency = 0.0
    if result.mode == Mode.LIVE:
        latency = max(result.send_latency_ms / 1000, MIN_LATENCY)
    repair, flags = options.repair, result.peer_flags
    is_final = layout is not None and layout.arq is Arq.NEVER
    return Sender(
        result.send_sequence,
        result.peer_socket_id,
        result.started_at,
        result.peer_window,
        rtt,
        make_control(result, options, payload_bytes),
        crypto,
        now,
        latency=latency,
        repair=replace(
            repair,
            # What waits for its turn at a narrow path is late by then.
            min_drop_age=0.0 if options.control is Control.AIMD else repair.min_drop_age,
            # A peer that waits for late packets must get them all.
            drops_late=repair.drops_late and bool(flags & HsFlag.DROP_LATE),
            has_periodic_nak=is_final or bool(flags & HsFlag.PERIODIC_NAK),
            has_tail_probe=repair.has_tail_probe and not is_final,
        ),
        repair_rate=options.rate.max_repair_rate,
        overhead_percent=options.rate.overhead_percent,
        capacity=options.send_buffer_packets,
        packet_filter=packet_filter,
        peer_version=result.peer_version,
    )


def max_payload(
    result: HandshakeResult, options: Options, sealing_bytes: int, has_filter: bool
) -> int:
    """The longest payload of a packet."""
    udp = UDP_IPV6_BYTES if ":" in str(result.peer[0]) else UDP_IPV4_BYTES
    size = result.mtu - udp - HEADER_BYTES - sealing_bytes
    if has_filter:
        # Filter packets are as long as the longest payload and four bytes.
        return min(size - FILTER_HEAD_BYTES, options.payload_bytes)
    return size
