"""TLS: what listeners and outgoing connections need of it, with names for what goes wrong.

A server's certificate is read again when its files change; connections that are open keep what they
have. A client believes in the system's (or given) authorities, or in one certificate alone whose
SHA-256 fingerprint it was told: cameras sign their own.
"""

import asyncio
import hashlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from flux.base.errors import ConfigError, PeerError

RELOAD_INTERVAL = 5.0  # seconds between looks at the files

_making = Lock()

Signature = tuple[tuple[int, int, int], ...]  # what tells one state of the files from another


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How a server is recognised. With a fingerprint names, dates and authorities do not matter."""

    fingerprint: bytes = b""  # SHA-256 of the server's certificate in DER
    authorities: str = ""  # file of certificates in PEM; "": those of the system
    server_name: str = ""  # "": the host that is connected to

    def check(self, transport: asyncio.BaseTransport) -> None:
        """After the handshake: raise `PeerError` `tls-fingerprint-mismatch` for another server."""
        if self.fingerprint:
            seen = peer_fingerprint(transport)
            if seen != self.fingerprint:
                raise PeerError("tls-fingerprint-mismatch", detail=show_fingerprint(seen))


def context_of(tls: ClientTls) -> ssl.SSLContext:
    """The context for it, made once, however many threads ask at the same time.

    Raises `ConfigError` where the authorities cannot be read.
    """
    with _making:
        return _context_of(tls)


@lru_cache(maxsize=16)
def _context_of(tls: ClientTls) -> ssl.SSLContext:
    if not tls.fingerprint:
        try:
            return _at_least_1_2(ssl.create_default_context(cafile=tls.authorities or None))
        except OSError as error:
            raise ConfigError("", f"{tls.authorities}: {_words(error)}") from None
    context = _at_least_1_2(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Old cameras have RSA keys of 1024 bits; which one it is says the fingerprint.
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    return context


def peer_fingerprint(transport: asyncio.BaseTransport) -> bytes:
    """SHA-256 of the certificate that the other side of a TLS connection showed."""
    certificate: bytes | None = transport.get_extra_info("ssl_object").getpeercert(True)
    return hashlib.sha256(certificate or b"").digest()


def show_fingerprint(digest: bytes) -> str:
    """As openssl writes it: `AB:CD:...`."""
    return digest.hex(":").upper()


def fault(error: OSError) -> PeerError:
    """What a failed handshake is called: `tls-certificate-invalid` or `tls-handshake-failed`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return PeerError("tls-certificate-invalid", detail=error.verify_message)
    return PeerError("tls-handshake-failed", detail=_words(error))


class ServerTls:
    """Certificate and key of a listener. `context` is given to the listener and stays the same.

    Raises `ConfigError` with `path` (where the configuration names the files) for files that
    cannot be used.
    """

    def __init__(self, certificate: Path, key: Path, path: str = "") -> None:
        self._certificate = certificate
        self._key = key
        self._path = path
        self._signature = self._look()
        self._current, self.fingerprint = self._load()
        self.context = _server_context()
        # A handshake asks here first, whether the client names a server or not.
        self.context.sni_callback = self._choose

    def reload(self) -> bool:
        """Read the files again if they changed; whether they did.

        Raises `ConfigError` once for each state of the files that cannot be used; what was there
        before goes on.
        """
        signature = self._look()
        if signature == self._signature:
            return False
        self._signature = signature
        self._current, self.fingerprint = self._load()
        return True

    async def watch(
        self, on_change: Callable[[ConfigError | None], None], interval: float = RELOAD_INTERVAL
    ) -> None:
        """Look at the files until cancelled; tell each change, and each that cannot be used."""
        while True:
            await asyncio.sleep(interval)
            try:
                is_new = await asyncio.to_thread(self.reload)
            except ConfigError as error:
                on_change(error)
            else:
                if is_new:
                    on_change(None)

    def _choose(
        self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: Any
    ) -> None:
        connection.context = self._current

    def _look(self) -> Signature:
        found = []
        for file in (self._certificate, self._key):
            try:
                state = file.stat()
            except OSError:
                found.append((0, 0, 0))  # loading says it better
            else:
                found.append((state.st_mtime_ns, state.st_size, state.st_ino))
        return tuple(found)

    def _load(self) -> tuple[ssl.SSLContext, bytes]:
        """A context with the files' content, and the certificate's fingerprint."""
        context = _server_context()
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
            return context, _fingerprint_of(self._certificate.read_text("ascii", "replace"))
        except ssl.SSLError as error:
            raise ConfigError(self._path, self._explain(error)) from None
        except (OSError, ValueError) as error:
            raise ConfigError(self._path, self._name(error)) from None

    def _name(self, error: OSError | ValueError) -> str:
        """OpenSSL does not say which file it could not open."""
        for file in (self._certificate, self._key):
            if not file.is_file():
                return f"{file}: no such file"
        return f"{self._certificate} and {self._key}: {_words(error)}"

    def _explain(self, error: ssl.SSLError) -> str:
        files = f"{self._certificate} and {self._key}"
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"{files}: the key is not the certificate's"
        return f"{files}: no certificate and key in PEM ({_words(error)})"


def _fingerprint_of(text: str) -> bytes:
    """SHA-256 of the first certificate of a text in PEM: what clients can pin."""
    start = text.find(ssl.PEM_HEADER)
    end = text.find(ssl.PEM_FOOTER, start) + len(ssl.PEM_FOOTER)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text[start:end])).digest()


def _server_context() -> ssl.SSLContext:
    return _at_least_1_2(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def _at_least_1_2(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_password() -> str:
    """Asked for a key that is encrypted; OpenSSL would ask the terminal."""
    raise ValueError("the key is encrypted with a password")


def _words(error: OSError | ValueError) -> str:
    """The error in few words, with the file where there is one."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error.args[-1]).replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__
