"""Stream names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.names import MAX_NAME_BYTES, check_stream_name


@pytest.mark.parametrize(
    "name", ["demo", "live/cam1", "a.b", "кухня", "front door".replace(" ", "-")]
)
def test_names_that_are_taken(name: str) -> None:
    assert check_stream_name(name) == name


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "empty"),
        ("/a", "empty components"),
        ("a/", "empty components"),
        ("a//b", "empty components"),
        ("_/a", "'_'"),
        ("a/.hidden", "'.'"),
        ("..", "'.'"),
        ("a/../b", "'.'"),
        ("~regex", "'~'"),
        ("live/*", r"'*'"),
        ("a b", "' '"),
        ("a\nb", "character"),
        ("a?b", r"'?'"),
        ("a%2fb", "'%'"),
        ("live/index.m3u8", "index.m3u8"),
        ("whip", "whip"),
        ("live/whep", "whep"),
        ("a" * (MAX_NAME_BYTES + 1), "bytes"),
        ("й" * MAX_NAME_BYTES, "bytes"),
    ],
)
def test_names_that_are_refused(name: str, word: str) -> None:
    with pytest.raises(ValueError) as refused:
        check_stream_name(name)
    assert word in str(refused.value)


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_a_value_error(text: str) -> None:
    try:
        assert check_stream_name(text) == text
    except ValueError as error:
        assert "expected" in str(error)
