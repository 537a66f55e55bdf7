"""TLS as the configuration says it (docs/tls.md)."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import model_validator

from config.section import Section
from config.text_value import TextValue

_DIGITS = re.compile(r"[0-9A-Fa-f]{64}")


@dataclass(frozen=True, slots=True)
class Fingerprint(TextValue):
    """SHA-256 of a certificate; `str()` writes it as openssl does."""

    expected = "expected the SHA-256 of a certificate: 64 hexadecimal digits, colons allowed"
    json_schema: ClassVar[dict[str, Any]] = {"pattern": "^(?:[0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$"}

    digest: bytes  # 32

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 64 digits with or without colons, in any case; `ValueError` if it is none."""
        digits = text.strip().replace(":", "")
        if len(text) > 128 or _DIGITS.fullmatch(digits) is None:
            raise ValueError(cls.expected)
        return cls(bytes.fromhex(digits))

    def __str__(self) -> str:
        return self.digest.hex(":").upper()


class TlsSection(Section):
    """Certificate and key of a listener; both are read again when the files change."""

    certificate: str = ""
    """File with the certificate and those that lead from it to its authority, in PEM."""
    key: str = ""
    """File with the private key, in PEM, without a password."""

    @model_validator(mode="after")
    def _check_both(self) -> Self:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("expected both certificate and key, or neither")
        return self

    @property
    def is_given(self) -> bool:
        """Whether the operator has a certificate; if not, one is made."""
        return bool(self.certificate)
