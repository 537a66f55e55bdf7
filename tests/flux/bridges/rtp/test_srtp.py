"""SRTP against libsrtp, against published vectors, and through loss, replay and rollover."""

import hmac
import random
from collections.abc import Sequence
from struct import pack

import pylibsrtp
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from flux.bridges.rtp.srtp import SrtpReceiver, SrtpSender
from flux.bridges.rtp.srtp_keys import (
    AES_256_CM_32,
    AES_256_CM_80,
    AES_CM_128_32,
    AES_CM_128_80,
    SUITES,
    MasterKey,
    Suite,
    Transform,
)

SSRC = 0x1234_5678
RTCP = pack("!BBHIIIIII", 0x80, 200, 6, SSRC, 1, 2, 3, 4, 5)
PROFILES = {
    AES_CM_128_80: pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    AES_CM_128_32: pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}
EVERY_SUITE = pytest.mark.parametrize("suite", SUITES.values(), ids=list(SUITES))


def packet(sequence: int, size: int = 60, ssrc: int = SSRC, first: int = 0x80) -> bytes:
    """An RTP packet of `size` bytes after its first twelve."""
    head = pack("!BBHII", first, 0x60, sequence & 0xFFFF, 3000 * sequence & 0xFFFF_FFFF, ssrc)
    return head + random.Random(sequence).randbytes(size)


def packets(first: int, count: int, size: int = 60) -> list[bytes]:
    return [packet(sequence, size) for sequence in range(first, first + count)]


def protect(sender: SrtpSender, plain: Sequence[bytes]) -> list[bytes]:
    """Through one run, and cut again."""
    segment = len(plain[0])
    return [
        data[at : at + size]
        for data, size in sender.protect_run(b"".join(plain), segment)
        for at in range(0, len(data), size)
    ]


def libsrtp(master: MasterKey, *, is_sender: bool) -> pylibsrtp.Session:
    policy = pylibsrtp.Policy
    kind = policy.SSRC_ANY_OUTBOUND if is_sender else policy.SSRC_ANY_INBOUND
    return pylibsrtp.Session(policy(master.data, kind, 0, PROFILES[master.suite]))


# -- against others --------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", PROFILES, ids=[suite.name for suite in PROFILES])
@pytest.mark.parametrize("first", [0, 1, 40_000, 65_500])
def test_byte_for_byte_what_libsrtp_makes(suite: Suite, first: int) -> None:
    master = MasterKey.generate(suite)
    theirs, ours = libsrtp(master, is_sender=True), SrtpSender(master)
    for start in range(first, first + 200, 10):
        plain = packets(start, 10)
        assert protect(ours, plain) == [theirs.protect(one) for one in plain]
        assert ours.protect_rtcp(RTCP) == theirs.protect_rtcp(RTCP)


@pytest.mark.parametrize("suite", PROFILES, ids=[suite.name for suite in PROFILES])
def test_libsrtp_opens_ours_and_we_open_its(suite: Suite) -> None:
    master = MasterKey.generate(suite)
    ours, theirs = SrtpSender(master), libsrtp(master, is_sender=False)
    plain = packets(65_530, 12)
    assert [theirs.unprotect(one) for one in protect(ours, plain)] == plain
    assert theirs.unprotect_rtcp(ours.protect_rtcp(RTCP)) == RTCP
    sender, receiver = libsrtp(master, is_sender=True), SrtpReceiver(master)
    assert receiver.unprotect([sender.protect(one) for one in plain]) == plain
    assert receiver.unprotect_rtcp([sender.protect_rtcp(RTCP)]) == [RTCP]
    assert receiver.drops == {}


@pytest.mark.parametrize(
    "head",
    [
        pack("!BBHII3I", 0x83, 0x60, 7, 8, SSRC, 1, 2, 3),
        pack("!BBHIIHH2I", 0x90, 0x60, 7, 8, SSRC, 0xBEDE, 2, 5, 6),
        pack("!BBHIIIHHI", 0x91, 0x60, 7, 8, SSRC, 1, 0xBEDE, 1, 6),
    ],
)
def test_csrcs_and_header_extensions_stay_readable(head: bytes) -> None:
    master = MasterKey.generate()
    plain = head + b"payload"
    ((protected, _),) = SrtpSender(master).protect_run(plain, len(plain))
    assert protected == libsrtp(master, is_sender=True).protect(plain)
    assert protected[: len(head)] == head
    assert SrtpReceiver(master).unprotect([protected]) == [plain]


