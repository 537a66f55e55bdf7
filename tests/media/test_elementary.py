"""Sound alone: what PyAV reads of it is what was put in."""

import io
from struct import unpack_from

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.checksum import crc32_forward
from media.codecs.aac import AacParameters
from media.codecs.g711 import G711Parameters
from media.codecs.opus import OpusParameters
from media.elementary import AdtsFormat, Mp3Format, OggOpusFormat
from media.format import Format
from media.frame import Frame
from media.ogg import OpusPages, make_page
from media.track import AAC, OPUS, PCMA, Kind, Track
from tests.support import clips
from tests.support.sound_frames import track_of

OPUS_STEREO = OpusParameters(sample_rate=48000, channels=2)
OPUS_TRACK = Track(0, Kind.AUDIO, OPUS, 48000, OPUS_STEREO)


def opus_frames(count: int) -> list[Frame]:
    """Real packets of 20 ms."""
    context = av.CodecContext.create("libopus", "w")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout, context.format = 48000, "stereo", "s16"
    found = []
    for n in range(count + 2):
        silence = av.AudioFrame("s16", "stereo", 960)
        silence.sample_rate, silence.pts = 48000, 960 * n
        for plane in silence.planes:
            plane.update(bytes(plane.buffer_size))
        found += [bytes(packet) for packet in context.encode(silence)]
    return [
        Frame(OPUS_TRACK, 960 * n, 960 * n, 0, 0.0, True, False, OPUS_STEREO, (packet,))
        for n, packet in enumerate(found[:count])
    ]


def packets_of(data: bytes, form: str) -> tuple[str, list[tuple[int | None, bytes]]]:
    with av.open(io.BytesIO(data), "r", format=form) as container:
        (stream,) = container.streams
        packets = [(each.pts, bytes(each)) for each in container.demux() if each.size]
        return stream.codec_context.name, packets


def body(form: Format, sound: list[Frame]) -> bytes:
    return b"".join((form.header(), *map(form.encode, sound)))


def test_aac_as_adts() -> None:
    sound = [frame for frame in clips.read(clips.BUNNY) if frame.track.kind is Kind.AUDIO]
    data = body(AdtsFormat([sound[0].track]), sound)
    codec, packets = packets_of(data, "aac")
    assert codec == "aac"
    assert [packet[7:] for _, packet in packets] == [frame.payload[-1] for frame in sound]


def test_mp3_as_it_is() -> None:
    track, sound = track_of("mp3", "mp3")
    codec, packets = packets_of(body(Mp3Format([track]), sound), "mp3")
    assert codec.startswith("mp3")
    assert b"".join(packet for _, packet in packets) == b"".join(f.payload[0] for f in sound)


def test_opus_in_ogg() -> None:
    sound = opus_frames(60)
    codec, packets = packets_of(body(OggOpusFormat([OPUS_TRACK]), sound), "ogg")
    assert codec == "libopus" or codec == "opus"
    assert [packet for _, packet in packets] == [frame.payload[0] for frame in sound]
    times = [pts for pts, _ in packets]
    assert [pts - (times[0] or 0) for pts in times if pts is not None] == [
        960 * n for n in range(60)
    ]


def test_who_joins_an_opus_body_later_reads_it() -> None:
    sound = opus_frames(60)
    form = OggOpusFormat([OPUS_TRACK])
    before = [form.encode(frame) for frame in sound[:40]]
    assert all(before)
    data = form.header() + b"".join(map(form.encode, sound[40:]))
    _, packets = packets_of(data, "ogg")
    assert [packet for _, packet in packets] == [frame.payload[0] for frame in sound[40:]]


def test_a_gap_in_the_sound_is_a_gap_in_the_granule_position() -> None:
    pages = OpusPages(OPUS_STEREO)
    packet = opus_frames(1)[0].payload[0]
    positions = [
        unpack_from("<q", pages.page(packet, pts), 6)[0] for pts in (5000, 5960, 48000, 48960)
    ]
    assert positions == [960, 1920, 43960, 44920]
    assert unpack_from("<q", pages.page(packet, 0), 6)[0] == 45880  # never back


@pytest.mark.parametrize("packet", [b"", b"\x03", b"\x03\x00", bytes(70_000)])
def test_what_is_no_opus_packet_is_left_out(packet: bytes) -> None:
    assert OpusPages(OPUS_STEREO).page(packet, 0) == b""


@pytest.mark.parametrize("size", [1, 254, 255, 256, 509, 510, 511, 65_024])
def test_a_page_holds_packets_of_every_size(size: int) -> None:
    packet = bytes(size)
    page = make_page(packet, 7, 3, 0)
    count = page[26]
    lacing = page[27 : 27 + count]
    assert sum(lacing) == size
    assert lacing[-1] < 255
    assert page[27 + count :] == packet


@given(st.binary(max_size=300))
def test_the_checksums_are_those_of_the_definition(data: bytes) -> None:
    for starts_at_ones in (True, False):
        register = 0xFFFFFFFF if starts_at_ones else 0
        for byte in data:
            register ^= byte << 24
            for _ in range(8):
                register = (register << 1) ^ (0x04C11DB7 if register & 1 << 31 else 0)
                register &= 0xFFFFFFFF
        assert crc32_forward(data, starts_at_ones=starts_at_ones) == register


def test_what_each_of_them_carries() -> None:
    sound = next(frame for frame in clips.read(clips.BUNNY) if frame.track.kind is Kind.AUDIO)
    mp3, _ = track_of("mp3", "mp3")
    pcma = Track(0, Kind.AUDIO, PCMA, 8000, G711Parameters(sample_rate=8000, channels=1))
    unknown = Track(0, Kind.AUDIO, AAC, 48000)
    tracks = (sound.track, mp3, OPUS_TRACK, pcma, unknown)
    assert [track for track in tracks if AdtsFormat.carries(track)] == [sound.track]
    assert [track for track in tracks if Mp3Format.carries(track)] == [mp3]
    assert [track for track in tracks if OggOpusFormat.carries(track)] == [OPUS_TRACK]


def test_a_second_track_is_left_out_and_other_channels_end_an_opus_body() -> None:
    sound = opus_frames(3)
    other = Track(1, Kind.AUDIO, OPUS, 48000, OPUS_STEREO)
    form = OggOpusFormat([OPUS_TRACK, other])
    assert form.encode(Frame(other, 0, 0, 0, 0.0, True, False, OPUS_STEREO, (b"\x00",))) == b""
    assert form.encode(sound[0])
    assert not form.is_exhausted
    mono = OpusParameters(version=1, sample_rate=48000, channels=1)
    track = Track(0, Kind.AUDIO, OPUS, 48000, OPUS_STEREO)
    form = OggOpusFormat([track])
    track.parameters = mono
    assert form.is_exhausted
    assert form.encode(Frame(track, 0, 0, 0, 0.0, True, False, mono, (b"\x00",))) == b""
    adts = AdtsFormat([Track(0, Kind.AUDIO, AAC, 48000)])
    parameters = AacParameters.build(b"\x11\x90", 48000)
    assert adts.encode(Frame(other, 0, 0, 0, 0.0, True, False, parameters, (b"x",))) == b""
