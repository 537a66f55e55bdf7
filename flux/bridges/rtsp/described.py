"""What a description says besides the media: multicast groups, sections of which one is enough."""

from collections.abc import Sequence

from flux.bridges.rtp.secure import is_secure
from flux.bridges.rtp.tracks import RtpTrack
from protocols.rtsp.transport import Group, PortPair
from protocols.sdp import MediaDescription, SessionDescription

DEFAULT_TTL = 16


def one_of_each(session: SessionDescription, tracks: Sequence[RtpTrack]) -> tuple[RtpTrack, ...]:
    """Leave out sections that are another one again in another profile; one of SRTP stays.

    quirk: GStreamer's server describes a stream once for each profile that it may have, all with
    one control and for one SETUP, and encrypts it whichever is chosen.
    test: test_one_section_of_each_stream
    """
    chosen: dict[object, RtpTrack] = {}
    for track in tracks:
        media = session.media[track.media_index]
        is_named = track.control not in (None, "", "*")
        key = (media.kind, track.control) if is_named else track.media_index
        before = chosen.get(key)
        if before is None or (
            is_secure(media.protocol) and not is_secure(session.media[before.media_index].protocol)
        ):
            chosen[key] = track
    return tuple(chosen.values())


def group_of(session: SessionDescription, media: MediaDescription) -> Group | None:
    """The address of `c=` (RFC 8866 section 5.7), the port of `m=`, the sender of RFC 4570.

    None where the section names neither address nor port; what is missing is left empty or 0.
    """
    address, ttl = _connection(media.connection or session.connection or "")
    if not address and not media.port:
        return None
    filters = (media.attribute("source-filter"), session.attribute("source-filter"))
    source = next((found for text in filters if (found := _only_source(text or ""))), "")
    return Group(address, PortPair(media.port, media.port + 1), ttl, source)


def _connection(value: str) -> tuple[str, int]:
    """`IN IP4 239.1.1.1/16/3`: address and TTL."""
    words = value.split()
    if len(words) != 3:
        return "", DEFAULT_TTL
    address, *numbers = words[2].split("/")
    is_ttl = words[1].upper() == "IP4" and bool(numbers) and numbers[0].isdecimal()
    ttl = int(numbers[0][:4]) if is_ttl else DEFAULT_TTL
    return address, ttl if 0 < ttl <= 255 else DEFAULT_TTL


def _only_source(value: str) -> str:
    """The one sender of an inclusive filter, `incl IN IP4 239.1.1.1 10.0.0.1`."""
    words = value.split()
    return words[4] if len(words) == 5 and words[0].lower() == "incl" else ""
