"""YAML 1.2 by libyaml: no surprises in scalars, duplicates refused, lines kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.sources.yaml12 import MAX_FILE_BYTES, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("No", "No"),
        ("yes", "yes"),
        ("12:30:00", "12:30:00"),
        ("2026-11-20", "2026-11-20"),
        ("1_000", "1_000"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("-5", -5),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".inf", float("inf")),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("[1, a]", [1, "a"]),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_values_are_those_of_the_core_schema(text: str, value: object) -> None:
    document = parse_yaml(f"key: {text}\n".encode())
    assert document.problems == []
    assert document.value == {"key": value}
    assert isinstance(document.value, dict)
    assert type(document.value["key"]) is type(value)


def test_keys_are_text_and_have_lines() -> None:
    document = parse_yaml(b"# c\non: 1\n1:\n  - a: b\n  - [c,\n     d]\n")
    assert document.value == {"on": 1, "1": [{"a": "b"}, ["c", "d"]]}
    assert document.lines[("on",)] == 2
    assert document.lines[("1", 0, "a")] == 4
    assert document.lines[("1", 1, 1)] == 6


def test_every_duplicate_is_named_with_both_lines() -> None:
    document = parse_yaml(b"a: 1\nb: {x: 1, x: 2}\na: 3\n", "f.yaml")
    assert [str(problem) for problem in document.problems] == [
        "b.x (f.yaml:2): this key was given already, on line 2",
        "a (f.yaml:3): this key was given already, on line 1",
    ]


@pytest.mark.parametrize(
    ("data", "reason", "line"),
    [
        (b"a: b: c\n", "not valid YAML", 1),
        (b"a: [1,\n", "not valid YAML", 2),
        (b"a: 1\n\tb: 2\n", "not valid YAML", 2),
        (b"a: 1\n---\nb: 1\n", "not valid YAML", 2),
        (b"a: \xff\n", "expected UTF-8", 1),
        (b"a: *nowhere\n", "not valid YAML", 1),
        (b"x: !!python/object/apply:os.system [ls]\n", "expected no tag", 1),
        (b"x: !!binary aGk=\n", "expected no tag", 1),
        (b"? [a]\n: 1\n", "expected a key that is plain text", 1),
        (b"x: " + b"9" * 5000, "expected a number of fewer digits", 1),
        (b"a: &a [*a]\n", "levels", 1),
        (b"[" * 900 + b"]" * 900, "levels", 1),
        (b"#" * (MAX_FILE_BYTES + 1), "expected at most", 0),
    ],
)
def test_what_is_no_configuration_is_refused(data: bytes, reason: str, line: int) -> None:
    (problem,) = parse_yaml(data, "f").problems
    assert reason in problem.reason
    assert problem.line == line


def test_aliases_cannot_grow_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (problem,) = parse_yaml("\n".join(lines).encode()).problems
    assert "aliases included" in problem.reason


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_have_problems(data: bytes) -> None:
    document = parse_yaml(data)
    assert isinstance(document.problems, list)


@given(st.text("ab:- {}[],&*!|>'\"#%\n\t?~1.", max_size=80))
def test_any_punctuation_is_a_document_or_has_problems(text: str) -> None:
    assert isinstance(parse_yaml(text.encode()).problems, list)


def test_a_file_cut_anywhere_is_a_document_or_has_problems() -> None:
    data = b"\xef\xbb\xbfstreams:\n  demo: {source: 'testcard:', on_demand: true}\nlog:\n- |\n  x\n"
    for length in range(len(data)):
        assert isinstance(parse_yaml(data[:length]).problems, list)
