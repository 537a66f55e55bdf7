"""One HLS segment taken apart by FFmpeg's demuxers, MPEG-TS or fragmented MP4; blocks."""

import io
from dataclasses import dataclass

import av
from av.audio.codeccontext import AudioCodecContext
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from flux.base.errors import WireError
from media.track import H265, Kind

CODECS = {"hevc": H265, "pcm_alaw": "pcma", "pcm_mulaw": "pcmu", "aac_latm": "aac"}
KINDS = {"video": Kind.VIDEO, "audio": Kind.AUDIO}


@dataclass(frozen=True, slots=True)
class SegmentTrack:
    """What a segment says of one of its tracks; 0 is not known."""

    id: int  # PID, or track id
    kind: Kind
    codec: str
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    nominal_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class SegmentFrame:
    """One access unit."""

    track: int  # id
    time: float  # presentation time, seconds
    size_bytes: int
    key: bool


def demux(data: bytes) -> tuple[list[SegmentTrack], list[SegmentFrame]]:
    """The tracks and frames of a segment with its initialisation in front; raises `WireError`."""
    tracks: list[SegmentTrack] = []
    frames: list[SegmentFrame] = []
    try:
        with av.open(io.BytesIO(data), "r") as container:
            for stream in container.streams:
                kind = KINDS.get(stream.type)
                context = stream.codec_context
                if kind is None or context is None:
                    continue
                tracks.append(_track(stream.id, kind, context))
            known = {track.id for track in tracks}
            for packet in container.demux():
                at = packet.pts if packet.pts is not None else packet.dts
                if at is None or packet.size == 0 or packet.stream.id not in known:
                    continue
                seconds = float(at * packet.time_base) if packet.time_base else 0.0
                frame = SegmentFrame(packet.stream.id, seconds, packet.size, packet.is_keyframe)
                frames.append(frame)
    except (FFmpegError, ValueError):
        raise WireError("hls-segment") from None
    return tracks, frames


def _track(number: int, kind: Kind, context: av.CodecContext) -> SegmentTrack:
    name = context.codec.canonical_name
    codec = CODECS.get(name, name)
    if isinstance(context, VideoCodecContext):
        rate = context.framerate
        return SegmentTrack(
            number,
            kind,
            codec,
            width=context.width,
            height=context.height,
            nominal_rate=float(rate) if rate else 0.0,
        )
    if isinstance(context, AudioCodecContext):
        return SegmentTrack(
            number,
            kind,
            codec,
            sample_rate=context.sample_rate,
            channels=context.layout.nb_channels,
        )
    return SegmentTrack(number, kind, codec)
