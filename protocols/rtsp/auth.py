"""Basic and Digest authentication, RFC 7617, RFC 7616 and RFC 2617, client side.

`digest_response` is the bare computation, for both ends.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

MAX_CHALLENGES = 16

HASHES: dict[str, Callable[[bytes], "hashlib._Hash"]] = {
    "MD5": hashlib.md5,
    "SHA-256": hashlib.sha256,
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data),
}
# Strongest last; a Digest of any kind beats Basic, which shows the password to everyone.
STRENGTH = ("basic", "MD5", "SHA-256", "SHA-512-256")

SCHEME = re.compile(r"\s*,*\s*([A-Za-z][\w-]*)(?=\s+[\w-]+\s*=|\s*$|\s*,)")
PARAMETER = re.compile(r"\s*,*\s*([\w-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"?|([^\s,]*))")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a WWW-Authenticate header."""

    scheme: str  # "basic" or "digest"
    realm: str = ""
    nonce: str = ""
    opaque: str | None = None
    algorithm: str = ""  # as it was sent; empty means MD5, RFC 7616 section 3.3
    qop: str = ""  # "auth", or empty for the form of RFC 2069
    is_stale: bool = False
    has_userhash: bool = False

    @property
    def strength(self) -> int:
        """Rank among the challenges that FLUX can answer, -1 if it cannot."""
        if self.scheme == "basic":
            return 0
        name = hash_name(self.algorithm)
        return STRENGTH.index(name) if name in STRENGTH and self.qop in ("", "auth") else -1


def hash_name(algorithm: str) -> str:
    """The hash of an algorithm value: `MD5-sess` and no value at all are MD5."""
    return algorithm.upper().removesuffix("-SESS") or "MD5"


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """The challenges of all WWW-Authenticate headers; several may stand in one line.

    Never raises: what is no challenge is left out.
    """
    found: list[Challenge] = []
    for value in values:
        position = 0
        while position < len(value) and len(found) < MAX_CHALLENGES:
            scheme = SCHEME.match(value, position)
            if scheme is None:
                break
            position = scheme.end()
            parameters: dict[str, str] = {}
            while match := PARAMETER.match(value, position):
                text = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
                parameters.setdefault(match[1].lower(), text)
                position = match.end()
            if scheme[1].lower() in ("basic", "digest"):
                found.append(_challenge(scheme[1].lower(), parameters))
    return found


def _challenge(scheme: str, parameters: dict[str, str]) -> Challenge:
    offered = [word.strip().lower() for word in parameters.get("qop", "").split(",")]
    qop = "auth" if "auth" in offered else next(iter(offered), "")
    return Challenge(
        scheme=scheme,
        realm=parameters.get("realm", ""),
        nonce=parameters.get("nonce", ""),
        opaque=parameters.get("opaque"),
        algorithm=parameters.get("algorithm", ""),
        qop=qop,
        is_stale=parameters.get("stale", "").lower() == "true",
        has_userhash=parameters.get("userhash", "").lower() == "true",
    )


def digest_response(
    challenge: Challenge,
    username: str,
    password: str,
    method: str,
    uri: str,
    *,
    count: int = 1,
    cnonce: str = "",
) -> str:
    """The `response` value, RFC 7616 section 3.4.1 (RFC 2069 form without qop)."""
    digest = HASHES[hash_name(challenge.algorithm)]

    def hashed(text: str) -> str:
        return digest(text.encode()).hexdigest()

    secret = hashed(f"{username}:{challenge.realm}:{password}")
    if challenge.algorithm.upper().endswith("-SESS"):
        secret = hashed(f"{secret}:{challenge.nonce}:{cnonce}")
    request = hashed(f"{method}:{uri}")
    if challenge.qop:
        middle = f"{challenge.nonce}:{count:08x}:{cnonce}:{challenge.qop}"
    else:
        middle = challenge.nonce
    return hashed(f"{secret}:{middle}:{request}")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Authenticator:
    """Credentials for one server. It may outlive a connection, so a new one need not ask first."""

    __slots__ = ("_challenge", "_cnonce", "_count", "_password", "_username")

    def __init__(self, username: str, password: str, cnonce: str) -> None:
        self._username = username
        self._password = password
        self._cnonce = cnonce
        self._challenge: Challenge | None = None
        self._count = 0  # requests answered with this nonce

    @property
    def has_credentials(self) -> bool:
        """Whether there is anything to answer a challenge with."""
        return bool(self._username or self._password)

    def accept(self, values: Iterable[str]) -> Challenge | None:
        """Take the strongest challenge; None if there is none that FLUX can answer."""
        known = [c for c in parse_challenges(values) if c.strength >= 0]
        if not known:
            return None
        self._challenge = max(known, key=lambda challenge: challenge.strength)
        self._count = 0
        return self._challenge

    def authorization(self, method: str, uri: str) -> str:
        """The Authorization header for a request line, empty before any challenge."""
        challenge = self._challenge
        if challenge is None or not self.has_credentials:
            return ""
        if challenge.scheme == "basic":
            token = f"{self._username}:{self._password}".encode()
            return "Basic " + base64.b64encode(token).decode()
        self._count += 1
        response = digest_response(
            challenge,
            self._username,
            self._password,
            method,
            uri,
            count=self._count,
            cnonce=self._cnonce,
        )
        username = self._username
        if challenge.has_userhash:  # RFC 7616 section 3.4.4
            digest = HASHES[hash_name(challenge.algorithm)]
            username = digest(f"{username}:{challenge.realm}".encode()).hexdigest()
        words = [
            f"username={_quoted(username)}",
            f"realm={_quoted(challenge.realm)}",
            f"nonce={_quoted(challenge.nonce)}",
            f"uri={_quoted(uri)}",
            f"response={_quoted(response)}",
        ]
        if challenge.algorithm:
            words.append(f"algorithm={challenge.algorithm}")
        if challenge.opaque is not None:
            words.append(f"opaque={_quoted(challenge.opaque)}")
        if challenge.qop:
            words.append(f"qop={challenge.qop}, nc={self._count:08x}")
        if challenge.qop or challenge.algorithm.upper().endswith("-SESS"):
            words.append(f"cnonce={_quoted(self._cnonce)}")
        if challenge.has_userhash:
            words.append("userhash=true")
        return "Digest " + ", ".join(words)
