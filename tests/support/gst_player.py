#!/usr/bin/python3
"""GStreamer's `rtspsrc` as a player that links each track by hand.

    /usr/bin/python3 gst_player.py "rtspsrc location=... protocols=tcp" video="..." audio="..."

Each further argument is what one kind of track goes through; the program ends after the last of
them has ended. `gst-launch-1.0` now and then loses a track when two appear at the same time: both
take the same link that waits for them. It runs under Debian's own Python and uses nothing of FLUX.
"""

import sys
from typing import Any

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402


def main() -> None:
    """Play until the end."""
    Gst.init(None)
    source = Gst.parse_launch(sys.argv[1])
    chains = dict(text.split("=", 1) for text in sys.argv[2:])
    pipeline = Gst.Pipeline()
    pipeline.add(source)
    bins = {}
    for kind, chain in chains.items():
        bins[kind] = Gst.parse_bin_from_description(chain, True)
        pipeline.add(bins[kind])

    def added(_source: Any, pad: Any) -> None:
        caps = pad.get_current_caps() or pad.query_caps()
        kind = caps.get_structure(0).get_string("media")
        sink = bins[kind].get_static_pad("sink") if kind in bins else None
        if sink is not None and not sink.is_linked():
            pad.link(sink)

    source.connect("pad-added", added)
    pipeline.set_state(Gst.State.PLAYING)
    wanted = Gst.MessageType.EOS | Gst.MessageType.ERROR
    message = pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, wanted)
    if message.type == Gst.MessageType.ERROR:
        print(f"ERROR: {message.parse_error().gerror.message}", flush=True)
    pipeline.set_state(Gst.State.NULL)


if __name__ == "__main__":
    main()
