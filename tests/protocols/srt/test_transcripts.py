"""libsrt's handshakes replayed: what libsrt said goes in, what its peer said comes out.

Only what each side chooses by itself is put in: numbers, salt and keys by the randomness, the
cookie by exchange. Our library version stands for libsrt's.
"""

from dataclasses import dataclass, replace

import pytest

from protocols.srt.caller import Caller
from protocols.srt.cipher import derive_key
from protocols.srt.events import Established, HandshakeFailed, KeyNeeded, RequestEnded
from protocols.srt.handshake import HandshakeMachine
from protocols.srt.handshake_wire import (
    OUR_VERSION,
    ExtensionType,
    Handshake,
    HandshakeType,
    SrtExtension,
)
from protocols.srt.key_exchange import open_keys
from protocols.srt.keys import KeyMaterial, KmState
from protocols.srt.listener import Listener
from protocols.srt.negotiation import Offer, read_offer
from protocols.srt.options import (
    CipherMode,
    GroupOffer,
    ListenerOptions,
    Mode,
    Options,
    SecurityOptions,
)
from protocols.srt.packet import ControlPacket
from protocols.srt.rendezvous import Rendezvous
from protocols.srt.result import HandshakeResult
from tests.support.srt_capture import PASSPHRASE, SrtDatagram, read_handshakes
from tests.support.srt_handshake import seeded

SECURE = SecurityOptions(PASSPHRASE)
PLAIN = Options()


@dataclass(frozen=True)
class Transcript:
    """One captured caller and listener."""

    name: str
    caller: Options = PLAIN
    listener: Options = PLAIN
    code: int = -1  # of the rejection


