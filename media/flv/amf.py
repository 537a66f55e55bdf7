"""AMF0: what script data of FLV and commands of RTMP are made of.

Adobe, "Action Message Format -- AMF 0", section 2. What is read is bounded in depth and number;
references and the types of AMF3 are refused.
"""

from collections.abc import Mapping
from struct import Struct

from flux.base.errors import WireError

_NUMBER = Struct(">Bd")
_BOOLEAN = Struct(">BB")
_STRING = Struct(">BH")
_ECMA_ARRAY = Struct(">BI")
_LENGTH = Struct(">H")
_DOUBLE = Struct(">d")
_DATE = Struct(">dh")
_LONG = Struct(">I")

NUMBER_MARKER = 0
BOOLEAN_MARKER = 1
STRING_MARKER = 2
OBJECT_MARKER = 3
NULL_MARKER = 5
UNDEFINED_MARKER = 6
ECMA_ARRAY_MARKER = 8
STRICT_ARRAY_MARKER = 10
DATE_MARKER = 11
LONG_STRING_MARKER = 12
UNSUPPORTED_MARKER = 13
XML_MARKER = 15
TYPED_OBJECT_MARKER = 16
OBJECT_END = b"\x00\x00\x09"  # empty name, object-end-marker
MAX_STRING_BYTES = 0xFFFF
MAX_DEPTH = 16
MAX_VALUES = 4096  # of one reading, all depths together

Value = float | bool | str
Read = float | bool | str | None | dict[str, "Read"] | list["Read"]


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


def read_values(data: bytes) -> list[Read]:
    """The values that stand one behind the other; `WireError` if one is cut or no AMF0."""
    reader = _Reader(data)
    values: list[Read] = []
    while reader.at < len(data):
        values.append(reader.value(0))
    return values


def _encode(value: Value) -> bytes:
    if isinstance(value, bool):
        return boolean(value)
    if isinstance(value, str):
        return string(value)
    return number(value)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MAX_VALUES
        self.at = 0

    def value(self, depth: int) -> Read:
        """One value with all that is in it."""
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise WireError("amf-too-large")
        marker = self._take(1)[0]
        match marker:
            case 0:
                return float(_DOUBLE.unpack(self._take(8))[0])
            case 1:
                return bool(self._take(1)[0])
            case 2:
                return self._text(self._take(2))
            case 3:
                return self._pairs(depth)
            case 5 | 6 | 13:  # null, undefined, unsupported
                return None
            case 8:
                self._take(4)  # a count that writers get wrong: the end marker ends it
                return self._pairs(depth)
            case 10:
                return self._array(depth)
            case 11:
                return float(_DATE.unpack(self._take(10))[0])
            case 12 | 15:  # long string, XML
                return self._text(self._take(4))
            case 16:
                self._text(self._take(2))  # its class
                return self._pairs(depth)
        raise WireError("amf-malformed", f"marker {marker}")

    def _array(self, depth: int) -> list[Read]:
        (count,) = _LONG.unpack(self._take(4))
        if count > self._left:
            raise WireError("amf-too-large")
        return [self.value(depth + 1) for _ in range(count)]

    def _pairs(self, depth: int) -> dict[str, Read]:
        values: dict[str, Read] = {}
        # quirk: encoders that end the last object with the tag, without its end marker (section
        # 2.5 wants it); test: test_an_object_may_end_with_the_data
        while self.at < len(self._data):
            if self._data[self.at : self.at + 3] == OBJECT_END:
                self.at += 3
                break
            name = self._text(self._take(2))
            values[name] = self.value(depth + 1)
        return values

    def _text(self, length: bytes) -> str:
        return self._take(int.from_bytes(length, "big")).decode("utf-8", "replace")

    def _take(self, size: int) -> bytes:
        piece = self._data[self.at : self.at + size]
        if len(piece) < size:
            raise WireError("amf-malformed", "cut")
        self.at += size
        return piece
