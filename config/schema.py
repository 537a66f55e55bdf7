"""The configuration as an immutable snapshot: every key, its bounds and its default.

`config/flux.yaml` documents the same keys for people; a test holds the two together. Durations
are seconds (float), sizes are bytes (int). Unknown keys are refused.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from config.access import AccessSection
from config.addresses import ListenAddress
from config.audio import AudioChoice
from config.continuity import OFF, FallbackList, SlateChoice
from config.forward import ForwardList, ForwardSection
from config.groups import GroupName, GroupSection, check_groups
from config.hls import HlsSection, HlsStreamSection
from config.hooks import AuthorizeSection, HookList
from config.names import check_stream_name
from config.patterns import check_name_or_pattern
from config.quantities import DurationIn, SizeIn
from config.rtsp import RtspListener, RtspRange, RtspSection
from config.section import Section, nothing_is_empty
from config.srt import SrtListener, SrtSection, SrtStreamSection
from config.tls import Fingerprint, TlsSection
from config.urls import SourceUrl

StreamName = Annotated[str, AfterValidator(check_name_or_pattern)]


class LogSection(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lines below this level are not written."""
    format: Literal["auto", "text", "json"] = "auto"
    """`auto` is `text` when standard output is a terminal, else `json`, one object a line."""


class HttpListener(Section):
    """The media listener: FLV, MPEG-TS, MP4, sound, HLS, pages."""

    address: ListenAddress = ListenAddress("", 8888)
    """Where it binds; an empty host is every address, IPv4 and IPv6."""
    tls_address: ListenAddress | None = None
    """Where HTTPS and secure WebSocket bind, mostly `:8443`; null: nowhere."""
    tls: TlsSection = TlsSection()
    """Certificate and key of HTTPS; without them FLUX makes a certificate of its own."""
    header_size: Annotated[int, SizeIn("1K", "1M")] = 16 << 10
    """Longest request head that is taken."""
    header_timeout: Annotated[float, DurationIn("100ms", "5m")] = 10.0
    """How long a client may take to send the head of a request."""


class ApiListener(Section):
    """The admin API with health and metrics."""

    address: ListenAddress = ListenAddress("127.0.0.1", 9997)
    """Where it binds; off localhost only health and metrics are served without credentials."""
    tls_address: ListenAddress | None = None
    """Where it binds with TLS, mostly `:9998`; null: nowhere."""
    tls: TlsSection = TlsSection()
    """Certificate and key; without them FLUX makes a certificate of its own."""


class ListenersSection(Section):
    """Every address that FLUX binds."""

    http: HttpListener = HttpListener()
    """The media listener."""
    api: ApiListener = ApiListener()
    """The admin API."""
    rtsp: RtspListener = RtspListener()
    """The RTSP listener."""
    srt: SrtListener = SrtListener()
    """The SRT listener."""


class StreamSection(Section):
    """One stream, or all streams whose names match a pattern."""

    source: SourceUrl | None = None
    """`rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH` (or `rtsps://`), `srt://HOST:PORT?OPTIONS`, `rtp://`
    and `udp://HOST:PORT`, `http://HOST/NAME.flv` (or `https://`, `ws://`, `wss://`), or `testcard:`
    for the built-in test card.

    Without one the stream waits for somebody who publishes it. Under a pattern, `$1` to `$9`
    stand for what its variable parts matched, and `$name` for the whole name.
    """
    fallback: FallbackList = ()
    """Sources for when `source`, or who publishes by himself, is lost or silent: the best first."""
    slate: SlateChoice | None = None
    """What is shown while no source delivers: `off`, `builtin` or the path of an MP4 file.

    Null: what `sources.slate` says.
    """
    max_lag: Annotated[float, DurationIn("100ms", "5m")] | None = None
    """A reader of it that lags more skips to the next key frame; null: `fanout.lag_limit`."""
    audio: AudioChoice | None = None
    """What becomes of its sound, in one word or by output; null: what `sources.audio` says."""
    on_demand: bool = False
    """Fetch it only while somebody reads it."""
    transport: Literal["auto", "tcp", "udp", "multicast", "http"] = "auto"
    """How RTP travels from the camera; `auto` tries TCP first, `http` is RTSP within HTTP."""
    fingerprint: Fingerprint | None = None
    """SHA-256 of the certificate of an `rtsps://`, `https://` or `wss://` server, in place of a
    check by authorities."""
    range: RtspRange = ""
    """What of a recording an RTSP server plays: `npt=0-60`, `clock=20261121T080000Z-`."""
    interface: str = ""
    """Interface that joins multicast groups, by name or address; empty: the system's choice."""
    sdp: str = ""
    """Of an `rtp://` source: the path of its session description, or the description itself."""
    forward: ForwardList = ()
    """Where the stream is sent to: `rtsp://`, `rtsps://`, `srt://`, `rtp://` and `udp://` URLs."""
    srt: Annotated[
        SrtStreamSection,
        BeforeValidator(nothing_is_empty, json_schema_input_type=SrtStreamSection | None),
    ] = SrtStreamSection()
    """What SRT asks for at this stream, in place of the server's own."""
    hls: Annotated[
        HlsStreamSection,
        BeforeValidator(nothing_is_empty, json_schema_input_type=HlsStreamSection | None),
    ] = HlsStreamSection()
    """HLS of this stream, where it is not as `hls` has it."""
    second_publisher: Literal["refuse", "take_over"] = "refuse"
    """What happens to one who wants to publish a stream that somebody publishes already."""


