"""The FEC filter against captures of libsrt, against a plain model, and against itself."""

import random
import tracemalloc
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.srt.filter import Arq, FilterLayout, FilterSender
from protocols.srt.filter_receiver import FilterReceiver
from protocols.srt.filter_string import FilterConfig
from protocols.srt.packet import (
    HEADER_BYTES,
    KEY_SHIFT,
    MESSAGE_MASK,
    SEQUENCE_MASK,
    DataPacket,
    is_control,
    unpack_header,
)
from tests.support.pcap import read_datagrams

CAPTURED = {
    "fec_row": "fec,arq:onreq,cols:5,layout:staircase,rows:1",
    "fec_rowcol_staircase": "fec,arq:always,cols:5,layout:staircase,rows:5",
    "fec_aes128": "fec,arq:onreq,cols:5,layout:even,rows:5",
}
LISTENER_PORT = 5000
ROWS = "fec,cols:10"
BOTH = "fec,cols:10,rows:5,layout:even"
STAIRCASE = "fec,cols:10,rows:5"
COLUMNS = "fec,cols:6,rows:-4"
ALL_KINDS = [ROWS, BOTH, STAIRCASE, COLUMNS, "fec,cols:2,rows:2", "fec,cols:3,rows:7"]


def captured(name: str) -> list[bytes]:
    """The data packets of a capture, those of the filter among them, in order."""
    return [
        each.payload
        for each in read_datagrams(f"../srt/{name}.pcap")
        if each.destination[1] == LISTENER_PORT and not is_control(each.payload)
    ]


def is_filter_packet(datagram: bytes) -> bool:
    """Whether it is one of the filter's."""
    return not unpack_header(datagram)[1] & MESSAGE_MASK


def sequence_of(datagram: bytes) -> int:
    """The sequence number."""
    return int(unpack_header(datagram)[0])


def as_repeated(datagram: bytes) -> bytes:
    """The same packet with its R flag."""
    packet = DataPacket.parse(datagram)
    packet.is_retransmitted = True
    return packet.serialize()


def stream(
    text: str, count: int, *, first: int = 1000, seed: int = 1, sizes: tuple[int, ...] = (1316,)
) -> tuple[list[bytes], list[bytes]]:
    """Data packets, and the same with filter packets between them."""
    chance = random.Random(seed)
    sender = FilterSender(FilterLayout.parse(text), first, 77)
    plain: list[bytes] = []
    mixed: list[bytes] = []
    for index in range(count):
        packet = DataPacket(
            first + index & SEQUENCE_MASK,
            index % MESSAGE_MASK + 1,
            index * 1316 & 0xFFFFFFFF,
            77,
            chance.randbytes(chance.choice(sizes)),
            key=chance.choice((1, 2)),
        )
        datagram = packet.serialize()
        plain.append(datagram)
        mixed.append(datagram)
        mixed += sender.feed(packet.sequence, packet.timestamp, packet.key, packet.payload)
    return plain, mixed


def receiver(text: str, first: int = 1000) -> FilterReceiver:
    """The other end of `stream`."""
    return FilterReceiver(FilterLayout.parse(text), first, 77)


def sequences(losses: list[tuple[int, int]]) -> list[int]:
    """The losses one by one."""
    return [each for first, last in losses for each in range(first, last + 1)]


# -- captures ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CAPTURED)
def test_filter_packets_are_those_of_libsrt(name: str) -> None:
    packets = captured(name)
    data = [each for each in packets if not is_filter_packet(each)]
    sender = FilterSender(
        FilterLayout.parse(CAPTURED[name]),
        sequence_of(data[0]),
        unpack_header(data[0])[3],
        1316,
    )
    made: list[bytes] = []
    for datagram in data:
        packet = DataPacket.parse(datagram)
        made.append(datagram)
        made += sender.feed(packet.sequence, packet.timestamp, packet.key, packet.payload)
    assert made == packets
    assert sender.packets >= 5


