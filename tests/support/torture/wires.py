"""Runs as bytes on the wire, where numbers wrap: MPEG-TS with 33 bits, RTP with 32 and 16.

Written by hand, for what FLUX receives; nothing of FLUX writes it.
"""

from collections.abc import Iterator
from struct import Struct

from tests.support.torture.camera import Run, Sent
from tests.support.ts_build import AUDIO_PID, NONE, VIDEO_PID, Mux, pes

TS_HZ = 90_000
LEAD = TS_HZ // 5  # ticks that the PCR runs before decode times
AUD = b"\x09\xf0"
RTP_HEAD = Struct("!BBHII")
VIDEO, SOUND = 96, 97  # payload types
FIRST_SEQUENCE = 65_500


def transport_stream(
    run: Run, sets: tuple[bytes, ...], adts: bytes, shift: int
) -> Iterator[tuple[float, bytes]]:
    """Arrival and packets of each unit; `shift` is added to all times, in ticks of 90 kHz.

    `adts` is the header of a frame without its length.
    """
    mux = Mux()
    streams = [(0x1B, VIDEO_PID), (0x0F, AUDIO_PID)]
    for item in run.items:
        if not isinstance(item, Sent):
            continue
        rate = run.descriptions[item.track].clock_rate
        pts = item.timestamp * TS_HZ // rate + shift
        if not item.is_video:
            frame = b"".join(item.payload)
            size = len(frame) + 7
            head = bytes((adts[3] | size >> 11, size >> 3 & 0xFF, size << 5 & 0xE0 | 0x1F, 0xFC))
            data = pes(adts[:3] + head + frame, pts, stream_id=0xC0)
            yield item.arrived, mux.unit(AUDIO_PID, data)
            continue
        dts = item.dts + shift
        nals = (AUD, *(sets if item.is_key else ()), *item.payload)
        payload = b"".join(b"\0\0\0\1" + nal for nal in nals)
        tables = mux.tables(streams) if item.is_key else b""
        clock = mux.packet(VIDEO_PID, b"", pcr=dts - LEAD)
        data = pes(payload, pts, NONE if pts == dts else dts)
        yield item.arrived, tables + clock + mux.unit(VIDEO_PID, data)


def rtp(run: Run, sets: tuple[bytes, ...], wraps_at: float) -> Iterator[tuple[float, int, bytes]]:
    """Arrival, interleaved channel and packet; timestamps wrap so many seconds after the start."""
    sequence = [FIRST_SEQUENCE, FIRST_SEQUENCE]
    for item in run.items:
        if not isinstance(item, Sent):
            continue
        track = item.track
        stamp = wire_time(run, track, item.timestamp, wraps_at)
        nals = (*(sets if item.is_key else ()), *item.payload) if item.is_video else ()
        frame = b"".join(item.payload)
        header = b"\0\x10" + (len(frame) << 3).to_bytes(2, "big")
        payloads = nals if item.is_video else (header + frame,)
        for number, payload in enumerate(payloads):
            is_last = number == len(payloads) - 1
            kind = (VIDEO if item.is_video else SOUND) | 0x80 * is_last
            head = RTP_HEAD.pack(0x80, kind, sequence[track] & 0xFFFF, stamp, 0xF000 + track)
            sequence[track] += 1
            yield item.arrived, 2 * track, head + payload


def wire_time(run: Run, track: int, timestamp: int, wraps_at: float) -> int:
    """A timestamp as RTP has it."""
    start = run.anchor[track]
    shift = (1 << 32) - round(wraps_at * run.descriptions[track].clock_rate)
    return (timestamp - start + shift) & 0xFFFF_FFFF
