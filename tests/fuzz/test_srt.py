"""SRT and mutated captures: connections of every kind, and whole endpoints with listener, callers,
rendezvous and groups. Nothing raises, nothing takes long, nothing grows, nothing gets stuck.

The parsers, and the machines of the handshake one by one: `tests/protocols/srt/test_fuzz.py`.
"""

import gc
import random
import time
from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest

from config.srt_url import SrtUrl
from flux.base.errors import WireError
from protocols.srt.connection import Connection
from protocols.srt.control import Ack, serialize_losses
from protocols.srt.events import ConnectionClosed, DataReceived, KeyNeeded
from protocols.srt.group_call import GroupCall, Place
from protocols.srt.keys import CipherKind, KeyRing, KmState
from protocols.srt.link import Channel
from protocols.srt.options import (
    CipherMode,
    GroupType,
    ListenerOptions,
    Mode,
    Options,
    SecurityOptions,
)
from protocols.srt.packet import Address, ControlPacket, ControlType, DataPacket
from protocols.srt.reception import IncomingCall
from protocols.srt.result import Secrets
from protocols.srt.stream_id import StreamRequest
from tests.support.mutate import mutate
from tests.support.simnet import Link, SimNet
from tests.support.srt_capture import NAMES, read_control_packets, read_srt
from tests.support.srt_pair import LISTENER, results
from tests.support.srt_town import HELLO, kept
from tests.support.srt_virtual import Talker, Tape, VirtualEndpoint

QUICK, FULL = 4_000, 1_000_000
COUNTS = [
    pytest.param(QUICK, id="quick"),
    pytest.param(FULL, id="million", marks=[pytest.mark.long, pytest.mark.timeout(3000)]),
]
LONGEST = 0.05  # seconds of the processor for one input
WINDOW = 4000  # inputs, after which the sizes are looked at
MAX_KEPT = 40 << 20  # bytes: a send and a receive buffer of 8192 packets each, and change
RING = KeyRing(CipherKind.GCM, bytes(16), bytes(16), bytes(range(16)))
MASK = 0x7FFFFFFF


@cache
def seeds() -> list[bytes]:
    """What libsrt said: control packets of all kinds, and some packets of each capture."""
    found = [datagram for _, _, datagram in read_control_packets()]
    for name in NAMES:
        found += [each.payload for each in read_srt(name)[:60] if len(each.payload) >= 16]
    return found


def aimed(source: random.Random, data: bytes, socket_id: int, position: int) -> bytes:
    """A mutated packet, mostly to the right socket and mostly near what is expected there."""
    if len(data) < 20:
        return data
    if source.random() < 0.9:
        data = data[:12] + socket_id.to_bytes(4, "big") + data[16:]
    if source.random() < 0.7:
        number = position + source.choice((0, 0, 1, 2, -1, -5, 20, 300, 600, -9000, 1 << 29))
        word = (number & MASK).to_bytes(4, "big")
        if data[0] < 0x80:
            data = word + data[4:]
        elif data[1] in (ControlType.ACK, ControlType.NAK):
            data = data[:16] + word + data[20:]
    return data


class Victim:
    """One connection with a peer that is half honest: its packets and ACKs go on, with nonsense
    between them."""

    def __init__(self, source: random.Random, kind: str) -> None:
        self.source = source
        self.kind = kind
        self.now = 1000.0
        self.lives = 0
        self.payloads = 0
        self.reasons: Counter[str] = Counter()
        self.begin()

    def begin(self) -> None:
        self.lives += 1
        mode = {"message": Mode.MESSAGE, "stream": Mode.STREAM}.get(self.kind, Mode.LIVE)
        secrets, text = None, ""
        security = SecurityOptions()
        if self.kind == "sealed":
            secrets = Secrets(KmState.SECURED, KmState.SECURED, RING)
            security = SecurityOptions(
                "flux-reference-key",
                16,
                CipherMode.GCM,
                refresh_packets=300,
                announce_packets=100,
            )
        elif self.kind == "filtered":
            text = "fec,arq:onreq,cols:10,layout:staircase,rows:5"
        first = self.source.choice((1000, MASK - 50))
        options = Options(mode=mode, security=security)
        net = SimNet(1, self.now)
        ours, _ = results(net, options, first=first, secrets=secrets, packet_filter=text)
        self.connection = Connection(ours, options, self.source.randbytes, self.now)
        self.socket_id, self.expected, self.message = ours.socket_id, ours.receive_sequence, 1

    def feed(self) -> None:
        """One datagram, and all that follows from it."""
        source, connection = self.source, self.connection
        self.now += source.choice((0.0, 0.0, 0.0005, 0.002, 0.01))
        if source.random() < 0.3:
            payload = source.randbytes(source.choice((1, 188, 1000)))
            connection.send([payload] * source.randrange(1, 4), self.now)
        dice = source.random()
        if dice < 0.35:
            data = self.honest_data()
        elif dice < 0.45:
            behind = source.choice((0, 0, 5, 200))
            ack = Ack(1, connection.next_sequence - behind & MASK, 40_000, 5000, 8000)
            data = ack.to_packet(0, self.socket_id).serialize()
        elif dice < 0.47:
            last = connection.next_sequence - 1 & MASK
            body = serialize_losses([(last - 50 & MASK, last)], 9)
            data = ControlPacket(ControlType.NAK, 0, self.socket_id, body).serialize()
        else:
            position = source.choice((self.expected, connection.next_sequence))
            data = aimed(source, mutate(source, seeds()), self.socket_id, position)
        if len(data) >= 16:  # others end at the endpoint
            connection.receive_datagrams([data], LISTENER, self.now)
        self.turn()

    def honest_data(self) -> bytes:
        self.expected = self.expected + self.source.choice((1, 1, 1, 1, 2)) & MASK
        self.message = self.message % 0x3FFFFFF + 1
        stamp = int((self.now - 1000.0) * 1e6) & 0xFFFFFFFF
        packet = DataPacket(self.expected, self.message, stamp, self.socket_id, b"honest" * 100)
        return packet.serialize()

    def turn(self) -> None:
        connection = self.connection
        timer = connection.get_timer()
        if timer is not None and timer <= self.now:
            connection.handle_timer(self.now)
        out = sum(len(run[2]) for run in connection.datagrams_to_send(self.now))
        assert out < 2 << 20
        while (event := connection.next_event()) is not None:
            if isinstance(event, DataReceived):
                self.payloads += len(event.payloads)
            elif isinstance(event, KeyNeeded):
                connection.provide_key(event.handle, bytes(event.key_bytes), self.now)
            elif isinstance(event, ConnectionClosed):
                self.note()
                self.begin()
                return
        timer = connection.get_timer()
        assert timer is not None

    def note(self) -> None:
        self.reasons.update(self.connection.statistics(self.now).reasons)


