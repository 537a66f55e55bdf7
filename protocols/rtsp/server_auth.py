"""Basic and Digest authentication, server side: RFC 7617, RFC 7616 and RFC 2617.

A nonce belongs to one connection, so an Authorization header that somebody overheard is worth
nothing on another. What came with a nonce that is unknown or too old counts as no credentials, and
the challenge that follows says `stale=true`: clients then answer without asking their user, and
nobody takes it for a wrong password.
"""

import base64
import binascii
import hmac
import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from protocols.rtsp.auth import HASHES, PARAMETER, Challenge, digest_response, hash_name
from protocols.rtsp.message import Request
from protocols.rtsp.server_options import BASIC, ServerOptions

BEARER = "bearer"
KEPT_NONCES = 4
MAX_VALUE_CHARACTERS = 4096

NONCE_COUNT = re.compile(r"[0-9a-fA-F]{1,8}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an Authorization header proves. `scheme` is "basic", "digest" or "bearer"."""

    scheme: str
    user: str
    password: str = field(default="", repr=False)  # of Basic; the token of Bearer
    challenge: Challenge | None = field(default=None, repr=False)  # what Digest answered
    method: str = ""
    uri: str = ""  # as the client gave it: proxies and cameras let it differ from the request line
    response: str = field(default="", repr=False)
    count: int = 1
    cnonce: str = ""

    def matches(self, password: str) -> bool:
        """Whether the client knows this plain password. Takes the same time for each wrong one."""
        if self.challenge is None:
            return hmac.compare_digest(self.password.encode(), password.encode())
        expected = digest_response(
            self.challenge,
            self.user,
            password,
            self.method,
            self.uri,
            count=self.count,
            cnonce=self.cnonce,
        )
        return hmac.compare_digest(expected.encode(), self.response.encode())


@dataclass(slots=True)
class Nonce:
    """One nonce that was given out."""

    value: str
    expires_at: float
    count: int = 0  # the highest that came with it


class AuthDesk:
    """Reads the credentials of one connection's requests and makes the challenges."""

    __slots__ = ("_is_stale", "_nonces", "_options", "_token")

    def __init__(self, options: ServerOptions, token: Callable[[], str]) -> None:
        self._options = options
        self._token = token
        self._nonces: deque[Nonce] = deque(maxlen=KEPT_NONCES)
        self._is_stale = False  # what was read last came with a nonce that does not hold

    def read(self, request: Request, now: float) -> Credentials | None:
        """The credentials of a request; None if there are none that can be looked at."""
        self._is_stale = False
        for value in request.headers.get_all("Authorization"):
            scheme, _, rest = value.strip().partition(" ")
            if len(value) > MAX_VALUE_CHARACTERS:
                continue
            if scheme.lower() == "basic":
                found = _basic(rest.strip())
            elif scheme.lower() == "digest":
                found = self._digest(rest, request.method, now)
            elif scheme.lower() == "bearer" and rest.strip():
                found = Credentials(BEARER, "", rest.strip())
            else:
                found = None
            if found is not None:
                return found
        return None

    def challenges(self, schemes: Iterable[str], now: float) -> list[str]:
        """The values of the WWW-Authenticate headers; with no schemes given, the options' ones."""
        wanted = tuple(schemes) or self._options.schemes
        realm = self._options.realm.replace("\\", "\\\\").replace('"', '\\"')
        nonce = ""
        values: list[str] = []
        for scheme in wanted:
            if scheme == BASIC:
                values.append(f'Basic realm="{realm}"')
                continue
            nonce = nonce or self._current_nonce(now)
            # Realm and nonce come first: the live555 line reads nothing else, and not elsewhere.
            value = f'Digest realm="{realm}", nonce="{nonce}", algorithm={scheme}'
            if self._options.has_qop:
                value += ', qop="auth"'
            values.append(value + (", stale=true" if self._is_stale else ""))
        return values

    def _current_nonce(self, now: float) -> str:
        if self._is_stale or not self._nonces or now >= self._nonces[-1].expires_at:
            self._nonces.append(Nonce(self._token(), now + self._options.nonce_lifetime))
        return self._nonces[-1].value

    def _digest(self, text: str, method: str, now: float) -> Credentials | None:
        fields: dict[str, str] = {}
        position = 0
        while match := PARAMETER.match(text, position):
            plain = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
            fields.setdefault(match[1].lower(), plain)
            position = match.end()
        algorithm, qop = fields.get("algorithm", ""), fields.get("qop", "").lower()
        name = hash_name(algorithm)
        # quirk: clients of the live555 line answer any challenge with MD5 and name no algorithm
        # (RFC 7616 section 3.3 has one challenge for each); the nonce is the same in all of them.
        if name not in HASHES or name not in self._options.schemes or qop not in ("", "auth"):
            return None
        if not fields.get("username") or not fields.get("response"):
            return None
        count_text = fields.get("nc", "")
        if qop and not NONCE_COUNT.fullmatch(count_text):
            return None
        count = int(count_text, 16) if qop else 1
        nonce = next((n for n in self._nonces if n.value == fields.get("nonce", "")), None)
        if nonce is None or now >= nonce.expires_at or fields.get("realm") != self._options.realm:
            self._is_stale = True
            return None
        # quirk: many cameras and recorders never count and send nc=00000001 for ever, RFC 7616
        # section 3.4 wants it to grow; only a count that steps back is taken for a repetition.
        if qop and count < nonce.count:
            self._is_stale = True
            return None
        nonce.count = max(nonce.count, count) if qop else nonce.count
        return Credentials(
            "digest",
            fields["username"],
            challenge=Challenge(
                "digest",
                realm=self._options.realm,
                nonce=nonce.value,
                algorithm=algorithm,
                qop=qop,
            ),
            method=method,
            uri=fields.get("uri", ""),
            response=fields["response"].lower(),
            count=count,
            cnonce=fields.get("cnonce", ""),
        )


def _basic(token: str) -> Credentials | None:
    try:
        decoded = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        return None
    try:
        text = decoded.decode()
    except UnicodeDecodeError:
        text = decoded.decode("latin-1")
    user, colon, password = text.partition(":")
    return Credentials(BASIC, user, password) if colon else None
