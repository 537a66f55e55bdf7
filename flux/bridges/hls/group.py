"""A group of streams as a stream of its own, whose viewers choose a quality.

A group is declared with the router under its name, so nobody else can have it, access is asked for
under it, and its viewers are its readers. Its source is this module: it holds a lease of each
member, so those on demand start. The group is ready when one member is. It carries no frames:
what there is to read are segments, made of each member's frames by an output of its stream.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flux.base.errors import PeerError
from flux.bridges.hls.output import OUTPUT_NAME
from media.events import StreamStateChanged
from media.frame import Frame
from media.hls.container import container_for
from media.hls.grid import plan
from media.hls.group import (
    GroupMember,
    GroupOptions,
    SegmentGroup,
    common_container,
    shares_audio,
)
from media.hls.options import HlsOptions
from media.hls.playlist import Playlist
from media.hls.segment import TIME_HZ
from media.hls.segmenter import Segmenter
from media.output import LEISURE
from media.router import Lease, Router
from media.stream import State, Stream
from media.track import Kind, Track

MEMBER_OUTPUT = "hls-group"  # and the group's name
WAIT_FOR_MEMBERS = 4.0  # seconds from the first that is ready
WAIT_FOR_GOP = 12.0  # seconds; longer than any GOP that is waited for


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """What configuration says of a group."""

    streams: tuple[str, ...]
    keeps_order: bool = False


def member_output(group: str) -> str:
    """The name of the output by which a stream is in a group."""
    return f"{MEMBER_OUTPUT}:{group}"


class MemberOutput:
    """Feeds one variant with the frames of its stream."""

    leisure = LEISURE

    def __init__(
        self,
        group: str,
        stream: Stream,
        member: GroupMember,
        choose: Callable[[tuple[Track, ...]], tuple[Track, ...]],
        on_closed: Callable[[], None],
    ) -> None:
        self.name = member_output(group)
        self._choose = choose
        self.stream = stream
        self.member = member
        self._on_closed = on_closed

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments that can be fetched."""
        return sum(segmenter.lanes.size_bytes for segmenter in self.member.segmenters)

    def frame(self, frame: Frame) -> None:
        """One frame of the stream."""
        self.member.frame(frame, frame.arrived)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        """Other codecs or tracks: all variants mark a discontinuity."""
        self.member.set_tracks(self._choose(tracks))

    def close(self, reason: str) -> None:
        """The stream ends, or the group has no viewers."""
        del reason
        if self.stream.outputs.get(self.name) is self:
            del self.stream.outputs[self.name]
        self._on_closed()


