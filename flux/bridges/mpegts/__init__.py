"""MPEG-TS and frames: what every protocol that carries transport streams shares."""

from flux.bridges.mpegts.receiver import TsReceiver

__all__ = ("TsReceiver",)
