"""Who is the initiator of a rendezvous: the side with the larger cookie, draft section 4.3.2."""

from protocols.srt.handshake import RandomBytes

WORD = 1 << 32
HALF = 1 << 31
MAX_OWN = 0xFFFF


def draw_cookie(random: RandomBytes) -> int:
    """Our cookie, 1..65535.

    The draft compares signed numbers, libsrt the sign of their wrapped difference. The two rules
    differ where the numbers are far apart; to a small one hardly any other is that far.
    """
    return 1 + int.from_bytes(random(4), "big") % MAX_OWN


def is_initiator(own: int, peer: int) -> bool | None:
    """Whether we initiate, by libsrt's rule; None: a draw. Cookies are 32 bits of any sign."""
    difference = (own - peer) % WORD
    if difference == 0:
        return None
    if difference == HALF:
        return _signed(own) > _signed(peer)
    return difference < HALF


def _signed(cookie: int) -> int:
    return (cookie + HALF) % WORD - HALF
