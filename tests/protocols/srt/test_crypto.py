"""Keys while a connection lives: refresh both ways, loss, strangers."""

from random import Random

import pytest

from flux.base.serial import extend
from protocols.srt.cipher import derive_key
from protocols.srt.crypto import Crypto
from protocols.srt.events import KeyNeeded, KeyStateChanged
from protocols.srt.handshake_wire import ExtensionType
from protocols.srt.key_exchange import draw_ring, open_keys, seal_keys
from protocols.srt.keys import CipherKind, KeyMaterial, KeyRing, KmState
from protocols.srt.options import CipherMode, SecurityOptions
from protocols.srt.packet import (
    HEADER_BYTES,
    KEY_EVEN,
    KEY_ODD,
    SEQUENCE_BITS,
    SEQUENCE_MASK,
    ControlPacket,
    ControlType,
    DataPacket,
)
from protocols.srt.result import Secrets
from tests.support.srt_capture import PASSPHRASE, read_srt
from tests.support.srt_handshake import seeded

SALT = bytes(range(16))
RTT = 0.1


def options_of(cipher: CipherMode = CipherMode.CTR, refresh: int = 64) -> SecurityOptions:
    return SecurityOptions(PASSPHRASE, 16, cipher, refresh_packets=refresh, announce_packets=31)


def secured(options: SecurityOptions) -> Secrets:
    kek = derive_key(PASSPHRASE.encode(), SALT, 16)
    ring = draw_ring(options, SALT, kek, seeded(5))
    return Secrets(KmState.SECURED, KmState.SECURED, ring)


def user(subtype: int, body: bytes) -> ControlPacket:
    return ControlPacket(ControlType.USER, 0, 0, body, 0, subtype)


class Pair:
    """Two ends of a connection; the first sends."""

    def __init__(self, options: SecurityOptions) -> None:
        secrets = secured(options)
        self.options = options
        self.sender = Crypto(secrets, options, seeded(1))
        self.receiver = Crypto(secrets, options, seeded(2))
        self.sequence = 0x7FFFFFF0
        self.now = 10.0
        self.used: list[int] = []
        self.requests = 0
        self.random = Random(1)
        self.loss = 0.0
        self.highest = self.sequence  # unwrapped

    def packet(self) -> bytes:
        """Seal one."""
        flag, cipher = self.sender.sending()
        assert cipher is not None
        packet = DataPacket(self.sequence, 1, 0, 0, b"", key=flag)
        packet.payload = cipher.seal(
            self.sequence, packet.serialize()[:HEADER_BYTES], b"number %d" % self.sequence
        )
        self.used.append(flag)
        self.sender.count_sent(1)
        self.sequence = self.sequence + 1 & SEQUENCE_MASK
        return packet.serialize()

    def opened(self, data: bytes) -> bytes | None:
        """Open one."""
        packet = DataPacket.parse(data)
        keys = self.receiver.receiving
        number = extend(packet.sequence, self.highest, SEQUENCE_BITS)
        if number >= self.highest:
            keys.advance(packet.key, self.highest, number, 0)
            self.highest = number + 1
        cipher = keys.find(packet.key, number)
        return None if cipher is None else cipher.open(packet.sequence, data)

    def send(self, count: int) -> None:
        """Send packets, 10 ms apart; all can be opened."""
        for _ in range(count):
            data = self.packet()
            number = DataPacket.parse(data).sequence
            assert self.opened(data) == b"number %d" % number
            self.now += 0.01
            self.exchange()

    def exchange(self) -> None:
        """Carry control packets both ways."""
        for source, target in (
            (self.sender, self.receiver),
            (self.receiver, self.sender),
            (self.sender, self.receiver),
        ):
            for subtype, body in source.controls_to_send(self.now, RTT):
                self.requests += subtype == ExtensionType.KMREQ
                if self.random.random() >= self.loss:
                    target.receive_control(user(subtype, body), self.now)


@pytest.mark.parametrize("cipher", [CipherMode.CTR, CipherMode.GCM])
def test_keys_change_again_and_again(cipher: CipherMode) -> None:
    pair = Pair(options_of(cipher))
    assert pair.sender.overhead_bytes == (16 if cipher == CipherMode.GCM else 0)
    pair.send(64 * 5)
    even, odd = [KEY_EVEN] * 64, [KEY_ODD] * 64
    assert pair.used == even + odd + even + odd + even
    assert pair.requests == 5
    assert pair.sender.next_event() is None
    assert pair.receiver.next_event() is None


