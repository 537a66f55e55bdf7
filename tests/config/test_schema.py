"""The schema: bounds, defaults, and its agreement with the documented file."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel, ValidationError

from config.hls import HlsSection
from config.schema import Config, FanoutSection, with_source
from config.section import Section
from config.sources.file import default_text, load_bytes, load_default


def every_key(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        here = f"{path}.{name}" if path else name
        yield here
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from every_key(field.annotation, here)


def dump(section: BaseModel) -> dict[str, object]:
    return section.model_dump(mode="json", exclude={"streams"})


def uncommented(text: str) -> str:
    """The default file with its commented keys (a # with no space after it) switched on."""
    lines = []
    for line in text.splitlines():
        body = line.lstrip()
        if body.startswith("#") and body[1:2] not in (" ", ""):
            line = line.replace("#", "", 1)
        lines.append(line)
    return "\n".join(lines)


def test_the_default_file_says_what_the_schema_says() -> None:
    assert dump(load_default()) == dump(Config())


def test_the_keys_that_the_default_file_has_commented_out_are_at_their_defaults() -> None:
    whole = load_bytes(uncommented(default_text()).encode(), "flux.yaml")
    assert dump(whole) == dump(Config())
    assert whole.streams["live/cam1"].transport == "auto"
    assert whole.streams["live/cam1"].on_demand is False


def test_the_default_file_names_every_key() -> None:
    text = uncommented(default_text())
    for path in every_key(Config):
        assert f"{path.rpartition('.')[2]}:" in text, path
    for key in ("source", "on_demand", "transport"):
        assert f"    {key}:" in text


def test_the_default_is_a_test_card_on_demand() -> None:
    config = load_default()
    assert list(config.streams) == ["demo"]
    source = config.streams["demo"].source
    assert source is not None
    assert source.scheme == "testcard"
    assert config.streams["demo"].on_demand
    assert config.listeners.api.address.is_loopback


def test_every_key_has_a_description() -> None:
    def check(model: type[BaseModel]) -> None:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                check(field.annotation)

    check(Config)


def test_a_configuration_cannot_be_changed() -> None:
    config = Config()
    with pytest.raises(ValidationError):
        setattr(config, "loop", "uvloop")  # noqa: B010  mypy knows that it must fail


def test_values_are_held_to_their_bounds_in_python_too() -> None:
    assert FanoutSection(write_window=0.04).write_window == 0.04
    with pytest.raises(ValidationError, match="from 0 to 1s"):
        FanoutSection(write_window=5)
    with pytest.raises(ValidationError, match="lag_limit"):
        FanoutSection(lag_mark=5, lag_limit=4)
    with pytest.raises(ValidationError):
        HlsSection(segment_count=1)


def test_a_json_schema_can_be_made() -> None:
    schema = Config.model_json_schema()
    assert set(schema["properties"]) == set(Config.model_fields)


def test_a_stream_is_added() -> None:
    config = with_source(load_default(), "live/cam", "rtsp://u:p@host/x")
    assert list(config.streams) == ["demo", "live/cam"]
    assert not config.streams["live/cam"].on_demand
    assert list(load_default().streams) == ["demo"]
    with pytest.raises(ValueError, match="name"):
        with_source(config, "a b", "rtsp://host/x")
    with pytest.raises(ValueError, match="not supported yet"):
        with_source(config, "a", "rtmp://host/x")