class SourcesSection(Section):
    """How sources start, are retried and end."""

    start_timeout: Annotated[float, DurationIn("100ms", "5m")] = 10.0
    """How long a reader of an on-demand stream is held until the stream is ready."""
    close_after: Annotated[float, DurationIn("0", "1d")] = 10.0
    """How long an on-demand source goes on after its last reader left."""
    grace_period: Annotated[float, DurationIn("0", "1d")] = 30.0
    """How long readers are held when a source is lost and there is no slate, until it returns."""
    slate: SlateChoice = OFF
    """What streams show while their source is away, unless they say otherwise: `off`, `builtin` or
    the path of an MP4 file."""
    audio: AudioChoice = "keep"
    """What becomes of sound: with `aac` or `opus` a worker process makes that of it for outputs
    which cannot carry what the source sends, `keep` leaves it out there, `drop` everywhere. Or what
    single outputs have, such as `{hls: aac, rtsp: keep}`."""
    slate_timeout: Annotated[float, DurationIn("0", "365d")] = 0.0
    """A slate is shown at most so long, then readers are closed; 0: until the source returns."""
    silent_after: Annotated[float, DurationIn("500ms", "1h")] = 2.0
    """A source without media for so long is lost where there is a slate or another source."""
    switch_after: Annotated[float, DurationIn("100ms", "1h")] = 5.0
    """How long a source may take to deliver before the next of `fallback` is tried as well."""
    return_after: Annotated[float, DurationIn("0", "1d")] = 10.0
    """How long a better source has to deliver without a break before it is on air again."""
    connect_timeout: Annotated[float, DurationIn("100ms", "5m")] = 5.0
    """How long the name look-up and the connection to a camera may take."""
    request_timeout: Annotated[float, DurationIn("100ms", "5m")] = 10.0
    """How long a camera may take to answer a request."""
    media_timeout: Annotated[float, DurationIn("500ms", "1h")] = 10.0
    """A source that sends no media for so long is connected anew."""
    retry_first: Annotated[float, DurationIn("10ms", "1h")] = 1.0
    """Wait before the first new attempt; it doubles with each, with some jitter."""
    retry_longest: Annotated[float, DurationIn("10ms", "1d")] = 30.0
    """Longest wait between attempts."""
    retry_refused: Annotated[float, DurationIn("10ms", "1d")] = 60.0
    """Wait after the camera refused credentials or does not know the path (401, 403, 404)."""
    udp_receive_buffer: Annotated[int, SizeIn("64K", "256M")] = 4 << 20
    """Kernel buffer asked for UDP media; FLUX warns where the kernel gives less."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.retry_longest < self.retry_first:
            raise ValueError("expected retry_longest to be at least retry_first")
        return self


class PublishersSection(Section):
    """Those who push streams to FLUX."""

    any_name: bool = True
    """Take streams under names that no entry of `streams` stands for."""
    media_timeout: Annotated[float, DurationIn("500ms", "1h")] = 10.0
    """A publisher that sends no media for so long is closed."""


class GopCacheSection(Section):
    """The frames that a stream keeps so that a joiner starts at once; the first bound holds."""

    duration: Annotated[float, DurationIn("0", "5m")] = 20.0
    """Longest time kept."""
    frames: Annotated[int, Field(ge=0, le=100_000)] = 4000
    """Most frames kept, video and audio together."""
    size: Annotated[int, SizeIn("0", "4G")] = 32 << 20
    """Most bytes kept."""


class FanoutSection(Section):
    """How one stream's bytes reach many readers."""

    write_window: Annotated[float, DurationIn("0", "1s")] = 0.1
    """Longest time that TCP outputs join what they write; few readers never wait so long. SRT
    readers get theirs in steps no longer than this."""
    lag_mark: Annotated[float, DurationIn("10ms", "1m")] = 0.5
    """A reader that lags more gets no more bytes until its connection has taken what it has."""
    lag_limit: Annotated[float, DurationIn("100ms", "5m")] = 3.0
    """A reader that lags more skips to the next key frame."""
    stall_timeout: Annotated[float, DurationIn("1s", "1h")] = 10.0
    """A reader that takes nothing for so long is closed."""
    send_buffer: Annotated[int, SizeIn("16K", "64M")] = 256 << 10
    """Kernel send buffer of a reader's connection."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.lag_limit <= self.lag_mark:
            raise ValueError("expected lag_limit to be more than lag_mark")
        return self


class FlvSection(Section):
    """HTTP-FLV and WS-FLV."""

    format: Literal["auto", "legacy", "enhanced"] = "auto"
    """Form of the tags unless a reader's URL says `?flv=`: with FourCC only what needs it, none,
    all that have one."""

    start: Literal["gop", "key", "live"] = "gop"
    """Where a reader begins unless its URL says `?start=`: cache, next key frame, live edge."""


class PlayerSection(Section):
    """The player page `/NAME/` and the list of streams at `/`."""

    enabled: bool = True
    """Serve the pages."""
    list: bool = True
    """Show the names of all streams at `/`."""


class LimitsSection(Section):
    """What one peer may take."""

    connections_per_address: Annotated[int, Field(ge=0, le=1_000_000)] = 4096
    """Connections to the media listener from one IP address; 0 is no limit."""
    readers_per_stream: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Readers of one stream; 0 is no limit."""
    sessions_per_address: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Readers from one IP address; 0 is no limit."""
    egress: Annotated[int, SizeIn("0", "100G")] = 0
    """Bits a second to all readers together, from which on new ones are refused; 0 is no limit."""
    loop_lag: Annotated[float, DurationIn("0", "10s")] = 0.1
    """New readers are refused while the event loop is later than this; 0 lets them in."""
    undeclared_streams: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Streams that exist at one time because a pattern stands for them or somebody publishes."""


