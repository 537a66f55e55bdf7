"""`srt://` URLs: who calls whom, and with which options. Names are those of srt-live-transmit.

    srt://HOST:PORT?streamid=ID&passphrase=TEXT&latency=MS   FLUX calls
    srt://[HOST]:PORT?mode=listener                          FLUX is called, on a port of its own
    srt://HOST:PORT?mode=rendezvous&localport=PORT           both call

Without `mode` a URL with a host calls and one without listens. `streamid` is everything up to the
next `&`, so `#!::r=cam,m=publish` needs no escaping but for `&` (%26), `#` (%23, or as it is) and
`%` (%25). `latency` counts milliseconds, as everywhere but in ffmpeg.
"""

import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote

MODES = ("caller", "listener", "rendezvous")
GROUPS = ("", "broadcast", "backup")
TRANSFER_TYPES = ("", "live", "file")
CONGESTION = ("", "live", "file", "aimd")
KEY_SIZES = (0, 16, 24, 32)
MIN_PASSPHRASE_BYTES = 10
MAX_PASSPHRASE_BYTES = 80
MAX_STREAM_ID_BYTES = 512
MAX_LATENCY_MS = 65_535
MAX_NODES = 8
OTHER_NAMES = {  # of GStreamer, of srt-live-transmit, of ffmpeg
    "adapter": "localaddress",
    "bind": "localaddress",
    "port": "localport",
    "srt_streamid": "streamid",
    "enforced_encryption": "enforcedencryption",
    "payload_size": "payloadsize",
    "pkt_size": "payloadsize",
    "rcvlatency": "receivelatency",
    "type": "group",
    "grouptype": "group",
}
NUMBERS = {  # least, greatest
    "pbkeylen": (0, 32),
    "latency": (0, MAX_LATENCY_MS),
    "receivelatency": (0, MAX_LATENCY_MS),
    "peerlatency": (0, MAX_LATENCY_MS),
    "maxbw": (-1, 10**11),
    "inputbw": (0, 10**11),
    "mininputbw": (0, 10**11),
    "oheadbw": (5, 100),
    "maxrexmitbw": (-1, 10**11),
    "linger": (0, 3600),
    "lossmaxttl": (0, 1000),
    "mss": (576, 1500),
    "payloadsize": (188, 1456),
    "conntimeo": (100, 60_000),
    "peeridletimeo": (500, 600_000),
    "localport": (1, 65_535),
    "enforcedencryption": (0, 1),
    "messageapi": (0, 1),
    "weight": (0, 65_535),
}
TEXTS = (
    *("mode", "streamid", "passphrase", "packetfilter", "localaddress", "group", "nodes"),
    *("transtype", "congestion"),
)

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]+(%25?[\w.-]+)?\]")
_NUMBER = re.compile(r"-?\d{1,12}")
_FILTER = re.compile(
    r"fec(,(cols:\d{1,4}|rows:-?\d{1,4}|layout:(even|staircase)|arq:(always|onreq|never)))*"
)


