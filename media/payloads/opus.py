"""RTP payload format for Opus, RFC 7587: a packet is a packet; the clock is always 48 kHz.

More than two channels have no RFC. What GStreamer and libwebrtc do: the name is `multiopus`, rtpmap
says how many channels, and fmtp names the streams and their mapping (RFC 7845 section 5.1.1).
"""

from collections.abc import Mapping, Sequence

from flux.base.errors import WireError
from media.codecs.opus import CLOCK_RATE, OpusParameters, multistream, packet_samples
from media.payloads.base import NOTHING, DropCallback, SequenceCheck, Unit

MULTISTREAM = "multiopus"  # the encoding name, as people write it
MAX_DIGITS = 4


class OpusDepacketizer:
    """Makes audio frames from RTP payloads."""

    __slots__ = ("_on_drop", "_sequence")

    def __init__(self, on_drop: DropCallback) -> None:
        self._on_drop = on_drop
        self._sequence = SequenceCheck(on_drop, "opus-unit-loss")

    def push(self, payload: bytes, marker: bool, sequence: int, timestamp: int) -> Sequence[Unit]:
        """Take one packet; the answer is its frame, unless it is none."""
        self._sequence.take(sequence)
        if not payload:
            return NOTHING
        try:
            packet_samples(payload)  # outputs rely on it
        except WireError as exc:
            self._on_drop(exc.reason)
            return NOTHING
        return (Unit(timestamp, (payload,)),)


class OpusPacketizer:
    """Makes RTP payloads; Opus cannot be fragmented (section 4.2), so no limit applies."""

    __slots__ = ()

    def __init__(self, max_payload_bytes: int) -> None:
        pass

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """One packet for each Opus packet; the marker is for the start of a talk spurt only."""
        return [(packet, False) for packet in payload if packet]


def parameters_from_fmtp(
    fmtp: Mapping[str, str], clock_rate: int = CLOCK_RATE, channels: int = 2
) -> OpusParameters:
    """Parameters of an SDP description, section 6.1.

    rtpmap says two channels always. `sprop-stereo` is a hint that most devices do not give, so
    mono is believed only where it is said: a decoder for two channels plays mono as well.
    """
    is_mono = fmtp.get("sprop-stereo", "").strip() == "0"
    return OpusParameters(sample_rate=CLOCK_RATE, channels=1 if is_mono else 2)


def multistream_from_fmtp(fmtp: Mapping[str, str], channels: int) -> OpusParameters | None:
    """Parameters of a `multiopus` description; None if something is missing or does not fit."""
    try:
        streams = int(fmtp.get("num_streams", "")[:MAX_DIGITS])
        coupled = int(fmtp.get("coupled_streams", "")[:MAX_DIGITS])
        mapping = fmtp.get("channel_mapping", "")[: MAX_DIGITS * 256]
        table = bytes(int(number) for number in mapping.split(","))
        return multistream(channels, streams, coupled, table)
    except (ValueError, WireError):
        return None


def fmtp_from_parameters(parameters: OpusParameters) -> dict[str, str]:
    """The format parameters of an SDP offer, section 6.1."""
    if parameters.mapping:
        return {
            "channel_mapping": ",".join(map(str, parameters.mapping)),
            "num_streams": str(parameters.stream_count),
            "coupled_streams": str(parameters.coupled_count),
        }
    return {"sprop-stereo": "1" if parameters.channels == 2 else "0"}
