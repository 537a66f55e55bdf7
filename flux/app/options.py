"""Sections of the configuration become options of the parts, which know no configuration."""

from collections.abc import Callable

from config.audio import audio_words
from config.schema import Config, StreamSection
from config.srt import SrtStreamSection
from flux.bridges.hls.options import HlsBridgeOptions
from flux.bridges.httppull.source import PullOptions as HttpPullOptions
from flux.bridges.rtsp.pull import Retries
from flux.bridges.rtsp.server import RtspBridgeOptions
from flux.bridges.srt.server import Passphrases, SrtBridgeOptions
from flux.bridges.srt.source import SrtSourceOptions
from flux.bridges.udp.source import DatagramOptions
from flux.core.limits import Limits
from media.feed_reader import FeedOptions
from media.gop import GopLimits
from media.hls.options import HlsOptions
from media.onair import OnAirOptions
from media.priority import PriorityOptions
from media.stream import StreamOptions
from protocols.rtsp.options import PullOptions, PushOptions, TransportChoice
from protocols.rtsp.range import PlayRange
from protocols.rtsp.server import ServerLimits
from protocols.rtsp.server_options import BASIC, ServerOptions

REFUSED_LONGEST = 300.0  # seconds between attempts at a camera that goes on refusing
ANSWER_MARGIN = 5.0  # seconds beyond the hold of a reader: the router answers first
HLS_FIRST_SEGMENTS = 10.0  # seconds that a playlist is held for once its stream is ready


AUDIO_FAMILIES = {"mp4": "fmp4", "rtsp": "rtp"}  # where media calls outputs by other names


def stream_options(config: Config, section: StreamSection) -> StreamOptions:
    """What a stream is made with."""
    cache, fanout = config.gop_cache, config.fanout
    max_lag = section.max_lag or fanout.lag_limit
    word, named = audio_words(section.audio, config.sources.audio)
    return StreamOptions(
        gop=GopLimits(cache.duration, cache.frames, cache.size),
        feed=FeedOptions(
            window=fanout.write_window,
            low_mark=min(fanout.lag_mark, max_lag),
            lag_bound=max_lag,
            stall_timeout=fanout.stall_timeout,
            log_seconds=max(cache.duration, max_lag),
        ),
        grace=config.sources.grace_period,
        audio=word,
        audio_by_output={AUDIO_FAMILIES.get(key, key): each for key, each in named.items()},
    )


def onair_options(config: Config) -> OnAirOptions:
    """When sources are lost, and for how long slates are shown."""
    sources = config.sources
    return OnAirOptions(sources.silent_after, sources.slate_timeout)


def priority_options(config: Config) -> PriorityOptions:
    """When one of several sources takes over."""
    sources = config.sources
    return PriorityOptions(sources.switch_after, sources.return_after)


def hls_options(config: Config, section: StreamSection | None = None) -> HlsBridgeOptions:
    """What the HLS bridge is made with, or what it does with one stream."""
    hls = config.hls if section is None else section.hls.over(config.hls)
    return HlsBridgeOptions(
        segmenter=HlsOptions(
            part_duration=hls.part_duration if hls.low_latency else 0.0,
            ready_segments=1 if hls.low_latency else HlsOptions().ready_segments,
            container=hls.container,
            segment_duration=hls.segment_duration,
            window_segments=hls.segment_count,
            window_duration=hls.window,
            window_bytes=hls.window_size,
            max_segment_bytes=hls.segment_size,
        ),
        always=hls.mode == "always",
        shared=hls.shared,
        close_after=hls.close_after,
        hold=config.sources.start_timeout + HLS_FIRST_SEGMENTS,
    )


def pull_options(config: Config, section: StreamSection) -> PullOptions:
    """What an RTSP source is made with."""
    sources = config.sources
    return PullOptions(
        transport=TransportChoice(section.transport),
        fingerprint=section.fingerprint.digest if section.fingerprint is not None else b"",
        interface=section.interface,
        range=PlayRange.parse(section.range) if section.range else None,
        connect_timeout=sources.connect_timeout,
        request_timeout=sources.request_timeout,
        media_timeout=sources.media_timeout,
        receive_buffer_bytes=sources.udp_receive_buffer,
    )