class GroupOutput:
    """What viewers of the group read; an output of the group's stream."""

    leisure = LEISURE

    def __init__(
        self,
        group: "Group",
        stream: Stream,
        options: HlsOptions,
        first: tuple[int, int],
        on_change: Callable[["GroupOutput"], None],
    ) -> None:
        self.name = OUTPUT_NAME
        self.stream = stream
        self.core: SegmentGroup | None = None
        self.is_ended = False
        self._group = group
        self._options = options
        self._first = first
        self._on_change = on_change
        self._members: dict[int, MemberOutput] = {}
        self._container = container_for(())

    # -- what the bridge asks for --------------------------------------------------------------

    @property
    def next(self) -> tuple[int, int]:
        """Media and discontinuity sequence with which a later run under the same URL goes on."""
        return self.core.next if self.core is not None else self._first

    @property
    def target_duration(self) -> int:
        """EXT-X-TARGETDURATION in seconds; 0 until it is known."""
        return self.core.grid.target_seconds if self.core is not None else 0

    def is_ready(self, now: float) -> bool:
        """Whether the multivariant playlist can be given out."""
        return self.core is not None and self.core.is_ready(now)

    def multivariant(self) -> Playlist:
        """The playlist of all members; call it when `is_ready`."""
        assert self.core is not None
        return self.core.multivariant()

    def rendition(self, name: str) -> Segmenter | None:
        """The segmenter with this playlist, segment or part."""
        if self.core is None:
            return None
        return self.core.playlist(name) if name.endswith(".m3u8") else self.core.owner(name)

    # -- an output of the group's stream --------------------------------------------------------

    @property
    def size_bytes(self) -> int:
        """Nothing: the members' streams count what is theirs."""
        return 0

    def frame(self, frame: Frame) -> None:
        """There are none."""

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        """There are none."""

    def close(self, reason: str) -> None:
        """No viewer is left, or no member: the playlists say that it is over."""
        if self.is_ended:
            return
        self.is_ended = True
        if self.stream.outputs.get(self.name) is self:
            del self.stream.outputs[self.name]
        if self.core is not None:
            self.core.end()
        for output in tuple(self._members.values()):
            output.close(reason)
        self._on_change(self)

    # -- members ---------------------------------------------------------------------------------

    def begin(self, streams: dict[int, Stream], now: float) -> None:
        """Make the segmenters of these members; from now on their cuts are fixed."""
        options = self._options
        offers = [stream.recodings.offer(OUTPUT_NAME, stream.tracks) for stream in streams.values()]
        container = common_container(offers, options)
        self._container = container_for((), container)
        tracks = [self._choose(stream, stream.tracks) for stream in streams.values()]
        gops = [gop for stream in streams.values() if (gop := gop_of(stream))]
        span, target = plan(gops, options.segment_duration, options.max_gop)
        made = GroupOptions(
            options,
            span,
            target,
            container,
            shares_audio(tracks),
            self._group.settings.keeps_order,
        )
        self.core = SegmentGroup(made, self._group.make_token, self._changed, now, self._first)
        for rank, stream in streams.items():
            self.join(rank, stream, now)

    def join(self, rank: int, stream: Stream, now: float) -> None:
        """A member's stream is ready."""
        core = self.core
        if core is None or rank in self._members or self.is_ended:
            return
        chosen = self._choose(stream, stream.tracks)
        member = core.join(rank, chosen, gop_of(stream), stream.gop.frames(), now)
        if member is None:
            for track in stream.tracks:
                stream.note_dropped_track(OUTPUT_NAME, track)
            return
        output = MemberOutput(
            self._group.name,
            stream,
            member,
            partial(self._choose, stream),
            lambda: self._gone(rank),
        )
        self._members[rank] = output
        stream.outputs[output.name] = output

    def _choose(self, stream: Stream, tracks: tuple[Track, ...]) -> tuple[Track, ...]:
        """What the group carries of a member's tracks."""
        container = self._container
        name = member_output(self._group.name)
        return stream.choose(name, tracks, container.carries, form=container.name)

    def _gone(self, rank: int) -> None:
        output = self._members.pop(rank, None)
        if output is not None and self.core is not None and not self.is_ended:
            self.core.leave(output.member)

    def _changed(self) -> None:
        if not self.is_ended:
            self._on_change(self)


