"""Session descriptions: what RFC 8866 says, and what cameras write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.sdp import (
    Attribute,
    Bandwidth,
    FormatParameters,
    MediaDescription,
    Origin,
    PayloadType,
    SessionDescription,
)
from protocols.sdp.session import MAX_LINES, MAX_MEDIA, MAX_SDP_BYTES

CAMERA = b"""v=0\r
o=- 1109162014219182 1 IN IP4 192.168.1.64\r
s=Media Presentation\r
e=NONE\r
b=AS:5050\r
t=0 0\r
a=control:rtsp://192.168.1.64/Streaming/Channels/101/\r
a=range:npt=now-\r
m=video 0 RTP/AVP 96\r
c=IN IP4 0.0.0.0\r
b=AS:5000\r
a=recvonly\r
a=x-dimensions:1920,1080\r
a=control:rtsp://192.168.1.64/Streaming/Channels/101/trackID=1\r
a=rtpmap:96 H264/90000\r
a=fmtp:96 profile-level-id=420029; packetization-mode=1; \
sprop-parameter-sets=Z00AKp2oHg==,aO48gA==\r
m=audio 0 RTP/AVP 104\r
a=rtpmap:104 mpeg4-generic/16000/1\r
a=fmtp:104 profile-level-id=15; streamtype=5; mode=AAC-hbr; config=1408;SizeLength=13; \
IndexLength=3; IndexDeltaLength=3; Profile=1;\r
a=control:rtsp://192.168.1.64/Streaming/Channels/101/trackID=2\r
a=Media_header:MEDIAINFO=494D4B48010100;\r
"""


def media_of(*lines: str) -> MediaDescription:
    text = "\r\n".join(("v=0", *lines, ""))
    return SessionDescription.parse(text.encode()).media[0]


def payload_of(*lines: str) -> PayloadType:
    return media_of(*lines).payload_types[0]


def test_a_camera_is_understood() -> None:
    session = SessionDescription.parse(CAMERA)
    assert session.origin == Origin("-", "1109162014219182", "1", "IN", "IP4", "192.168.1.64")
    assert session.name == "Media Presentation"
    assert session.timing == "0 0"
    assert session.bandwidths == (Bandwidth("AS", 5050),)
    assert session.control == "rtsp://192.168.1.64/Streaming/Channels/101/"
    assert session.range == "npt=now-"
    assert session.other == ("e=NONE",)
    video, audio = session.media
    assert (video.kind, video.port, video.protocol) == ("video", 0, "RTP/AVP")
    assert video.direction == "recvonly"
    assert video.connection == "IN IP4 0.0.0.0"
    assert video.control == "rtsp://192.168.1.64/Streaming/Channels/101/trackID=1"
    (h264,) = video.payload_types
    assert (h264.number, h264.encoding, h264.clock_rate, h264.channels) == (96, "H264", 90000, 1)
    assert h264.fmtp["packetization-mode"] == "1"
    assert h264.fmtp["sprop-parameter-sets"] == "Z00AKp2oHg==,aO48gA=="
    (aac,) = audio.payload_types
    assert (aac.encoding, aac.clock_rate, aac.channels) == ("mpeg4-generic", 16000, 1)
    assert aac.fmtp["sizelength"] == "13"
    assert aac.fmtp["CONFIG"] == "1408"
    assert "indexdeltalength" in aac.fmtp
    assert audio.direction is None


def test_round_trip() -> None:
    session = SessionDescription.parse(CAMERA)
    assert SessionDescription.parse(session.serialize()) == session


def test_a_description_of_our_own_round_trips() -> None:
    aac = PayloadType(97, "mpeg4-generic", 48000, 2, FormatParameters([("mode", "AAC-hbr")]))
    media = MediaDescription(
        kind="audio",
        formats=("97",),
        title="sound",
        bandwidths=(Bandwidth("AS", 128),),
        attributes=(*aac.attributes(), Attribute("sendonly"), Attribute("control", "trackID=1")),
    )
    session = SessionDescription(
        media=(media,),
        origin=Origin(session_id="7"),
        name="demo",
        information="a stream",
        connection="IN IP4 0.0.0.0",
        timing="0 0",
        attributes=(Attribute("control", "*"),),
    )
    again = SessionDescription.parse(session.serialize())
    assert again == session
    assert again.media[0].payload_types == (aac,)
    assert session.serialize().startswith(
        b"v=0\r\no=- 7 0 IN IP4 127.0.0.1\r\ns=demo\r\ni=a stream"
    )


def test_every_truncation_is_read_or_refused_by_name() -> None:
    for size in range(len(CAMERA)):
        try:
            SessionDescription.parse(CAMERA[:size])
        except WireError as error:
            assert error.reason == "sdp-empty"
            assert size < len(b"v=")


@given(st.binary(max_size=400))
def test_any_bytes_parse_or_raise_wire_error(data: bytes) -> None:
    try:
        SessionDescription.parse(data)
    except WireError:
        return


LINES = st.sampled_from(
    ["v=0", "m=", "m=video 0 RTP/AVP 96 97", "m=audio 5/2", "a=rtpmap:", "a=fmtp:96 ", "a=", "o=a"]
)


@given(st.lists(st.tuples(LINES, st.text(max_size=12)), max_size=12))
def test_what_is_understood_once_stays_so(lines: list[tuple[str, str]]) -> None:
    """Serialized, mandatory lines are added; from then on nothing changes any more."""
    text = "\n".join(line + rest for line, rest in lines)
    try:
        session = SessionDescription.parse(text.encode("utf-8", "replace"))
    except WireError:
        return
    again = SessionDescription.parse(session.serialize())
    assert SessionDescription.parse(again.serialize()) == again
    for media in again.media:
        assert all(0 <= payload.number < 128 for payload in media.payload_types)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "sdp-empty"),
        (b"<html>404</html>", "sdp-empty"),
        (b"v=0\n" + b"a=x\n" * MAX_LINES, "sdp-too-many-lines"),
        (b"v=0\n" + b"m=video 0 RTP/AVP 96\n" * (MAX_MEDIA + 1), "sdp-too-many-media"),
        (b"v=0\n" + b"x" * MAX_SDP_BYTES, "sdp-too-large"),
    ],
)
def test_refusals(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        SessionDescription.parse(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "data",
    [
        b"v=0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n",  # no o=, s=, t=; LF alone
        b"v=0\r\rm=video 0 RTP/AVP 96\ra=rtpmap:96 H264/90000\r",  # CR alone
        b"v=0 \r\n m=video 0 RTP/AVP 96  \r\na=rtpmap:96 H264/90000  \r\n\0\0\0",
        b"\xef\xbb\xbfv=0\r\nm=video  0 RTP/AVP  96\r\na=rtpmap: 96 H264/90000\r\n",
        b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000",  # no v=
        b"v=0\r\ns=K\xfcche\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",  # Latin-1
        b"v=0\r\nm=VIDEO 0 RTP/AVP 96\r\na=RTPMAP:96\tH264/90000/1\r\n",
    ],
)
def test_tolerated_texts(data: bytes) -> None:
    media = SessionDescription.parse(data).media[0]
    assert media.kind == "video"
    assert [(p.number, p.encoding, p.clock_rate) for p in media.payload_types] == [
        (96, "H264", 90000)
    ]


def test_unknown_lines_are_kept() -> None:
    session = SessionDescription.parse(
        b"v=0\nnonsense\nz=0 0\nb=AS:abc\no=short\nm=audio 0 RTP/AVP 0\nk=clear:x\ny\n"
    )
    assert session.other == ("nonsense", "z=0 0", "b=AS:abc", "o=short")
    assert session.media[0].other == ("k=clear:x", "y")


def test_static_payload_types() -> None:
    pcmu, pcma, mpa, *others = media_of("m=audio 0 RTP/AVP 0 8 14 9 10 11 2").payload_types
    assert (pcmu.encoding, pcmu.clock_rate, pcmu.channels) == ("PCMU", 8000, 1)
    assert (pcma.encoding, pcma.clock_rate, pcma.channels) == ("PCMA", 8000, 1)
    assert (mpa.encoding, mpa.clock_rate) == ("MPA", 90000)
    assert [(other.encoding, other.clock_rate, other.channels) for other in others] == [
        ("G722", 8000, 1),
        ("L16", 44100, 2),
        ("L16", 44100, 1),
        ("G726-32", 8000, 1),  # taken back by RFC 3551, and still in use
    ]


def test_several_payload_types_keep_their_order() -> None:
    media = media_of(
        "m=audio 49170 RTP/AVP 111 8 101 111 x 300",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtpmap:111 twice/1",
    )
    assert [p.number for p in media.payload_types] == [111, 8, 101]
    opus, _, events = media.payload_types
    assert (opus.encoding, opus.clock_rate, opus.channels) == ("opus", 48000, 2)
    assert dict(opus.fmtp) == {"minptime": "10", "useinbandfec": "1"}
    assert dict(events.fmtp) == {"0-15": ""}
    assert [opus.fmtp.text, events.fmtp.text] == ["minptime=10;useinbandfec=1", "0-15"]


def test_what_rtpmap_leaves_out() -> None:
    assert payload_of("m=video 0 RTP/AVP 96", "a=rtpmap:96 H264").clock_rate == 90000
    assert payload_of("m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/0").clock_rate == 90000
    assert payload_of("m=audio 0 RTP/AVP 0", "a=rtpmap:0 PCMU").clock_rate == 8000
    assert payload_of("m=audio 0 RTP/AVP 97", "a=rtpmap:97 opus").clock_rate == 0
    assert payload_of("m=audio 0 RTP/AVP 97", "a=rtpmap:97 opus/48000/0").channels == 1
    bare = payload_of("m=video 0 RTP/AVP 96")
    assert (bare.encoding, bare.clock_rate) == ("", 0)


def test_numbers_are_bounded() -> None:
    media = media_of(f"m=video {'9' * 5000}/{'9' * 5000} RTP/AVP {'9' * 5000}")
    assert (media.port, media.port_count, media.payload_types) == (0, 1, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1;b=2", {"a": "1", "b": "2"}),
        (" a = 1 ; b=2 ;; ", {"a": "1", "b": "2"}),
        ("mode=AAC-hbr, config=14,Size=13", {"mode": "AAC-hbr", "config": "14", "Size": "13"}),
        ("level-id=1 mode=hbr config=14", {"level-id": "1", "mode": "hbr", "config": "14"}),
        ("sprop-sets=Z0IAKeKQ,aM48gA==;x=1", {"sprop-sets": "Z0IAKeKQ,aM48gA==", "x": "1"}),
        ("sprop-parameter-sets=Z0IAKeK=,aM48gA=", {"sprop-parameter-sets": "Z0IAKeK=,aM48gA="}),
        ('config="1408"', {"config": "1408"}),
        ("a=1;A=2", {"a": "1"}),
        ("0-15", {"0-15": ""}),
        ("", {}),
    ],
)  # fmt: skip
def test_odd_separators(text: str, expected: dict[str, str]) -> None:
    assert dict(FormatParameters.parse(text)) == expected


@pytest.mark.timeout(5)
@pytest.mark.parametrize("filling", ["\t", " ", ", ", ";", "a=,", " a", ",a=", "=", "a "])
def test_no_text_takes_long(filling: str) -> None:
    parameters = FormatParameters.parse((filling * 60_000)[:60_000] + "x")
    assert len(parameters) <= 3


def test_format_parameters_are_a_mapping() -> None:
    parameters = FormatParameters.parse("Config=1408; bare")
    assert parameters["CONFIG"] == parameters.get("config") == "1408"
    assert len(parameters) == 2
    assert str(parameters) == "Config=1408; bare"
    assert repr(parameters) == "FormatParameters('Config=1408; bare')"
    assert parameters == FormatParameters.parse("Config=1408;bare")
    with pytest.raises(KeyError):
        parameters["other"]


@given(st.text(max_size=200))
def test_any_text_is_format_parameters(text: str) -> None:
    parameters = FormatParameters.parse(text)
    assert all(parameters[key] is not None and key.lower() in parameters for key in parameters)
