"""Who may do what, as the configuration says it (docs/access.md)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from config.hooks import HttpUrl
from config.patterns import ALL, StreamPattern
from config.quantities import DurationIn
from config.section import Section
from config.text_value import TextValue

Action = Literal["publish", "read", "playback", "api", "metrics"]
Network = IPv4Network | IPv6Network

ANYONE = "any"  # the name that needs no credentials
MAX_USER = 200  # characters, of a name
MAX_PASSWORD = 1000  # characters
PHC = "$argon2"  # a password that begins like this is hashed
MAX_MEMORY_KIB = 1 << 20  # of one check of a password
MAX_PASSES = 50
MAX_LANES = 64

_ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=(\d{1,8}),t=(\d{1,4}),p=(\d{1,4})"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{16,172}"
)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class AddressRange(TextValue):
    """An IP address, or a network such as `192.168.0.0/16`."""

    expected = "expected an IP address or a range such as 192.168.0.0/16 or fd00::/8"
    json_schema: ClassVar[dict[str, Any]] = {"examples": ["192.168.1.20", "10.0.0.0/8", "fd00::/8"]}

    network: Network

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address or a range; `ValueError` if it is none."""
        try:
            return cls(ip_network(text))
        except ValueError:
            raise ValueError(cls.expected) from None

    def __str__(self) -> str:
        single = self.network.prefixlen == self.network.max_prefixlen
        return str(self.network.network_address if single else self.network)


def _as_list(value: object) -> object:
    """`x` is `[x]`; a list whose entries are all commented out is null in YAML."""
    if value is None:
        return ()
    if isinstance(value, str | StreamPattern | AddressRange):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list")
    return tuple(value)


def _as_sections(value: object) -> object:
    """A list of sections; what else stands there may be a password and is not shown."""
    found = _as_list(value)
    if not isinstance(found, tuple) or not all(isinstance(e, dict | Section) for e in found):
        raise ValueError("expected a list of sections of keys")
    return found


def check_fingerprint(text: str) -> str:
    """64 hexadecimal digits in lower case, without colons; raises `ValueError`."""
    found = text.replace(":", "").lower()
    if found and _FINGERPRINT.fullmatch(found) is None:
        raise ValueError("expected the SHA-256 of a certificate: 64 hexadecimal digits")
    return found


Actions = Annotated[Sequence[Action], BeforeValidator(_as_list)]
Patterns = Annotated[Sequence[StreamPattern], BeforeValidator(_as_list)]
Addresses = Annotated[Sequence[AddressRange], BeforeValidator(_as_list)]


class PermissionSection(Section):
    """Actions, and the streams that they are allowed on."""

    action: Actions
    """What is allowed: publish, read, playback, api, metrics; one or a list."""
    streams: Patterns = (StreamPattern.parse(ALL),)
    """The streams that are meant: a name, `live/*`, `~regex`, `all`. API and metrics have none."""

    @model_validator(mode="after")
    def _check_lists(self) -> Self:
        if not self.action or not self.streams:
            raise ValueError("expected at least one action and one stream pattern")
        return self


class UserSection(Section):
    """Somebody, or with the name `any` everybody."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_USER)]
    """Its name; `any` is everybody, with or without credentials."""
    password: SecretStr = SecretStr("")
    """The password as it is, or what `flux hash-password` makes of it."""
    addresses: Addresses = ()
    """IP addresses and ranges that it may come from; none named: from everywhere."""
    permissions: Annotated[Sequence[PermissionSection], BeforeValidator(_as_sections)]
    """What it may do."""

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if ":" in value or not value.isprintable():
            raise ValueError("expected a name without colons that can be printed")
        return value

    @field_validator("password")
    @classmethod
    def _check_password(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().removeprefix("argon2:")
        if text.startswith(PHC):
            check_hash(text)
            return SecretStr(text)
        if value.get_secret_value().startswith(("argon2:", "sha256:")):
            raise ValueError("expected the password itself or what flux hash-password prints")
        if len(text) > MAX_PASSWORD:
            raise ValueError(f"expected a password of at most {MAX_PASSWORD} characters")
        return value

    @model_validator(mode="after")
    def _check_both(self) -> Self:
        has_password = bool(self.password.get_secret_value())
        if self.name == ANYONE and has_password:
            raise ValueError(f"expected no password for the user {ANYONE}")
        if self.name != ANYONE and not has_password:
            raise ValueError(f"expected a password; who needs none is called {ANYONE}")
        return self


def check_hash(text: str) -> None:
    """Whether `text` is an argon2id hash whose check costs no more than is sane; `ValueError`."""
    match = _ARGON2ID.fullmatch(text)
    if match is None:
        raise ValueError("expected an argon2id hash such as flux hash-password prints")
    memory, passes, lanes = map(int, match.groups())
    if not (8 * lanes <= memory <= MAX_MEMORY_KIB and 1 <= passes <= MAX_PASSES):
        raise ValueError("expected a hash of at most 1 GiB of memory and 50 passes")
    if not 1 <= lanes <= MAX_LANES:
        raise ValueError("expected a hash of at most 64 lanes")


class CallbackSection(Section):
    """A service that decides; it is asked as MediaMTX asks its `authHTTPAddress`."""

    url: HttpUrl | None = None
    """The service: `http://` or `https://`; without it nobody is asked."""
    fingerprint: Annotated[str, AfterValidator(check_fingerprint)] = ""
    """SHA-256 of its certificate; it is then checked instead of name and issuer."""
    timeout: Annotated[float, DurationIn("50ms", "30s")] = 3.0
    """How long it may take to answer; after that the answer is no."""
    exclude: Actions = ("api", "metrics")
    """Actions that it is not asked for: the users alone decide there."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 64
    """Questions at a time; more wait, within their timeout."""


class PenaltiesSection(Section):
    """What happens to those who try wrong credentials."""

    delay: Annotated[float, DurationIn("0", "10s")] = 1.5
    """How long after its question somebody is told that its credentials are wrong."""
    failures: Annotated[int, Field(ge=0, le=100_000)] = 20
    """Failures within `window` after which an address is banned; 0 bans nobody."""
    window: Annotated[float, DurationIn("1s", "1d")] = 300.0
    """How long failures are remembered."""
    ban: Annotated[float, DurationIn("1s", "30d")] = 600.0
    """How long a banned address is refused."""
    exempt: Addresses = (AddressRange.parse("127.0.0.0/8"), AddressRange.parse("::1"))
    """Addresses that are never banned, such as a proxy's."""
    addresses: Annotated[int, Field(ge=100, le=1_000_000)] = 20_000
    """Addresses that are remembered; over this the oldest is forgotten."""


class AccessSection(Section):
    """Who may do what."""

    users: Annotated[Sequence[UserSection], BeforeValidator(_as_sections)] = ()
    """Users; without any, everybody may publish and read every stream."""
    free_on_localhost: bool = True
    """An API that listens on localhost only asks for no credentials."""
    callback: CallbackSection = CallbackSection()
    """A service that decides where the users do not."""
    penalties: PenaltiesSection = PenaltiesSection()
    """What happens to those who try wrong credentials."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [user.name for user in self.users if user.name != ANYONE]
        if len(names) != len(set(names)):
            raise ValueError(f"expected each user once; only {ANYONE} may stand several times")
        return self

    @property
    def is_open(self) -> bool:
        """Whether everybody may publish and read every stream."""
        return not self.users and self.callback.url is None
