"""Reads the SRT captures in tests/data/srt: pcap and pcapng, Ethernet or raw IP, IPv4."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import unpack_from
from typing import Any

CAPTURES = Path(__file__).parent.parent / "data" / "srt"
NAMES = tuple(sorted(path.stem for path in CAPTURES.glob("*.pcap")))
PASSPHRASE = "flux-reference-key"
LINK_HEADER_BYTES = {1: 14, 12: 0, 101: 0}
UDP = 17
PCAPNG_INTERFACE = 1
PCAPNG_PACKET = 6


@dataclass(frozen=True, slots=True)
class SrtDatagram:
    """One datagram of a capture."""

    time: float  # seconds since the first frame
    source: tuple[str, int]
    destination: tuple[str, int]
    payload: bytes  # as captured
    size: int  # as sent; larger where the capture cuts

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut off."""
        return len(self.payload) == self.size

    @property
    def is_control(self) -> bool:
        """Whether it is an SRT control packet."""
        return self.payload[0] >= 0x80

    @property
    def is_handshake(self) -> bool:
        """Whether it is a handshake."""
        return self.payload[:2] == b"\x80\0"


def read_srt(name: str) -> list[SrtDatagram]:
    """The datagrams of `tests/data/srt/NAME.pcap` in order."""
    data = (CAPTURES / f"{name}.pcap").read_bytes()
    frames = _pcapng_frames(data) if data[:4] == b"\n\r\r\n" else _pcap_frames(data)
    result: list[SrtDatagram] = []
    start_us = -1
    for time_us, link, frame in frames:
        packet = frame[LINK_HEADER_BYTES[link] :]
        if packet[0] >> 4 != 4 or packet[9] != UDP:
            continue
        start_us = time_us if start_us < 0 else start_us
        udp = (packet[0] & 15) * 4
        source_port, destination_port, length = unpack_from("!HHH", packet, udp)
        hosts = [".".join(map(str, packet[i : i + 4])) for i in (12, 16)]
        result.append(
            SrtDatagram(
                (time_us - start_us) / 1e6,
                (hosts[0], source_port),
                (hosts[1], destination_port),
                packet[udp + 8 : udp + length],
                length - 8,
            )
        )
    return result


def _pcap_frames(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(microseconds, link type, frame)."""
    (link,) = unpack_from("<I", data, 20)
    at = 24
    while at < len(data):
        seconds, microseconds, size = unpack_from("<III", data, at)
        yield seconds * 1_000_000 + microseconds, link, data[at + 16 : at + 16 + size]
        at += 16 + size


def _pcapng_frames(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(microseconds, link type, frame) of a file with one interface, in microseconds."""
    link = at = 0
    while at < len(data):
        kind, total = unpack_from("<II", data, at)
        if kind == PCAPNG_INTERFACE:
            (link,) = unpack_from("<H", data, at + 8)
        elif kind == PCAPNG_PACKET:
            high, low, size = unpack_from("<III", data, at + 12)
            yield high << 32 | low, link, data[at + 28 : at + 28 + size]
        at += total


def read_handshakes(name: str) -> list[SrtDatagram]:
    """Those that are handshakes."""
    return [one for one in read_srt(name) if one.is_handshake]


def read_control_packets() -> list[tuple[str, str, bytes]]:
    """(capture, kind, datagram) of control_packets.jsonl."""
    lines = (CAPTURES / "control_packets.jsonl").read_text().splitlines()
    packets = [json.loads(line) for line in lines]
    return [(one["file"], one["kind"], bytes.fromhex(one["hex"])) for one in packets]


def read_crypto_vectors() -> dict[str, dict[str, Any]]:
    """crypto_vectors.json, by the capture's name."""
    vectors = json.loads((CAPTURES / "crypto_vectors.json").read_text())
    return {name.removesuffix(".pcap"): vector for name, vector in vectors.items()}
