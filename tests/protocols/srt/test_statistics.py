"""Statistics: libsrt's names, all of them, each counting what the simulated network did."""

import pytest

from protocols.srt.options import Mode, Options
from protocols.srt.packet import (
    KEY_SHIFT,
    SOLO,
    ControlPacket,
    ControlType,
    is_control,
    pack_header,
    timestamp_at,
    unpack_header,
)
from protocols.srt.statistics import TOOL_RECEIVE, TOOL_SEND, Number, Statistics
from tests.support.simnet import Link
from tests.support.srt_pair import CALLER, Pair

CLEAN = Link(delay=0.02)
PACKET = 1316 + 44
COUNTED_NAMES = """
    pktSent pktRecv pktSentUnique pktRecvUnique pktSndLoss pktRcvLoss pktRetrans pktRcvRetrans
    pktSentACK pktRecvACK pktSentNAK pktRecvNAK usSndDuration pktSndDrop pktRcvDrop pktRcvUndecrypt
    pktSndFilterExtra pktRcvFilterExtra pktRcvFilterSupply pktRcvFilterLoss
    byteSent byteRecv byteSentUnique byteRecvUnique byteRcvLoss byteRetrans byteSndDrop byteRcvDrop
    byteRcvUndecrypt pktRcvBelated
"""
OTHER_NAMES = """
    msTimeStamp mbpsSendRate mbpsRecvRate pktReorderDistance
    usPktSndPeriod pktFlowWindow pktCongestionWindow pktFlightSize msRTT mbpsBandwidth
    byteAvailSndBuf byteAvailRcvBuf mbpsMaxBW byteMSS pktSndBuf byteSndBuf msSndBuf msSndTsbPdDelay
    pktRcvBuf byteRcvBuf msRcvBuf msRcvTsbPdDelay pktReorderTolerance pktRcvAvgBelatedTime
"""
COUNTED = COUNTED_NAMES.split()  # each in total too
OTHERS = OTHER_NAMES.split()


def looks(pair: Pair, is_clearing: bool = False) -> tuple[Statistics, Statistics]:
    """The sender's, the receiver's."""
    now = pair.net.now
    return pair.caller.statistics(now, is_clearing), pair.listener.statistics(now, is_clearing)


def totals(pair: Pair) -> tuple[dict[str, Number], dict[str, Number]]:
    ours, theirs = looks(pair)
    return ours.values, theirs.values


def test_all_names_are_there() -> None:
    ours, _ = looks(Pair(CLEAN))
    wanted = {*COUNTED, *(each + "Total" for each in COUNTED), *OTHERS}
    assert set(ours.values) == wanted
    assert set(ours.to_json()) == wanted | {"reasons", "flux"}


class Losing:
    """A tap that loses data packets by number, counted from 0; the first copy of each or all."""

    def __init__(self, pair: Pair, numbers: set[int], copies: int = 1) -> None:
        self._numbers = {1000 + number for number in numbers}
        self._copies = copies
        self._seen: dict[int, int] = {}
        self.lost = self.again = self.naks = self.acks = 0
        pair.there.tap = self._data
        pair.here.tap = self._control

    def _data(self, datagram: bytes, now: float) -> bool:
        del now
        if is_control(datagram):
            return True
        sequence, word, _, _ = unpack_header(datagram)
        self.again += bool(word & 1 << 26)
        if sequence not in self._numbers:
            return True
        self._seen[sequence] = seen = self._seen.get(sequence, 0) + 1
        self.lost += seen <= self._copies
        return seen > self._copies

    def _control(self, datagram: bytes, now: float) -> bool:
        del now
        if is_control(datagram):
            packet = ControlPacket.parse(datagram)
            self.naks += packet.kind == ControlType.NAK
            self.acks += packet.kind == ControlType.ACK and packet.specific > 0
        return True


def test_without_loss() -> None:
    pair = Pair(CLEAN)
    tap = Losing(pair, set())
    pair.transfer(950)
    ours, theirs = totals(pair)
    assert ours["pktSentTotal"] == ours["pktSentUniqueTotal"] == 950
    assert theirs["pktRecvTotal"] == theirs["pktRecvUniqueTotal"] == 950
    assert ours["byteSentTotal"] == ours["byteSentUniqueTotal"] == 950 * PACKET
    assert theirs["byteRecvTotal"] == theirs["byteRecvUniqueTotal"] == 950 * PACKET
    assert theirs["pktSentACKTotal"] == ours["pktRecvACKTotal"] == tap.acks > 80
    zero = [name for name in COUNTED if not ours[name + "Total"] and not theirs[name + "Total"]]
    assert set(COUNTED) - set(zero) == {
        *("pktSent", "pktSentUnique", "byteSent", "byteSentUnique", "usSndDuration"),
        *("pktRecv", "pktRecvUnique", "byteRecv", "byteRecvUnique", "pktSentACK", "pktRecvACK"),
    }
    assert ours["msTimeStamp"] == pytest.approx((pair.net.now - 1000) * 1000, abs=1)


