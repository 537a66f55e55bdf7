"""TLS on both sides: certificates that change, fingerprints, names of failures."""

import asyncio
import hashlib
import os
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from flux.base.errors import ConfigError, PeerError
from flux.net import certificate, tcp
from flux.net.listener import listen_tcp
from flux.net.tls import ClientTls, ServerTls, peer_fingerprint, show_fingerprint

PASSWORD = b"DESCRIBE with credentials\r\n"


class Echo(asyncio.Protocol):
    """Sends back what comes, and keeps it."""

    def __init__(self, heard: list[bytes]) -> None:
        self._heard = heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._heard.append(data)
        self._transport.write(data)


class Caller(asyncio.Protocol):
    """Sends at once, and tells its first answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(PASSWORD)

    def data_received(self, data: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result(data)

    async def ask(self) -> bytes:
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(PASSWORD)
        return await self.answer


@asynccontextmanager
async def serving(tls: ServerTls | None) -> AsyncIterator[tuple[int, list[bytes]]]:
    heard: list[bytes] = []
    server = await listen_tcp(lambda: Echo(heard), "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()


async def call(port: int, tls: ClientTls, timeout: float = 5.0) -> Caller:
    return await tcp.connect("127.0.0.1", port, Caller, timeout=timeout, tls=tls)


async def answer(port: int, tls: ClientTls) -> bytes:
    """What a connection that ends at once was answered."""
    caller = await call(port, tls)
    heard = await caller.answer
    caller.transport.abort()
    return heard


async def reason_of(port: int, tls: ClientTls, timeout: float = 5.0) -> PeerError:
    with pytest.raises(PeerError) as caught:
        await call(port, tls, timeout)
    return caught.value


def write(folder: Path, names: tuple[str, ...] = ("127.0.0.1",)) -> tuple[Path, Path]:
    """A new certificate and key under the same names."""
    key_pem, certificate_pem = certificate.make(names)
    files = folder / "a.crt", folder / "a.key"
    for file, data in zip(files, (certificate_pem, key_pem), strict=True):
        draft = file.with_suffix(".new")
        draft.write_bytes(data)
        draft.replace(file)
    return files


def digest_of(file: Path) -> bytes:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read_text())).digest()


async def test_a_pinned_certificate(tmp_path: Path) -> None:
    files = write(tmp_path, ("somewhere.else",))
    tls = ServerTls(*files)
    assert tls.fingerprint == digest_of(files[0])
    async with serving(tls) as (port, heard):
        caller = await call(port, ClientTls(tls.fingerprint))
        assert await caller.answer == PASSWORD
        assert peer_fingerprint(caller.transport) == tls.fingerprint
        assert heard == [PASSWORD]
        caller.transport.abort()


async def test_another_certificate_than_the_pinned_one_hears_nothing(tmp_path: Path) -> None:
    tls = ServerTls(*write(tmp_path))
    made: list[Caller] = []

    def factory() -> Caller:
        made.append(Caller())
        return made[-1]

    async with serving(tls) as (port, heard):
        with pytest.raises(PeerError) as caught:
            pin = ClientTls(bytes(32))
            await tcp.connect("127.0.0.1", port, factory, timeout=5.0, tls=pin)
        assert caught.value.reason == "tls-fingerprint-mismatch"
        assert caught.value.detail == show_fingerprint(tls.fingerprint)
        assert await answer(port, ClientTls(tls.fingerprint)) == PASSWORD
        assert heard == [PASSWORD], "only the second one spoke"
    assert made == []


async def test_authorities(tmp_path: Path) -> None:
    files = write(tmp_path)
    async with serving(ServerTls(*files)) as (port, _):
        unknown = await reason_of(port, ClientTls())
        assert (unknown.reason, "self" in unknown.detail) == ("tls-certificate-invalid", True)
        known = ClientTls(authorities=str(files[0]))
        assert await answer(port, known) == PASSWORD
        renamed = ClientTls(authorities=str(files[0]), server_name="camera.example")
        assert (await reason_of(port, renamed)).reason == "tls-certificate-invalid"
        with pytest.raises(ConfigError, match=r"none\.pem"):
            await call(port, ClientTls(authorities=str(tmp_path / "none.pem")))


async def test_authorities_are_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Twenty cameras that are connected to at once, and then anew."""
    files = write(tmp_path)
    read = []
    make = ssl.create_default_context

    def counted(*, cafile: str) -> ssl.SSLContext:
        read.append((cafile, threading.current_thread()))
        return make(cafile=cafile)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    async with serving(ServerTls(*files)) as (port, _):
        known = ClientTls(authorities=str(files[0]))
        for _ in range(2):
            await asyncio.gather(*(answer(port, known) for _ in range(20)))
    assert [file for file, _ in read] == [str(files[0])]
    assert read[0][1] is not threading.main_thread(), "it takes 20 ms: not on the loop"


