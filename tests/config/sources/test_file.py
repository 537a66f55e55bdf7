"""Configuration files: values, overrides, and every problem named with its line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.problems import ConfigProblems
from config.schema import Config
from config.sources.file import load_bytes, load_file

WRONG = b"""\
strems: {}
streams:
  a//b: {source: "rtsp://u:pw1@h/x"}
  live/cam:
    source: rtsp://u:secret@h@x/y
    on_demand: yes
    on_demand: true
    trnsport: tcp
    transport: sctp
  empty:
  number: 5
  1: {source: "whip://u:pw2@host"}
  a.b: {source: 7}
hls: {segment_duration: 10, segment_count: 1}
fanout:
  write_window: 5s
  lag_mark: [1]
listeners: {http: {address: ":70000"}}
log: {level: on}
limits: {connections_per_address: -1}
shutdown-timeout: 1s
"""

REASONS = """\
strems (x.yml:1): unknown key, did you mean 'streams'?
streams.a//b (x.yml:3): expected a stream name without empty components (no // or outer /)
streams.live/cam.source (x.yml:5): expected one @ only; in a password @ is written %40, / as %2F, \
: as %3A, found '***@x/y'
streams.live/cam.on_demand (x.yml:6): expected true or false, found 'yes'
streams.live/cam.on_demand (x.yml:7): this key was given already, on line 6
streams.live/cam.trnsport (x.yml:8): unknown key, did you mean 'transport'?
streams.live/cam.transport (x.yml:9): expected 'auto', 'tcp', 'udp', 'multicast' or 'http', \
found 'sctp'
streams.number (x.yml:11): expected a section of keys, found 5
streams.1.source (x.yml:12): expected rtsp://, rtsps://, srt://, rtp://, udp://, http://, \
https://, ws://, wss:// or testcard:, whip is not supported yet, found '***@host'
streams."a.b".source (x.yml:13): expected a source URL such as rtsp://host/path, found 7
hls.segment_duration (x.yml:14): expected a duration from 500ms to 1m, such as 10s or 200ms, \
found 10
hls.segment_count (x.yml:14): expected at least 3, found 1
fanout.write_window (x.yml:16): expected a duration from 0 to 1s, such as 10s or 200ms, found '5s'
fanout.lag_mark (x.yml:17): expected a duration from 10ms to 1m, such as 10s or 200ms, found a list
listeners.http.address (x.yml:18): expected a port from 0 to 65535, found ':70000'
log.level (x.yml:19): expected 'debug', 'info', 'warning' or 'error', found 'on'
limits.connections_per_address (x.yml:20): expected at least 0, found -1
shutdown-timeout (x.yml:21): unknown key, did you mean 'shutdown_timeout'?"""


def problems(data: bytes) -> str:
    with pytest.raises(ConfigProblems) as refused:
        load_bytes(data, "x.yml")
    return str(refused.value)


def test_all_problems_of_a_file_are_named_with_path_and_line() -> None:
    assert problems(WRONG).splitlines() == REASONS.splitlines()


def test_a_rule_over_several_keys_names_its_section() -> None:
    assert problems(b"\nfanout: {lag_mark: 2s, lag_limit: 1s}") == (
        "fanout (x.yml:2): expected lag_limit to be more than lag_mark"
    )


@pytest.mark.parametrize("data", [b"", b"# nothing\n", b"{}", b"streams:\nhls:\n", b"---\n"])
def test_a_file_that_says_nothing_is_the_schema_s_defaults(data: bytes) -> None:
    assert load_bytes(data, "x.yml") == Config()


@pytest.mark.parametrize("data", [b"[]", b"text", b"5", b"\xff"])
def test_a_file_that_is_no_section_is_refused(data: bytes) -> None:
    assert "x.yml:1: expected" in problems(data)


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "flux.yaml"
    file.write_text("listeners: {http: {address: '[::1]:0'}}\nhls: {segment_duration: 2s}\n")
    config = load_file(file)
    assert config.listeners.http.address.host == "::1"
    assert config.hls.segment_duration == 2.0


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigProblems, match="cannot be read"):
        load_file(tmp_path / name)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [*Config.model_fields, "http", "api", "address", "source", "a/b", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_structure_is_a_configuration_or_is_refused(value: object) -> None:
    import json

    try:
        assert isinstance(load_bytes(json.dumps(value).encode(), "x.yml"), Config)
    except ConfigProblems as refused:
        assert refused.problems
