"""Options of one SRT connection and of a listener; libsrt's defaults unless a comment says why not.

Each group of options belongs to the machines that read it. Times are seconds unless the name says
otherwise; latencies are whole milliseconds because they travel so.
"""

from dataclasses import dataclass, field
from enum import IntEnum

from flux.base.errors import ConfigError

MIN_PASSPHRASE_BYTES = 10
MAX_PASSPHRASE_BYTES = 80
MAX_STREAM_ID_BYTES = 512
KEY_SIZES = (16, 24, 32)
MIN_MTU = 116  # room for a word of data with all there can be before it; libsrt takes less
MAX_MTU = 65_535
MIN_WINDOW = 32  # packets, as libsrt
MAX_LATENCY_MS = 0xFFFF
MIN_DROP_AGE = 1.0  # seconds, as libsrt

HEADER_BYTES = 16  # of an SRT packet
UDP_IPV4_BYTES = 28
UDP_IPV6_BYTES = 48
LEISURE = 0.030  # seconds that what comes may lie, unless the application says otherwise


class Mode(IntEnum):
    """What the connection carries (draft section 4.2)."""

    LIVE = 0  # one packet is one message, played out in time
    MESSAGE = 1  # whole messages of many packets, nothing dropped for age
    STREAM = 2  # bytes without borders: file transfer, the STREAM flag


class Control(IntEnum):
    """What decides how fast we send; the peer need not know."""

    BY_NAME = 0  # what the name on the wire says: pacing for "live", AIMD for "file"
    PACING = 1
    AIMD = 2


class CipherMode(IntEnum):
    """Which cipher is asked for."""

    AUTO = 0  # as initiator CTR, as responder whatever is offered
    CTR = 1
    GCM = 2


class GroupType(IntEnum):
    """How the links of a group share the work (draft section 3.2.1.4)."""

    UNDEFINED = 0
    BROADCAST = 1
    BACKUP = 2
    BALANCING = 3


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """Encryption; without passphrase there is none."""

    passphrase: str = field(default="", repr=False)  # 10..80 bytes of UTF-8
    key_bytes: int = 0  # 16, 24, 32; 0: the initiator takes the listener's, else 16
    cipher: CipherMode = CipherMode.AUTO
    is_enforced: bool = True  # refuse a peer with another secret, or with none
    refresh_packets: int = 1 << 24  # sent with one key; 0: never another
    announce_packets: int = 1 << 12  # before and after the switch both keys are known


@dataclass(frozen=True, slots=True)
class GroupOffer:
    """Membership of a group as one side announces it (draft section 3.2.1.4)."""

    group_id: int  # bit 30 set
    kind: GroupType
    weight: int = 0  # 16 bits: priority of a backup link
    flags: int = 0  # bit 0: synchronised on message numbers


@dataclass(frozen=True, slots=True)
class RateOptions:
    """Pacing and congestion control. Rates are bytes per second, as libsrt's."""

    max_rate: int = -1  # -1: 1 Gbit/s; 0: relative to the input; else that much
    input_rate: int = 0  # with max_rate 0; 0: measured
    min_input_rate: int = 0  # floor of the measured one
    overhead_percent: int = 25  # room for repair over the input rate, 5..100
    max_repair_rate: int = -1  # of retransmissions; -1: overhead_percent of the input


@dataclass(frozen=True, slots=True)
class RepairOptions:
    """Loss detection, repair and giving up."""

    has_periodic_nak: bool = True  # ask again for what does not come
    drops_late: bool = True  # TLPKTDROP: what is too late is skipped
    send_drop_delay: float = 0.0  # added to the peer's latency before the sender drops; -1: never
    min_drop_age: float = MIN_DROP_AGE  # seconds that the sender keeps a packet at least
    reorder_max_packets: int = 0  # lossmaxttl: so many may overtake one that is not lost
    has_tail_probe: bool = True
    doubles_last_chance: bool = False  # the last useful retransmission is sent twice


