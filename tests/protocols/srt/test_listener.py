"""A listener among strangers: forged, replayed, broken and too many handshakes."""

from dataclasses import replace
from random import Random

import pytest

from protocols.srt.cookie import CookieJar
from protocols.srt.events import ConnectionRequested, Established, KeyNeeded, RequestEnded
from protocols.srt.handshake_wire import (
    Extension,
    ExtensionType,
    Handshake,
    HandshakeType,
    SrtExtension,
    serialize_text,
)
from protocols.srt.listener import Listener
from protocols.srt.options import ListenerOptions, Options, SecurityOptions
from protocols.srt.packet import Address, ControlPacket, ControlType
from protocols.srt.reject import Reject
from tests.support.srt_capture import read_crypto_vectors
from tests.support.srt_handshake import CALLER, seeded

STRANGER = ("198.51.100.7", 40000)
HS = Extension(ExtensionType.HSREQ, SrtExtension(0x010505, 0xBF, 120, 0).serialize())
HELLO = Handshake(4, 0, 2, 12345, 1500, 8192, HandshakeType.INDUCTION, 777, 0)


def a_listener(options: ListenerOptions | None = None) -> Listener:
    return Listener(options or ListenerOptions(), seeded(3), 0.0)


def give(
    listener: Listener, handshake: Handshake, address: Address = CALLER, now: float = 1.0
) -> None:
    listener.receive_datagrams([handshake.to_datagram(5000, 0)], address, now)


def answers(listener: Listener, now: float = 1.0) -> list[Handshake]:
    return [Handshake.parse(run[2][16:]) for run in listener.datagrams_to_send(now)]


def cookie_of(listener: Listener, address: Address = CALLER, now: float = 1.0) -> int:
    give(listener, HELLO, address, now)
    return answers(listener)[0].cookie


def conclusion(cookie: int, *extensions: Extension, socket_id: int = 777) -> Handshake:
    return replace(
        HELLO,
        version=5,
        extension_field=1,
        kind=HandshakeType.CONCLUSION,
        cookie=cookie,
        socket_id=socket_id,
        extensions=extensions or (HS,),
    )


def test_an_induction_leaves_nothing_behind_and_is_answered_in_its_size() -> None:
    listener = a_listener()
    for port in range(2000):
        listener.receive_datagrams([HELLO.to_datagram(0, 0)], ("192.0.2.9", port), 1.0 + port)
        (run,) = listener.datagrams_to_send(1.0)
        assert len(run[2]) == 64
    assert listener.request_count == 0
    assert listener.next_event() is None
    assert listener.get_timer() is None


def test_the_key_length_is_advertised() -> None:
    listener = a_listener(ListenerOptions(key_bytes=24))
    give(listener, HELLO)
    assert answers(listener)[0].encryption == 3


def test_a_flood_of_inductions_is_answered_a_little() -> None:
    options = ListenerOptions(max_inductions_per_host=100, max_inductions=500)
    listener = a_listener(options)
    hello = HELLO.to_datagram(0, 0)
    for second in (1.0, 2.0):
        listener.receive_datagrams([hello] * 1000, CALLER, second)
        assert len(listener.datagrams_to_send(second)) == 100
        for host in range(100):
            listener.receive_datagrams([hello] * 10, (f"192.0.2.{host}", 9), second)
        assert len(listener.datagrams_to_send(second)) == 400
        # A known caller's conclusion is still heard.
    assert listener.counters["handshake-flood"] == 2 * (900 + 600)
    give(listener, conclusion(cookie_of(listener, now=3.0)), now=3.0)
    assert isinstance(listener.next_event(), ConnectionRequested)


def test_waiting_answers_are_bounded() -> None:
    listener = a_listener(ListenerOptions(max_inductions_per_host=10**6, max_inductions=10**6))
    listener.receive_datagrams([HELLO.to_datagram(0, 0)] * 20_000, CALLER, 1.0)
    assert len(listener.datagrams_to_send(1.0)) == 4096


