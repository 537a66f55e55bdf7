"""The receive buffer of message and stream mode."""

import random

from hypothesis import given
from hypothesis import strategies as st

from protocols.srt.inbox import Entry
from protocols.srt.message_inbox import MessageInbox
from protocols.srt.packet import FIRST, IN_ORDER, LAST, MIDDLE, SOLO

ORDERED = IN_ORDER


def message(number: int, pieces: list[bytes], flags: int = ORDERED) -> list[Entry]:
    """The packets of one message."""
    last = len(pieces) - 1
    words = [
        (SOLO if not last else FIRST if not i else LAST if i == last else MIDDLE) | flags | number
        for i in range(len(pieces))
    ]
    return [(0.0, piece, word) for piece, word in zip(pieces, words, strict=True)]


def released(inbox: MessageInbox) -> list[bytes]:
    return [payload for event in inbox.release(0.0) for payload in event.payloads]


def test_messages_are_whole_and_in_order() -> None:
    inbox = MessageInbox(0, 100, is_stream=False)
    inbox.append_run(0, message(1, [b"one"]))
    second = message(2, [b"t", b"w", b"o"])
    inbox.insert(1, second[0])
    inbox.insert(3, second[2])
    assert released(inbox) == [b"one"]
    inbox.append_run(4, message(3, [b"three"]))
    assert released(inbox) == []
    inbox.insert(2, second[1])
    assert released(inbox) == [b"two", b"three"]
    assert inbox.held == 0


def test_free_of_order_a_whole_message_does_not_wait() -> None:
    inbox = MessageInbox(0, 100, is_stream=False)
    inbox.append_run(5, message(9, [b"l", b"ater"], 0))
    assert released(inbox) == [b"later"]
    assert inbox.expected == 0
    inbox.append_run(0, message(8, [b"a", b"b", b"c", b"d", b"e"], 0))
    assert released(inbox) == [b"abcde"], "and the other one is not told twice"
    assert inbox.expected == 7
    assert inbox.held == 0


def test_a_stream_is_bytes_without_borders() -> None:
    inbox = MessageInbox(0, 100, is_stream=True)
    inbox.append_run(1, [(0.0, b"b", SOLO), (0.0, b"c", SOLO)])
    assert released(inbox) == []
    inbox.insert(0, (0.0, b"a", SOLO))
    assert released(inbox) == [b"a", b"b", b"c"]


def test_what_the_sender_gave_up_is_skipped() -> None:
    inbox = MessageInbox(0, 100, is_stream=False)
    pieces = message(1, [b"a", b"b", b"c"])
    inbox.insert(0, pieces[0])
    inbox.append_run(3, message(2, [b"next"]))
    inbox.give_up(0, 3, 1)
    assert released(inbox) == [b"next"]
    assert inbox.given_up == 3
    assert not inbox.insert(1, pieces[1])


def test_a_message_whose_beginning_was_handed_on_gets_no_end() -> None:
    inbox = MessageInbox(0, 100, is_stream=False)
    inbox.append_run(0, message(1, [b"a", b"b", b"c"])[:2])
    assert released(inbox) == []
    inbox.give_up(2, 3, 0)
    inbox.append_run(3, message(2, [b"next"]))
    assert released(inbox) == [b"next"]
    assert inbox.broken == 1


def test_held_data_closes_the_window() -> None:
    inbox = MessageInbox(0, 10, is_stream=True)
    inbox.is_held = True
    for number in range(20):
        inbox.insert(number, (0.0, b"x", SOLO))
    assert inbox.room() == 0
    assert inbox.expected == 10, "the rest was not taken"
    assert released(inbox) == []
    inbox.is_held = False
    assert len(released(inbox)) == 10
    assert inbox.room() == 10


@given(
    st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=12),
    st.integers(0, 1 << 30),
)
def test_any_order_of_arrival(shapes: list[tuple[int, bool]], seed: int) -> None:
    """Messages of some packets, in order or free of it: each comes once, ordered ones in order."""
    inbox = MessageInbox(0, 100, is_stream=False)
    packets: list[tuple[int, Entry]] = []
    for number, (count, is_ordered) in enumerate(shapes, 1):
        pieces = [b"%d." % number] * count
        flags = ORDERED if is_ordered else 0
        packets += enumerate(message(number, pieces, flags), len(packets))
    dice = random.Random(seed)
    dice.shuffle(packets)
    got: list[bytes] = []
    for sequence, entry in packets:
        inbox.insert(sequence, entry)
        if dice.random() < 0.3:
            inbox.insert(sequence, entry)
        got += released(inbox)
    wanted = [b"%d." % number * count for number, (count, _) in enumerate(shapes, 1)]
    assert sorted(got) == sorted(wanted)
    ordered = [b"%d." % n * count for n, (count, is_ordered) in enumerate(shapes, 1) if is_ordered]
    assert [each for each in got if each in ordered] == ordered
    assert inbox.held == 0
