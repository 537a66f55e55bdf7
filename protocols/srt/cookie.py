"""The SYN cookie: proof that a caller hears what is sent to its address, without any state."""

from hashlib import blake2s

from protocols.srt.packet import Address

SECRET_BYTES = 32
COOKIE_BYTES = 4


class CookieJar:
    """Bakes and checks cookies: a keyed hash of the address and the age.

    libsrt's has no key, so that anybody can make one for any address; ours has. A cookie is good
    for at least one `lifetime` (seconds) and for less than two.
    """

    __slots__ = ("_lifetime", "_secret")

    def __init__(self, secret: bytes, lifetime: float) -> None:
        self._secret = secret
        self._lifetime = lifetime

    def bake(self, address: Address, now: float) -> int:
        """The cookie for a caller; never 0."""
        return self._cookie(address, int(now // self._lifetime))

    def is_valid(self, cookie: int, address: Address, now: float) -> bool:
        """Whether this caller got that cookie not long ago."""
        age = int(now // self._lifetime)
        return cookie in (self._cookie(address, age), self._cookie(address, age - 1))

    def _cookie(self, address: Address, age: int) -> int:
        text = f"{address[0]}|{address[1]}|{age}".encode()
        digest = blake2s(text, digest_size=COOKIE_BYTES, key=self._secret).digest()
        return int.from_bytes(digest, "big") or 1
