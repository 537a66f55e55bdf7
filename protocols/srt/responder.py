"""What a listener and the responder of a rendezvous share: an offer judged, and its keys opened."""

from dataclasses import dataclass, field, replace

from flux.base.errors import WireError
from protocols.srt.handshake_wire import FIRST_GCM_VERSION
from protocols.srt.key_exchange import (
    open_keys,
    refusal_of,
    responder_refusal,
    responder_without_offer,
)
from protocols.srt.keys import KeyMaterial, KmState
from protocols.srt.negotiation import Agreement, Offer, agree
from protocols.srt.options import Options
from protocols.srt.result import Secrets


@dataclass(frozen=True, slots=True)
class Decision:
    """What a responder makes of an offer.

    While `material` is there, the key of the passphrase is needed for it; after that `secrets` and
    `answer` (the KMRSP, if any) hold.
    """

    options: Options
    agreement: Agreement
    material: KeyMaterial | None = None
    secrets: Secrets = field(default_factory=Secrets)
    answer: bytes | None = None
    fault: str = ""  # what was wrong with the keys

    @property
    def passphrase(self) -> bytes:
        """What the key is derived from."""
        return self.options.security.passphrase.encode()


def decide(offer: Offer, options: Options) -> Decision:
    """Judge an offer, its group excepted. Raises PeerError with the code to refuse with."""
    agreement = agree(options, offer)
    security = options.security
    if offer.material is None:
        secrets, answer = responder_without_offer(security)
        return Decision(options, agreement, None, secrets, answer)
    fault = ""
    refusal: KmState | None
    try:
        material = KeyMaterial.parse(offer.material)
    except WireError as error:
        fault = error.reason
        refusal = KmState.BAD_SECRET if security.passphrase else KmState.NO_SECRET
    else:
        # A nonce of GCM must not come twice: old peers repeat them, and file modes resend packets
        # with new headers.
        is_gcm_safe = offer.hs.version >= FIRST_GCM_VERSION and options.is_live
        refusal = refusal_of(material, security, is_gcm_safe)
        if refusal is None:
            return Decision(options, agreement, material, Secrets(), offer.material)
    secrets, answer = responder_refusal(refusal, security)
    return Decision(options, agreement, None, secrets, answer, fault)


def open_decision(decision: Decision, key: bytes) -> Decision:
    """With the key that was asked for. Raises PeerError: a wrong one, and encryption enforced."""
    if decision.material is None:
        return decision
    try:
        ring = open_keys(decision.material, key)
    except WireError as error:
        secrets, answer = responder_refusal(KmState.BAD_SECRET, decision.options.security)
        return replace(decision, material=None, secrets=secrets, answer=answer, fault=error.reason)
    secrets = Secrets(KmState.SECURED, KmState.SECURED, ring)
    return replace(decision, material=None, secrets=secrets)