@pytest.mark.parametrize("address", [STRANGER, (CALLER[0], CALLER[1] + 1)])
def test_a_cookie_is_good_for_its_address_alone(address: Address) -> None:
    listener = a_listener()
    cookie = cookie_of(listener)
    give(listener, conclusion(cookie), address)
    assert (answers(listener), listener.next_event()) == ([], None)
    assert listener.counters == {"handshake-bad-cookie": 1}
    give(listener, conclusion(cookie))
    assert isinstance(listener.next_event(), ConnectionRequested)


def test_no_changed_cookie_is_good() -> None:
    listener = a_listener()
    cookie = cookie_of(listener)
    for bit in range(32):
        give(listener, conclusion(cookie ^ 1 << bit))
    give(listener, conclusion(0))
    assert (answers(listener), listener.next_event()) == ([], None)
    assert listener.counters == {"handshake-bad-cookie": 33}


def test_a_cookie_grows_old() -> None:
    for age, is_good in ((0.0, True), (60.0, True), (119.0, False), (121.0, False)):
        listener = a_listener()
        give(listener, conclusion(cookie_of(listener, now=59.0)), now=59.0 + age)
        assert isinstance(listener.next_event(), ConnectionRequested) == is_good


def test_cookies_of_another_process_are_nothing() -> None:
    one, other = CookieJar(b"a" * 32, 60.0), CookieJar(b"b" * 32, 60.0)
    assert one.bake(CALLER, 5.0) == one.bake(CALLER, 6.0)
    assert one.bake(CALLER, 5.0) != other.bake(CALLER, 5.0)
    assert not other.is_valid(one.bake(CALLER, 5.0), CALLER, 5.0)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"version": 4, "extension_field": 2, "extensions": ()}, Reject.VERSION),
        ({"version": 6}, Reject.VERSION),
        ({"version": 0xFFFFFFFF}, Reject.VERSION),
        ({"version": 3}, Reject.ROGUE),
        ({"version": 0}, Reject.ROGUE),
        ({"sequence": 0x80000000}, Reject.ROGUE),
        ({"mtu": 31}, Reject.ROGUE),
        ({"window": 1}, Reject.ROGUE),
        ({"socket_id": 0}, Reject.ROGUE),
        ({"socket_id": 0x80000001}, Reject.ROGUE),
        ({"extensions": ()}, Reject.ROGUE),
        ({"extensions": (HS, HS)}, Reject.ROGUE),
        ({"extensions": (replace(HS, data=HS.data[:8]),)}, Reject.ROGUE),
        ({"extensions": (replace(HS, data=b"\0\1\2\xff" + HS.data[4:]),)}, Reject.ROGUE),
        ({"extensions": (replace(HS, kind=ExtensionType.HSRSP),)}, Reject.ROGUE),
        ({"extensions": (HS, Extension(5, serialize_text("x" * 513)))}, Reject.ROGUE),
        ({"extensions": (HS, Extension(5, b"\xff" * 4))}, Reject.BAD_REQUEST),
        ({"extensions": (HS, Extension(8, bytes(8)))}, Reject.ROGUE),
        ({"extensions": (HS, Extension(8, b"\x41\0\0\1\1\0\0\0"))}, Reject.GROUP),
        ({"extensions": (HS, Extension(8, b"\x01\0\0\1\1\0\0\0"))}, Reject.ROGUE),
        ({"extensions": (HS,), "trailer": b"\0\6\xff\xff"}, Reject.ROGUE),
    ],
)
def test_what_makes_no_sense_is_refused_and_forgotten(
    change: dict[str, object], code: Reject
) -> None:
    listener = a_listener()
    asked = replace(conclusion(cookie_of(listener)), **change)  # type: ignore[arg-type]  # by name
    give(listener, asked)
    (answer,) = answers(listener)
    assert answer.kind == 1000 + code
    assert answer.version == 5
    assert answer.extension_field == asked.extension_field
    assert len(answer.serialize()) == 48 <= len(asked.serialize())
    assert listener.request_count == 0
    assert listener.next_event() is None


