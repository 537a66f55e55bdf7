"""Encrypted connections over bad lines: keys that change on both sides, packets that were changed,
packets that nobody can read. Each of these tests fails when its feature is turned off."""

import pytest

from protocols.srt.cipher import CtrCipher
from protocols.srt.handshake_wire import ExtensionType
from protocols.srt.options import CipherMode, Options, SecurityOptions
from protocols.srt.packet import KEY_MASK, KEY_SHIFT, ControlType, is_control, unpack_header
from tests.support.simnet import Link, SimNet, Wire
from tests.support.srt_virtual import Talker, Tape, VirtualEndpoint

ONE, TWO = ("198.18.0.1", 4001), ("198.18.0.2", 4002)
SECRET = "flux-reference-key"
PACKETS = 1500
PERIOD = 200  # packets with one key
TURN = 0.005  # seconds between two turns of an endpoint
BURST = 5  # packets that are sent at once


def secured(cipher: CipherMode, refresh: int = 1 << 24) -> Options:
    security = SecurityOptions(SECRET, 16, cipher, refresh_packets=refresh, announce_packets=60)
    return Options(receive_latency_ms=400, peer_latency_ms=400, security=security)


class Watch:
    """What goes over one direction: keys of packets in the order of their first copies, KMREQs."""

    def __init__(self, wire: Wire) -> None:
        self.keys: dict[int, int] = {}
        self.requests = 0
        wire.tap = self.tap

    def tap(self, datagram: bytes, now: float) -> bool:
        del now
        if not is_control(datagram):
            sequence, word, _, _ = unpack_header(datagram)
            self.keys.setdefault(sequence, (word & KEY_MASK) >> KEY_SHIFT)
        elif (datagram[1], datagram[3]) == (0xFF, ExtensionType.KMREQ):
            self.requests += 1
        return True

    @property
    def stretches(self) -> list[int]:
        """How many packets each key had, in turn."""
        found = [0]
        before = -1
        for sequence in sorted(self.keys):
            if before not in (-1, self.keys[sequence]):
                found.append(0)
            before = self.keys[sequence]
            found[-1] += 1
        return found


class Line:
    """Two connected endpoints."""

    def __init__(self, link: Link, options: Options, seed: int = 1) -> None:
        self.net = net = SimNet(seed)
        self.one = VirtualEndpoint(net, ONE, seed=seed, coalesce=TURN)
        self.two = VirtualEndpoint(net, TWO, coalesce=TURN)
        self.ours, self.theirs = Tape(), Tape()
        self.there, self.here = net.connect(ONE, TWO, Link(delay=link.delay))
        self.two.listen(lambda call: call.accept(options, self.theirs))
        self.one.call(TWO, options, self.ours)
        net.run(1.0)
        assert self.ours.link and self.theirs.link
        self.there.link = self.here.link = link

    def values(self, tape: Tape) -> dict[str, float]:
        found = tape.channel.statistics(self.net.now)
        assert found is not None
        return dict(found.values)

    def reasons(self, tape: Tape) -> dict[str, int]:
        found = tape.channel.statistics(self.net.now)
        assert found is not None
        return dict(found.reasons)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cipher", [CipherMode.CTR, CipherMode.GCM])
def test_keys_change_both_ways_under_loss(cipher: CipherMode, seed: int) -> None:
    link = Link(delay=0.02, loss=0.1, reorder=0.05, duplicate=0.02)
    line = Line(link, secured(cipher, PERIOD), seed)
    watches = Watch(line.there), Watch(line.here)
    for tape in (line.ours, line.theirs):
        Talker(line.net, tape.channel, rate=700.0).start(PACKETS, BURST)
    line.net.run(PACKETS / 700 + 3.0)
    for tape, watch in zip((line.theirs, line.ours), watches, strict=True):
        # Every packet could be read, whatever key it had, and all that repair brings has come.
        assert line.values(tape)["pktRcvUndecryptTotal"] == 0
        assert "not-authentic" not in line.reasons(tape)
        assert tape.numbers == sorted(set(tape.numbers))
        assert len(tape.numbers) >= 0.999 * PACKETS
        # The switch waits for the peer's answer, but not for long.
        assert len(watch.stretches) >= PACKETS // PERIOD - 1
        assert max(watch.stretches) <= PERIOD + 150
        assert watch.requests >= len(watch.stretches) - 1


TINY = {
    "64": (64, Link(delay=0.02, loss=0.15, reorder=0.05, duplicate=0.02)),
    "64 in bursts": (64, Link(delay=0.02, loss=0.1, burst=20)),
    "32": (32, Link(delay=0.02, loss=0.1, reorder=0.05)),
    "3 in any order": (3, Link(delay=0.001, loss=0.1, jitter=0.02, jitter_reorders=True)),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("refresh", "link"), TINY.values(), ids=TINY.keys())
