"""Parameter sets in SDP: comma-separated base64 (RFC 6184 section 8.1, RFC 7798 section 7.1)."""

from base64 import b64decode, b64encode
from binascii import Error
from collections import defaultdict
from collections.abc import Mapping, Sequence

from media.codecs.nal import split_annexb

MAX_SETS = 64


def decode_sprop(value: str) -> list[bytes]:
    """The NAL units of a list, as far as they can be read.

    quirk: cameras leave the padding away, add empty items or put start codes before the units.
    """
    nals: list[bytes] = []
    for item in value.split(",")[:MAX_SETS]:
        text = item.strip().rstrip("=")
        try:
            data = b64decode(text + "=" * (-len(text) % 4))
        except (Error, ValueError):  # ValueError: characters beyond ASCII
            continue
        nals += split_annexb(data)
    return nals


def read_sprop(
    fmtp: Mapping[str, str], names: Sequence[str], kinds: bytes
) -> defaultdict[int, list[bytes]]:
    """The NAL units of some format parameters by type; `kinds` has it by a unit's first byte."""
    sets: defaultdict[int, list[bytes]] = defaultdict(list)
    for name in names:
        for nal in decode_sprop(fmtp.get(name, "")):
            sets[kinds[nal[0]]].append(nal)
    return sets


def encode_sprop(nals: Sequence[bytes]) -> str:
    """The reverse of `decode_sprop`."""
    return ",".join(b64encode(nal).decode("ascii") for nal in nals)
