"""Good samples for the judges, written by FFmpeg's libraries, and ways to break them."""

from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path

import av

MEDIA = Path(__file__).parents[2] / "data" / "media"
BUNNY = "video_big_buck_bunny.mp4"
PYRAMID = "bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4"
HDR = "hdr10-video-with-sdr-container.mp4"
SHORT = "sample_fragmented.mp4"
OPUS = "bbb_1ch_48kHz_q10_opus.webm"
VP9 = "bbb_642x642_768kbps_30fps_vp9.webm"
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
CMAF = {"movflags": "cmaf+frag_keyframe"}


@cache
def remux(
    name: str, container: str, options: tuple[tuple[str, str], ...] = (), kind: str = ""
) -> bytes:
    """A clip's packets in another container; `kind`: only its video or audio."""
    target = BytesIO()
    with (
        av.open(str(MEDIA / name)) as opened,
        av.open(target, mode="w", format=container, options=dict(options)) as written,
    ):
        streams = {
            stream.index: written.add_stream_from_template(stream)
            for stream in opened.streams
            if stream.type in ((kind,) if kind else ("video", "audio"))
        }
        for packet in opened.demux():
            if packet.dts is not None and packet.stream.index in streams:
                packet.stream = streams[packet.stream.index]
                written.mux(packet)
    return target.getvalue()


def ts(name: str) -> bytes:
    """A clip as a transport stream; without the delay FFmpeg's sound comes too late."""
    return remux(name, "mpegts", (("max_delay", "700000"),))


def flv(name: str) -> bytes:
    """A clip as FLV."""
    return remux(name, "flv")


def fmp4(name: str, options: Mapping[str, str] = FRAGMENTED, kind: str = "") -> bytes:
    """A clip as fragmented MP4."""
    return remux(name, "mp4", tuple(options.items()), kind)


def patch(data: bytes, at: int, new: bytes) -> bytes:
    """Other bytes at one place."""
    return data[:at] + new + data[at + len(new) :]


def box_at(data: bytes, *path: bytes, nth: int = 0) -> int:
    """Where the content of a box begins; `nth` counts those of the last type in their parent."""
    at, end = 0, len(data)
    for depth, kind in enumerate(path):
        skip = nth if depth == len(path) - 1 else 0
        while True:
            size = int.from_bytes(data[at : at + 4], "big")
            assert size >= 8 and at + size <= end, (path, at)
            if data[at + 4 : at + 8] == kind:
                if not skip:
                    break
                skip -= 1
            at += size
        at, end = at + 8, at + size
    return at


def flip(data: bytes, at: int, bits: int) -> bytes:
    """Some bits of one byte the other way round."""
    return patch(data, at, bytes((data[at] ^ bits,)))