@dataclass(frozen=True, slots=True)
class Options:
    """One connection, of either side."""

    mode: Mode = Mode.LIVE
    stream_id: str = ""  # of the caller
    receive_latency_ms: int = 120
    peer_latency_ms: int = 0  # the least that the peer shall take
    congestion: str = ""  # name on the wire; empty: "live" or "file", as the mode wants
    control: Control = Control.BY_NAME
    filter: str = ""  # packet filter: "fec,cols:10,rows:5"; empty: none
    group: GroupOffer | None = None  # as caller: the group that this link joins

    mtu: int = 1500  # of the path, IP and UDP headers included
    flow_window: int = 25_600  # packets in flight at most
    send_buffer_packets: int = 8192
    receive_buffer_packets: int = 8192
    payload_bytes: int = 1316  # of a packet in live mode

    connect_timeout: float = 3.0  # ten times as long in rendezvous
    idle_timeout: float = 5.0  # without a packet of the peer
    keepalive_interval: float = 1.0
    linger: float = 180.0  # of file modes: unsent data at close

    security: SecurityOptions = field(default_factory=SecurityOptions)
    rate: RateOptions = field(default_factory=RateOptions)
    repair: RepairOptions = field(default_factory=RepairOptions)

    @property
    def is_live(self) -> bool:
        """Whether packets are played out in time."""
        return self.mode == Mode.LIVE

    @property
    def congestion_name(self) -> str:
        """What the wire calls the congestion control."""
        return self.congestion or ("live" if self.mode == Mode.LIVE else "file")

    @property
    def window_packets(self) -> int:
        """The flow window that the handshake advertises."""
        return min(self.flow_window, self.receive_buffer_packets)


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """A listening port. What a connection gets is chosen at `accept`."""

    key_bytes: int = 0  # advertised to callers before anything is known of them; 0: none
    mtu: int = 1500
    is_group_allowed: bool = False  # callers may bring links of a group

    answer_timeout: float = 3.0  # of the application and of the key; then the request is dropped
    linger: float = 10.0  # a rejection is remembered that long for repeats
    wrong_secret_delay: float = 0.0  # so late are those refused that guess a passphrase
    # Seconds; a cookie is good for one to two of these. So long a closed connection is remembered
    # too, as a recorded conclusion must not open it once more.
    cookie_lifetime: float = 60.0

    max_waiting: int = 256  # requests that wait for an answer
    max_waiting_per_host: int = 64
    max_accepted_per_host: int = 1024  # connections
    max_rejections: int = 1024  # remembered ones
    max_closed: int = 4096  # remembered connections
    max_requests_per_host: int = 250  # new ones in one second; each may cost a key
    max_requests: int = 2000  # new ones in one second, all hosts together
    max_inductions_per_host: int = 1000  # answered in one second
    max_inductions: int = 20_000  # answered in one second, all hosts together


def check(options: Options) -> None:
    """Refuse what no handshake can carry. Raises ConfigError with the name of the option."""
    security = options.security
    size = len(security.passphrase.encode())
    if size and not MIN_PASSPHRASE_BYTES <= size <= MAX_PASSPHRASE_BYTES:
        raise ConfigError("passphrase", f"{size} bytes, 10 to 80 may be")
    if security.key_bytes and security.key_bytes not in KEY_SIZES:
        raise ConfigError("key_bytes", "16, 24 and 32 exist")
    if security.cipher == CipherMode.GCM and not options.is_live:
        raise ConfigError("cipher", "GCM needs live mode")
    if len(options.stream_id.encode()) > MAX_STREAM_ID_BYTES:
        raise ConfigError("stream_id", f"more than {MAX_STREAM_ID_BYTES} bytes")
    if "\0" in options.stream_id:
        raise ConfigError("stream_id", "a zero byte ends it")
    if not MIN_MTU <= options.mtu <= MAX_MTU:
        raise ConfigError("mtu", f"{MIN_MTU} to {MAX_MTU} may be")
    if options.window_packets < MIN_WINDOW:
        raise ConfigError("flow_window", "32 packets at least")
    for name, value in (
        ("receive_latency_ms", options.receive_latency_ms),
        ("peer_latency_ms", options.peer_latency_ms),
    ):
        if not 0 <= value <= MAX_LATENCY_MS:
            raise ConfigError(name, f"0 to {MAX_LATENCY_MS} may be")
