"""`rtp://` and `udp://` URLs: what is taken, and what is refused with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.datagram_url import DatagramUrl
from config.urls import ForwardUrl, SourceUrl


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtp://0.0.0.0:5004", DatagramUrl("rtp", "0.0.0.0", 5004)),
        ("rtp://:5004", DatagramUrl("rtp", "", 5004)),
        ("rtp://", DatagramUrl("rtp", "", 0)),
        ("rtp://@239.1.2.3:5004", DatagramUrl("rtp", "239.1.2.3", 5004)),
        ("udp://@239.1.2.3:1234", DatagramUrl("udp", "239.1.2.3", 1234)),
        ("udp://@:1234", DatagramUrl("udp", "", 1234)),
        ("udp://10.0.0.5@232.1.2.3:1234", DatagramUrl("udp", "232.1.2.3", 1234, "10.0.0.5")),
        (
            "udp://232.1.2.3:1234?source=10.0.0.5&interface=eth0",
            DatagramUrl("udp", "232.1.2.3", 1234, "10.0.0.5", "eth0"),
        ),
        ("udp://[ff15::1]:1234", DatagramUrl("udp", "ff15::1", 1234)),
        ("udp://[ff02::1%25eth0]:1234/", DatagramUrl("udp", "ff02::1%eth0", 1234)),
        ("udp://[fe80::2]@[ff15::1]:1", DatagramUrl("udp", "ff15::1", 1, "fe80::2")),
    ],
)
def test_sources(text: str, expected: DatagramUrl) -> None:
    assert DatagramUrl.parse_source(text) == expected
    assert str(SourceUrl.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtp://10.0.0.9:5004", DatagramUrl("rtp", "10.0.0.9", 5004)),
        (
            "rtp://239.1.2.3:5004?ttl=16&interface=10.0.0.1&sdp=/srv/cam.sdp",
            DatagramUrl(
                "rtp", "239.1.2.3", 5004, "", "10.0.0.1", 16, sdp_path="/srv/cam.sdp"
            ),
        ),
        (
            "udp://host.example:1234?pkt_size=188",
            DatagramUrl("udp", "host.example", 1234, packet_bytes=188),
        ),
    ],
)  # fmt: skip
def test_targets(text: str, expected: DatagramUrl) -> None:
    assert DatagramUrl.parse_target(text) == expected
    assert ForwardUrl.parse(text).reveal() == text


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("rtp:h:1", "HOST:PORT"),
        ("rtp://h:0", "from 1 to 65535"),
        ("rtp://h:70000", "from 1 to 65535"),
        ("rtp://h:5004/path", "without a path"),
        ("rtp://h:5004#x", "without a path"),
        ("rtp://a,b:5004", "a name or an address"),
        ("rtp://[zz]:5004", "65535"),
        ("rtp://[1.2.3.4]:5004", "65535"),
        ("udp://user:pw@h:1", "address of a sender"),
        ("udp://h:1?colour=red", "options"),
        ("udp://h:1?ttl=1&ttl=2", "once"),
        ("udp://h:1?source=camera", "IP address"),
        ("udp://239.1.1.1:1?source=::1", "both of IPv4"),
        ("udp://h:1?interface=a%20b", "interface=NAME"),
        ("udp://h:1?ttl=256", "ttl from 0"),
        ("udp://h:1?ttl=x", "ttl from 0"),
        ("udp://h:1?pkt_size=1400", "whole packets"),
        ("udp://h:1?pkt_size=0", "whole packets"),
        ("udp://h:1?pkt_size=65800", "whole packets"),
        ("rtp://h:1?pkt_size=1316", "udp://"),
    ],
)
def test_urls_that_are_refused_everywhere(text: str, word: str) -> None:
    for parse in (DatagramUrl.parse_source, DatagramUrl.parse_target):
        with pytest.raises(ValueError, match="expected") as refused:
            parse(text)
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("text", "word"), [("udp://h", "with a port"), ("rtp://h:5004?sdp=x.sdp", "key sdp")]
)
def test_sources_that_are_refused(text: str, word: str) -> None:
    with pytest.raises(ValueError, match="expected") as refused:
        DatagramUrl.parse_source(text)
    assert word in str(refused.value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("rtp://h", "a host and a port"),
        ("udp://:1234", "a host and a port"),
        ("udp://239.1.1.1:1?source=10.0.0.1", "no source"),
        ("rtp://h:1?sdp=/etc/passwd", "ends in .sdp"),
        ("udp://h:1?sdp=/srv/x.sdp", "of rtp://"),
    ],
)
def test_targets_that_are_refused(text: str, word: str) -> None:
    with pytest.raises(ValueError, match="expected") as refused:
        DatagramUrl.parse_target(text)
    assert word in str(refused.value)


def test_variables_of_patterns_are_let_through() -> None:
    assert SourceUrl.parse("udp://239.1.1.$1:5000").scheme == "udp"
    assert ForwardUrl.parse("rtp://239.1.1.$1:50$2").scheme == "rtp"
    assert ForwardUrl.parse("rtsp://other/$name").scheme == "rtsp"


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    for scheme in ("rtp", "udp"):
        for parse in (DatagramUrl.parse_source, DatagramUrl.parse_target):
            try:
                url = parse(f"{scheme}://{text}")
            except ValueError as error:
                assert "expected" in str(error)
            else:
                assert 0 <= url.port < 65_536
