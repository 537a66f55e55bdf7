"""The wire form between processes: round trip, truncation, every split, any bytes."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import StateError, WireError
from media.frame import NO_TIME
from media.track import AAC, H264, Kind
from media.wire import (
    BYE,
    FLAG_DISCONTINUITY,
    FLAG_KEY,
    FRAME,
    MAX_CONTROL_BYTES,
    MAX_FRAME_BYTES,
    MAX_NALS,
    MAX_TRACKS,
    TRACKS,
    VERSION,
    Announcement,
    Bye,
    Decoder,
    Dropped,
    Hello,
    Message,
    TrackChanged,
    Tracks,
    Unknown,
    WireFrame,
    serialize_bye,
    serialize_drop,
    serialize_frame,
    serialize_hello,
    serialize_track,
    serialize_tracks,
)

VIDEO = Announcement(0, Kind.VIDEO, H264, 90_000, configuration=(b"\x67sps", b"\x68pps"))
AUDIO = Announcement(1, Kind.AUDIO, AAC, 48_000, channels=2, configuration=(b"\x11\x90",))
CHANGED = Announcement(0, Kind.VIDEO, H264, 90_000, version=1, configuration=(b"\x67new",))
KEY_FRAME = WireFrame(0, FLAG_KEY | FLAG_DISCONTINUITY, 3600, NO_TIME, 1 << 63, (b"\x65" * 40, b""))
SOUND = WireFrame(1, FLAG_KEY, -1024, -1024, 0, (b"raw",))
SLICES = WireFrame(0, 0, 7200, 7200, 5, tuple(bytes((n,)) * n for n in range(20)))

MESSAGES: tuple[Message, ...] = (
    Hello(VERSION, "live/café"),
    Tracks((VIDEO, AUDIO)),
    KEY_FRAME,
    SOUND,
    Dropped(None, 25, "worker-late"),
    TrackChanged(CHANGED),
    SLICES,
    Dropped(1, 1, "worker-late"),
    WireFrame(1, 0, 0, 0, 0, ()),
    Bye("finished"),
)


def serialize(message: Message) -> bytes:
    match message:
        case Hello(version, name):
            return serialize_hello(name, version)
        case Tracks(tracks):
            return serialize_tracks(tracks)
        case TrackChanged(track):
            return serialize_track(track)
        case WireFrame(track_id, flags, pts, dts, ntp, payload):
            return serialize_frame(track_id, flags, pts, dts, ntp, payload)
        case Dropped(track_id, count, reason):
            return serialize_drop(track_id, count, reason)
        case Bye(reason):
            return serialize_bye(reason)
        case Unknown(kind, body):
            return raw(kind, body)


def raw(kind: int, body: bytes) -> bytes:
    return pack("!BI", kind, len(body)) + body


def decode(*pieces: bytes) -> tuple[list[Message], str]:
    """Every message, and the reason of the error that ended it, if one did."""
    decoder = Decoder()
    messages: list[Message] = []
    try:
        for piece in pieces:
            decoder.receive_data(piece)
            while (message := decoder.next_message()) is not None:
                messages.append(message)
    except WireError as error:
        return messages, error.reason
    return messages, ""


GREETING = serialize_hello("a")
OPENING = GREETING + serialize_tracks((VIDEO, AUDIO))
CONVERSATION = b"".join(map(serialize, MESSAGES))


def test_round_trip() -> None:
    assert decode(CONVERSATION) == (list(MESSAGES), "")


def test_the_payload_is_plain_bytes() -> None:
    messages, _ = decode(OPENING + serialize(KEY_FRAME))
    frame = messages[-1]
    assert isinstance(frame, WireFrame)
    assert [type(nal) for nal in frame.payload] == [bytes, bytes]


def test_unknown_types_are_kept() -> None:
    assert decode(GREETING + raw(77, b"later")) == (
        [Hello(VERSION, "a"), Unknown(77, b"later")],
        "",
    )


def test_truncation_at_every_length_waits_for_more() -> None:
    ends = [0]
    for message in MESSAGES:
        ends.append(ends[-1] + len(serialize(message)))
    for length in range(len(CONVERSATION)):
        whole = sum(1 for end in ends[1:] if end <= length)
        assert decode(CONVERSATION[:length]) == (list(MESSAGES[:whole]), "")


def test_every_split_gives_the_same_messages() -> None:
    for at in range(len(CONVERSATION) + 1):
        assert decode(CONVERSATION[:at], CONVERSATION[at:]) == (list(MESSAGES), "")


def test_one_byte_at_a_time() -> None:
    pieces = [CONVERSATION[at : at + 1] for at in range(len(CONVERSATION))]
    assert decode(*pieces) == (list(MESSAGES), "")


def frame_body(lengths: list[int], payload: bytes, track: int = 0, count: int = -1) -> bytes:
    count = len(lengths) if count < 0 else count
    return pack(f"!HBHqqQ{len(lengths)}I", track, 0, count, 0, 0, 0, *lengths) + payload


def announcement(
    track: int = 0, kind: int = 0, clock_rate: int = 90_000, codec: bytes = b"h264"
) -> bytes:
    head = pack("!HBBIIB", track, kind, 0, clock_rate, 0, len(codec))
    return b"\x01" + head + codec + b"\0\0"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (serialize_bye("early"), "wire-no-hello"),
        (raw(1, b"FLIX\0\1\0"), "wire-magic"),
        (serialize_hello("a", 2), "wire-version"),
        (raw(1, b"FLUX\0\1\1\xff"), "wire-name"),
        (raw(1, b"FLUX\0\1\2a"), "wire-truncated"),
        (raw(1, b"FLUX\0"), "wire-truncated"),
        (GREETING + GREETING, "wire-second-hello"),
        (GREETING + serialize(KEY_FRAME), "wire-frame-before-tracks"),
        (GREETING + serialize_track(VIDEO), "wire-unknown-track"),
        (GREETING + serialize_drop(0, 1, "late"), "wire-unknown-track"),
        (GREETING + serialize_tracks((VIDEO, VIDEO)), "wire-track-twice"),
        (GREETING + raw(TRACKS, bytes((MAX_TRACKS + 1,))), "wire-too-many-tracks"),
        (GREETING + raw(TRACKS, announcement() + b"x"), "wire-trailing-bytes"),
        (GREETING + raw(TRACKS, announcement(kind=9)), "wire-kind"),
        (GREETING + raw(TRACKS, announcement(track=0xFFFF)), "wire-track-id"),
        (GREETING + raw(TRACKS, announcement(clock_rate=0)), "wire-clock-rate"),
        (GREETING + raw(TRACKS, announcement(codec=b"H 264")), "wire-codec"),
        (GREETING + raw(TRACKS, announcement()[:-2] + b"\xff\xff"), "wire-configuration"),
        (GREETING + raw(BYE, b"\3A B"), "wire-reason"),
        (GREETING + raw(BYE, b"\0"), "wire-reason"),
        (GREETING + pack("!BI", BYE, MAX_CONTROL_BYTES + 1), "wire-message-too-long"),
        (OPENING + pack("!BI", FRAME, MAX_FRAME_BYTES + 1), "wire-message-too-long"),
        (OPENING + raw(FRAME, frame_body([], b"", track=7)), "wire-unknown-track"),
        (OPENING + raw(FRAME, frame_body([1], b"")), "wire-frame-truncated"),
        (OPENING + raw(FRAME, frame_body([], b"", count=1)), "wire-frame-truncated"),
        (OPENING + raw(FRAME, frame_body([], b"")[:-1]), "wire-frame-truncated"),
        (OPENING + raw(FRAME, frame_body([1], b"ab")), "wire-frame-trailing-bytes"),
        (OPENING + raw(FRAME, frame_body([0] * (MAX_NALS + 1), b"")), "wire-too-many-nals"),
        (OPENING + serialize_bye("done") + b"\0", "wire-after-bye"),
    ],
)
def test_wrong_bytes_have_a_reason(data: bytes, reason: str) -> None:
    messages, found = decode(data)
    assert found == reason
    assert decode(*(data[at : at + 1] for at in range(len(data)))) == (messages, reason)


def test_an_error_is_final() -> None:
    decoder = Decoder()
    decoder.receive_data(serialize_bye("early"))
    for _ in range(2):
        with pytest.raises(WireError, match="wire-no-hello"):
            decoder.next_message()
        decoder.receive_data(OPENING)


def test_what_does_not_fit_is_refused_by_the_sender() -> None:
    with pytest.raises(StateError):
        serialize_frame(0, 0, 0, 0, 0, (b"",) * (MAX_NALS + 1))
    with pytest.raises(StateError):
        serialize_frame(0, 0, 0, 0, 0, (bytes(MAX_FRAME_BYTES),))
    with pytest.raises(StateError):
        serialize_tracks((VIDEO,) * (MAX_TRACKS + 1))
    with pytest.raises(StateError):
        serialize_hello("x" * 256)
    with pytest.raises(StateError):
        serialize_track(Announcement(0, Kind.DATA, "x", 1, configuration=(bytes(1 << 20),)))


@given(st.binary(max_size=200), st.sampled_from((b"", GREETING, OPENING)))
def test_any_bytes_parse_or_raise_wire_error(data: bytes, prefix: bytes) -> None:
    messages, reason = decode(prefix + data)
    assert decode(*(bytes((byte,)) for byte in prefix + data)) == (messages, reason)


@given(st.sampled_from((2, 3, 4, 5, 6)), st.binary(max_size=120), st.integers(1, 300))
def test_any_body_parses_or_raises_the_same_in_every_split(
    kind: int, body: bytes, step: int
) -> None:
    data = OPENING + raw(kind, body)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    assert decode(*pieces) == decode(data)


@given(
    st.lists(
        st.builds(
            WireFrame,
            st.sampled_from((0, 1)),
            st.integers(0, 255),
            st.integers(-(1 << 63), (1 << 63) - 1),
            st.integers(-(1 << 63), (1 << 63) - 1),
            st.integers(0, (1 << 64) - 1),
            st.lists(st.binary(max_size=40), max_size=12).map(tuple),
        ),
        max_size=6,
    ),
    st.integers(1, 64),
)
def test_any_frames_survive_any_pieces(frames: list[WireFrame], step: int) -> None:
    data = OPENING + b"".join(map(serialize, frames))
    messages, reason = decode(*(data[at : at + step] for at in range(0, len(data), step)))
    assert (messages[2:], reason) == (frames, "")
