"""Clips as frames: what a bridge would publish of a file, read by PyAV."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import av

from flux.base.units import ntp_from_unix, rescale
from media.codecs.aac import AacParameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.frame import Frame
from media.parameters import Parameters
from media.track import AAC, H264, H265, Kind, Track
from tests.support import frames

FOLDER = Path(__file__).parent.parent / "data" / "media"
BUNNY = FOLDER / "video_big_buck_bunny.mp4"  # H.264 Baseline + AAC
PYRAMID = FOLDER / "bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4"  # H.264, three B-frames deep
HDR = FOLDER / "hdr10-video-with-sdr-container.mp4"  # H.265 + AAC
VARIABLE = FOLDER / "sample_with_increasing_timestamps_360p.mp4"  # H.264 at no fixed rate + AAC
SOUND_FIRST = FOLDER / "sample_fragmented.mp4"  # H.264 + AAC that begins before it
FLASH = FOLDER / "sample.flv"  # H.264 + AAC that begins after it
H264_TS = FOLDER / "sample_h264.ts"  # B-frames
H265_TS = FOLDER / "sample_h265.ts"  # B-frames
# Those that every output is judged by.
JUDGED = (BUNNY, PYRAMID, HDR, VARIABLE, SOUND_FIRST, FLASH, H264_TS, H265_TS)
EPOCH = 1_700_000_000  # Unix seconds of a clip's time 0


def read(path: Path) -> list[Frame]:
    """The frames of a clip in the order of their DTS, with the clock rates of RTP; one's own."""
    kept = _frames_of(path)
    tracks = {track: replace(track) for track in {frame.track for frame in kept}}
    return [replace(frame, track=tracks[frame.track]) for frame in kept]


@cache
def _frames_of(path: Path) -> tuple[Frame, ...]:
    units = frames.read(path)
    parameters = _parameters(path)
    found: list[tuple[Fraction, Frame]] = []
    for number, (kind, raw) in enumerate(units.items()):
        each = raw.in_rtp_ticks()
        codec = {"h264": H264, "hevc": H265, "aac": AAC}[each.codec]
        track = Track(number, Kind(kind), codec, each.rtp_rate, parameters[kind])
        for unit in each.units:
            seconds = Fraction(unit.dts, track.clock_rate)
            found.append(
                (
                    seconds,
                    Frame(
                        track=track,
                        pts=unit.pts,
                        dts=unit.dts,
                        ntp=ntp_from_unix(EPOCH) + (unit.pts << 32) // track.clock_rate,
                        arrived=float(seconds),
                        key=_is_key(codec, unit.pieces),
                        discontinuity=False,
                        parameters=parameters[kind],
                        payload=unit.pieces,
                    ),
                )
            )
    found.sort(key=lambda item: item[0])
    return tuple(frame for _, frame in found)


def tracks_of(clip: list[Frame]) -> tuple[Track, ...]:
    """The tracks of a clip in the order of their ids."""
    return tuple(sorted({frame.track for frame in clip}, key=lambda track: track.id))


def shifted(clip: list[Frame], milliseconds: int) -> list[Frame]:
    """The same frames later; `milliseconds` should be whole ticks of all clocks."""
    return [_moved(frame, rescale(milliseconds, 1000, frame.track.clock_rate)) for frame in clip]


def looped(clip: list[Frame], rounds: int, period_ms: int) -> list[Frame]:
    """The clip again and again on one timeline."""
    return [frame for n in range(rounds) for frame in shifted(clip, n * period_ms)]


def only(clip: list[Frame], kind: Kind) -> list[Frame]:
    """The frames of one kind."""
    return [frame for frame in clip if frame.track.kind is kind]


def with_frames(clip: list[Frame], change: Callable[[Frame], None]) -> list[Frame]:
    """Copies of the frames, changed."""
    copies = [_moved(frame, 0) for frame in clip]
    for frame in copies:
        change(frame)
    return copies


def _moved(frame: Frame, ticks: int) -> Frame:
    rate = frame.track.clock_rate
    return Frame(
        track=frame.track,
        pts=frame.pts + ticks,
        dts=frame.dts + ticks,
        ntp=frame.ntp + (ticks << 32) // rate,
        arrived=frame.arrived + ticks / rate,
        key=frame.key,
        discontinuity=frame.discontinuity,
        parameters=frame.parameters,
        payload=frame.payload,
    )


def _is_key(codec: str, pieces: tuple[bytes, ...]) -> bool:
    if codec == H264:
        return any(nal[0] & 0x1F == 5 for nal in pieces)
    if codec == H265:
        return any(16 <= nal[0] >> 1 & 0x3F <= 21 for nal in pieces)
    return True


def _parameters(path: Path) -> dict[str, Parameters]:
    result: dict[str, Parameters] = {}
    with av.open(str(path)) as opened:
        for stream in opened.streams:
            record = stream.codec_context.extradata or b""
            if stream.codec_context.name == "h264":
                result["video"] = _avc(record)
            elif stream.codec_context.name == "hevc":
                result["video"] = _hevc(record)
            elif stream.codec_context.name == "aac":
                result["audio"] = AacParameters.build(record)
    return result


def _in_band(stream: bytes) -> list[bytes]:
    """Parameter sets with start codes."""
    return [nal.rstrip(b"\0") for nal in stream.split(b"\0\0\1")[1:]]


def _avc(record: bytes) -> H264Parameters:
    """ISO/IEC 14496-15 section 5.3.3.1; start codes where the clip is a transport stream."""
    if record[:1] == b"\0":
        nals = _in_band(record)
        of = {kind: [nal for nal in nals if nal[0] & 0x1F == kind] for kind in (7, 8)}
        return H264Parameters.build(of[7], of[8])
    sets: list[bytes] = []
    at = 5
    counts = []
    for mask in (0x1F, 0xFF):
        count = record[at] & mask
        counts.append(count)
        at += 1
        for _ in range(count):
            size = int.from_bytes(record[at : at + 2], "big")
            sets.append(record[at + 2 : at + 2 + size])
            at += 2 + size
    return H264Parameters.build(sets[: counts[0]], sets[counts[0] :])


def _hevc(record: bytes) -> H265Parameters:
    """ISO/IEC 14496-15 section 8.3.3.1; start codes where the clip is a transport stream."""
    if record[:1] == b"\0":
        nals = _in_band(record)
        of = {n: [nal for nal in nals if nal[0] >> 1 & 0x3F == n] for n in (32, 33, 34)}
        return H265Parameters.build(of[32], of[33], of[34])
    sets: dict[int, list[bytes]] = {32: [], 33: [], 34: []}
    at = 23
    for _ in range(record[22]):
        kind = record[at] & 0x3F
        count = int.from_bytes(record[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            size = int.from_bytes(record[at : at + 2], "big")
            sets.setdefault(kind, []).append(record[at + 2 : at + 2 + size])
            at += 2 + size
    return H265Parameters.build(sets[32], sets[33], sets[34])
