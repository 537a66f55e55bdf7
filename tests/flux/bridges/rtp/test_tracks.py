"""What of a session description can be received."""

import pytest

from flux.bridges.rtp import SessionTracks, tracks_from_sdp
from media.track import Kind
from protocols.sdp import SessionDescription

H264 = "a=rtpmap:96 H264/90000"
AAC = (
    "a=rtpmap:97 MPEG4-GENERIC/48000/2",
    "a=fmtp:97 mode=AAC-hbr;config=1190;sizelength=13;indexlength=3;indexdeltalength=3",
)


def offered(*lines: str) -> SessionTracks:
    return tracks_from_sdp(SessionDescription.parse("\r\n".join(("v=0", *lines)).encode()))


def test_video_and_audio() -> None:
    found = offered(
        "m=video 0 RTP/AVP 96", H264, "a=control:trackID=1", "m=audio 0 RTP/AVP 97", *AAC
    )
    video, audio = found.tracks
    assert (video.media_index, video.control, video.payload_type) == (0, "trackID=1", 96)
    assert (video.description.kind, video.description.codec) == (Kind.VIDEO, "h264")
    assert video.description.clock_rate == 90_000
    assert (audio.media_index, audio.control, audio.payload_type) == (1, None, 97)
    assert (audio.description.kind, audio.description.codec) == (Kind.AUDIO, "aac")
    assert audio.description.clock_rate == 48_000
    assert audio.description.parameters is not None
    assert found.refused == ()


def test_static_payload_types() -> None:
    found = offered("m=audio 0 RTP/AVP 0", "m=audio 0 RTP/AVP 8")
    assert [t.description.codec for t in found.tracks] == ["pcmu", "pcma"]


def test_a_known_codec_is_preferred() -> None:
    found = offered(
        "m=audio 0 RTP/AVP 101 110 8 0",
        "a=rtpmap:101 telephone-event/8000",
        "a=rtpmap:110 speex/16000",
    )
    assert [(t.payload_type, t.description.codec) for t in found.tracks] == [(8, "pcma")]


def test_an_unknown_format_is_a_track_of_its_own() -> None:
    found = offered(
        "m=application 0 RTP/AVP 107",
        "a=rtpmap:107 vnd.acme.boxes/90000",
        "m=video 0 RTP/AVP 34",
    )
    metadata, picture = found.tracks
    assert metadata.description.codec == "rtp/vnd.acme.boxes"
    assert metadata.description.kind == Kind.DATA
    assert (picture.description.codec, picture.description.kind) == ("rtp/h263", Kind.VIDEO)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("m=video 0 UDP 96", H264), "sdp-not-rtp"),
        (("m=video 0 RTP/SAVP 96", H264), "sdp-secure-rtp"),
        (("m=video 0 RTP/AVP 96", H264, "a=inactive"), "sdp-inactive"),
        (("m=video 0 RTP/AVP",), "sdp-no-payload-type"),
        (("m=video 0 RTP/AVP 96",), "sdp-no-encoding"),
        (("m=audio 0 RTP/AVP 97", "a=rtpmap:97 speex"), "sdp-no-clock-rate"),
        (("m=audio 0 RTP/AVP 97", "a=rtpmap:97 telephone-event/8000"), "sdp-auxiliary-only"),
    ],
)
def test_refusals_have_names(lines: tuple[str, ...], reason: str) -> None:
    found = offered(*lines, "m=audio 0 RTP/AVP 0")
    assert [(r.media_index, r.kind, r.reason) for r in found.refused] == [
        (0, lines[0][2:7], reason)
    ]
    assert [t.media_index for t in found.tracks] == [1]


def test_back_channel() -> None:
    """ONVIF marks what the camera wants to hear as sendonly; some cameras write it at all."""
    found = offered("m=audio 0 RTP/AVP 0", "a=recvonly", "m=audio 0 RTP/AVP 0", "a=sendonly")
    assert [t.media_index for t in found.tracks] == [0]
    assert [(r.media_index, r.reason) for r in found.refused] == [(1, "sdp-back-channel")]
    found = offered("m=video 0 RTP/AVP 96", H264, "a=sendonly", "m=audio 0 RTP/AVP 0", "a=sendonly")
    assert [t.media_index for t in found.tracks] == [0, 1]
