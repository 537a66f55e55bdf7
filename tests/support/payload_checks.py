"""What every payload format of video and data promises, checked on any of them."""

from collections.abc import Callable, Sequence

from media.payloads.base import Depacketizer, DropCallback, Packetizer
from tests.support.payloads import Drops, Packet, deliver, packets_of, without

Payload = tuple[bytes, ...]


class Format:
    """Both halves of a payload format; makers of fresh ones."""

    def __init__(
        self,
        depacketizer: Callable[[DropCallback], Depacketizer],
        packetizer: Callable[[int], Packetizer],
    ) -> None:
        self.depacketizer = depacketizer
        self.packetizer = packetizer

    def run(self, packets: Sequence[Packet]) -> tuple[list[tuple[int, Payload]], list[str]]:
        """(timestamp, payload) of the units that come out, and why others did not."""
        drops = Drops()
        units = deliver(self.depacketizer(drops), packets)
        return [(unit.timestamp, unit.payload) for unit in units], drops.reasons

    def check_round_trip(self, units: Sequence[Payload], limit: int) -> list[Packet]:
        """All units come back, with and without markers; packets are within the limit and equal."""
        packets = packets_of(self.packetizer(limit), units, step=3000)
        assert max(len(packet.payload) for packet in packets) <= limit
        found, drops = self.run(packets)
        assert found == [(5_000_000_000 + 3000 * i, unit) for i, unit in enumerate(units)]
        assert drops == []
        assert sum(packet.marker for packet in packets) == len(units)
        bare = [Packet(p.payload, False, p.sequence, p.timestamp) for p in packets]
        assert self.run(bare) == (found[:-1], [])
        return packets

    def check_losses(self, units: Sequence[Payload], limit: int, lost: set[int]) -> None:
        """Only whole units come out, and every gap is counted. Packet 0 is never lost.

        Of units with several parts the first may be gone: a sequence header is no picture.
        """
        packets = packets_of(self.packetizer(limit), units, step=3000)
        gone = {1 + number % (len(packets) - 1) for number in lost}
        found, drops = self.run(without(packets, *gone))
        for timestamp, payload in found:
            unit = units[(timestamp - packets[0].timestamp) // 3000]
            assert payload in (unit, unit[1:])
        whole = {
            p.timestamp
            for p in packets
            if not any(packets[i].timestamp == p.timestamp for i in gone)
        }
        assert len(found) >= len(whole) - sum(i + 1 not in gone for i in gone)
        last = max((i for i in range(len(packets)) if i not in gone), default=0)
        assert bool(drops) == any(i < last for i in gone)

    def check_truncation(self, packets: Sequence[Packet], good: Payload) -> None:
        """A packet cut at any length costs its unit at most; the next one comes."""
        tail = packets_of(
            self.packetizer(1200),
            [good],
            sequence=packets[-1].sequence + 1,
            timestamp=6_000_000_000,
        )
        for index, packet in enumerate(packets):
            for size in range(min(len(packet.payload), 300)):
                cut = Packet(
                    packet.payload[:size], packet.marker, packet.sequence, packet.timestamp
                )
                found, _ = self.run([*packets[:index], cut, *packets[index + 1 :], *tail])
                assert found[-1][1] == good

    def check_any(self, packets: Sequence[tuple[bytes, bool, int, int]], prefix: str) -> None:
        """Any payloads, with gaps and new times, are taken; units hold something."""
        drops = Drops()
        machine = self.depacketizer(drops)
        sequence = timestamp = 0
        for payload, marker, step, later in packets:
            sequence += step
            timestamp += later
            for unit in machine.push(payload, marker, sequence, timestamp):
                assert unit.payload
                assert all(unit.payload)
        assert all(reason.startswith(prefix + "-") for reason in drops.reasons)
