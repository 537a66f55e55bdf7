"""The Real-time Transport Protocol, RFC 3550."""

from protocols.rtp.packet import Extension, RtpPacket
from protocols.rtp.receiver import RtpReceiver
from protocols.rtp.reception import Reception, ReceptionState

__all__ = ("RtpPacket", "Extension", "RtpReceiver", "Reception", "ReceptionState")
