"""SRT in the configuration: the listener, how sessions are served, secrets of single streams."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, WithJsonSchema

from config.addresses import ListenAddress
from config.quantities import DurationIn, SizeIn
from config.section import Section
from config.srt_url import MAX_PASSPHRASE_BYTES, MIN_PASSPHRASE_BYTES

MAX_LATENCY = "65s"


def check_passphrase(secret: SecretStr) -> SecretStr:
    """`secret` itself if it can be a passphrase, or empty; raises `ValueError`."""
    size = len(secret.get_secret_value().encode())
    if size and not MIN_PASSPHRASE_BYTES <= size <= MAX_PASSPHRASE_BYTES:
        raise ValueError("expected a passphrase of 10 to 80 bytes, or nothing")
    return secret


# What documents say; bytes beyond ASCII are taken, too.
_SCHEMA: dict[str, Any] = {
    "type": "string",
    "format": "password",
    "writeOnly": True,
    "pattern": "^([ -~]{10,80})?$",
}
Passphrase = Annotated[SecretStr, AfterValidator(check_passphrase), WithJsonSchema(_SCHEMA)]


class SrtListener(Section):
    """The SRT listener: publishers and readers, all on one UDP port."""

    enabled: bool = True
    """Serve SRT."""
    address: ListenAddress = ListenAddress("", 8890)
    """Where it binds (UDP); an empty host is every address, IPv4 and IPv6."""


class SrtSection(Section):
    """How SRT sessions are served."""

    latency: Annotated[float, DurationIn("0", MAX_LATENCY)] = 0.12
    """How late packets of a publisher are played out, so that lost ones can come again."""
    read_latency: Annotated[float, DurationIn("0", MAX_LATENCY)] = 0.0
    """The least latency of readers, who ask for theirs; 0: what they ask for."""
    publish_passphrase: Passphrase = SecretStr("")
    """Publishers must encrypt with it; empty: they must not encrypt."""
    read_passphrase: Passphrase = SecretStr("")
    """Readers get the stream encrypted with it; empty: in the clear."""
    key_length: Literal[16, 24, 32] = 16
    """Bytes of the key for who does not choose one: 16, 24 or 32."""
    start: Literal["gop", "key", "live"] = "gop"
    """Where a reader begins: cache, next key frame, live edge."""
    idle_timeout: Annotated[float, DurationIn("500ms", "10m")] = 5.0
    """A peer that sends nothing at all for so long is gone."""
    max_sessions: Annotated[int, Field(ge=1, le=100_000)] = 4096
    """Connections at a time."""
    receive_buffer: Annotated[int, SizeIn("64K", "256M")] = 4 << 20
    """Kernel buffer asked for the port; FLUX warns where the kernel gives less."""


class SrtStreamSection(Section):
    """What SRT asks for at one stream, in place of the server's own."""

    publish_passphrase: Passphrase | None = None
    """Publishers must encrypt with it; empty: they must not; null: as the server has it."""
    read_passphrase: Passphrase | None = None
    """Readers must know it; empty: in the clear; null: as the server has it."""
    congestion: Literal["live", "aimd"] = "live"
    """How readers are sent to: `live` as the stream comes, `aimd` as fast as the line bears it."""
