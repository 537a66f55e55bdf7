"""Keys in SDP and RTSP: both sides of playing and of publishing, and what is refused."""

from dataclasses import replace
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from flux.bridges.rtp import secure
from flux.bridges.rtp.secure import SecureTrack, keys_of, message_of
from flux.bridges.rtp.srtp import SrtpSender
from flux.bridges.rtp.srtp_keys import AES_256_CM_32, AES_CM_128_32, SUITES, MasterKey, Suite
from protocols.mikey import Kemac, KeyData, KeyManagement, Message, SecurityPolicy
from protocols.mikey.payload import KeyType, SrtpParameter
from protocols.sdp import Attribute, MediaDescription, SessionDescription

VECTORS = dict(
    line.split()
    for line in (Path(__file__).parents[3] / "data/mikey/gstreamer-1.22.txt")
    .read_text()
    .splitlines()
)
NTP = 0xEEAB_9BF1_0E69_DF97
URI = "rtsps://127.0.0.1:8322/cam/stream=0"
EMPTY = SessionDescription()
RTP = pack("!BBHII", 0x80, 96, 7, 8, 0xAAAA) + b"media"
RTCP = pack("!BBHI", 0x80, 201, 1, 0xBBBB)


def media(*attributes: Attribute) -> MediaDescription:
    return MediaDescription("video", protocol="RTP/SAVP", formats=("96",), attributes=attributes)


def run(sender: SrtpSender) -> list[bytes]:
    return [data for data, _ in sender.protect_run(RTP, len(RTP))]


def assert_hears(hearer: SecureTrack, speaker: SecureTrack) -> None:
    """RTP and RTCP of one side are opened by the other."""
    assert hearer.receiver is not None
    assert hearer.receiver.unprotect(run(speaker.sender)) == [RTP]
    assert hearer.receiver.unprotect_rtcp([speaker.sender.protect_rtcp(RTCP)]) == [RTCP]


# -- roles -----------------------------------------------------------------------------------------


def test_play() -> None:
    """DESCRIBE brings the server's key, SETUP the player's."""
    server, player = SecureTrack(0xAAAA), SecureTrack(0xBBBB)
    described = SessionDescription(media=(media(*server.attributes(NTP)),))
    read = SessionDescription.parse(described.serialize())
    player.take_media(read.media[0], read)
    server.take_header(player.header(URI, NTP))
    assert_hears(player, server)
    assert_hears(server, player)


def test_publish() -> None:
    """ANNOUNCE or SETUP bring the publisher's key, the answers to them the server's."""
    for at_setup in (False, True):
        publisher, server = SecureTrack(0xAAAA), SecureTrack(0xBBBB)
        if at_setup:
            server.take_header(publisher.header(URI, NTP))
            publisher.take_header(server.header(URI, NTP))
        else:
            server.take_media(media(*publisher.attributes(NTP)), EMPTY)
            secure.take_headers(server.header(URI, NTP), [publisher])
        assert_hears(server, publisher)
        assert_hears(publisher, server)


def test_one_answer_for_several_tracks() -> None:
    servers = [SecureTrack(number) for number in range(3)]
    value = ", ".join(track.header(f"{URI},{n}", NTP) for n, track in enumerate(servers))
    publishers = [SecureTrack(number) for number in range(3)]
    secure.take_headers(value, publishers)
    for server, publisher in zip(servers, publishers, strict=True):
        assert_hears(publisher, server)
    with pytest.raises(WireError) as caught:
        secure.take_headers(value, [*publishers, SecureTrack(4)])
    assert caught.value.reason == "srtp-no-key"


def test_a_key_for_the_whole_session() -> None:
    server, player = SecureTrack(0xAAAA), SecureTrack(0xBBBB)
    whole = SessionDescription(attributes=server.attributes(NTP), media=(media(),))
    player.take_media(whole.media[0], whole)
    assert_hears(player, server)


def test_a_camera_with_sdes() -> None:
    """Its one key goes both ways; a suite that is unknown is passed over."""
    camera, player = SecureTrack(0xAAAA), SecureTrack(0xBBBB)
    unknown = Attribute("crypto", "1 AEAD_AES_256_GCM inline:AAAA")
    player.take_media(media(unknown, camera.crypto(2)), EMPTY)
    assert_hears(player, camera)
    camera.take_media(media(camera.crypto()), EMPTY)
    assert_hears(camera, player)