def test_losses_and_what_repairs_them() -> None:
    pair = Pair(CLEAN)
    numbers = {100, 101, 102, 300, 500}
    tap = Losing(pair, numbers)
    pair.transfer(950)
    ours, theirs = totals(pair)
    assert tap.lost == theirs["pktRcvLossTotal"] == 5
    assert theirs["byteRcvLossTotal"] == 5 * PACKET
    assert tap.again == ours["pktRetransTotal"] == theirs["pktRcvRetransTotal"] == 5
    assert ours["byteRetransTotal"] == 5 * PACKET
    assert tap.naks == theirs["pktSentNAKTotal"] == ours["pktRecvNAKTotal"] == 3
    assert ours["pktSndLossTotal"] == 5
    assert ours["pktSentTotal"] == 955 and ours["pktSentUniqueTotal"] == 950
    assert theirs["pktRecvTotal"] == theirs["pktRecvUniqueTotal"] == 950
    assert theirs["pktRcvDropTotal"] == 0
    extra = pair.listener.statistics(pair.net.now).extra
    assert extra["pktRecovered"] == 5 and extra["recoveryAttempts"] == {"1": 5}
    times = extra["recoveryMs"]
    assert isinstance(times, dict)
    assert sum(times["counts"]) == 5
    assert times["counts"][times["bounds"].index(50)] == 5, "a round trip of 40 ms"


def test_a_second_attempt_shows() -> None:
    pair = Pair(CLEAN)
    tap = Losing(pair, {400}, copies=2)
    pair.transfer(950)
    ours, theirs = totals(pair)
    assert tap.lost == 2 and theirs["pktRcvLossTotal"] == 1
    assert ours["pktRetransTotal"] == 2 and theirs["pktRcvRetransTotal"] == 1
    extra = pair.listener.statistics(pair.net.now).extra
    assert extra["recoveryAttempts"] == {"2": 1}


def test_what_never_comes_is_dropped() -> None:
    pair = Pair(CLEAN)
    Losing(pair, {400, 401, 700}, copies=99)
    pair.transfer(950)
    ours, theirs = totals(pair)
    assert theirs["pktRcvDropTotal"] == 3 and theirs["byteRcvDropTotal"] == 3 * PACKET
    assert theirs["pktRecvUniqueTotal"] == 947
    assert pair.received.lost == 3
    assert theirs["pktRcvBelatedTotal"] == 0
    assert ours["pktSndDropTotal"] == 0


def test_belated_packets_and_how_late_they_were() -> None:
    """One packet in fifty takes 300 ms more, and nobody hears the questions."""
    pair = Pair(Link(delay=0.02, reorder=0.02, reorder_by=0.3), CLEAN)

    def deaf(datagram: bytes, now: float) -> bool:
        del now
        return ControlPacket.parse(datagram).kind != ControlType.NAK

    pair.here.tap = deaf
    pair.transfer(1900)
    ours, theirs = totals(pair)
    late = 1900 - len(pair.received.numbers)
    assert 20 < late < 60
    assert theirs["pktRcvBelatedTotal"] == theirs["pktRcvDropTotal"] == late
    assert theirs["pktRcvAvgBelatedTime"] == pytest.approx(180, abs=10)
    assert theirs["pktRecvTotal"] == ours["pktSentTotal"] <= 1903, "probes of the last one"
    assert theirs["pktRecvUniqueTotal"] == 1900 - late
    assert theirs["pktSentNAKTotal"] > 0 and ours["pktRecvNAKTotal"] == 0


def test_reordering() -> None:
    pair = Pair(Link(delay=0.02, reorder=0.05, reorder_by=0.010), CLEAN)
    pair.transfer(1900)
    _, theirs = looks(pair, is_clearing=True)
    assert 8 <= theirs.values["pktReorderDistance"] <= 11
    assert theirs.values["pktReorderTolerance"] >= 8
    reordered, times = theirs.extra["pktReordered"], theirs.extra["reorderedMs"]
    assert isinstance(reordered, int) and isinstance(times, dict)
    assert 60 < reordered == sum(times["counts"])
    assert looks(pair)[1].values["pktReorderDistance"] == 0, "of the interval"


