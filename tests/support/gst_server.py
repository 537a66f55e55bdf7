#!/usr/bin/python3
"""A camera for tests: serves clips over RTSP with GStreamer's RTSP server, exact to the tick.

    /usr/bin/python3 gst_server.py --clip a.mp4 [--mount /live] [--once|--loop] [--port 0] ...
    /usr/bin/python3 gst_server.py --serve /a=a.mp4 --serve /b=b.ts,audio=pcma,once ...

It runs under Debian's own Python (packages python3-gi and gir1.2-gst-rtsp-server-1.0) and uses
nothing of FLUX. Each clip is demuxed and parsed once into memory. Every client gets a pipeline of
its own (`appsrc ! payloader` for each track) that begins with the clip's first access unit at
PLAY. The payloaders see times that are whole ticks of the RTP clock, so the RTP timestamps are the
clip's times and not nanoseconds rounded down. In a loop each round's times continue the last one's
by the loop's period, a multiple of 10 ms and so a whole number of ticks of every clock.

It prints one line of JSON when it is ready, `{"port": 8554, "mounts": {"/live": {"period_ms":
10020, "tracks": ["video/x-h264", "audio/mpeg"]}}}`, and ends at SIGTERM or SIGINT.
"""

import argparse
import json
import signal
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

SECOND = 1_000_000_000  # ns
ROUND_TO = SECOND // 100  # a whole number of ticks at 90,000, 48,000, 44,100 and 8,000 Hz
LOAD_LIMIT = 120 * SECOND
UNLIMITED = "queue max-size-time=0 max-size-buffers=0 max-size-bytes=0"
PAYLOADERS = {
    "video/x-h264": "rtph264pay config-interval={interval} aggregate-mode={aggregate}",
    "video/x-h265": "rtph265pay config-interval={interval} aggregate-mode={aggregate}",
    "audio/mpeg": "rtpmp4gpay",
    "audio/x-opus": "rtpopuspay",
    "audio/x-alaw": "rtppcmapay",
    "audio/x-mulaw": "rtppcmupay",
}
STATIC = frozenset({"audio/x-alaw", "audio/x-mulaw"})  # payload types 8 and 0 (RFC 3551)
PARSERS = {
    "video/x-h264": "h264parse ! video/x-h264,stream-format=avc,alignment=au",
    "video/x-h265": "h265parse ! video/x-h265,stream-format=hvc1,alignment=au",
    "audio/mpeg": "aacparse ! audio/mpeg,stream-format=raw",
    "audio/x-opus": "opusparse",
    "audio/x-alaw": "identity silent=true",
    "audio/x-mulaw": "identity silent=true",
}
DECODERS = {"audio/mpeg": "aacparse ! avdec_aac", "audio/x-opus": "opusparse ! opusdec"}
G711 = (  # in packets of 20 ms
    "audioconvert ! audioresample ! audio/x-raw,rate=8000,channels=1,format=S16LE ! "
    "audiobuffersplit output-buffer-duration=1/50"
)
ENCODERS = {"pcma": f"{G711} ! alawenc", "pcmu": f"{G711} ! mulawenc"}
TRANSPORTS = {
    "tcp": GstRtsp.RTSPLowerTrans.TCP,
    "udp": GstRtsp.RTSPLowerTrans.UDP,
    "mcast": GstRtsp.RTSPLowerTrans.UDP_MCAST,
}
PROFILES = {
    "avp": GstRtsp.RTSPProfile.AVP,
    "avpf": GstRtsp.RTSPProfile.AVPF,
    "savp": GstRtsp.RTSPProfile.SAVP,
    "savpf": GstRtsp.RTSPProfile.SAVPF,
}
DEPAYLOADERS = {
    "h264": "rtph264depay name=depay{number} ! h264parse ! video/x-h264,alignment=au",
    "h265": "rtph265depay name=depay{number} ! h265parse ! video/x-h265,alignment=au",
    "aac": "rtpmp4gdepay name=depay{number} ! aacparse",
    "opus": "rtpopusdepay name=depay{number} ! opusparse",
}


