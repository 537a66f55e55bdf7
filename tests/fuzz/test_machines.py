"""Machines that live long and mutated input: they never raise, and keep no more than they may."""

import contextlib
import gc
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import pytest

from flux.base.errors import WireError
from flux.bridges.rtp.receiver import RtpSessionReceiver
from flux.bridges.rtp.srtp import SrtpReceiver, SrtpSender
from flux.bridges.rtp.srtp_keys import MasterKey
from flux.bridges.rtp.tracks import tracks_from_sdp
from media.track import Track
from protocols.rtcp import Goodbye, SenderReport, SourceDescription, serialize_compound
from protocols.rtp import RtpPacket
from protocols.rtsp.server_tunnel import HeadReader, HttpHead, TunnelInput
from protocols.rtsp.tunnel.messages import ReplyReader, encode, request
from protocols.sdp import SessionDescription
from tests.support.mutate import mutate

QUICK, FULL = 8_000, 1_000_000
COUNTS = [
    pytest.param(QUICK, id="quick"),
    pytest.param(FULL, id="million", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
]
LONGEST = 0.25  # seconds of one input, on a busy machine
WINDOW = 1000  # inputs, after which the sizes are looked at
MAX_KEPT = 40 << 20  # bytes: a unit of each track, and packets that wait to be put in order

SDP = b"""v=0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
m=audio 0 RTP/AVP 0
"""
NALS = (
    b"\x65" + bytes(300),
    b"\x41" + bytes(50),
    b"\x7c\x85" + bytes(200),
    b"\x7c\x45" + bytes(99),
)


@dataclass
class Sink:
    """A publisher that counts."""

    tracks: tuple[Track, ...]
    units: int = 0
    reasons: set[str] = field(default_factory=set)

    def write(self, track: Track, timestamp: int, payload: tuple[bytes, ...], at: float) -> None:
        assert payload
        self.units += 1

    def sender_report(self, track: Track, ntp: int, timestamp: int, now: float) -> None:
        assert ntp

    def anchor(self, timestamps: Mapping[Track, int]) -> None:
        pass

    def dropped(self, reason: str, track: Track | None = None, count: int = 1) -> None:
        assert count > 0
        self.reasons.add(reason)


class Receiving:
    """The receive path of a session of H.264 and G.711."""

    def __init__(self, source: random.Random, *, reliable: bool) -> None:
        tracks = tracks_from_sdp(SessionDescription.parse(SDP)).tracks
        descriptions = [track.description for track in tracks]
        self.sink = Sink(
            tuple(
                Track(index, d.kind, d.codec, d.clock_rate, d.parameters)
                for index, d in enumerate(descriptions)
            )
        )
        self.session = RtpSessionReceiver(
            self.sink,
            tracks,
            reliable=reliable,
            ssrc=9,
            cname="flux",
            random=source.random,
            now=0.0,
        )
        self.source = source
        self.now = 0.0
        self.sequences = [source.randrange(1 << 16), source.randrange(1 << 16)]
        self.times = [source.randrange(1 << 32), source.randrange(1 << 32)]

    def feed(self) -> None:
        """One packet of a sender, mostly good, mostly in its place."""
        source, track = self.source, self.source.randrange(2)
        self.now += source.choice((0.0, 0.001, 0.01))
        if source.random() < 0.1:
            data = mutate(source, [self.report(track)])
            self.session.receive_interleaved([(2 * track + 1, data)], self.now)
        else:
            data = self.packet(track)
            if source.random() < 0.3:
                data = mutate(source, [data])
            if source.random() < 0.5:
                self.session.receive_rtp(track, [data], self.now)
            else:
                self.session.receive_interleaved([(2 * track, data)], self.now)
        due = self.session.get_timer()
        if due is not None and due <= self.now:
            self.session.handle_timer(self.now)
        assert len(self.session.reports_to_send()) <= 4
        while self.session.next_event() is not None:
            pass

    def packet(self, track: int) -> bytes:
        source = self.source
        self.sequences[track] += source.choice((1, 1, 1, 1, 1, 2, -1, 0, 40))
        if source.random() < 0.001:
            self.sequences[track] = source.randrange(1 << 16)
            self.times[track] = source.randrange(1 << 32)
        is_last = source.random() < 0.5
        self.times[track] += source.choice((0, 3000, 3000)) if is_last else 0
        payload = source.choice(NALS) if track == 0 else bytes(160)
        ssrc = 7 + track if source.random() < 0.999 else source.randrange(1 << 32)
        number, at = self.sequences[track] & 0xFFFF, self.times[track] & 0xFFFFFFFF
        return RtpPacket(0 if track else 96, number, at, ssrc, payload, is_last).serialize()

    def report(self, track: int) -> bytes:
        ssrc, ntp = 7 + track, int((3_900_000_000 + self.now) * (1 << 32))
        told = SenderReport(ssrc, ntp, self.times[track] & 0xFFFFFFFF, 1, 2)
        last = (Goodbye((ssrc,)),) if self.source.random() < 0.05 else ()
        return serialize_compound((told, SourceDescription.cname(ssrc, "camera"), *last))


def repeat(feed: Callable[[], object], count: int) -> None:
    """Call it so often; none of the calls may take long."""
    clock = time.perf_counter
    for _ in range(count):
        began = clock()
        with contextlib.suppress(WireError):
            feed()
        assert clock() - began < LONGEST


NOT_STATE = (type, ModuleType, FunctionType, BuiltinFunctionType)


def kept(root: object) -> int:
    """Bytes of all byte strings that hang on an object."""
    seen: set[int] = set()
    stack: list[Any] = [root]
    total = 0
    while stack:
        each = stack.pop()
        if id(each) in seen or isinstance(each, NOT_STATE):
            continue
        seen.add(id(each))
        if isinstance(each, bytes | bytearray):
            total += len(each)
        else:
            stack += [r for r in gc.get_referents(each) if not isinstance(r, str | int | float)]
    return total


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("reliable", [True, False], ids=["tcp", "udp"])
def test_the_receive_path(reliable: bool, count: int) -> None:
    receiving = Receiving(random.Random(count), reliable=reliable)
    for _ in range(count // WINDOW):
        repeat(receiving.feed, WINDOW)
        assert kept(receiving.session) < MAX_KEPT
    assert receiving.sink.units > count // 20
    assert len(receiving.sink.reasons) > 5


@pytest.mark.parametrize("count", COUNTS)
def test_srtp(count: int) -> None:
    """What was changed on its way is no packet; what was not still is one."""
    source = random.Random(count)
    master = MasterKey.generate()
    sender, receiver = SrtpSender(master, 0), SrtpReceiver(master)
    number = 0
    report = serialize_compound((SenderReport(7, 1 << 60, 1, 1, 2),))

    def feed() -> None:
        nonlocal number
        number += 1
        packet = RtpPacket(96, number & 0xFFFF, number, 7, bytes(100)).serialize()
        ((data, _),) = sender.protect_run(packet, len(packet))
        wrong = mutate(source, [data])
        if wrong != data:
            assert receiver.unprotect([wrong]) == []
        assert receiver.unprotect([data]) == [packet]
        sealed = sender.protect_rtcp(report)
        wrong = mutate(source, [sealed])
        if wrong != sealed:
            assert receiver.unprotect_rtcp([wrong]) == []
        assert receiver.unprotect_rtcp([sealed]) == [report]

    repeat(feed, count // 10)  # each of them is four packets of AES and SHA
    assert receiver.drops


OPTIONS = b"OPTIONS rtsp://h/live RTSP/1.0\r\nCSeq: 1\r\n\r\n"
GET = request("GET", "/live", "h:554", "cookie123", "test")
POST = request("POST", "/live", "h:554", "cookie123", "test")
REPLIES = [
    b"HTTP/1.0 200 OK\r\nContent-Type: application/x-rtsp-tunnelled\r\n\r\nRTSP/1.0 200 OK\r\n",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
]
SHORT = POST.replace(b"32767", b"60")
OTHER = SHORT.replace(b"cookie123", b"cookie124")
BODIES = [encode(OPTIONS), encode(b"$\0\0\x04abcd") + b"\r\n", SHORT, OTHER + encode(OPTIONS)]


@pytest.mark.parametrize("count", COUNTS)
def test_the_tunnel(count: int) -> None:
    """Heads of both halves, the base64 of the POST in any pieces, the head of a reply."""
    source = random.Random(count)
    head = HttpHead.parse(SHORT)
    faults: set[str] = set()
    state = TunnelInput(head)

    def heads() -> None:
        reader = HeadReader()
        data = mutate(source, [GET, POST])
        cut = source.randrange(len(data) + 1)
        if reader.receive(data[:cut]) is None:
            reader.receive(data[cut:])

    def body() -> None:
        nonlocal state
        data = mutate(source, BODIES)
        assert len(state.receive(data)) <= len(data) + 4
        if state.fault or source.random() < 0.02:
            faults.add(state.fault)
            state = TunnelInput(head)

    def reply() -> None:
        ReplyReader().feed(mutate(source, REPLIES))

    for each in (heads, body, reply):
        repeat(each, count)
    assert {"tunnel-base64", "tunnel-cookie"} <= faults
