"""Key material made and opened: what both the handshake and a refresh do with keys."""

from flux.base.errors import PeerError, WireError
from protocols.srt.cipher import unwrap, wrap
from protocols.srt.handshake import RandomBytes
from protocols.srt.handshake_wire import FIRST_GCM_VERSION
from protocols.srt.keys import (
    SALT_BYTES,
    STREAM_ENCAPSULATION,
    CipherKind,
    KeyMaterial,
    KeyRing,
    KmState,
    has_even,
    has_odd,
    parse_refusal,
    serialize_refusal,
)
from protocols.srt.options import CipherMode, SecurityOptions
from protocols.srt.packet import KEY_EVEN, KEY_ODD
from protocols.srt.reject import Reject, slug_of
from protocols.srt.result import Secrets

DEFAULT_KEY_BYTES = 16
GCM_AUTHENTICATION = 1
KINDS = {CipherMode.CTR: CipherKind.CTR, CipherMode.GCM: CipherKind.GCM}
STATE_CODES = {
    KmState.UNSECURED: Reject.UNSECURE,
    KmState.NO_SECRET: Reject.UNSECURE,
    KmState.BAD_SECRET: Reject.BAD_SECRET,
    KmState.BAD_CIPHER: Reject.CRYPTO,
}


def draw_salt(random: RandomBytes) -> bytes:
    """The salt of a new connection."""
    return random(SALT_BYTES)


def draw_ring(options: SecurityOptions, salt: bytes, kek: bytes, random: RandomBytes) -> KeyRing:
    """The first keys that an initiator offers: the even one."""
    kind = CipherKind.GCM if options.cipher == CipherMode.GCM else CipherKind.CTR
    return KeyRing(kind, salt, kek, random(len(kek)))


def seal_keys(ring: KeyRing) -> KeyMaterial:
    """The KM message with all keys of the ring."""
    flags = (KEY_EVEN if ring.even else 0) | (KEY_ODD if ring.odd else 0)
    wrapped = wrap(ring.kek, ring.even + ring.odd)
    authentication = GCM_AUTHENTICATION if ring.cipher == CipherKind.GCM else 0
    return KeyMaterial(ring.cipher, ring.salt, ring.key_bytes, wrapped, flags, authentication)


def open_keys(material: KeyMaterial, kek: bytes) -> KeyRing:
    """The keys inside. Raises WireError `km-bad-secret`; `refusal_of` must have agreed before."""
    keys = unwrap(kek, material.wrapped)
    size = material.key_bytes
    even = keys[:size] if has_even(material.flags) else b""
    odd = keys[-size:] if has_odd(material.flags) else b""
    try:
        kind = CipherKind(material.cipher)
    except ValueError:
        raise WireError("km-bad-cipher", str(material.cipher)) from None
    return KeyRing(kind, material.salt, kek, even, odd)


def refusal_of(
    material: KeyMaterial, options: SecurityOptions, is_gcm_safe: bool = True
) -> KmState | None:
    """Why offered keys are refused before they are opened; None: they are not.

    `is_gcm_safe`: the peer makes GCM nonces that never repeat (libsrt from 1.5.4 on).
    """
    if not options.passphrase:
        return KmState.NO_SECRET
    if material.encapsulation != STREAM_ENCAPSULATION or material.keki:
        return KmState.BAD_SECRET  # another kind of key than a passphrase's
    is_gcm = material.cipher == CipherKind.GCM
    if is_gcm != bool(material.authentication) or material.cipher not in KINDS.values():
        return KmState.BAD_CIPHER
    if is_gcm and not is_gcm_safe:
        return KmState.BAD_CIPHER
    wanted = KINDS.get(options.cipher)
    return None if wanted in (None, material.cipher) else KmState.BAD_CIPHER


def responder_refusal(state: KmState, options: SecurityOptions) -> tuple[Secrets, bytes]:
    """As responder, without keys: our state, and the KMRSP that says so.

    Raises PeerError where encryption is enforced.
    """
    _check_enforced(state, options)
    send = KmState.UNSECURED if state == KmState.NO_SECRET else state
    return Secrets(send, state), serialize_refusal(state)


def responder_without_offer(options: SecurityOptions) -> tuple[Secrets, bytes | None]:
    """As responder, where the initiator offers no keys.

    Raises PeerError where we have a passphrase and it is enforced.
    """
    if not options.passphrase:
        return Secrets(), None
    _check_enforced(KmState.UNSECURED, options)
    return Secrets(KmState.NO_SECRET), serialize_refusal(KmState.UNSECURED)


def initiator_secrets(
    ring: KeyRing | None, offered: bytes | None, answer: bytes | None, options: SecurityOptions
) -> Secrets:
    """As initiator: what the KMRSP `answer` makes of what we `offered`.

    Raises PeerError where encryption is enforced and was not agreed on.
    """
    if ring is None or offered is None:
        if answer is None:
            return Secrets()
        _check_enforced(KmState.NO_SECRET, options)  # the responder alone has a secret
        return Secrets(KmState.UNSECURED, KmState.NO_SECRET)
    if answer == offered:
        return Secrets(KmState.SECURED, KmState.SECURED, ring)
    state = KmState.NO_SECRET
    if answer is not None:
        try:
            refusal = parse_refusal(answer)
        except WireError:
            refusal = KmState.BAD_SECRET
        # Other keys than ours: whatever that is, it is not our secret.
        state = KmState.BAD_SECRET if refusal is None else refusal
    if state not in STATE_CODES or state == KmState.UNSECURED:
        state = KmState.NO_SECRET
    _check_enforced(state, options)
    receive = KmState.UNSECURED if state == KmState.NO_SECRET else state
    return Secrets(state, receive, ring)


def check_cipher(secrets: Secrets, peer_version: int) -> None:
    """Raises PeerError where GCM was agreed on with a peer whose nonces repeat."""
    is_gcm = secrets.ring is not None and secrets.ring.cipher == CipherKind.GCM
    if is_gcm and peer_version < FIRST_GCM_VERSION:
        raise PeerError(slug_of(Reject.CRYPTO), Reject.CRYPTO, f"GCM of {peer_version:#x}")


def _check_enforced(state: KmState, options: SecurityOptions) -> None:
    if options.is_enforced:
        code = STATE_CODES[state]
        raise PeerError(slug_of(code), code)
