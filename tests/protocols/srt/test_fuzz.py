"""Bytes of any kind into every parser and every machine of the handshake; nothing may raise.

Half of the inputs are noise, half are good packets with some bytes changed, cut or added.
"""

from collections.abc import Callable
from random import Random

import pytest

from flux.base.errors import WireError
from protocols.srt.caller import Caller
from protocols.srt.control import Ack, DropRequest, parse_losses
from protocols.srt.crypto import Crypto
from protocols.srt.events import ConnectionRequested, KeyNeeded
from protocols.srt.filter_string import FilterConfig
from protocols.srt.handshake import HandshakeMachine
from protocols.srt.handshake_wire import (
    Handshake,
    SrtExtension,
    parse_group,
    parse_peer_ip,
    parse_text,
)
from protocols.srt.keys import CipherKind, KeyMaterial, KeyRing, KmState, parse_refusal
from protocols.srt.listener import Listener
from protocols.srt.options import ListenerOptions, Mode, Options, SecurityOptions
from protocols.srt.packet import ControlPacket, DataPacket
from protocols.srt.rendezvous import Rendezvous
from protocols.srt.result import Secrets
from tests.support.srt_capture import read_control_packets
from tests.support.srt_handshake import CALLER, LISTENER, seeded

GOOD = [datagram for _, _, datagram in read_control_packets()]
HANDSHAKES = [one for one in GOOD if one[:2] == b"\x80\0"]
USERS = [one for one in GOOD if one[:2] == b"\xff\xff"]
NORMAL, LONG = 20_000, 1_000_000


def spoiled(random: Random, samples: list[bytes]) -> bytes:
    """Noise, or a good packet with faults."""
    if random.random() < 0.5:
        noise = random.randbytes(random.randrange(120))
        return noise if random.random() < 0.5 else b"\x80" + bytes(15) + noise
    data = bytearray(random.choice(samples))
    for _ in range(random.randrange(5)):
        data[random.randrange(len(data))] = random.choice((0, 1, 0x7F, 0x80, 0xFF))
    cut = random.random()
    if cut < 0.2:
        return bytes(data[: random.randrange(len(data))])
    return bytes(data) + random.randbytes(4 if cut > 0.9 else 0)


def control_body(parse: Callable[[ControlPacket], object]) -> Callable[[bytes], object]:
    return lambda data: parse(ControlPacket.parse(b"\x80" + data))


PARSERS: dict[str, Callable[[bytes], object]] = {
    "data": DataPacket.parse,
    "control": ControlPacket.parse,
    "ack": control_body(Ack.parse),
    "drop-request": control_body(DropRequest.parse),
    "losses": parse_losses,
    "handshake": lambda data: Handshake.parse(data[16:]),
    "hsreq": SrtExtension.parse,
    "group": parse_group,
    "text": parse_text,
    "peer-ip": lambda data: parse_peer_ip(data[:16].ljust(16, b"\0")),
    "km": lambda data: KeyMaterial.parse(data[16:]),
    "km-refusal": parse_refusal,
    "filter": lambda data: FilterConfig.parse("fec," + data.decode("latin-1")),
}


def fuzz_parser(name: str, count: int) -> None:
    parse = PARSERS[name]
    random = Random(name)
    for _ in range(count):
        try:
            parse(spoiled(random, GOOD))
        except WireError:
            continue


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser(name: str) -> None:
    fuzz_parser(name, NORMAL)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_a_million_times(name: str) -> None:
    fuzz_parser(name, LONG)


SOCKET_ID = (0x111).to_bytes(4, "big")
SECURE = Options(security=SecurityOptions("flux-reference-key"))
LAX = Options(security=SecurityOptions("flux-reference-key", is_enforced=False))
CHOICES = (SECURE, LAX, Options(mode=Mode.STREAM))


def pump(machine: HandshakeMachine, now: float, seen: set[str]) -> int:
    """Time, events with answers, and how many bytes come out."""
    machine.handle_timer(now)
    while (event := machine.next_event()) is not None:
        seen.add(type(event).__name__)
        if isinstance(event, KeyNeeded):
            machine.provide_key(event.handle, bytes(event.key_bytes), now)
        elif isinstance(event, ConnectionRequested) and isinstance(machine, Listener):
            machine.accept(event.handle, CHOICES[event.handle % 3], event.handle, now, 1 << 30)
    return sum(len(run[2]) for run in machine.datagrams_to_send(now))