def test_mikey_comes_before_sdes() -> None:
    camera, player = SecureTrack(0xAAAA), SecureTrack(0xBBBB)
    other = SecureTrack(0xCCCC).crypto()
    player.take_media(media(other, *camera.attributes(NTP)), EMPTY)
    assert_hears(player, camera)


def test_a_sender_that_is_shared_tells_where_it_is() -> None:
    sender = SrtpSender(MasterKey.generate())
    for sequence in (65_535, 0):
        packet = RTP[:2] + sequence.to_bytes(2, "big") + RTP[4:]
        sender.protect_run(packet, len(packet))
    late = SecureTrack(0xBBBB)
    late.take(SecureTrack(0xAAAA, sender).message(NTP))
    assert late.receiver is not None
    assert late.receiver.unprotect(run(sender)) == [RTP]
    assert SecureTrack(0xAAAA, sender).message(NTP).sessions[0].roc == 1


def test_channels() -> None:
    server, player = SecureTrack(0xAAAA), SecureTrack(0xBBBB)
    player.take_header(server.header(URI, NTP))
    (data,), report = run(server.sender), server.sender.protect_rtcp(RTCP)
    packets = [(0, b"plain"), (2, data), (3, report), (2, data), (4, b"unkeyed")]
    opened = secure.open_channels({1: player, 2: SecureTrack(1)}, packets)
    assert opened == [(0, b"plain"), (2, RTP), (3, RTCP)]
    assert player.receiver is not None
    assert player.receiver.drops == {"srtp-replay": 1}


def test_profiles() -> None:
    assert [secure.is_secure(f"RTP/{name}") for name in ("AVP", "SAVP", "savpf", "AVPF")] == [
        *(False, True, True, False)
    ]


# -- messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES.values(), ids=list(SUITES))
@pytest.mark.parametrize("mki", [b"", b"\0\1"])
def test_round_trip(suite: Suite, mki: bytes) -> None:
    master = MasterKey.joined(suite, MasterKey.generate(suite).data, mki)
    sent = message_of(master, [(1, 2), (3, 4)], NTP)
    assert keys_of(Message.parse(sent.serialize())) == (master, ((1, 2), (3, 4)))


@pytest.mark.parametrize("name", VECTORS)
def test_the_tag_length_as_gstreamer_has_it(name: str) -> None:
    """It stands where the length of the authentication key should, and is that of SRTCP too."""
    master, rocs = keys_of(Message.parse(bytes.fromhex(VECTORS[name])))
    size = 32 if "256" in name else 16
    tags = (4, 4) if name.endswith("32") else (10, 10)
    assert (master.suite.key_bytes, master.suite.rtp_tag_bytes, master.suite.rtcp_tag_bytes) == (
        *(size, *tags),
    )
    if name.startswith("caps"):
        assert (master.data, rocs) == (bytes(range(size + 14)), ((0x11223344, 7),))


def test_a_tag_length_as_the_rfc_has_it() -> None:
    for suite in (AES_CM_128_32, AES_256_CM_32):
        master, _ = keys_of(message_of(MasterKey.generate(suite), (), NTP))
        assert (master.suite.rtp_tag_bytes, master.suite.rtcp_tag_bytes) == (4, 10)


def test_an_unknown_rollover_counter_is_none() -> None:
    """GStreamer's server writes all ones where it does not know."""
    message = message_of(MasterKey.generate(), [(1, 0xFFFF_FFFF), (2, 0)], NTP)
    assert keys_of(message)[1] == ((2, 0),)


def test_a_message_without_a_policy_has_the_usual_one() -> None:
    message = message_of(MasterKey.generate(), (), NTP)
    bare = replace(
        message, payloads=tuple(p for p in message.payloads if not isinstance(p, SecurityPolicy))
    )
    assert keys_of(bare) == keys_of(message)


def changed(kind: int, value: int) -> Message:
    """A good message with another value of one policy parameter."""
    message = message_of(MasterKey.generate(), (), NTP)
    policy = message.policy(0)
    assert policy is not None
    others = [one for one in policy.parameters if one[0] != kind]
    policy = replace(policy, parameters=(*others, (kind, bytes((value,)))))
    return replace(
        message,
        payloads=tuple(policy if isinstance(p, SecurityPolicy) else p for p in message.payloads),
    )


