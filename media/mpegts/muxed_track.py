"""One track of a transport stream that is made: what becomes of its frames; see `muxer.py`."""

from media.codecs.aac import ADTS_HEADER_BYTES, MAX_ADTS_FRAME_BYTES, AacParameters
from media.codecs.ac3 import Ac3Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.codecs.mp3 import Mp3Parameters
from media.frame import NO_TIME, Frame
from media.mpegts.carriage import PrivateWriter, carries_privately
from media.mpegts.packet import PacketWriter
from media.mpegts.pes import (
    MAX_PES_LENGTH,
    STREAM_ID_AUDIO,
    STREAM_ID_PRIVATE_1,
    STREAM_ID_VIDEO,
    pes_header,
)
from media.parameters import Parameters
from media.track import AC3, EAC3, H265, Kind, Track

MAX_SOUND_BYTES = MAX_PES_LENGTH - 8  # of one PES packet, whose length has to be given
MAX_ADTS_PAYLOAD = MAX_ADTS_FRAME_BYTES - ADTS_HEADER_BYTES

START_CODE = b"\x00\x00\x00\x01"
AUD_H264 = START_CODE + b"\x09\xf0"  # primary_pic_type 7: any slice type
AUD_H265 = START_CODE + b"\x46\x01\x50"  # pic_type 2: any slice type

Pes = tuple[bytes, ...]  # a PES packet, in pieces


class MuxedTrack:
    """One carried track: its PID, its place in time, and what goes before its access units."""

    __slots__ = (
        "_before",
        "_before_key",
        "_private",
        "_stream_id",
        "is_broken",
        "is_clock",
        "is_listed",
        "is_ready",
        "is_video",
        "lag",
        "last_dts",
        "parameters",
        "writer",
    )

    def __init__(self, track: Track, writer: PacketWriter) -> None:
        self.writer = writer
        self.is_video = track.kind is Kind.VIDEO
        self.last_dts = NO_TIME
        self.lag = 0  # by which its frames come behind those of others
        self.is_listed = True  # in the PMT
        self.is_clock = False  # the PCR rides on it
        self.is_broken = False  # the next packet carries discontinuity_indicator
        self.is_ready = carries_privately(track)  # enough is known to write its frames
        self.parameters: Parameters | None = None
        self._stream_id = STREAM_ID_VIDEO if self.is_video else STREAM_ID_AUDIO
        if track.codec in (AC3, EAC3):
            self._stream_id = STREAM_ID_PRIVATE_1
        self._before = AUD_H265 if track.codec == H265 else AUD_H264
        self._before_key = self._before
        self._private: PrivateWriter | None = None
        if self.is_ready:
            self._private = PrivateWriter(track.codec, track.parameters)
        if track.parameters is not None:
            self.take(track.parameters)

    def take(self, parameters: Parameters) -> None:
        """Use these parameters from now on; those of another codec change nothing."""
        if isinstance(parameters, H264Parameters):
            sets: tuple[bytes, ...] = (*parameters.sps, *parameters.pps)
        elif isinstance(parameters, H265Parameters):
            sets = (*parameters.vps, *parameters.sps, *parameters.pps)
        elif isinstance(parameters, Mp3Parameters | Ac3Parameters) or (
            isinstance(parameters, AacParameters) and parameters.is_adts_possible
        ):
            sets = ()
        else:
            return
        self.parameters = parameters
        self.is_ready = True
        self._before_key = START_CODE.join((self._before, *sets))

    def pes(self, frame: Frame, pts: int, dts: int) -> Pes:
        """The frame as one PES packet, in pieces; empty if there is no room for it."""
        if self._private is not None:
            return self._private.pes(frame, pts, dts)
        payload = frame.payload
        size = frame.size_bytes
        if self.is_video:
            before = self._before_key if frame.key else self._before
            size += len(before) + len(START_CODE) * len(payload)
            head = pes_header(self._stream_id, pts, dts, size)
            pieces = [START_CODE] * (2 * len(payload) + 1)
            pieces[0] = head + before
            pieces[2::2] = payload
            return tuple(pieces)
        if not isinstance(self.parameters, AacParameters):
            if size > MAX_SOUND_BYTES:
                return ()
            return pes_header(self._stream_id, pts, pts, size), *payload
        if size > MAX_ADTS_PAYLOAD:
            return ()
        adts = self.parameters.adts_header(size)
        head = pes_header(self._stream_id, pts, pts, size + len(adts))
        return head, adts, *payload
