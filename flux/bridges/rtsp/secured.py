"""SRTP of one receiver: what everybody gets, protected with its own keys (RFC 3711)."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from flux.base.units import ntp_from_unix
from flux.bridges.rtp.packer import split_frames
from flux.bridges.rtp.secure import SecureTrack
from flux.net.udp_send import Run, make_runs

MAX_FRAME_BYTES = 0xFFFF  # RFC 2326 section 10.12


def ntp_now() -> int:
    """The wall clock, as keys are stamped with it."""
    return ntp_from_unix(time.time())


def secured_frames(
    tracks: Mapping[int, SecureTrack], channels: Mapping[int, int], data: bytes
) -> bytes:
    """Joined frames of a packer, protected, with these channels; each comes here once, in order.

    Both by track index; tracks without a channel are left out.
    """
    pieces: list[bytes] = []
    for index, packets in split_frames(data):
        channel = channels.get(index)
        if channel is None:
            continue
        head = b"$" + channel.to_bytes(1, "big")
        for run in make_runs(index, packets):
            for secured in secured_runs(tracks[index], run):
                for datagram in secured.datagrams():
                    # A payload of an unknown format is as long as it is: without a tag it may have
                    # fitted.
                    if len(datagram) <= MAX_FRAME_BYTES:
                        pieces += (head, len(datagram).to_bytes(2, "big"), datagram)
    return b"".join(pieces)


class SecuredFrames:
    """The same with the channels and the keys of one receiver, as a feed's variant."""

    def __init__(self, tracks: Mapping[int, SecureTrack], channels: Mapping[int, int]) -> None:
        self._tracks = tracks
        self._channels = channels

    def __call__(self, data: bytes) -> bytes:
        """Protect the joined frames of a packer."""
        return secured_frames(self._tracks, self._channels, data)


def secured_runs(track: SecureTrack, run: Run) -> list[Run]:
    """One run, protected: mostly one again."""
    found = track.sender.protect_run(run.data, run.segment)
    return [Run(run.track, data, segment, -(-len(data) // segment)) for data, segment in found]


def open_reports(
    tracks: Sequence[SecureTrack], packets: Sequence[bytes], drops: Counter[str]
) -> list[bytes]:
    """Open SRTCP that is of one of these tracks; what none can open is counted."""
    opened: list[bytes] = []
    for packet in packets:
        reason = "srtp-no-key"
        for track in tracks:
            receiver = track.receiver
            if receiver is None:
                continue
            plain = receiver.unprotect_rtcp((packet,))
            if plain:
                opened += plain
                break
            reason = next(iter(receiver.drops), reason)
            receiver.drops.clear()
        else:
            drops[reason] += 1
    return opened