def fuzz_listener(count: int) -> None:
    random = Random(7)
    listener = Listener(ListenerOptions(is_group_allowed=True), seeded(1), 0.0)
    now = 1.0
    bytes_in = bytes_out = 0
    seen: set[str] = set()
    hello = HANDSHAKES[0]
    for number in range(count):
        now += random.choice((0.0, 0.001, 0.1))
        if number % 50 == 0:  # a good cookie, in whatever is said with it
            listener.receive_datagrams([hello], CALLER, now)
            runs = listener.datagrams_to_send(now)
            cookie = runs[-1][2][44:48] if runs else bytes(4)
        data = spoiled(random, HANDSHAKES)
        if len(data) > 48 and random.random() < 0.7:
            data = data[:44] + cookie + data[48:]
        listener.receive_datagrams([data], CALLER, now)
        bytes_in += len(data)
        bytes_out += pump(listener, now, seen)
        for event_handle in range(max(0, number - 3), number):
            listener.forget(event_handle, now)
    # The noise reaches every corner.
    assert seen == {"ConnectionRequested", "KeyNeeded", "Established", "RequestEnded"}
    assert bytes_out < bytes_in
    assert listener.request_count < 2000


def fuzz_caller(count: int, make: Callable[[int, float], HandshakeMachine]) -> None:
    random = Random(8)
    now = 1.0
    machine = make(0, now)
    seen: set[str] = set()
    for number in range(count):
        now += random.choice((0.0, 0.001, 0.02))
        data = spoiled(random, HANDSHAKES)
        if len(data) >= 16 and random.random() < 0.9:
            data = data[:12] + SOCKET_ID + data[16:]
        machine.receive_datagrams([data], LISTENER, now)
        pump(machine, now, seen)
        if number % 20 == 19:
            machine = make(number, now)
    assert seen >= {"KeyNeeded", "Established", "HandshakeFailed"}


def a_caller(seed: int, now: float) -> HandshakeMachine:
    return Caller(SECURE if seed % 3 else Options(), LISTENER, 0x111, seeded(seed), now)


def a_rendezvous(seed: int, now: float) -> HandshakeMachine:
    return Rendezvous(SECURE if seed % 3 else Options(), LISTENER, 0x111, seeded(seed), now)


def fuzz_crypto(count: int) -> None:
    random = Random(9)
    ring = KeyRing(CipherKind.CTR, bytes(16), bytes(16), bytes(16))
    crypto = Crypto(
        Secrets(KmState.SECURED, KmState.SECURED, ring),
        SecurityOptions("flux-reference-key", refresh_packets=50, announce_packets=20),
        seeded(1),
    )
    for number in range(count):
        data = spoiled(random, USERS)
        if len(data) < 16 or data[0] < 0x80:
            continue
        packet = ControlPacket.parse(data)
        packet.subtype = random.choice((3, 4, packet.subtype))
        crypto.receive_control(packet, number / 100)
        crypto.count_sent(1)
        assert len(crypto.controls_to_send(number / 100, 0.1)) <= 5
        while (event := crypto.next_event()) is not None:
            if isinstance(event, KeyNeeded):
                crypto.provide_key(event.handle, bytes(event.key_bytes))
    assert crypto.receive_state == KmState.SECURED


def test_the_listener() -> None:
    fuzz_listener(NORMAL)


def test_the_caller() -> None:
    fuzz_caller(NORMAL, a_caller)


def test_the_rendezvous() -> None:
    fuzz_caller(NORMAL, a_rendezvous)


def test_the_crypto() -> None:
    fuzz_crypto(NORMAL)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "fuzz",
    [
        fuzz_listener,
        fuzz_crypto,
        lambda count: fuzz_caller(count, a_caller),
        lambda count: fuzz_caller(count, a_rendezvous),
    ],
)
def test_a_machine_a_million_times(fuzz: Callable[[int], None]) -> None:
    fuzz(LONG)
