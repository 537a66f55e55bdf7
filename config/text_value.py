"""Values that are one piece of text in the configuration and an object of their own in the code."""

from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema


class TextValue:
    """Base of such values: read from text by `parse`, written as `str()`."""

    __slots__ = ()

    expected: ClassVar[str]  # what is said where something other than text stands
    json_schema: ClassVar[dict[str, Any]]  # beside `type: string`

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text; raises `ValueError` with what was expected."""
        raise NotImplementedError

    @classmethod
    def _read(cls, value: Any) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError(cls.expected)
        return cls.parse(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._read, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", **cls.json_schema}
