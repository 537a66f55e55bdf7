"""Whose datagrams are taken: those of the port that the server announced, or of another one.

Theory of operation. A server says in its answer to SETUP from which port it will send. Many cameras
send from another one, against RFC 2326 section 12.39, or announce none. What comes from the
server's host but from another port is therefore held for a moment. It is taken at once if its SSRC
is the one that was announced, else once the announced port has stayed silent for `patience`; the
first port that was taken is then the one that counts. Datagrams of other hosts are never taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SILENT_AFTER = 2.0  # seconds, after which a port that was heard may be followed by another
MAX_HELD_BYTES = 1024 * 1024
RTP_SSRC, RTCP_SSRC = 8, 4  # where it stands, RFC 3550 sections 5.1 and 6.4

Batch = tuple[float, Sequence[bytes]]  # arrival, datagrams


@dataclass(slots=True)
class _Held:
    port: int
    since: float
    size: int
    batches: list[Batch]


class SenderGuard:
    """Judges the datagrams of one socket. Public counter: `foreign`, what was not taken."""

    __slots__ = (
        "_heard_at",
        "_held",
        "_host",
        "_offset",
        "_patience",
        "_ssrc",
        "foreign",
        "port",
    )

    def __init__(
        self, host: str, port: int | None, ssrc: int | None, patience: float, *, is_rtcp: bool
    ) -> None:
        """`host` empty: anybody. `port`, `ssrc`: what was announced, None if nothing was."""
        self.port = port  # the one that is taken; None as long as any is
        self.foreign = 0
        self._host = host
        self._ssrc = ssrc.to_bytes(4, "big") if ssrc is not None else None
        self._patience = patience
        self._offset = RTCP_SSRC if is_rtcp else RTP_SSRC
        self._heard_at: float | None = None  # when the taken port sent last
        self._held: _Held | None = None

    def admit(self, host: str, port: int, batch: Batch, now: float) -> Sequence[Batch]:
        """Take one batch of one sender; answer what may be used now."""
        if self._host and host != self._host:
            self.foreign += len(batch[1])
            return ()
        if port == self.port:
            self._heard_at = now
            self._drop_held()
            return (batch,)
        if self.port is None or self._is_announced(batch[1]):
            return self._follow(port, batch, now)
        return self._hold(port, batch, now)

    def get_timer(self) -> float | None:
        """When to call handle_timer next, or None."""
        return self._held.since + self._patience if self._held is not None else None

    def handle_timer(self, now: float) -> Sequence[Batch]:
        """Give out what was held, once the announced port has been waited for."""
        held = self._held
        if held is None or now < held.since + self._patience:
            return ()
        self._held = None
        self.port, self._heard_at = held.port, now
        return held.batches

    def _is_announced(self, datagrams: Sequence[bytes]) -> bool:
        start = self._offset
        return self._ssrc is not None and datagrams[0][start : start + 4] == self._ssrc

    def _follow(self, port: int, batch: Batch, now: float) -> Sequence[Batch]:
        before: list[Batch] = []
        if self._held is not None and self._held.port == port:
            before, self._held = self._held.batches, None
        self._drop_held()
        self.port, self._heard_at = port, now
        return (*before, batch)

    def _hold(self, port: int, batch: Batch, now: float) -> Sequence[Batch]:
        if self._heard_at is not None and now - self._heard_at < SILENT_AFTER:
            self.foreign += len(batch[1])
            return ()
        size = sum(map(len, batch[1]))
        held = self._held
        if held is None:
            self._held = _Held(port, now, size, [batch])
        elif held.port == port and held.size + size <= MAX_HELD_BYTES:
            held.batches.append(batch)
            held.size += size
        else:
            self.foreign += len(batch[1])
        return self.handle_timer(now)

    def _drop_held(self) -> None:
        if self._held is not None:
            self.foreign += sum(len(datagrams) for _, datagrams in self._held.batches)
            self._held = None