@pytest.mark.parametrize("name", CAPTURED)
def test_each_covered_packet_of_libsrt_is_rebuilt(name: str) -> None:
    packets = captured(name)
    layout = FilterLayout.parse(CAPTURED[name])
    first = sequence_of(packets[0])
    socket_id = unpack_header(packets[0])[3]
    data = [each for each in packets if not is_filter_packet(each)]
    covered = len(data) // layout.columns * layout.columns
    for lost in data[:covered]:
        end = FilterReceiver(layout, first, socket_id)
        passed, losses = end.receive([each for each in packets if each is not lost])
        assert sorted(passed, key=sequence_of) == [
            as_repeated(each) if each is lost else each for each in data
        ]
        assert losses == []
        assert end.rebuilt == 1


# -- one feature at a time -----------------------------------------------------------------


@pytest.mark.parametrize("text", ALL_KINDS)
def test_nothing_lost_nothing_made(text: str) -> None:
    plain, mixed = stream(text, 500)
    end = receiver(text)
    passed, losses = end.receive(mixed)
    assert passed == plain
    assert (losses, end.rebuilt, end.useless) == ([], 0, 0)
    assert end.filter_packets == len(mixed) - len(plain)


@pytest.mark.parametrize("text", ALL_KINDS)
def test_overhead_is_what_the_layout_says(text: str) -> None:
    layout = FilterLayout.parse(text)
    plain, mixed = stream(text, layout.matrix * 10)
    rows = layout.rows * 10 if layout.has_rows else 0
    most = rows + (layout.columns * 10 if layout.has_columns else 0)
    head = layout.columns if layout.is_staircase and layout.has_columns else 0
    assert most - head <= len(mixed) - len(plain) <= most


def test_without_filter_the_same_losses_stay() -> None:
    plain, mixed = stream(STAIRCASE, 1000)
    lost = {plain[index] for index in range(100, 900, 37)}
    survivors = [each for each in plain if each not in lost]
    assert len(survivors) == len(plain) - len(lost)  # off
    passed, _ = receiver(STAIRCASE).receive([each for each in mixed if each not in lost])
    assert len(passed) == len(plain)  # on


def test_rows_and_columns_mend_each_other() -> None:
    """Four losses in a square defeat rows or columns alone; with one beside, the chain opens."""
    plain, mixed = stream(BOTH, 100)
    chain = {plain[index] for index in (0, 1, 11, 12, 22)}  # two in each row but the last
    passed, losses = receiver(BOTH).receive([each for each in mixed if each not in chain])
    assert len(passed) == 100 and losses == []
    square = {plain[index] for index in (0, 1, 10, 11)}
    passed, losses = receiver(BOTH).receive([each for each in mixed if each not in square])
    assert len(passed) == 96
    assert sequences(losses) == [1000, 1001, 1010, 1011]


def test_a_burst_of_a_row_is_mended_by_columns() -> None:
    plain, mixed = stream(STAIRCASE, 400)
    burst = set(plain[200:210])
    passed, _ = receiver(STAIRCASE).receive([each for each in mixed if each not in burst])
    assert len(passed) == 400


def test_a_retransmission_completes_a_waiting_group() -> None:
    plain, mixed = stream("fec,cols:5,arq:always", 20)
    late, lost = plain[6], plain[7]
    end = receiver("fec,cols:5,arq:always")
    passed, _ = end.receive([each for each in mixed if each not in (late, lost)])
    assert len(passed) == 18
    passed, _ = end.receive([as_repeated(late)])
    assert passed == [as_repeated(late), as_repeated(lost)]


@pytest.mark.parametrize("text", ALL_KINDS)
def test_a_packet_that_comes_when_its_group_is_half_forgotten(text: str) -> None:
    plain, mixed = stream(text, 300)
    for later in range(100):
        end = receiver(text)
        # The one after them moves what is forgotten off the borders of groups.
        lost = [*plain[33:36], plain[36 + later]]
        limit = mixed.index(plain[36 + later]) + 2
        got = end.receive([each for each in mixed[:limit] if each not in lost])[0]
        got += end.receive([as_repeated(each) for each in lost])[0]
        assert {as_repeated(each) for each in got} <= {as_repeated(each) for each in plain}