class Group:
    """One configured group; the source of its stream."""

    def __init__(
        self,
        name: str,
        settings: GroupSettings,
        router: Router,
        make_token: Callable[[], str],
        now: Callable[[], float],
    ) -> None:
        self.name = name
        self.settings = settings
        self.make_token = make_token
        self._router = router
        self._now = now
        self._leases: dict[int, Lease] = {}
        self._is_running = False
        self._first_ready_at: float | None = None
        self._lost_at: float | None = None
        self._output: GroupOutput | None = None

    # -- a source --------------------------------------------------------------------------------

    def start(self) -> None:
        """Want all members."""
        self._is_running = True
        self.tick(self._now())

    def stop(self, reason: str) -> None:
        """Want none of them any more."""
        self._is_running = False
        self._first_ready_at = self._lost_at = None
        if self._output is not None:
            self._output.close(reason)
            self._output = None
        leases, self._leases = self._leases, {}
        for lease in leases.values():
            lease.close()
        self._say("stopped", reason)

    # -- its output --------------------------------------------------------------------------------

    def make_output(
        self,
        stream: Stream,
        options: HlsOptions,
        first: tuple[int, int],
        on_change: Callable[[GroupOutput], None],
    ) -> GroupOutput:
        """What the viewers of the group's stream read."""
        self._output = GroupOutput(self, stream, options, first, on_change)
        self._try_begin(self._now())
        return self._output

    # -- members -----------------------------------------------------------------------------------

    def state_changed(self, event: StreamStateChanged) -> None:
        """A stream is ready, or no longer; hear of all of them."""
        if self._is_running and event.stream in self.settings.streams:
            self._look(self._now())

    def tick(self, now: float) -> None:
        """A few times a second: members that were not there, GOPs that were not known."""
        if self._is_running:
            for rank, name in enumerate(self.settings.streams):
                self._want(rank, name, now)
            self._look(now)

    def _want(self, rank: int, name: str, now: float) -> None:
        stream = self._router.lookup(name)
        lease = self._leases.get(rank)
        if lease is not None and lease.stream is not stream:
            lease.close()
            del self._leases[rank]
            lease = None
        if stream is None or lease is not None:
            return
        try:
            self._leases[rank] = self._router.open(name, _is_there, self._failed, now)
        except PeerError as error:
            self._say("waiting", error.reason)

    def _failed(self, reason: str, status: int) -> None:
        del status
        if self._first_ready_at is None:
            self._say("waiting", reason)

    def _open_members(self) -> dict[int, Stream]:
        found = {}
        for rank, name in enumerate(self.settings.streams):
            stream = self._router.find(name)
            if stream is not None and stream.is_open and stream.tracks:
                found[rank] = stream
        return found

    def _look(self, now: float) -> None:
        """Compare what is there with what the group is made of."""
        own = self._router.find(self.name)
        if own is None:
            return
        members = self._open_members()
        if members and not own.is_open:
            self._first_ready_at = now
            self._say("running", "")
            own.enter(State.WAITING, now)
            own.enter(State.READY, now)
            if own.on_ready is not None:
                own.on_ready(own)
        elif members:
            self._lost_at = None
        elif own.is_open and self._is_over(own, now):
            self._first_ready_at = self._lost_at = None
            own.release("no-member-ready", now)
            self._output = None
            return
        output = self._output
        if output is None or output.is_ended:
            return
        if output.core is None:
            self._try_begin(now)
            return
        for rank, stream in members.items():
            output.join(rank, stream, now)

    def _is_over(self, own: Stream, now: float) -> bool:
        """Whether no member is there any more; viewers are held for a while until one returns."""
        if self._lost_at is None:
            self._lost_at = now
            self._say("waiting", "no-member-ready")
        return now - self._lost_at >= own.options.grace

    def _try_begin(self, now: float) -> None:
        """Fix the cuts once all members are there and their GOPs known, or time is up."""
        output, since = self._output, self._first_ready_at
        if output is None or output.core is not None or since is None:
            return
        members = self._open_members()
        if not members:
            return
        is_all = len(members) == len(self.settings.streams)
        known = [gop_of(stream) > 0 or not has_video(stream) for stream in members.values()]
        if (
            (is_all and all(known))
            or (now - since >= WAIT_FOR_MEMBERS and any(known))
            or now - since >= WAIT_FOR_GOP
        ):
            output.begin(members, now)

    def _say(self, state: str, reason: str) -> None:
        self._router.source_state(self.name, state, reason, self._now())


def gop_of(stream: Stream) -> int:
    """Ticks between the last two key frames; 0: not known."""
    intervals = [state.key_interval for state in stream.inputs.values()]
    return round(max(intervals, default=0.0) * TIME_HZ)


def has_video(stream: Stream) -> bool:
    """Whether it has pictures."""
    return any(track.kind is Kind.VIDEO for track in stream.tracks)


def _is_there(stream: Stream) -> None:
    """A member is ready: `state_changed` has told."""
    del stream