@dataclass(frozen=True, slots=True)
class SrtUrl:
    """A checked URL. Numbers that it does not give are None; the defaults hold."""

    mode: str
    host: str  # without brackets; of a listener: where it binds, "" is every address
    port: int
    local_host: str = ""
    local_port: int = 0
    stream_id: str = field(default="", repr=False)
    passphrase: str = field(default="", repr=False)
    filter: str = ""
    group: str = ""  # broadcast, backup
    nodes: tuple[tuple[str, int], ...] = ()  # hosts and ports beside the first one
    transfer_type: str = ""  # live, file
    congestion: str = ""  # live, file, aimd
    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int | None:
        """An option of `NUMBERS`; None: not given."""
        return self.numbers.get(name)

    @property
    def address(self) -> str:
        """HOST:PORT as people write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check a URL; `ValueError` says what is wrong without repeating it."""
        scheme, _, rest = text.partition("://")
        if scheme.lower() != "srt" or not rest:
            raise ValueError("expected srt://HOST:PORT?OPTIONS")
        place, _, query = rest.partition("?")
        host, port = _place_of(place.removesuffix("/"))
        options = _options_of(query)
        numbers = {name: _number(name, options.pop(name)) for name in NUMBERS if name in options}
        mode = options.get("mode") or ("caller" if host else "listener")
        if mode not in MODES:
            raise ValueError(f"expected mode={', mode='.join(MODES)}")
        if not host and mode != "listener":
            raise ValueError(f"expected srt://HOST:PORT, a {mode} needs a host")
        _check_texts(options, numbers)
        nodes = tuple(_place_of(node) for node in options.get("nodes", "").split(",") if node)
        group = options.get("group", "")
        if group not in GROUPS or len(nodes) > MAX_NODES or bool(nodes) != bool(group):
            raise ValueError("expected group=broadcast or group=backup with nodes=HOST:PORT,...")
        if group and mode != "caller":
            raise ValueError("expected mode=caller with a group")
        return cls(
            mode,
            host,
            port,
            options.get("localaddress", "").strip("[]"),
            numbers.get("localport", port if mode == "rendezvous" else 0),
            options.get("streamid", ""),
            options.get("passphrase", ""),
            options.get("packetfilter", ""),
            group,
            nodes,
            options.get("transtype", ""),
            options.get("congestion", ""),
            numbers,
        )


def _place_of(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) <= 65_535):
        raise ValueError("expected srt://HOST:PORT with a port from 1 to 65535")
    if host in ("", "*"):
        return "", int(port)
    if "@" in host:
        raise ValueError("expected no user in the URL; it goes into the streamid")
    if not _HOST.fullmatch(host):
        raise ValueError("expected srt://HOST:PORT, with a name or an address")
    return host.strip("[]").replace("%25", "%"), int(port)


def _options_of(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        name = OTHER_NAMES.get(name.lower(), name.lower())
        if name not in NUMBERS and name not in TEXTS:
            raise ValueError(f"expected the options {', '.join((*TEXTS, *NUMBERS))}")
        if name in options:
            raise ValueError(f"expected {name} once")
        options[name] = unquote(value)
    return options


def _number(name: str, text: str) -> int:
    least, greatest = NUMBERS[name]
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= greatest:
        why = ", in milliseconds" if "latency" in name else ""
        raise ValueError(f"expected {name} from {least} to {greatest}{why}")
    if name == "pbkeylen" and int(text) not in KEY_SIZES:
        raise ValueError("expected pbkeylen=16, 24 or 32")
    return int(text)


def _check_texts(options: dict[str, str], numbers: dict[str, int]) -> None:
    passphrase = options.get("passphrase", "")
    size = len(passphrase.encode())
    if passphrase and not MIN_PASSPHRASE_BYTES <= size <= MAX_PASSPHRASE_BYTES:
        raise ValueError(f"expected a passphrase of 10 to 80 bytes, found {size}")
    if numbers.get("pbkeylen") and not passphrase:
        raise ValueError("expected a passphrase with pbkeylen")
    stream_id = options.get("streamid", "")
    if len(stream_id.encode()) > MAX_STREAM_ID_BYTES or not stream_id.isprintable():
        raise ValueError(f"expected a streamid of at most {MAX_STREAM_ID_BYTES} bytes")
    check_filter(options.get("packetfilter", ""))
    for name, choices in (("transtype", TRANSFER_TYPES), ("congestion", CONGESTION)):
        if options.get(name, "") not in choices:
            raise ValueError(f"expected {name}={', '.join(choices[1:])}")
    if options.get("transtype") != "file" and numbers.get("messageapi") == 0:
        raise ValueError("expected transtype=file with messageapi=0")
    if options.get("transtype") == "file" and (options.get("group") or "packetfilter" in options):
        raise ValueError("expected no group and no packetfilter with transtype=file")


def check_filter(text: str) -> str:
    """`text` itself if it can configure a packet filter, or empty; raises `ValueError`."""
    if text and not _FILTER.fullmatch(text):
        raise ValueError("expected a packet filter such as fec,cols:10,rows:5,layout:even")
    return text