def hammer(feed: Callable[[], object], root: Callable[[], object], count: int, cap: int) -> None:
    """So many inputs; none takes long, and what hangs on the root stays small."""
    seeds()
    clock = time.thread_time
    for start in range(0, count, WINDOW):
        gc.collect()
        gc.disable()  # it is not the input's fault how much there is to collect
        try:
            for _ in range(min(WINDOW, count - start)):
                began = clock()
                feed()
                assert clock() - began < LONGEST
        finally:
            gc.enable()
        assert kept(root()) < cap


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["live", "sealed", "filtered", "message", "stream"])
def test_a_connection(kind: str, count: int) -> None:
    victim = Victim(random.Random(f"{kind} {count}"), kind)
    hammer(victim.feed, lambda: victim.connection, count, MAX_KEPT)
    victim.note()
    assert len(victim.reasons) > 12
    assert victim.lives < count // 20  # mutated SHUTDOWNs end some: none of them at once
    if kind in ("live", "filtered"):
        assert victim.payloads > count // 50


STREAM_IDS = [
    b"#!::r=live/cam1,m=publish,u=bob,s=secret,h=host,token=t1",
    b"#!::r=cam,m=request",
    b"publish:live/cam1:user:pass:word",
    b"read:cam",
    b"#!:{}",
    "Kamera ä".encode(),
]
URLS = [
    b"srt://user@host:8890?streamid=#!::r=a,m=request&passphrase=0123456789&pbkeylen=32&latency=120",
    b"srt://:9000?mode=listener&packetfilter=fec,cols:10,rows:5&transtype=live&maxbw=0&inputbw=1000",
    b"srt://[fe80::1]:1?mode=rendezvous&localport=5001&localaddress=::1",
    b"srt://a:1?group=broadcast&nodes=b:2,c:3&mss=1400",
]
TEXTS: dict[str, tuple[Callable[[str], object], list[bytes]]] = {
    "stream-id": (StreamRequest.parse, STREAM_IDS),
    "url": (SrtUrl.parse, URLS),
}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", TEXTS)
def test_a_text(name: str, count: int) -> None:
    parse, samples = TEXTS[name]
    source = random.Random(f"{name} {count}")
    clock = time.thread_time
    refused = 0
    for _ in range(count):
        text = mutate(source, samples).decode("latin-1")
        began = clock()
        try:
            parse(text)
        except (WireError, ValueError) as error:
            assert name == "url" or isinstance(error, WireError)
            refused += 1
        assert clock() - began < LONGEST
    assert 0 < refused < count


# -- endpoints -----------------------------------------------------------------------------

SERVER = ("198.18.0.1", 8890)
SECRET = "flux-reference-key"
OPTIONS = {
    "live": Options(stream_id="live", idle_timeout=2.5),
    "sealed": Options(stream_id="sealed", security=SecurityOptions(SECRET), idle_timeout=2.5),
    "fec": Options(stream_id="fec", filter="fec,cols:10,rows:5", idle_timeout=2.5),
    "file": Options(stream_id="file", mode=Mode.STREAM, idle_timeout=2.5),
    "message": Options(stream_id="message", mode=Mode.MESSAGE, idle_timeout=2.5),
    "broadcast": Options(stream_id="broadcast", idle_timeout=2.5),
    "backup": Options(stream_id="backup", idle_timeout=2.5),
    "meet": Options(idle_timeout=2.5),
}
STEP = 10  # inputs between two moments


