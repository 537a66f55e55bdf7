"""Groups of streams in the configuration."""

import pytest

from config.problems import ConfigProblems
from config.schema import with_source
from config.sources.file import load_bytes

GOOD = """
streams: {cam/main: {source: "testcard:"}}
groups:
  cam: {streams: [cam/main, cam/sub]}
  door: {streams: [door/a], order: configured, hls: {low_latency: true}}
"""


def test_groups_are_read() -> None:
    config = load_bytes(GOOD.encode(), "x.yaml")
    assert config.groups["cam"].streams == ("cam/main", "cam/sub")
    assert (config.groups["cam"].order, config.groups["door"].order) == ("best", "configured")
    assert config.groups["door"].hls.over(config.hls).low_latency


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        ("cam/main: {streams: [a]}", "groups.cam/main: expected a name that no stream has"),
        ("a: {streams: [b]}\n  b: {streams: [c]}", "groups.a: expected streams, 'b' is a group"),
        ("a: {streams: [a]}", "groups.a: expected streams, 'a' is a group"),
        ("a: {streams: [b, b]}", "expected each stream once"),
        ("a: {streams: []}", "groups.a.streams"),
        ("a: {}", "this key is required"),
        ("a*: {streams: [b]}", "without the character"),
        ("a: {streams: ['b?']}", "without the character"),
        ("a: {streams: [b], quality: 1}", "unknown key"),
    ],
)
def test_what_is_no_group(groups: str, reason: str) -> None:
    text = f'streams: {{cam/main: {{source: "testcard:"}}}}\ngroups:\n  {groups}\n'
    with pytest.raises(ConfigProblems) as caught:
        load_bytes(text.encode(), "x.yaml")
    assert reason in str(caught.value)


def test_a_stream_of_the_command_line_is_no_group() -> None:
    config = load_bytes(GOOD.encode(), "x.yaml")
    with pytest.raises(ValueError, match="there is a group of this name"):
        with_source(config, "cam", "rtsp://host/x")
