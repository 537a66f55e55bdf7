"""Several cameras' streams joined to a group, in virtual time."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import av

from flux.base.units import NTP_SECOND
from media.frame import Frame
from media.hls.container import MPEGTS
from media.hls.grid import plan
from media.hls.group import GroupMember, GroupOptions, SegmentGroup, shares_audio
from media.hls.options import HlsOptions
from media.hls.segment import Initialization, Segment
from media.parameters import Parameters
from media.track import Kind, Track
from tests.support import clips
from tests.support.conform.hls_group import CLOCK_ROOM, Instant, check_clock, check_group
from tests.support.conform.hls_media import read_media
from tests.support.conform.hls_rules import RULES
from tests.support.conform.problem import Findings

EPOCH = 1_763_712_000  # Unix seconds of virtual time 0
UNIX_OFFSET = 2_208_988_800
AUDIO_STEP = 1024


def parameters_of(kind: Kind) -> Parameters:
    """Real ones, of a clip."""
    clip = clips.read(clips.BUNNY)
    found = next(frame.parameters for frame in clip if frame.track.kind is kind)
    assert found is not None
    return found


@dataclass
class Feed:
    """One camera stream; times in seconds."""

    fps: int = 25
    gop: float = 2.0
    phase: float = 0.0  # of its key frames
    clock: float = 0.0  # that its NTP is ahead
    late: float = 0.02  # from the picture to the server
    drift: float = 0.0  # that its clock runs slow, in parts
    media_start: float = 7.0  # of its own media time
    frame_bytes: int = 400
    has_audio: bool = False
    size: tuple[int, int] = (640, 360)
    video: Track = field(init=False)
    audio: Track = field(init=False)

    def __post_init__(self) -> None:
        width, height = self.size
        parameters = replace(parameters_of(Kind.VIDEO), width=width, height=height)  # type: ignore[call-arg]  # those of pictures
        self.video = Track(0, Kind.VIDEO, "h264", 90_000, parameters)
        self.audio = Track(1, Kind.AUDIO, "aac", 48_000, parameters_of(Kind.AUDIO))

    @property
    def tracks(self) -> tuple[Track, ...]:
        return (self.video, self.audio) if self.has_audio else (self.video,)

    def frames(self, begin: float, end: float, *, is_broken: bool = False) -> list[Frame]:
        """What it sends of this time."""
        found = []
        for n in range(round(begin * self.fps), round(end * self.fps)):
            at = n / self.fps
            per_gop = round(self.gop * self.fps)
            is_key = (n - round(self.phase * self.fps)) % per_gop == 0
            payload = (b"\x65\x88" if is_key else b"\x41\x9a") + bytes([7]) * self.frame_bytes
            found.append(self._frame(self.video, at, is_key, payload))
        if self.has_audio:
            step = AUDIO_STEP / self.audio.clock_rate
            found += [
                self._frame(self.audio, n * step, True, bytes([33]) * 90)
                for n in range(round(begin / step), round(end / step))
            ]
        found.sort(key=lambda frame: frame.arrived)
        for track in self.tracks if is_broken else ():
            next(frame for frame in found if frame.track is track).discontinuity = True
        return found

    def _frame(self, track: Track, at: float, is_key: bool, payload: bytes) -> Frame:
        ticks = round((self.media_start + at) * track.clock_rate)
        at *= 1 + self.drift
        ntp = round((UNIX_OFFSET + EPOCH + at + self.clock) * NTP_SECOND)
        return Frame(
            track, ticks, ticks, ntp, at + self.late, is_key, False, track.parameters,
            (payload,),
        )  # fmt: skip


@dataclass
class Viewed:
    """What came of one variant."""

    texts: list[str] = field(default_factory=list)
    segments: dict[str, bytes] = field(default_factory=dict)


class Stage:
    """A group of feeds; `run` plays them and looks at all playlists after each change."""

    def __init__(
        self,
        feeds: Sequence[Feed],
        options: HlsOptions | None = None,
        *,
        container: str = MPEGTS,
        first: tuple[int, int] = (0, 0),
        keeps_order: bool = False,
    ) -> None:
        self.feeds = list(feeds)
        self.options = options or HlsOptions()
        gops = [round(feed.gop * 90_000) for feed in feeds]
        span, target = plan(gops, self.options.segment_duration, self.options.max_gop)
        made = GroupOptions(
            self.options,
            span,
            target,
            container,
            shares_audio([feed.tracks for feed in feeds]),
            keeps_order,
        )
        self._prefixes = iter(f"p{n}" for n in range(1000))
        self.group = SegmentGroup(made, lambda: next(self._prefixes), self._changed, 0.0, first)
        self.members: dict[int, GroupMember] = {}
        self.viewed: dict[str, Viewed] = {}
        self.problems: list[str] = []
        self.now = 0.0
        self.changes = 0
        self.is_watching = True

    def join(self, rank: int, seed: Sequence[Frame] = ()) -> None:
        """A feed's stream is there."""
        feed = self.feeds[rank]
        member = self.group.join(rank, feed.tracks, round(feed.gop * 90_000), seed, self.now)
        assert member is not None
        self.members[rank] = member

    def leave(self, rank: int) -> None:
        """It ends."""
        self.group.leave(self.members.pop(rank))

    def run(self, begin: float, end: float, *, broken: Sequence[int] = ()) -> None:
        """Play all feeds that have joined, in the order of arrival."""
        events = [
            (frame.arrived, rank, frame)
            for rank, feed in enumerate(self.feeds)
            if rank in self.members
            for frame in feed.frames(begin, end, is_broken=rank in broken)
        ]
        for at, rank, frame in sorted(events, key=lambda event: event[:2]):
            self.now = at
            before = self.changes
            self.members[rank].frame(frame, at)
            if self.changes != before and self.is_watching:
                self.look()

    def _changed(self) -> None:
        self.changes += 1

    @property
    def uris(self) -> list[str]:
        """Of all renditions that can be asked for."""
        names = [f"v{rank + 1}.m3u8" for rank in range(len(self.feeds))]
        return [name for name in [*names, "sound.m3u8"] if self.group.playlist(name) is not None]

    def look(self) -> None:
        """Load everything as viewers do, and judge it."""
        playlists = {}
        for uri in self.uris:
            segmenter = self.group.playlist(uri)
            assert segmenter is not None
            if not len(segmenter.window) or not segmenter.is_ready(self.now):
                continue
            text = segmenter.media_playlist().decode()
            playlists[uri] = text
            viewed = self.viewed.setdefault(uri, Viewed())
            viewed.texts.append(text)
            for name in re.findall(r"^[^#\s].*$", text, re.M):
                found = segmenter.segment(name)
                if name not in viewed.segments and isinstance(found, Segment):
                    own = found.initialization
                    head = own.data if isinstance(own, Initialization) else b""
                    viewed.segments[name] = head + found.data
        span = max((feed.gop for feed in self.feeds), default=0.0) + 0.01
        self.problems += [str(each) for each in check_group(playlists, span)]

    def multivariant(self) -> str:
        """The group's own playlist."""
        return self.group.multivariant().render().decode()

    def clock_problems(self, room: float = CLOCK_ROOM) -> list[str]:
        """What the judge says of dates against time stamps, over all segments that were seen."""
        variants = {uri: self._instants(viewed) for uri, viewed in self.viewed.items()}
        return [str(each) for each in check_clock(variants, room)]

    def _instants(self, viewed: Viewed) -> list[Instant]:
        dates = {}
        for text in viewed.texts:
            playlist = read_media(text, "", Findings(RULES))
            dates.update({segment.uri: segment.date for segment in playlist.segments})
        found = []
        for name, data in viewed.segments.items():
            date = dates[name]
            assert date is not None
            found.append(Instant(date, first_pts(data)))
        return found


def first_pts(data: bytes) -> float:
    """The first time stamp of the leading track of a segment, in seconds."""
    with av.open(io.BytesIO(data)) as opened:
        assert isinstance(opened, av.container.InputContainer)
        stream = next(iter([*opened.streams.video, *opened.streams.audio]))
        for packet in opened.demux(stream):
            if packet.pts is not None:
                return float(packet.pts * packet.time_base)
    raise AssertionError("a segment without any packet")