def test_duplicates() -> None:
    pair = Pair(Link(delay=0.02, duplicate=0.1), CLEAN)
    pair.transfer(950)
    _, theirs = looks(pair)
    assert theirs.values["pktRecvUniqueTotal"] == 950
    assert 1010 < theirs.values["pktRecvTotal"] < 1090
    assert theirs.extra["pktDuplicate"] == theirs.values["pktRecvTotal"] - 950


def test_what_the_sender_gives_up() -> None:
    pair = Pair(CLEAN)
    pair.there.is_cut = True
    pair.stream(950)
    pair.run(4.0)
    ours, _ = totals(pair)
    assert ours["pktSndDropTotal"] == pair.sent.dropped == 950
    assert ours["byteSndDropTotal"] == 950 * PACKET
    assert ours["pktSndBuf"] == ours["byteSndBuf"] == ours["msSndBuf"] == 0
    # The buffer has something from the first packet until the last is given up.
    assert ours["usSndDurationTotal"] == pytest.approx(2.05e6, rel=0.02)


def test_time_with_something_to_send() -> None:
    pair = Pair(CLEAN)
    pair.transfer(1)
    ours, _ = totals(pair)
    assert ours["usSndDurationTotal"] == pytest.approx(50_000, abs=12_000), "a round trip, an ACK"
    pair.run(1.0)
    assert totals(pair)[0]["usSndDurationTotal"] == ours["usSndDurationTotal"]
    pair.stream(950)
    pair.run(1.0)
    assert totals(pair)[0]["usSndDurationTotal"] == pytest.approx(1_050_000, abs=20_000)


def test_what_no_key_opens() -> None:
    pair = Pair(CLEAN)
    pair.stream(10)
    pair.run(0.1)
    stamp = timestamp_at(pair.net.now, 1000.0)
    header = pack_header(1010, SOLO | 1 << KEY_SHIFT | 11, stamp, 202)
    pair.listener.receive_datagrams([header + bytes(1000)], CALLER, pair.net.now)
    pair.run(1.0)
    _, theirs = totals(pair)
    assert theirs["pktRcvUndecryptTotal"] == 1 and theirs["byteRcvUndecryptTotal"] == 1044
    assert theirs["pktRecvTotal"] == 11 and theirs["byteRecvTotal"] == 10 * PACKET + 1044
    assert theirs["pktRecvUniqueTotal"] == 10 and theirs["byteRecvUniqueTotal"] == 10 * PACKET
    assert theirs["pktRcvDropTotal"] == 1
    assert pair.received.numbers == list(range(10))


def test_the_filters_packets() -> None:
    """Rows of ten: one packet more each, one loss mended without being received."""
    options = Options(filter="fec,cols:10,rows:1,arq:never")
    pair = Pair(CLEAN, options=options, packet_filter=options.filter)
    tap = Losing(pair, {104, 333})
    pair.transfer(950)
    ours, theirs = totals(pair)
    assert tap.lost == 2
    assert ours["pktSndFilterExtraTotal"] == theirs["pktRcvFilterExtraTotal"] == 95
    assert ours["pktSentTotal"] == 950 + 95 and ours["pktSentUniqueTotal"] == 950
    assert theirs["pktRecvTotal"] == 950 + 95 - 2 and theirs["pktRecvUniqueTotal"] == 950
    assert theirs["pktRcvFilterSupplyTotal"] == 2
    assert theirs["pktRcvRetransTotal"] == ours["pktRetransTotal"] == 0
    assert ours["byteSentTotal"] - theirs["byteRecvTotal"] == 2 * PACKET
    assert ours["byteSentTotal"] == 950 * PACKET + 95 * (PACKET + 4)


def test_losses_that_the_filter_cannot_mend() -> None:
    options = Options(filter="fec,cols:10,rows:1,arq:onreq")
    pair = Pair(CLEAN, options=options, packet_filter=options.filter)
    Losing(pair, {104, 106, 333})
    pair.transfer(950)
    ours, theirs = totals(pair)
    assert theirs["pktRcvFilterLossTotal"] == 2 and theirs["pktRcvFilterSupplyTotal"] == 1
    assert ours["pktRetransTotal"] == theirs["pktRcvRetransTotal"] == 2
    assert theirs["pktRecvUniqueTotal"] == 950