async def test_a_server_without_tls_and_one_that_is_silent(tmp_path: Path) -> None:
    async with serving(None) as (port, _):
        assert (await reason_of(port, ClientTls(bytes(32)))).reason == "tls-handshake-failed"
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await reason_of(port, ClientTls(bytes(32)), 0.05)
        assert (error.reason, error.detail) == ("tls-handshake-failed", "timeout")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_1])
async def test_versions(version: ssl.TLSVersion, tmp_path: Path) -> None:
    """1.2 is the oldest one that is spoken."""
    tls = ServerTls(*write(tmp_path))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = version
    loop = asyncio.get_running_loop()
    async with serving(tls) as (port, heard):
        connecting = loop.create_connection(Caller, "127.0.0.1", port, ssl=client)
        if version is ssl.TLSVersion.TLSv1_2:
            transport, caller = await connecting
            assert await caller.answer == PASSWORD
            transport.close()
        else:
            with pytest.raises(OSError):  # what it says depends on who closes first
                await connecting
            assert (heard, tls.context.minimum_version) == ([], ssl.TLSVersion.TLSv1_2)


@pytest.mark.parametrize("server_name", ["", "localhost"])
async def test_a_changed_certificate_is_taken_without_a_restart(
    server_name: str, tmp_path: Path
) -> None:
    """New connections see it, whether they name the server or not; old ones go on."""
    tls = ServerTls(*write(tmp_path))
    old = tls.fingerprint
    async with serving(tls) as (port, _):
        caller = await call(port, ClientTls(old, server_name=server_name))
        await caller.answer
        assert tls.reload() is False
        write(tmp_path)
        assert tls.reload() is True
        assert tls.fingerprint != old
        assert await answer(port, ClientTls(tls.fingerprint, server_name=server_name)) == PASSWORD
        refused = await reason_of(port, ClientTls(old, server_name=server_name))
        assert refused.reason == "tls-fingerprint-mismatch"
        assert await caller.ask() == PASSWORD
        caller.transport.abort()


async def test_files_that_are_broken_meanwhile_change_nothing(tmp_path: Path) -> None:
    files = write(tmp_path)
    tls = ServerTls(*files, "listeners.rtsps")
    good = files[1].read_bytes()
    files[1].unlink()
    with pytest.raises(ConfigError, match=r"a\.key: no such file"):
        tls.reload()
    assert tls.reload() is False, "each state is told once"
    files[1].write_bytes(certificate.make(["x"])[0])
    with pytest.raises(ConfigError, match="the key is not the certificate's"):
        tls.reload()
    async with serving(tls) as (port, _):
        assert await answer(port, ClientTls(tls.fingerprint)) == PASSWORD
    files[1].write_bytes(good + b"\n")
    assert tls.reload() is True


async def test_watch_tells_changes_and_faults(tmp_path: Path) -> None:
    files = write(tmp_path)
    tls = ServerTls(*files)
    told: asyncio.Queue[ConfigError | None] = asyncio.Queue()
    watching = asyncio.create_task(tls.watch(told.put_nowait, 0.001))
    write(tmp_path)
    # Both files are replaced one after the other: a mismatch may be seen in between.
    while (first := await told.get()) is not None:
        assert "not the certificate's" in first.reason
    assert tls.fingerprint == digest_of(files[0])
    files[0].write_text("broken")
    error = await told.get()
    assert error is not None
    assert "no certificate and key in PEM" in error.reason
    watching.cancel()
    await asyncio.wait([watching])


