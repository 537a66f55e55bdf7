"""The composition root: what exists, how it is wired, in which order it starts and stops."""

from flux.app.server import Server, serve

__all__ = ("Server", "serve")
