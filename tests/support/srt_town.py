"""A listening endpoint with one good connection on it, for tests that do harm beside it."""

import gc
from dataclasses import replace
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from protocols.srt.handshake_wire import (
    Extension,
    ExtensionType,
    Handshake,
    HandshakeType,
    SrtExtension,
)
from protocols.srt.options import ListenerOptions, Options
from protocols.srt.packet import Address, DataPacket
from tests.support.simnet import Link, SimNet
from tests.support.srt_virtual import Talker, Tape, VirtualEndpoint

SERVER, GOOD = ("198.18.0.1", 8890), ("198.18.0.2", 4001)
STRANGER = ("203.0.113.9", 666)
HELLO = Handshake(4, 0, 2, 12345, 1500, 8192, HandshakeType.INDUCTION, 777, 0)
HS = Extension(ExtensionType.HSREQ, SrtExtension(0x010505, 0xBF, 120, 0).serialize())
TURN = 0.005  # seconds between two turns of an endpoint, as in `protocols.srt.pace`
BURST = 5  # packets that are sent at once
NOT_STATE = (type, ModuleType, FunctionType, BuiltinFunctionType, SimNet)


class Town:
    """The server lets in everybody who is not refused by itself. Public: `tapes` of all let in,
    the good connection's `ours` (its caller) and `theirs` (the server's side)."""

    def __init__(
        self,
        link: Link | None = None,
        options: Options | None = None,
        listener: ListenerOptions | None = None,
        *,
        seed: int = 1,
        max_links: int = 4096,
    ) -> None:
        self.options = options or Options(receive_latency_ms=200, peer_latency_ms=200)
        self.net = net = SimNet(seed)
        self.server = VirtualEndpoint(net, SERVER, seed=seed, max_links=max_links, coalesce=TURN)
        self.client = VirtualEndpoint(net, GOOD, seed=seed, coalesce=TURN)
        self.there, self.here = net.connect(GOOD, SERVER, Link(delay=0.02))
        self.tapes: list[Tape] = []
        self.server.listen(
            lambda call: call.accept(self.options, self.new_tape()),
            listener or ListenerOptions(key_bytes=0),
        )
        self.ours = Tape()
        self.client.call(SERVER, self.options, self.ours)
        net.run(0.5)
        assert self.ours.link and self.tapes
        self.theirs = self.tapes[0]
        self.there.link = self.here.link = link or Link(delay=0.02)
        self.up = Talker(net, self.ours.channel)
        self.down = Talker(net, self.theirs.channel)

    def new_tape(self) -> Tape:
        """For one more that is let in."""
        self.tapes.append(Tape())
        return self.tapes[-1]

    def talk(self, packets: int) -> None:
        """Both sides of the good connection send from now on, 500 a second."""
        self.up.start(packets, BURST)
        self.down.start(packets, BURST)

    def check_good(self, seconds: float = 2.0) -> None:
        """Time passes, and nothing of the good connection is missing."""
        self.net.run(seconds)
        assert not self.server.faults + self.client.faults
        assert self.ours.end is None and self.theirs.end is None
        assert self.theirs.numbers == list(range(self.up.count))
        assert self.ours.numbers == list(range(self.down.count))
        assert not self.up.refused + self.down.refused

    def reasons(self) -> dict[str, int]:
        """What the server counted, those of the good connection among them."""
        found = self.server.drops.copy()
        if self.server.reception is not None:
            found.update(self.server.reception.counters)
        for tape in (self.theirs, self.ours):
            measured = tape.channel.statistics(self.net.now)
            assert measured is not None
            found.update(measured.reasons)
        return dict(found)

    def cookie(self, address: Address, socket_id: int = 777) -> int:
        """What the server answers to an induction from there."""
        runs: list[bytes] = []
        reception = self.server.reception
        assert reception is not None
        self.server.receive_datagrams(
            [replace(HELLO, socket_id=socket_id).to_datagram(0, 0)], address, self.net.now
        )
        runs = [run[2] for run in self.server.datagrams_to_send(self.net.now) if run[0] == address]
        return Handshake.parse(runs[-1][16:]).cookie if runs else 0

    def conclusion(
        self, address: Address, *extensions: Extension, socket_id: int = 777, sequence: int = 12345
    ) -> bytes:
        """A good conclusion from there."""
        word = replace(
            HELLO,
            version=5,
            extension_field=1,
            sequence=sequence,
            kind=HandshakeType.CONCLUSION,
            cookie=self.cookie(address, socket_id),
            socket_id=socket_id,
            extensions=extensions or (HS,),
        )
        return word.to_datagram(5000, 0)

    def data(self, offset: int, payload: bytes = b"forged", timestamp: int = 0) -> bytes:
        """A data packet to the server's good connection, that far from its next one."""
        connection = self.ours.channel.connection
        assert connection is not None
        sequence = connection.next_sequence + offset & 0x7FFFFFFF
        return DataPacket(
            sequence, 1, timestamp, self.theirs.channel.socket_id, payload
        ).serialize()


def kept(root: object) -> int:
    """Bytes of all byte strings that hang on an object, each container counted as 64 more."""
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
            total += 64 if gc.is_tracked(each) else 0
            stack += [r for r in gc.get_referents(each) if not isinstance(r, str | int | float)]
    return total
