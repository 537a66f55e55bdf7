"""Keys from passphrases, outside of the event loop: PBKDF2 takes milliseconds, draft 6.1.4."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from protocols.srt.cipher import derive_key

MAX_CACHED = 1024  # keys
MAX_WAITING = 512  # questions; more than that is an attack, and its peers run into their timeouts

Question = tuple[bytes, bytes, int]  # passphrase, salt, bytes of the key
Answer = Callable[[bytes], None]


class KeyDeriver:
    """Derives keys in a thread, one after the other, and remembers them.

    Public counters: `derived`, `refused` (too many were waiting).
    """

    def __init__(self) -> None:
        self._keys: OrderedDict[Question, bytes] = OrderedDict()
        self._waiting: dict[Question, list[Answer]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._is_open = True
        self.derived = 0
        self.refused = 0

    def ask(self, passphrase: bytes, salt: bytes, key_bytes: int, answer: Answer) -> None:
        """Call `answer(key)`: at once where the key is known, else from the loop later."""
        if not self._is_open:
            return
        question = (passphrase, salt, key_bytes)
        key = self._keys.get(question)
        if key is not None:
            self._keys.move_to_end(question)
            answer(key)
            return
        others = self._waiting.get(question)
        if others is not None:
            others.append(answer)
            return
        if len(self._waiting) >= MAX_WAITING:
            self.refused += 1
            return
        self._waiting[question] = [answer]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "srt-keys")
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, derive_key, passphrase, salt, key_bytes)
        future.add_done_callback(lambda done: self._answer(question, done))

    def close(self) -> None:
        """Answer nobody any more."""
        self._is_open = False
        self._waiting.clear()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, question: Question, done: "asyncio.Future[bytes]") -> None:
        waiting = self._waiting.pop(question, [])
        if done.cancelled() or done.exception() is not None:
            return  # who asked runs into its timeout
        key = done.result()
        self.derived += 1
        self._keys[question] = key
        if len(self._keys) > MAX_CACHED:
            self._keys.popitem(last=False)
        loop = asyncio.get_running_loop()
        for answer in waiting:  # each by itself: what one raises is not the others' trouble
            loop.call_soon(answer, key)
