"""Files over SRT: handlers that send and take bytes, and the commands of srt-file-transmit."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocols.srt.events import DataReceived
from protocols.srt.link import Channel, LinkHandler
from protocols.srt.options import Mode, Options

STEP = 65_520  # 45 packets

FILE = Options(mode=Mode.STREAM)


@dataclass(eq=False)
class Upload(LinkHandler):
    """Sends `data` and closes."""

    data: bytes
    at: int = 0
    link: Channel | None = None
    end: str = ""
    began: float = 0.0
    statistics: dict[str, Any] = field(default_factory=dict)

    def connected(self, link: Channel, now: float) -> None:
        self.link, self.began = link, now
        self.writable(link, now)

    def writable(self, link: Channel, now: float) -> None:
        while self.at < len(self.data):
            pieces = [self.data[at : at + STEP] for at in range(self.at, len(self.data), STEP)[:16]]
            taken = link.send(pieces, now)
            self.at += sum(map(len, pieces[:taken]))
            if taken < len(pieces):
                return
        link.close("sent", now)

    def closed(self, link: Channel, reason: str, code: int) -> None:
        del code
        self.end = reason
        found = link.statistics(time.monotonic())
        self.statistics = {} if found is None else dict(found.values)


@dataclass(eq=False)
class Download(LinkHandler):
    """Hashes what comes. `took`: seconds from the first byte to the last."""

    size: int = 0
    end: str = ""
    link: Channel | None = None
    first_at: float = 0.0
    last_at: float = 0.0
    hash: Any = field(default_factory=hashlib.sha256)
    on_data: Callable[[list[bytes]], None] | None = None

    def connected(self, link: Channel, now: float) -> None:
        del now
        self.link = link

    def received(self, link: Channel, event: DataReceived, now: float) -> None:
        del link
        if not self.size:
            self.first_at = now
        self.last_at = now
        for each in event.payloads:
            self.size += len(each)
            self.hash.update(each)

    def closed(self, link: Channel, reason: str, code: int) -> None:
        del link, code
        self.end = reason

    @property
    def took(self) -> float:
        return self.last_at - self.first_at


def uploading(path: Path, url: str) -> list[str]:
    """A command that sends a file."""
    return ["srt-file-transmit", "-q", f"file://{path}", url]


def downloading(url: str, folder: Path, name: str) -> list[str]:
    """A command that writes what comes to a file in `folder`; a sender may name another one."""
    return ["srt-file-transmit", "-q", url, f"file://{folder / name}"]


def digest(data: bytes) -> str:
    """What is compared."""
    return hashlib.sha256(data).hexdigest()
