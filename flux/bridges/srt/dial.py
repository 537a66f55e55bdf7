"""Opening what an `srt://` URL of a source or a target says."""

import socket
from collections.abc import Callable

from config.srt_url import SrtUrl
from flux.base.errors import WireError
from flux.net.resolve import Address, is_address, resolve
from protocols.srt.endpoint import Endpoint, EndpointOptions
from protocols.srt.group_call import Place
from protocols.srt.link import LinkHandler
from protocols.srt.options import (
    Control,
    GroupType,
    ListenerOptions,
    Mode,
    Options,
    RateOptions,
    RepairOptions,
    SecurityOptions,
)
from protocols.srt.reception import IncomingCall
from protocols.srt.reject import Reject

LOOKUP_TIMEOUT = 5.0
CALLER, LISTENER, RENDEZVOUS = "caller", "listener", "rendezvous"
DEFAULT_LATENCY_MS = 120
FILE, AIMD = "file", "aimd"  # words of the URL
GROUPS = {"broadcast": GroupType.BROADCAST, "backup": GroupType.BACKUP}

Taker = Callable[[], LinkHandler | None]  # the handler of the next caller; None: there is no room


def parse_url(text: str) -> SrtUrl:
    """Read a URL; raises WireError `url-invalid`."""
    try:
        return SrtUrl.parse(text)
    except ValueError as error:
        raise WireError("url-invalid", str(error)) from error


def options_of(url: SrtUrl) -> Options:
    """The connection that a URL asks for."""

    def number(name: str, default: int) -> int:
        value = url.number(name)
        return default if value is None else value

    latency = number("latency", DEFAULT_LATENCY_MS)
    is_aimd = url.congestion == AIMD
    return Options(
        mode=mode_of(url),
        congestion="" if is_aimd else url.congestion,
        control=Control.AIMD if is_aimd else Control.BY_NAME,
        linger=number("linger", 180),
        stream_id=url.stream_id if url.mode == CALLER else "",
        receive_latency_ms=number("receivelatency", latency),
        peer_latency_ms=number("peerlatency", number("latency", 0)),
        filter=url.filter,
        mtu=number("mss", 1500),
        payload_bytes=number("payloadsize", 1316),
        connect_timeout=number("conntimeo", 3000) / 1000,
        idle_timeout=number("peeridletimeo", 5000) / 1000,
        security=SecurityOptions(
            passphrase=url.passphrase,
            key_bytes=number("pbkeylen", 0),
            is_enforced=bool(number("enforcedencryption", 1)),
        ),
        rate=RateOptions(
            max_rate=number("maxbw", -1),
            input_rate=number("inputbw", 0),
            min_input_rate=number("mininputbw", 0),
            overhead_percent=number("oheadbw", 25),
            max_repair_rate=number("maxrexmitbw", -1),
        ),
        repair=RepairOptions(reorder_max_packets=number("lossmaxttl", 0)),
    )


def mode_of(url: SrtUrl) -> Mode:
    """What the connection carries; `messageapi` means what it does in other programs."""
    if url.transfer_type != FILE:
        return Mode.LIVE
    return Mode.MESSAGE if url.number("messageapi") else Mode.STREAM


async def dial(url: SrtUrl, receive_buffer_bytes: int, take: Taker) -> Endpoint:
    """Open a socket and call, listen, or both; links go to the handlers that `take` gives.

    The links of a group are all of one family, IPv4 or IPv6, and the first has the greatest weight.

    Raises PeerError: `dns-failure`, `dns-timeout`, `address-in-use`, `bind-failed`.
    """
    settings = EndpointOptions(receive_buffer_bytes=receive_buffer_bytes)
    options = options_of(url)
    if url.mode == LISTENER:
        local = await _local(url.host, url.port)
        endpoint = Endpoint.bind(local, url.port, settings)
        listener = ListenerOptions(
            key_bytes=options.security.key_bytes, mtu=options.mtu, is_group_allowed=True
        )
        endpoint.listen(listener, lambda call: _answer(call, url, options, take))
        return endpoint
    family, peer = await resolve(url.host, url.port, timeout=LOOKUP_TIMEOUT)
    everywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"
    local = await _local(url.local_host, url.local_port) or everywhere
    places = [Place(peer, len(url.nodes))]
    for host, port in url.nodes:
        _, node = await resolve(host, port, timeout=LOOKUP_TIMEOUT)
        places.append(Place(node, len(url.nodes) - len(places)))
    # Nothing is waited for from here on: who gives up waiting leaves no socket behind.
    endpoint = Endpoint.bind(local, url.local_port, settings)
    try:
        handler = take()
        if handler is None:
            return endpoint
        if url.mode == RENDEZVOUS:
            endpoint.meet(peer, options, handler)
        elif url.group:
            endpoint.call_group(places, GROUPS[url.group], options, handler)
        else:
            endpoint.call(peer, options, handler)
    except BaseException:
        endpoint.close()
        raise
    return endpoint


async def _local(host: str, port: int) -> str:
    """An address to bind: names are looked up."""
    if not host or is_address(host):
        return host
    address: Address
    _, address = await resolve(host, port, timeout=LOOKUP_TIMEOUT)
    return str(address[0])


def _answer(call: IncomingCall, url: SrtUrl, options: Options, take: Taker) -> None:
    if url.stream_id and call.request.stream_id != url.stream_id:
        call.reject(Reject.NOT_FOUND)
        return
    if call.group is not None:
        call.join()
        return
    handler = take()
    if handler is None:
        call.reject(Reject.CONFLICT)
    else:
        call.accept(options, handler)
