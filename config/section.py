"""The base of every section of the configuration."""

from pydantic import BaseModel, ConfigDict, model_validator


def nothing_is_empty(value: object) -> object:
    """A section whose keys are all commented out is null in YAML; it means the defaults."""
    return {} if value is None else value


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _read_nothing(cls, value: object) -> object:
        return nothing_is_empty(value)