@pytest.mark.parametrize(
    "scenario",
    [
        test_a_pinned_certificate,
        test_another_certificate_than_the_pinned_one_hears_nothing,
        test_authorities,
        test_a_server_without_tls_and_one_that_is_silent,
        test_files_that_are_broken_meanwhile_change_nothing,
    ],
)
def test_under_uvloop(
    scenario: Callable[[Path], Coroutine[None, None, None]], tmp_path: Path
) -> None:
    uvloop = pytest.importorskip("uvloop")
    uvloop.run(scenario(tmp_path))


def _broken(change: Callable[[Path, Path], object]) -> Callable[[Path, Path], object]:
    """Gives the lambdas below their types."""
    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_broken(lambda crt, key: crt.unlink()), "a.crt: no such file"),
        (_broken(lambda crt, key: key.unlink()), "a.key: no such file"),
        (_broken(lambda crt, key: crt.write_text("hello")), "no certificate and key in PEM"),
        (_broken(lambda crt, key: key.write_bytes(b"\xff\0")), "no certificate and key in PEM"),
        (_broken(lambda crt, key: key.write_bytes(b"")), "no certificate and key in PEM"),
    ],
)
def test_files_that_cannot_be_used(
    change: Callable[[Path, Path], object], words: str, tmp_path: Path
) -> None:
    files = write(tmp_path)
    change(*files)
    with pytest.raises(ConfigError) as caught:
        ServerTls(*files, "listeners.rtsps")
    assert caught.value.path == "listeners.rtsps"
    assert words in caught.value.reason


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def test_a_key_with_a_password(tmp_path: Path) -> None:
    files = write(tmp_path)
    locked = tmp_path / "locked.key"
    openssl("pkey", "-in", str(files[1]), "-aes128", "-passout", "pass:x1234", "-out", str(locked))
    with pytest.raises(ConfigError, match="password"):
        ServerTls(files[0], locked)


async def test_an_old_camera_with_a_short_key_can_be_pinned(tmp_path: Path) -> None:
    """RSA with 1024 bits, signed with SHA-1, expired: what it is says the fingerprint alone."""
    crt, key = tmp_path / "old.crt", tmp_path / "old.key"
    openssl(
        *("req", "-x509", "-newkey", "rsa:1024", "-nodes", "-sha1", "-days", "1"),
        *("-subj", "/CN=camera", "-keyout", str(key), "-out", str(crt)),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(crt, key)
    heard: list[bytes] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Echo(heard), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        caller = await call(port, ClientTls(digest_of(crt)))
        assert await caller.answer == PASSWORD
        caller.transport.abort()


def test_a_certificate_is_made_once(tmp_path: Path) -> None:
    state = tmp_path / "state"
    files = certificate.self_signed(state)
    before = [file.read_bytes() for file in files]
    assert certificate.self_signed(state) == files
    assert [file.read_bytes() for file in files] == before
    assert os.stat(files[1]).st_mode & 0o777 == 0o600
    assert ServerTls(*files).fingerprint == digest_of(files[0])
    files[0].write_text("broken")
    certificate.self_signed(state)
    assert files[0].read_bytes() not in (b"broken", before[0])
    ServerTls(*files)


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ConfigError, match="state"):
        certificate.self_signed(tmp_path / "state")


def test_the_made_certificate_is_for_the_names_given(tmp_path: Path) -> None:
    files = write(tmp_path, ("cameras.example", "192.0.2.7", "2001:db8::1"))
    text = subprocess.run(
        ["openssl", "x509", "-in", str(files[0]), "-noout", "-text"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "DNS:cameras.example, IP Address:192.0.2.7, IP Address:2001:DB8" in text