@pytest.mark.parametrize("arq", [each.value for each in Arq])
def test_losses_are_told_as_arq_says(arq: str) -> None:
    text = f"fec,cols:10,rows:5,layout:even,arq:{arq}"
    plain, mixed = stream(text, 200)
    square = {plain[index] for index in (0, 1, 10, 11)}
    _, losses = receiver(text).receive([each for each in mixed if each not in square])
    assert sequences(losses) == ([1000, 1001, 1010, 1011] if arq == "onreq" else [])


def test_a_loss_is_told_once_and_as_soon_as_the_row_is_over() -> None:
    plain, mixed = stream(ROWS, 100)
    lost = plain[13:15]
    end = receiver(ROWS)
    told: list[int] = []
    told_at = 0
    for each in mixed:
        if each in lost:
            continue
        told += sequences(end.receive([each])[1])
        if told and not told_at:
            told_at = sequence_of(each)
    assert told == [1013, 1014]
    assert told_at == 1019 + 3  # a third of a row more
    assert end.lost == 2


def test_a_filter_packet_that_comes_late_is_in_time() -> None:
    plain, mixed = stream(ROWS, 40)
    at = mixed.index(plain[20])  # the filter packet of the second row is before it
    moved = mixed[at - 1]
    order = mixed[: at - 1] + mixed[at : at + 2] + [moved] + mixed[at + 2 :]
    passed, losses = receiver(ROWS).receive([each for each in order if each is not plain[15]])
    assert as_repeated(plain[15]) in passed and losses == []


@pytest.mark.parametrize("text", ALL_KINDS)
def test_sequence_and_message_numbers_wrap(text: str) -> None:
    first = SEQUENCE_MASK - 99
    chance = random.Random(3)
    sender = FilterSender(FilterLayout.parse(text), first, 77)
    plain: list[bytes] = []
    mixed: list[bytes] = []
    for index in range(300):
        message = (MESSAGE_MASK - 150 + index - 1) % MESSAGE_MASK + 1
        packet = DataPacket(
            first + index & SEQUENCE_MASK, message, index, 77, chance.randbytes(188)
        )
        plain.append(packet.serialize())
        mixed.append(plain[-1])
        mixed += sender.feed(packet.sequence, packet.timestamp, packet.key, packet.payload)
    for lost in range(60, 200, 7):
        end = receiver(text, first)
        passed, _ = end.receive([each for each in mixed if each is not plain[lost]])
        assert as_repeated(plain[lost]) in passed


def test_payloads_of_unlike_lengths() -> None:
    plain, mixed = stream(STAIRCASE, 400, sizes=(0, 1, 188, 1316))
    for lost in range(100, 300, 11):
        passed, _ = receiver(STAIRCASE).receive([each for each in mixed if each is not plain[lost]])
        assert as_repeated(plain[lost]) in passed


def test_packets_that_were_never_sent_close_no_group() -> None:
    layout = FilterLayout.parse("fec,cols:5")
    sender = FilterSender(layout, 0, 77)
    made = [sender.feed(sequence, 0, 0, b"x") for sequence in (*range(7), *range(9, 20))]
    assert [sequence_of(each) for group in made for each in group] == [4, 14, 19]


def test_a_jump_begins_anew_and_tells_what_it_passed() -> None:
    text = "fec,cols:5"
    plain, mixed = stream(text, 400)
    first = mixed[: mixed.index(plain[8])]
    later = mixed[mixed.index(plain[303]) :]
    end = receiver(text)
    _, losses = end.receive(first)
    assert losses == []
    passed, losses = end.receive([each for each in later if each is not plain[321]])
    assert sequences(losses) == list(range(1008, 1303))
    assert as_repeated(plain[321]) in passed


# -- whatever comes ------------------------------------------------------------------------


