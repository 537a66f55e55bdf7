"""Who reads a stream, and what kept them from getting its media."""

from collections import Counter
from collections.abc import Callable, Collection

from media.causes import Cause, cause_of_end
from media.events import ReaderSkipped
from media.interruptions import Interruptions
from media.output import Reader
from media.track import Kind
from media.track_input import TrackInput


class Readers(dict[str, Reader]):
    """The readers of one stream by session id. All of them enter and leave here."""

    def __init__(self, stream: str, drops: Counter[str], emit: Callable[[object], None]) -> None:
        super().__init__()
        self.interruptions = Interruptions(drops)
        self._stream = stream
        self._drops = drops
        self._emit = emit

    def enter(self, reader: Reader) -> None:
        """A reader is there."""
        self[reader.id] = reader
        self.interruptions.enter(reader.id)

    def leave(self, session: str, reason: str = "") -> None:
        """A reader is gone for this reason."""
        self.refused(reason, session)
        self.pop(session, None)
        self.interruptions.leave(session)

    def refused(self, reason: str, session: str = "") -> None:
        """A reader was not let in, or is no longer."""
        cause = cause_of_end(reason)
        if cause is not None:
            self.interruptions.note(session, cause)

    def lost(self, session: str) -> None:
        """Something was lost on the way to a reader, or the system took nothing for it."""
        self.interruptions.note(session, Cause.NETWORK)

    def look(self, now: float, inputs: Collection[TrackInput], *, is_lost: bool) -> None:
        """A few times a second while there is media: see `Interruptions.look`.

        The picture leads, for sound may pause; where there is none, the sound does.
        """
        has_video = any(each.track.kind is Kind.VIDEO for each in inputs)
        lead = Kind.VIDEO if has_video else Kind.AUDIO
        heard = sum(each.frames for each in inputs if each.track.kind is lead)
        self.interruptions.look(now, heard, is_lost=is_lost, readers=len(self))

    def skipped(self, protocol: str, session: str, lag: float, missed: int) -> None:
        """A reader was so many seconds behind, and so many chunks or packets were left out."""
        self._drops["reader-skipped"] += missed
        cause = self.interruptions.blame(lag)
        self.interruptions.note(session, cause, lag, missed)
        self._emit(ReaderSkipped(self._stream, protocol, session, lag, missed, cause))
