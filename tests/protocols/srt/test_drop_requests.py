"""Drop requests: numbers of the wire, how many wait, and what an old libsrt makes of them."""

from protocols.srt.drop_requests import FIRST_CLOSED, MAX_WAITING, DropRequests

NEWEST = 0x010505


def test_numbers_of_the_wire() -> None:
    drops = DropRequests(NEWEST)
    assert not drops
    drops.add(7, 100, 104)
    drops.add(0, (1 << 31) - 1, (1 << 31) + 2)
    assert len(drops) == 2
    assert drops.take() == [(7, 100, 103), (0, (1 << 31) - 1, 1)]
    assert drops.take() == []


def test_not_more_than_some_wait() -> None:
    drops = DropRequests(NEWEST)
    for number in range(100):
        drops.add(0, number, number + 1)
    assert len(drops.take()) == MAX_WAITING


def test_an_old_peer_is_told_of_a_message_by_numbers_and_one_more() -> None:
    """Off, libsrt 1.5.1 hands out nothing more after such a message."""
    drops = DropRequests(FIRST_CLOSED - 1)
    drops.add(7, 100, 104)
    drops.add(0, 100, 104)
    assert drops.take() == [(0, 100, 104), (0, 100, 103)]
