"""The keys of forwarding: lists of targets, and how they are tried again."""

import pytest
from pydantic import TypeAdapter, ValidationError

from config.forward import ForwardList, ForwardSection
from config.urls import ForwardUrl

LIST = TypeAdapter[tuple[ForwardUrl, ...]](ForwardList)


def test_one_target_many_or_none() -> None:
    one = ForwardUrl.parse("rtp://10.0.0.9:5004")
    other = ForwardUrl.parse("rtsp://u:hunter2@h/x")
    assert LIST.validate_python("rtp://10.0.0.9:5004") == (one,)
    assert LIST.validate_python(["rtp://10.0.0.9:5004", "rtsp://u:hunter2@h/x"]) == (one, other)
    assert LIST.validate_python((one,)) == (one,)
    assert LIST.validate_python([]) == ()
    assert LIST.validate_python(None) == ()
    assert "hunter2" not in str(other) + repr(other)
    assert b"hunter2" not in LIST.dump_json((other,))


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (["udp://h:1", "udp://h:1"], "each target once"),
        ([f"udp://h:{port}" for port in range(1, 34)], "at most 32"),
        (["testcard:"], "no target"),
        (["whip://h:1"], "not supported yet"),
        (["gopher://h"], "not a known scheme"),
        ([7], "expected the URL of a target"),
        ({"udp://h:1": 2}, "tuple"),
    ],
)
def test_lists_that_are_refused(value: object, word: str) -> None:
    with pytest.raises(ValidationError) as refused:
        LIST.validate_python(value)
    assert word in str(refused.value)


def test_retries_are_in_order() -> None:
    assert ForwardSection() == ForwardSection.model_validate({"retry_first": "1s"})
    with pytest.raises(ValidationError, match="retry_longest"):
        ForwardSection.model_validate({"retry_first": "10s", "retry_longest": "1s"})
