"""The rule that keeps HTTP-FLV close to the live edge, on a made-up media element and clock."""

from typing import Any

import pytest
from playwright.async_api import Browser

from tests.support.browser import DESKTOP, PlayerRig, tab

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(60),
    pytest.mark.asyncio(loop_scope="package"),
]

# A viewer whose buffer grows by what `arrived(now)` says, looked at ten times a second.
SIMULATE = """
async ({ module, seconds, holes, delay }) => {
  const { LiveEdge } = await import(module);
  const media = {
    currentTime: 0, playbackRate: 1, paused: false, seeking: false, end: 0,
    get buffered() {
      const { end } = this;
      return { length: end > 0 ? 1 : 0, start: () => 0, end: () => end };
    },
  };
  const edge = new LiveEdge(media, 0.25);
  const result = { stalls: 0, rates: [], latency: [], target: [] };
  let isDry = false;
  for (let step = 0; step <= seconds * 50; step += 1) {
    const now = step / 50;
    const hole = holes.find(([from, to]) => from <= now && now < to);
    media.end = Math.max(media.end, 2 + (hole ? hole[0] : now) - delay);
    const next = media.currentTime + media.playbackRate / 50;
    if (edge.started && next > media.end) {
      if (!isDry) {
        edge.stalled(now);
        result.stalls += 1;
      }
      isDry = true;
    } else if (edge.started && !(isDry && media.end - next < 0.1)) {
      isDry = false;
      media.currentTime = next;
    }
    if (step % 5 === 0) edge.step(now);
    if (step % 50 === 0) {
      result.rates.push(media.playbackRate);
      result.latency.push(2 + now - delay - media.currentTime);
      result.target.push(edge.target);
    }
  }
  return result;
}
"""


# Media with a hole from 5.0 to 5.1 s, and a browser that stands before it, or that crosses it with
# its sound alone; twenty looks, each a tenth of a second after the last.
CROSS = """
async ({ module, crosses, isLed }) => {
  const { LiveEdge } = await import(module);
  let time = 4.6, isSought = false, pictures = 100;
  const seeks = [];
  const media = {
    playbackRate: 1, paused: false, seeking: false, end: 5.3, readyState: 4,
    get currentTime() { return time; },
    set currentTime(value) { seeks.push(value); time = value; isSought = true; },
    get buffered() {
      const ranges = [[0, 5], [5.1, this.end]];
      return { length: 2, start: (at) => ranges[at][0], end: (at) => ranges[at][1] };
    },
    getVideoPlaybackQuality: () => ({ totalVideoFrames: Math.round(pictures) }),
  };
  const edge = new LiveEdge(media, 0.25);
  edge.step(0);
  [time, isSought] = [4.6, false];
  seeks.length = 0;
  for (let step = 1; step <= 20; step += 1) {
    media.end += 0.1;
    media.readyState = !crosses && time + 0.1 > 5 && time < 5.1 ? 2 : 4;
    if (media.readyState > 2) time += 0.1;
    if (time < 5 || isSought || !isLed) pictures += 2.5;
    edge.step(step / 10);
  }
  return { seeks, time };
}
"""


@pytest.mark.parametrize("crosses", [False, True])
@pytest.mark.parametrize("is_led", [False, True])
async def test_a_picture_is_led_over_a_hole_in_its_buffer(
    browser: Browser, rig: PlayerRig, crosses: bool, is_led: bool
) -> None:
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(rig.url("nothing"))
        module = rig.url(f"_/{rig.player.assets.digest}/edge.js")
        settings = {"module": module, "crosses": crosses, "isLed": is_led}
        result: dict[str, Any] = await page.page.evaluate(CROSS, settings)
    if crosses and not is_led:  # a browser that shows pictures behind it is let alone
        assert result["seeks"] == []
    else:
        assert len(result["seeks"]) == 1
        assert 5.1 <= result["seeks"][0] < 5.5
    assert result["time"] > 6


async def simulate(
    browser: Browser, rig: PlayerRig, seconds: float, holes: list[list[float]]
) -> dict[str, Any]:
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(rig.url("nothing"))
        module = rig.url(f"_/{rig.player.assets.digest}/edge.js")
        settings = {"module": module, "seconds": seconds, "holes": holes, "delay": 0.0}
        result: dict[str, Any] = await page.page.evaluate(SIMULATE, settings)
        return result


async def test_it_begins_at_the_edge_and_stays_there(browser: Browser, rig: PlayerRig) -> None:
    result = await simulate(browser, rig, 60, [])
    assert result["stalls"] == 0
    assert set(result["rates"]) == {1}
    assert all(0.2 < latency < 0.3 for latency in result["latency"][1:])


async def test_a_short_hole_is_caught_up_slowly(browser: Browser, rig: PlayerRig) -> None:
    result = await simulate(browser, rig, 40, [[10, 11]])
    assert result["stalls"] == 1
    assert max(result["rates"]) == 1.06
    assert result["latency"][11] > 0.8
    assert result["latency"][39] < 0.6
    assert max(result["target"]) == pytest.approx(0.375)


async def test_the_stalls_of_one_outage_count_once(browser: Browser, rig: PlayerRig) -> None:
    """A line too thin for the stream brings a little now and then."""
    result = await simulate(browser, rig, 30, [[t, t + 0.8] for t in (10, 11, 12, 13, 14)])
    assert result["stalls"] >= 3
    assert max(result["target"]) == pytest.approx(0.375)
    assert result["latency"][29] < 0.6


async def test_a_long_hole_is_jumped_over(browser: Browser, rig: PlayerRig) -> None:
    result = await simulate(browser, rig, 20, [[5, 10]])
    assert result["latency"][9] > 4
    assert result["latency"][11] < 0.6


async def test_a_network_with_holes_gets_a_larger_target_until_it_is_calm(
    browser: Browser, rig: PlayerRig
) -> None:
    result = await simulate(browser, rig, 300, [[t, t + 0.7] for t in range(10, 60, 5)])
    assert 0.5 < max(result["target"]) <= 3
    assert result["stalls"] < 6
    assert result["target"][-1] == pytest.approx(0.25, abs=0.1)
