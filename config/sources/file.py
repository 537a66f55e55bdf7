"""Configuration from a YAML file, or from the default that is part of the package."""

from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from config.problems import ConfigProblems, Problem, problems_of
from config.quantities import FROM_FILE
from config.schema import Config
from config.sources.yaml12 import parse_yaml

DEFAULT_NAME = "flux.yaml"


def load_file(path: str | Path) -> Config:
    """Read a configuration file; raises `ConfigProblems` with everything that is wrong."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = f"cannot be read: {error.strerror or type(error).__name__}"
        raise ConfigProblems([Problem("", reason, str(path))]) from None
    return load_bytes(data, str(path))


def load_default() -> Config:
    """The embedded default configuration, used when no file is given."""
    return load_bytes(default_text().encode(), DEFAULT_NAME)


def default_text() -> str:
    """The documented default file, comments and all."""
    return resources.files("config").joinpath(DEFAULT_NAME).read_text(encoding="utf-8")


def load_bytes(data: bytes, file: str) -> Config:
    """Read a configuration from YAML bytes; `file` is its name in messages."""
    document = parse_yaml(data, file)
    problems = list(document.problems)
    values = {} if document.value is None else document.value
    if not isinstance(values, dict):
        if not problems:
            problems.append(Problem("", "expected a section of keys at the top", file, 1))
        raise ConfigProblems(problems)
    try:
        config = Config.model_validate(values, context=FROM_FILE)
    except ValidationError as error:
        problems += problems_of(error, Config, document.lines, file)
    if problems:
        raise ConfigProblems(problems)
    return config
