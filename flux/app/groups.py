"""The groups that the configuration declares."""

import time
from collections.abc import Callable

from config.schema import Config, StreamSection
from flux.app.options import hls_options, stream_options
from flux.bridges.hls.bridge import HlsBridge
from flux.bridges.hls.group import Group, GroupSettings
from media.router import Router

GROUP = "group"  # kind of such a source


def declare_groups(
    config: Config, router: Router, hls: HlsBridge, make_token: Callable[[], str]
) -> None:
    """Make each group a stream of the router, served by HLS."""
    for name, section in config.groups.items():
        is_always = hls_options(config, group_settings(config, name)).always
        router.declare(
            name,
            stream_options(config, StreamSection()),
            kind=GROUP,
            url=", ".join(section.streams),
            on_demand=not is_always,
            start_timeout=config.sources.start_timeout,
            close_after=config.sources.close_after,
            members=section.streams,
        )
        settings = GroupSettings(section.streams, keeps_order=section.order == "configured")
        group = Group(name, settings, router, make_token, time.monotonic)
        router.set_source(name, group)
        hls.add_group(group)


def group_settings(config: Config, name: str) -> StreamSection | None:
    """A group's settings of HLS in the place where a stream has them; None: it is no group."""
    section = config.groups.get(name)
    return StreamSection(hls=section.hls) if section is not None else None
