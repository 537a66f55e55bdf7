"""FLUX's SRT as a program like srt-live-transmit, a process of its own.

`python -m tests.support.srt_transmit send PORT LATENCY_MS` calls, and sends its standard input in
packets of 1316 bytes; `receive PORT LATENCY_MS` listens, and writes what comes to its standard
output. At the end the statistics go to standard error, as JSON.
"""

import asyncio
import json
import os
import sys
import time

import uvloop

from protocols.srt.endpoint import Endpoint
from protocols.srt.events import DataReceived
from protocols.srt.link import Channel, LinkHandler
from protocols.srt.options import ListenerOptions, Options
from protocols.srt.reception import IncomingCall

LOCAL = "127.0.0.1"
PACKET = 1316
READ_BYTES = 1 << 16
CONNECT_TIMEOUT = 15.0  # the other end may be slow to start


class Sending(LinkHandler):
    """Standard input goes out."""

    def __init__(self) -> None:
        self._rest = b""
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def connected(self, link: Channel, now: float) -> None:
        """See `LinkHandler`."""
        asyncio.get_running_loop().add_reader(0, self._read, link)

    def _read(self, link: Channel) -> None:
        try:
            data = os.read(0, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(0)
            asyncio.get_running_loop().call_later(1.0, self._finish, link)
            return
        data = self._rest + data
        whole = len(data) - len(data) % PACKET
        self._rest = data[whole:]
        if whole:
            packets = [data[at : at + PACKET] for at in range(0, whole, PACKET)]
            link.send(packets, time.monotonic())

    def _finish(self, link: Channel) -> None:
        link.close("done", time.monotonic())

    def closed(self, link: Channel, reason: str, code: int) -> None:
        """See `LinkHandler`."""
        statistics = link.statistics(time.monotonic())
        if statistics is not None:
            print(json.dumps(statistics.to_json()), file=sys.stderr)
        self.refused(reason, code)

    def refused(self, reason: str, code: int) -> None:
        """See `LinkHandler`."""
        if not self.over.done():
            self.over.set_result(reason)


class Receiving(Sending):
    """What comes goes to standard output."""

    def connected(self, link: Channel, now: float) -> None:
        """See `LinkHandler`."""

    def received(self, link: Channel, event: DataReceived, now: float) -> None:
        """See `LinkHandler`."""
        data = b"".join(event.payloads)
        while data:
            data = data[os.write(1, data) :]


async def run(role: str, port: int, latency_ms: int) -> None:
    """Until the connection is over."""
    options = Options(receive_latency_ms=latency_ms, connect_timeout=CONNECT_TIMEOUT)
    if role == "send":
        os.set_blocking(0, False)
        endpoint = Endpoint.bind(LOCAL, 0)
        handler = Sending()
        endpoint.call((LOCAL, port), options, handler)
    else:
        endpoint = Endpoint.bind(LOCAL, port)
        handler = Receiving()

        def called(call: IncomingCall) -> None:
            call.accept(options, handler)

        endpoint.listen(ListenerOptions(), called)
    await handler.over
    endpoint.close()


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
