"""The pull machine: a client of RFC 2326 (1.0) that plays one presentation. Sans-IO.

Theory of operation. After `connect` the machine asks OPTIONS (for the keepalive method; its answer
may be an error, many cameras have none) and DESCRIBE, then it stops at *described*: its owner
reads the description and calls `set_up` with the control attributes of the tracks it wants. One
SETUP a track, PLAY, and the media flows until somebody ends it, the server says that a recording is
over, or no RTP comes for too long: the media timeout is the judge of life.

    new -connect-> options -answered-> describing -answered-> described -set_up-> setting-up
    setting-up -answered-> starting -answered-> playing -close-> leaving -answered-> closed
    setting-up -refused-> described     (another transport may be tried on the same connection)
    any state with a fault -> closed    (with a TEARDOWN to be sent where there is a session)

What it shares with the client that records is in `dialogue.py`.
"""

from collections.abc import Mapping, Sequence

from flux.base.errors import StateError
from protocols.rtsp import events, peer_requests
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.dialogue import MAX_TRACKS, Dialogue
from protocols.rtsp.message import Request, Response
from protocols.rtsp.options import PullOptions
from protocols.rtsp.rtp_info import match_tracks, parse_rtp_info
from protocols.rtsp.setup import Secured, TrackSetup
from protocols.rtsp.states import PULL_TRANSITIONS, State
from protocols.rtsp.transport import Group, PortPair, Way
from protocols.rtsp.url import Url, base_url, resolve_control

MAX_EARLY_FRAMES = 1024  # media that overtakes the answer to PLAY
FROM_NOW_ON = "npt=0.000-"


class PullConnection(Dialogue):
    """One connection that plays. Its own verbs: `set_up`, `media_received`; and `take_packets`."""

    def __init__(self, url: Url, options: PullOptions, authenticator: Authenticator) -> None:
        super().__init__(url, options, authenticator, PULL_TRANSITIONS)
        self._base = self._url
        self._range = options.range.serialize() if options.range is not None else FROM_NOW_ON
        self._media_timeout = options.media_timeout
        self._first_media_timeout = options.first_media_timeout or options.media_timeout
        self._media_at = 0.0
        self._was_playing = False  # and the server, or a fault, has ended it
        self._packets: list[tuple[int, bytes]] = []

    # Verbs of the owner.

    def set_up(
        self,
        controls: Sequence[str | None],
        aggregate: str | None,
        now: float,
        way: Way = Way.TCP,
        ports: Sequence[PortPair] = (),
        groups: Sequence[Group | None] = (),
        secured: Mapping[int, Secured] | None = None,
    ) -> None:
        """Set up and play the tracks with these control attributes.

        `aggregate` is the control attribute of the session. Over UDP the media comes to `ports`,
        one pair a track; interleaved on channels 2 x index and 2 x index + 1; by multicast to the
        groups that the server names, or those of the description, `groups`, where it names none.
        `secured`: the tracks that are SRTP, by index.
        """
        if not 0 < len(controls) <= MAX_TRACKS:
            raise StateError("no tracks, or too many")
        if way is Way.UDP and len(ports) != len(controls):
            raise StateError("not one port pair for each track")
        self._aggregate = resolve_control(self._base, aggregate or "*")
        urls = [resolve_control(self._base, control or "*") for control in controls]
        setup = TrackSetup(urls, way, tuple(ports), tuple(groups), secured=secured or {})
        self._set_up(setup, now)

    def close(self, reason: str, now: float) -> None:
        """End the session: TEARDOWN where there is one, `Closed(reason)` when it is answered."""
        super().close(reason, now)
        self._packets.clear()

    def take_packets(self) -> list[tuple[int, bytes]]:
        """(our channel, payload) of the interleaved frames since the last call; the caller's list.

        Empty until `Playing` was given out: what overtakes the answer to PLAY waits. What came
        before the server ended the session can be taken before `Closed` is.
        """
        if self._state is not State.PLAYING and not self._was_playing:
            return []
        packets = self._packets
        if packets:
            self._packets = []
        return packets

    # Verbs of the network.

    def media_received(self, now: float) -> None:
        """An RTP packet came by UDP: the media is alive."""
        self._media_at = now + self._media_timeout

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if self._state is State.PLAYING and now >= self._media_at:
            self._fail("media-timeout")
        super().handle_timer(now)

    def get_timer(self) -> float | None:
        """When to call handle_timer next, or None."""
        due = super().get_timer()
        return min(self._media_at, due) if self._state is State.PLAYING and due else due

    # What the peer sends.

    def _receive_frames(self, frames: list[tuple[int, bytes]], now: float) -> None:
        setup = self._setup
        if setup is None or setup.way is not Way.TCP:
            self.drops["rtsp-unexpected-frame"] += len(frames)
            return
        if setup.channels:
            mapped = setup.channels
            frames = [(mapped.get(channel, channel), payload) for channel, payload in frames]
        if self._state is State.PLAYING:
            for channel, _ in frames:
                if not channel & 1:  # RTP; RTCP alone is no sign of media
                    self._media_at = now + self._media_timeout
                    break
            self._packets = self._packets + frames if self._packets else frames
        elif self._state is State.STARTING and len(self._packets) < MAX_EARLY_FRAMES:
            self._packets += frames[: MAX_EARLY_FRAMES - len(self._packets)]
        elif self._state is not State.LEAVING:
            self.drops["rtsp-unexpected-frame"] += len(frames)

    def _noticed(self, request: Request, now: float) -> None:
        if peer_requests.is_end_of_stream(request):
            self.close("source-ended", now)
        elif request.method == "ANNOUNCE":
            self._events.append(events.Announced(request.body))

    def _begin_session(self, now: float) -> None:
        self._request("DESCRIBE", self._url, (("Accept", "application/sdp"),), now)

    def _answered(self, response: Response, now: float) -> None:
        if self._state is State.DESCRIBING:
            self._described(response)
        elif self._state is State.STARTING and self._setup is not None:
            self._started(self._setup, response, now)

    def _described(self, response: Response) -> None:
        if not response.body.strip():
            self._fail("rtsp-no-sdp")
            return
        headers = response.headers
        content_base, location = headers.get("Content-Base"), headers.get("Content-Location")
        self._base = base_url(self._url, content_base, location)
        self._go("answered")
        self._events.append(events.Described(self._base, response.body))

    def _start(self, setup: TrackSetup, now: float) -> None:
        del setup
        self._request("PLAY", self._aggregate, (("Range", self._range),), now)

    def _started(self, setup: TrackSetup, response: Response, now: float) -> None:
        self._go("answered")
        self._keepalive_at = now + self._keepalive_interval
        self._media_at = now + self._first_media_timeout
        entries = parse_rtp_info(",".join(response.headers.get_all("RTP-Info")))
        ready = [track.track_index for track in setup.tracks]
        matched = match_tracks(entries, [setup.urls[index] for index in ready])
        by_index = dict(zip(ready, matched, strict=True))
        infos = tuple(by_index.get(index) for index in range(len(setup.urls)))
        self._events.append(events.Playing(infos, response.headers.get("Range")))

    def _end(self, reason: str, status: int = 0) -> None:
        self._was_playing = self._was_playing or self._state is State.PLAYING
        super()._end(reason, status)
