"""The bus: routing, faults of subscribers, bounded subscriptions."""

import asyncio
from dataclasses import dataclass

import pytest

from flux.core.bus import Bus


@dataclass(frozen=True, slots=True)
class Base:
    number: int


@dataclass(frozen=True, slots=True)
class Derived(Base):
    pass


@dataclass(frozen=True, slots=True)
class Other:
    pass


def test_events_reach_the_subscribers_of_their_class_in_order() -> None:
    bus, seen = Bus(), list[tuple[str, object]]()
    bus.emit(Other())
    bus.subscribe(Base, lambda event: seen.append(("base", event)))
    bus.subscribe(Derived, lambda event: seen.append(("derived", event)))
    bus.subscribe(object, lambda event: seen.append(("all", event)))
    bus.emit(Base(1))
    bus.emit(Derived(2))
    bus.emit(Other())
    assert seen == [
        ("base", Base(1)),
        ("all", Base(1)),
        ("base", Derived(2)),
        ("derived", Derived(2)),
        ("all", Derived(2)),
        ("all", Other()),
    ]
    assert bus.counters.emitted == 4


def test_a_subscriber_can_leave_even_while_it_is_called() -> None:
    bus, seen = Bus(), list[object]()

    def once(event: Base) -> None:
        seen.append(event)
        leave()

    leave = bus.subscribe(Base, once)
    stay = bus.subscribe(Base, seen.append)
    bus.emit(Base(1))
    bus.emit(Base(2))
    leave()
    stay()
    bus.emit(Base(3))
    assert seen == [Base(1), Base(1), Base(2)]


def test_a_handler_that_fails_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    bus, seen = Bus(), list[object]()

    def fail(event: Base) -> None:
        raise RuntimeError("broken subscriber")

    bus.subscribe(Base, fail)
    bus.subscribe(Base, seen.append)
    bus.emit(Base(1))
    assert seen == [Base(1)]
    assert bus.counters.faults == 1
    assert "bus-handler-fault" in caplog.text


async def test_a_subscription_is_read_at_its_own_pace() -> None:
    bus = Bus()
    subscription = bus.subscription(Base)
    bus.emit(Base(1))
    bus.emit(Other())
    bus.emit(Derived(2))
    assert len(subscription) == 2

    async def read() -> list[object]:
        return [event async for event in subscription]

    reading = asyncio.ensure_future(read())
    await asyncio.sleep(0)
    bus.emit(Base(3))
    await asyncio.sleep(0)
    subscription.close()
    subscription.close()
    bus.emit(Base(4))
    assert await reading == [Base(1), Derived(2), Base(3)]


async def test_a_full_subscription_lets_the_oldest_go_and_counts() -> None:
    bus = Bus()
    subscription = bus.subscription(limit=2)
    for number in range(5):
        bus.emit(Base(number))
    subscription.close()
    assert [event async for event in subscription] == [Base(3), Base(4)]
    assert subscription.dropped == bus.counters.dropped == 3


def test_a_slow_handler_is_counted() -> None:
    from time import monotonic

    bus = Bus()

    def linger(event: Base) -> None:
        until = monotonic() + 0.006
        while monotonic() < until:
            pass

    bus.subscribe(Base, linger)
    bus.emit(Base(1))
    assert bus.counters.slow == 1
