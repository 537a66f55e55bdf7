"""Sound: rows of frames, cut across PES packets, with junk, with a configuration that changes."""

import io
from collections.abc import Callable
from functools import cache

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.units import rescale
from media.codecs.aac import AacParameters
from media.codecs.ac3 import Ac3Parameters
from media.codecs.eac3 import Eac3Parameters
from media.codecs.latm import StreamMuxConfig
from media.codecs.mp3 import Mp3Parameters
from media.frame import NO_TIME
from media.mpegts.elementary.ac3 import Ac3Parser, Eac3Parser
from media.mpegts.elementary.adts import AdtsParser
from media.mpegts.elementary.base import ElementaryParser, Output, Pes
from media.mpegts.elementary.loas import LoasParser
from media.mpegts.elementary.mpeg_audio import MpegAudioParser
from media.parameters import AudioParameters
from media.track import Kind
from tests.support import clips, ts_elementary
from tests.support.ts_elementary import Kept, pes

Maker = Callable[[Output], ElementaryParser]
FORMATS: dict[str, tuple[Maker, str]] = {  # what FFmpeg calls encoder and raw container
    "adts": (AdtsParser, "adts"),
    "mp3": (MpegAudioParser, "mp3"),
    "ac3": (Ac3Parser, "ac3"),
    "eac3": (Eac3Parser, "eac3"),
    "loas": (LoasParser, ""),
}
ENCODERS = {"adts": "aac", "mp3": "libmp3lame", "ac3": "ac3", "eac3": "eac3"}
SAMPLES = {"adts": 1024, "mp3": 1152, "ac3": 1536, "eac3": 1536}


