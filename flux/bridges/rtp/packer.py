"""Frames to RTP packets, once for all readers of a stream (RFC 3550 section 5.1).

Every packet is made in the form in which TCP readers get it, with the `$` header of interleaved
frames (RFC 2326 section 10.12) and the channels 0-1 for the first track, 2-3 for the second and so
on. Other channels are a `ChannelMap` of these bytes, datagrams are cut from them (`runs.py`).
Sequence numbers, SSRC and timestamps go on as long as the stream has the same tracks: a source that
returns continues them.
"""

from collections.abc import Callable, Sequence
from struct import Struct

from flux.base.serial import distance
from flux.base.units import ntp_from_ticks, rescale
from media.codecs.av1 import Av1Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.frame import Frame
from media.payloads.base import DropCallback
from media.payloads.encodings import Encoding, encoding_for
from media.payloads.formats import packetizer_for
from media.track import Track

# RTP payload bytes. With RTP, SRTP, UDP and IPv6 headers a packet stays below 1,500.
MAX_PAYLOAD_BYTES = 1400
FIRST_DYNAMIC = 96  # payload type, RFC 3551 section 3
DOLLAR = 0x24
VERSION = 0x80
MARKER = 0x80
MASK_16, MASK_32 = 0xFFFF, 0xFFFF_FFFF

# `$`, channel, length | V P X CC, M PT, sequence, timestamp, SSRC
INTERLEAVED = Struct("!BBHBBHII")
FRAME_HEADER_BYTES = 4
RTP_HEADER_BYTES = 12


def _ignore(reason: str) -> None:
    """Nobody wants to know."""


class RtpOutTrack:
    """One track as RTP: its numbers, and what was sent so far."""

    __slots__ = (
        "clock_rate",
        "encoding",
        "index",
        "is_known",
        "last_arrived",
        "last_ntp",
        "last_timestamp",
        "octets",
        "packetize",
        "packets",
        "payload_type",
        "sequence",
        "ssrc",
        "timestamp_offset",
        "track",
    )

    def __init__(
        self,
        index: int,
        track: Track,
        encoding: Encoding,
        random_bits: Callable[[int], int],
        on_drop: DropCallback,
    ) -> None:
        self.index = index
        self.track = track
        self.encoding = encoding
        self.clock_rate = encoding.clock_rate
        number = encoding.payload_type
        self.payload_type = FIRST_DYNAMIC + index if number is None else number
        self.ssrc = random_bits(32)
        self.sequence = random_bits(16)  # of the next packet
        self.timestamp_offset = random_bits(32)
        self.packetize = packetizer_for(track.codec, MAX_PAYLOAD_BYTES, on_drop).packetize
        self.packets = 0  # all that were made
        self.octets = 0  # of their payloads
        # The last frame: its instant in NTP and in RTP, and when it came.
        self.is_known = False
        self.last_ntp = 0
        self.last_timestamp = 0
        self.last_arrived = 0.0

    def ntp_of(self, timestamp: int) -> int:
        """The NTP instant of a timestamp that lies near the last one."""
        ticks = distance(timestamp, self.last_timestamp, 32)
        return self.last_ntp + ntp_from_ticks(ticks, self.clock_rate)


def rtp_tracks(
    tracks: Sequence[Track],
    random_bits: Callable[[int], int],
    on_drop: DropCallback = _ignore,
) -> tuple[RtpOutTrack, ...]:
    """The tracks that RTP has a format for, numbered.

    `on_drop` hears the reason of each unit that its format cannot carry.
    """
    found: list[RtpOutTrack] = []
    for track in tracks:
        encoding = encoding_for(track)
        if encoding is not None:
            found.append(RtpOutTrack(len(found), track, encoding, random_bits, on_drop))
    return tuple(found)


def is_carried(track: Track) -> bool:
    """Whether RTP has a format for this track."""
    return encoding_for(track) is not None


