"""Message mode from handshake to end, between endpoints: in virtual time and on real sockets."""

import random
import time

import pytest

from protocols.srt.endpoint import Endpoint
from protocols.srt.link import Channel
from protocols.srt.options import ListenerOptions, Mode, Options, RateOptions, SecurityOptions
from protocols.srt.reception import IncomingCall
from protocols.srt.reject import Reject
from tests.support.datagrams import until
from tests.support.simnet import Link, SimNet
from tests.support.srt_peers import Collector
from tests.support.srt_virtual import Tape, VirtualEndpoint

ONE, TWO = ("198.18.0.1", 4001), ("198.18.0.2", 4002)
LOCAL = "127.0.0.1"
SECURITY = SecurityOptions("flux-reference-key")
SIZES = (1, 1456, 1457, 100_000, 5, 300_000)
CLEAN, LOSSY = Link(delay=0.02), Link(delay=0.02, loss=0.05)
KINDS = ["call", "rendezvous"]


def message_options(**more: object) -> Options:
    return Options(mode=Mode.MESSAGE, **more)  # type: ignore[arg-type]


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


class Page(Tape):
    """Hears of messages that were given up, and of room."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0
        self.rooms = 0

    def given_up(self, link: Channel, packets: int, now: float) -> None:
        del link, now
        self.dropped += packets

    def writable(self, link: Channel, now: float) -> None:
        del link, now
        self.rooms += 1


class Post:
    """Two endpoints that are connected in message mode."""

    def __init__(
        self,
        options: Options,
        link: Link = CLEAN,
        kind: str = "call",
        theirs: Options | None = None,
    ) -> None:
        self.net = SimNet(5)
        self.one, self.two = VirtualEndpoint(self.net, ONE), VirtualEndpoint(self.net, TWO, seed=2)
        self.there, _ = self.net.connect(ONE, TWO, link)
        self.ours, self.theirs = Page(), Page()
        self.modes: list[Mode] = []
        other = theirs or options

        def called(call: IncomingCall) -> None:
            self.modes.append(call.request.mode)
            call.accept(other, self.theirs)

        if kind == "call":
            self.two.listen(called)
            self.one.call(TWO, options, self.ours)
        else:
            self.one.meet(TWO, options, self.ours)
            self.two.meet(ONE, other, self.theirs)
        self.net.run(2.0)

    def run(self, seconds: float) -> None:
        self.net.run(seconds)
        assert not self.one.faults and not self.two.faults


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("link", [CLEAN, LOSSY], ids=["clean", "5%"])
@pytest.mark.parametrize("security", [SecurityOptions(), SECURITY], ids=["plain", "aes"])
def test_messages_both_ways(kind: str, link: Link, security: SecurityOptions) -> None:
    post = Post(message_options(security=security), link, kind)
    sent = [content(size, size) for size in SIZES]
    now = post.net.now
    assert post.ours.channel.send(sent, now) == len(sent)
    assert post.theirs.channel.send(sent[::-1], now) == len(sent)
    post.run(8.0)
    assert post.theirs.payloads == sent
    assert post.ours.payloads == sent[::-1]
    if kind == "call":
        assert post.modes == [Mode.MESSAGE]
    post.ours.channel.close("done", post.net.now)
    post.run(1.0)
    assert post.ours.end == ("done", -1) and post.theirs.end == ("srt-peer-closed", -1)


@pytest.mark.parametrize("link", [CLEAN, LOSSY], ids=["clean", "5%"])
def test_a_message_is_longer_than_a_key_lasts(link: Link) -> None:
    """It ends with the key that it began with, and the keys after it still go in turn."""
    security = SecurityOptions("flux-reference-key", refresh_packets=16, announce_packets=7)
    post = Post(message_options(security=security), link)
    keys: list[int] = []

    def tap(datagram: bytes, now: float) -> bool:
        del now
        key = datagram[4] >> 3 & 3
        if datagram[0] < 0x80 and not datagram[4] & 4 and keys[-1:] != [key]:
            keys.append(key)
        return True

    post.there.tap = tap
    sent = [content(150_000, seed) for seed in range(6)]
    assert post.ours.channel.send(sent, post.net.now) == len(sent)
    post.run(8.0)
    assert post.theirs.payloads == sent
    assert len(keys) >= 4, "each message has the next key, once the peer has it"


def test_the_end_waits_for_the_last_message() -> None:
    post = Post(message_options(), LOSSY)
    last = content(200_000)
    link = post.ours.channel
    assert link.send_message(last, post.net.now)
    link.close("done", post.net.now)
    assert not link.send_message(b"more", post.net.now)
    post.run(4.0)
    assert post.theirs.payloads == [last]
    assert post.ours.end == ("done", -1)


def test_free_of_order_a_message_overtakes() -> None:
    post = Post(message_options())
    lost: list[bytes] = []

    def tap(datagram: bytes, now: float) -> bool:
        del now
        is_first = datagram[0] < 0x80 and not lost
        if is_first:
            lost.append(datagram)
        return not is_first

    post.there.tap = tap
    link = post.ours.channel
    for text, is_in_order in ((b"first", True), (b"ordered", True), (b"free" * 1000, False)):
        assert link.send_message(text, post.net.now, is_in_order)
    post.run(0.025)
    assert post.theirs.payloads == [b"free" * 1000]
    post.run(1.0)
    assert post.theirs.payloads == [b"free" * 1000, b"first", b"ordered"]


def test_what_is_given_up_is_told_to_both_sides() -> None:
    """Off (the event ends at the link) the sender's application never hears of it."""
    post = Post(message_options(rate=RateOptions(max_rate=20_000)))
    link, now = post.ours.channel, post.net.now
    old, young = content(40_000, 2), content(5000, 3)
    link.send_message(old, now, lifetime=0.3)
    link.send_message(young, now, lifetime=60.0)
    post.run(6.0)
    assert post.theirs.payloads == [young]
    assert 0 < post.theirs.lost <= post.ours.dropped


