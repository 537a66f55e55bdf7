"""A certificate that signs itself, for listeners whose operator gave none."""

import contextlib
import datetime
import ipaddress
import os
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flux.base.errors import ConfigError

CERTIFICATE = "tls-self-signed.crt"
KEY = "tls-self-signed.key"
LIFETIME = datetime.timedelta(days=3650)  # who pins a fingerprint wants it to stay
RENEW_BEFORE = datetime.timedelta(days=30)
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def self_signed(directory: Path, names: Sequence[str] = ()) -> tuple[Path, Path]:
    """Certificate and key in `directory`: those made before, while they last, or else new ones.

    `names` are host names and addresses that it is for, besides those of this machine. Raises
    `ConfigError` where the directory cannot be written.
    """
    certificate, key = directory / CERTIFICATE, directory / KEY
    if _lasts(certificate) and key.exists():
        return certificate, key
    key_pem, certificate_pem = make(names or (socket.gethostname(), *LOCAL_NAMES))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write(key, key_pem, 0o600)
        _write(certificate, certificate_pem, 0o644)
    except OSError as error:
        raise ConfigError("", f"{directory}: {error.strerror}") from None
    return certificate, key


def make(names: Sequence[str]) -> tuple[bytes, bytes]:
    """A new key and its certificate for these names and addresses, both in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(secrets.randbits(127) + 1)
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks of cameras are off
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return key_pem, certificate.public_bytes(serialization.Encoding.PEM)


def _alternative(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def _lasts(path: Path) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return False
    return certificate.not_valid_after_utc - RENEW_BEFORE > datetime.datetime.now(datetime.UTC)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replace a file as a whole; it has its mode before it has its content."""
    draft = path.with_suffix(path.suffix + ".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    draft.replace(path)
