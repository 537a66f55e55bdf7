"""The push machine: a client of RFC 2326 that records one presentation on a server. Sans-IO.

Theory of operation. After `connect` the machine asks OPTIONS (as every client does; its answer may
be an error) and sends its description with ANNOUNCE, then it stops at *announced*: its owner calls
`set_up` with a way of transport. One SETUP a track with `mode=record`, RECORD, and the media may go
out until somebody ends it. What comes back is RTCP.

    new -connect-> options -answered-> announcing -answered-> announced -set_up-> setting-up
    setting-up -answered-> starting -answered-> recording -close-> leaving -answered-> closed
    setting-up -refused-> announced     (another transport may be tried on the same connection)
    any state with a fault -> closed    (with a TEARDOWN to be sent where there is a session)

A track whose SETUP is refused ends it all: who watches there would miss it without knowing why.
What it shares with the client that plays is in `dialogue.py`.
"""

from collections.abc import Mapping, Sequence

from flux.base.errors import StateError
from protocols.rtsp import events
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.dialogue import MAX_TRACKS, Dialogue
from protocols.rtsp.exchange import status_reason
from protocols.rtsp.message import Request, Response
from protocols.rtsp.options import PushOptions
from protocols.rtsp.setup import Secured, TrackSetup, keys_of
from protocols.rtsp.states import PUSH_TRANSITIONS, State
from protocols.rtsp.transport import PortPair, Way
from protocols.rtsp.url import Url, resolve_control

MAX_REPORTS = 64  # that wait to be taken
RECORD = "record"


class PushConnection(Dialogue):
    """One connection that records. Its own verbs: `set_up`; and `take_reports`."""

    def __init__(
        self,
        url: Url,
        options: PushOptions,
        authenticator: Authenticator,
        sdp: bytes,
        controls: Sequence[str],
        secured: Mapping[int, Secured] | None = None,
    ) -> None:
        """`controls`: the control attributes that `sdp` gives its tracks.

        `secured`: those of them that are SRTP, by index.
        """
        if not 0 < len(controls) <= MAX_TRACKS:
            raise StateError("no tracks, or too many")
        super().__init__(url, options, authenticator, PUSH_TRANSITIONS)
        self._sdp = sdp
        self._controls = [resolve_control(self._url, control) for control in controls]
        self._secured = secured or {}
        self._reports: list[tuple[int, bytes]] = []

    def set_up(self, now: float, way: Way = Way.TCP, ports: Sequence[PortPair] = ()) -> None:
        """Set every track up, over UDP from `ports`, one pair a track."""
        if way is Way.UDP and len(ports) != len(self._controls):
            raise StateError("not one port pair for each track")
        ours = tuple(ports)
        setup = TrackSetup(self._controls, way, ours, mode=RECORD, secured=self._secured)
        self._set_up(setup, now)

    def take_reports(self) -> list[tuple[int, bytes]]:
        """(track index, RTCP compound) that came interleaved since the last call."""
        reports = self._reports
        if reports:
            self._reports = []
        return reports

    # What the server sends.

    def _receive_frames(self, frames: list[tuple[int, bytes]], now: float) -> None:
        del now
        setup = self._setup
        if setup is None or setup.way is not Way.TCP or self._state is not State.RECORDING:
            if self._state is not State.LEAVING:
                self.drops["rtsp-unexpected-frame"] += len(frames)
            return
        for channel, payload in frames:
            ours = setup.channels.get(channel, channel)
            is_ours = ours < 2 * len(setup.urls)
            if ours & 1 and is_ours and len(self._reports) < MAX_REPORTS:
                self._reports.append((ours >> 1, payload))
            else:
                self.drops["rtsp-unexpected-frame"] += 1

    def _noticed(self, request: Request, now: float) -> None:
        """Nothing else that a server asks for means anything here."""

    def _begin_session(self, now: float) -> None:
        headers = (("Content-Type", "application/sdp"),)
        self._request("ANNOUNCE", self._url, headers, now, self._sdp)

    def _answered(self, response: Response, now: float) -> None:
        if self._state is State.ANNOUNCING:
            self._take_session(response)  # some servers begin it here already
            self._go("answered")
            self._events.append(events.AnnounceAccepted(keys_of(response)))
        elif self._state is State.STARTING:
            self._go("answered")
            self._keepalive_at = now + self._keepalive_interval
            self._events.append(events.Recording())

    def _start(self, setup: TrackSetup, now: float) -> None:
        if len(setup.tracks) < len(setup.urls):
            self._fail(status_reason(setup.refusal), setup.refusal)
        else:
            self._request("RECORD", self._aggregate, (("Range", "npt=0.000-"),), now)
