"""FFmpeg and GStreamer as RTSP players and publishers, by command line, and what they recorded.

FFmpeg dumps the bytes of every packet, and its own list of their times and sizes (`framecrc`):
each container that it could write would replace the times that it finds odd in a stream of
B-frames. GStreamer dumps its buffers with their times, in nanoseconds (GDP).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from struct import Struct

import av
import imageio_ffmpeg

from tests.support import frames
from tests.support.aligned import NO_PTS
from tests.support.camera import SYSTEM_PYTHON

FFMPEGS = {"ffmpeg-5.1": "ffmpeg", "ffmpeg-new": imageio_ffmpeg.get_ffmpeg_exe()}
GSTREAMER = "gstreamer"
CODEC_NAMES = {"libdav1d": "av1"}
PLAYER = Path(__file__).with_name("gst_player.py")
ANY_CERTIFICATE = "tls-validation-flags=0"
ANNEX_B = "stream-format=byte-stream,alignment=au"
DEPAYLOADERS = {
    "h264": ("video", f"rtph264depay ! video/x-h264,{ANNEX_B}"),
    "h265": ("video", f"rtph265depay ! video/x-h265,{ANNEX_B}"),
    "aac": ("audio", "rtpmp4gdepay"),
    "opus": ("audio", "rtpopusdepay"),
    "g711": ("audio", "rtppcmadepay"),
    "av1": ("video", "rtpav1depay"),
}
GST_CODECS = {
    "video/x-h264": "h264",
    "video/x-h265": "hevc",
    "audio/mpeg": "aac",
    "audio/x-opus": "opus",
    "audio/x-alaw": "pcm_alaw",
}
# Version, flags, type, length, PTS, DTS, of the header of 62 bytes in front of each payload.
GDP = Struct(">2xBxHIQ26xQ10x")
GDP_BUFFER, GDP_CAPS = 1, 2
DEMUXERS = {
    "h264": "qtdemux name=d d.video_0 ! h264parse",
    "h265": "qtdemux name=d d.video_0 ! h265parse",
    "opus": "matroskademux ! opusparse",
    "g711": "matroskademux",
    "av1": "qtdemux name=d d.video_0 ! av1parse ! rtpav1pay",
}


@dataclass(frozen=True, slots=True)
class Recording:
    """A command that records a stream, and the files that it writes."""

    command: list[str]
    folder: Path
    is_ffmpeg: bool

    def read(self) -> dict[str, frames.TrackUnits]:
        """What was recorded, by kind; FormatError if it is nothing."""
        if not self.is_ffmpeg:
            return read_gdp(self.folder)
        return read_dump(self.folder)


def play_command(
    client: str, transport: str, url: str, codec: str, folder: Path, seconds: float
) -> Recording:
    """Record about so many seconds of a stream; `url` begins with `rtsp://`, `rtsps://` for tls."""
    if client in FFMPEGS:
        return _ffmpeg_play(client, transport, url, codec, folder, seconds)
    return _gstreamer_play(transport, url, codec, folder, seconds)


def _ffmpeg_play(
    client: str, transport: str, url: str, codec: str, folder: Path, seconds: float
) -> Recording:
    names = {"multicast": "udp_multicast", "tls": "tcp", "srtp": "udp"}
    command = [FFMPEGS[client], "-nostdin", "-hide_banner", "-v", "warning", "-y", "-copyts"]
    command += ["-rtsp_transport", names.get(transport, transport)]
    command += ["-min_port", "20000", "-max_port", "30000"]
    if client == "ffmpeg-new":
        command += ["-tls_verify", "0"]
    if codec == "av1":  # one that does not know it would look at megabytes of it
        command += ["-probesize", "60000", "-analyzeduration", "1000000"]
    command += ["-i", url]
    for index in range(2 if codec == "aac" else 1):
        target = str(folder / f"{index}.data")
        command += ["-map", f"0:{index}", "-c", "copy", "-t", str(seconds), "-f", "data", target]
    listing = str(folder / "times")
    command += ["-map", "0", "-c", "copy", "-t", str(seconds), "-f", "framecrc", listing]
    return Recording(command, folder, True)


def _gstreamer_play(
    transport: str, url: str, codec: str, folder: Path, seconds: float
) -> Recording:
    protocols = {"multicast": "udp-mcast", "tls": "tcp", "http": "tcp", "srtp": "udp"}
    scheme, _, rest = url.partition("://")
    where = f"rtsph://{rest}" if transport == "http" else f"{scheme}://{rest}"
    source = f"rtspsrc location={where} protocols={protocols.get(transport, transport)}"
    # Times as the packets have them, instead of times that follow the sender's clock.
    source += " buffer-mode=none latency=300"
    if scheme == "rtsps":
        source += f" {ANY_CERTIFICATE}"
    chains = {}
    for name in ("h264", "aac") if codec == "aac" else (codec,):
        kind, depayloader = DEPAYLOADERS[name]
        rate = 45 if name == "aac" else 50 if kind == "audio" else 30
        chains[kind] = (
            f"{depayloader} ! identity eos-after={int(seconds * rate)} ! gdppay ! "
            f"filesink location={folder / kind}.gdp async=false"
        )
    if len(chains) == 1:
        pipeline = f"{source} ! {next(iter(chains.values()))}"
        return Recording(["gst-launch-1.0", "-q", *pipeline.split()], folder, False)
    parts = [f"{kind}={chain}" for kind, chain in chains.items()]
    return Recording([SYSTEM_PYTHON, str(PLAYER), source, *parts], folder, False)


def publish_command(client: str, transport: str, url: str, codec: str, file: Path) -> list[str]:
    """Send a file at its own pace, once."""
    if client in FFMPEGS:
        names = {"tls": "tcp", "multicast": "udp_multicast"}
        command = [FFMPEGS[client], "-nostdin", "-hide_banner", "-v", "warning", "-re"]
        command += ["-i", str(file), "-map", "0", "-c", "copy", "-strict", "experimental"]
        command += ["-f", "rtsp", "-rtsp_transport", names.get(transport, transport)]
        command += ["-min_port", "20000", "-max_port", "30000"]
        if client == "ffmpeg-new":
            command += ["-tls_verify", "0"]
        return [*command, url]
    protocols = {"multicast": "udp-mcast", "tls": "tcp", "http": "tcp", "srtp": "udp"}
    scheme, _, rest = url.partition("://")
    where = f"rtsph://{rest}" if transport == "http" else f"{scheme}://{rest}"
    sink = f"rtspclientsink name=r location={where} protocols={protocols.get(transport, transport)}"
    if scheme == "rtsps":
        sink += f" {ANY_CERTIFICATE}"
    if transport == "srtp":
        sink += " profiles=savp"
    if codec == "aac":
        chains = "d.video_0 ! h264parse ! queue ! r. d.audio_0 ! aacparse ! queue ! r."
        pipeline = f"filesrc location={file} ! qtdemux name=d {sink} {chains}"
    else:
        pipeline = f"filesrc location={file} ! {DEMUXERS[codec]} ! queue ! {sink}"
    return ["gst-launch-1.0", "-q", *pipeline.split()]


def read_dump(folder: Path) -> dict[str, frames.TrackUnits]:
    """What FFmpeg dumped: the list of its packets, and the bytes of each track."""
    headers: dict[str, dict[int, str]] = {}
    rows: dict[int, list[tuple[int, int, int]]] = {}
    if not (folder / "times").exists():
        raise frames.FormatError("nothing was recorded")
    for line in (folder / "times").read_text().splitlines():
        if line.startswith("#"):
            head, _, value = line[1:].partition(": ")
            name, _, index = head.partition(" ")
            if index.isdigit():
                headers.setdefault(name, {})[int(index)] = value
            continue
        fields = [field.strip() for field in line.split(",")]
        if len(fields) >= 6:
            number, dts, pts, _, size = map(int, fields[:5])
            rows.setdefault(number, []).append((dts, pts, size))
    tracks = {}
    for number, packets in sorted(rows.items()):
        codec = headers["codec_id"][number]
        kind = headers["media_type"][number]
        data, at, units = (folder / f"{number}.data").read_bytes(), 0, []
        for dts, pts, size in packets:
            if at + size > len(data):
                break
            pieces = pieces_of(codec, data[at : at + size])
            at += size
            if pieces:
                units.append(frames.Unit(pieces, pts, dts))
        rate = int(headers.get("sample_rate", {}).get(number, "0"))
        base = Fraction(headers["tb"][number])
        tracks[kind] = frames.TrackUnits(kind, codec, base, tuple(units), rate)
    if not tracks:
        raise frames.FormatError("nothing was recorded")
    return tracks


def read_gdp(folder: Path) -> dict[str, frames.TrackUnits]:
    """What GStreamer dumped: events, caps and buffers, each behind a header of its own."""
    tracks = {}
    for kind in ("video", "audio"):
        file = folder / f"{kind}.gdp"
        data, at, codec, units = file.read_bytes() if file.exists() else b"", 0, "", []
        while at + GDP.size <= len(data):
            _, what, size, pts, _ = GDP.unpack_from(data, at)
            at += GDP.size
            body = data[at : at + size]
            at += size
            if what == GDP_CAPS:
                codec = GST_CODECS[body.partition(b",")[0].decode()]
            elif what == GDP_BUFFER and (pieces := pieces_of(codec, body)):
                known = pts if pts < 1 << 63 else NO_PTS
                units.append(frames.Unit(pieces, known, known))
        if units:
            base = Fraction(1, 1_000_000_000)
            tracks[kind] = frames.TrackUnits(kind, codec, base, tuple(units))
    if not tracks:
        raise frames.FormatError("nothing was recorded")
    return tracks


def pieces_of(codec: str, data: bytes) -> tuple[bytes, ...]:
    """One packet as FFmpeg's RTSP demuxer gives it, taken apart."""
    if codec in ("h264", "hevc"):
        nals = frames.split_start_codes(data)
        return tuple(nal for nal in nals if nal and frames.counts(nal, codec))
    return frames.split_obus(data) if codec == "av1" else (data,)