def test_session_keys_of_rfc_3711_appendix_b_3() -> None:
    """The key stream of the derived session key and its salt, and the authentication key."""
    master = MasterKey(
        AES_CM_128_80,
        bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139"),
        bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6"),
    )
    transform = Transform(master, 0)
    assert transform.prefix(0, 0) == bytes.fromhex("30CBBC08863D8C85D49DB34A")
    assert transform.low_salt == 0x9AE1
    transform.reset(bytes(16))
    block = transform.update(bytes(16))
    key = bytes.fromhex("C61E7A93744F39EE10734AFE3FF7A087")
    assert block == aes(key, bytes(16))
    mac_key = bytes.fromhex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
    assert transform.tag(b"what is signed") == hmac_sha1(mac_key, b"what is signed")


def test_session_keys_of_rfc_6188_section_7_2() -> None:
    master = MasterKey(
        AES_256_CM_80,
        bytes.fromhex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6"),
        bytes.fromhex("3b04803de51ee7c96423ab5b78d2"),
    )
    transform = Transform(master, 0)
    assert transform.prefix(0, 0) == bytes.fromhex("fa31791685ca444a9e07c6c6")
    assert transform.low_salt == 0x4E93
    transform.reset(bytes(16))
    key = bytes.fromhex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4")
    assert transform.update(bytes(16)) == aes(key, bytes(16))
    mac_key = bytes.fromhex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05")
    assert transform.tag(b"what is signed") == hmac_sha1(mac_key, b"what is signed")