class RtpPacker:
    """A feed's format: interleaved frames. `packets` are those of the frame encoded last."""

    name = "rtp"
    is_exhausted = False

    def __init__(self, tracks: Sequence[RtpOutTrack]) -> None:
        self.tracks = tuple(tracks)
        self.packets: list[bytes] = []
        self._by_track = {track.track: track for track in tracks}

    def header(self) -> bytes:
        """Nothing: what a receiver must know first is in the description, and in band."""
        return b""

    def resume(self) -> bytes:
        """Nothing; a receiver sees a gap in time."""
        return b""

    def encode(self, frame: Frame) -> bytes:
        """The packets of one frame, each as an interleaved frame, joined."""
        out = self._by_track[frame.track]
        rate = frame.track.clock_rate
        ticks = frame.pts if rate == out.clock_rate else rescale(frame.pts, rate, out.clock_rate)
        timestamp = (ticks + out.timestamp_offset) & MASK_32
        payload = with_parameters(frame) if frame.key else frame.payload
        channel, ssrc, kind = 2 * out.index, out.ssrc, out.payload_type
        sequence = out.sequence
        pack = INTERLEAVED.pack
        packets: list[bytes] = []
        octets = 0
        for data, marker in out.packetize(payload):
            size = len(data)
            octets += size
            packets.append(
                pack(
                    DOLLAR,
                    channel,
                    RTP_HEADER_BYTES + size,
                    VERSION,
                    kind | MARKER if marker else kind,
                    sequence & MASK_16,
                    timestamp,
                    ssrc,
                )
                + data
            )
            sequence += 1
        out.sequence = sequence & MASK_16
        out.packets += len(packets)
        out.octets += octets
        out.is_known = True
        out.last_ntp, out.last_timestamp, out.last_arrived = frame.ntp, timestamp, frame.arrived
        self.packets = packets
        return b"".join(packets)


def with_parameters(frame: Frame) -> tuple[bytes, ...]:
    """The payload with the parameter sets before it, as decoders that join in mid-stream need."""
    match frame.parameters:
        case H264Parameters() as sets:
            return (*sets.sps, *sets.pps, *frame.payload)
        case H265Parameters() as sets:
            return (*sets.vps, *sets.sps, *sets.pps, *frame.payload)
        case Av1Parameters() as sets:
            return (sets.obu, *frame.payload)
        case _:
            return frame.payload


class ChannelMap:
    """Interleaved frames with other channels; those of tracks that are not in it are left out."""

    __slots__ = ("__weakref__", "_channels", "_is_complete")

    def __init__(self, channels: Sequence[int | None]) -> None:
        """`channels`: by track index, the channel of its RTP; None: it was not set up."""
        self._channels = tuple(channels)
        self._is_complete = None not in self._channels

    def __call__(self, data: bytes) -> bytes:
        """Rewrite the joined frames of a packer."""
        channels, position, end = self._channels, 0, len(data)
        if self._is_complete:
            changed = bytearray(data)
            while position < end:
                changed[position + 1] = channels[data[position + 1] >> 1] or 0
                position += FRAME_HEADER_BYTES + (data[position + 2] << 8 | data[position + 3])
            return bytes(changed)
        pieces: list[bytes] = []
        while position < end:
            stop = position + FRAME_HEADER_BYTES + (data[position + 2] << 8 | data[position + 3])
            channel = channels[data[position + 1] >> 1]
            if channel is not None:
                pieces += (b"$", channel.to_bytes(1, "big"), data[position + 2 : stop])
            position = stop
        return b"".join(pieces)


def split_frames(data: bytes) -> list[tuple[int, list[bytes]]]:
    """Joined frames of a packer, by runs of one track: (track index, its RTP packets)."""
    found: list[tuple[int, list[bytes]]] = []
    position, end, last = 0, len(data), -1
    while position < end:
        start = position + FRAME_HEADER_BYTES
        index = data[position + 1] >> 1
        position = start + (data[position + 2] << 8 | data[position + 3])
        if index != last:
            found.append((index, []))
            last = index
        found[-1][1].append(data[start:position])
    return found
