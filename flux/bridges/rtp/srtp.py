"""SRTP: packets under one master key are protected or opened, RFC 3711.

A sender and a receiver each hold one master key and, by SSRC, where in its packets they are. The
index of a packet is its 16-bit sequence number under a 32-bit rollover counter that is not on the
wire: the receiver finds it, and starts from what the peer announced (MIKEY) or from guesses.
"""

from collections.abc import Iterable
from hmac import compare_digest
from struct import Struct
from typing import Protocol, Self

from flux.bridges.rtp.srtp_keys import NONCE_TAIL, MasterKey, Transform

MAX_SEGMENTS = 64  # of one run that the kernel takes
MAX_RUN_BYTES = 65_507
MAX_SOURCES = 16  # SSRCs that a receiver follows
MAX_GUESSES = (
    16_384  # rollover counters that a receiver tries in all before it has found the right one
)
GUESSES_A_PACKET = 64
WINDOW = 512  # packets that replay protection looks back, RFC 3711 section 3.3.2
WINDOW_MASK = (1 << WINDOW) - 1
STEP = 0x7000  # sequence numbers that may be skipped with no doubt about the rollover
HALF = 0x8000
RTP_HEAD = 12
RTCP_HEAD = 8  # of a compound; the rest is encrypted
INDEX_BYTES = 4  # SRTCP's own index, with the flag that says encrypted
ENCRYPTED = 0x8000_0000
MAX_ROC = 0xFFFF_FFFF

WORD = Struct("!I")
EXTENSION_WORDS = Struct("!2xH")

Run = tuple[bytes, int]  # packets in one row, and the size of each but the last