def capture(
    url: str, units: Mapping[str, int], limit: float, transport: str = "tcp"
) -> dict[str, frames.TrackUnits]:
    """Play a stream inside this process until there are so many units of each kind."""
    options = {
        "rtsp_transport": transport,
        "fflags": "+nofillin",
        "probesize": "60000",
        "timeout": str(int(limit * 1e6)),
    }
    found: dict[int, list[frames.Unit]] = {}
    with av.open(url, options=options, timeout=limit) as opened:
        streams = {s.index: s for s in opened.streams if s.type in units}
        for index in streams:
            found[index] = []
        for packet in opened.demux(list(streams.values())):
            pieces = pieces_of(frames.codec_of(packet.stream), bytes(packet)) if packet.size else ()
            if pieces:
                pts = NO_PTS if packet.pts is None else packet.pts
                found[packet.stream.index].append(frames.Unit(pieces, pts, pts))
            if all(len(found[i]) >= units[s.type] for i, s in streams.items()):
                break
        return {
            stream.type: frames.TrackUnits(
                kind=stream.type,
                codec=frames.codec_of(stream),
                time_base=Fraction(stream.time_base or 0),
                units=tuple(found[index]),
                sample_rate=getattr(stream.codec_context, "sample_rate", 0) or 0,
            )
            for index, stream in streams.items()
        }