@pytest.mark.parametrize("seed", range(20))
def test_a_refresh_under_loss(seed: int) -> None:
    pair = Pair(options_of(refresh=200))
    pair.random = Random(seed)
    pair.loss = 0.5
    pair.send(2000)
    switches = sum(1 for at in range(1, 2000) if pair.used[at] != pair.used[at - 1])
    assert 7 <= switches <= 9


def test_no_switch_before_the_peer_knows_the_key() -> None:
    pair = Pair(options_of())
    pair.loss = 1.0
    pair.send(300)
    assert set(pair.used) == {KEY_EVEN}
    # Ten repetitions, then it begins anew after some packets.
    assert 10 <= pair.requests <= 20
    pair.loss = 0.0
    pair.send(60)
    assert pair.used[-1] == KEY_ODD


def test_a_late_packet_of_the_old_key_is_opened_and_sealed_again_the_same() -> None:
    pair = Pair(options_of())
    flag, cipher = pair.sender.sending()
    assert cipher is not None
    late = [pair.packet() for _ in range(20)]
    pair.send(60)
    assert pair.sender.sending()[0] != flag
    for data in late:
        packet = DataPacket.parse(data)
        clear = pair.opened(data)
        assert clear is not None
        again = cipher.seal(packet.sequence, data[:HEADER_BYTES], clear)
        assert again == packet.payload


def test_no_refresh_where_none_is_wanted() -> None:
    pair = Pair(options_of(refresh=0))
    pair.send(500)
    assert set(pair.used) == {KEY_EVEN}
    assert pair.sender.get_timer() is None
    assert pair.requests == 0


def test_timers_of_an_announcement() -> None:
    pair = Pair(options_of())
    assert pair.sender.get_timer() is None
    pair.sender.count_sent(40)
    assert pair.sender.get_timer() == 0.0
    ((subtype, body),) = pair.sender.controls_to_send(5.0, RTT)
    assert subtype == ExtensionType.KMREQ
    assert pair.sender.get_timer() == pytest.approx(5.0 + 1.5 * RTT)
    assert pair.sender.controls_to_send(5.1, RTT) == []
    assert pair.sender.controls_to_send(5.16, RTT) == [(subtype, body)]
    pair.sender.receive_control(user(ExtensionType.KMRSP, body), 5.2)
    assert pair.sender.get_timer() is None


def test_the_refresh_of_libsrt_is_taken() -> None:
    receiver: Crypto | None = None
    opened = 0
    for datagram in read_srt("km_refresh_aes128"):
        data = datagram.payload
        start = data.find(bytes.fromhex("12202901"))
        if datagram.is_handshake:
            if start < 0 or receiver is not None:
                continue
            material = KeyMaterial.parse(data[start:])
            kek = derive_key(PASSPHRASE.encode(), material.salt, 16)
            secrets = Secrets(KmState.SECURED, KmState.SECURED, open_keys(material, kek))
            receiver = Crypto(secrets, SecurityOptions(PASSPHRASE), seeded(1))
            continue
        assert receiver is not None
        if not datagram.is_control:
            packet = DataPacket.parse(data)
            receiver.receiving.advance(packet.key, packet.sequence, packet.sequence, 0)
            cipher = receiver.receiving.find(packet.key, packet.sequence)
            assert cipher is not None
            clear = cipher.open(packet.sequence, data)
            assert clear is not None
            opened += clear[0] == 0x47
            continue
        control = ControlPacket.parse(data)
        if (control.kind, control.subtype) == (ControlType.USER, ExtensionType.KMREQ):
            for _ in range(2):  # and once more, as if our answer was lost
                receiver.receive_control(control, datagram.time)
                answer = (int(ExtensionType.KMRSP), control.body)
                assert receiver.controls_to_send(datagram.time, RTT) == [answer]
    assert opened == 220


def test_keys_with_a_new_salt_need_a_new_key() -> None:
    pair = Pair(options_of())
    salt = bytes(16)
    kek = derive_key(PASSPHRASE.encode(), salt, 32)
    ring = KeyRing(CipherKind.CTR, salt, kek, bytes(range(32)))
    request = user(ExtensionType.KMREQ, seal_keys(ring).serialize())
    pair.receiver.receive_control(request, 1.0)
    event = pair.receiver.next_event()
    assert isinstance(event, KeyNeeded)
    assert (event.salt, event.key_bytes) == (salt, 32)
    pair.receiver.receive_control(request, 1.1)  # once more while the key is computed
    assert pair.receiver.next_event() is None
    pair.receiver.provide_key(event.handle + 1, kek)
    assert pair.receiver.controls_to_send(1.2, RTT) == []
    pair.receiver.provide_key(event.handle, kek)
    assert pair.receiver.controls_to_send(1.2, RTT) == [(4, request.body)]
    cipher = pair.receiver.receiving.find(KEY_EVEN, 1)
    assert cipher is not None
    assert pair.receiver.receiving.find(KEY_ODD, 1) is None