class Hash(Protocol):
    """What `hashlib` makes, as far as it is used here."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""

    def digest(self) -> bytes:
        """The value so far."""

    def copy(self) -> Self:
        """Another one in the same state."""


class _SentSource:
    """Where a sender is with one SSRC."""

    __slots__ = ("prefix", "roc", "roc_bytes", "sequence")

    def __init__(self, transform: Transform, ssrc: int, roc: int, sequence: int) -> None:
        self.sequence = sequence  # the last one that was used
        self.turn(transform, ssrc, roc)

    def turn(self, transform: Transform, ssrc: int, roc: int) -> None:
        """Go to a rollover counter."""
        self.roc = roc & MAX_ROC
        self.roc_bytes = WORD.pack(self.roc)
        self.prefix = transform.prefix(ssrc, self.roc)


class SrtpSender:
    """Protects what one master key's owner sends: any number of SSRCs, each in its own order.

    An index is never used twice: sequence numbers only go forward, and one that is not beyond the
    last means that the counter rolled over. `first_roc` is the rollover counter of each SSRC's
    first packet.
    """

    __slots__ = ("_rtcp", "_rtcp_index", "_sources", "_transform", "first_roc", "growth", "master")

    def __init__(self, master: MasterKey, first_roc: int = 0) -> None:
        self.master = master
        self.first_roc = first_roc
        self.growth = master.suite.rtp_tag_bytes + len(master.mki)  # bytes a packet
        self._transform = Transform(master, 0)
        self._sources: dict[int, _SentSource] = {}
        self._rtcp: Transform | None = None
        self._rtcp_index = 0

    def roc(self, ssrc: int) -> int:
        """The rollover counter of that SSRC now."""
        source = self._sources.get(ssrc)
        return self.first_roc if source is None else source.roc

    def protect_run(self, data: bytes, segment: int) -> list[Run]:
        """Protect RTP packets of one SSRC that stand in one row, `segment` bytes each but the last.

        The result is runs of the same kind. It is one, `growth` bytes longer a packet; more where
        that is more than a datagram run may hold, and after a gap of half the sequence space:
        packets without a payload then come first and lead the receiver's rollover counter across,
        since it would take such a jump for one backwards (section 3.3.1).
        """
        transform, mki = self._transform, self.master.mki
        reset, update, low_salt = transform.reset, transform.update, transform.low_salt
        copy_inner, copy_outer = transform.copy_inner, transform.copy_outer
        tag_bytes = self.master.suite.rtp_tag_bytes
        source = self._source(data)
        prefix, roc, last = source.prefix, source.roc_bytes, source.sequence
        out: list[bytes] = []
        for at in range(0, len(data), segment):
            sequence = data[at + 2] << 8 | data[at + 3]
            if sequence != last + 1:
                source.sequence = last
                ahead = (sequence - last) & 0xFFFF or 0x1_0000
                if ahead >= HALF:
                    done = self._runs(out, segment) + self._steps(source, ahead, data[at:])
                    return done + self.protect_run(data[at:], segment)
                if sequence <= last:
                    source.turn(transform, int.from_bytes(data[8:12], "big"), source.roc + 1)
                    prefix, roc = source.prefix, source.roc_bytes
            last = sequence
            head = at + (RTP_HEAD if not data[at] & 0x1F else header_bytes(data, at))
            reset(prefix + NONCE_TAIL(sequence ^ low_salt, 0))
            body = data[at:head] + update(data[head : at + segment])
            inner, outer = copy_inner(), copy_outer()
            inner.update(body)
            inner.update(roc)
            outer.update(inner.digest())
            out.append(body)
            out.append(mki + outer.digest()[:tag_bytes])
        source.sequence = last
        return self._runs(out, segment)

    def protect_rtcp(self, packet: bytes) -> bytes:
        """Protect one compound RTCP packet, section 3.4: its index goes with it."""
        transform = self._rtcp
        if transform is None:
            transform = self._rtcp = Transform(self.master, 3)
        # 31 bits last for 300 years of one packet in 5 s.
        self._rtcp_index = (self._rtcp_index + 1) & ~ENCRYPTED
        prefix = transform.prefix(int.from_bytes(packet[4:8], "big"), self._rtcp_index >> 16)
        transform.reset(prefix + NONCE_TAIL(self._rtcp_index & 0xFFFF ^ transform.low_salt, 0))
        index = WORD.pack(self._rtcp_index | ENCRYPTED)
        body = packet[:RTCP_HEAD] + transform.update(packet[RTCP_HEAD:]) + index
        tag = transform.tag(body)[: self.master.suite.rtcp_tag_bytes]
        return body + self.master.mki + tag

    def _source(self, data: bytes) -> _SentSource:
        ssrc = int.from_bytes(data[8:12], "big")
        source = self._sources.get(ssrc)
        if source is None:
            before = (data[2] << 8 | data[3]) - 1  # -1: a first packet 0 does not roll over
            source = _SentSource(self._transform, ssrc, self.first_roc, before)
            self._sources[ssrc] = source
        return source

    def _runs(self, pieces: list[bytes], segment: int) -> list[Run]:
        """Join bodies and tags to runs that the kernel takes."""
        size = segment + self.growth
        count = 2 * max(1, min(MAX_SEGMENTS, MAX_RUN_BYTES // size))
        return [(b"".join(pieces[at : at + count]), size) for at in range(0, len(pieces), count)]

    def _steps(self, source: _SentSource, ahead: int, packet: bytes) -> list[Run]:
        """Packets without a payload on the way to `packet`, `ahead` sequence numbers from here."""
        steps: list[Run] = []
        for _ in range((ahead - 1) // STEP):
            sequence = (source.sequence + STEP) & 0xFFFF
            empty = bytes((0x80, packet[1] & 0x7F)) + sequence.to_bytes(2, "big") + packet[4:12]
            steps += self.protect_run(empty, RTP_HEAD)
        return steps


class _HeardSource:
    """Where a receiver is with one SSRC: the highest index, and which of those below it came."""

    __slots__ = ("index", "prefix", "roc", "roc_bytes", "window")

    def __init__(self, index: int, roc: int = 0, prefix: bytes = b"") -> None:
        self.index = index
        self.window = 0  # bit n: index - n has come
        self.turn(roc, prefix)

    def turn(self, roc: int, prefix: bytes) -> None:
        """Go to a rollover counter; `prefix` is that of the nonces there."""
        self.roc = roc
        self.roc_bytes = WORD.pack(roc)
        self.prefix = prefix

    def is_replay(self, index: int) -> bool:
        """Whether it came before, or is too old to say; RFC 3711 section 3.3.2."""
        behind = self.index - index
        return behind >= 0 and (behind >= WINDOW or index < 0 or bool(self.window >> behind & 1))

    def mark(self, index: int) -> None:
        """An authentic packet of this index came."""
        ahead = index - self.index
        if ahead <= 0:
            self.window |= 1 << -ahead
        else:
            self.window = (self.window << ahead | 1) & WINDOW_MASK if ahead < WINDOW else 1
            self.index = index


class SrtpReceiver:
    """Opens what one master key's owner sends.

    `rocs` are rollover counters by SSRC as the peer announced them. Until a packet of an SSRC is
    authentic those next to it are tried too, and where none was announced more and more of them: a
    stream that is joined in its middle may be anywhere. An SSRC is known only from its first
    authentic packet on.

    `drops` counts by reason: `srtp-malformed`, `srtp-wrong-mki`, `srtp-auth-failed`, `srtp-replay`
    and the same with `srtcp`.
    """

    __slots__ = (
        "_guessed",
        "_heard",
        "_heard_rtcp",
        "_master",
        "_rocs",
        "_rtcp",
        "_transform",
        "drops",
    )

    def __init__(self, master: MasterKey, rocs: Iterable[tuple[int, int]] = ()) -> None:
        self._master = master
        self._rocs = dict(rocs)
        self._guessed = 2  # 0 and 1 are tried with each packet
        self._transform = Transform(master, 0)
        self._rtcp: Transform | None = None
        self._heard: dict[int, _HeardSource] = {}
        self._heard_rtcp: dict[int, _HeardSource] = {}
        self.drops: dict[str, int] = {}

    def unprotect(self, packets: Iterable[bytes]) -> list[bytes]:
        """Open SRTP packets; what is not authentic or came before is counted and left out."""
        opened = map(self._open, packets)
        return [packet for packet in opened if packet]

    def unprotect_rtcp(self, packets: Iterable[bytes]) -> list[bytes]:
        """Open SRTCP packets, likewise."""
        opened = map(self._open_rtcp, packets)
        return [packet for packet in opened if packet]

    def _drop(self, reason: str) -> bytes:
        self.drops[reason] = self.drops.get(reason, 0) + 1
        return b""

    def _open(self, packet: bytes) -> bytes:
        """The RTP packet, or nothing."""
        transform, mki = self._transform, self._master.mki
        tag_bytes = self._master.suite.rtp_tag_bytes
        end = len(packet) - tag_bytes - len(mki)
        head = RTP_HEAD if end >= RTP_HEAD and not packet[0] & 0x1F else header_bytes(packet, 0)
        if end < head or packet[0] >> 6 != 2:
            return self._drop("srtp-malformed")
        if mki and packet[end:-tag_bytes] != mki:
            return self._drop("srtp-wrong-mki")
        ssrc, sequence = int.from_bytes(packet[8:12], "big"), packet[2] << 8 | packet[3]
        tag = packet[-tag_bytes:]
        signed = transform.copy_inner()
        signed.update(packet[:end])
        source = self._heard.get(ssrc) or self._find(ssrc, sequence, signed, tag)
        if source is None:
            return self._drop("srtp-auth-failed")
        # The index next to the highest one, RFC 3711 section 3.3.1.
        index = source.index + ((sequence - source.index + HALF) & 0xFFFF) - HALF
        if index <= source.index and source.is_replay(index):
            return self._drop("srtp-replay")
        roc, roc_bytes, prefix = index >> 16 & MAX_ROC, source.roc_bytes, source.prefix
        if roc != source.roc:
            roc_bytes, prefix = WORD.pack(roc), transform.prefix(ssrc, roc)
        signed.update(roc_bytes)
        outer = transform.copy_outer()
        outer.update(signed.digest())
        if not compare_digest(outer.digest()[:tag_bytes], tag):
            return self._drop("srtp-auth-failed")
        if roc != source.roc and index > source.index:
            source.turn(roc, prefix)
        source.mark(index)
        transform.reset(prefix + NONCE_TAIL(sequence ^ transform.low_salt, 0))
        return packet[:head] + transform.update(packet[head:end])

    def _find(self, ssrc: int, sequence: int, signed: Hash, tag: bytes) -> _HeardSource | None:
        """The rollover counter under which an SSRC's first packet is authentic."""
        transform = self._transform
        for roc in self._guesses(ssrc):
            inner, outer = signed.copy(), transform.copy_outer()
            inner.update(WORD.pack(roc))
            outer.update(inner.digest())
            if compare_digest(outer.digest()[: len(tag)], tag):
                source = _HeardSource((roc << 16 | sequence) - 1, roc, transform.prefix(ssrc, roc))
                _remember(self._heard, ssrc, source)
                return source
        return None

    def _guesses(self, ssrc: int) -> Iterable[int]:
        announced = self._rocs.get(ssrc)
        if announced is not None:
            return announced, (announced + 1) & MAX_ROC, (announced - 1) & MAX_ROC
        if self._rocs or self._heard or self._guessed >= MAX_GUESSES:
            return 0, 1
        first, self._guessed = self._guessed, self._guessed + GUESSES_A_PACKET
        return 0, 1, *range(first, self._guessed)

    def _open_rtcp(self, packet: bytes) -> bytes:
        """The compound RTCP packet, or nothing; RFC 3711 section 3.4."""
        tag_bytes, mki = self._master.suite.rtcp_tag_bytes, self._master.mki
        end = len(packet) - tag_bytes - len(mki)
        body = end - INDEX_BYTES
        if body < RTCP_HEAD or packet[0] >> 6 != 2:
            return self._drop("srtcp-malformed")
        if mki and packet[end:-tag_bytes] != mki:
            return self._drop("srtcp-wrong-mki")
        transform = self._rtcp
        if transform is None:
            transform = self._rtcp = Transform(self._master, 3)
        if not compare_digest(transform.tag(packet[:end])[:tag_bytes], packet[-tag_bytes:]):
            return self._drop("srtcp-auth-failed")
        ssrc = int.from_bytes(packet[4:8], "big")
        (word,) = WORD.unpack_from(packet, body)
        index = word & ~ENCRYPTED
        source = self._heard_rtcp.get(ssrc)
        if source is None:
            source = _HeardSource(index - 1)
            _remember(self._heard_rtcp, ssrc, source)
        if source.is_replay(index):
            return self._drop("srtcp-replay")
        source.mark(index)
        if not word & ENCRYPTED:
            return packet[:body]
        prefix = transform.prefix(ssrc, index >> 16)
        transform.reset(prefix + NONCE_TAIL(index & 0xFFFF ^ transform.low_salt, 0))
        return packet[:RTCP_HEAD] + transform.update(packet[RTCP_HEAD:body])


def _remember(sources: dict[int, _HeardSource], ssrc: int, source: _HeardSource) -> None:
    """Add an SSRC; the oldest one goes where there are too many."""
    if len(sources) >= MAX_SOURCES:
        del sources[next(iter(sources))]
    sources[ssrc] = source


def header_bytes(data: bytes, at: int) -> int:
    """Size of the RTP header that begins at `at`, RFC 3550 section 5.1; huge if it is cut off."""
    if at >= len(data):
        return MAX_RUN_BYTES
    size = RTP_HEAD + 4 * (data[at] & 0xF)
    if not data[at] & 0x10:
        return size
    if at + size + EXTENSION_WORDS.size > len(data):
        return MAX_RUN_BYTES
    return size + EXTENSION_WORDS.size + 4 * int(EXTENSION_WORDS.unpack_from(data, at + size)[0])
