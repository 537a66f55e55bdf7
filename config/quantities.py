"""Quantities as people write them: durations (`10s`, `200ms`, `1m30s`) and sizes (`50M`)."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]+)(?:([KMGT])(?:i?B)?|B)?")
_BYTES = {None: 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_MAX_TEXT = 32  # characters; longer text is no quantity and not worth a regular expression

FROM_FILE = {"from_file": True}  # validation context: a bare number has no unit and is refused


def parse_duration(text: str) -> float:
    """Seconds of a text such as `200ms` or `1m30s`; `ValueError` if it is none."""
    if text == "0":
        return 0.0
    if len(text) > _MAX_TEXT or _DURATION.fullmatch(text) is None:
        raise ValueError("expected a duration such as 10s or 200ms")
    parts = _DURATION_PART.findall(text)
    return round(sum(float(number) * _SECONDS[unit] for number, unit in parts), 6)


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back."""
    if seconds == 0:
        return "0"
    for unit in ("d", "h", "m", "s"):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds * 1000:.3f}".rstrip("0").rstrip(".") + "ms"


def parse_size(text: str) -> int:
    """Bytes of a text such as `512K`, `50M` or `50MiB` (binary multiples); `ValueError` if none."""
    match = _SIZE.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None:
        raise ValueError("expected a size such as 512K or 50M")
    return int(match[1]) * _BYTES[match[2]]


def format_size(size_bytes: int) -> str:
    """The shortest text that `parse_size` reads back."""
    for unit in ("T", "G", "M", "K"):
        if size_bytes and size_bytes % _BYTES[unit] == 0:
            return f"{size_bytes // _BYTES[unit]}{unit}"
    return str(size_bytes)


@dataclass(frozen=True, slots=True)
class DurationIn:
    """Makes an annotated `float` a duration in seconds between two bounds, both included."""

    low: str
    high: str

    def read(self, value: Any, info: ValidationInfo) -> float:
        """The validator: text in a file, text or seconds in Python."""
        expected = f"expected a duration from {self.low} to {self.high}, such as 10s or 200ms"
        if isinstance(value, str):
            try:
                seconds = parse_duration(value)
            except ValueError:
                raise ValueError(expected) from None
        elif isinstance(value, int | float) and not isinstance(value, bool) and not info.context:
            seconds = float(value)
        else:
            raise ValueError(expected)
        if not parse_duration(self.low) <= seconds <= parse_duration(self.high):
            raise ValueError(expected)
        return seconds

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self.read,
            serialization=core_schema.plain_serializer_function_ser_schema(format_duration),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^({_DURATION.pattern}|0)$"}


@dataclass(frozen=True, slots=True)
class SizeIn:
    """Makes an annotated `int` a size in bytes between two bounds, both included."""

    low: str
    high: str

    def read(self, value: Any) -> int:
        """The validator: text, or a whole number of bytes."""
        expected = f"expected a size from {self.low} to {self.high}, such as 512K or 50M"
        if isinstance(value, str):
            try:
                size_bytes = parse_size(value)
            except ValueError:
                raise ValueError(expected) from None
        elif isinstance(value, int) and not isinstance(value, bool):
            size_bytes = value
        else:
            raise ValueError(expected)
        if not parse_size(self.low) <= size_bytes <= parse_size(self.high):
            raise ValueError(expected)
        return size_bytes

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read,
            serialization=core_schema.plain_serializer_function_ser_schema(format_size),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": ["string", "integer"], "pattern": f"^{_SIZE.pattern}$"}
