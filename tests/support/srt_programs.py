"""Command lines of programs that speak SRT through libsrt: any mode and key, bytes or media."""

from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

from tests.support.nobody import NOBODY
from tests.support.srt_peers import PACKET

FFMPEG_OLD, FFMPEG_NEW = "ffmpeg-5.1", "ffmpeg-new"
GSTREAMER, TRANSMIT, VLC = "gstreamer", "srt-live-transmit", "vlc"
PROGRAMS = (FFMPEG_OLD, FFMPEG_NEW, GSTREAMER, TRANSMIT, VLC)
FFMPEGS = {FFMPEG_OLD: "ffmpeg", FFMPEG_NEW: imageio_ffmpeg.get_ffmpeg_exe()}
CALLER, LISTENER, RENDEZVOUS = "caller", "listener", "rendezvous"
QUIET = ("-hide_banner", "-loglevel", "error")


@dataclass(frozen=True, slots=True)
class Way:
    """How a program connects. `host` and `port`: whom it calls, or where it listens."""

    program: str
    mode: str
    host: str
    port: int
    local: tuple[str, int] | None = None  # of a rendezvous
    latency_ms: int = 120
    passphrase: str = ""
    key_bytes: int = 0
    stream_id: str = ""
    more: tuple[tuple[str, object], ...] = ()  # further options of the URL

    @property
    def url(self) -> str:
        """For all but VLC with every option in it; GStreamer takes # for the end."""
        options: dict[str, object] = {"mode": self.mode, "latency": self.latency_ms}
        if self.program in FFMPEGS:  # it counts microseconds
            options |= {"latency": self.latency_ms * 1000, "pkt_size": PACKET}
        if self.program == VLC:
            del options["latency"]
        elif self.passphrase:
            options |= {"passphrase": self.passphrase, "pbkeylen": self.key_bytes}
        if self.local is not None:
            names = {TRANSMIT: ("adapter", "port"), GSTREAMER: ("localaddress", "localport")}
            options |= dict(zip(names.get(self.program, ()), self.local, strict=False))
        if self.stream_id and self.program not in (GSTREAMER, VLC):
            options["streamid"] = self.stream_id
        options |= dict(self.more)
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"srt://{host}:{self.port}?{query}"


def bytes_out(way: Way) -> list[str]:
    """Sends what comes on its standard input."""
    if way.program == TRANSMIT:
        return ["srt-live-transmit", "-q", "-a:no", f"-c:{PACKET}", "file://con", way.url]
    if way.program == GSTREAMER:
        source = ["fdsrc", "fd=0", f"blocksize={PACKET}", "!"]
        return ["gst-launch-1.0", "-q", *source, *_gst_sink(way), "sync=false"]
    return [
        *(FFMPEGS[way.program], *QUIET, "-analyzeduration", "0"),
        *("-f", "data", "-raw_packet_size", str(PACKET), "-i", "pipe:0"),
        *("-map", "0", "-c", "copy", "-flush_packets", "1", "-f", "data", way.url),
    ]


def bytes_in(way: Way, file: Path) -> list[str]:
    """Writes what it receives to `file`, as it came."""
    if way.program == TRANSMIT:  # it writes to its standard output alone
        shell = 'exec srt-live-transmit -q -a:no "$0" "$1" file://con >"$2"'
        return ["sh", "-c", shell, f"-c:{PACKET}", way.url, str(file)]
    if way.program == GSTREAMER:
        sink = ["!", "filesink", f"location={file}", "buffer-mode=unbuffered", "sync=false"]
        return ["gst-launch-1.0", "-q", *_gst_source(way), *sink]
    if way.program == VLC:
        return [*_vlc(way, file.parent), "--demux", "dump", "--demuxdump-file", str(file)]
    return [
        *(FFMPEGS[way.program], *QUIET, "-fflags", "nobuffer"),
        *("-f", "data", "-raw_packet_size", str(PACKET), "-i", way.url),
        *("-map", "0", "-c", "copy", "-flush_packets", "1", "-f", "data", "-y", str(file)),
    ]


def media_out(way: Way, clip: Path) -> list[str]:
    """Sends a transport stream in its own time; srt-live-transmit has no clock: `bytes_out`."""
    if way.program == GSTREAMER:
        parts = ["filesrc", f"location={clip}", "!", "tsparse", "set-timestamps=true"]
        return ["gst-launch-1.0", "-q", *parts, "alignment=7", "!", *_gst_sink(way), "sync=true"]
    media = ["-re", "-i", str(clip), "-c", "copy", "-f", "mpegts"]
    return [FFMPEGS[way.program], *QUIET, *media, way.url]


def media_in(way: Way, folder: Path, seconds: float) -> tuple[list[str], Path]:
    """Records: takes the stream apart where that is the program's business. And the file."""
    if way.program == GSTREAMER:
        file = folder / "got.mkv"
        text = (
            f"tsdemux name=d matroskamux name=m ! filesink location={file} "
            "d. ! h264parse ! queue ! m. d. ! aacparse ! queue ! m."
        )
        source = _gst_source(way)
        return [
            "gst-launch-1.0",
            "-q",
            "-e",
            *source,
            "do-timestamp=false",
            "!",
            *text.split(),
        ], file
    if way.program in FFMPEGS:
        file = folder / "got.mkv"
        probe = ["-probesize", "300000", "-i", way.url]  # by default it wants 5 seconds
        end = ["-c", "copy", "-t", str(seconds), "-y", str(file)]
        return [FFMPEGS[way.program], *QUIET, *probe, *end], file
    file = folder / "got.ts"
    return bytes_in(way, file), file


def _gst_sink(way: Way) -> list[str]:
    return ["srtsink", *_gst(way), "wait-for-connection=true"]


def _gst_source(way: Way) -> list[str]:
    return ["srtsrc", *_gst(way)]


def _gst(way: Way) -> list[str]:
    return [f'uri="{way.url}"', *([f'streamid="{way.stream_id}"'] if way.stream_id else [])]


def _vlc(way: Way, home: Path) -> list[str]:
    """Options of a connection are options of the program; the mode alone it reads in the URL."""
    words = [*NOBODY, "env", f"HOME={home}"]
    words += ["cvlc", "-vv", "-I", "dummy", way.url, "--latency", str(way.latency_ms)]
    if way.stream_id:
        words += ["--streamid", way.stream_id]
    if way.passphrase:
        words += ["--passphrase", way.passphrase, "--key-length", str(way.key_bytes)]
    return words
