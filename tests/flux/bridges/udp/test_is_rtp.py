"""Which datagrams are RTP: a transport stream that was cut anywhere may look like it at first."""

from struct import pack

from flux.bridges.udp.ts_listener import is_rtp

HEAD = pack("!BBHII", 0x80, 33, 1, 2, 3)
PACKETS = (b"\x47" + bytes(187)) * 7


def test_rtp_is_whole_transport_packets_behind_a_header() -> None:
    assert is_rtp(HEAD + PACKETS)
    assert not is_rtp(PACKETS)
    assert not is_rtp(b"")


def test_the_middle_of_a_packet_that_begins_like_a_header_is_none() -> None:
    for first in range(0x80, 0xC0):
        assert not is_rtp(bytes((first,)) + bytes(100) + PACKETS)
    assert not is_rtp(HEAD + PACKETS[1:])
    assert not is_rtp(HEAD + bytes(188))
