"""What two sides agree on: extensions of a conclusion written, read and judged.

Whoever sends HSREQ is the initiator, whoever sends HSRSP the responder (draft section 4.3). All
functions are pure; a refusal is a `PeerError` whose status is the reject code for the wire.
"""

from dataclasses import dataclass

from flux.base.errors import PeerError, WireError
from protocols.srt.filter_string import FilterConfig, merge_texts
from protocols.srt.handshake_wire import (
    FIRST_HSV5_VERSION,
    LEGACY_VERSION,
    OUR_VERSION,
    VERSION,
    Extension,
    ExtensionFlag,
    ExtensionType,
    Handshake,
    HsFlag,
    SrtExtension,
    parse_group,
    parse_text,
    serialize_group,
    serialize_text,
)
from protocols.srt.options import (
    MAX_LATENCY_MS,
    MAX_STREAM_ID_BYTES,
    MIN_MTU,
    GroupOffer,
    Mode,
    Options,
)
from protocols.srt.packet import GROUP_ID_FLAG, SEQUENCE_MASK
from protocols.srt.reject import Reject, slug_of

LIVE = "live"
MIN_WINDOW = 2  # of a peer
ALWAYS = HsFlag.CRYPT | HsFlag.REXMIT_FLAG | HsFlag.PACKET_FILTER


@dataclass(frozen=True, slots=True)
class Offer:
    """The extensions of one conclusion, whichever side's."""

    hs: SrtExtension
    material: bytes | None = None  # KMREQ or KMRSP
    stream_id: str = ""
    congestion: str = LIVE
    filter: str = ""
    group: GroupOffer | None = None

    @property
    def mode(self) -> Mode:
        """What the peer wants to do, as far as its flags tell."""
        if self.hs.flags & HsFlag.STREAM:
            return Mode.STREAM
        is_timed = self.hs.flags & (HsFlag.TSBPD_SEND | HsFlag.TSBPD_RECEIVE)
        return Mode.LIVE if is_timed else Mode.MESSAGE


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides hold to."""

    receive_latency_ms: int
    send_latency_ms: int
    filter: str = ""


def refused(code: int, detail: str = "") -> PeerError:
    """The refusal with this code."""
    return PeerError(slug_of(code), code, detail)


def check_fixed(handshake: Handshake) -> None:
    """Judge the twelve words of a conclusion; raises PeerError."""
    if handshake.version != VERSION:
        code = Reject.ROGUE if handshake.version < LEGACY_VERSION else Reject.VERSION
        raise refused(code, f"HSv{handshake.version}")
    if handshake.sequence > SEQUENCE_MASK:
        raise refused(Reject.ROGUE, "initial sequence number")
    if handshake.mtu < MIN_MTU or handshake.window < MIN_WINDOW:
        raise refused(Reject.ROGUE, f"MTU {handshake.mtu}, window {handshake.window}")
    if not 0 < handshake.socket_id <= SEQUENCE_MASK:
        raise refused(Reject.ROGUE, "socket id")


def read_offer(handshake: Handshake, is_response: bool) -> Offer:
    """The extensions by what they mean, in any order; unknown ones are passed over.

    Raises PeerError: twice the same, none of HSREQ or HSRSP, a version of before HSv5.
    """
    hs_kind = ExtensionType.HSRSP if is_response else ExtensionType.HSREQ
    km_kind = ExtensionType.KMRSP if is_response else ExtensionType.KMREQ
    found: dict[int, bytes] = {}
    for extension in handshake.extensions:
        if extension.kind in found:
            raise refused(Reject.ROGUE, f"extension {extension.kind} twice")
        found[extension.kind] = extension.data
    if hs_kind not in found:
        raise refused(Reject.ROGUE, "no HSREQ" if not is_response else "no HSRSP")
    try:
        hs = SrtExtension.parse(found[hs_kind])
        group = found.get(ExtensionType.GROUP)
        offer = Offer(
            hs,
            found.get(km_kind),
            _stream_id(found.get(ExtensionType.SID, b"")),
            parse_text(found.get(ExtensionType.CONGESTION, b"")) or LIVE,
            parse_text(found.get(ExtensionType.FILTER, b"")),
            None if group is None else parse_group(group),
        )
    except WireError as error:
        raise refused(Reject.ROGUE, str(error)) from None
    if hs.version < FIRST_HSV5_VERSION:
        raise refused(Reject.ROGUE, f"version {hs.version:#x}")
    if offer.group is not None and not offer.group.group_id & GROUP_ID_FLAG:
        raise refused(Reject.ROGUE, f"group id {offer.group.group_id:#x}")
    return offer


def _stream_id(data: bytes) -> str:
    if len(data) > MAX_STREAM_ID_BYTES:
        raise refused(Reject.ROGUE, f"stream id of {len(data)} bytes")
    try:
        return parse_text(data)
    except WireError as error:
        raise refused(Reject.BAD_REQUEST, str(error)) from None


def own_flags(options: Options) -> int:
    """The flags that we announce."""
    flags = ALWAYS
    if options.is_live:
        flags |= HsFlag.TSBPD_SEND | HsFlag.TSBPD_RECEIVE
        if options.repair.drops_late:
            flags |= HsFlag.DROP_LATE
        if options.repair.has_periodic_nak:
            flags |= HsFlag.PERIODIC_NAK
    return int(flags)


def request_extensions(options: Options, material: bytes | None) -> tuple[Extension, ...]:
    """An initiator's extensions, in libsrt's order."""
    flags = own_flags(options) | (HsFlag.STREAM if options.mode == Mode.STREAM else 0)
    is_live = options.is_live
    hs = SrtExtension(
        OUR_VERSION,
        flags,
        _latency(options.receive_latency_ms) if is_live else 0,
        _latency(options.peer_latency_ms) if is_live else 0,
    )
    extensions = [Extension(ExtensionType.HSREQ, hs.serialize())]
    if options.stream_id:
        extensions.append(Extension(ExtensionType.SID, serialize_text(options.stream_id)))
    extensions += _config(options.congestion_name, options.filter, options.group)
    if material is not None:
        extensions.append(Extension(ExtensionType.KMREQ, material))
    return tuple(extensions)


def agree(options: Options, offer: Offer) -> Agreement:
    """As responder: judge an initiator's offer, all but its keys and its group.

    Raises PeerError with MESSAGE_API, CONGESTION or FILTER.
    """
    hs = offer.hs
    if bool(hs.flags & HsFlag.STREAM) != (options.mode == Mode.STREAM):
        raise refused(Reject.MESSAGE_API)
    if offer.congestion != options.congestion_name:
        raise refused(Reject.CONGESTION, f"{options.congestion_name} and {offer.congestion}")
    try:
        text = merge_texts(options.filter, offer.filter)
    except WireError as error:
        raise refused(Reject.FILTER, str(error)) from None
    if not options.is_live:
        return Agreement(0, 0, text)
    return Agreement(
        max(_latency(options.receive_latency_ms), hs.send_latency_ms),
        max(_latency(options.peer_latency_ms), hs.receive_latency_ms),
        text,
    )


def response_extensions(
    options: Options,
    agreement: Agreement,
    group: GroupOffer | None,
    material: bytes | None,
) -> tuple[Extension, ...]:
    """A responder's extensions."""
    hs = SrtExtension(
        OUR_VERSION, own_flags(options), agreement.receive_latency_ms, agreement.send_latency_ms
    )
    extensions = [Extension(ExtensionType.HSRSP, hs.serialize())]
    extensions += _config(options.congestion_name, agreement.filter, group)
    if material is not None:
        extensions.append(Extension(ExtensionType.KMRSP, material))
    return tuple(extensions)


