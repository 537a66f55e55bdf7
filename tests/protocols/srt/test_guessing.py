"""Who guesses passphrases waits for each answer; who is ignored hears nothing. Virtual time."""

from pytest import approx

from protocols.srt.options import ListenerOptions, Options, SecurityOptions
from protocols.srt.packet import is_control
from protocols.srt.reception import IncomingCall
from protocols.srt.reject import Reject
from tests.support.simnet import Link, SimNet
from tests.support.srt_virtual import Tape, VirtualEndpoint

SERVER, CLIENT = ("198.18.0.1", 8890), ("198.18.0.2", 4001)
SECRET = Options(security=SecurityOptions("flux-reference-key"))
WRONG = Options(security=SecurityOptions("another-passphrase"))
PLAIN = Options()
DELAY = 1.5
ROUND_TRIP = 0.04


class Gate:
    """A server that lets in who knows the secret, and a client beside it."""

    def __init__(self, delay: float = DELAY, is_ignoring: bool = False) -> None:
        self.net = SimNet(3)
        self.server = VirtualEndpoint(self.net, SERVER)
        self.client = VirtualEndpoint(self.net, CLIENT, seed=2)
        self.there, self.here = self.net.connect(CLIENT, SERVER, Link(delay=ROUND_TRIP / 2))
        self.tapes: list[Tape] = []
        self.is_ignoring = is_ignoring
        self.server.listen(self.called, ListenerOptions(wrong_secret_delay=delay))
        self.rejections: list[float] = []
        self.here.tap = self.note

    def called(self, call: IncomingCall) -> None:
        if self.is_ignoring:
            call.ignore("srt-banned")
            return
        self.tapes.append(Tape())
        call.accept(SECRET, self.tapes[-1])

    def note(self, datagram: bytes, now: float) -> bool:
        """Remembers when rejections leave."""
        if is_control(datagram) and datagram[:2] == b"\x80\0":
            kind = int.from_bytes(datagram[36:40], "big")
            if 1000 <= kind < 1 << 31:
                self.rejections.append(now)
        return True

    def call(self, options: Options, seconds: float) -> Tape:
        tape = Tape()
        self.client.call(SERVER, options, tape)
        self.net.run(seconds)
        assert not self.server.faults + self.client.faults
        return tape


def test_a_wrong_passphrase_is_answered_late() -> None:
    """Off (no delay) the answer comes after two round trips."""
    for delay in (0.0, DELAY):
        gate = Gate(delay)
        began = gate.net.now
        tape = gate.call(WRONG, 2.5)
        assert tape.end == ("srt-bad-secret", Reject.BAD_SECRET)
        assert gate.rejections[0] - began == approx(delay + 1.5 * ROUND_TRIP, abs=0.01)
        assert len(gate.rejections) == 1, "repeats meanwhile are not answered"


def test_the_application_hears_of_it_at_once() -> None:
    """So that a guess counts before its answer is there: many at a time gain nothing."""
    gate = Gate()
    for _ in range(10):
        gate.client.call(SERVER, WRONG, Tape())
    gate.net.run(0.3)
    assert [tape.end for tape in gate.tapes] == [("srt-bad-secret", Reject.BAD_SECRET)] * 10
    assert gate.rejections == []
    gate.net.run(2.0)
    assert len(gate.rejections) == 10


def test_others_wait_for_nothing() -> None:
    gate = Gate()
    gate.client.call(SERVER, WRONG, Tape())
    right = gate.call(SECRET, 0.3)
    assert right.link is not None
    none = gate.call(PLAIN, 0.3)
    assert none.end == ("srt-unsecure", Reject.UNSECURE), "no guess was made"


def test_who_is_ignored_hears_nothing_and_is_counted() -> None:
    gate = Gate(is_ignoring=True)
    tape = gate.call(SECRET, 4.0)
    assert tape.end == ("srt-timeout", Reject.TIMEOUT)
    assert gate.rejections == []
    assert gate.server.refusals()["srt-banned"] == 1
    assert not gate.server.keys, "no key was derived"
    assert gate.server.refusals()["handshake-repeated"] > 5
