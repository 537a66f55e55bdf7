"""TLS in the configuration."""

import pytest
from pydantic import TypeAdapter, ValidationError

from config.tls import Fingerprint, TlsSection

DIGEST = bytes(range(0, 256, 8))
WRITTEN = DIGEST.hex(":").upper()


@pytest.mark.parametrize("text", [WRITTEN, DIGEST.hex(), f" {DIGEST.hex(':')} "])
def test_fingerprints(text: str) -> None:
    assert Fingerprint.parse(text).digest == DIGEST
    assert str(Fingerprint.parse(text)) == WRITTEN


@pytest.mark.parametrize("text", ["", "AB:CD", DIGEST.hex() + "0", "x" * 64, ":" * 64, "é" * 64])
def test_what_is_no_fingerprint(text: str) -> None:
    with pytest.raises(ValidationError, match="SHA-256"):
        TypeAdapter(Fingerprint).validate_python(text)


def test_files() -> None:
    assert not TlsSection().is_given
    assert TlsSection(certificate="/etc/flux/a.crt", key="/etc/flux/a.key").is_given
    for one in ({"certificate": "a.crt"}, {"key": "a.key"}):
        with pytest.raises(ValidationError, match="both certificate and key"):
            TlsSection.model_validate(one)
