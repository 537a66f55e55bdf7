"""RTP payload format for AAC."""

import json
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.aac import AacParameters
from media.payloads.aac import (
    AacDepacketizer,
    AacPacketizer,
    AuHeaderLayout,
    fmtp_from_parameters,
    parameters_from_fmtp,
)
from media.payloads.base import Unit
from media.payloads.formats import payload_format
from tests.support.nal import DATA
from tests.support.payloads import Drops, Packet, deliver, number, packets_of, without

FRAMES = [bytes((index,)) * (50 + 150 * (index % 5)) for index in range(20)]


def run(
    *packets: Packet, ticks: int = 1024, layout: AuHeaderLayout | None = None
) -> tuple[list[Unit], list[str]]:
    drops = Drops()
    return deliver(AacDepacketizer(drops, ticks, layout), packets), drops.reasons


def frames_of(units: list[Unit]) -> list[bytes]:
    return [piece for unit in units for piece in unit.payload]


def hbr(*frames: bytes, indices: tuple[int, ...] = ()) -> bytes:
    """Whole access units in one packet of AAC-hbr."""
    header = b""
    for position, frame in enumerate(frames):
        index = indices[position] if indices else 0
        header += pack("!H", len(frame) << 3 | index)
    return pack("!H", 8 * len(header)) + header + b"".join(frames)


def test_a_real_stream_with_five_channels() -> None:
    dump = json.loads((DATA / "aac-dump.json").read_text())
    lines = dump["mediaDescription"].splitlines()
    attributes = dict(line[2:].split(":", 1) for line in lines if line.startswith("a="))
    name, rate, channels = attributes["rtpmap"].split(" ")[1].split("/")
    pairs = attributes["fmtp"].split(" ", 1)[1].split(";")
    fmtp = dict(pair.strip().split("=", 1) for pair in pairs)
    found = payload_format(name, int(rate), int(channels), fmtp)
    assert (found.kind, found.codec, found.clock_rate) == ("audio", "aac", 48000)
    assert isinstance(found.parameters, AacParameters)
    assert (found.parameters.channels, found.parameters.codec_string()) == (6, "mp4a.40.2")

    raw = [bytes.fromhex(text) for text in dump["packets"]]
    packets = [
        Packet(
            data[12:],
            data[1] >= 0x80,
            int.from_bytes(data[2:4], "big"),
            int.from_bytes(data[4:8], "big"),
        )
        for data in raw
    ]
    drops = Drops()
    units = deliver(found.depacketizer(drops), packets)
    assert drops.reasons == ["aac-unit-loss"]  # packet 53080 is missing in the capture
    # Each packet has one AU header; those without a marker hold the head of a fragmented unit.
    sizes: list[int] = []
    data_bytes = 0
    for packet in packets:
        assert packet.payload[:2] == b"\0\x10"
        data_bytes += len(packet.payload) - 4
        if packet.marker:
            sizes.append(int.from_bytes(packet.payload[2:4], "big") >> 3)
    assert [len(frame) for frame in frames_of(units)] == sizes
    assert sum(sizes) == data_bytes
    assert [unit.timestamp for unit in units] == [p.timestamp for p in packets if p.marker]


@pytest.mark.parametrize("limit", [64, 100, 1400])
def test_round_trip(limit: int) -> None:
    units = [(frame,) for frame in FRAMES]
    packets = packets_of(AacPacketizer(limit), units, step=1024)
    out, drops = run(*packets)
    assert [unit.payload for unit in out] == units
    assert [unit.timestamp for unit in out] == [
        5_000_000_000 + 1024 * index for index in range(len(units))
    ]
    assert max(len(packet.payload) for packet in packets) <= limit
    assert drops == []


def test_fragments_are_equal_but_for_the_last() -> None:
    packets = AacPacketizer(1000).packetize((b"x" * 5001,))
    assert [len(payload) for payload, _ in packets] == [4 + 834] * 5 + [4 + 831]
    assert [marker for _, marker in packets] == [False] * 5 + [True]


def test_what_does_not_fit_the_size_field_is_not_sent() -> None:
    assert AacPacketizer(1400).packetize((b"x" * 8192,)) == []
    assert AacPacketizer(1400).packetize(()) == []


def test_truncation() -> None:
    whole = hbr(b"abc", b"defg")
    for size in range(len(whole)):
        units, drops = run(Packet(whole[:size], True, 0, 0), Packet(hbr(b"ok"), True, 1, 2048))
        assert units[-1] == Unit(2048, (b"ok",))
        assert len(units) + len(drops) <= 2


@pytest.mark.parametrize("ticks", [1024, 960, 2048])
def test_several_frames_of_a_packet_follow_each_other(ticks: int) -> None:
    units, drops = run(*number(hbr(b"a", b"bc", b"def"), timestamp=10**10), ticks=ticks)
    assert units == [
        Unit(10**10, (b"a",)),
        Unit(10**10 + ticks, (b"bc",)),
        Unit(10**10 + 2 * ticks, (b"def",)),
    ]
    assert drops == []