def aes(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def hmac_sha1(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha1")


# -- runs ------------------------------------------------------------------------------------------


@EVERY_SUITE
@pytest.mark.parametrize("mki", [b"", b"\0\0\0\7"])
def test_round_trip(suite: Suite, mki: bytes) -> None:
    master = MasterKey.joined(suite, MasterKey.generate(suite).data, mki)
    sender, receiver = SrtpSender(master), SrtpReceiver(master)
    plain = [*packets(500, 9, 1388), packet(509, 3)]
    ((data, size),) = sender.protect_run(b"".join(plain), 1400)
    assert size == 1400 + sender.growth
    assert len(data) == sum(map(len, plain)) + 10 * sender.growth
    assert receiver.unprotect([data[at : at + size] for at in range(0, len(data), size)]) == plain
    assert receiver.unprotect_rtcp([sender.protect_rtcp(RTCP)]) == [RTCP]
    assert receiver.drops == {}


@pytest.mark.parametrize(("count", "size"), [(130, 100), (64, 1010)])
def test_a_run_stays_what_the_kernel_takes(count: int, size: int) -> None:
    """At most 64 packets and 65,507 bytes, though each packet grows."""
    master = MasterKey.generate()
    plain = packets(0, count, size)
    runs = SrtpSender(master).protect_run(b"".join(plain), size + 12)
    assert len(runs) > 1
    for data, segment in runs:
        assert segment == size + 22
        assert len(data) <= min(65_507, 64 * segment)
        assert len(data) % segment == 0
    cut = [data[at : at + s] for data, s in runs for at in range(0, len(data), s)]
    assert SrtpReceiver(master).unprotect(cut) == plain


def test_two_ssrcs_under_one_key() -> None:
    master = MasterKey.generate()
    sender, receiver = SrtpSender(master), SrtpReceiver(master)
    for start in (10, 20):
        for ssrc in (1, 2):
            plain = [packet(sequence, 40, ssrc) for sequence in range(start, start + 10)]
            assert receiver.unprotect(protect(sender, plain)) == plain


@pytest.mark.parametrize("gap", [0x7FFF, 0x8000, 0xE000, 0xFFFE, 0xFFFF, 0x10000, 0x2_3456])
def test_a_gap_loses_no_receiver_and_uses_no_index_twice(gap: int) -> None:
    """A paused reader comes back after that many packets: libsrtp and we follow."""
    master = MasterKey.generate()
    sender = SrtpSender(master)
    ours, theirs = SrtpReceiver(master), libsrtp(master, is_sender=False)
    before, after = packets(100, 3), packets(103 + gap, 3)
    sent = protect(sender, before) + protect(sender, after)
    opened = ours.unprotect(sent)
    assert [theirs.unprotect(one) for one in sent] == opened
    assert [one for one in opened if len(one) > 12] == before + after
    assert ours.drops == {}
    assert len(sent) <= 6 + 2
    assert all(one[0] == 0x80 and not one[1] & 0x80 for one in opened if len(one) == 12)


def test_a_gap_inside_a_run() -> None:
    master = MasterKey.generate()
    plain = [*packets(0, 3), *packets(50_000, 3)]
    opened = SrtpReceiver(master).unprotect(protect(SrtpSender(master), plain))
    assert [one for one in opened if len(one) > 12] == plain


# -- joining in the middle -------------------------------------------------------------------------


@pytest.mark.parametrize("roc", [0, 1, 77, 0xFFFF_FFFE])
def test_an_announced_rollover_counter(roc: int) -> None:
    master = MasterKey.generate()
    sender = SrtpSender(master, roc)
    assert sender.roc(SSRC) == roc
    sent = protect(sender, packets(65_530, 12))
    assert sender.roc(SSRC) == roc + 1
    plain = packets(65_530, 12)
    assert SrtpReceiver(master, [(SSRC, roc)]).unprotect(sent) == plain
    late = SrtpReceiver(master, [(SSRC, roc)])
    assert late.unprotect(sent[8:]) == plain[8:], "it rolled over since"
    ahead = SrtpReceiver(master, [(SSRC, roc + 1)])
    assert ahead.unprotect(sent) == plain, "it was announced just before"


def test_an_unknown_rollover_counter_is_searched_for() -> None:
    master = MasterKey.generate()
    sent = protect(SrtpSender(master, 300), packets(7, 20))
    receiver = SrtpReceiver(master)
    assert receiver.unprotect(sent) == packets(7, 20)[4:]
    assert receiver.drops == {"srtp-auth-failed": 4}


def test_the_search_ends() -> None:
    """A stream with another key costs no more than any other forgery after a while."""
    receiver = SrtpReceiver(MasterKey.generate())
    other = SrtpSender(MasterKey.generate())
    for start in range(0, 300, 10):
        assert receiver.unprotect(protect(other, packets(start, 10))) == []
    master = MasterKey.generate()
    near, far = SrtpSender(master, 1), SrtpSender(master, 5)
    tired = SrtpReceiver(master)
    for start in range(0, 300, 10):
        tired.unprotect(protect(other, packets(start, 10)))
    assert tired.unprotect(protect(far, packets(9, 1))) == []
    assert tired.unprotect(protect(near, packets(9, 1))) == packets(9, 1)


# -- what is refused -------------------------------------------------------------------------------


def test_forged_and_repeated_packets() -> None:
    master = MasterKey.generate()
    sender, receiver = SrtpSender(master), SrtpReceiver(master)
    sent = protect(sender, packets(0, 5))
    assert len(receiver.unprotect(sent[:3])) == 3
    assert receiver.unprotect(sent[:3]) == []
    forged = sent[3][:20] + bytes((sent[3][20] ^ 1,)) + sent[3][21:]
    assert receiver.unprotect([forged]) == []
    other = protect(SrtpSender(MasterKey.generate()), packets(4, 1))
    assert receiver.unprotect(other) == []
    assert receiver.unprotect(sent[3:]) == packets(3, 2)
    assert receiver.drops == {"srtp-replay": 3, "srtp-auth-failed": 2}
    report = sender.protect_rtcp(RTCP)
    assert receiver.unprotect_rtcp([report, report]) == [RTCP]
    assert receiver.unprotect_rtcp([report[:-1] + bytes((report[-1] ^ 1,))]) == []
    assert receiver.drops["srtcp-replay"] == 1
    assert receiver.drops["srtcp-auth-failed"] == 1


def test_late_packets_up_to_the_window() -> None:
    master = MasterKey.generate()
    sent = protect(SrtpSender(master), packets(65_000, 1000))
    receiver = SrtpReceiver(master, [(SSRC, 0)])
    assert len(receiver.unprotect([sent[0], sent[999]])) == 2
    assert len(receiver.unprotect(sent[488:999])) == 511
    assert receiver.unprotect(sent[487:999]) == []
    assert receiver.drops == {"srtp-replay": 512}


def test_an_mki_that_is_not_ours() -> None:
    master = MasterKey.joined(AES_CM_128_80, bytes(30), b"\1")
    other = MasterKey.joined(AES_CM_128_80, bytes(30), b"\2")
    receiver = SrtpReceiver(master)
    sender = SrtpSender(other)
    assert receiver.unprotect(protect(sender, packets(0, 1))) == []
    assert receiver.unprotect_rtcp([sender.protect_rtcp(RTCP)]) == []
    assert receiver.drops == {"srtp-wrong-mki": 1, "srtcp-wrong-mki": 1}


@EVERY_SUITE
def test_cut_anywhere(suite: Suite) -> None:
    master = MasterKey.generate(suite)
    sender = SrtpSender(master)
    plain = pack("!BBHIIIHHI", 0x91, 0x60, 7, 8, SSRC, 1, 0xBEDE, 1, 6) + b"payload"
    ((whole, _),) = sender.protect_run(plain, len(plain))
    report = sender.protect_rtcp(RTCP)
    receiver = SrtpReceiver(master)
    for size in range(len(whole)):
        assert receiver.unprotect([whole[:size]]) == []
    for size in range(len(report)):
        assert receiver.unprotect_rtcp([report[:size]]) == []
    assert receiver.unprotect([whole]) == [plain]
    assert receiver.unprotect_rtcp([report]) == [RTCP]


@given(st.binary(max_size=80), st.integers(0, 255))
def test_any_bytes(data: bytes, first: int) -> None:
    receiver = SrtpReceiver(MasterKey.joined(AES_CM_128_32, bytes(30), b"\1"))
    for text in (data, bytes((first,)) + data, b"\x90" + data, b"\x80\xc8" + data):
        assert receiver.unprotect([text]) == []
        assert receiver.unprotect_rtcp([text]) == []


@given(
    st.integers(0, 0x1_0000),
    st.lists(st.integers(1, 3000), min_size=1, max_size=60),
    st.randoms(use_true_random=False),
)
def test_any_order_and_loss(first: int, skips: list[int], chance: random.Random) -> None:
    """What comes less than the window late is opened once, and is what was sent."""
    master = MasterKey.generate()
    sender, receiver = SrtpSender(master, 3), SrtpReceiver(master, [(SSRC, 3)])
    sequence, pairs = first, []
    for skip in skips:
        plain = packet(sequence, 20)
        ((data, _),) = sender.protect_run(plain, len(plain))
        pairs.append((sequence, data, plain))
        sequence += skip
    arrived = sorted(pairs, key=lambda pair: pair[0] + chance.randint(0, 400))
    for _, data, plain in arrived:
        assert receiver.unprotect([data]) == [plain]
        assert receiver.unprotect([data]) == []


@pytest.mark.parametrize(
    ("suite", "size"), [(AES_CM_128_80, 29), (AES_CM_128_80, 31), (AES_256_CM_32, 30)]
)
def test_keys_of_a_wrong_size(suite: Suite, size: int) -> None:
    with pytest.raises(WireError) as caught:
        MasterKey.joined(suite, bytes(size))
    assert caught.value.reason == "srtp-key-length"


def test_keys_do_not_show() -> None:
    master = MasterKey.generate()
    assert repr(master.key)[2:-1] not in repr(master)
    assert MasterKey.generate() != master
