"""Fragmented MP4 as an endless body: an initialization section, then one fragment a frame.

A fragment needs to know how long its sample lasts, so it is written when the next frame of its
track comes: one frame later than in other formats. An initialization section cannot be followed by
another one within a file, so the body ends where parameters change, and readers begin anew.
"""

from collections.abc import Sequence
from dataclasses import replace

from media.fmp4.muxer import FragmentMuxer
from media.fmp4.sample_entries import carries_track as has_sample_entry
from media.frame import Frame
from media.parameters import Parameters
from media.track import Kind, Track

NAME = "fmp4"
REST = 0.5  # seconds without a frame of its track, after which a frame is written anyway


def carries_track(track: Track) -> bool:
    """Whether there is a place for this track; one must know its parameters from the start."""
    return has_sample_entry(track) and track.parameters is not None


class Fmp4Format:
    """Frames in, fragments out; implements `media.format.Format` and `Delaying`."""

    name = NAME

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._muxer = FragmentMuxer(tracks)
        self._parameters: dict[Track, Parameters | None] = {
            track: track.parameters for track in tracks
        }
        self._seen: set[Track] = set()  # tracks of which there was a frame
        self._waiting: dict[Track, Frame] = {}  # the newest frame of each track
        self._is_exhausted = False

    @property
    def is_exhausted(self) -> bool:
        """The parameters of a track are no longer those of the initialization section."""
        return self._is_exhausted

    def header(self) -> bytes:
        """`ftyp` and `moov`."""
        return self._muxer.initialization()

    def resume(self) -> bytes:
        """Nothing: fragments say when they are."""
        return b""

    def encode(self, frame: Frame) -> bytes:
        """The fragments that this frame releases."""
        return b"".join([data for _, data in self.release(frame)])

    def release(self, frame: Frame) -> list[tuple[Frame, bytes]]:
        """The frame before this one of its track, and those of others that wait for too long."""
        if self._is_exhausted or not frame.payload:
            return []
        track = frame.track
        # Sets that change within a group of pictures are in band until the next key frame, where
        # those who begin anew find a start.
        if frame.key and frame.parameters is not self._parameters[track]:
            if _is_same(frame.parameters, self._parameters[track]) or track not in self._seen:
                self._muxer.set_parameters(track, frame.parameters)
            else:
                self._is_exhausted = True
                return self._take_all()
            self._parameters[track] = frame.parameters
        self._seen.add(track)
        before = self._waiting.get(track)
        self._waiting[track] = frame
        released = self._take_rested(frame)
        if before is not None:
            # A track that rested has a hole there, and no picture that stands for seconds.
            is_video = track.kind is Kind.VIDEO
            is_next = is_video or frame.dts - before.dts < REST * track.clock_rate
            data = self._muxer.single(before, frame.dts if is_next else None)
            released.append((before, data))
        return released

    def trailer(self) -> bytes:
        """The last frame of each track."""
        return b"".join([data for _, data in self._take_all()])

    def _take_all(self) -> list[tuple[Frame, bytes]]:
        waiting, self._waiting = self._waiting, {}
        return [(frame, self._muxer.single(frame, None)) for frame in waiting.values()]

    def _take_rested(self, frame: Frame) -> list[tuple[Frame, bytes]]:
        """Frames of other tracks that have waited for their successors for too long.

        A track that is always late by as much has its successors under way.
        """
        now = frame.dts / frame.track.clock_rate
        found = []
        for track, each in tuple(self._waiting.items()):
            is_old = now - each.dts / track.clock_rate > REST
            if is_old and track is not frame.track and frame.arrived - each.arrived > REST:
                del self._waiting[track]
                found.append((each, self._muxer.single(each, None)))
        return found


def _is_same(one: Parameters | None, other: Parameters | None) -> bool:
    """Whether the same initialization section holds for both."""
    if one is None or other is None:
        return one is other
    return replace(one, version=0) == replace(other, version=0)
