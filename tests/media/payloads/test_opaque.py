"""Payload formats that are not known."""

from hypothesis import given
from hypothesis import strategies as st

from media.payloads.opaque import OpaqueDepacketizer, OpaquePacketizer
from tests.support.payloads import Drops, Packet, deliver


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.booleans())))
def test_payload_and_marker_survive(sent: list[tuple[bytes, bool]]) -> None:
    drops = Drops()
    packets = [
        Packet(payload, marker, index, index // 3) for index, (payload, marker) in enumerate(sent)
    ]
    units = deliver(OpaqueDepacketizer(drops), packets)
    assert [unit.timestamp for unit in units] == [packet.timestamp for packet in packets]
    assert [b"".join(unit.payload) for unit in units] == [payload for payload, _ in sent]
    packetizer = OpaquePacketizer(100)
    assert [packet for unit in units for packet in packetizer.packetize(unit.payload)] == sent
    assert drops.reasons == []


def test_losses_are_counted() -> None:
    drops = Drops()
    packets = [Packet(b"a", False, 0, 0), Packet(b"b", False, 5, 0), Packet(b"", False, 6, 0)]
    assert len(deliver(OpaqueDepacketizer(drops), packets)) == 2
    assert drops.reasons == ["rtp-packet-loss"]
    assert OpaquePacketizer(100).packetize(()) == []
