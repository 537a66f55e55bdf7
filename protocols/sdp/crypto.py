"""The `a=crypto` attribute: keys of SRTP in the description itself, RFC 4568."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Self

from flux.base.errors import WireError

MAX_TEXT = 4096
MAX_KEYS = 16
MAX_MKI_BYTES = 128
INLINE = "inline:"

LIFETIME = re.compile(r"2\^\d{1,2}|\d{1,16}")
MKI = re.compile(r"(\d{1,39}):(\d{1,3})")


@dataclass(frozen=True, slots=True)
class InlineKey:
    """One key of an attribute, section 6.1."""

    data: bytes = field(repr=False)  # master key and master salt
    lifetime: str = ""  # in packets, as written: a number or `2^n`
    mki: bytes = b""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `inline:BASE64[|lifetime][|MKI:length]`."""
        if not text.lower().startswith(INLINE):
            raise WireError("sdp-bad-crypto", "no inline key")
        encoded, *rest = text[len(INLINE) :].split("|")
        try:
            data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise WireError("sdp-bad-crypto", "the key is no base64") from None
        lifetime, mki = "", b""
        for part in rest:
            found = MKI.fullmatch(part)
            if found is not None:
                mki = _mki(int(found[1]), int(found[2]))
            elif LIFETIME.fullmatch(part):
                lifetime = part
            elif part:
                raise WireError("sdp-bad-crypto", "neither lifetime nor MKI")
        return cls(data, lifetime, mki)

    def __str__(self) -> str:
        parts = [INLINE + base64.b64encode(self.data).decode()]
        if self.lifetime:
            parts.append(self.lifetime)
        if self.mki:
            parts.append(f"{int.from_bytes(self.mki, 'big')}:{len(self.mki)}")
        return "|".join(parts)


@dataclass(frozen=True, slots=True)
class CryptoAttribute:
    """One `a=crypto` line, section 4: a suite and its keys."""

    tag: int
    suite: str  # AES_CM_128_HMAC_SHA1_80, ...
    keys: tuple[InlineKey, ...]
    parameters: tuple[str, ...] = ()  # of the session, as written: KDR=..., UNENCRYPTED_SRTP, ...

    @classmethod
    def parse(cls, value: str) -> Self:
        """Read the attribute's value; raises `WireError` `sdp-bad-crypto`."""
        fields = value.split() if len(value) <= MAX_TEXT else []
        if len(fields) < 3 or not (fields[0].isascii() and fields[0].isdigit()):
            raise WireError("sdp-bad-crypto", "expected a tag, a suite and a key")
        texts = fields[2].split(";")
        if len(fields[0]) > 9 or len(texts) > MAX_KEYS:
            raise WireError("sdp-bad-crypto", "too many keys")
        keys = tuple(InlineKey.parse(text) for text in texts if text)
        if not keys:
            raise WireError("sdp-bad-crypto", "no key")
        return cls(int(fields[0]), fields[1], keys, tuple(fields[3:]))

    def __str__(self) -> str:
        """The attribute's value."""
        keys = ";".join(map(str, self.keys))
        return " ".join((str(self.tag), self.suite, keys, *self.parameters))


def _mki(value: int, size: int) -> bytes:
    if not 0 < size <= MAX_MKI_BYTES or value.bit_length() > 8 * size:
        raise WireError("sdp-bad-crypto", "MKI out of its size")
    return value.to_bytes(size, "big")