def test_an_empty_frame_takes_its_time() -> None:
    units, _ = run(*number(hbr(b"a", b"", b"b")))
    assert units == [Unit(0, (b"a",)), Unit(2048, (b"b",))]


LBR = AuHeaderLayout(size_length=6, index_length=2, index_delta_length=2)
NO_HEADERS = AuHeaderLayout(size_length=0, index_length=0, index_delta_length=0)
INDEX_ONLY = AuHeaderLayout(size_length=0, index_length=1, index_delta_length=0)
LONG = AuHeaderLayout(
    size_length=16,
    index_length=5,
    index_delta_length=2,
    cts_delta_length=10,
    dts_delta_length=4,
    has_random_access=True,
    stream_state_length=3,
    auxiliary_size_length=7,
)
# AU 1: size, index, no CTS, no DTS, RAP, state; AU 2: size, delta, CTS, DTS, RAP, state
LONG_BITS = f"{3:016b}" + "00000" + "0" + "0" + "1" + "101"
LONG_BITS += f"{2:016b}" + "00" + "1" + "1111100000" + "1" + "0101" + "0" + "010"
LONG_PACKET = pack("!H", len(LONG_BITS)) + int(LONG_BITS + "0" * (-len(LONG_BITS) % 8), 2).to_bytes(
    -(-len(LONG_BITS) // 8), "big"
)
LONG_PACKET += bytes((9 << 1 | 1, 0x55)) + b"abcde"  # 9 bits of auxiliary data


@pytest.mark.parametrize(
    ("layout", "payload", "expected"),
    [
        (LBR, b"\0\x18" + bytes((1 << 2, 2 << 2, 3 << 2)) + b"abbccc", [b"a", b"bb", b"ccc"]),
        (LONG, LONG_PACKET, [b"abc", b"de"]),
        (NO_HEADERS, b"abc", [b"abc"]),
        (
            AuHeaderLayout(size_length=0, index_length=0, index_delta_length=0, constant_size=2),
            b"aabbcc",
            [b"aa", b"bb", b"cc"],
        ),
        (
            AuHeaderLayout(size_length=0, index_length=4, index_delta_length=4, constant_size=3),
            b"\0\x08\x00aaabbb",
            [b"aaa", b"bbb"],
        ),
        (
            AuHeaderLayout(size_length=0, index_length=8, index_delta_length=8),
            b"\0\x08\x00aaabbb",
            [b"aaabbb"],
        ),
    ],
)
def test_other_layouts(layout: AuHeaderLayout, payload: bytes, expected: list[bytes]) -> None:
    units, drops = run(*number(payload), layout=layout)
    assert frames_of(units) == expected
    assert [unit.timestamp for unit in units] == [1024 * i for i in range(len(expected))]
    assert drops == []


@pytest.mark.parametrize("payload", [hbr(b"ab", indices=(1,)), hbr(b"ab", b"c", indices=(0, 1))])
def test_interleaving_is_refused_by_name(payload: bytes) -> None:
    units, drops = run(Packet(payload, True, 0, 0), Packet(hbr(b"ok"), True, 1, 2048))
    assert frames_of(units) == [b"ok"]
    assert drops == ["aac-interleaving-unsupported"]


@pytest.mark.parametrize(
    "payload",
    [
        b"\0",
        b"\0\x11\x00\x10ab",  # 17 bits of headers
        b"\0\x40\x00\x10ab",  # more headers than bytes
        hbr(b"ab", b"cdef")[:-1],
        b"\0\0abc",  # data without a header
    ],
)
def test_malformed_packets(payload: bytes) -> None:
    units, drops = run(Packet(payload, True, 0, 0), Packet(hbr(b"ok"), True, 1, 2048))
    assert frames_of(units)[-1:] == [b"ok"]
    assert drops == ["aac-malformed"]


def test_fragments_do_not_need_the_marker() -> None:
    packets = packets_of(AacPacketizer(64), [(frame,) for frame in FRAMES], step=1024)
    for marker in (True, False):
        for packet in packets:
            packet.marker = marker
        units, drops = run(*packets)
        assert frames_of(units) == FRAMES
        assert drops == []


# FRAMES at 64 bytes: 50 bytes in one packet, 200 in 4, 350 in 6, 500 in 9, 650 in 11.
PACKETS = packets_of(AacPacketizer(64), [(frame,) for frame in FRAMES], step=1024)
HEADS = [i for i, p in enumerate(PACKETS) if not i or p.timestamp != PACKETS[i - 1].timestamp]


@pytest.mark.parametrize(
    ("lost", "missing", "reasons"),
    [
        ([HEADS[5]], [5], ["aac-unit-loss"]),  # one packet, one frame
        ([HEADS[6]], [6], ["aac-unit-loss"]),  # the head of fragments
        ([HEADS[6] + 1], [6], ["aac-fragment-loss"]),
        ([HEADS[7] - 1], [6], ["aac-fragment-loss"]),  # the last of fragments
        ([HEADS[6] + 1, HEADS[7] - 1], [6], ["aac-fragment-loss"]),
        ([HEADS[7] - 1, HEADS[7]], [6, 7], ["aac-fragment-loss"]),
        ([HEADS[9], HEADS[10]], [9, 10], ["aac-unit-loss"]),
    ],
)
def test_losses(lost: list[int], missing: list[int], reasons: list[str]) -> None:
    units, drops = run(*without(PACKETS, *lost))
    expected = [frame for index, frame in enumerate(FRAMES) if index not in missing]
    assert frames_of(units) == expected
    assert drops[: len(reasons)] == reasons
    assert len(drops) <= len(missing)


def test_joining_in_the_middle_of_fragments_is_no_loss() -> None:
    units, drops = run(*PACKETS[HEADS[1] + 1 :])
    assert frames_of(units) == FRAMES[2:]
    assert drops == []


@given(st.sets(st.integers(0, len(PACKETS) - 1), max_size=12))
def test_only_whole_frames_come_out_and_losses_are_counted(lost: set[int]) -> None:
    units, drops = run(*without(PACKETS, *lost))
    for unit in units:
        assert unit.payload == (FRAMES[(unit.timestamp - PACKETS[0].timestamp) // 1024],)
    assert len(drops) <= len(FRAMES) - len(units)
    inner = lost - {0, len(PACKETS) - 1}
    if inner and max(lost) < len(PACKETS) - 1 and min(lost) > HEADS[1]:
        assert drops


@given(
    st.lists(
        st.tuples(
            st.one_of(
                st.binary(max_size=12),
                st.sampled_from([hbr(b"abc"), hbr(b"ab", b"c"), hbr(b"abcdef")[:-3], LONG_PACKET]),
            ),
            st.integers(-1, 2),
            st.integers(0, 1),
        )
    ),
    st.sampled_from([None, LBR, LONG, NO_HEADERS, INDEX_ONLY]),
)
def test_any_packets_are_taken(
    packets: list[tuple[bytes, int, int]], layout: AuHeaderLayout | None
) -> None:
    drops = Drops()
    machine = AacDepacketizer(drops, 1024, layout)
    sequence = timestamp = 0
    for payload, step, later in packets:
        sequence += step
        timestamp += later
        for unit in machine.push(payload, True, sequence, timestamp):
            assert all(unit.payload)
    assert all(reason.startswith("aac-") for reason in drops.reasons)


# Descriptions.


def test_description_round_trip() -> None:
    parameters = AacParameters.build(bytes.fromhex("11B056E500"), 48000)
    fmtp = fmtp_from_parameters(parameters)
    assert parameters_from_fmtp(fmtp, 48000, 6) == parameters
    assert AuHeaderLayout.from_fmtp(fmtp) == AuHeaderLayout()


@pytest.mark.parametrize(
    ("fmtp", "layout"),
    [
        ({"mode": "AAC-hbr"}, AuHeaderLayout()),  # quirk: no sizes
        ({"mode": "aac-LBR"}, LBR),
        ({}, AuHeaderLayout()),
        ({"mode": "generic"}, NO_HEADERS),
        (
            {"mode": "generic", "constantsize": "80", "indexlength": "2"},
            AuHeaderLayout(size_length=0, index_length=2, index_delta_length=0, constant_size=80),
        ),
        (
            {
                "mode": "AAC-hbr",
                "sizelength": "16",
                "indexlength": "5",
                "indexdeltalength": "2",
                "ctsdeltalength": "10",
                "dtsdeltalength": "4",
                "randomaccessindication": "1",
                "streamstateindication": "3",
                "auxiliarydatasizelength": "7",
            },
            LONG,
        ),
    ],
)
def test_layouts_of_descriptions(fmtp: dict[str, str], layout: AuHeaderLayout) -> None:
    assert AuHeaderLayout.from_fmtp(fmtp) == layout


@pytest.mark.parametrize("value", ["x", "-1", "33", "99999999999", "\u0661"])
def test_wrong_sizes_are_refused(value: str) -> None:
    with pytest.raises(WireError) as caught:
        AuHeaderLayout.from_fmtp({"mode": "AAC-hbr", "sizelength": value})
    assert caught.value.reason == "aac-fmtp-malformed"


def test_a_missing_config_is_made_of_rtpmap() -> None:
    parameters = parameters_from_fmtp({"mode": "AAC-hbr"}, 44100, 2)
    assert parameters is not None
    assert parameters.config == bytes.fromhex("1210")


@pytest.mark.parametrize("config", ["zz", "12", "FFFFFFFF", "4210", "121"])
def test_unusable_configs(config: str) -> None:
    assert parameters_from_fmtp({"mode": "AAC-hbr", "config": config}, 44100, 2) is None
