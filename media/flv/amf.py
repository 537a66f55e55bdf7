"""AMF0, writing only: what the script data tag of an FLV file needs.

Adobe, "Action Message Format -- AMF 0", section 2; the FLV tag around it is in `media/flv/tags.py`.
"""

from collections.abc import Mapping
from struct import Struct

_NUMBER = Struct(">Bd")
_BOOLEAN = Struct(">BB")
_STRING = Struct(">BH")
_ECMA_ARRAY = Struct(">BI")
_LENGTH = Struct(">H")

NUMBER_MARKER = 0
BOOLEAN_MARKER = 1
STRING_MARKER = 2
ECMA_ARRAY_MARKER = 8
OBJECT_END = b"\x00\x00\x09"  # empty name, object-end-marker
MAX_STRING_BYTES = 0xFFFF

Value = float | bool | str


def number(value: float) -> bytes:
    """A number, section 2.2."""
    return _NUMBER.pack(NUMBER_MARKER, value)


def boolean(value: bool) -> bytes:
    """A boolean, section 2.3."""
    return _BOOLEAN.pack(BOOLEAN_MARKER, value)


def string(value: str) -> bytes:
    """A string of at most 65535 bytes, section 2.4; the rest is cut off."""
    data = value.encode()[:MAX_STRING_BYTES]
    return _STRING.pack(STRING_MARKER, len(data)) + data


def ecma_array(values: Mapping[str, Value]) -> bytes:
    """An associative array, section 2.10; names in the order of `values`."""
    pieces = [_ECMA_ARRAY.pack(ECMA_ARRAY_MARKER, len(values))]
    for name, value in values.items():
        key = name.encode()
        pieces += (_LENGTH.pack(len(key)), key, _encode(value))
    pieces.append(OBJECT_END)
    return b"".join(pieces)


def _encode(value: Value) -> bytes:
    if isinstance(value, bool):
        return boolean(value)
    if isinstance(value, str):
        return string(value)
    return number(value)