def rtsp_options(config: Config, challenges: tuple[str, ...]) -> RtspBridgeOptions:
    """What the RTSP server is made with; `challenges`: what can be asked of those who enter."""
    listener, rtsp = config.listeners.rtsp, config.rtsp
    tls = listener.tls_address
    return RtspBridgeOptions(
        host=listener.address.host,
        port=listener.address.port,
        tls_address=(tls.host, tls.port) if tls is not None else None,
        rtp=(listener.rtp_address.host, listener.rtp_address.port),
        rtcp_port=listener.rtcp_address.port,
        transports=frozenset(rtsp.transports),
        start=rtsp.start,
        send_buffer=config.fanout.send_buffer,
        groups=rtsp.multicast_groups,
        group_port=rtsp.multicast_port,
        group_ttl=rtsp.multicast_ttl,
        group_interface=rtsp.multicast_interface,
        server=ServerOptions(
            # A service has to see the password, and Digest hides it.
            schemes=(BASIC,) if config.authorize.url is not None else challenges or (BASIC,),
            session_timeout=rtsp.session_timeout,
            media_timeout=config.publishers.media_timeout,
            answer_timeout=config.sources.start_timeout + ANSWER_MARGIN,
        ),
        limits=ServerLimits(connections_per_address=config.limits.connections_per_address),
    )


def srt_options(
    config: Config, section_of: Callable[[str], StreamSection | None]
) -> SrtBridgeOptions:
    """What the SRT server is made with; `section_of`: what stands for a name, declared or not."""
    listener, srt = config.listeners.srt, config.srt

    def passphrases_of(name: str) -> Passphrases:
        section = section_of(name)
        own = section.srt if section is not None else SrtStreamSection()
        publish, read = own.publish_passphrase, own.read_passphrase
        return Passphrases(
            (srt.publish_passphrase if publish is None else publish).get_secret_value(),
            (srt.read_passphrase if read is None else read).get_secret_value(),
        )

    def is_adaptive(name: str) -> bool:
        section = section_of(name)
        return section is not None and section.srt.congestion == "aimd"

    return SrtBridgeOptions(
        host=listener.address.host,
        port=listener.address.port,
        latency_ms=round(srt.latency * 1000),
        read_latency_ms=round(srt.read_latency * 1000),
        key_bytes=srt.key_length,
        start=srt.start,
        media_timeout=config.publishers.media_timeout,
        idle_timeout=srt.idle_timeout,
        max_sessions=srt.max_sessions,
        connections_per_address=config.limits.connections_per_address,
        receive_buffer_bytes=srt.receive_buffer,
        passphrases_of=passphrases_of,
        is_adaptive=is_adaptive,
        failure_delay=config.access.penalties.delay,
    )


def srt_source_options(config: Config) -> SrtSourceOptions:
    """What an SRT source is made with."""
    sources = config.sources
    return SrtSourceOptions(
        media_timeout=sources.media_timeout,
        receive_buffer_bytes=sources.udp_receive_buffer,
        retry_first=sources.retry_first,
        retry_longest=sources.retry_longest,
    )


def http_pull_options(config: Config, section: StreamSection) -> HttpPullOptions:
    """What a source of FLV over HTTP is made with."""
    sources = config.sources
    return HttpPullOptions(
        connect_timeout=sources.connect_timeout,
        request_timeout=sources.request_timeout + sources.start_timeout,  # it may be on demand
        media_timeout=sources.media_timeout,
        retry_first=sources.retry_first,
        retry_longest=sources.retry_longest,
        refused_first=sources.retry_refused,
        refused_longest=max(REFUSED_LONGEST, sources.retry_refused),
        fingerprint=section.fingerprint.digest if section.fingerprint is not None else b"",
    )


def push_options(config: Config) -> PushOptions:
    """What an RTSP target is made with."""
    sources = config.sources
    return PushOptions(
        connect_timeout=sources.connect_timeout, request_timeout=sources.request_timeout
    )


def datagram_options(config: Config) -> DatagramOptions:
    """What an RTP or UDP source is made with."""
    sources = config.sources
    return DatagramOptions(
        media_timeout=sources.media_timeout,
        receive_buffer_bytes=sources.udp_receive_buffer,
        lookup_timeout=sources.connect_timeout,
        retry_first=sources.retry_first,
        retry_longest=sources.retry_longest,
    )


def retries(config: Config) -> Retries:
    """How a source waits between its attempts."""
    sources = config.sources
    return Retries(
        first=sources.retry_first,
        longest=sources.retry_longest,
        refused_first=sources.retry_refused,
        refused_longest=max(REFUSED_LONGEST, sources.retry_refused),
    )


def limits_of(config: Config) -> Limits:
    """What readers may use together."""
    limits = config.limits
    return Limits(
        readers_per_stream=limits.readers_per_stream,
        sessions_per_address=limits.sessions_per_address,
        egress_bps=limits.egress,
        loop_lag=limits.loop_lag,
    )
