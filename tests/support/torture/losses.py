"""Sources of which much is missing, at random: a seed says what."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.support.torture import twists
from tests.support.torture.camera import Item, Lens, Run, Sent, film, picture, sound

MODES = ("units", "keys", "boundaries", "sound", "both", "all")
NEAR = 0.3  # seconds around a key frame that are a boundary of segments
OUTPUTS = ("hls-ts", "hls-fmp4", "ll-hls")


@dataclass(frozen=True, slots=True)
class Lossy:
    """A run with holes, and what kind of them."""

    run: Run
    mode: str
    text: str  # for people
    has_all_keys: bool  # no key frame is missing


def lossy(path: Path, seed: int, seconds: float = 10.0) -> Lossy:
    """A clip with sound, or now and then without, spoilt."""
    random = Random(seed)
    has_dts, is_silent = random.random() < 0.5, random.random() < 0.25
    lenses = (Lens(picture(path), 1000.0, has_dts), Lens(sound(), 1000.0, has_dts))
    run = film(lenses[:1] if is_silent else lenses, seconds)
    mode = random.choice(MODES)
    share, burst = random.choice((0.01, 0.03, 0.1, 0.3)), random.choice((1, 1, 3, 10, 40))
    if mode == "all":
        for each in MODES[:-1]:
            run = _spoilt(run, each, random, share / 3, burst)
    else:
        run = _spoilt(run, mode, random, share, burst)
    text = f"{path.stem} seed {seed}: {mode}, {share} in bursts of {burst}, DTS {has_dts}"
    return Lossy(run, mode, text, has_all_keys=mode in ("sound",))


def _spoilt(run: Run, mode: str, random: Random, share: float, burst: int) -> Run:
    match mode:
        case "units":
            return twists.each(run, _bursts(random, share, burst))
        case "keys":
            return twists.each(run, _keys(random, share))
        case "boundaries":
            return _boundaries(run, random, burst)
        case _:
            tracks = (1,) if mode == "sound" else (0, 1)
            begin = random.uniform(0.5, 6.0)
            return twists.gap(run, begin, begin + random.uniform(0.2, 5.0), tracks)


def _bursts(random: Random, share: float, burst: int) -> Callable[[Item], Item | None]:
    """Units are lost with this probability, and up to so many of their track behind them."""
    gone: dict[int, int] = {}

    def change(item: Item) -> Item | None:
        if not isinstance(item, Sent):
            return item
        if gone.get(item.track, 0):
            gone[item.track] -= 1
            return None
        if random.random() < share:
            gone[item.track] = random.randrange(burst)
            return None
        return item

    return change


def _keys(random: Random, share: float) -> Callable[[Item], Item | None]:
    def change(item: Item) -> Item | None:
        is_key = isinstance(item, Sent) and item.is_video and item.is_key
        return None if is_key and random.random() < 3 * share else item

    return change


def _boundaries(run: Run, random: Random, burst: int) -> Run:
    """Of all tracks some units near key frames."""
    keys = [i.instant for i in run.items if isinstance(i, Sent) and i.is_video and i.is_key]
    chosen = [instant for instant in keys if random.random() < 0.5]
    share = min(1.0, 0.2 + burst / 20)

    def change(item: Item) -> Item | None:
        if not isinstance(item, Sent) or (item.is_video and item.is_key):
            return item
        is_near = any(abs(item.instant - instant) < NEAR for instant in chosen)
        return None if is_near and random.random() < share else item

    return twists.each(run, change)
