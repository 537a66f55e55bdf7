"""Keys of sessions in which FLUX is the client: whatever a server says of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from flux.bridges.rtp.secure import SecureTrack
from flux.bridges.rtp.tracks import RtpTrack, tracks_from_sdp
from flux.bridges.rtsp.client_keys import PullKeys, PushKeys
from flux.bridges.rtsp.secured import ntp_now
from protocols.rtsp.events import TrackTransport
from protocols.rtsp.transport import PortPair
from protocols.sdp import Attribute, MediaDescription, SessionDescription
from tests.support.rtsp_peer import rtp

SSRC = 7  # of `rtp`
PACKETS = [rtp(number, 160 * number, bytes(20)) for number in range(5)]


def session_of(*attributes: Attribute, protocol: str = "RTP/SAVP") -> SessionDescription:
    media = MediaDescription("audio", protocol=protocol, formats=("0",), attributes=attributes)
    return SessionDescription(media=(media,))


def tracks_of(session: SessionDescription) -> tuple[RtpTrack, ...]:
    return tracks_from_sdp(session, is_secure=True).tracks


def answer(keys: str) -> TrackTransport:
    return TrackTransport(0, "rtsps://cam/1", None, None, "", PortPair(0, 1), None, keys)


def taken(server: SecureTrack) -> PullKeys:
    keys = PullKeys(1, 10.0)
    session = session_of(*server.attributes(ntp_now()))
    tracks = tracks_of(session)
    assert keys.take_description(session, tracks) == (tracks, ())
    return keys


def protected(server: SecureTrack) -> list[tuple[int, bytes]]:
    return [(0, data) for packet in PACKETS for data, _ in server.sender.protect_run(packet, 32)]


def test_what_the_server_protects_is_opened_and_what_is_changed_is_counted() -> None:
    server = SecureTrack(SSRC)
    keys = taken(server)
    sent = protected(server)
    assert keys.open(sent[:3], 0.0) == [(0, packet) for packet in PACKETS[:3]]
    assert keys.open([(0, sent[3][1][:-1] + b"?"), sent[0], sent[4]], 0.1) == [(0, PACKETS[4])]
    assert keys.drops == {"srtp-auth-failed": 1, "srtp-replay": 1}


def test_the_answer_to_setup_replaces_the_key_of_the_description() -> None:
    described, chosen = SecureTrack(SSRC), SecureTrack(SSRC)
    keys = taken(described)
    keys.take_answers([answer(""), answer(chosen.header("rtsps://cam/1", ntp_now()))])
    assert keys.open(protected(chosen), 0.0) == [(0, packet) for packet in PACKETS]
    with pytest.raises(WireError, match="key-mgmt-malformed"):
        keys.take_answers([answer("prot=mikey;data=x")])


def test_wrong_keys_lock_out_in_time() -> None:
    keys = taken(SecureTrack(SSRC))
    sent = protected(SecureTrack(SSRC))
    for now in (0.0, 5.0, 9.9):
        assert keys.open(sent, now) == []
        assert not keys.is_locked_out(now)
    assert keys.open(sent, 10.0) == []
    assert keys.is_locked_out(10.0)
    assert keys.drops["srtp-auth-failed"] == 20


def test_without_srtp_everything_passes_as_it_is() -> None:
    keys = PullKeys(1, 10.0)
    session = session_of(protocol="RTP/AVP")
    tracks = tracks_of(session)
    assert keys.take_description(session, tracks) == (tracks, ())
    packets = [(0, packet) for packet in PACKETS]
    assert keys.open(packets, 0.0) is packets
    assert (keys.secured(), keys.protect(0, b"report")) == ({}, b"report")
    assert not keys.is_locked_out(100.0)


def test_the_key_of_the_session_is_that_of_its_sections() -> None:
    server = SecureTrack(SSRC)
    media = MediaDescription("audio", protocol="RTP/SAVPF", formats=("0",))
    session = SessionDescription(media=(media,), attributes=server.attributes(ntp_now()))
    keys = PullKeys(1, 10.0)
    keys.take_description(session, tracks_of(session))
    assert keys.open(protected(server), 0.0) == [(0, packet) for packet in PACKETS]
    assert keys.secured()[0].profile == "RTP/SAVPF"


def test_one_section_without_a_key_leaves_the_others() -> None:
    server = SecureTrack(SSRC)
    bare = MediaDescription("video", protocol="RTP/SAVP", formats=("26",))
    good = session_of(*server.attributes(ntp_now())).media[0]
    session = SessionDescription(media=(bare, good))
    keys = PullKeys(1, 10.0)
    kept, refused = keys.take_description(session, tracks_of(session))
    assert [track.media_index for track in kept] == [1]
    assert [(each.media_index, each.reason) for each in refused] == [(0, "srtp-no-key")]
    assert keys.open(protected(server), 0.0) == [(0, packet) for packet in PACKETS]


@given(st.sampled_from(["key-mgmt", "crypto"]), st.text(max_size=80), st.text(max_size=80))
def test_any_key_is_taken_or_refused(name: str, value: str, header: str) -> None:
    session = session_of(Attribute(name, value))
    keys = PullKeys(1, 10.0)
    kept, refused = keys.take_description(session, tracks_of(session))
    assert len(kept) + len(refused) == 1
    push = PushKeys({0: SSRC})
    push.take_announced(header)
    push.take_answers([answer(header)])
    assert push.open(0, PACKETS[0]) == b""
    assert sum(push.drops.values()) >= 1
