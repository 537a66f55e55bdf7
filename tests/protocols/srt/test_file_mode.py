"""Message and stream mode of connections in the simulated network: order, lifetimes, room, ends."""

import random

import pytest

from protocols.srt.control import Ack
from protocols.srt.options import Mode, Options, RateOptions
from protocols.srt.packet import ControlPacket, ControlType, is_control
from tests.support.simnet import Link
from tests.support.srt_pair import LISTENER, Pair

CLEAN = Link(delay=0.02)
LOSSY = Link(delay=0.02, loss=0.05)


def pair(mode: Mode, link: Link = CLEAN, back: Link | None = None, **options: object) -> Pair:
    """A caller that sends files to a listener."""
    both = Options(mode=mode, receive_latency_ms=0, **options)  # type: ignore[arg-type]
    return Pair(link, back, options=both, has_numbers=False, seed=7)


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("link", [CLEAN, LOSSY], ids=["clean", "5%"])
def test_a_stream_comes_whole(link: Link) -> None:
    data = content(1_000_000)
    found = pair(Mode.STREAM, link)
    assert found.caller.send([data[:700_000], data[700_000:]], found.net.now) == 2
    found.run(8.0)
    assert b"".join(found.received.payloads) == data


@pytest.mark.parametrize("link", [CLEAN, LOSSY], ids=["clean", "5%"])
def test_messages_come_whole_and_in_order(link: Link) -> None:
    messages = [content(size, size) for size in (1, 1456, 1457, 100_000, 5, 300_000)]
    found = pair(Mode.MESSAGE, link)
    assert found.caller.send(messages, found.net.now) == len(messages)
    found.run(8.0)
    assert found.received.payloads == messages


def losing(found: Pair, numbers: set[int]) -> None:
    """Lose the first copies of these packets, counted from 0."""
    seen = -1

    def tap(datagram: bytes, now: float) -> bool:
        nonlocal seen
        del now
        if is_control(datagram) or datagram[4] & 0x04:  # R: sent again
            return True
        seen += 1
        return seen not in numbers

    found.there.tap = tap


def test_free_of_order_a_message_overtakes() -> None:
    """The first packet is lost: only the message that must be in order waits for it."""
    found = pair(Mode.MESSAGE)
    losing(found, {0})
    found.caller.send_message(b"first", found.net.now)
    found.caller.send_message(b"ordered", found.net.now)
    found.caller.send_message(b"free" * 1000, found.net.now, is_in_order=False)
    found.run(0.025)
    assert found.received.payloads == [b"free" * 1000]
    found.run(1.0)
    assert found.received.payloads == [b"free" * 1000, b"first", b"ordered"]


def test_a_message_whose_time_is_over_is_not_sent() -> None:
    """The pace is slow, so that the second message waits for longer than it lives: no hole."""
    found = pair(Mode.MESSAGE, rate=RateOptions(max_rate=20_000))
    big, old, young = content(20_000), content(5000, 2), content(5000, 3)
    found.caller.send_message(big, found.net.now)
    found.caller.send_message(old, found.net.now, lifetime=0.3)
    found.caller.send_message(young, found.net.now, lifetime=60.0)
    found.run(6.0)
    assert found.received.payloads == [big, young]
    assert found.sent.dropped > 0
    values = found.caller.statistics(found.net.now).values
    assert values["pktSndDropTotal"] == found.sent.dropped
    theirs = found.listener.statistics(found.net.now).values
    assert theirs["pktRcvDropTotal"] == theirs["pktRcvLossTotal"] == 0


def test_a_message_that_has_begun_is_given_up() -> None:
    found = pair(Mode.MESSAGE, rate=RateOptions(max_rate=20_000))
    old, young = content(40_000), content(5000, 3)
    found.caller.send_message(old, found.net.now, lifetime=0.3)
    found.caller.send_message(young, found.net.now)
    found.run(3.0)
    assert found.received.payloads == [young]
    ours = found.caller.statistics(found.net.now).values
    theirs = found.listener.statistics(found.net.now).values
    sent = ours["pktSentUniqueTotal"] - 4
    assert 10 < sent < 20, "of 28"
    assert theirs["pktRcvDropTotal"] == 28 - sent
    assert 28 - sent <= found.sent.dropped < 28
    found.caller.close(found.net.now)
    found.run(0.5)
    assert found.sent.closed is not None, "nothing of it is waited for"


