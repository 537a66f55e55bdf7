"""Ways to spoil a run: each takes one and answers another, with the truth kept up."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from media.frame import NO_TIME
from tests.support.torture.camera import Item, Report, Run, Sent, clock_rate, in_order
from tests.support.torture.marks import marked

BURST = 0.5  # seconds in which what waited comes after a stall


def each(run: Run, change: Callable[[Item], Item | None]) -> Run:
    """The run with every item changed, or left out."""
    found = [new for item in run.items if (new := change(item)) is not None]
    return in_order(replace(run, items=found))


def key_after(run: Run, at: float) -> float:
    """The instant of the first key frame from `at` on; `at` itself where there is none."""
    keys = [i.instant for i in run.items if isinstance(i, Sent) and i.is_video and i.is_key]
    return min((instant for instant in keys if instant >= at), default=at)


def after(run: Run, at: float) -> Callable[[Item], bool]:
    """Whether an item was sent from the first key frame after `at` on, in decoding order."""
    begin = key_after(run, at)
    first: dict[int, float] = {}
    for item in run.items:
        if isinstance(item, Sent) and item.is_video and item.is_key and item.instant >= begin:
            first.setdefault(item.track, item.arrived)

    def is_after(item: Item) -> bool:
        if item.track in first and isinstance(item, Sent):
            return item.arrived >= first[item.track]
        return item.instant >= begin - 1e-9

    return is_after


def moved(run: Run, item: Item, seconds: float) -> Item:
    """The item as a source says it whose clock is so much further."""
    ticks = round(seconds * clock_rate(run, item))
    if isinstance(item, Report):
        return replace(item, timestamp=item.timestamp + ticks)
    dts = item.dts if item.dts == NO_TIME else item.dts + ticks
    return replace(item, timestamp=item.timestamp + ticks, dts=dts)


def jump(run: Run, at: float, by: float, tracks: Sequence[int] | None = None) -> Run:
    """The source's clock steps by so many seconds."""
    is_after = after(run, at)

    def change(item: Item) -> Item:
        if not is_after(item):
            return item
        if isinstance(item, Sent):
            item = replace(item, era=item.era + 1)
        return item if tracks is not None and item.track not in tracks else moved(run, item, by)

    return each(run, change)


def jump_anywhere(run: Run, at: float, by: float) -> Run:
    """The same in mid-GOP: whatever is sent from `at` on has the new times."""

    def change(item: Item) -> Item:
        if item.arrived < at:
            return item
        if isinstance(item, Sent):
            item = replace(item, era=item.era + 1)
        return moved(run, item, by)

    return each(run, change)


def restart(run: Run, at: float) -> Run:
    """The source's clock begins again at 0 on all tracks."""
    begin = key_after(run, at)
    is_after = after(run, at)

    def change(item: Item) -> Item:
        if not is_after(item):
            return item
        rate = clock_rate(run, item)
        fresh = round((item.instant - begin) * rate)
        if isinstance(item, Report):
            return replace(item, timestamp=fresh)
        dts = item.dts
        if dts != NO_TIME:
            dts += fresh - item.timestamp
        return replace(item, timestamp=fresh, dts=dts, era=item.era + 1)

    return each(run, change)


def gap(run: Run, begin: float, end: float, tracks: Iterable[int]) -> Run:
    """Nothing comes of these tracks in between."""
    gone = frozenset(tracks)

    def change(item: Item) -> Item | None:
        return None if item.track in gone and begin <= item.instant < end else item

    return each(run, change)


def until_key(run: Run, begin: float) -> Run:
    """From `begin` on pictures are missing up to the next key frame, as after a loss."""
    is_after = after(run, begin)

    def change(item: Item) -> Item | None:
        if not item_is_picture(item) or item.instant < begin or is_after(item):
            return item
        return None

    return each(run, change)


def item_is_picture(item: Item) -> bool:
    """Whether it is a unit of video."""
    return isinstance(item, Sent) and item.is_video


def late(run: Run, track: int, by: float) -> Run:
    """Whatever comes of one track comes so much later."""
    return each(
        run, lambda item: replace(item, arrived=item.arrived + by) if item.track == track else item
    )


