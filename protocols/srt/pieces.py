"""Bytes cut to payloads of packets: messages and streams of file modes."""

from collections.abc import Iterable, Sequence


def cut(payload: bytes, step: int) -> list[bytes]:
    """The payloads of one message, none longer than `step`."""
    if len(payload) <= step:
        return [payload]
    return [payload[start : start + step] for start in range(0, len(payload), step)]


def cut_all(payloads: Iterable[bytes], step: int, room: int) -> tuple[Sequence[bytes], int, int]:
    """The payloads of a stream, at most `room`; how many of `payloads` are in them whole, and how
    many packets the next one takes, 0 if all are in."""
    pieces: list[bytes] = []
    taken = 0
    for payload in payloads:
        count = -(-len(payload) // step)
        if len(pieces) + count > room:
            return pieces, taken, count
        if count > 1:
            pieces += cut(payload, step)
        elif count:
            pieces.append(payload)
        taken += 1
    return pieces, taken, 0
