"""FLUX, a live-media server."""

__version__ = "0.1.0"
