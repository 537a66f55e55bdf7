"""The Session header, RFC 2326 section 12.37."""

import re
from dataclasses import dataclass
from typing import Self

from flux.base.errors import WireError

DEFAULT_TIMEOUT = 60.0  # seconds, section 12.37
MIN_TIMEOUT = 2.0
MAX_TIMEOUT = 24 * 3600.0

PATTERN = re.compile(r"\s*([^;\s]{1,256})\s*(?:;.*)?")
TIMEOUT = re.compile(r";\s*timeout\s*=\s*\"?(\d{1,9})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SessionHeader:
    """Session id and after how many seconds of silence the server forgets it."""

    id: str
    timeout: float = DEFAULT_TIMEOUT

    @classmethod
    def parse(cls, value: str) -> Self:
        """Id and timeout; a timeout that makes no sense counts as absent."""
        match = PATTERN.fullmatch(value)
        if match is None:
            raise WireError("rtsp-session-header", value[:32])
        timeout = TIMEOUT.search(value)
        seconds = float(timeout[1]) if timeout else 0.0
        if not 0 < seconds <= MAX_TIMEOUT:
            seconds = DEFAULT_TIMEOUT
        return cls(match[1], max(seconds, MIN_TIMEOUT))

    def serialize(self) -> str:
        """The header's value, as servers send it."""
        return f"{self.id};timeout={self.timeout:.0f}"
