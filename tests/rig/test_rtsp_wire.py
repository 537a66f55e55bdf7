"""The judge of single packets finds what RTP forbids."""

from collections.abc import Callable

import pytest

from tests.support.rtsp_wire import RTP, Heard, faults


def packet(sequence: int, timestamp: int, marker: bool, ssrc: int = 7, first: int = 0x80) -> bytes:
    return RTP.pack(first, 96 | marker << 7, sequence & 0xFFFF, timestamp, ssrc) + b"payload"


def good() -> Heard:
    """Ten pictures of three packets, over a wrap of the sequence."""
    heard = Heard("video", 90_000, 7, (65_520, 1000))
    for picture in range(10):
        for part in range(3):
            number, time = 65_520 + 3 * picture + part, 1000 + 3000 * picture
            heard.packets.append(packet(number, time, part == 2))
    return heard


def test_what_is_right_has_no_fault() -> None:
    heard = good()
    assert faults(heard, is_lossy=False) == []
    assert heard.lost == 0
    del heard.packets[7:9]
    assert heard.lost == 2
    assert faults(heard, is_lossy=True) == []


FAULTS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "nothing came": lambda p: [],
    "of SETUP": lambda p: [*p[:5], packet(65_525, 4000, True, 8), *p[6:]],
    "first byte": lambda p: [*p[:5], packet(65_525, 4000, True, 7, 0x90), *p[6:]],
    "RTP-Info said": lambda p: p[1:],
    "missing before": lambda p: p[:5] + p[6:],
    "follows": lambda p: [*p[:5], p[6], p[5], *p[7:]],
    "follows 65525": lambda p: [*p[:6], p[5], *p[6:]],
    "marker False before": lambda p: [*p[:5], packet(65_525, 4000, False), *p[6:]],
    "marker True before": lambda p: [*p[:4], packet(65_524, 4000, True), *p[5:]],
}


@pytest.mark.parametrize("sign", FAULTS)
def test_every_fault_is_found(sign: str) -> None:
    heard = good()
    heard.packets = FAULTS[sign](heard.packets)
    assert any(sign in fault for fault in faults(heard, is_lossy=False))
