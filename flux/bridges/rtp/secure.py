"""SRTP of one track: what is said about keys in SDP and RTSP, and what comes of what is heard.

Each side makes the key for what it sends itself. As GStreamer does it, RFC 4567:

- We serve players: our key in the answer to DESCRIBE (`attributes`) and to SETUP (`header`), the
  player's for its reports in its SETUP (`take_header`).
- We play: the server's key from its answer to DESCRIBE (`take_media`) and, where it is there, to
  SETUP (`take_header`); ours for our reports in SETUP (`header`).
- Somebody publishes to us: his key in ANNOUNCE (`take_media`, if there) and in SETUP
  (`take_header`); ours for our reports in the answers to ANNOUNCE (a header a track) and SETUP.
- We publish: our key in ANNOUNCE (`attributes`) and SETUP (`header`); the server's for its reports
  from the answers to ANNOUNCE (`take_headers`) or SETUP (`take_header`).

All of it over TLS alone: the keys are in plain. A camera that puts `a=crypto` (RFC 4568) into its
description gives one key for both ways, since RTSP has no place for an answer to it.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from flux.base.errors import WireError
from flux.bridges.rtp.srtp import SrtpReceiver, SrtpSender
from flux.bridges.rtp.srtp_keys import (
    AES_256_CM_32,
    AES_256_CM_80,
    AES_CM_128_32,
    AES_CM_128_80,
    MAC_KEY_BYTES,
    SUITES,
    MasterKey,
    Suite,
)
from protocols.mikey import (
    CryptoSession,
    Kemac,
    KeyData,
    KeyManagement,
    Message,
    RandomValue,
    SecurityPolicy,
    Timestamp,
    attribute_value,
    parse_attribute,
)
from protocols.mikey.payload import Cipher, KeyType, Mac, SrtpParameter
from protocols.sdp import Attribute, MediaDescription, SessionDescription
from protocols.sdp.crypto import CryptoAttribute, InlineKey

RAND_BYTES = 16  # RFC 3830 section 6.11: at least
UNUSABLE = ("UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP", "FEC_", "KDR=")


def is_secure(profile: str) -> bool:
    """Whether an RTP profile (`RTP/SAVP`, `RTP/SAVPF`) is one of SRTP."""
    return "SAVP" in profile.upper()


class SecureTrack:
    """Keys of one track in one session: `sender` at once, `receiver` when the peer told its key.

    `ssrc` is what we send under (for a client that plays: its receiver reports). The key is new
    unless a sender is handed in that several sessions share.
    """

    def __init__(
        self,
        ssrc: int,
        sender: SrtpSender | None = None,
        *,
        suite: Suite = AES_CM_128_80,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._ssrc = ssrc
        self._random = random
        self.sender = sender or SrtpSender(MasterKey.generate(suite))
        self.receiver: SrtpReceiver | None = None

    # What we say. `ntp` is the time now, NTP in 64 bits.

    def attributes(self, ntp: int) -> tuple[Attribute, ...]:
        """The lines of our key for an m= section whose profile is RTP/SAVP or RTP/SAVPF."""
        return (Attribute("key-mgmt", attribute_value(self.message(ntp))),)

    def header(self, uri: str, ntp: int) -> str:
        """The value of our KeyMgmt header; `uri` is the track's control URL."""
        return KeyManagement(self.message(ntp), uri).serialize()

    def message(self, ntp: int) -> Message:
        """Our key as MIKEY."""
        master = self.sender.master
        return message_of(master, [(self._ssrc, self.sender.roc(self._ssrc))], ntp, self._random)

    def crypto(self, tag: int = 1) -> Attribute:
        """Our key as `a=crypto`, for a description that is handed over by other means than RTSP."""
        return crypto_of(self.sender.master, tag)

    # What the peer says. All raise `WireError`: those of the parsers and of `keys_of`.

    def take_media(self, media: MediaDescription, session: SessionDescription) -> None:
        """Take the peer's key from a media section, or else from its session.

        Raises `srtp-no-key` where neither has one that can be used.
        """
        for attributes in (media.attributes, session.attributes):
            for attribute in attributes:
                message = None
                if attribute.name.lower() == "key-mgmt":
                    message = parse_attribute(attribute.value or "")
                if message is not None:
                    self.take(message)
                    return
        why = ("srtp-no-key", "")  # not the error itself, which would hold this frame
        for attribute in media.attributes:
            if attribute.name.lower() == "crypto":
                try:
                    self._take_crypto(CryptoAttribute.parse(attribute.value or ""))
                except WireError as refusal:  # the next one may do: they are in order of preference
                    why = refusal.reason, refusal.detail
                else:
                    return
        raise WireError(*why)

    def take_header(self, value: str) -> None:
        """Take the peer's key from a KeyMgmt header that speaks for this track alone."""
        take_headers(value, [self])

    def take(self, message: Message) -> None:
        """Take the peer's key from MIKEY; a later message replaces an earlier one."""
        master, rocs = keys_of(message)
        self.receiver = SrtpReceiver(master, rocs)

    def _take_crypto(self, crypto: CryptoAttribute) -> None:
        master = key_of(crypto)
        self.receiver = SrtpReceiver(master)
        self.sender = SrtpSender(master)


