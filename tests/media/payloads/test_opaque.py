"""Payload formats that are not known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.payloads.encodings import encoding_for
from media.payloads.formats import fmtp_for, payload_format
from media.payloads.opaque import (
    MAX_FMTP_CHARACTERS,
    OpaqueDepacketizer,
    OpaquePacketizer,
    OpaqueParameters,
    opaque_parameters,
)
from media.track import Kind, Track
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


@pytest.mark.parametrize("text", ["mode=1;x=a,b=; FLAG", "0-15,66", 'config="a;b"', "\u00fc"])
def test_the_description_survives(text: str) -> None:
    form = payload_format("X-Speex", 16_000, 2, {"mode": "1"}, Kind.AUDIO, text)
    assert form.parameters == OpaqueParameters(fmtp=text, channels=2)
    track = Track(0, form.kind, form.codec, form.clock_rate, form.parameters)
    encoding = encoding_for(track)
    assert encoding is not None
    assert (encoding.name, encoding.clock_rate, encoding.channels) == ("x-speex", 16_000, 2)
    assert fmtp_for(form.parameters) == {text: ""}


def test_channels_alone_are_told_without_fmtp() -> None:
    assert fmtp_for(opaque_parameters("", 6)) == {}
    assert payload_format("x-y", 8_000, 1, {}).parameters is None


@pytest.mark.parametrize("text", ["a\r\na=control:evil", "x\0", "x" * (MAX_FMTP_CHARACTERS + 1)])
def test_what_fits_no_line_is_left_out(text: str) -> None:
    assert opaque_parameters(text, 1) is None
    assert opaque_parameters(text, 2) == OpaqueParameters(channels=2)


def test_a_known_format_that_cannot_be_used_keeps_its_description() -> None:
    text = "mode=CELP-vbr"
    form = payload_format("mpeg4-generic", 8_000, 2, {"mode": "CELP-vbr"}, Kind.AUDIO, text)
    assert form.codec == "rtp/mpeg4-generic"
    assert form.parameters == OpaqueParameters(fmtp=text, channels=2)
