"""RTP payload format for AAC in LATM, RFC 6416 section 6 (`MP4A-LATM`).

A payload is an AudioMuxElement of one or several audio frames, or a fragment of one; the marker is
on the last. Nothing says whether a packet begins an element. After a gap the next one is believed
to do so if no more packets are missing than whole elements are missing in time, and it must be
exact: lengths that add up to its size.

How the multiplex is configured, SDP says (`config`, with `cpresent=0`), or the elements themselves
do. AudioSpecificConfigs that come in band go before the frame, as `media/codecs/tracker.py` wants.
"""

from collections.abc import Mapping, Sequence

from flux.base.errors import WireError
from media.codecs.aac import AacParameters, frame_ticks, parse_config
from media.codecs.latm import LONG, MAX_ELEMENT_BYTES, AudioMuxReader, StreamMuxConfig
from media.payloads.aac import AAC_TYPES
from media.payloads.base import MIN_PAYLOAD_BYTES, NOTHING, DropCallback, Unit, cut_equal

DEFAULT_PROFILE = (
    "1"  # profile-level-id: AAC Main level 1 is as much as "AAC", RFC 3640 says so too
)


class LatmDepacketizer:
    """Makes audio frames from RTP payloads."""

    __slots__ = (
        "_announced",
        "_clock_rate",
        "_expected",
        "_frame_ticks",
        "_is_joining",
        "_mux",
        "_on_drop",
        "_pieces",
        "_size",
        "_skipping",
        "_timestamp",
    )

    def __init__(
        self,
        on_drop: DropCallback,
        clock_rate: int,
        config: StreamMuxConfig | None = None,
        is_in_band: bool = True,
    ) -> None:
        self._on_drop = on_drop
        self._clock_rate = clock_rate
        self._mux = AudioMuxReader(config, is_in_band)
        self._announced = config.audio_config if config else b""  # the last one that was passed on
        self._frame_ticks = self._ticks(self._announced) if config else 0
        self._expected: int | None = None  # sequence of the next packet
        self._timestamp = 0  # of the packet before
        self._pieces: list[bytes] = []  # of the open element
        self._size = 0
        self._skipping = False  # the rest of this element is not wanted
        self._is_joining = True  # nothing was whole yet: the first packets may lack their head

    def push(self, payload: bytes, marker: bool, sequence: int, timestamp: int) -> Sequence[Unit]:
        """Take one packet; answer the audio frames that it completes."""
        done: Sequence[Unit] = NOTHING
        if sequence != self._expected:
            if self._expected is not None:
                self._note_gap(sequence - self._expected, timestamp)
        elif timestamp != self._timestamp:
            # quirk: senders that set no marker (section 6.1). test: test_no_marker
            done = self._end()
        self._expected = sequence + 1
        self._timestamp = timestamp
        if payload and not self._skipping:
            self._pieces.append(payload)
            self._size += len(payload)
            if self._size > MAX_ELEMENT_BYTES:
                self._drop("latm-element-too-large")
                self._skipping = True
        if marker:
            done = [*done, *self._end()] if done else self._end()
        return done

    def _note_gap(self, missing: int, timestamp: int) -> None:
        """Some packets are missing before this one: is it the first of its element?"""
        is_counted = bool(self._pieces) or self._skipping
        if self._pieces:
            self._drop("latm-fragment-loss")
        is_same = timestamp == self._timestamp
        begins = False
        if not is_same and self._frame_ticks:
            element = self._frame_ticks * (self._mux.config.sub_frames if self._mux.config else 1)
            between = round((timestamp - self._timestamp) / element) - 1
            begins = missing <= between + is_counted  # the rest of a counted one is missing too
        self._skipping = not begins
        if not (is_counted and (begins or is_same)):
            self._on_drop("latm-unit-loss")

    def _drop(self, reason: str) -> None:
        self._pieces = []
        self._size = 0
        self._on_drop(reason)

    def _end(self) -> Sequence[Unit]:
        """Close the element, whether it is open, skipped or empty."""
        self._skipping = False
        pieces = self._pieces
        if not pieces:
            return NOTHING
        self._pieces = []
        self._size = 0
        try:
            frames = self._mux.read(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        except WireError as exc:
            if not self._is_joining or exc.reason != "latm-malformed":
                reason = "latm-malformed" if exc.reason == "bits-truncated" else exc.reason
                self._on_drop(reason)
            self._is_joining = False
            return NOTHING
        self._is_joining = False
        config = self._mux.config.audio_config if self._mux.config else b""
        is_new = config != self._announced
        if is_new:
            self._announced = config
            self._frame_ticks = self._ticks(config)
        timestamp = self._timestamp
        units: list[Unit] = []
        for frame in frames:
            if frame:
                units.append(Unit(timestamp, (config, frame) if is_new else (frame,)))
                is_new = False
            timestamp += self._frame_ticks
        return units

    def _ticks(self, audio_config: bytes) -> int:
        return frame_ticks(parse_config(audio_config), self._clock_rate)


class LatmPacketizer:
    """Makes RTP payloads of one frame each, with the configuration out of band.

    An element that does not fit is cut into equal fragments.
    """

    __slots__ = ("_limit",)

    def __init__(self, max_payload_bytes: int) -> None:
        self._limit = max(max_payload_bytes, MIN_PAYLOAD_BYTES)

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packets of one audio frame."""
        frame = payload[0] if len(payload) == 1 else b"".join(payload)
        if not frame:
            return []
        count, rest = divmod(len(frame), LONG)
        element = bytes((LONG,)) * count + bytes((rest,)) + frame
        if len(element) <= self._limit:
            return [(element, True)]
        pieces = cut_equal(element, 0, self._limit)
        last = len(pieces) - 1
        return [(piece, index == last) for index, piece in enumerate(pieces)]


def mux_from_fmtp(fmtp: Mapping[str, str]) -> tuple[StreamMuxConfig | None, bool]:
    """The configuration of a description, and whether elements bring theirs: section 7.1.

    `WireError` where `config` is none, or is missing and nothing in band can replace it.

    quirk: `config` without `cpresent=0`, which should mean that both are there (the default of
    `cpresent` is 1): ffmpeg and GStreamer read it as out of band. test: test_config_alone
    """
    text = fmtp.get("config", "").strip().strip('"')
    flag = fmtp.get("cpresent", "").strip()
    is_in_band = flag != "0" if flag else not text
    try:
        data = bytes.fromhex(text)
    except ValueError:
        raise WireError("latm-malformed", "config") from None
    if not data:
        if not is_in_band:
            raise WireError("latm-config-missing")
        return None, True
    config = StreamMuxConfig.parse(data)
    if parse_config(config.audio_config).object_type not in AAC_TYPES:
        raise WireError("latm-unsupported", "no AAC")
    return config, is_in_band


def parameters_from_fmtp(
    fmtp: Mapping[str, str], clock_rate: int, channels: int = 1
) -> AacParameters | None:
    """Parameters of `config`; None where there is none, or it is not understood."""
    try:
        config, _ = mux_from_fmtp(fmtp)
        return AacParameters.build(config.audio_config, clock_rate) if config else None
    except WireError:
        return None


def fmtp_from_parameters(parameters: AacParameters) -> dict[str, str]:
    """The format parameters of an SDP offer for `LatmPacketizer`; `WireError` if there are none."""
    config = StreamMuxConfig(parameters.config).serialize()
    return {
        "profile-level-id": DEFAULT_PROFILE,
        "cpresent": "0",
        "config": config.hex().upper(),
    }
