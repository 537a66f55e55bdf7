"""Parameter trackers of video without parameter sets (VP8, VP9, MJPEG) and of AV1.

A key frame of VP8, VP9 or MJPEG says itself what a decoder needs, so payloads stay as they are; a
key frame of another size or format makes a new version of the parameters.

AV1 has one parameter set, the sequence header. It is taken out and kept, as the sets of H.264 are:
outputs put it where their format wants it. One that changes in a unit that is no key frame also
stays in band there.
"""

from collections.abc import Callable
from dataclasses import replace

from flux.base.errors import WireError
from media.codecs.av1 import Av1Parameters
from media.codecs.inspection import Inspected
from media.codecs.obu import (
    PADDING,
    SEQUENCE_HEADER,
    TEMPORAL_DELIMITER,
    is_key_unit,
    obu_type,
    without_size,
)
from media.parameters import Parameters

# The parameters of a key frame, None of another frame; the second argument is their version.
KeyFrameReader = Callable[[bytes, int], Parameters | None]


class KeyFrameTracker:
    """Tracks codecs whose payload is one frame that speaks for itself."""

    __slots__ = ("_read", "broken", "parameters")

    def __init__(self, parameters: Parameters | None, read: KeyFrameReader) -> None:
        self.parameters = parameters
        self.broken = 0
        self._read = read

    def inspect(self, payload: tuple[bytes, ...]) -> Inspected:
        """The payload as it is; what its key frame says is kept."""
        old = self.parameters
        try:
            found = self._read(payload[0] if payload else b"", old.version if old else 0)
        except WireError:
            self.broken += 1
            return Inspected(payload, False, False)
        if found is None or found == old:
            return Inspected(payload, found is not None, False)
        self.parameters = replace(found, version=old.version + 1) if old else found
        return Inspected(payload, True, True)


TAKEN_OUT = frozenset((SEQUENCE_HEADER, TEMPORAL_DELIMITER, PADDING))


class Av1Tracker:
    """Tracks the sequence header of AV1."""

    __slots__ = ("_pending", "broken", "parameters")

    parameters: Parameters | None

    def __init__(self, parameters: Parameters | None) -> None:
        self.parameters = parameters
        self.broken = 0
        self._pending = b""  # a changed sequence header, no frame seen since

    def inspect(self, payload: tuple[bytes, ...]) -> Inspected:
        """Take sequence headers, temporal delimiters and padding out; key: a shown KEY_FRAME."""
        changed = False
        for obu in payload:
            if not obu or obu_type(obu) in TAKEN_OUT:
                changed = self._keep(payload)
                payload = tuple(o for o in payload if o and obu_type(o) not in TAKEN_OUT)
                break
        parameters = self.parameters
        is_reduced = isinstance(parameters, Av1Parameters) and parameters.sequence.is_reduced
        key = is_key_unit(payload, is_reduced)
        if self._pending and payload:
            if not key:
                payload = (self._pending, *payload)
            self._pending = b""
        return Inspected(payload, key, changed)

    def _keep(self, payload: tuple[bytes, ...]) -> bool:
        """Keep a sequence header; tell whether it is a new one."""
        changed = False
        before = self.parameters
        version = before.version + 1 if before is not None else 0  # one for the unit
        for obu in payload:
            if not obu or obu_type(obu) != SEQUENCE_HEADER:
                continue
            old = self.parameters
            try:
                obu = without_size(obu)
                if isinstance(old, Av1Parameters) and old.obu == obu:
                    continue
                self.parameters = Av1Parameters.build(obu, version)
            except WireError:
                self.broken += 1
                continue
            self._pending = obu
            changed = True
        return changed