def with_keys(*payloads: Kemac) -> Message:
    return Message((), payloads)


TEK = KeyData(KeyType.TEK, bytes(30))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (changed(SrtpParameter.CIPHER, 0), "srtp-policy-unsupported"),
        (changed(SrtpParameter.CIPHER, 6), "srtp-policy-unsupported"),
        (changed(SrtpParameter.CIPHER_KEY_LENGTH, 24), "srtp-policy-unsupported"),
        (changed(SrtpParameter.MAC, 0), "srtp-policy-unsupported"),
        (changed(SrtpParameter.ENCRYPTS_RTP, 0), "srtp-policy-unsupported"),
        (changed(SrtpParameter.ENCRYPTS_RTCP, 0), "srtp-policy-unsupported"),
        (changed(SrtpParameter.AUTHENTICATES, 0), "srtp-policy-unsupported"),
        (changed(SrtpParameter.KEY_DERIVATION_RATE, 4), "srtp-policy-unsupported"),
        (changed(SrtpParameter.TAG_LENGTH, 8), "srtp-policy-unsupported"),
        (changed(SrtpParameter.CIPHER_KEY_LENGTH, 32), "srtp-key-length"),
        (with_keys(), "srtp-no-key"),
        (with_keys(Kemac()), "srtp-no-key"),
        (with_keys(Kemac((), 1, b"secret")), "srtp-key-encrypted"),
        (with_keys(Kemac((TEK,), mac_kind=1, mac=bytes(20))), "srtp-key-encrypted"),
        (with_keys(Kemac((KeyData(KeyType.TGK, bytes(30)),))), "srtp-key-unsupported"),
        (with_keys(Kemac((KeyData(KeyType.TEK, bytes(29)),))), "srtp-key-length"),
    ],
)
def test_what_is_refused(message: Message, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        SecureTrack(1).take(Message.parse(message.serialize()))
    assert caught.value.reason == reason


def test_a_key_with_its_salt_apart() -> None:
    key = KeyData(KeyType.TEK_SALT, bytes(range(16)), bytes(range(16, 30)))
    assert keys_of(with_keys(Kemac((key,))))[0].data == bytes(range(30))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ((), "srtp-no-key"),
        ((Attribute("key-mgmt", "other AAAA"),), "srtp-no-key"),
        ((Attribute("key-mgmt"),), "srtp-no-key"),
        ((Attribute("key-mgmt", "mikey AAAA"),), "mikey-truncated"),
        ((Attribute("crypto", "1 NULL inline:AAAA"),), "srtp-policy-unsupported"),
        ((Attribute("crypto"),), "sdp-bad-crypto"),
        ((Attribute("crypto", "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA"),), "srtp-key-length"),
        (
            (Attribute("crypto", str(SecureTrack(1).crypto().value) + " UNENCRYPTED_SRTP"),),
            "srtp-policy-unsupported",
        ),
        (
            (Attribute("crypto", str(SecureTrack(1).crypto().value) + " KDR=3"),),
            "srtp-policy-unsupported",
        ),
    ],
)
def test_media_that_is_refused(attributes: tuple[Attribute, ...], reason: str) -> None:
    track = SecureTrack(1)
    with pytest.raises(WireError) as caught:
        track.take_media(media(*attributes), EMPTY)
    assert caught.value.reason == reason
    assert track.receiver is None


@given(st.binary(max_size=120), st.integers(0, 150))
def test_any_message(data: bytes, place: int) -> None:
    good = message_of(MasterKey.generate(), [(1, 2)], NTP).serialize()
    for text in (data, good[:place] + data, good[:place] + data + good[place + len(data) :]):
        try:
            secure.keys_of(Message.parse(text))
        except WireError:
            continue


def test_a_header_that_names_no_key() -> None:
    for value in ("", "prot=other;data=AAAA"):
        with pytest.raises(WireError) as caught:
            SecureTrack(1).take_header(value)
        assert caught.value.reason == "srtp-no-key"


def test_the_header_says_whom_it_is_for() -> None:
    (spec,) = KeyManagement.parse_header(SecureTrack(5).header(URI, NTP))
    assert spec.uri == URI
    assert [one.ssrc for one in spec.message.sessions] == [5]