def test_an_interval_ends_where_it_is_cleared() -> None:
    pair = Pair(CLEAN)
    pair.stream(1900)
    pair.run(1.0)
    looks(pair, is_clearing=True)
    Losing(pair, {1200})
    pair.run(0.5)
    ours, theirs = looks(pair)
    again, _ = looks(pair)
    assert again.values == ours.values, "a look changes nothing"
    assert ours.values["pktSent"] == pytest.approx(475, abs=3)
    assert ours.values["pktSentTotal"] == pytest.approx(1425, abs=3)
    assert theirs.values["pktRcvLoss"] == theirs.values["pktRcvLossTotal"] == 1
    assert ours.values["mbpsSendRate"] == pytest.approx(950 * PACKET * 8 / 1e6, rel=0.02)
    assert theirs.values["mbpsRecvRate"] == pytest.approx(950 * PACKET * 8 / 1e6, rel=0.02)
    for name in COUNTED:
        assert ours.values[name] <= ours.values[name + "Total"]
    looks(pair, is_clearing=True)
    assert looks(pair)[0].values["pktSent"] == 0


def test_what_holds_at_this_moment() -> None:
    pair = Pair(Link(delay=0.05), options=Options(receive_latency_ms=300))
    pair.stream(1900)
    pair.run(1.5)
    ours, theirs = totals(pair)
    assert ours["msRTT"] == pytest.approx(100, abs=5) and theirs["msRTT"] == pytest.approx(100, 5)
    # A round trip, and up to 10 ms until it is acknowledged.
    assert 95 <= ours["pktFlightSize"] <= 107
    assert ours["pktSndBuf"] == ours["pktFlightSize"]
    assert ours["byteSndBuf"] == ours["pktSndBuf"] * PACKET
    assert 98 <= ours["msSndBuf"] <= 113
    assert theirs["pktRcvBuf"] == pytest.approx(0.3 * 950, abs=8)
    assert theirs["byteRcvBuf"] == theirs["pktRcvBuf"] * PACKET
    assert theirs["msRcvBuf"] == pytest.approx(300, abs=8)
    assert theirs["byteAvailRcvBuf"] == (8192 - theirs["pktRcvBuf"]) * 1500
    assert ours["pktFlowWindow"] == pytest.approx(8192 - theirs["pktRcvBuf"], abs=15)
    assert ours["byteAvailSndBuf"] < 8192 * 1500
    assert ours["msSndTsbPdDelay"] == theirs["msRcvTsbPdDelay"] == 300
    assert (ours["byteMSS"], ours["mbpsMaxBW"], ours["pktCongestionWindow"]) == (1500, 1000, 8192)
    assert ours["usPktSndPeriod"] == pytest.approx(12, abs=0.1)


def test_bandwidth_is_above_what_is_received() -> None:
    pair = Pair(CLEAN)
    pair.stream(1900)
    pair.run(1.5)
    ours, theirs = looks(pair)
    rate = 950 * PACKET * 8 / 1e6
    assert ours.values["mbpsBandwidth"] > rate and theirs.values["mbpsBandwidth"] > rate
    assert theirs.extra["pktsReceiveRate"] == pytest.approx(950, rel=0.1)


def test_drift_and_lateness() -> None:
    pair = Pair(CLEAN)
    pair.transfer(1900)
    extra = pair.listener.statistics(pair.net.now).extra
    lateness = extra["latenessMs"]
    assert isinstance(lateness, dict)
    turns = sum(lateness["counts"])
    assert turns > 100
    assert lateness["sum"] / turns <= 5.0, "a tick"
    assert abs(float(str(extra["msDrift"]))) < 0.5
    file = Pair(CLEAN, options=Options(mode=Mode.STREAM), has_numbers=False)
    assert file.listener.statistics(file.net.now).extra["latenessMs"] is None


def test_the_groups_of_the_tool() -> None:
    pair = Pair(CLEAN)
    pair.transfer(100)
    found = pair.caller.statistics(pair.net.now).to_tool_json("now")
    assert list(found) == ["sid", "timepoint", "time", "window", "link", "send", "recv"]
    assert (found["sid"], found["timepoint"]) == (pair.caller.socket_id, "now")
    send, receive = found["send"], found["recv"]
    assert isinstance(send, dict) and isinstance(receive, dict)
    assert list(send) == list(TOOL_SEND) and list(receive) == list(TOOL_RECEIVE)
    assert send["packetsUnique"] == 100 and send["bytes"] == 100 * PACKET
    assert found["link"] == {
        "rtt": pytest.approx(40, 5),
        "bandwidth": 0.0,
        "maxBandwidth": 1000,
    } | {"bandwidth": pair.caller.statistics(pair.net.now).values["mbpsBandwidth"]}


def test_reasons_of_refusals_are_joined() -> None:
    pair = Pair(CLEAN)
    pair.transfer(10)
    pair.listener.receive_datagrams([bytes(20)], ("198.18.9.9", 1), pair.net.now)
    pair.listener.receive_datagrams([bytes(20)], CALLER, pair.net.now)
    reasons = pair.listener.statistics(pair.net.now).reasons
    assert reasons["foreign-address"] == 1 and reasons["foreign-socket-id"] == 1
