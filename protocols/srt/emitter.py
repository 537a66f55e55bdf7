"""New packets on their way out: batches of the send buffer become runs, sealed and filtered."""

from collections.abc import Sequence
from struct import Struct

from protocols.srt.cipher import SendKeys
from protocols.srt.congestion.bucket import TokenBucket
from protocols.srt.congestion.control import WIRE_OVERHEAD_BYTES
from protocols.srt.filter import FilterSender
from protocols.srt.packet import HEADER_BYTES, SEQUENCE_MASK, pack_header
from protocols.srt.payloads import Payloads
from protocols.srt.runs import RunBuilder
from protocols.srt.send_buffer import SendBatch
from protocols.srt.send_count import SendCount

LAP = 1 << 31
TAIL = Struct("!II")  # the last two words of a header


class Emitter:
    """Sends packets for the first time; they are counted, and taken from the pacer's budget."""

    __slots__ = ("_count", "_destination", "_filter", "_keys", "_pacer")

    def __init__(
        self,
        destination: int,
        keys: SendKeys,
        packet_filter: FilterSender | None,
        count: SendCount,
        pacer: TokenBucket,
    ) -> None:
        self._destination = destination
        self._keys = keys
        self._filter = packet_filter
        self._count = count
        self._pacer = pacer

    def emit(self, batch: SendBatch, start: int, count: int, builder: RunBuilder) -> None:
        """Put packets of one batch into the builder."""
        if batch.key < 0:
            batch.key, batch.cipher = self._keys.sending()
        payloads = batch.payloads
        if count != len(payloads):
            payloads = payloads.part(start, count)
        counts, size = self._count, payloads.size_bytes
        counts.packets += count
        counts.unique += count
        counts.bytes += size
        counts.unique_bytes += size
        self._pacer.take(size + WIRE_OVERHEAD_BYTES * count)
        sequence = batch.first + start & SEQUENCE_MASK
        cipher = batch.cipher
        is_plain = self._filter is None and (cipher is None or not cipher.covers_headers)
        if is_plain and payloads.is_even and sequence + count <= LAP:
            word = batch.word(start, count)
            if word:  # all at once
                bodies = payloads
                if cipher is not None:
                    bodies = Payloads(cipher.seal_batch(sequence, (), payloads), payloads)
                    self._count_sealed(batch, count)
                tail = TAIL.pack(batch.stamp, self._destination)
                builder.add_even(sequence << 32 | word, tail, bodies)
                return
        self._emit_singly(batch, sequence, batch.words(start, count), payloads, builder)

    def _emit_singly(
        self,
        batch: SendBatch,
        sequence: int,
        words: Sequence[int],
        payloads: Payloads,
        builder: RunBuilder,
    ) -> None:
        """The same, a header at a time: sealed with it, filtered, of all lengths, wrapping."""
        stamp, destination, count = batch.stamp, self._destination, len(words)
        if sequence + count <= LAP:
            sequences: Sequence[int] = range(sequence, sequence + count)
        else:
            sequences = [sequence + each & SEQUENCE_MASK for each in range(count)]
        headers = [
            pack_header(number, word, stamp, destination)
            for number, word in zip(sequences, words, strict=True)
        ]
        bodies: Sequence[bytes] = payloads
        if batch.cipher is not None:
            bodies = batch.cipher.seal_batch(sequence, headers, payloads)
            self._count_sealed(batch, count)
        if self._filter is not None:
            self._emit_filtered(self._filter, batch, sequences, headers, bodies, builder)
        elif payloads.is_even:
            builder.add_equal(headers, bodies)
        else:
            for header, body in zip(headers, bodies, strict=True):
                builder.add(header + body)

    def _count_sealed(self, batch: SendBatch, count: int) -> None:
        """The key is refreshed after so many packets. A long batch ends with the key that it began
        with; what is left of it does not count as the next key's, which is not in use yet."""
        if batch.cipher is self._keys.sending()[1]:
            self._keys.count_sent(count)

    def _emit_filtered(
        self,
        packet_filter: FilterSender,
        batch: SendBatch,
        sequences: Sequence[int],
        headers: Sequence[bytes],
        payloads: Sequence[bytes],
        builder: RunBuilder,
    ) -> None:
        """The same, with the filter's packets between."""
        for sequence, header, payload in zip(sequences, headers, payloads, strict=True):
            builder.add(header + payload)
            for packet in packet_filter.feed(sequence, batch.stamp, batch.key, payload):
                self._count.filter_packets += 1
                self._count.filter_bytes += len(packet) - HEADER_BYTES
                self._pacer.take(len(packet) + WIRE_OVERHEAD_BYTES)
                builder.add(packet)
