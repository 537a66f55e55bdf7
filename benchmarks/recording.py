"""One round of a looped stream as RTP packets, taken from GStreamer's RTSP server.

`native/rtspreplay.c` replays it to any number of players for next to no CPU. The packets, their
sizes and the session description are GStreamer's own; each packet is due at its media time (with
B-frames at its decoding time), so a frame's packets are due together, as a camera sends them.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from benchmarks.native import CACHE
from tests.support.camera import Camera
from tests.support.rtsp_probe import Media, Packet, Probe

MAGIC = b"FLUXRTP1"
FILE_HEADER = struct.Struct("<8sIIQI")
TRACK = struct.Struct("<5I")
PACKET = struct.Struct("<IHH")
LAG_STEP_US = 5000  # finer differences between tracks are the machine's
LONGER = 2.0  # seconds of listening beyond one round


@dataclass(frozen=True, slots=True)
class Recording:
    """A file for `rtspreplay`, and what it holds."""

    path: Path
    packets: int
    seconds: float

    @property
    def packets_per_second(self) -> float:
        """RTP packets of all tracks."""
        return self.packets / self.seconds


def recording(clip: Path, name: str) -> Recording:
    """The recording of a clip, cached under a name; making it takes as long as the clip plays."""
    target = CACHE / "media" / f"{name}.rtp"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        print(f"recording {clip.name} from GStreamer's RTSP server", flush=True)
        made = target.with_suffix(".part")
        made.write_bytes(record(clip))
        made.rename(target)
    with target.open("rb") as file:
        _, _, packets, period_us, _ = FILE_HEADER.unpack(file.read(FILE_HEADER.size))
    return Recording(target, packets, period_us / 1e6)


def record(clip: Path | str) -> bytes:
    """Play one round of a clip (with options, as `Camera` takes them) and keep its packets."""
    with Camera({"/clip": clip}) as camera, Probe(camera.url("/clip")) as probe:
        period = camera.mounts["/clip"].period
        heard: list[Packet] = []
        for packet in probe.play():
            heard.append(packet)
            if packet.at > period + LONGER:
                break
        kept: list[tuple[int, int, bytes]] = []
        entries = b""
        lags = []
        for number, media in enumerate(probe.media):
            own = [packet for packet in heard if packet.channel == 2 * number]
            ticks = int(period * media.clock_rate)
            origin = origin_of(media, own)
            times = round_times(own, origin, ticks)
            due_us = [since * 1_000_000 // media.clock_rate for since in times]
            lags.append(lag_us(own, due_us))
            kept += [(due, number, packet.data) for packet, due in zip(own, due_us, strict=False)]
            entries += TRACK.pack(media.clock_rate, ticks, len(times), own[0].sequence, origin)
        sdp = probe.sdp.encode()
    kept = [(due + lags[track] - min(lags), track, data) for due, track, data in kept]
    kept.sort(key=lambda entry: entry[0])  # stable: packets of one instant keep their order
    head = FILE_HEADER.pack(MAGIC, len(probe.media), len(kept), int(period * 1_000_000), len(sdp))
    body = b"".join(PACKET.pack(at, track, len(data)) + data for at, track, data in kept)
    return head + entries + sdp + body


def round_times(packets: list[Packet], origin: int, ticks: int) -> list[int]:
    """When each packet of the first round is due, in ticks, in sending order.

    With B-frames that is no later than any packet after it: the earliest time that is to come.
    """
    times: list[int] = []
    for packet in packets:
        since = (packet.timestamp - origin) & 0xFFFFFFFF
        if since >= ticks:
            break  # the next round
        times.append(since)
    for index in range(len(times) - 1, 0, -1):
        times[index - 1] = min(times[index - 1], times[index])
    return times


def lag_us(packets: list[Packet], due_us: list[int]) -> int:
    """How long after its due time the quickest packet came, to the nearest step.

    Where one track has B-frames the server sends it earlier, as it goes by DTS.
    """
    least = min(packet.at * 1e6 - due for packet, due in zip(packets, due_us, strict=False))
    return round(least / LAG_STEP_US) * LAG_STEP_US


def origin_of(media: Media, packets: list[Packet]) -> int:
    """The RTP time of the round's beginning."""
    return packets[0].timestamp if media.rtptime is None else media.rtptime
