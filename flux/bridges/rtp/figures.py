"""What came in over RTP, counted over the runs of a source."""

from dataclasses import dataclass

from flux.bridges.rtp.receiver import RtpSessionReceiver


@dataclass(slots=True)
class RtpFigures:
    """All tracks together, since the source was made."""

    packets: int = 0
    lost: int = 0
    duplicates: int = 0
    reordered: int = 0
    jitter: float = 0.0  # seconds, of the worst track of the run that is open

    def add(self, receiver: RtpSessionReceiver) -> None:
        """Add what the tracks of one run received."""
        for track in receiver.tracks:
            reception = track.reception
            self.packets += reception.packets
            self.lost += reception.lost
            self.duplicates += reception.duplicates
            self.reordered += reception.reordered
            self.jitter = max(self.jitter, reception.jitter)
