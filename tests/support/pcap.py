"""Reads UDP datagrams out of capture files: pcap and pcapng, Ethernet and Linux cooked, IPv4."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import pack, unpack_from

CAPTURES = Path(__file__).parent.parent / "data" / "pcap"

ETHERNET = 1
LINUX_COOKED = 113
LINK_HEADER_BYTES = {ETHERNET: 14, LINUX_COOKED: 16}
IPV4 = 0x0800
UDP = 17
LOOPBACK = bytes((127, 0, 0, 1))

PCAPNG_SECTION = 0x0A0D0D0A
PCAPNG_INTERFACE = 1
PCAPNG_PACKET = 6


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram of a capture."""

    time: float  # seconds since the first frame of the capture
    source: tuple[str, int]
    destination: tuple[str, int]
    payload: bytes


def read_datagrams(name: str) -> list[Datagram]:
    """The IPv4 UDP datagrams of a file in tests/data/pcap."""
    data = (CAPTURES / name).read_bytes()
    frames = _pcapng_frames(data) if data[:4] == b"\n\r\r\n" else _pcap_frames(data)
    result: list[Datagram] = []
    start_us: int | None = None
    for time_us, link, frame in frames:
        start_us = time_us if start_us is None else start_us
        datagram = _datagram((time_us - start_us) / 1e6, link, frame)
        if datagram is not None:
            result.append(datagram)
    return result


def _pcap_frames(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(microseconds, link type, frame); little-endian files with microseconds."""
    magic, link = unpack_from("<I16xI", data)
    if magic != 0xA1B2C3D4:
        raise ValueError(f"not a pcap file: {magic:#x}")
    at = 24
    while at < len(data):
        seconds, microseconds, size = unpack_from("<III", data, at)
        yield seconds * 1_000_000 + microseconds, link, data[at + 16 : at + 16 + size]
        at += 16 + size


def _pcapng_frames(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(microseconds, link type, frame); little-endian files with one resolution of 1 us."""
    links: list[int] = []
    at = 0
    while at < len(data):
        kind, total = unpack_from("<II", data, at)
        if kind == PCAPNG_SECTION:
            links = []
        elif kind == PCAPNG_INTERFACE:
            links.append(unpack_from("<H", data, at + 8)[0])
        elif kind == PCAPNG_PACKET:
            interface, high, low, size = unpack_from("<IIII", data, at + 8)
            yield high << 32 | low, links[interface], data[at + 28 : at + 28 + size]
        at += total


def _datagram(time: float, link: int, frame: bytes) -> Datagram | None:
    header = LINK_HEADER_BYTES[link]
    if len(frame) < header + 28 or unpack_from("!H", frame, header - 2)[0] != IPV4:
        return None
    packet = frame[header:]
    if packet[9] != UDP or unpack_from("!H", packet, 6)[0] & 0x1FFF:
        return None
    at = (packet[0] & 15) * 4
    source_port, destination_port, size = unpack_from("!HHH", packet, at)
    addresses = [".".join(map(str, packet[i : i + 4])) for i in (12, 16)]
    return Datagram(
        time,
        (addresses[0], source_port),
        (addresses[1], destination_port),
        packet[at + 8 : at + size],
    )


def write_datagrams(path: Path, datagrams: Iterable[tuple[float, int, bytes]]) -> None:
    """A capture file of datagrams on loopback: seconds, port, payload."""
    out = [pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, ETHERNET)]
    for time, port, payload in datagrams:
        udp = pack(">HHHH", port, port, 8 + len(payload), 0) + payload
        head = pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, UDP, 0, LOOPBACK, LOOPBACK)
        frame = bytes(12) + pack(">H", IPV4) + head + udp
        seconds, rest = divmod(time, 1)
        out.append(pack("<IIII", int(seconds), int(rest * 1e6), len(frame), len(frame)) + frame)
    path.write_bytes(b"".join(out))
