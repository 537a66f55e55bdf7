"""Why a connection is refused: the codes of the handshake (draft section 4.3, libsrt's list).

On the wire the handshake type is 1000 + code. 0..17 are the protocol's own; 1000..1999 mirror
HTTP's status (1404: nothing of that name); from 2000 on they are the application's own.
"""

from enum import IntEnum

WIRE_OFFSET = 1000  # of the handshake type
PREDEFINED = 1000  # first code that mirrors HTTP
USER_DEFINED = 2000  # first code of the application's own
MAX_CODE = 0x7FFFFFFF - WIRE_OFFSET


class Reject(IntEnum):
    """Codes with a name. Any other number from 0 on may come from a peer."""

    UNKNOWN = 0
    SYSTEM = 1
    PEER = 2
    RESOURCE = 3
    ROGUE = 4  # the handshake makes no sense
    BACKLOG = 5
    INTERNAL = 6
    CLOSED = 7
    VERSION = 8
    RENDEZVOUS_COOKIE = 9
    BAD_SECRET = 10
    UNSECURE = 11  # one side alone has a passphrase
    MESSAGE_API = 12  # stream against message mode
    CONGESTION = 13
    FILTER = 14
    GROUP = 15
    TIMEOUT = 16
    CRYPTO = 17  # cipher modes differ

    FALLBACK = 1000
    KEY_NOT_SUPPORTED = 1001  # a key of the stream id
    FILE_PATH = 1002
    HOST_NOT_FOUND = 1003
    BAD_REQUEST = 1400
    UNAUTHORIZED = 1401
    OVERLOAD = 1402
    FORBIDDEN = 1403
    NOT_FOUND = 1404
    BAD_MODE = 1405
    UNACCEPTABLE = 1406
    CONFLICT = 1409
    UNSUPPORTED_MEDIA = 1415
    LOCKED = 1423
    FAILED_DEPENDENCY = 1424
    SERVER_ERROR = 1500
    UNIMPLEMENTED = 1501
    GATEWAY = 1502
    DOWN = 1503
    VERSION_NOT_SUPPORTED = 1505
    NO_ROOM = 1507


SLUGS = {int(code): "srt-" + code.name.lower().replace("_", "-") for code in Reject}


def slug_of(code: int) -> str:
    """The stable reason of a code: `srt-bad-secret`; `srt-application` for numbers without name."""
    found = SLUGS.get(code)
    if found is not None:
        return found
    return "srt-application" if code >= PREDEFINED else "srt-unknown"
