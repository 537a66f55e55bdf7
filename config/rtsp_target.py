"""Settings of one RTSP target, written as options of its URL (docs/rtsp.md).

    rtsps://HOST/PATH?flux-transport=udp&flux-fingerprint=AB:CD:...&OPTIONS-OF-THE-SERVER

They are for FLUX and are taken out of the URL before it is used.
"""

from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

from config.tls import Fingerprint

PREFIX = "flux-"
TRANSPORT, FINGERPRINT = "flux-transport", "flux-fingerprint"
AUTO = "auto"
TRANSPORTS = ("tcp", "udp", "http")


@dataclass(frozen=True, slots=True)
class RtspTarget:
    """A target without its settings, and the settings."""

    url: str
    transport: str = AUTO
    fingerprint: Fingerprint | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take the settings out of a URL; `ValueError` says what is wrong with them."""
        address, mark, rest = text.partition("?")
        query, hash_mark, fragment = rest.partition("#")
        kept: list[str] = []
        found: dict[str, str] = {}
        for option in query.split("&"):
            name, _, value = option.partition("=")
            if not name.lower().startswith(PREFIX):
                kept.append(option)
            elif name not in (TRANSPORT, FINGERPRINT):
                raise ValueError(f"expected {TRANSPORT} or {FINGERPRINT} of the options of FLUX")
            elif name in found:
                raise ValueError(f"expected {name} once")
            else:
                found[name] = unquote(value)
        transport = found.get(TRANSPORT, AUTO)
        if transport not in (AUTO, *TRANSPORTS):
            raise ValueError(f"expected {TRANSPORT} as one of {', '.join(TRANSPORTS)}")
        fingerprint = None
        if FINGERPRINT in found:
            if not address.lower().startswith("rtsps:"):
                raise ValueError(f"expected {FINGERPRINT} of a target of rtsps:// only")
            fingerprint = Fingerprint.parse(found[FINGERPRINT])
        if not found:
            return cls(text)
        query = "&".join(kept)
        return cls(
            f"{address}{mark if query else ''}{query}{hash_mark}{fragment}", transport, fingerprint
        )
