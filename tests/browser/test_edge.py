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
