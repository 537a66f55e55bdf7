"""Forwarding to `udp://HOST:PORT`: MPEG-TS in datagrams."""

from flux.bridges.rtp.datagrams import DatagramReader
from flux.bridges.udp.forward import DatagramForward
from flux.bridges.udp.target import DatagramEndpoint
from flux.bridges.udp.ts_output import TsDatagramOutput, ts_datagrams_of
from media.stream import Stream


class TsForward(DatagramForward):
    """One attempt to send one stream as a transport stream."""

    _output: TsDatagramOutput | None = None

    def attach(self, stream: Stream, endpoint: DatagramEndpoint) -> DatagramReader:
        """Join the stream's datagram output."""
        self._output = ts_datagrams_of(stream, self.scheduler)
        return self._output.attach(endpoint, self.url.packet_bytes, self.fail)

    def detach(self, reason: str) -> None:
        """Leave it."""
        del reason
        if self._output is not None and self.reader is not None:
            self._output.detach(self.reader)