def test_who_holds_still_holds_the_peer_back() -> None:
    """Off (`hold` does nothing) all of it is handed out at once."""
    post = Post(message_options(receive_buffer_packets=64, send_buffer_packets=128))
    link, reader = post.ours.channel, post.theirs.channel
    reader.hold(True, post.net.now)
    sent = [content(14_560, each) for each in range(12)]
    assert link.send(sent, post.net.now) == 12
    assert not link.send_message(sent[0], post.net.now), "there is no room"
    post.run(3.0)
    assert post.theirs.payloads == []
    state = link.state
    assert state is not None and state.window == 0
    reader.hold(False, post.net.now)
    assert post.theirs.payloads, "what waits is handed out at once"
    post.run(3.0)
    assert post.theirs.payloads == sent
    assert post.ours.rooms == 1


def test_what_never_fits_is_refused_and_counted() -> None:
    post = Post(message_options(send_buffer_packets=32))
    link = post.ours.channel
    assert not link.send_message(content(33 * 1456), post.net.now)
    assert link.connection is not None
    assert link.connection.statistics(post.net.now).reasons == {"message-too-long": 33}
    assert link.send_message(content(32 * 1456), post.net.now)


@pytest.mark.parametrize(
    ("theirs", "code"),
    [
        (Options(), Reject.CONGESTION),
        (Options(mode=Mode.STREAM), Reject.MESSAGE_API),
        (message_options(security=SECURITY), Reject.UNSECURE),
    ],
    ids=["live", "stream", "secret"],
)
def test_other_modes_are_refused(theirs: Options, code: Reject) -> None:
    post = Post(message_options(), theirs=theirs)
    assert post.ours.end is not None and post.ours.end[1] == code
    assert post.theirs.end is not None and post.theirs.end[1] == code


def test_in_live_mode_a_message_is_a_packet() -> None:
    post = Post(Options())
    link = post.ours.channel
    assert link.send_message(b"x" * 1316, post.net.now)
    post.run(1.0)
    assert post.theirs.payloads == [b"x" * 1316]


@pytest.mark.parametrize("security", [SecurityOptions(), SECURITY], ids=["plain", "aes"])
async def test_on_real_sockets(security: SecurityOptions) -> None:
    options = message_options(security=security)
    server, client = Endpoint.bind(LOCAL, 0), Endpoint.bind(LOCAL, 0)
    theirs, ours = Collector(), Collector()
    server.listen(ListenerOptions(), lambda call: call.accept(options, theirs))
    client.call((LOCAL, server.port), options, ours)
    await until(lambda: bool(ours.link and theirs.link), "connected")
    assert ours.link is not None and theirs.link is not None
    sent = [content(size, size) for size in SIZES]
    assert ours.link.send(sent, time.monotonic()) == len(sent)
    assert theirs.link.send(sent[::-1], time.monotonic()) == len(sent)
    ours.link.close("done", time.monotonic())
    await until(lambda: theirs.end is not None and len(ours.payloads) == len(sent), "all came")
    assert theirs.payloads == sent and ours.payloads == sent[::-1]
    server.close()
    client.close()