def test_other_packets_are_counted() -> None:
    listener = a_listener()
    give(listener, replace(HELLO, version=3))
    give(listener, replace(HELLO, kind=HandshakeType.WAVEAHAND))
    give(listener, replace(HELLO, kind=1010))
    listener.receive_datagrams([b"", b"x" * 63], CALLER, 1.0)
    listener.receive_datagrams([bytes(64)], CALLER, 1.0)
    keepalive = ControlPacket(ControlType.KEEPALIVE, 0, 0, bytes(64)).serialize()
    listener.receive_datagrams([keepalive], CALLER, 1.0)
    assert answers(listener) == []
    assert listener.counters == {
        "handshake-bad-version": 1,
        "handshake-out-of-turn": 2,
        "handshake-truncated": 2,
        "srt-no-connection": 2,
    }


def established(listener: Listener, socket_id: int = 777) -> tuple[Handshake, Established]:
    give(listener, conclusion(cookie_of(listener), socket_id=socket_id))
    question = listener.next_event()
    assert isinstance(question, ConnectionRequested)
    listener.accept(question.handle, Options(), 4711, 1.0)
    event = listener.next_event()
    assert isinstance(event, Established)
    return answers(listener)[0], event


def test_the_conclusion_again_gets_the_same_answer_for_ever() -> None:
    listener = a_listener()
    answer, event = established(listener)
    for now in (1.1, 20.0, 55.0, 500.0):  # in the end the cookie has long been too old
        give(listener, conclusion(answer.cookie), now=now)
        (run,) = listener.datagrams_to_send(now)
        packet = ControlPacket.parse(run[2])
        assert Handshake.parse(packet.body) == answer
        assert packet.timestamp == pytest.approx((now - 1.0) * 1e6, abs=2)
    assert listener.next_event() is None
    assert listener.request_count == 1
    # The connection is closed: a late copy must not open another.
    listener.forget(event.handle, 501.0)
    give(listener, conclusion(answer.cookie), now=502.0)
    assert (answers(listener), listener.next_event()) == ([], None)
    assert listener.get_timer() == 501.0 + 120.0
    listener.handle_timer(621.0)
    assert listener.request_count == 0


def test_another_connection_of_the_same_address() -> None:
    listener = a_listener()
    established(listener)
    established(listener, socket_id=778)
    assert listener.request_count == 2


def test_a_rejection_is_repeated_for_a_while() -> None:
    listener = a_listener()
    cookie = cookie_of(listener)
    give(listener, conclusion(cookie))
    question = listener.next_event()
    assert isinstance(question, ConnectionRequested)
    assert listener.reject(question.handle, Reject.FORBIDDEN, 1.0)
    assert answers(listener)[0].kind == 2403
    assert isinstance(listener.next_event(), RequestEnded)
    give(listener, conclusion(cookie), now=5.0)
    assert answers(listener)[0].kind == 2403
    assert listener.next_event() is None
    timer = listener.get_timer()
    assert timer == 11.0
    listener.handle_timer(timer)
    assert listener.request_count == 0
    assert not listener.accept(question.handle, Options(), 1, 12.0)
    assert not listener.reject(question.handle, Reject.FORBIDDEN, 12.0)


