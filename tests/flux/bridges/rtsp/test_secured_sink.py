"""A sink that protects what it is given: in order, in slices, and all of it before the end."""

from typing import Any, cast

from flux.bridges.rtp.packer import RtpOutTrack, RtpPacker, rtp_tracks
from flux.bridges.rtp.secure import SecureTrack
from flux.bridges.rtsp.secured_sink import AT_ONCE, SecuredSink
from flux.bridges.rtsp.slices import Slices
from media.frame import Frame
from media.track import Kind, Track
from protocols.rtp import RtpPacket
from protocols.rtsp.server import RtspPeer
from tests.support.virtual import VirtualScheduler

TRACK = Track(0, Kind.DATA, "rtp/x", 90_000)


class Pipe:
    """A transport, as far as a sink needs one, and the peer that has it."""

    def __init__(self) -> None:
        self.transport = self
        self.data = b""
        self.held = 0
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.data += data

    def writelines(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    def get_write_buffer_size(self) -> int:
        return self.held

    def get_extra_info(self, name: str) -> Any:
        return None

    def is_closing(self) -> bool:
        return self.is_closed


class Rig:
    """A sink with its keys, and the packets that it is to send."""

    def __init__(self) -> None:
        self.scheduler = VirtualScheduler()
        self.pipe = Pipe()
        self.ended: list[tuple[str, int]] = []  # reason, bytes that had left by then
        out: RtpOutTrack
        (out,) = rtp_tracks([TRACK], lambda _: 1)
        self.packer = RtpPacker([out])
        self.keys = SecureTrack(out.ssrc)
        self.sink = SecuredSink(
            cast(RtspPeer, self.pipe), self.end, 1 << 16, {0: self.keys}, Slices(self.scheduler)
        )
        self.sink.channels = {0: 4}
        self.other = SecureTrack(9)
        self.other.take(self.keys.message(1 << 60))

    def end(self, reason: str) -> None:
        self.ended.append((reason, len(self.pipe.data)))

    def frame(self, size: int = 1000) -> bytes:
        return self.packer.encode(Frame(TRACK, 0, 0, 0, 0.0, True, False, None, (bytes(size),)))

    @property
    def sequences(self) -> list[int]:
        """Of the packets that have left, all of them authentic and on their channel."""
        data, found = self.pipe.data, []
        while data:
            size = int.from_bytes(data[2:4], "big")
            assert data[:2] == b"$\x04"
            found.append(data[4 : 4 + size])
            data = data[4 + size :]
        assert self.other.receiver is not None
        opened = self.other.receiver.unprotect(found)
        assert len(opened) == len(found)
        return [RtpPacket.parse(packet).sequence for packet in opened]


def test_little_goes_at_once() -> None:
    rig = Rig()
    rig.sink.write(rig.frame() + rig.frame())
    assert rig.sequences == [1, 2]
    assert rig.sink.pending_bytes() == 0


def test_much_goes_in_turns_and_what_comes_later_waits_behind_it() -> None:
    rig = Rig()
    rig.sink.writelines([rig.frame() for _ in range(50)])
    first = len(rig.pipe.data)
    assert 0 < first < 1100
    rig.pipe.held = 7
    assert rig.sink.pending_bytes() == 49 * 1016 + 7
    assert rig.sink.unsent_bytes() == 49 * 1016 + 7
    rig.sink.write(rig.frame())
    rig.sink.writelines([rig.frame()])
    assert len(rig.pipe.data) == first
    rig.scheduler.run()
    assert rig.sequences == list(range(1, 53))
    assert rig.sink.pending_bytes() == 7


def test_one_large_piece_is_no_reason_to_wait() -> None:
    rig = Rig()
    rig.sink.write(b"".join(rig.frame() for _ in range(AT_ONCE // 1000 + 1)))
    rig.sink.write(rig.frame())
    assert len(rig.sequences) == AT_ONCE // 1000 + 2


def test_the_end_comes_after_all_of_it() -> None:
    rig = Rig()
    rig.sink.writelines([rig.frame() for _ in range(20)])
    rig.sink.end("stream-deleted")
    assert rig.ended == [("stream-deleted", len(rig.pipe.data))]
    assert rig.sequences == list(range(1, 21))
    rig.scheduler.run()
    assert rig.ended == [("stream-deleted", len(rig.pipe.data))]


def test_nothing_is_protected_for_a_connection_that_closes() -> None:
    rig = Rig()
    rig.sink.writelines([rig.frame() for _ in range(20)])
    rig.pipe.is_closed = True
    rig.scheduler.run()
    assert rig.sequences == [1]


def test_other_channels_hold_from_then_on() -> None:
    rig = Rig()
    rig.sink.channels = {}
    rig.sink.write(rig.frame())
    assert rig.pipe.data == b""
    rig.sink.channels = {0: 4}
    rig.sink.write(rig.frame())
    assert rig.sequences == [2]