def test_a_drop_request_that_is_lost_is_told_again() -> None:
    found = pair(Mode.MESSAGE, rate=RateOptions(max_rate=20_000))
    lost = 0

    def tap(datagram: bytes, now: float) -> bool:
        nonlocal lost
        del now
        if is_control(datagram):
            is_drop = ControlPacket.parse(datagram).kind == ControlType.DROP_REQUEST
            if is_drop and not lost:
                lost += 1
                return False
        return True

    found.there.tap = tap
    messages = [content(5000), content(40_000, 2), content(5000, 3)]
    for message, lifetime in zip(messages, (None, 0.5, None), strict=True):
        found.caller.send_message(message, found.net.now, lifetime=lifetime)
    found.run(8.0)
    assert lost == 1
    assert found.received.payloads == [messages[0], messages[2]]


def test_a_full_buffer_takes_no_half_message() -> None:
    found = pair(Mode.MESSAGE, send_buffer_packets=100, receive_buffer_packets=100)
    now = found.net.now
    assert found.caller.send_message(content(90 * 1456), now)
    assert not found.caller.send_message(content(20 * 1456), now)
    found.run(1.0)
    assert found.sent.rooms == 1
    assert found.caller.send_message(content(20 * 1456), found.net.now)
    assert not found.caller.send_message(content(101 * 1456), found.net.now)
    found.run(1.0)
    assert found.sent.rooms == 1, "what never fits is not waited for"
    assert found.caller.statistics(found.net.now).reasons["message-too-long"] == 101
    assert [len(each) for each in found.received.payloads] == [90 * 1456, 20 * 1456]


def test_bytes_beyond_the_room_are_for_later() -> None:
    found = pair(Mode.STREAM, send_buffer_packets=64, receive_buffer_packets=64)
    pieces = [content(20_000, each) for each in range(20)]
    at = 0

    def feed(now: float) -> None:
        nonlocal at
        at += found.caller.send(pieces[at:], now)

    feed(found.net.now)
    assert 0 < at < 20
    found.net.every(0.01, feed, found.net.now + 5)
    found.run(6.0)
    assert b"".join(found.received.payloads) == b"".join(pieces)


def test_a_reader_that_does_not_read_holds_the_sender_back() -> None:
    found = pair(Mode.STREAM, receive_buffer_packets=64)
    data = content(400 * 1456)
    found.listener.hold(True)
    assert found.caller.send([data], found.net.now) == 1
    found.run(3.0)
    assert found.received.payloads == []
    values = found.caller.statistics(found.net.now).values
    assert values["pktSentUniqueTotal"] <= 64
    assert values["pktFlowWindow"] == 0
    found.listener.hold(False)
    found.run(3.0)
    assert b"".join(found.received.payloads) == data


def test_room_that_is_told_in_vain_is_told_again() -> None:
    """The acknowledgements that say that there is room again get lost."""
    found = pair(Mode.STREAM, receive_buffer_packets=64)
    data = content(200 * 1456)
    found.listener.hold(True)
    found.caller.send([data], found.net.now)
    found.run(2.0)
    found.here.is_cut = True
    found.listener.hold(False)
    found.run(0.03)
    found.here.is_cut = False
    found.run(3.0)
    assert b"".join(found.received.payloads) == data


def test_closing_waits_until_all_is_there() -> None:
    data = content(500_000)
    found = pair(Mode.STREAM, LOSSY)
    found.caller.send([data], found.net.now)
    found.caller.close(found.net.now)
    assert found.caller.send([b"more"], found.net.now) == 0
    found.run(5.0)
    assert b"".join(found.received.payloads) == data
    assert found.sent.closed is not None and found.sent.closed.reason == "srt-closed"
    assert found.received.closed is not None
    assert found.received.closed.reason == "srt-peer-closed"


def test_it_does_not_wait_for_ever() -> None:
    found = pair(Mode.STREAM, linger=2.0, idle_timeout=30.0)
    found.caller.send([content(50_000)], found.net.now)
    found.there.is_cut = True
    began = found.net.now
    found.caller.close(began)
    found.run(4.0)
    assert found.sent.closed is not None
    assert found.sent.closed_at - began == pytest.approx(2.0, abs=0.3)