class Config(Section):
    """The whole configuration."""

    log: LogSection = LogSection()
    """Logs."""
    loop: Literal["auto", "uvloop", "asyncio"] = "auto"
    """Event loop; `auto` is uvloop where it is installed."""
    shutdown_timeout: Annotated[float, DurationIn("0", "5m")] = 4.0
    """How long readers and sources may take to end properly when FLUX is told to stop."""
    listeners: ListenersSection = ListenersSection()
    """Every address that FLUX binds."""
    streams: Annotated[Mapping[StreamName, StreamSection], BeforeValidator(nothing_is_empty)] = (
        Field(default_factory=dict)
    )
    """The streams that FLUX fetches itself, by name."""
    groups: Annotated[Mapping[GroupName, GroupSection], BeforeValidator(nothing_is_empty)] = Field(
        default_factory=dict
    )
    """Several streams of one picture under one name, from which HLS players choose."""
    sources: SourcesSection = SourcesSection()
    """How sources start, are retried and end."""
    forwarding: ForwardSection = ForwardSection()
    """How targets that fail are tried again."""
    publishers: PublishersSection = PublishersSection()
    """Those who push streams to FLUX."""
    gop_cache: GopCacheSection = GopCacheSection()
    """What a stream keeps for joiners."""
    fanout: FanoutSection = FanoutSection()
    """How one stream's bytes reach many readers."""
    flv: FlvSection = FlvSection()
    """HTTP-FLV."""
    hls: HlsSection = HlsSection()
    """HLS."""
    rtsp: RtspSection = RtspSection()
    """RTSP sessions."""
    srt: SrtSection = SrtSection()
    """SRT sessions."""
    player: PlayerSection = PlayerSection()
    """The pages for people."""
    access: AccessSection = AccessSection()
    """Who may do what."""
    hooks: HookList = ()
    """Services and programs that are told when something happens."""
    authorize: AuthorizeSection = AuthorizeSection()
    """The service that is asked before somebody enters."""
    limits: LimitsSection = LimitsSection()
    """What one peer may take."""

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        check_groups(self.groups, self.streams)
        return self


def with_source(config: Config, name: str, url: str) -> Config:
    """The configuration with one more stream (or another source for it), as `--pull` gives it.

    Raises `ValueError` with the reason, never with the URL's credentials.
    """
    stream = StreamSection(source=SourceUrl.parse(url))
    if name in config.groups:
        raise ValueError(f"there is a group of this name, {name!r}")
    return config.model_copy(
        update={"streams": {**config.streams, check_stream_name(name): stream}}
    )