STREAM_ID = "#!::r=live/cam1,m=publish,u=bob"
TRANSCRIPTS = [
    Transcript("hsv5_plain_streamid", Options(stream_id=STREAM_ID)),
    *(
        Transcript(
            f"hsv5_aes{bits}_streamid",
            Options(stream_id=STREAM_ID, security=SecurityOptions(PASSPHRASE, key_bytes=bits // 8)),
            Options(security=SECURE),
        )
        for bits in (128, 192, 256)
    ),
    Transcript(
        "hsv5_latency_asym",
        Options(receive_latency_ms=150, peer_latency_ms=450),
        Options(receive_latency_ms=300, peer_latency_ms=200),
    ),
    Transcript(
        "reject_badsecret",
        Options(security=SecurityOptions("flux-wrong-key")),
        Options(security=SECURE),
        10,
    ),
    Transcript("reject_unsecure", Options(), Options(security=SECURE), 11),
    Transcript(
        "reject_filter",
        Options(filter="fec,cols:8,rows:5"),
        Options(filter="fec,cols:10,rows:5"),
        14,
    ),
    Transcript(
        "reject_crypto_ctr_vs_gcm",
        Options(security=SecurityOptions(PASSPHRASE, cipher=CipherMode.GCM)),
        Options(security=SecurityOptions(PASSPHRASE, cipher=CipherMode.CTR)),
        17,
    ),
    Transcript(
        "unenforced_nosecret",
        Options(security=SecurityOptions(PASSPHRASE, is_enforced=False)),
        Options(security=SecurityOptions(is_enforced=False)),
    ),
    Transcript(
        "km_refresh_aes128",
        Options(security=SecurityOptions(PASSPHRASE, key_bytes=16)),
        Options(security=SECURE),
    ),
    Transcript("fec_row", Options(filter="fec,cols:5,rows:1,arq:onreq"), Options(filter="fec")),
    Transcript(
        "fec_rowcol_staircase", Options(filter="fec,cols:5,rows:5,layout:staircase,arq:always")
    ),
    Transcript(
        "fec_aes128",
        Options(filter="fec,cols:5,rows:5,layout:even,arq:onreq", security=SECURE),
        Options(security=SECURE),
    ),
    Transcript(
        "file_mode_stream",
        Options(mode=Mode.STREAM, stream_id="f.bin"),
        Options(mode=Mode.STREAM),
    ),
    *(
        Transcript(
            f"aesgcm{bits}_v155",
            Options(
                stream_id=stream_id,
                security=SecurityOptions(PASSPHRASE, key_bytes=bits // 8, cipher=CipherMode.GCM),
            ),
            Options(security=SECURE),
        )
        for bits, stream_id in ((128, "#!::r=live/cam1,m=publish"), (256, ""))
    ),
    *(Transcript(f"group_{kind}_v155") for kind in ("broadcast", "backup")),
]


def parse(datagram: SrtDatagram) -> tuple[ControlPacket, Handshake]:
    packet = ControlPacket.parse(datagram.payload)
    return packet, Handshake.parse(packet.body)


def conversations(name: str) -> list[list[SrtDatagram]]:
    """The four datagrams of each caller; a group has several."""
    by_port: dict[int, list[SrtDatagram]] = {}
    for datagram in read_handshakes(name):
        port = max(datagram.source[1], datagram.destination[1])
        by_port.setdefault(port, []).append(datagram)
    assert all(len(one) == 4 for one in by_port.values())
    return list(by_port.values())


def as_ours(datagram: SrtDatagram) -> bytes:
    """The datagram with our library version in its HSREQ or HSRSP."""
    packet, handshake = parse(datagram)
    extensions = tuple(
        replace(one, data=replace(SrtExtension.parse(one.data), version=OUR_VERSION).serialize())
        if one.kind in (ExtensionType.HSREQ, ExtensionType.HSRSP)
        else one
        for one in handshake.extensions
    )
    return replace(handshake, extensions=extensions).to_datagram(
        packet.timestamp, packet.destination
    )


def offered_group(handshake: Handshake) -> GroupOffer | None:
    if not handshake.extensions:
        return None
    is_response = handshake.extensions[0].kind == ExtensionType.HSRSP
    return read_offer(handshake, is_response).group


class Drawn:
    """Hands out prepared bytes."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = list(parts)

    def __call__(self, size: int) -> bytes:
        part = self._parts.pop(0)
        assert len(part) == size
        return part


def keys_of(conclusion: Handshake, options: Options) -> list[bytes]:
    """Salt and stream key of a captured conclusion."""
    offer = read_offer(conclusion, is_response=False)
    if offer.material is None:
        return []
    material = KeyMaterial.parse(offer.material)
    passphrase = options.security.passphrase.encode()
    kek = derive_key(passphrase, material.salt, material.key_bytes)
    return [material.salt, open_keys(material, kek).even]


def only_datagram(machine: HandshakeMachine, now: float) -> bytes:
    (run,) = machine.datagrams_to_send(now)
    return run[2]


def answer_key(machine: HandshakeMachine, now: float) -> None:
    event = machine.next_event()
    if isinstance(event, KeyNeeded):
        key = derive_key(event.passphrase, event.salt, event.key_bytes)
        machine.provide_key(event.handle, key, now)
    else:
        assert event is None


def caller_options(transcript: Transcript, conclusion: Handshake) -> Options:
    return replace(transcript.caller, group=offered_group(conclusion))


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda one: one.name)
def test_a_caller_says_what_libsrt_said(transcript: Transcript) -> None:
    for hello, cookie, conclusion, response in conversations(transcript.name):
        start = 50.0
        stamp = {one: parse(one)[0].timestamp / 1e6 for one in (hello, conclusion)}
        induction, asked = parse(hello)[1], parse(conclusion)[1]
        options = caller_options(transcript, asked)
        random = Drawn(induction.sequence.to_bytes(4, "big"), *keys_of(asked, options))
        machine = Caller(options, hello.destination, induction.socket_id, random, start)
        answer_key(machine, start)
        assert only_datagram(machine, start + stamp[hello] + 1e-7) == hello.payload
        at = start + stamp[conclusion] + 1e-7
        machine.receive_datagrams([cookie.payload], hello.destination, at)
        assert only_datagram(machine, at) == as_ours(conclusion)
        machine.receive_datagrams([response.payload], hello.destination, at)
        event = machine.next_event()
        if transcript.code >= 0:
            assert isinstance(event, HandshakeFailed)
            assert (event.code, event.is_remote) == (transcript.code, True)
        else:
            assert isinstance(event, Established)
            check_caller(event.result, parse(response)[1], transcript)
        assert machine.next_event() is None
        assert machine.datagrams_to_send(at + 9) == []


def check_caller(result: HandshakeResult, response: Handshake, transcript: Transcript) -> None:
    offer = read_offer(response, is_response=True)
    assert result.peer_socket_id == response.socket_id
    assert result.send_sequence == result.receive_sequence == response.sequence
    assert result.receive_latency_ms == offer.hs.send_latency_ms
    assert result.send_latency_ms == offer.hs.receive_latency_ms
    assert result.filter == offer.filter
    assert result.peer_group == offer.group
    assert result.secrets.send_state == state_of(offer, transcript)


def state_of(offer: Offer, transcript: Transcript) -> KmState:
    if transcript.name.startswith("unenforced"):
        return KmState.NO_SECRET
    return KmState.UNSECURED if offer.material is None else KmState.SECURED


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda one: one.name)
def test_a_listener_says_what_libsrt_said(transcript: Transcript) -> None:
    for hello, cookie, conclusion, response in conversations(transcript.name):
        start = 50.0
        machine = Listener(ListenerOptions(is_group_allowed=True), seeded(1), start)
        at = start + parse(cookie)[0].timestamp / 1e6 + 1e-7
        machine.receive_datagrams([hello.payload], hello.source, at)
        ours = Handshake.parse(only_datagram(machine, at)[16:])
        theirs = parse(cookie)[1]
        assert ours == replace(theirs, cookie=ours.cookie, encryption=ours.encryption)

        packet, asked = parse(conclusion)
        asked = replace(asked, cookie=ours.cookie)
        said = asked.to_datagram(packet.timestamp, packet.destination)
        machine.receive_datagrams([said], hello.source, at)
        answered, expected = parse(response)
        group = offered_group(expected)
        assert machine.datagrams_to_send(at) == []
        question = machine.next_event()
        assert question is not None
        machine.accept(
            1, transcript.listener, expected.socket_id, at, 0 if group is None else group.group_id
        )
        event = machine.next_event()
        if isinstance(event, KeyNeeded):
            key = derive_key(event.passphrase, event.salt, event.key_bytes)
            machine.provide_key(event.handle, key, at)
            event = machine.next_event()
        if transcript.code >= 0:
            assert isinstance(event, RequestEnded)
            assert event.code == transcript.code
            said = only_datagram(machine, start + answered.timestamp / 1e6 + 1e-7)
            # libsrt has a socket for what it refuses, and says its id.
            said = replace(Handshake.parse(said[16:]), socket_id=expected.socket_id).to_datagram(
                answered.timestamp, answered.destination
            )
        else:
            assert isinstance(event, Established)
            assert event.result.started_at == at
            said = only_datagram(machine, at + answered.timestamp / 1e6 + 1e-7)
        wanted = ControlPacket.parse(as_ours(response))
        body = replace(Handshake.parse(wanted.body), cookie=ours.cookie)
        assert said == body.to_datagram(answered.timestamp, answered.destination)


@pytest.mark.parametrize("name", ["rendezvous_plain", "rendezvous_aes128"])
def test_both_sides_of_a_rendezvous_say_what_libsrt_said(name: str) -> None:
    datagrams = read_handshakes(name)
    first = datagrams[0].source
    for side in {one.source for one in datagrams}:
        own = [one for one in datagrams if one.source == side]
        peers = [one for one in datagrams if one.source != side]
        options = Options(security=SECURE) if "aes" in name else Options()
        replay_rendezvous(own, peers, options, is_initiator=side == first)


def replay_rendezvous(
    own: list[SrtDatagram], peers: list[SrtDatagram], options: Options, is_initiator: bool
) -> None:
    wave = parse(own[0])[1]
    sequence = wave.sequence.to_bytes(4, "big")
    request = next((parse(one)[1] for one in own if parse(one)[1].extensions), None)
    keys = keys_of(request, options) if is_initiator and request is not None else []
    # Our cookie is small and positive: the peer's is moved by as much as libsrt's was away.
    random = Drawn(sequence, bytes((0, 0, 0x12, 0x33)), *keys)
    machine = Rendezvous(options, own[0].destination, wave.socket_id, random, 10.0)
    shift = 0x1234 - wave.cookie
    said = [only_datagram(machine, 10.0)]
    established: list[HandshakeResult] = []
    for datagram in peers:
        packet, handshake = parse(datagram)
        moved = replace(handshake, cookie=(handshake.cookie + shift) % (1 << 32))
        machine.receive_datagrams(
            [moved.to_datagram(packet.timestamp, packet.destination)], datagram.source, 11.0
        )
        answer = machine.next_event()
        if isinstance(answer, KeyNeeded):
            key = derive_key(answer.passphrase, answer.salt, answer.key_bytes)
            machine.provide_key(answer.handle, key, 11.0)
            answer = machine.next_event()
        if isinstance(answer, Established):
            established.append(answer.result)
        said += [run[2] for run in machine.datagrams_to_send(11.0)]
    ours = [Handshake.parse(one[16:]) for one in said]
    theirs = [replace(Handshake.parse(as_ours(one)[16:]), cookie=0x1234) for one in own]
    unique = list(dict.fromkeys(one for one in theirs if one.kind != HandshakeType.WAVEAHAND))
    assert list(dict.fromkeys(ours[1:])) == unique
    (result,) = established
    assert result.send_sequence == wave.sequence
    assert result.receive_sequence == parse(peers[0])[1].sequence
    expected = KmState.SECURED if options.security.passphrase else KmState.UNSECURED
    assert result.secrets.send_state == result.secrets.receive_state == expected