class Siege:
    """An endpoint under attack, with every kind of link on it; who is thrown out calls again."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.net = SimNet(1)
        self.server = VirtualEndpoint(self.net, SERVER)
        self.server.listen(self.called, ListenerOptions(is_group_allowed=True))
        self.clients = {
            name: VirtualEndpoint(self.net, (f"198.18.1.{number}", 4000 + number))
            for number, name in enumerate(OPTIONS)
        }
        for client in self.clients.values():
            self.net.connect(client.address, SERVER, Link(delay=0.005))
        self.tapes: dict[str, Tape] = {}
        self.cookies: dict[tuple[Address, float], bytes] = {}
        self.own: Tape | None = None  # of the server's side of the rendezvous
        self.calls = 0
        self.inputs = 0
        self.look()

    def called(self, call: IncomingCall) -> None:
        if call.group is not None:
            call.join()
        else:
            options = OPTIONS.get(call.request.stream_id, OPTIONS["live"])
            call.accept(options, Tape(self.speak))

    def speak(self, link: Channel, now: float) -> None:
        del now
        # A mutated handshake may have agreed on short packets.
        Talker(self.net, link, rate=100.0, size=min(200, link.max_payload_bytes)).start(100)

    def look(self) -> None:
        """Call where nobody is connected."""
        if self.own is None or self.own.end is not None:
            self.own = Tape(self.speak)
            self.server.meet(self.clients["meet"].address, OPTIONS["meet"], self.own)
        for name, client in self.clients.items():
            tape = self.tapes.get(name)
            if tape is not None and tape.end is None:
                continue
            self.calls += 1
            tape = self.tapes[name] = Tape(self.speak)
            options = OPTIONS[name]
            if name in ("broadcast", "backup"):
                kind = GroupType.BROADCAST if name == "broadcast" else GroupType.BACKUP
                places = [Place(SERVER, 2), Place(SERVER, 1)]
                GroupCall(client, places, kind, options, tape, client.random)
            elif name == "meet":
                client.meet(SERVER, options, tape)
            else:
                client.call(SERVER, options, tape)

    def cookie(self, address: Address) -> bytes:
        """A good one; the limits of a second are for those who do not know it."""
        age = self.net.now // 30
        known = self.cookies.get((address, age))
        if known is None:
            self.server.receive_datagrams([HELLO.to_datagram(0, 0)], address, self.net.now)
            runs = [run[2] for run in self.server.datagrams_to_send(self.net.now)]
            known = next((run[44:48] for run in runs if len(run) == 64), bytes(4))
            self.cookies[address, age] = known
        return known

    def feed(self) -> None:
        source, server = self.source, self.server
        self.inputs += 1
        links = list(server.links.values())
        link = source.choice(links) if links else None
        data = mutate(source, seeds())
        address = source.choice(list(self.clients.values())).address
        if link is not None and source.random() < 0.6:
            address = link.peer or address
            position = 0
            if link.connection is not None:
                position = link.connection.next_sequence
            data = aimed(source, data, link.socket_id, position)
        elif len(data) > 16 and source.random() < 0.8:
            data = data[:12] + bytes(4) + data[16:]  # to the listener, or to a rendezvous
            if len(data) > 48 and data[:2] == b"\x80\0" and source.random() < 0.8:
                data = data[:44] + self.cookie(address) + data[48:]
        server.receive_datagrams([data], address, self.net.now)
        assert not server.faults, server.faults
        if self.inputs % STEP == 0:
            self.net.run(0.002)
            for client in self.clients.values():
                assert not client.faults, client.faults
            if self.inputs % 500 == 0:
                self.look()


@pytest.mark.parametrize("count", COUNTS)
def test_an_endpoint(count: int) -> None:
    siege = Siege(random.Random(count))
    hammer(siege.feed, lambda: siege.server, count, 2 * MAX_KEPT)
    assert len(siege.server.refusals()) > 15
    # After all that it lets everybody in, and carries what they say.
    for _ in range(6):
        siege.net.run(3.0)
        siege.look()
    siege.net.run(0.5)
    for name, tape in siege.tapes.items():
        assert tape.link is not None and tape.end is None, (name, tape.end)
    late = Tape()
    siege.clients["live"].call(SERVER, OPTIONS["live"], late)
    siege.net.run(2.0)
    assert len(late.payloads) > 90


def test_a_machine_that_raises_is_found() -> None:
    """The broken sample."""
    siege = Siege(random.Random(1))
    assert siege.server.reception is not None
    siege.server.reception.receive = None  # type: ignore[assignment,method-assign]
    with pytest.raises(TypeError):
        hammer(siege.feed, lambda: siege.server, WINDOW, MAX_KEPT)
