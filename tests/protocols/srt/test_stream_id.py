"""What stream ids say: draft appendix B, and the short forms in use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.srt.stream_id import Action, StreamRequest

READ, PUBLISH = Action.READ, Action.PUBLISH


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("publish:live/cam1", StreamRequest("live/cam1", PUBLISH)),
        ("publish:/live/cam1", StreamRequest("live/cam1", PUBLISH)),
        ("publish:cam:bob:pa:ss", StreamRequest("cam", PUBLISH, "bob", "pa:ss")),
        ("publish:cam:bob", StreamRequest("cam", PUBLISH, "bob")),
        ("read:cam", StreamRequest("cam")),
        ("play:cam:ann:x", StreamRequest("cam", READ, "ann", "x")),
        ("live/cam1", StreamRequest("live/cam1")),
        ("other:thing", StreamRequest("other:thing")),  # the name is judged elsewhere
        ("#!::r=cam", StreamRequest("cam")),
        ("#!::r=live/cam,m=publish", StreamRequest("live/cam", PUBLISH)),
        (
            "#!::m=request,r=cam,u=bob,s=secret,h=host.example,t=stream",
            StreamRequest("cam", READ, "bob", "secret", "", "secret", "host.example"),
        ),
        (
            "#!::r=cam,u=bob,s=abc,p=word,token=t1",
            StreamRequest("cam", READ, "bob", "word", "t1", "abc"),
        ),
        ("#!::r=cam,s=abc", StreamRequest("cam", session="abc")),
        ("#!::r=cam,m=publish,", StreamRequest("cam", PUBLISH)),
        (
            "#!::h=host.example,r=live/cam,m=publish",
            StreamRequest("live/cam", PUBLISH, host="host.example"),
        ),
        ("#!::r=cam?token=t1,m=publish", StreamRequest("cam", PUBLISH, token="t1")),
        ("read:cam?token=a%3Db&x", StreamRequest("cam", token="a=b")),
        ("publish:cam?user=bob&pass=w%26", StreamRequest("cam", PUBLISH, "bob", "w&")),
        ("cam?jwt=t2", StreamRequest("cam", token="t2")),
        ("#!::r=cam,x=1,a=b=c", StreamRequest("cam")),
    ],
)
def test_stream_ids(text: str, expected: StreamRequest) -> None:
    assert StreamRequest.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("publish%3Alive%2Fcam1", StreamRequest("live/cam1", PUBLISH)),
        ("%23!%3a%3ar%3dcam%2cm%3dpublish", StreamRequest("cam", PUBLISH)),
        ("publish:cam:bob:50%25", StreamRequest("cam", PUBLISH, "bob", "50%25")),  # not escaped
        ("live/cam%20x", StreamRequest("live/cam%20x")),  # a stream key: it is judged elsewhere
    ],
)
def test_what_obs_sends(text: str, expected: StreamRequest) -> None:
    assert StreamRequest.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "stream-id-empty"),
        ("/", "stream-id-empty"),
        ("publish:", "stream-id-empty"),
        ("#!::", "stream-id-malformed"),
        ("#!::m=publish", "stream-id-empty"),
        ("#!::r=cam,r=dog", "stream-id-malformed"),
        ("#!::r=cam,m", "stream-id-malformed"),
        ("#!::=x", "stream-id-malformed"),
        ("#!:{r: cam}", "stream-id-nested"),
        ('#!:{"r":"cam","m":"publish"}', "stream-id-nested"),
        ("publish:?token=x", "stream-id-empty"),
        ("#!::r=cam,m=bidirectional", "stream-id-mode"),
        ("#!::r=cam,t=file", "stream-id-mode"),
        ("#!::" + ",".join(f"k{index}=1" for index in range(40)), "stream-id-malformed"),
    ],
)
def test_stream_ids_that_are_refused(text: str, reason: str) -> None:
    with pytest.raises(WireError) as error:
        StreamRequest.parse(text)
    assert error.value.reason == reason


@given(st.text(max_size=600))
def test_any_text_is_read_or_refused(text: str) -> None:
    for prefix in ("", "#!::", "#!::r=x,", "publish:"):
        try:
            StreamRequest.parse(prefix + text)
        except WireError:
            continue


def test_secrets_are_not_shown() -> None:
    shown = repr(StreamRequest.parse("#!::r=cam,u=bob,s=sesame,token=opal"))
    assert "sesame" not in shown and "opal" not in shown


@pytest.mark.parametrize("start", ["gop", "key", "live"])
def test_where_to_begin(start: str) -> None:
    for text in (
        f"read:cam?start={start}",
        f"cam?token=t&start={start}",
        f"#!::r=cam,start={start}",
    ):
        assert StreamRequest.parse(text).start == start
    assert StreamRequest.parse("read:cam").start == ""


@pytest.mark.parametrize("text", ["read:cam?start=now", "#!::r=cam,start=GOP"])
def test_no_other_beginning(text: str) -> None:
    with pytest.raises(WireError, match="stream-id-malformed"):
        StreamRequest.parse(text)
