"""Private data: Opus, KLV and streams that nobody knows, with and without descriptors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.opus import OpusParameters
from media.mpegts.elementary.base import Output
from media.mpegts.elementary.data import KlvParser, cell_header
from media.mpegts.elementary.opus import OpusParser, control_header, read_control_header
from media.mpegts.stream_types import KLV_LABEL, OpaqueParameters, identify
from media.mpegts.tables import Descriptor, Entry
from media.track import AC3, EAC3, H265, KLV, OPUS, Kind
from tests.support import ts_build, ts_demux, ts_elementary
from tests.support.ts_build import AUDIO_PID, DATA_PID, Mux, registration
from tests.support.ts_elementary import pes

SILENCE = b"\xfc\xff\xfe"  # 20 ms of CELT, stereo
KLV_UNIT = KLV_LABEL + bytes(12) + b"\x03abc"
PRIVATE, METADATA = 0x06, 0x15


def described(tag: int, data: bytes = b"") -> Entry:
    return Entry(0x100, PRIVATE, (Descriptor(tag, data),))


@pytest.mark.parametrize(
    ("entry", "codec"),
    [
        (described(5, b"Opus"), OPUS),
        (described(5, b"AC-3"), AC3),
        (described(5, b"EAC3"), EAC3),
        (described(5, b"HEVC"), H265),
        (described(5, b"KLVA"), KLV),
        (described(0x6A, b"\0"), AC3),
        (described(0x7A, b"\0"), EAC3),
        (described(0x56, b"deu\0\0"), "ts/06"),
        (Entry(0x100, METADATA, (Descriptor(5, b"KLVA"),)), KLV),
        (Entry(0x100, METADATA, (Descriptor(0x26, b"\x01\x00\xffKLVA\x00\x0f"),)), KLV),
        (Entry(0x100, METADATA, (Descriptor(0x26, b"\xff\xffKLVA\xffKLVA\x00\x0f"),)), KLV),
        (Entry(0x100, METADATA, (Descriptor(0x26, b"\x01\x00\xffID3 \x00\x0f"),)), "ts/15"),
        (Entry(0x100, 0x02), "ts/02"),
        (Entry(0x100, 0xEA, (Descriptor(5, b"VC-1"),)), "ts/ea"),
    ],
)
def test_what_descriptors_say(entry: Entry, codec: str) -> None:
    found = identify(entry)
    assert found is not None
    assert found[1] == codec


def test_opus_of_more_than_two_channels_is_opaque() -> None:
    entry = Entry(0x100, PRIVATE, (Descriptor(5, b"Opus"), Descriptor(0x7F, b"\x80\x06")))
    assert identify(entry) == (Kind.DATA, "ts/06")


# -- Opus ------------------------------------------------------------------------------------------


def opus(output: Output) -> OpusParser:
    return OpusParser(output, 2)


@given(st.integers(0, 2000))
def test_control_header_round_trip(size: int) -> None:
    header = control_header(size)
    assert read_control_header(b"x" + header, 1) == (1 + len(header), size)


def test_control_header_with_everything_in_it() -> None:
    header = b"\x7f\xfc" + b"\xff\x01" + b"\0\x10" + b"\0\x20" + b"\x03abc"
    assert read_control_header(header, 0) == (len(header), 256)
    for size in range(9):  # up to the length of the extension
        with pytest.raises(WireError):
            read_control_header(header[:size], 0)


def test_several_packets_in_a_pes_packet() -> None:
    data = (control_header(3) + SILENCE) * 3
    kept = ts_elementary.run(opus, pes(data, 90_000, arrived=7.0), pes(data))
    assert kept.pts == [48_000 + 960 * n for n in range(6)]
    assert kept.payloads == [(SILENCE,)] * 6
    assert kept.arrivals[:3] == [7.0] * 3
    assert kept.described == [(48_000, OpusParameters(sample_rate=48_000, channels=2))]


def test_what_is_wrong_ends_its_pes_packet() -> None:
    good = control_header(3) + SILENCE
    kept = ts_elementary.run(opus, pes(good + b"\0\0" + good, 0), pes(good, 5760))
    assert kept.pts == [0, 3072]
    assert kept.drops == {"opus-malformed": 1}
    assert ts_elementary.run(opus, pes(good)).drops == {"ts-time-missing": 1}
    assert ts_elementary.run(opus, pes(control_header(9) + SILENCE, 0)).drops == {
        "opus-malformed": 1
    }


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_opus(payloads: list[bytes]) -> None:
    ts_elementary.run(opus, *(pes(payload, 0) for payload in payloads))


# -- KLV -------------------------------------------------------------------------------------------


def synchronous(output: Output) -> KlvParser:
    return KlvParser(output, has_cells=True)


def asynchronous(output: Output) -> KlvParser:
    return KlvParser(output, has_cells=False)


def cell(flags: int, data: bytes) -> bytes:
    return bytes((0, 0, flags << 6 | 0x1F)) + len(data).to_bytes(2, "big") + data


def test_cells() -> None:
    data = cell_header(len(KLV_UNIT), 300) + KLV_UNIT
    kept = ts_elementary.run(synchronous, pes(data + data, 90))
    assert kept.units == [(90, 90, (KLV_UNIT,))] * 2


def test_fragments_of_cells() -> None:
    parts = [cell(2, KLV_UNIT[:5]), cell(0, KLV_UNIT[5:9]), cell(1, KLV_UNIT[9:])]
    kept = ts_elementary.run(
        synchronous, pes(parts[1] + parts[0], 10), pes(parts[1] + parts[2], 20)
    )
    assert kept.units == [(20, 20, (KLV_UNIT,))]
    broken = ts_elementary.run(synchronous, pes(parts[0], 10), pes(cell(3, KLV_UNIT)[:-1], 20))
    assert broken.drops == {"klv-cell-malformed": 1}


def test_klv_without_cells() -> None:
    kept = ts_elementary.run(synchronous, pes(KLV_UNIT, 90))
    assert kept.payloads == [(KLV_UNIT,)]


def test_klv_without_time_takes_that_of_its_neighbours() -> None:
    kept = ts_elementary.run(asynchronous, pes(KLV_UNIT))
    assert kept.drops == {"ts-time-missing": 1}
    mux = Mux()
    data = mux.tables(
        [(PRIVATE, DATA_PID, registration(b"KLVA")), (METADATA, AUDIO_PID, registration(b"KLVA"))]
    )
    untimed = ts_build.pes(KLV_UNIT, stream_id=0xBD)
    timed = ts_build.pes(cell(3, KLV_UNIT), 4500, stream_id=0xFC)
    data += mux.unit(DATA_PID, untimed) + mux.unit(AUDIO_PID, timed) + mux.unit(DATA_PID, untimed)
    result = ts_demux.demux(data)
    assert result.times(DATA_PID) == [(4500, 4500)]
    assert result.drops == {"ts-time-missing": 1}


def test_klv_alone_takes_the_time_of_the_program_clock() -> None:
    mux = Mux()
    data = mux.tables([(PRIVATE, DATA_PID, registration(b"KLVA"))], pcr_pid=0x1F0)
    data += mux.packet(0x1F0, b"", pcr=123_456)
    data += mux.unit(DATA_PID, ts_build.pes(KLV_UNIT, stream_id=0xBD))
    assert ts_demux.demux(data).times(DATA_PID) == [(123_456, 123_456)]


# -- nobody's --------------------------------------------------------------------------------------


def test_an_opaque_stream_keeps_its_payloads_and_descriptors() -> None:
    mux = Mux()
    teletext = b"\x56\x05deu\x09\x00"
    data = mux.tables([(PRIVATE, DATA_PID, teletext), (0x02, 0x100)])
    data += mux.unit(DATA_PID, ts_build.pes(b"one" * 99, 900, stream_id=0xBD))
    data += mux.unit(0x100, ts_build.pes(b"\0\0\1\xb3two" * 99, 1800, 900))
    data += mux.unit(DATA_PID, ts_build.pes(b"", 1800, stream_id=0xBE))  # padding
    result = ts_demux.demux(data)
    first, second = result.tracks
    assert first.description is not None
    assert (first.kind, first.codec, first.clock_rate) == (Kind.DATA, "ts/06", 90_000)
    assert first.parameters == OpaqueParameters(stream_type=PRIVATE, descriptors=teletext)
    assert isinstance(second.parameters, OpaqueParameters)
    assert second.parameters.is_video
    assert [(u.track.pid, u.pts, u.dts, u.payload) for u in result.units] == [
        (DATA_PID, 900, 900, (b"one" * 99,)),
        (0x100, 1800, 900, (b"\0\0\1\xb3two" * 99,)),
    ]


def test_private_data_without_descriptors() -> None:
    """The first payload tells: KLV, AC-3, E-AC-3, or nothing that is known."""
    mux = Mux()
    pids = [0x200, 0x201, 0x202, 0x203, 0x204]
    types = [PRIVATE, METADATA, PRIVATE, PRIVATE, PRIVATE]
    ac3 = b"\x0b\x77\0\0\x14\x40" + bytes(762)
    eac3 = b"\x0b\x77\0\x17\x34\x87" + bytes(42)
    payloads = [KLV_UNIT, cell(3, KLV_UNIT), ac3, eac3, b"?"]
    data = mux.tables(list(zip(types, pids, strict=True)))
    assert [track.codec for track in ts_demux.demux(data).tracks] == [""] * 5
    for pid, payload in zip(pids, payloads, strict=True):
        data += mux.unit(pid, ts_build.pes(payload, 900, stream_id=0xBD))
    result = ts_demux.demux(data)
    assert [track.codec for track in result.tracks] == [KLV, KLV, AC3, EAC3, "ts/06"]
    assert [unit.payload[0] for unit in result.units] == [KLV_UNIT, KLV_UNIT, ac3, eac3, b"?"]


def test_what_stays_silent_can_be_settled() -> None:
    result = ts_demux.start()
    mux = Mux()
    tables = mux.tables([(PRIVATE, DATA_PID)]) + mux.tables([(PRIVATE, DATA_PID)])
    result.demuxer.feed(tables, 0.0)
    assert result.demuxer.tracks[0].description is None
    assert len(result.demuxer.settle()) == 1
    assert result.demuxer.tracks[0].codec == "ts/06"
    assert result.demuxer.tracks[0].description is not None
