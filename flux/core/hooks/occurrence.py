"""What hooks hear of: one occurrence, as a webhook's JSON and as a command's environment."""

import json
from dataclasses import dataclass

from flux.core.hooks.timing import format_time

# An occurrence that lasts (a stream is ready, a reader is there) is known by what it is of.
Cause = tuple[str, str, str]  # hook name, stream, session


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that happened."""

    on: str  # ready, not-ready, publish, read, unread, demand
    id: str
    time: float  # Unix time
    stream: str
    session: str = ""  # of the reader or the publisher
    protocol: str = ""
    address: str = ""  # of the reader, without its port; empty if it is not known
    reason: str = ""  # a stable slug
    wanted: bool | None = None  # demand: whether there are readers
    readers: int | None = None  # demand: how many

    @property
    def cause(self) -> Cause:
        """What this is the beginning of."""
        return self.on, self.stream, self.session

    def body(self) -> bytes:
        """The JSON that a webhook posts. Whatever is in a name, it is ASCII."""
        values: dict[str, object] = {
            "event": self.on,
            "id": self.id,
            "time": format_time(self.time),
            "stream": self.stream,
            "session": self.session,
            "protocol": self.protocol,
            "address": self.address,
            "reason": self.reason,
        }
        if self.wanted is not None:
            values |= {"wanted": self.wanted, "readers": self.readers}
        return json.dumps(values).encode()

    def environment(self) -> dict[str, str]:
        """The variables that a command finds."""
        values = {
            "FLUX_EVENT": self.on,
            "FLUX_ID": self.id,
            "FLUX_TIME": format_time(self.time),
            "FLUX_STREAM": self.stream,
            "FLUX_SESSION": self.session,
            "FLUX_PROTOCOL": self.protocol,
            "FLUX_ADDRESS": self.address,
            "FLUX_REASON": self.reason,
        }
        if self.readers is not None:
            values["FLUX_READERS"] = str(self.readers)
        # The kernel takes no NUL, and no lone surrogate is UTF-8.
        return {
            name: value.replace("\0", "").encode("utf-8", "replace").decode()
            for name, value in values.items()
        }
