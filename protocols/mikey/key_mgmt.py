"""How MIKEY travels in RTSP and SDP: RFC 4567 sections 3.1 and 4."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Self

from flux.base.errors import WireError
from protocols.mikey.message import MAX_BYTES, Message

PROTOCOL = "mikey"
MAX_SPECS = 64  # of one header; it may speak for all tracks
MAX_TEXT = 2 * MAX_BYTES

# `name=value` or `name="value"`, and what comes after it: the next of this spec, or the next spec
PARAMETER = re.compile(r'\s*+([A-Za-z]++)\s*+=\s*+(?:"([^"]*+)"\s*+|([^",;]*+))([,;]|$)')


@dataclass(frozen=True, slots=True)
class KeyManagement:
    """One specification of a KeyMgmt header: a message, and the URI it is for."""

    message: Message
    uri: str = ""

    def serialize(self) -> str:
        """As it stands in the header."""
        # GStreamer writes its parameters in this order and looks for them in this order.
        return f'prot={PROTOCOL};uri="{self.uri}";data="{encode(self.message)}"'

    @classmethod
    def parse_header(cls, value: str) -> tuple[Self, ...]:
        """Every MIKEY specification of a header, in its order; other protocols are passed over.

        Raises `WireError`: `key-mgmt-malformed`, `key-mgmt-too-long` and those of `Message.parse`.
        """
        if len(value) > MAX_SPECS * MAX_TEXT:
            raise WireError("key-mgmt-too-long", f"{len(value)} characters")
        return tuple(
            cls(decode(spec.get("data", "")), spec.get("uri", ""))
            for spec in _specs(value)
            if spec.get("prot", "").lower() == PROTOCOL
        )


def attribute_value(message: Message) -> str:
    """The value of `a=key-mgmt`."""
    return f"{PROTOCOL} {encode(message)}"


def parse_attribute(value: str) -> Message | None:
    """Read the value of `a=key-mgmt`; None where it is another protocol's.

    Raises `WireError`: `key-mgmt-malformed` and those of `Message.parse`.
    """
    protocol, _, text = value.strip().partition(" ")
    return decode(text) if protocol.lower() == PROTOCOL else None


def encode(message: Message) -> str:
    """A message in base64."""
    return base64.b64encode(message.serialize()).decode()


def decode(text: str) -> Message:
    """A message from base64."""
    plain = "".join(text.split())
    if len(plain) > MAX_TEXT:
        raise WireError("key-mgmt-too-long", f"{len(plain)} characters")
    try:
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError("key-mgmt-malformed", str(error)) from None
    return Message.parse(data)


def _specs(value: str) -> list[dict[str, str]]:
    """The parameters of each specification; names in lower case."""
    specs: list[dict[str, str]] = [{}]
    at = 0
    while at < len(value.rstrip()):
        found = PARAMETER.match(value, at)
        if found is None:
            raise WireError("key-mgmt-malformed", f"at character {at}")
        name, quoted, bare, following = found.groups()
        specs[-1].setdefault(name.lower(), quoted if quoted is not None else bare.strip())
        if following == ",":
            specs.append({})
            if len(specs) > MAX_SPECS:
                raise WireError("key-mgmt-too-long", "too many specifications")
        at = found.end()
    return [spec for spec in specs if spec]
