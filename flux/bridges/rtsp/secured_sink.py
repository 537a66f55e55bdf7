"""The connection of one player of SRTP as the sink of a feed."""

from collections import deque
from collections.abc import Callable, Mapping

from flux.bridges.rtp.secure import SecureTrack
from flux.bridges.rtsp.secured import secured_frames
from flux.bridges.rtsp.slices import Slices
from flux.bridges.rtsp.ways import PeerSink
from protocols.rtsp.server import RtspPeer

AT_ONCE = 128 << 10  # bytes that are protected within a millisecond or so


class SecuredSink:
    """Protects frames of a packer with this player's keys and gives them its channels.

    It satisfies `media.feed_reader.Sink` and stands before the connection's own.

    A group of pictures is too much for one turn of the loop. What it joins with is protected in
    slices, and what comes meanwhile waits behind it. `channels`: by track index, that of its RTP;
    tracks without one are left out.
    """

    __slots__ = ("_peer", "_queue", "_queued_bytes", "_sink", "_slices", "_tracks", "channels")

    def __init__(
        self,
        peer: RtspPeer,
        end: Callable[[str], None],
        send_buffer: int,
        tracks: Mapping[int, SecureTrack],
        slices: Slices,
    ) -> None:
        self._peer = peer
        self._sink = PeerSink(peer, end, send_buffer)
        self.channels: Mapping[int, int] = {}
        self._tracks = tracks
        self._slices = slices
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0

    def pending_bytes(self) -> int:
        """What waits here, and what the transport holds."""
        return self._queued_bytes + self._sink.pending_bytes()

    def unsent_bytes(self) -> int:
        """The same and what the kernel holds."""
        return self._queued_bytes + self._sink.unsent_bytes()

    def end(self, reason: str) -> None:
        """The feed is over: what waits goes out first."""
        while self._queue:
            self._protect()
        self._sink.end(reason)

    def write(self, data: bytes) -> None:
        """Protect a run of frames and hand it over, now or behind what waits."""
        if self._queue or len(data) > AT_ONCE:
            self.writelines([data])
        else:
            self._write(data)

    def writelines(self, chunks: list[bytes]) -> None:
        """The same of several."""
        is_waiting = bool(self._queue)
        self._queue.extend(chunks)
        self._queued_bytes += sum(map(len, chunks))
        if not is_waiting:
            self._go_on()

    def _go_on(self) -> None:
        """One of the pieces; the others in the turns that follow."""
        if self._peer.transport.is_closing():
            self._queue.clear()
        if self._queue:
            self._protect()
        if self._queue:
            self._slices.add(self._go_on)

    def _protect(self) -> None:
        data = self._queue.popleft()
        self._queued_bytes -= len(data)
        self._write(data)

    def _write(self, data: bytes) -> None:
        secured = secured_frames(self._tracks, self.channels, data)
        if secured:
            self._sink.write(secured)
