"""Hooks: programs and services that hear of what happens to streams, and one that is asked."""

from flux.core.hooks.part import Hooks

__all__ = ("Hooks",)
