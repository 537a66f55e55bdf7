"""RTCP packets and compounds, RFC 3550 section 6."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.rtcp import (
    Application,
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    UnknownPacket,
    parse_compound,
    serialize_compound,
)
from protocols.rtcp.packet import SourceChunk, SourceItem
from tests.support.pcap import read_datagrams

BYTE = st.integers(0, 255)
WORD = st.integers(0, 0xFFFF_FFFF)
WORDS = st.lists(st.binary(min_size=4, max_size=4), max_size=4).map(b"".join)
BLOCKS = st.lists(
    st.builds(ReportBlock, WORD, BYTE, st.integers(-0x80_0000, 0x7F_FFFF), WORD, WORD, WORD, WORD),
    max_size=31,
).map(tuple)
ITEMS = st.lists(st.builds(SourceItem, st.integers(1, 255), st.binary(max_size=30)), max_size=4)
CHUNKS = st.lists(st.builds(SourceChunk, WORD, ITEMS.map(tuple)), max_size=5)
PACKETS: st.SearchStrategy[RtcpPacket] = st.one_of(
    st.builds(SenderReport, WORD, st.integers(0, (1 << 64) - 1), WORD, WORD, WORD, BLOCKS, WORDS),
    st.builds(ReceiverReport, WORD, BLOCKS, WORDS),
    st.builds(SourceDescription, CHUNKS.map(tuple)),
    st.builds(Goodbye, st.lists(WORD, max_size=31).map(tuple), st.text("abc é", max_size=40)),
    st.builds(Application, st.integers(0, 31), WORD, st.just(b"FLUX"), WORDS),
    st.builds(UnknownPacket, st.integers(205, 255), st.integers(0, 31), WORDS),
)


@given(st.lists(PACKETS, min_size=1, max_size=5))
def test_round_trip(packets: list[RtcpPacket]) -> None:
    assert parse_compound(serialize_compound(packets)) == tuple(packets)


def test_truncation_at_every_length() -> None:
    first = SenderReport(1, 2 << 32, 3, 4, 5, (ReportBlock(6, 7, -8, 9, 10, 11, 12),))
    rest = (SourceDescription.cname(1, "flux"), Goodbye((1,), "over"))
    wire = serialize_compound((first, *rest))
    whole = {len(first.serialize()), len(serialize_compound((first, rest[0])))}
    for size in range(len(wire)):
        if size in whole:
            continue
        with pytest.raises(WireError) as caught:
            parse_compound(wire[:size])
        assert caught.value.reason == "rtcp-truncated"


HEADERS = st.builds(
    lambda count, kind, words: bytes((0x80 | count, kind, 0, words)),
    st.sampled_from((0, 1, 31)),
    st.integers(199, 206),
    st.sampled_from((0, 1, 2, 6)),
)


@given(st.binary(max_size=80) | st.lists(HEADERS | st.binary(max_size=12)).map(b"".join))
def test_any_bytes_parse_or_raise_wire_error(data: bytes) -> None:
    try:
        packets = parse_compound(data)
    except WireError:
        return
    assert parse_compound(serialize_compound(packets)) == packets


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "rtcp-truncated"),
        (bytes.fromhex("40c90001 00000001"), "rtcp-version"),
        (bytes.fromhex("80c90002 00000001"), "rtcp-truncated"),
        (bytes.fromhex("81c90001 00000001"), "rtcp-truncated"),
        (bytes.fromhex("80c80001 00000001"), "rtcp-truncated"),
        (bytes.fromhex("81ca0001 00000001 81ca0002 00000001 01ff4142"), "rtcp-truncated"),
        (bytes.fromhex("82cb0001 00000001"), "rtcp-truncated"),
        (bytes.fromhex("81cb0002 00000001 09616263"), "rtcp-truncated"),
        (bytes.fromhex("80cc0001 00000001"), "rtcp-truncated"),
        (bytes.fromhex("a0c90000"), "rtcp-padding"),
        (bytes.fromhex("a0c90001 00000000"), "rtcp-padding"),
        (bytes.fromhex("a0c90001 00000005"), "rtcp-padding"),
        (bytes.fromhex("80cd0000") * 129, "rtcp-too-many-packets"),
    ],
)  # fmt: skip
def test_refusals(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        parse_compound(data)
    assert caught.value.reason == reason


def test_padding_is_taken_off() -> None:
    wire = bytes.fromhex("a0c90003 00000007 deadbeef 00000004")
    assert parse_compound(wire) == (ReceiverReport(7, (), b"\xde\xad\xbe\xef"),)


def test_sdes_without_end() -> None:
    """quirk: no zero after the last item, which RFC 3550 section 6.5 asks for."""
    wire = bytes.fromhex("81ca0002 00000007 01026162")
    assert parse_compound(wire) == (SourceDescription.cname(7, "ab"),)


def test_the_cumulative_loss_is_clamped() -> None:
    block = ReportBlock(1, 0, 1 << 30, 0, 0, 0, 0)
    (report,) = parse_compound(ReceiverReport(2, (block,)).serialize())
    assert isinstance(report, ReceiverReport)
    assert report.blocks[0].cumulative_lost == 0x7F_FFFF


def test_a_captured_exchange() -> None:
    compounds = [parse_compound(d.payload) for d in read_datagrams("rtcp-compound.pcap")]
    assert len(compounds) == 5
    assert [type(c[0]).__name__ for c in compounds] == [
        "SenderReport", "ReceiverReport", "SenderReport", "ReceiverReport", "SenderReport",
    ]  # fmt: skip
    reports = [c[0] for c in compounds if isinstance(c[0], SenderReport)]
    assert [(r.rtp_timestamp, r.packet_count, r.octet_count) for r in reports] == [
        (32000, 200, 32000), (64160, 401, 64160), (96320, 602, 96320),
    ]  # fmt: skip
    for compound in compounds:
        assert isinstance(compound[1], SourceDescription)
        assert compound[1].chunks[0].items[1] == SourceItem(
            7, b"FreeSWITCH.org -- Come to ClueCon.com"
        )


def test_a_captured_call_with_two_reports_in_one() -> None:
    datagrams = [d for d in read_datagrams("rtp-pcmu-with-rtcp.pcap") if d.source[1] == 10195]
    (first, _) = [parse_compound(d.payload) for d in datagrams]
    assert [type(p).__name__ for p in first] == [
        "SenderReport",
        "ReceiverReport",
        "SourceDescription",
    ]
    assert all(serialize_compound(parse_compound(d.payload)) == d.payload for d in datagrams)