def test_those_who_wait_are_few() -> None:
    options = ListenerOptions(max_waiting=10, max_waiting_per_host=4)
    listener = a_listener(options)
    refusals = []
    for host in range(5):
        address = (f"192.0.2.{host}", 5)
        cookie = cookie_of(listener, address)
        for number in range(6):
            give(listener, conclusion(cookie, socket_id=100 + number), address)
        refusals += [one.kind for one in answers(listener)]
    assert refusals == [1000 + Reject.BACKLOG] * 20
    assert listener.request_count == 10
    listener.handle_timer(4.1)
    ended = [e for e in iter(listener.next_event, None) if isinstance(e, RequestEnded)]
    assert [e.code for e in ended] == [Reject.TIMEOUT] * 10
    assert len(answers(listener)) == 10
    give(listener, conclusion(cookie_of(listener, CALLER, 5.0)), CALLER, 5.0)
    assert isinstance(listener.next_event(), ConnectionRequested)


def test_rejections_kept_are_few() -> None:
    listener = a_listener(ListenerOptions(max_rejections=50, max_requests_per_host=500))
    cookie = cookie_of(listener)
    for number in range(500):
        give(listener, conclusion(cookie, socket_id=100 + number))
        question = listener.next_event()
        assert isinstance(question, ConnectionRequested)
        listener.reject(question.handle, Reject.NOT_FOUND, 1.0)
        assert isinstance(listener.next_event(), RequestEnded)
    assert listener.request_count == 50


KM = bytes.fromhex(read_crypto_vectors()["hsv5_aes128_streamid"]["km"])
SECURE = Options(security=SecurityOptions("flux-reference-key"))
LAX = Options(security=SecurityOptions("flux-reference-key", is_enforced=False))


def changed(at: int, value: int) -> bytes:
    data = bytearray(KM)
    data[at] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("material", "reason"),
    [
        (b"", "km-truncated"),
        (bytes(4), "km-truncated"),
        (KM[:-4], "km-bad-length"),
        (KM + bytes(4), "km-bad-length"),
        (changed(0, 0x22), "km-bad-header"),
        (changed(3, 0), "km-bad-keys"),
        (changed(14, 3), "km-bad-keys"),
        (changed(15, 7), "km-bad-keys"),
        (changed(20, KM[20] ^ 1), "km-bad-secret"),  # the salt is only half of what counts
        (changed(30, KM[30] ^ 1), "km-bad-secret"),
        (changed(55, KM[55] ^ 1), "km-bad-secret"),
    ],
)
@pytest.mark.parametrize("options", [SECURE, LAX])
def test_odd_key_material(material: bytes, reason: str, options: Options) -> None:
    listener = a_listener()
    give(listener, conclusion(cookie_of(listener), HS, Extension(ExtensionType.KMREQ, material)))
    question = listener.next_event()
    assert isinstance(question, ConnectionRequested)
    listener.accept(question.handle, options, 5, 1.0)
    event = listener.next_event()
    if isinstance(event, KeyNeeded):
        listener.provide_key(event.handle, bytes(16), 1.0)
        event = listener.next_event()
    if options is SECURE:
        assert isinstance(event, RequestEnded)
        assert event.code == Reject.BAD_SECRET
    else:
        assert isinstance(event, Established)
        assert event.result.secrets.ring is None
        assert listener.counters == {reason: 1}
    assert len(answers(listener)) == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_broken_conclusion_never_breaks_the_listener(seed: int) -> None:
    random = Random(seed)
    listener = a_listener()
    cookie = cookie_of(listener)
    whole = conclusion(
        cookie, HS, Extension(5, serialize_text("read:cam")), Extension(3, KM)
    ).to_datagram(0, 0)
    bytes_in = bytes_out = 0
    for number in range(300):
        data = bytearray(whole)
        for _ in range(random.randrange(1, 6)):
            data[random.randrange(len(data))] = random.randrange(256)
        data = data[: random.randrange(len(data) + 1)]
        listener.receive_datagrams([bytes(data)], CALLER, 1.0 + number)
        listener.handle_timer(1.0 + number)
        bytes_in += len(data)
        bytes_out += sum(len(run[2]) for run in listener.datagrams_to_send(1.0 + number))
    assert bytes_out <= bytes_in
    assert listener.request_count <= 256