def test_what_came_is_read_after_the_peer_has_left() -> None:
    """For longer than an idle peer is waited for."""
    data = content(50 * 1456)
    found = pair(Mode.STREAM)
    found.listener.hold(True)
    found.caller.send([data], found.net.now)
    found.caller.close(found.net.now)
    found.run(9.0)
    assert found.sent.closed is not None
    assert found.received.closed is None
    found.listener.hold(False)
    found.run(1.0)
    assert b"".join(found.received.payloads) == data
    assert found.received.closed is not None


def test_an_error_of_the_peer_ends_sending() -> None:
    found = pair(Mode.STREAM, Link(delay=0.02, rate=100_000, queue=50_000))
    found.caller.send([content(2_000_000)], found.net.now)
    found.run(0.5)
    found.listener.report_error()
    found.listener.close(found.net.now)
    found.run(1.0)
    assert found.sent.closed is not None
    assert found.sent.closed.reason in ("srt-peer-error", "srt-peer-closed")
    assert found.caller.statistics(found.net.now).reasons["peer-error"] == 1


def test_in_live_mode_such_an_error_is_only_counted() -> None:
    found = Pair(CLEAN)
    found.listener.report_error()
    found.transfer(100)
    assert found.caller.statistics(found.net.now).reasons["peer-error"] == 1
    assert found.sent.closed is None
    assert len(found.received.numbers) == 100


def test_a_repair_that_is_lost_is_sent_again_unasked() -> None:
    """libsrt's receiver asks once; then nothing but the sender's own watch brings the packet."""
    data = content(300 * 1456)
    found = pair(Mode.STREAM)
    asked: set[bytes] = set()

    def once(datagram: bytes, now: float) -> bool:
        del now
        if is_control(datagram) and ControlPacket.parse(datagram).kind == ControlType.NAK:
            first = not asked
            asked.add(datagram)
            return first
        return True

    copies = 0

    def lossy(datagram: bytes, now: float) -> bool:
        nonlocal copies
        del now
        if is_control(datagram) or datagram[0:4] != (1050).to_bytes(4, "big"):
            return True
        copies += 1
        return copies > 2

    found.here.tap, found.there.tap = once, lossy
    found.caller.send([data], found.net.now)
    began = found.net.now
    found.net.run_until(began + 5, lambda: sum(map(len, found.received.payloads)) == len(data))
    assert b"".join(found.received.payloads) == data
    assert copies == 3
    assert found.net.now - began < 1.0
    assert found.caller.statistics(found.net.now).extra["timeouts"] == 0


@pytest.mark.parametrize("mode", [Mode.STREAM, Mode.MESSAGE])
@pytest.mark.parametrize("seconds", [0.03, 0.1, 0.3])
def test_one_forged_acknowledgement_of_all_costs_nothing(mode: Mode, seconds: float) -> None:
    """Off (what is acknowledged is forgotten at once) packets that were lost are gone for good."""
    link = Link(delay=0.02, loss=0.10, rate=1_000_000, queue=100_000)
    found = pair(mode, link, CLEAN)
    pieces = [content(7280, each) for each in range(60)]
    newest = 0

    def tap(datagram: bytes, now: float) -> bool:
        nonlocal newest
        del now
        if not is_control(datagram):
            newest = max(newest, int.from_bytes(datagram[:4], "big"))
        return True

    def forge(now: float) -> None:
        ack = Ack(77, newest + 1, 40_000, 5000, 8000).to_packet(0, found.caller.socket_id)
        found.caller.receive_datagrams([ack.serialize()], LISTENER, now)

    found.there.tap = tap
    found.net.at(found.net.now + seconds, forge)
    assert found.caller.send(pieces, found.net.now) == len(pieces)
    found.caller.close(found.net.now)
    found.run(9.0)
    assert b"".join(found.received.payloads) == b"".join(pieces)
    assert found.sent.closed is not None and found.sent.closed.reason == "srt-closed"
    reasons = found.caller.statistics(found.net.now).reasons
    assert reasons["ack-contradicted"] == 1
