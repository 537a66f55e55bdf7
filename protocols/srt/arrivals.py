"""What one sender's datagrams of a turn are for: which link, and when they came.

Data of one link go on together, as of the moment when the last of them came: what depends on time
there is a matter of play times, which stand in the packets. Control packets have a moment of their
own, since round trips are measured by them. They follow the data, as they do in a connection.
"""

from collections.abc import Callable, Iterator, Sequence

from protocols.srt.packet import HEADER_BYTES, ControlType

CONTROL = 0x80  # first byte
CONTROL_WORD = CONTROL << 8  # the first two
# Control packets that may lie as long as data. Questions for packets, handshakes, keys and the end
# may not.
PATIENT = tuple(
    CONTROL_WORD | kind
    for kind in (
        ControlType.ACK,
        ControlType.ACKACK,
        ControlType.KEEPALIVE,
        ControlType.DROP_REQUEST,
    )
)
Part = tuple[bytes, list[bytes], float]  # destination as in packets, datagrams, arrival


def parted(datagrams: list[bytes], at: Callable[[int], float]) -> Iterator[Part]:
    """Datagrams in parts, each in order; `at` tells by index when one came.

    Those without a whole header are left out.
    """
    count = len(datagrams)
    indices: Sequence[int] = range(count)
    if min(map(len, datagrams)) < HEADER_BYTES:
        indices = [index for index in indices if len(datagrams[index]) >= HEADER_BYTES]
    elif count == 1:
        yield datagrams[0][12:16], datagrams, at(0)
        return
    else:
        destinations = [each[12:16] for each in datagrams]
        if destinations.count(destinations[0]) == count:
            yield from _by_kind(destinations[0], datagrams, indices, at)
            return
    parts: dict[bytes, list[int]] = {}
    for index in indices:
        parts.setdefault(datagrams[index][12:16], []).append(index)
    for destination, places in parts.items():
        yield from _by_kind(destination, [datagrams[index] for index in places], places, at)


def _by_kind(
    destination: bytes, datagrams: list[bytes], indices: Sequence[int], at: Callable[[int], float]
) -> Iterator[Part]:
    """Data, then controls, of one destination; `indices` are what `at` knows them by."""
    kinds = [each[0] for each in datagrams]
    if max(kinds) < CONTROL or min(kinds) >= CONTROL:
        yield destination, datagrams, at(indices[-1])
        return
    places = [place for place, kind in enumerate(kinds) if kind >= CONTROL]
    data, moments = datagrams.copy(), list(indices)
    for place in reversed(places):
        del data[place], moments[place]
    yield destination, data, at(moments[-1])
    yield destination, [datagrams[place] for place in places], at(indices[places[-1]])
