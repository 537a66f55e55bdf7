"""Script data of FLV: AMF0; FLV 10.1 section E.4.4, Adobe's "Action Message Format -- AMF 0"."""

from struct import unpack_from

from tests.support.conform.problem import Findings

END = b"\0\0\x09"
DEPTH = 8


class _SyntaxError(Exception):
    """What cannot be read on."""


def read_script(body: bytes, findings: Findings, where: str) -> dict[str, object] | None:
    """The values of an onMetaData tag; None for other script data and where it is broken."""
    try:
        name, at = _value(body, 0, 0)
        if not isinstance(name, str):
            raise _SyntaxError("the name is no string")
        values, at = _value(body, at, 0)
    except (_SyntaxError, IndexError, ValueError) as error:
        findings.add("metadata-syntax", where, str(error))
        return None
    if at != len(body):
        findings.add("metadata-syntax", where, f"{len(body) - at} bytes behind the value")
    if name != "onMetaData":
        return None
    if not isinstance(values, dict):
        findings.add("metadata-syntax", where, "the value is no array")
        return None
    if body[13] == 8 and unpack_from(">I", body, 14)[0] != len(values):
        findings.add("metadata-count", where, f"{body[14:18].hex()} for {len(values)} values")
    return values


def _value(body: bytes, at: int, depth: int) -> tuple[object, int]:
    if depth > DEPTH:
        raise _SyntaxError("too deep")
    marker, at = body[at], at + 1
    match marker:
        case 0:
            return float(unpack_from(">d", _room(body, at, 8), 0)[0]), at + 8
        case 1:
            return bool(body[at]), at + 1
        case 2:
            return _string(body, at)
        case 3:
            return _pairs(body, at, depth)
        case 5 | 6:
            return None, at
        case 8:
            return _pairs(body, at + 4, depth)
        case 10:
            values: list[object] = []
            count = int.from_bytes(_room(body, at, 4), "big")
            at += 4
            for _ in range(count):
                value, at = _value(body, at, depth + 1)
                values.append(value)
            return values, at
        case 11:
            return float(unpack_from(">d", _room(body, at, 10), 0)[0]), at + 10
        case 12:
            size = int.from_bytes(_room(body, at, 4), "big")
            return _room(body, at + 4, size).decode(), at + 4 + size
        case _:
            raise _SyntaxError(f"marker {marker}")


def _room(body: bytes, at: int, size: int) -> bytes:
    if at + size > len(body):
        raise _SyntaxError("cut")
    return body[at : at + size]


def _string(body: bytes, at: int) -> tuple[str, int]:
    size = int.from_bytes(_room(body, at, 2), "big")
    return _room(body, at + 2, size).decode(), at + 2 + size


def _pairs(body: bytes, at: int, depth: int) -> tuple[dict[str, object], int]:
    values: dict[str, object] = {}
    while _room(body, at, 3) != END:
        name, at = _string(body, at)
        values[name], at = _value(body, at, depth + 1)
    return values, at + 3