@pytest.mark.parametrize("cipher", [CipherMode.CTR, CipherMode.GCM])
def test_what_comes_late_has_the_key_it_had(
    cipher: CipherMode, refresh: int, link: Link, seed: int
) -> None:
    """Keys change faster than the line is mended: what is sent again wants the key before."""
    security = SecurityOptions(
        SECRET, 16, cipher, refresh_packets=refresh, announce_packets=(refresh - 1) // 2
    )
    options = Options(receive_latency_ms=400, peer_latency_ms=400, security=security)
    line = Line(link, options, seed)
    watch = Watch(line.there)
    Talker(line.net, line.ours.channel, rate=1000.0).start(PACKETS // 2)
    line.net.run(PACKETS / 2000 + 1.5)
    assert len(watch.stretches) >= 6
    assert {each[4:] for each in line.theirs.payloads} == {b"G" * 396}
    assert line.theirs.numbers == sorted(set(line.theirs.numbers))
    assert len(line.theirs.numbers) >= 0.96 * PACKETS / 2


@pytest.mark.parametrize("cipher", [CipherMode.CTR, CipherMode.GCM])
def test_without_refresh_the_key_stays(cipher: CipherMode) -> None:
    """Off: what the test before this one looks for is not there."""
    line = Line(Link(delay=0.02), secured(cipher, refresh=0))
    watch = Watch(line.there)
    Talker(line.net, line.ours.channel).start(PACKETS, BURST)
    line.net.run(PACKETS / 500 + 1.0)
    assert (len(watch.stretches), watch.requests) == (1, 0)
    assert line.theirs.numbers == list(range(PACKETS))


@pytest.mark.parametrize("loss_of_answers", [0.5, 1.0])
def test_a_refresh_whose_answers_are_lost(loss_of_answers: float) -> None:
    """The sender goes on with its key; nothing is sent that the peer could not read."""
    line = Line(Link(delay=0.02), secured(CipherMode.GCM, PERIOD))
    dice = line.net.dice

    def tap(datagram: bytes, now: float) -> bool:
        del now
        is_answer = (datagram[0], datagram[1], datagram[3]) == (0xFF, 0xFF, ExtensionType.KMRSP)
        return not (is_answer and dice.random() < loss_of_answers)

    line.here.tap = tap
    watch = Watch(line.there)
    Talker(line.net, line.ours.channel).start(PACKETS, BURST)
    line.net.run(PACKETS / 500 + 2.0)
    assert line.theirs.numbers == list(range(PACKETS))
    assert line.values(line.theirs)["pktRcvUndecryptTotal"] == 0
    assert (len(watch.stretches) == 1) == (loss_of_answers == 1.0)
    assert watch.requests > 10


def tampering(line: Line, share: float, at: int) -> list[bytes]:
    """Change one bit of a share of the packets on their way; those that were changed."""
    changed: list[bytes] = []

    def tap(datagram: bytes, now: float) -> bool:
        del now
        if is_control(datagram) or line.net.dice.random() >= share:
            return True
        data = bytearray(datagram)
        data[at] ^= 0x10
        changed.append(bytes(data))
        line.two.inject(bytes(data), source=ONE)
        return False

    line.there.tap = tap
    return changed


@pytest.mark.parametrize("at", [5, 8, 16, 100, -1], ids=["message", "time", "first", "body", "tag"])
def test_gcm_lets_no_changed_packet_through(at: int) -> None:
    line = Line(Link(delay=0.02), secured(CipherMode.GCM))
    changed = tampering(line, 0.02, at)
    Talker(line.net, line.ours.channel).start(PACKETS, BURST)
    line.net.run(PACKETS / 500 + 2.0)
    assert len(changed) > 10
    # Each of them is as one that was lost: asked for again, and played in its place.
    assert line.theirs.numbers == list(range(PACKETS))
    assert {each[4:] for each in line.theirs.payloads} == {b"G" * 396}
    assert line.reasons(line.theirs)["not-authentic"] == len(changed)
    assert line.values(line.theirs)["pktRcvUndecryptTotal"] == len(changed)


def test_ctr_cannot_tell() -> None:
    """GCM off: the same changes arrive as media."""
    line = Line(Link(delay=0.02), secured(CipherMode.CTR))
    changed = tampering(line, 0.02, 100)
    Talker(line.net, line.ours.channel).start(PACKETS, BURST)
    line.net.run(PACKETS / 500 + 2.0)
    broken = [each for each in line.theirs.payloads if each[4:] != b"G" * 396]
    assert len(broken) == len(changed) > 10


def test_clear_packets_on_a_secured_connection_are_a_strangers() -> None:
    line = Line(Link(delay=0.02), secured(CipherMode.CTR))
    result = line.theirs.channel.result
    assert result is not None
    Talker(line.net, line.ours.channel).start(200)
    line.net.run(0.1)
    for number in range(40):
        sequence = result.receive_sequence + number * 10 & 0x7FFFFFFF
        head = sequence.to_bytes(4, "big") + b"\xc0\0\0\x01" + bytes(4)
        forged = head + result.socket_id.to_bytes(4, "big") + b"forged payload"
        line.two.inject(forged, source=ONE)
        line.net.run(0.01)
    line.net.run(2.0)
    assert line.theirs.numbers == list(range(200))
    assert line.reasons(line.theirs)["clear-on-secured"] > 10


@pytest.mark.parametrize("refresh", [0, PERIOD])
def test_a_forged_key_flag_costs_no_more_than_its_place(refresh: int) -> None:
    """It looks as if the other key were in use; what comes behind it shows that it is not."""
    line = Line(Link(delay=0.02), secured(CipherMode.CTR, refresh))
    result = line.theirs.channel.result
    assert result is not None
    Talker(line.net, line.ours.channel).start(PACKETS)
    for number in range(0, PACKETS, 25):
        sequence = result.receive_sequence + number & 0x7FFFFFFF
        for flag in (1, 2):
            head = sequence.to_bytes(4, "big") + (3 << 30 | flag << KEY_SHIFT | 1).to_bytes(
                4, "big"
            )
            forged = head + bytes(4) + result.socket_id.to_bytes(4, "big") + b"forged payload"
            line.two.inject(forged, source=ONE)
        line.net.run(0.05)
    line.net.run(2.0)
    good = [each for each in line.theirs.payloads if each[4:] == b"G" * 396]
    assert len(good) >= PACKETS - 2 * PACKETS // 25
    assert len(line.theirs.payloads) == PACKETS


def test_what_nobody_can_read_is_counted_and_given_its_place() -> None:
    """Off (asked for again) the line would carry it twice for nothing."""
    lax = SecurityOptions(SECRET, 16, is_enforced=False)
    other = SecurityOptions("flux-another-key", 16, is_enforced=False)
    net = SimNet(3)
    one, two = VirtualEndpoint(net, ONE), VirtualEndpoint(net, TWO)
    ours, theirs = Tape(), Tape()
    net.connect(ONE, TWO, Link(delay=0.02, loss=0.05))
    two.listen(lambda call: call.accept(Options(security=other), theirs))
    one.call(TWO, Options(security=lax), ours)
    net.run(2.0)
    Talker(net, ours.channel).start(500)
    net.run(3.0)
    found = theirs.channel.statistics(net.now)
    assert found is not None
    assert theirs.payloads == []
    assert 495 <= found.values["pktRcvUndecryptTotal"] <= 500
    assert found.values["byteRcvUndecryptTotal"] > 400 * 495
    assert found.values["pktSentNAKTotal"] < 100


def test_a_flood_of_key_material_costs_a_key_a_second() -> None:
    line = Line(Link(delay=0.02), secured(CipherMode.CTR))
    head = bytes.fromhex("122029010000000002000200000004") + b"\x04"
    Talker(line.net, line.ours.channel).start(2500)
    channel = line.theirs.channel
    for number in range(1000):
        body = head + number.to_bytes(16, "big") + bytes(24)
        first = 0x80000000 | ControlType.USER << 16 | ExtensionType.KMREQ
        packet = first.to_bytes(4, "big") + bytes(8) + channel.socket_id.to_bytes(4, "big")
        line.two.inject(packet + body, source=ONE)
        line.net.run(0.005)
    line.net.run(2.0)
    assert len(line.two.keys) <= 1 + 6  # the handshake's, and one a second
    assert line.theirs.numbers == list(range(2500))
    reasons = line.reasons(line.theirs)
    assert reasons["km-too-often"] > 900
    assert reasons["km-bad-secret"] >= 4


def test_one_context_for_a_key() -> None:
    """Sealing again with the same cipher gives the same bytes, in any order."""
    cipher = CtrCipher(bytes(16), bytes(range(16)))
    payloads = [bytes([n]) * 100 for n in range(20)]
    first = [cipher.seal(n, b"", payload) for n, payload in enumerate(payloads)]
    again = [cipher.seal(n, b"", payloads[n]) for n in reversed(range(20))]
    assert first == again[::-1]