def stall(run: Run, at: float, seconds: float) -> Run:
    """The network stands still; what waited then comes within BURST, nothing is lost."""
    end = at + seconds
    last = 0.0
    items = []
    for item in run.items:
        arrived = item.arrived
        if at <= arrived < end:
            arrived = end + (arrived - at) / seconds * BURST
        last = max(last, arrived)  # nothing overtakes
        items.append(replace(item, arrived=last))
    return replace(run, items=items)


def jittered(run: Run, most: float) -> Run:
    """Each unit is under way for up to so many seconds more; tracks overtake each other."""
    last: dict[int, float] = {}
    items = []
    for item in run.items:
        salt = item.number if isinstance(item, Sent) else 0
        arrived = item.arrived + most * (salt * 2_654_435_761 % 1000) / 1000
        last[item.track] = max(last.get(item.track, 0.0), arrived)
        items.append(replace(item, arrived=last[item.track]))
    return in_order(replace(run, items=items))


def lossy(run: Run, every: int) -> Run:
    """Every so manieth unit is lost on the way, but for key frames."""

    def change(item: Item) -> Item | None:
        is_lost = isinstance(item, Sent) and not (item.is_video and item.is_key)
        is_lost = is_lost and isinstance(item, Sent) and item.number % every == every - 1
        return None if is_lost else item

    return each(run, change)


def drift(run: Run, ppm: float, tracks: Sequence[int] | None = None) -> Run:
    """The source's clock runs too fast."""

    def change(item: Item) -> Item:
        if tracks is not None and item.track not in tracks:
            return item
        return moved(run, item, (item.instant - run.begins) * ppm / 1_000_000)

    return each(run, change)


def equal(run: Run, track: int, every: int) -> Run:
    """Every so manieth unit has the timestamp of the one before; the truth is what it says."""
    last: Sent | None = None

    def change(item: Item) -> Item:
        nonlocal last
        if isinstance(item, Report) or item.track != track:
            return item
        if last is not None and item.number % every == every - 1:
            item = replace(item, timestamp=last.timestamp, dts=last.dts, instant=last.instant)
        last = item
        return item

    return each(run, change)


def thinned(run: Run, pattern: Sequence[int]) -> Run:
    """Of the pictures between key frames only those stay whose place in the pattern is 1."""

    def change(item: Item) -> Item | None:
        if not isinstance(item, Sent) or not item.is_video or item.is_key:
            return item
        return item if pattern[item.number % len(pattern)] else None

    return each(run, change)


def keyless(run: Run, begin: float, end: float) -> Run:
    """No picture in between is one to start with: its slices are called those of an inter one."""

    def change(item: Item) -> Item:
        if not isinstance(item, Sent) or not item.is_key or not item.is_video:
            return item
        if not begin <= item.instant < end:
            return item
        plain = tuple(b"\x41" + nal[1:] if nal[0] & 31 == 5 else nal for nal in item.payload)
        return replace(item, payload=plain, is_key=False)

    return each(run, change)


def with_sets(run: Run, at: float, sets: tuple[bytes, ...], *, in_key: bool) -> Run:
    """Parameter sets in the first key frame after `at`, or in the picture behind it."""
    begin = key_after(run, at)
    pictures = [i for i in run.items if isinstance(i, Sent) and i.is_video]
    place = next(n for n, i in enumerate(pictures) if i.is_key and i.instant >= begin)
    target = pictures[place if in_key else place + 1]
    return each(run, lambda item: _prefixed(item, sets) if item is target else item)


def _prefixed(item: Item, sets: tuple[bytes, ...]) -> Item:
    assert isinstance(item, Sent)
    return replace(item, payload=(*sets, *item.payload))


def reports_off(run: Run, at: float, by: float, tracks: Sequence[int] | None = None) -> Run:
    """The wall clock that reports tell steps."""

    def change(item: Item) -> Item:
        is_other = tracks is not None and item.track not in tracks
        if isinstance(item, Sent) or is_other or item.instant < at:
            return item
        return replace(item, ntp=item.ntp + by)

    return each(run, change)


def swollen(run: Run, size: int, every: int) -> Run:
    """Every so manieth key frame is as large as this."""
    count = 0

    def change(item: Item) -> Item:
        nonlocal count
        if not isinstance(item, Sent) or not item.is_video or not item.is_key:
            return item
        count += 1
        if count % every:
            return item
        large = item.payload[-1] + b"\xab" * size
        return replace(item, payload=marked((*item.payload[:-1], large), item.number))

    return each(run, change)
