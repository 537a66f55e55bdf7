"""HLS in the configuration: what a stream says stands in place of what holds for all."""

import pytest
from pydantic import ValidationError

from config.hls import HlsSection, HlsStreamSection
from config.schema import StreamSection
from config.sources.file import load_bytes
from flux.app.options import hls_options


def test_what_a_stream_says_goes_first() -> None:
    text = b"""
hls: {low_latency: true, segment_count: 9, window_size: 64M}
streams:
  live/*: {hls: {window: 2m, low_latency: false, segment_duration: 2s}}
  other: {}
"""
    config = load_bytes(text, "flux.yaml")
    own = hls_options(config, config.streams["live/*"]).segmenter
    assert (own.window_duration, own.segment_duration, own.part_duration) == (120.0, 2.0, 0.0)
    assert (own.window_segments, own.window_bytes) == (9, 64 << 20)
    common = hls_options(config, config.streams["other"])
    assert common == hls_options(config) == hls_options(config, None)
    assert (common.segmenter.window_duration, common.segmenter.part_duration) == (0.0, 0.2)
    assert not common.shared
    assert not common.always


def test_every_key_of_a_stream_is_one_of_all() -> None:
    common, own = HlsSection.model_fields, HlsStreamSection.model_fields
    assert set(own) < set(common)
    assert all(getattr(HlsStreamSection(), key) is None for key in own)
    assert HlsStreamSection().over(HlsSection()) == HlsSection()
    assert HlsStreamSection(shared=True, mode="always").over(HlsSection()) == HlsSection(
        shared=True, mode="always"
    )


@pytest.mark.parametrize(
    "hls", [{"segment_count": 2}, {"window": "8d"}, {"window_size": "1K"}, {"close_after": "1s"}]
)
def test_what_cannot_be(hls: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        StreamSection.model_validate({"hls": hls})
