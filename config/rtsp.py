"""The RTSP server in the configuration."""

import ipaddress
import re
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from config.addresses import ListenAddress
from config.quantities import DurationIn
from config.section import Section
from config.tls import TlsSection

_SECONDS = r"\d{1,6}(\.\d{1,3})?"
_INSTANT = r"20\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d)T([01]\d|2[0-3])[0-5]\d[0-5]\dZ"
_FRAMES = r"\d{1,4}:[0-5]\d:[0-5]\d(:[0-2]\d)?"
# The 29th to 31st of a month is left out of what documents say, but taken where it exists.
RANGE_PATTERN = (
    rf"^(npt=(now-|{_SECONDS}-({_SECONDS})?)|clock={_INSTANT}-({_INSTANT})?"
    rf"|smpte={_FRAMES}-({_FRAMES})?)?$"
)
_RANGE = re.compile(RANGE_PATTERN.replace("[12]\\d)T", "[12]\\d|3[01])T"))
_DAY = re.compile(r"(\d{8})T")


def check_group_range(text: str) -> str:
    """`text` itself if it is a network of IPv4 multicast groups; raises `ValueError`."""
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        raise ValueError("expected a range of groups such as 239.255.64.0/20") from None
    if not network.is_multicast:
        raise ValueError("expected a range within 224.0.0.0/4, such as 239.255.64.0/20")
    return text


def check_range(text: str) -> str:
    """`text` itself if it may be the Range of an RTSP request, or empty; raises `ValueError`."""
    if _RANGE.fullmatch(text) is None:
        raise ValueError("expected npt=SECONDS-[SECONDS], clock=TIME-[TIME] or smpte=TIME-[TIME]")
    for day in _DAY.findall(text):
        try:
            date.fromisoformat(day)
        except ValueError:
            raise ValueError(f"expected a day that exists, found {day}") from None
    return text


RtspRange = Annotated[
    str,
    AfterValidator(check_range),
    WithJsonSchema({"type": "string", "pattern": RANGE_PATTERN}),
]


class RtspListener(Section):
    """The RTSP listener: players, recorders and publishers."""

    enabled: bool = True
    """Serve RTSP."""
    address: ListenAddress = ListenAddress("", 8554)
    """Where it binds; an empty host is every address, IPv4 and IPv6."""
    tls_address: ListenAddress | None = None
    """Where RTSPS binds, mostly `:8322`; null: nowhere."""
    tls: TlsSection = TlsSection()
    """Certificate and key of RTSPS; without them FLUX makes a certificate of its own."""
    rtp_address: ListenAddress = ListenAddress("", 8000)
    """The UDP port that RTP is sent from and received on, for all sessions."""
    rtcp_address: ListenAddress = ListenAddress("", 8001)
    """The UDP port of RTCP."""


class RtspSection(Section):
    """How RTSP sessions are served."""

    transports: Annotated[
        tuple[Literal["udp", "multicast", "tcp"], ...], Field(strict=False, min_length=1)
    ] = ("udp", "multicast", "tcp")
    """What players and publishers may ask for."""
    session_timeout: Annotated[float, DurationIn("10s", "1h")] = 60.0
    """A session without any request or RTCP packet for so long ends."""
    start: Literal["gop", "key", "live"] = "gop"
    """Where a player begins: cache, next key frame, live edge."""
    multicast_groups: Annotated[str, AfterValidator(check_group_range)] = "239.255.64.0/20"
    """Groups for multicast players, one a stream."""
    multicast_port: Annotated[int, Field(ge=1024, le=65_000, multiple_of=2)] = 8002
    """First port in a group: RTP, then RTCP; each further track takes the next two."""
    multicast_ttl: Annotated[int, Field(ge=1, le=255)] = 16
    """How many routers a multicast packet may pass."""
    multicast_interface: str = ""
    """Interface that multicast leaves by, by name or address; empty: the system's choice."""
