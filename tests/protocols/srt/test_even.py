"""Batches of packets in a row are read as columns; whatever is different is not."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.srt.even import FEW, even_columns
from protocols.srt.packet import MESSAGE_MASK, DataPacket

FIRST, TARGET, MESSAGE = 7000, 0x01020304, 500


def packet(number: int, message: int | None = None) -> DataPacket:
    return DataPacket(
        sequence=FIRST + number,
        message=MESSAGE + number if message is None else message,
        timestamp=number * 1000,
        destination=TARGET,
        payload=bytes([number & 0xFF]) * 1316,
    )


def row(count: int) -> list[DataPacket]:
    return [packet(number) for number in range(count)]


def columns(packets: list[DataPacket], flags: int = 0) -> tuple[list[int], list[int]] | None:
    return even_columns([each.serialize() for each in packets], FIRST, flags, TARGET)


@given(st.integers(FEW, 100))
def test_a_row_is_read(count: int) -> None:
    packets = row(count)
    found = columns(packets)
    assert found is not None
    words, stamps = found
    assert stamps == [each.timestamp for each in packets]
    assert [word & MESSAGE_MASK for word in words] == [each.message for each in packets]


def test_few_are_read_singly() -> None:
    assert columns(row(FEW - 1)) is None


@pytest.mark.parametrize("place", [0, 3, 9])
@pytest.mark.parametrize(
    "change",
    [
        {"sequence": FIRST + 50},
        {"message": 3},
        {"destination": TARGET + 1},
        {"is_retransmitted": True},
        {"key": 1},
        {"is_in_order": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_different_is_not(place: int, change: dict[str, Any]) -> None:
    packets = row(10)
    packets[place] = replace(packets[place], **change)
    assert columns(packets) is None


def test_a_row_that_begins_elsewhere_is_not() -> None:
    assert columns(row(10)[1:]) is None


def test_keys_are_what_they_have_to_be() -> None:
    packets = [replace(each, key=1) for each in row(10)]
    assert columns(packets) is None
    assert columns(packets, flags=1 << 27) is not None


def test_message_numbers_do_not_run_into_flags() -> None:
    packets = [packet(number, MESSAGE_MASK - 4 + number) for number in range(5)]
    assert columns(packets) is None
