"""What FLUX says when it starts: where to look, and who may."""

import flux
from config.addresses import ListenAddress
from config.schema import Config

MAX_STREAMS = 3  # shown; a configuration with hundreds of cameras needs no list here


def banner(config: Config) -> str:
    """A few lines for people: what to open in VLC, ffplay or a browser."""
    http = base_url(config.listeners.http.address)
    lines = [f"FLUX {flux.__version__}"]
    names = list(config.streams)
    for name in names[:MAX_STREAMS]:
        when = ", starts with its first viewer" if config.streams[name].on_demand else ""
        lines += [
            "",
            f"  {name} ({config.streams[name].source}{when})",
            f"    VLC      Media > Open Network Stream > {http}/{name}/index.m3u8",
            f"    ffplay   ffplay -fflags nobuffer {http}/{name}.flv",
            f"    browser  {http}/{name}/index.m3u8 (where it plays HLS itself, such as Safari)",
        ]
    if len(names) > MAX_STREAMS:
        lines += ["", f"  and {len(names) - MAX_STREAMS} more"]
    if not names:
        lines += ["", "  No streams yet: flux run --pull NAME=rtsp://HOST/PATH, or --config FILE."]
    lines += [
        "",
        f"  state    {base_url(config.listeners.api.address)}/api/v1/streams",
        "",
        f"  Anyone who can reach {config.listeners.http.address} may publish and read any stream",
        "  until access is configured. To serve this machine only, set in the configuration",
        '  listeners.http.address: "127.0.0.1:8888". Ctrl-C ends FLUX.',
    ]
    return "\n".join(lines)


def base_url(address: ListenAddress) -> str:
    """The URL of a listener as this machine can open it."""
    if address.is_wildcard:
        address = ListenAddress("localhost", address.port)
    return f"http://{address}"