def take_headers(value: str, tracks: Sequence[SecureTrack]) -> None:
    """Take the keys of several tracks from KeyMgmt headers, joined by commas, in their order.

    GStreamer's server answers ANNOUNCE with one for each track. Raises `WireError`: `srtp-no-key`
    where there are fewer than tracks.
    """
    found = KeyManagement.parse_header(value)
    if len(found) < len(tracks):
        raise WireError("srtp-no-key", f"{len(found)} keys for {len(tracks)} tracks")
    for track, management in zip(tracks, found, strict=False):
        track.take(management.message)


def open_channels(
    tracks: Mapping[int, SecureTrack], packets: Iterable[tuple[int, bytes]]
) -> list[tuple[int, bytes]]:
    """Open what came on channels 2n (RTP) and 2n + 1 (RTCP) of track n; the rest passes as it is.

    What cannot be opened is left out and counted in the track's `receiver.drops`.
    """
    opened: list[tuple[int, bytes]] = []
    for channel, packet in packets:
        track = tracks.get(channel >> 1)
        if track is None:
            opened.append((channel, packet))
        elif track.receiver is not None:
            receiver = track.receiver
            way = receiver.unprotect_rtcp if channel & 1 else receiver.unprotect
            opened += [(channel, plain) for plain in way((packet,))]
    return opened


def message_of(
    master: MasterKey,
    rocs: Iterable[tuple[int, int]],
    ntp: int,
    random: Callable[[int], bytes] = os.urandom,
) -> Message:
    """A MIKEY message with that key for these (SSRC, rollover counter).

    `ntp` is the wall clock's time: peers refuse a message that is an hour off.
    """
    suite = master.suite
    parameters = (
        (SrtpParameter.CIPHER, Cipher.AES_CM),
        (SrtpParameter.CIPHER_KEY_LENGTH, suite.key_bytes),
        (SrtpParameter.MAC, Mac.HMAC_SHA1),
        (SrtpParameter.MAC_KEY_LENGTH, 4 if suite.rtcp_tag_bytes == 4 else MAC_KEY_BYTES),
        (SrtpParameter.ENCRYPTS_RTP, 1),
        (SrtpParameter.ENCRYPTS_RTCP, 1),
        (SrtpParameter.AUTHENTICATES, 1),
        (SrtpParameter.TAG_LENGTH, suite.rtp_tag_bytes),
    )
    policy = SecurityPolicy(0, tuple((int(kind), bytes((value,))) for kind, value in parameters))
    return Message(
        tuple(CryptoSession(0, ssrc, roc) for ssrc, roc in rocs),
        (
            Timestamp(0, ntp),
            RandomValue(random(RAND_BYTES)),
            policy,
            Kemac((KeyData(KeyType.TEK, master.data, spi=master.mki),)),
        ),
        csb_id=int.from_bytes(random(4), "big"),
    )


