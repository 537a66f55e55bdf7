"""Our end of the socket of one run of a worker: messages of `media/wire.py` in both directions."""

import asyncio
from typing import cast

from flux.base.errors import WireError
from flux.core.children import REASON_CLOSED
from media.wire import Decoder, Message, serialize_hello


class WorkerSocket(asyncio.Protocol):
    """The protocol of a run's socket; `heard` and `over` are its owner's to define.

    It says hello when the process runs. `over` may come more than once.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._decoder = Decoder()
        self._transport: asyncio.WriteTransport | None = None

    def heard(self, message: Message) -> None:
        """Take what the worker says; raises `WireError` for what it should not say."""
        raise NotImplementedError

    def over(self, reason: str) -> None:
        """Take that this run cannot go on."""
        raise NotImplementedError

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the worker has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def send(self, data: bytes) -> bool:
        """Write messages; False where the socket is closed."""
        if self._transport is None:
            return False
        self._transport.write(data)
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass
        self._transport.write(serialize_hello(self._name))

    def data_received(self, data: bytes) -> None:
        """Take a piece of what it says."""
        try:
            self._decoder.receive_data(data)
            while (message := self._decoder.next_message()) is not None:
                self.heard(message)
        except WireError as error:
            self.over(error.reason)

    def connection_lost(self, exc: Exception | None) -> None:
        """Its end is closed."""
        del exc
        self._transport = None
        self.over(REASON_CLOSED)