def test_strangers_change_nothing() -> None:
    pair = Pair(options_of())
    receiver = pair.receiver
    before = receiver.receiving.find(KEY_EVEN, 1)
    kek = derive_key(PASSPHRASE.encode(), SALT, 16)
    good = seal_keys(KeyRing(CipherKind.CTR, SALT, kek, bytes(16))).serialize()
    bad = good[:-1] + bytes((good[-1] ^ 1,))
    gcm = seal_keys(KeyRing(CipherKind.GCM, SALT, kek, bytes(16))).serialize()
    for body in (bad, gcm):
        receiver.receive_control(user(ExtensionType.KMREQ, body), 1.0)
    assert receiver.controls_to_send(1.0, RTT) == [
        (4, bytes((KmState.BAD_SECRET, 0, 0, 0))),
        (4, bytes((KmState.BAD_CIPHER, 0, 0, 0))),
    ]
    for at, body in enumerate((b"", bytes(4), good[:40], good, b"\3\0\0\0")):
        receiver.receive_control(user(ExtensionType.KMRSP, body), 2.0 + at)
        receiver.receive_control(user(77, body), 2.0 + at)
    receiver.receive_control(user(ExtensionType.KMREQ, good[:40]), 3.0)
    assert receiver.receiving.find(KEY_EVEN, 1) is before
    assert receiver.receive_state == receiver.send_state == KmState.SECURED
    assert receiver.next_event() is None
    assert receiver.counters == {
        "km-bad-secret": 1,
        "km-refused": 2,
        "km-unasked": 5,
        "user-packet-unknown": 5,
        "km-bad-length": 1,
    }


def test_a_flood_of_new_salts_asks_for_one_key_a_second() -> None:
    receiver = Pair(options_of()).receiver
    random = Random(1)
    questions = 0
    for number in range(1000):
        ring = KeyRing(CipherKind.CTR, random.randbytes(16), bytes(16), bytes(16))
        request = user(ExtensionType.KMREQ, seal_keys(ring).serialize())
        receiver.receive_control(request, number / 100)
        while (event := receiver.next_event()) is not None:
            assert isinstance(event, KeyNeeded)
            questions += 1
            receiver.provide_key(event.handle, bytes(range(16)))
    assert questions == 10
    assert len(receiver.controls_to_send(10.0, RTT)) <= 4


def test_a_refused_refresh_keeps_the_key() -> None:
    pair = Pair(options_of())
    pair.sender.count_sent(40)
    assert pair.sender.controls_to_send(1.0, RTT)
    pair.sender.receive_control(user(ExtensionType.KMRSP, b"\4\0\0\0"), 1.1)
    assert pair.sender.counters == {"km-refresh-refused": 1}
    assert pair.sender.send_state == KmState.SECURED
    assert pair.sender.get_timer() is None
    pair.sender.count_sent(40)
    assert pair.sender.controls_to_send(2.0, RTT)  # another try, later


def test_without_a_secret() -> None:
    crypto = Crypto(Secrets(), SecurityOptions(), seeded(1))
    assert crypto.sending() == (0, None)
    assert crypto.accepts_clear
    assert crypto.overhead_bytes == 0
    crypto.count_sent(10**9)
    assert crypto.controls_to_send(0.0, RTT) == []
    assert crypto.get_timer() is None
    assert crypto.receiving.find(KEY_EVEN, 1) is None
    kek = derive_key(PASSPHRASE.encode(), SALT, 16)
    good = seal_keys(KeyRing(CipherKind.CTR, SALT, kek, bytes(16))).serialize()
    crypto.receive_control(user(ExtensionType.KMREQ, good), 0.0)
    assert crypto.get_timer() is not None
    assert crypto.controls_to_send(0.0, RTT) == [(4, b"\3\0\0\0")]
    assert crypto.next_event() == KeyStateChanged(False, KmState.NO_SECRET)


def test_a_peer_without_our_secret_gets_what_it_cannot_read() -> None:
    secrets = secured(options_of())
    crypto = Crypto(
        Secrets(KmState.NO_SECRET, KmState.UNSECURED, secrets.ring), options_of(), seeded(1)
    )
    flag, cipher = crypto.sending()
    assert flag == KEY_EVEN
    assert cipher is not None
    assert crypto.accepts_clear
    assert crypto.receiving.find(KEY_EVEN, 1) is None
    crypto.count_sent(1000)
    assert crypto.controls_to_send(0.0, RTT) == []


def test_a_secured_connection_takes_no_clear_packets() -> None:
    assert not Pair(options_of()).receiver.accepts_clear