@cache
def encoded(name: str, rate: int = 48_000, layout: str = "stereo") -> tuple[bytes, ...]:
    """Two seconds of a tone: frames with their headers."""
    target = io.BytesIO()
    with av.open(target, mode="w", format=FORMATS[name][1]) as container:
        stream = container.add_stream(ENCODERS[name], rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        graph = av.filter.Graph()
        tone = graph.add("sine", f"frequency=440:sample_rate={rate}:duration=2")
        form = graph.add("aformat", f"sample_fmts=fltp:channel_layouts={layout}")
        size = graph.add("asetnsamples", "n=1024")
        sink = graph.add("abuffersink")
        for one, other in ((tone, form), (form, size), (size, sink)):
            one.link_to(other)
        graph.configure()
        while True:
            try:
                frame = graph.pull()
            except (av.error.EOFError, BlockingIOError):
                break
            container.mux(stream.encode(frame))  # type: ignore[arg-type]  # audio, by the graph
        container.mux(stream.encode(None))
    return tuple(split(name, target.getvalue()))


def split(name: str, data: bytes) -> list[bytes]:
    """Frames by the sizes in their headers, read in the plainest way."""
    frames = []
    at = data.find(SYNC[name])
    while at < len(data) - 8:
        head = data[at : at + 8]
        match name:
            case "adts":
                size = int.from_bytes(head[3:6], "big") >> 5 & 0x1FFF
            case "eac3":
                size = 2 * ((head[2] & 7) << 8 | head[3]) + 2
            case "ac3":
                size = AC3_SIZES[head[4] & 0x3F]
            case _:
                size = 144_000 * MP3_KBPS[head[2] >> 4] // 48_000 + (head[2] >> 1 & 1)
        frames.append(data[at : at + size])
        at += size
    return frames


SYNC = {"adts": b"\xff\xf1", "mp3": b"\xff\xfb", "ac3": b"\x0b\x77", "eac3": b"\x0b\x77"}
AC3_SIZES = {0x14: 768, 0x18: 1024, 0x1C: 1536, 0x1A: 1280, 0x12: 640, 0x10: 512}


MP3_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
ROWS = (b"\xff" * 200, b"\x0b\x77" * 50, b"\x56\xe0" * 60)


def rate_of(name: str) -> int:
    return 90_000 if name == "mp3" else 48_000


def wanted(name: str, frames: tuple[bytes, ...]) -> list[bytes]:
    """What the units hold."""
    return [frame[7:] for frame in frames] if name == "adts" else list(frames)


def payloads(name: str, kept: Kept) -> list[bytes]:
    assert all(len(payload) == 1 for payload in kept.payloads)
    return [payload[0] for payload in kept.payloads]


def packets(
    frames: tuple[bytes, ...], sizes: list[int], samples: int, base: int = 900_000
) -> list[Pes]:
    """The frames in PES packets of these sizes, each with the time of its first frame."""
    data = b"".join(frames)
    starts = []
    at = 0
    for number, frame in enumerate(frames):
        starts.append((at, base + rescale(samples * number, 48_000, 90_000)))
        at += len(frame)
    result = []
    at = 0
    for size in [*sizes, len(data)]:
        end = min(at + size, len(data))
        time = next((time for place, time in starts if at <= place < end), NO_TIME)
        result.append(pes(data[at:end], time))
        at = end
    return result


def times(name: str, count: int, base: int = 900_000) -> list[int]:
    samples, rate = SAMPLES[name], rate_of(name)
    return [rescale(base, 90_000, rate) + rescale(samples * n, 48_000, rate) for n in range(count)]


NAMES = [name for name in FORMATS if name != "loas"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 9, 100, 700, 2_000, 100_000])
def test_frames_come_whole_whatever_the_cut(name: str, size: int) -> None:
    make = FORMATS[name][0]
    frames = encoded(name)[:40]
    total = sum(map(len, frames))
    kept = ts_elementary.run(make, *packets(frames, [size] * (total // size), SAMPLES[name]))
    assert payloads(name, kept) == wanted(name, frames)
    assert all(abs(a - b) <= 1 for a, b in zip(kept.pts, times(name, 40), strict=True))
    assert not kept.drops


@pytest.mark.parametrize("name", NAMES)
def test_what_is_described(name: str) -> None:
    kept = ts_elementary.run(FORMATS[name][0], pes(encoded(name)[0], 0))
    ((clock, parameters),) = kept.described
    assert clock == rate_of(name)
    kinds = {"adts": AacParameters, "mp3": Mp3Parameters, "ac3": Ac3Parameters}
    assert isinstance(parameters, kinds.get(name, Eac3Parameters))
    assert isinstance(parameters, AudioParameters)
    assert parameters.sample_rate == 48_000
    assert parameters.channels == 2


@pytest.mark.parametrize("name", NAMES)
def test_joining_in_the_middle_of_a_frame(name: str) -> None:
    frames = encoded(name)[:30]
    first = pes(frames[0][100:] + b"".join(frames[1:10]), 900_000)
    rest = pes(b"".join(frames[10:]), 920_000)
    kept = ts_elementary.run(FORMATS[name][0], first, rest)
    assert payloads(name, kept) == wanted(name, frames)[1:]
    assert kept.pts[0] == rescale(900_000, 90_000, rate_of(name))
    assert not kept.drops


@pytest.mark.parametrize("name", NAMES)
def test_junk_costs_no_frame_but_the_time_until_the_next_packet(name: str) -> None:
    frames = encoded(name)[:12]
    first = pes(b"".join(frames[:4]) + b"\x12\x34" * 30, 900_000)
    rest = pes(b"".join(frames[4:]), 910_000)
    kept = ts_elementary.run(FORMATS[name][0], first, rest)
    assert payloads(name, kept) == wanted(name, frames)
    assert kept.drops == {f"{name}-sync-lost": 1}


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_forgets_half_a_frame(name: str) -> None:
    frames = encoded(name)[:12]
    kept = Kept()
    parser = FORMATS[name][0](kept)
    parser.push(pes(b"".join(frames[:4]) + frames[4][:100], 900_000))
    parser.lost()
    parser.push(pes(frames[6][50:] + b"".join(frames[7:]), 920_000))
    # Of E-AC-3, only frame 4 would have told whether frame 3 has substreams behind it.
    before = 3 if name == "eac3" else 4
    assert payloads(name, kept) == wanted(name, frames)[:before] + wanted(name, frames)[7:]
    assert not kept.drops


@pytest.mark.parametrize("name", NAMES)
def test_a_packet_without_its_end_gives_the_frames_before(name: str) -> None:
    frames = encoded(name)[:12]
    kept = Kept()
    parser = FORMATS[name][0](kept)
    cut = pes(b"".join(frames[:4]) + frames[4][:100], 900_000)
    cut.is_whole = False
    parser.push(cut)
    parser.push(pes(b"".join(frames[7:]), 920_000))
    before = 3 if name == "eac3" else 4  # as above
    assert payloads(name, kept) == wanted(name, frames)[:before] + wanted(name, frames)[7:]


@pytest.mark.parametrize("name", NAMES)
def test_half_a_frame_that_does_not_go_on(name: str) -> None:
    """An undetected loss: what is carried does not fit to what comes."""
    frames = encoded(name)[:12]
    first = pes(b"".join(frames[:4]) + frames[4][:100], 900_000)
    rest = pes(b"".join(frames[6:]), 920_000)
    kept = ts_elementary.run(FORMATS[name][0], first, rest)
    assert set(payloads(name, kept)) <= set(wanted(name, frames))
    assert payloads(name, kept)[-6:] == wanted(name, frames)[6:]
    assert kept.pts[-6] == rescale(920_000, 90_000, rate_of(name))


def test_a_configuration_that_changes_comes_before_its_frame() -> None:
    stereo, mono = encoded("adts")[:6], encoded("adts", layout="mono")[:6]
    low = encoded("adts", rate=44_100)[:6]
    rows = (stereo, mono, low)
    kept = ts_elementary.run(
        AdtsParser, *(pes(b"".join(row), 900_000 + 20_000 * n) for n, row in enumerate(rows))
    )
    assert [clock for clock, _ in kept.described] == [48_000, 48_000, 44_100]
    assert [len(payload) for payload in kept.payloads] == [1] * 6 + [2] + [1] * 11
    config, raw = kept.payloads[6]
    assert AacParameters.build(config).channels == 1
    assert raw == mono[0][7:]
    assert not kept.drops


def test_channels_by_a_program_config_element() -> None:
    """No channel configuration stands for four channels in a square."""
    frames = encoded("adts", layout="quad")[:6]
    assert not int.from_bytes(frames[0][2:4], "big") & 0x1C0
    kept = ts_elementary.run(AdtsParser, pes(b"".join(frames), 0))
    ((_, parameters),) = kept.described
    assert isinstance(parameters, AacParameters)
    assert parameters.channels == 4
    assert payloads("adts", kept) == wanted("adts", frames)


def test_frames_without_time() -> None:
    frames = encoded("adts")[:3]
    kept = ts_elementary.run(AdtsParser, pes(b"".join(frames)))
    assert kept.drops == {"ts-time-missing": 3}


def test_several_blocks_in_a_frame_are_refused() -> None:
    frames = [bytearray(frame) for frame in encoded("adts")[:3]]
    frames[1][6] |= 1
    kept = ts_elementary.run(AdtsParser, pes(b"".join(frames), 900_000))
    assert kept.drops == {"adts-blocks-unsupported": 1}
    assert kept.pts == [480_000, 480_000 + 3 * 1024]


# -- LATM: made here, since what FFmpeg writes depends on its version ------------------------------


def loas(frames: list[bytes], config: bytes, every: int = 4) -> list[bytes]:
    """AudioSyncStream with a StreamMuxConfig in each `every`-th element."""
    mux = StreamMuxConfig(config).serialize()
    bits = f"{int.from_bytes(mux, 'big'):0{8 * len(mux)}b}"
    out = []
    for number, frame in enumerate(frames):
        row = "1" if number % every else "0" + bits[: bits_of(config)]
        size = len(frame)
        row += "1" * 8 * (size // 255) + f"{size % 255:08b}"
        row += "".join(f"{byte:08b}" for byte in frame)
        row = row.ljust(-(-len(row) // 8) * 8, "0")
        body = int(row, 2).to_bytes(len(row) // 8, "big")
        out.append((0x56E000 | len(body)).to_bytes(3, "big") + body)
    return out


def bits_of(config: bytes) -> int:
    return 15 + 8 * len(config) + 13


def test_latm() -> None:
    clip = clips.only(clips.read(clips.BUNNY), Kind.AUDIO)[:20]
    parameters = clip[0].parameters
    assert isinstance(parameters, AacParameters)
    frames = [frame.payload[0] for frame in clip]
    row = loas(frames, parameters.config)
    data = b"".join(row)
    whole = ts_elementary.run(LoasParser, pes(data, 900_000))
    assert payloads("loas", whole) == frames
    assert whole.described[0][0] == 44_100
    assert whole.pts == [441_000 + 1024 * n for n in range(20)]
    cut = ts_elementary.run(LoasParser, *(pes(data[at : at + 333], 900_000 if not at else NO_TIME)
                                          for at in range(0, len(data), 333)))  # fmt: skip
    assert cut.units == whole.units
    late = ts_elementary.run(LoasParser, pes(b"".join(row[2:]), 900_000))
    assert payloads("loas", late) == frames[4:]  # from the next configuration on
    assert not late.drops


def test_a_latm_element_that_is_broken() -> None:
    clip = clips.only(clips.read(clips.BUNNY), Kind.AUDIO)[:8]
    parameters = clip[0].parameters
    assert isinstance(parameters, AacParameters)
    frames = [frame.payload[0] for frame in clip]
    row = loas(frames, parameters.config)
    row[2] = row[2][:3] + b"\xff" * (len(row[2]) - 3)
    kept = ts_elementary.run(LoasParser, pes(b"".join(row), 900_000))
    assert payloads("loas", kept) == frames[:2] + frames[3:]
    assert sum(kept.drops.values()) == 1
    assert kept.pts == [441_000 + 1024 * n for n in range(8) if n != 2]


@given(
    st.sampled_from(sorted(FORMATS)),
    st.lists(
        st.tuples(
            st.binary(max_size=80) | st.sampled_from(ROWS),
            st.booleans(),
        ),
        max_size=12,
    ),
)  # fmt: skip
def test_any_bytes(name: str, parts: list[tuple[bytes, bool]]) -> None:
    kept = Kept()
    parser = FORMATS[name][0](kept)
    for data, is_whole in parts:
        packet = pes(data, 1000)
        packet.is_whole = is_whole
        parser.push(packet)


def test_headers_that_are_none_are_given_up() -> None:
    """A megabyte of sync bytes costs no more than some tries."""
    kept = ts_elementary.run(AdtsParser, pes(b"\xff" * (1 << 20), 0))
    assert not kept.units