@given(
    text=st.sampled_from(ALL_KINDS),
    seed=st.integers(0, 1 << 32),
    loss=st.floats(0, 0.5),
    shuffle=st.integers(0, 12),
)
def test_never_anything_but_the_truth(text: str, seed: int, loss: float, shuffle: int) -> None:
    """Under loss, duplication and reordering each packet that is passed on is one that was sent."""
    chance = random.Random(seed)
    plain, mixed = stream(text, 300, seed=seed, sizes=(10, 40))
    arrived = [
        (at + chance.random() * shuffle, each)
        for at, each in enumerate(mixed)
        for _ in range(chance.choice((1, 1, 1, 2)))
        if chance.random() >= loss
    ]
    order = [each for _, each in sorted(arrived, key=lambda item: item[0])]
    end = receiver(text)
    truth = {sequence_of(each): each for each in plain}
    got: set[int] = set()
    told: set[int] = set()
    for at in range(0, len(order), 17):
        passed, losses = end.receive(order[at : at + 17])
        for each in passed:
            sequence = sequence_of(each)
            assert each in (truth[sequence], as_repeated(truth[sequence]))
            got.add(sequence)
        told.update(sequences(losses))
    came = {sequence_of(each) for each in order if not is_filter_packet(each)}
    assert got >= came
    assert len(got) <= len(came) + end.rebuilt
    if not shuffle:
        assert not told & came


@given(
    text=st.sampled_from([*ALL_KINDS, "fec,cols:1000,rows:1000", "fec,cols:1000,rows:-2"]),
    packets=st.lists(
        st.tuples(
            st.one_of(st.integers(0, 60), st.integers(0, SEQUENCE_MASK)),
            st.sampled_from((0, 1, 5 << KEY_SHIFT)),
            st.binary(max_size=12),
        ),
        max_size=60,
    ),
)
def test_garbage_raises_nothing(text: str, packets: list[tuple[int, int, bytes]]) -> None:
    end = FilterReceiver(FilterLayout.parse(text), 0, 77)
    for sequence, second, payload in packets:
        datagram = pack("!IIII", sequence, second, 0, 77) + payload
        passed, losses = end.receive([datagram])
        assert all(len(each) >= HEADER_BYTES for each in passed)
        assert all(0 <= edge <= SEQUENCE_MASK for pair in losses for edge in pair)


def test_a_filter_packet_that_does_not_fit_rebuilds_nothing() -> None:
    plain, mixed = stream("fec,cols:5", 10)
    fec = next(each for each in mixed if is_filter_packet(each))
    kept = [each for each in plain if each is not plain[2]]
    for at, flip in ((HEADER_BYTES + 1, 0x80), (HEADER_BYTES + 2, 0x40), (HEADER_BYTES, 0x01)):
        broken = bytearray(fec)
        broken[at] ^= flip
        end = receiver("fec,cols:5")
        passed, _ = end.receive([*kept[:4], bytes(broken)])
        assert passed == kept[:4]
        assert end.useless == 1
    for size in range(HEADER_BYTES, HEADER_BYTES + 4):
        end = receiver("fec,cols:5")
        end.receive([*kept[:4], fec[:size]])
        assert (end.useless, end.rebuilt) == (1, 0)


def test_memory_is_bounded() -> None:
    """A stream with losses everywhere and repeats of filter packets."""
    _, mixed = stream(STAIRCASE, 4000, sizes=(16,))
    chance = random.Random(5)
    hit = [each for each in mixed for _ in range(chance.choice((0, 1, 1, 3)))]
    end = receiver(STAIRCASE)
    end.receive(hit[:4000])
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    end.receive(hit[4000:])
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 200_000


@pytest.mark.parametrize("text", ["fec", "fec,cols:1", "fec,cols:5,rows:0", "arq,cols:5"])
def test_layouts_that_are_none(text: str) -> None:
    with pytest.raises(WireError):
        FilterLayout.of(FilterConfig.parse(text).merge(FilterConfig.parse(text)))


def test_a_layout_says_what_it_is() -> None:
    layout = FilterLayout.parse("fec,cols:10,rows:-5")
    assert (layout.columns, layout.rows, layout.has_rows, layout.has_columns) == (
        10,
        5,
        False,
        True,
    )
    assert (layout.is_staircase, layout.arq) == (True, Arq.ON_REQUEST)
    assert [layout.column_start(column) for column in range(7)] == [0, 11, 22, 33, 44, 5, 16]
    assert layout.column_of(0) == range(0, 50, 10)
    assert layout.column_of(1) is None
    assert layout.covered_until(61) == 101
