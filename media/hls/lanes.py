"""Which tracks go into which playlist.

Pictures, and sound where there is one track of it, share their segments. Where there are several
tracks of sound from the start, each has a lane of its own, and pictures are alone in the first.
How it was at the start it stays, for players keep the multivariant playlist that they have: a track
of sound that comes later gets a lane more, and one that goes leaves a lane without anything.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from media.hls.alternates import offered
from media.hls.container import Container
from media.hls.lane import Lane
from media.hls.options import HlsOptions
from media.hls.parts import Part
from media.hls.segment import Initialization, Segment
from media.hls.track_state import TrackState
from media.hls.window import window_of
from media.track import Kind, Track

MEDIA_PLAYLIST_NAME = "media.m3u8"
AUDIO_NAME = "audio"  # and a number: playlists of tracks of sound


class Lanes:
    """All lanes of one segmenter; the first is the one that variants name."""

    def __init__(
        self,
        options: HlsOptions,
        prefix: str,
        make_container: Callable[[Sequence[Track]], Container],
        first: tuple[int, int],
        uri: str = "",
    ) -> None:
        """`first`: media and discontinuity sequence; `uri`: of the only playlist there may be."""
        self._options = options
        self._prefix = prefix
        self._make_container = make_container
        self._uri = uri
        self._has_sound_apart: bool | None = None  # the first lane has pictures alone
        self.all: list[Lane] = []
        self._add(*first)

    def __iter__(self) -> Iterator[Lane]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    @property
    def main(self) -> Lane:
        """The first one."""
        return self.all[0]

    @property
    def playlist_names(self) -> tuple[str, ...]:
        """The media playlists, in the order of their lanes."""
        return tuple(lane.playlist_name for lane in self.all)

    @property
    def size_bytes(self) -> int:
        """Bytes of all media that can be fetched."""
        return sum(lane.size_bytes for lane in self.all)

    def announces(self, name: str) -> bool:
        """Whether the next part of some playlist will have this name."""
        return any(lane.parts is not None and lane.parts.next_name == name for lane in self.all)

    def carries(self, track: Track) -> bool:
        """Whether there is a place for this track in these segments."""
        return track.kind is not Kind.DATA and self.main.container.carries(track)

    def assign(self, tracks: Sequence[Track]) -> dict[Track, TrackState]:
        """Give tracks their lanes; answers those that have one, the leading track first."""
        pictures = [t for t in tracks if t.kind is Kind.VIDEO and self.carries(t)][:1]
        sounds = offered([t for t in tracks if t.kind is Kind.AUDIO and self.carries(t)])
        if self._uri:
            sounds = sounds[:1]
        if self._has_sound_apart is None:
            self._has_sound_apart = bool(pictures) and len(sounds) > 1
        count = 0 if self._has_sound_apart else 1
        chosen = [(*pictures, *sounds[:count]), *((track,) for track in sounds[count:])]
        while len(self.all) < len(chosen):
            window = self.main.window
            self._add(window.next_sequence, window.next_discontinuity)
        lead = next(chain(pictures, sounds), None)
        states: dict[Track, TrackState] = {}
        for number, lane in enumerate(self.all):
            lane.set_tracks(chosen[number] if number < len(chosen) else ())
            for track in lane.tracks:
                states[track] = TrackState(track, lead, lane)
        return states

    def segment(self, name: str) -> Segment | Initialization | None:
        """What has this name in playlists, also for a while after it left them."""
        for lane in self.all:
            found = lane.segment(name)
            if found is not None:
                return found
        return None

    def part(self, name: str) -> Part | None:
        """The part of this name, while it is kept."""
        for lane in self.all:
            found = lane.parts.find(name) if lane.parts is not None else None
            if found is not None:
                return found
        return None

    def _add(self, first_sequence: int, first_discontinuity: int) -> None:
        number = len(self.all)
        self.all.append(
            Lane(
                f"{AUDIO_NAME}{number}.m3u8" if number else self._uri or MEDIA_PLAYLIST_NAME,
                f"{self._prefix}_{number}" if number else self._prefix,
                self._make_container(()),
                window_of(self._options, first_sequence, first_discontinuity),
                has_parts=self._options.part_duration > 0,
                is_main=not number,
            )
        )
