"""Passwords: how they are compared, hashed, and checked against hashes without holding the loop.

A check of an argon2id hash takes some 50 ms and 64 MiB, by intention. It is done by few threads; a
bounded number waits, of one address only some, so that whoever tries passwords keeps nobody else
out for long. Equal questions at a time are one check, and a password that was right is remembered
for a minute, as a keyed hash that is worth nothing outside this process.
"""

import asyncio
import hmac
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from typing import TypeAlias

WORKERS = 2
MAX_WAITING = 64  # checks, those under way included
MAX_OF_ADDRESS = 8  # of these, from one address
MAX_JOINED = 4096  # who wait for a check that others began
MAX_REMEMBERED = 4096
LIFETIME = 60.0  # seconds that a right password is remembered

Checked: TypeAlias = Callable[[bool | None], None]  # None: it could not be checked

log = logging.getLogger(__name__)


def as_bytes(text: str) -> bytes:
    """What is hashed and compared; undecodable bytes of a peer are no reason to fail."""
    return text.encode("utf-8", "surrogatepass")


def is_same(given: str, password: str) -> bool:
    """Whether a given password is this one, in a time that tells nothing of where it differs."""
    return hmac.compare_digest(as_bytes(given), as_bytes(password))


def hash_password(password: str) -> str:
    """The argon2id hash of a password, in PHC form, with the library's present costs. Slow."""
    from argon2 import PasswordHasher

    return PasswordHasher().hash(as_bytes(password))


def verify_hash(encoded: str, password: bytes) -> bool:
    """Whether a password has this hash. Slow; releases the interpreter's lock meanwhile."""
    from argon2.exceptions import VerifyMismatchError
    from argon2.low_level import Type, verify_secret

    try:
        return verify_secret(encoded.encode(), password, Type.ID)
    except VerifyMismatchError:
        return False


class PasswordChecker:
    """Checks passwords against hashes in threads of its own."""

    def __init__(
        self,
        now: Callable[[], float],
        verify: Callable[[str, bytes], bool] = verify_hash,
        *,
        waiting: int = MAX_WAITING,
        of_address: int = MAX_OF_ADDRESS,
    ) -> None:
        self._now = now
        self._verify = verify
        self._waiting = waiting
        self._of_address = of_address
        self._pool: ThreadPoolExecutor | None = None  # made for the first check
        self._key = secrets.token_bytes(32)
        self._remembered: dict[bytes, float] = {}  # until when; the oldest first
        self._runs: dict[bytes, list[Checked]] = {}
        self._by_address: Counter[str] = Counter()
        self._joined = 0
        self._is_closed = False
        self.runs = 0  # checks that were done

    @property
    def waiting(self) -> int:
        """Checks that are not done yet."""
        return len(self._runs)

    def check(self, encoded: str, password: str, address: str, done: Checked) -> None:
        """Ask whether `password` has the hash `encoded`; `done` is called once, maybe at once."""
        key = self._key_of(encoded, password)
        joined = self._runs.get(key)
        if self._remembered.get(key, 0.0) > self._now():
            done(True)
        elif self._is_closed:
            done(None)
        elif joined is not None:
            if self._joined >= MAX_JOINED:
                done(None)
            else:
                self._joined += 1
                joined.append(done)
        elif len(self._runs) >= self._waiting or self._by_address[address] >= self._of_address:
            done(None)
        else:
            self._runs[key] = [done]
            self._by_address[address] += 1
            self._begin(key, encoded, password, address)

    def close(self) -> None:
        """Check no more; who waits is told None."""
        self._is_closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        for key in tuple(self._runs):
            self._tell(key, None)

    def _begin(self, key: bytes, encoded: str, password: str, address: str) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="password")
        self.runs += 1
        future = asyncio.get_running_loop().run_in_executor(
            self._pool, self._verify, encoded, as_bytes(password)
        )
        future.add_done_callback(partial(self._ended, key, address))

    def _ended(self, key: bytes, address: str, future: "asyncio.Future[bool]") -> None:
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        if future.cancelled():
            self._tell(key, None)
        elif (error := future.exception()) is not None:
            log.error("a password could not be checked: %s", type(error).__name__)
            self._tell(key, None)
        else:
            if future.result():
                self._remember(key)
            self._tell(key, future.result())

    def _tell(self, key: bytes, verdict: bool | None) -> None:
        waiting = self._runs.pop(key, [])
        self._joined -= max(0, len(waiting) - 1)
        for done in waiting:
            done(verdict)

    def _remember(self, key: bytes) -> None:
        self._remembered.pop(key, None)
        while len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[key] = self._now() + LIFETIME

    def _key_of(self, encoded: str, password: str) -> bytes:
        text = as_bytes(password)
        digest = blake2b(b"%d." % len(text), key=self._key, digest_size=32)
        digest.update(text)
        digest.update(encoded.encode())
        return digest.digest()