def take_response(options: Options, offer: Offer) -> Agreement:
    """As initiator: what the responder made of our offer, all but keys.

    Raises PeerError: it chose what we did not offer.
    """
    if offer.congestion != options.congestion_name:
        raise refused(Reject.CONGESTION, f"{options.congestion_name} and {offer.congestion}")
    _check_filter(options.filter, offer.filter)
    if (offer.group is None) != (options.group is None):
        raise refused(Reject.GROUP)
    if not options.is_live:
        return Agreement(0, 0, offer.filter)
    # The words are the responder's: what it receives with is what we send with.
    return Agreement(offer.hs.send_latency_ms, offer.hs.receive_latency_ms, offer.filter)


def extension_field(extensions: tuple[Extension, ...]) -> int:
    """The extension field that announces these."""
    field = 0
    for extension in extensions:
        if extension.kind in (ExtensionType.HSREQ, ExtensionType.HSRSP):
            field |= ExtensionFlag.HSREQ
        elif extension.kind in (ExtensionType.KMREQ, ExtensionType.KMRSP):
            field |= ExtensionFlag.KMREQ
        else:
            field |= ExtensionFlag.CONFIG
    return int(field)


def _config(congestion: str, filter_text: str, group: GroupOffer | None) -> list[Extension]:
    extensions = []
    if congestion != LIVE:
        extensions.append(Extension(ExtensionType.CONGESTION, serialize_text(congestion)))
    if filter_text:
        extensions.append(Extension(ExtensionType.FILTER, serialize_text(filter_text)))
    if group is not None:
        extensions.append(Extension(ExtensionType.GROUP, serialize_group(group)))
    return extensions


def _check_filter(own: str, answered: str) -> None:
    """The answer must keep every value that we gave, and there must be one if we asked."""
    if not own and not answered:
        return
    try:
        wanted = dict(FilterConfig.parse(own).parameters) if own else None
        got = dict(FilterConfig.parse(answered).parameters) if answered else None
    except WireError as error:
        raise refused(Reject.FILTER, str(error)) from None
    if wanted is None or got is None or not wanted.items() <= got.items():
        raise refused(Reject.FILTER, f"asked {own!r}, answered {answered!r}")


def _latency(milliseconds: int) -> int:
    return min(max(milliseconds, 0), MAX_LATENCY_MS)
