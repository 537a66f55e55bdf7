"""RTP payload formats without headers: KLV and ONVIF metadata."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.payloads.base import MAX_UNIT_BYTES
from media.payloads.klv import KlvDepacketizer, KlvPacketizer
from media.payloads.onvif import OnvifDepacketizer, OnvifPacketizer
from tests.support.payload_checks import Format, Payload
from tests.support.payloads import Drops, number, packets_of

KLV = Format(KlvDepacketizer, KlvPacketizer)
ONVIF = Format(OnvifDepacketizer, OnvifPacketizer)
# A UAS local set (MISB ST 0601) key, a length in BER and a value.
KEY = bytes.fromhex("060e2b34020b01010e01030101000000")
SETS: list[Payload] = [
    (KEY + b"\x82\x09\xc4" + b"v" * 2500,),
    (KEY + b"\x05tiny!",),
    (KEY + b"\x81\xff" + b"w" * 255,),
] * 3
DOCUMENT = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<tt:MetadataStream'
    b' xmlns:tt="http://www.onvif.org/ver10/schema">%s</tt:MetadataStream>'
)
DOCUMENTS: list[Payload] = [
    (DOCUMENT % (b"<tt:VideoAnalytics/>" * 200),),
    (DOCUMENT % b"",),
    (DOCUMENT % (b"<tt:Event/>" * 50),),
] * 3
FORMATS = [(KLV, SETS, "klv"), (ONVIF, DOCUMENTS, "onvif")]


@pytest.mark.parametrize(("form", "units", "prefix"), FORMATS)
@pytest.mark.parametrize("limit", [64, 500, 1400])
def test_round_trip(form: Format, units: list[Payload], prefix: str, limit: int) -> None:
    packets = form.check_round_trip(units, limit)
    assert b"".join(packet.payload for packet in packets) == b"".join(unit[0] for unit in units)


@pytest.mark.parametrize(("form", "units", "prefix"), FORMATS)
def test_nothing_makes_no_packets(form: Format, units: list[Payload], prefix: str) -> None:
    made = form.packetizer(1400)
    assert made.packetize(()) == made.packetize((b"",)) == []


@pytest.mark.parametrize(("form", "units", "prefix"), FORMATS)
def test_truncation(form: Format, units: list[Payload], prefix: str) -> None:
    form.check_truncation(packets_of(form.packetizer(400), units[:2]), units[1])


@given(st.sets(st.integers(0, 1000)), st.sampled_from(FORMATS))
def test_losses(lost: set[int], chosen: tuple[Format, list[Payload], str]) -> None:
    form, units, _ = chosen
    form.check_losses(units, 400, lost)


@pytest.mark.parametrize(
    ("form", "first", "begins"),
    [
        (KLV, KEY + b"\x01v", True),
        (KLV, KEY[1:], False),
        (ONVIF, DOCUMENT % b"", True),
        (ONVIF, b"\xef\xbb\xbf" + DOCUMENT % b"", True),
        (ONVIF, b"\r\n <tt:MetadataStream>", True),
        (ONVIF, b"<MetadataStream\nxmlns='a:b'>", True),
        (ONVIF, b"<tt:Event/></tt:MetadataStream>", False),
        (ONVIF, b"MetadataStream>", False),
        (ONVIF, b"</tt:MetadataStream>", False),
        (ONVIF, b"<", False),
    ],
)
def test_what_begins_a_unit_after_a_gap(form: Format, first: bytes, begins: bool) -> None:
    """What comes first is like what comes after a gap, but not counted."""
    assert form.run(number(first)) == ([(0, (first,))] * begins, [])


@pytest.mark.parametrize(("form", "units", "prefix"), FORMATS)
def test_size_is_bounded(form: Format, units: list[Payload], prefix: str) -> None:
    drops = Drops()
    machine = form.depacketizer(drops)
    machine.push(units[0][0], False, 0, 0)
    for index in range(MAX_UNIT_BYTES // 60000 + 10):
        assert not machine.push(b"x" * 60000, False, index + 1, 0)
    assert drops.reasons == [f"{prefix}-unit-too-large"]


PIECES = st.one_of(st.binary(max_size=12), st.just(KEY), st.just(DOCUMENT % b""))


@given(
    st.lists(st.tuples(PIECES, st.booleans(), st.integers(-1, 3), st.integers(0, 1))),
    st.sampled_from(FORMATS),
)
def test_any_packets_are_taken(
    packets: list[tuple[bytes, bool, int, int]], chosen: tuple[Format, list[Payload], str]
) -> None:
    form, _, prefix = chosen
    form.check_any(packets, prefix)
