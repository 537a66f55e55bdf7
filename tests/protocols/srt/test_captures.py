"""Every captured packet of libsrt is read in all its parts and made again byte for byte."""

import pytest

from protocols.srt.control import (
    Ack,
    parse_losses,
    serialize_empty,
    serialize_losses,
    serialize_user,
)
from protocols.srt.filter_string import FilterConfig
from protocols.srt.handshake_wire import (
    Extension,
    ExtensionType,
    Handshake,
    SrtExtension,
    parse_group,
    parse_peer_ip,
    parse_text,
    serialize_group,
    serialize_peer_ip,
    serialize_text,
)
from protocols.srt.keys import KeyMaterial, KmState, parse_refusal, serialize_refusal
from protocols.srt.packet import ControlPacket, ControlType, DataPacket
from tests.support.srt_capture import NAMES, SrtDatagram, read_control_packets, read_srt


def remake_extension(extension: Extension) -> bytes:
    """The extension's data, read and made again."""
    data = extension.data
    if extension.kind in (ExtensionType.HSREQ, ExtensionType.HSRSP):
        return SrtExtension.parse(data).serialize()
    if extension.kind in (ExtensionType.KMREQ, ExtensionType.KMRSP):
        return remake_material(data)
    if extension.kind == ExtensionType.GROUP:
        return serialize_group(parse_group(data))
    if extension.kind == ExtensionType.FILTER:
        FilterConfig.parse(parse_text(data))
    return serialize_text(parse_text(data))


def remake_material(data: bytes) -> bytes:
    """A KM message or its refusal, read and made again."""
    if len(data) == 4:
        state = parse_refusal(data)
        assert isinstance(state, KmState)
        return serialize_refusal(state)
    return KeyMaterial.parse(data).serialize()


def remake_handshake(body: bytes) -> bytes:
    """A handshake's contents, read to the last field and made again."""
    handshake = Handshake.parse(body)
    assert handshake.trailer == b""
    assert serialize_peer_ip(parse_peer_ip(handshake.peer_ip)) == handshake.peer_ip
    for extension in handshake.extensions:
        assert remake_extension(extension) == extension.data
    return handshake.serialize()


def remake(data: bytes) -> bytes:
    """A whole packet, read and made again through the types of its kind."""
    if data[0] < 0x80:
        return DataPacket.parse(data).serialize()
    packet = ControlPacket.parse(data)
    where = packet.timestamp, packet.destination
    if packet.kind == ControlType.HANDSHAKE:
        packet.body = remake_handshake(packet.body)
        return packet.serialize()
    if packet.kind == ControlType.ACK:
        return Ack.parse(packet).to_packet(*where).serialize()
    if packet.kind == ControlType.NAK:
        losses, bad = parse_losses(packet.body)
        assert bad == 0
        packet.body = serialize_losses(losses, 364)
        return packet.serialize()
    if packet.kind == ControlType.USER:
        return serialize_user(packet.subtype, remake_material(packet.body), *where)
    assert packet.kind in (ControlType.KEEPALIVE, ControlType.SHUTDOWN, ControlType.ACKACK)
    return serialize_empty(packet.kind, *where, packet.specific)


def kind_of(datagram: SrtDatagram) -> int:
    """The control type, -1 for data."""
    return ControlPacket.parse(datagram.payload).kind if datagram.is_control else -1


@pytest.mark.parametrize("name", NAMES)
def test_a_capture_is_read_and_made_again(name: str) -> None:
    datagrams = read_srt(name)
    assert datagrams
    for datagram in datagrams:
        data = datagram.payload
        if datagram.is_whole or not datagram.is_control:
            assert remake(data) == data
        else:
            assert ControlPacket.parse(data).serialize() == data


def test_the_captures_show_all_that_libsrt_sends() -> None:
    kinds = {kind_of(one) for name in NAMES for one in read_srt(name)}
    assert kinds == {
        -1,
        ControlType.HANDSHAKE,
        ControlType.KEEPALIVE,
        ControlType.ACK,
        ControlType.NAK,
        ControlType.SHUTDOWN,
        ControlType.ACKACK,
        ControlType.USER,
    }


def test_the_list_of_control_packets() -> None:
    packets = read_control_packets()
    assert len(packets) > 100
    for _, _, datagram in packets:
        assert remake(datagram) == datagram