@dataclass
class Track:
    """One track of a clip in memory."""

    caps: Any  # Gst.Caps
    units: list[tuple[int, int, int, bytes]]  # pts, dts, duration in ns; data

    @property
    def media(self) -> str:
        """The caps' name, such as `video/x-h264`."""
        return str(self.caps.get_structure(0).get_name())

    @property
    def clock_rate(self) -> int:
        """Hz of the RTP clock."""
        if self.media.startswith("video/"):
            return 90_000
        if self.media == "audio/x-opus":
            return 48_000
        return int(self.caps.get_structure(0).get_int("rate").value)


@dataclass
class Mount:
    """What one path serves, and how."""

    path: str
    clip: Path
    groups: str = ""  # multicast: FIRST-LAST:PORT-PORT
    mp2t: bool = False  # a transport stream as it is, within RTP (RFC 2250); once
    once: bool = False
    audio: str = ""  # pcma or pcmu: transcode the sound
    only: str = ""  # video or audio: leave the other out
    mtu: int = 1400
    aggregate: str = "none"  # zero-latency: STAP-A and AP packets
    interval: int = 0  # seconds between parameter sets in band; -1: with each key frame
    protocols: str = "tcp+udp"
    profiles: str = "avp"  # avp, avpf, savp, savpf; several joined by +
    tracks: list[Track] = field(default_factory=list)
    period: int = 0  # ns

    def load(self) -> None:
        """Read the clip's tracks; times are moved so that the first one is 0."""
        if self.mp2t:
            return
        self.tracks = Loader(self).run()
        if not self.tracks:
            raise SystemExit(f"{self.clip}: no track that can be served")
        start = min(min(pts, dts) for track in self.tracks for pts, dts, _, _ in track.units)
        end = 0
        for track in self.tracks:
            track.units = [
                (pts - start, dts - start, span, data) for pts, dts, span, data in track.units
            ]
            end = max(end, max(pts + span for pts, _, span, _ in track.units))
        self.period = -(-end // ROUND_TO) * ROUND_TO


class Loader:
    """Demuxes and parses one clip to its end, as fast as it goes."""

    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        self._sinks: list[Any] = []
        self._pipeline = Gst.parse_launch("filesrc name=file ! parsebin name=parse")
        self._pipeline.get_by_name("file").set_property("location", str(mount.clip))
        self._pipeline.get_by_name("parse").connect("pad-added", self._on_pad)

    def run(self) -> list[Track]:
        """The clip's tracks, video first."""
        self._pipeline.set_state(Gst.State.PLAYING)
        wanted = Gst.MessageType.EOS | Gst.MessageType.ERROR
        message = self._pipeline.get_bus().timed_pop_filtered(LOAD_LIMIT, wanted)
        if message is None or message.type == Gst.MessageType.ERROR:
            what = message.parse_error().gerror.message if message else "no end in sight"
            raise SystemExit(f"{self._mount.clip}: {what}")
        tracks = [track for sink in self._sinks if (track := collect(sink)).units]
        self._pipeline.set_state(Gst.State.NULL)
        return sorted(tracks, key=lambda track: not track.media.startswith("video/"))

    def _on_pad(self, _parse: Any, pad: Any) -> None:
        mount = self._mount
        name = (pad.get_current_caps() or pad.query_caps()).get_structure(0).get_name()
        kind = name.split("/")[0]
        chain = PARSERS.get(name, "")
        if kind == "audio" and mount.audio:
            chain = f"{DECODERS[name]} ! {ENCODERS[mount.audio]}"
        if mount.only and kind != mount.only:
            chain = ""
        tail = "appsink name=out sync=false async=false wait-on-eos=false"
        description = f"{UNLIMITED} ! {chain} ! {tail}" if chain else "fakesink async=false"
        part = Gst.parse_bin_from_description(description, True)
        if chain:
            self._sinks.append(part.get_by_name("out"))
        self._pipeline.add(part)
        part.sync_state_with_parent()
        pad.link(part.get_static_pad("sink"))


def collect(sink: Any) -> Track:
    """All samples of an appsink; times are running times, signed."""
    units: list[tuple[int, int, int, bytes]] = []
    caps = None
    while (sample := sink.emit("try-pull-sample", 0)) is not None:
        buffer, segment = sample.get_buffer(), sample.get_segment()
        caps = sample.get_caps()
        pts = running_time(segment, buffer.pts)
        dts = pts if buffer.dts == Gst.CLOCK_TIME_NONE else running_time(segment, buffer.dts)
        span = 0 if buffer.duration == Gst.CLOCK_TIME_NONE else buffer.duration
        units.append((pts, dts, span, buffer.extract_dup(0, buffer.get_size())))
    return Track(caps, units)


def running_time(segment: Any, position: int) -> int:
    """A stream time as running time, negative where it lies before the segment."""
    sign, value = segment.to_running_time_full(Gst.Format.TIME, position)
    return int(value) * int(sign)


class Feeder:
    """Feeds one track of one client's pipeline, on and on."""

    def __init__(self, mount: Mount, track: Track, source: Any) -> None:
        self._mount = mount
        self._track = track
        self._place = 0
        source.set_property("caps", track.caps)
        source.connect("need-data", self._on_need_data)

    def _on_need_data(self, source: Any, _size: int) -> None:
        mount = self._mount
        lap, index = divmod(self._place, len(self._track.units))
        if lap and mount.once:
            source.emit("end-of-stream")
            return
        self._place += 1
        pts, dts, span, data = self._track.units[index]
        buffer = Gst.Buffer.new_wrapped(data)
        buffer.pts = self._on_tick(pts) + lap * mount.period
        buffer.dts = dts + lap * mount.period
        buffer.duration = span or Gst.CLOCK_TIME_NONE
        source.emit("push-buffer", buffer)

    def _on_tick(self, time: int) -> int:
        """The first nanosecond of the RTP tick that is next to `time`."""
        rate = self._track.clock_rate
        tick = (2 * time * rate + SECOND) // (2 * SECOND)
        return -(-tick * SECOND // rate)


def factory_of(mount: Mount) -> Any:
    """A factory that makes one pipeline for each client of a mount."""
    factory = GstRtspServer.RTSPMediaFactory()
    parts = [
        f"appsrc name=source{number} format=time max-bytes=0 max-buffers=8 ! "
        + PAYLOADERS[track.media].format(interval=mount.interval, aggregate=mount.aggregate)
        + f" name=pay{number} mtu={mount.mtu} perfect-rtptime=false"
        + ("" if track.media in STATIC else f" pt={96 + number}")
        for number, track in enumerate(mount.tracks)
    ]
    if mount.mp2t:
        parse = "tsparse set-timestamps=true alignment=7"
        parts = [f"filesrc location={mount.clip} ! {parse} ! rtpmp2tpay name=pay0 pt=33"]
    factory.set_launch(f"( {' '.join(parts)} )")
    factory.set_shared(False)
    factory.set_protocols(any_of([TRANSPORTS[name] for name in mount.protocols.split("+")]))
    factory.set_profiles(any_of([PROFILES[name] for name in mount.profiles.split("+")]))
    if mount.groups:
        addresses, _, ports = mount.groups.partition(":")
        first, _, last = addresses.partition("-")
        low, _, high = ports.partition("-")
        pool = GstRtspServer.RTSPAddressPool()
        pool.add_range(first, last, int(low), int(high), 1)
        factory.set_address_pool(pool)

    def configure(_factory: Any, media: Any) -> None:
        element = media.get_element()
        for number, track in enumerate(mount.tracks):
            Feeder(mount, track, element.get_by_name(f"source{number}"))

    factory.connect("media-configure", configure)
    return factory


def any_of(flags: list[Any]) -> Any:
    """Flags joined; of one alone the value itself."""
    result = flags[0]
    for flag in flags[1:]:
        result |= flag
    return result


def recorder(file: str, codecs: list[str], profiles: str) -> Any:
    """A factory that writes what clients record (ANNOUNCE, RECORD) to an MPEG-TS file."""
    factory = GstRtspServer.RTSPMediaFactory()
    chains = [
        DEPAYLOADERS[codec].format(number=number) + f" ! {UNLIMITED} ! mux."
        for number, codec in enumerate(codecs)
    ]
    sink = f"mpegtsmux name=mux ! filesink location={file} sync=false async=false"
    factory.set_launch(f"( {' '.join(chains)} {sink} )")
    factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
    factory.set_profiles(any_of([PROFILES[name] for name in profiles.split("+")]))
    factory.set_latency(200)
    return factory


def secured(auth: Any, files: str) -> Any:
    """TLS alone on the port, with `CERTIFICATE:KEY`; anybody may come in unless `auth` says who."""
    certificate, _, key = files.partition(":")
    if auth is None:
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth = GstRtspServer.RTSPAuth()
        auth.set_default_token(token)
    auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(certificate, key))
    return auth


def authentication(user: str, password: str, methods: str) -> Any:
    """Lets this user in and nobody else; `methods` is basic, digest or basic+digest."""
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth = GstRtspServer.RTSPAuth()
    auth.set_realm("flux tests")
    kinds = GstRtsp.RTSPAuthMethod
    flags = [{"basic": kinds.BASIC, "digest": kinds.DIGEST}[name] for name in methods.split("+")]
    auth.set_supported_methods(flags[0] if len(flags) == 1 else kinds.BASIC)
    if "basic" in methods:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    if "digest" in methods:
        auth.add_digest(user, password, token)
    return auth


def permissions() -> Any:
    """What the one user may do with a mount."""
    result = GstRtspServer.RTSPPermissions()
    result.add_permission_for_role("viewer", "media.factory.access", True)
    result.add_permission_for_role("viewer", "media.factory.construct", True)
    return result


def mount_of(text: str, defaults: argparse.Namespace) -> Mount:
    """A mount from `/path=file[,option[=value]]...`; options are the fields of `Mount`."""
    path, _, rest = text.partition("=")
    clip, *options = rest.split(",")
    mount = Mount(
        path,
        Path(clip),
        once=defaults.once,
        mtu=defaults.mtu,
        protocols=defaults.protocols.replace(",", "+"),
    )
    kinds = {item.name: item.type for item in fields(Mount)}
    for option in options:
        name, _, value = option.partition("=")
        if name not in kinds:
            raise SystemExit(f"{text}: no option {name}")
        kind = kinds[name]
        setattr(mount, name, True if kind is bool else int(value) if kind is int else value)
    return mount


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Serve clips over RTSP with GStreamer.")
    parser.add_argument("--clip", help="one clip, at the path that --mount names")
    parser.add_argument("--mount", default="/live")
    parser.add_argument("--serve", action="append", default=[], metavar="/PATH=FILE[,OPTION]...")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--once", action="store_true", help="end each client's stream at its end")
    parser.add_argument("--loop", dest="once", action="store_false", help="go on (default)")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--auth", default="basic", help="basic, digest")
    parser.add_argument("--protocols", default="tcp,udp", help="tcp, udp, mcast")
    parser.add_argument("--tls", help="CERTIFICATE:KEY, files in PEM: serve rtsps alone")
    parser.add_argument(
        "--record", action="append", default=[], metavar="/PATH=FILE.ts,CODEC[+CODEC]"
    )
    parser.add_argument("--record-profiles", default="avp", help="avp, savp, savpf, joined by +")
    parser.add_argument("--mtu", type=int, default=1400)
    return parser.parse_args()


def main() -> None:
    """Serve until told to stop."""
    args = arguments()
    Gst.init(None)
    texts = ([f"{args.mount}={args.clip}"] if args.clip else []) + args.serve
    mounts = [mount_of(text, args) for text in texts]
    server = GstRtspServer.RTSPServer()
    server.set_address(args.host)
    server.set_service(str(args.port))
    auth = authentication(args.user, args.password, args.auth) if args.user else None
    if args.tls:
        auth = secured(auth, args.tls)
    if auth is not None:
        server.set_auth(auth)
    points = server.get_mount_points()
    for mount in mounts:
        mount.load()
        factory = factory_of(mount)
        if auth is not None:
            factory.set_permissions(permissions())
        points.add_factory(mount.path, factory)
    for text in args.record:
        path, _, rest = text.partition("=")
        file, _, codecs = rest.rpartition(",")
        factory = recorder(file, codecs.split("+"), args.record_profiles)
        if auth is not None:
            factory.set_permissions(permissions())
        points.add_factory(path, factory)
    if not server.attach(None):
        raise SystemExit(f"cannot listen on {args.host}:{args.port}")
    loop = GLib.MainLoop()
    for number in (signal.SIGTERM, signal.SIGINT):
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, number, loop.quit)
    ready = {
        mount.path: {
            "period_ms": mount.period * 1000 // SECOND,
            "tracks": [track.media for track in mount.tracks],
        }
        for mount in mounts
    }
    print(json.dumps({"port": server.get_bound_port(), "mounts": ready}), flush=True)
    loop.run()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