def keys_of(message: Message) -> tuple[MasterKey, tuple[tuple[int, int], ...]]:
    """The key that a MIKEY message brings, with the (SSRC, rollover counter) it names.

    Raises `WireError`: `srtp-no-key`, `srtp-key-encrypted` (a pre-shared key would be needed),
    `srtp-key-unsupported` (one from which the others are to be derived), `srtp-key-length`,
    `srtp-policy-unsupported` (no encryption, no authentication, other algorithms).
    """
    kemac = next(message.kemacs(), None)
    if kemac is None:
        raise WireError("srtp-no-key", "no KEMAC")
    if kemac.cipher != Cipher.NULL or kemac.mac_kind != Mac.NULL:
        raise WireError("srtp-key-encrypted")
    if not kemac.keys:
        raise WireError("srtp-no-key", "KEMAC without keys")
    key = kemac.keys[0]
    if key.kind not in (KeyType.TEK, KeyType.TEK_SALT):
        raise WireError("srtp-key-unsupported", f"type {key.kind}")
    number = message.sessions[0].policy if message.sessions else 0
    suite = _suite_of(message.policy(number))
    # quirk: GStreamer's server writes all ones where it does not know its rollover counter.
    rocs = tuple((one.ssrc, one.roc) for one in message.sessions if one.roc != 0xFFFF_FFFF)
    return MasterKey.joined(suite, key.key + key.salt, key.spi), rocs


def _suite_of(policy: SecurityPolicy | None) -> Suite:
    """The suite that a policy asks for; what it does not say has the values of section 6.10.1."""
    if policy is None:
        return AES_CM_128_80
    values = {kind: policy.value(kind) for kind, _ in policy.parameters}
    wanted = {
        SrtpParameter.CIPHER: (None, Cipher.AES_CM),
        SrtpParameter.MAC: (None, Mac.HMAC_SHA1),
        SrtpParameter.SALT_LENGTH: (None, 14),
        SrtpParameter.PRF: (None, 0),
        SrtpParameter.KEY_DERIVATION_RATE: (None, 0),
        SrtpParameter.ENCRYPTS_RTP: (None, 1),
        SrtpParameter.ENCRYPTS_RTCP: (None, 1),
        SrtpParameter.AUTHENTICATES: (None, 1),
        SrtpParameter.PREFIX_LENGTH: (None, 0),
        SrtpParameter.CIPHER_KEY_LENGTH: (None, 16, 32),
        SrtpParameter.TAG_LENGTH: (None, 4, 10),
        SrtpParameter.MAC_KEY_LENGTH: (None, 4, 10, 20),
    }
    for kind, allowed in wanted.items():
        if values.get(kind) not in allowed:
            raise WireError("srtp-policy-unsupported", f"{kind.name.lower()} {values.get(kind)}")
    is_long = values.get(SrtpParameter.CIPHER_KEY_LENGTH) == 32
    # quirk: GStreamer has the length of the tag (10 or 4) where RFC 3830 section 6.10.1 has that of
    # the authentication key, and shortens the tag of SRTCP with it, against RFC 3711 section 5.2.
    # test: test_the_tag_length_as_gstreamer_has_it
    if values.get(SrtpParameter.MAC_KEY_LENGTH) == 4:
        return replace(AES_256_CM_32 if is_long else AES_CM_128_32, rtcp_tag_bytes=4)
    if values.get(SrtpParameter.TAG_LENGTH) == 4:
        return AES_256_CM_32 if is_long else AES_CM_128_32
    return AES_256_CM_80 if is_long else AES_CM_128_80


def crypto_of(master: MasterKey, tag: int = 1) -> Attribute:
    """An `a=crypto` line with that key."""
    value = CryptoAttribute(tag, master.suite.name, (InlineKey(master.data, "", master.mki),))
    return Attribute("crypto", str(value))


def key_of(crypto: CryptoAttribute) -> MasterKey:
    """The first key of an `a=crypto` line.

    Raises `WireError`: `srtp-policy-unsupported` (suite or session parameters), `srtp-key-length`.
    """
    suite = SUITES.get(crypto.suite.upper())
    if suite is None:
        raise WireError("srtp-policy-unsupported", crypto.suite[:40])
    for parameter in crypto.parameters:
        if parameter.upper().startswith(UNUSABLE) and parameter.upper() != "KDR=0":
            raise WireError("srtp-policy-unsupported", parameter[:40])
    return MasterKey.joined(suite, crypto.keys[0].data, crypto.keys[0].mki)
