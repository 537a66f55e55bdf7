"""What a description says of multicast, and of sections that are the same stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from flux.bridges.rtp.tracks import tracks_from_sdp
from flux.bridges.rtsp.described import group_of, one_of_each
from protocols.rtsp.transport import Group, PortPair
from protocols.sdp import SessionDescription


@pytest.mark.parametrize(
    ("lines", "group"),
    [
        (
            ["c=IN IP4 239.1.1.1/5", "m=video 5000 RTP/AVP 96"],
            Group("239.1.1.1", PortPair(5000, 5001), 5),
        ),
        (
            [
                "c=IN IP4 10.0.0.1",
                "a=source-filter: incl IN IP4 * 10.0.0.9",
                "m=video 5000 RTP/AVP 96",
                "c=IN IP4 232.1.1.1/32/2",
            ],
            Group("232.1.1.1", PortPair(5000, 5001), 32, "10.0.0.9"),
        ),
        (
            ["m=video 5000 RTP/AVP 96", "c=IN IP6 ff15::1/3", "a=source-filter:excl IN IP6 * ::9"],
            Group("ff15::1", PortPair(5000, 5001), 16),
        ),
        (["m=video 0 RTP/AVP 96"], None),
        (
            ["c=IN IP4 239.1.1.1/999", "m=video 0 RTP/AVP 96"],
            Group("239.1.1.1", PortPair(0, 1), 16),
        ),
        (["c=nonsense", "m=video 7 RTP/AVP 96"], Group("", PortPair(7, 8), 16)),
    ],
)
def test_group(lines: list[str], group: Group | None) -> None:
    session = SessionDescription.parse("\r\n".join(["v=0", *lines]).encode())
    assert group_of(session, session.media[0]) == group


@given(st.text("c=IN P46/.:0123a source-filter\n", max_size=120))
def test_any_description_has_a_group_or_none(text: str) -> None:
    try:
        session = SessionDescription.parse(f"m=video 1 RTP/AVP 96\n{text}".encode())
    except WireError:
        return
    for media in session.media:
        group_of(session, media)


PLAIN, SECURE = "m=audio 0 RTP/AVP 0", "m=audio 0 RTP/SAVP 0"


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ([PLAIN, "a=control:1", SECURE, "a=control:1"], [1]),
        ([SECURE, "a=control:1", PLAIN, "a=control:1"], [0]),
        (["m=audio 0 RTP/AVPF 0", "a=control:1", PLAIN, "a=control:1"], [0]),
        ([PLAIN, "a=control:1", SECURE, "a=control:2"], [0, 1]),
        ([PLAIN, "a=control:*", SECURE, "a=control:*"], [0, 1]),
        ([PLAIN, SECURE], [0, 1]),
        ([PLAIN, "a=control:1", "m=video 0 RTP/SAVP 26", "a=control:1"], [0, 1]),
    ],
)
def test_one_section_of_each_stream(lines: list[str], kept: list[int]) -> None:
    session = SessionDescription.parse("\r\n".join(["v=0", *lines, ""]).encode())
    tracks = tracks_from_sdp(session, is_secure=True).tracks
    assert [track.media_index for track in one_of_each(session, tracks)] == kept
