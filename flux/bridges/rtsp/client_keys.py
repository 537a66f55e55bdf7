"""SRTP where FLUX is the client: the keys of one session, pulled or pushed (RFC 3711, RFC 4567).

`flux.bridges.rtp.secure` tells which message brings whose key. All of it goes through TLS.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from flux.base.errors import WireError
from flux.bridges.rtp.description import Place
from flux.bridges.rtp.secure import SecureTrack, is_secure, open_channels, take_headers
from flux.bridges.rtp.tracks import RefusedMedia, RtpTrack
from flux.bridges.rtsp.secured import ntp_now, open_reports
from protocols.rtsp.events import TrackTransport
from protocols.rtsp.setup import Secured
from protocols.sdp import SessionDescription

PROFILE = "RTP/SAVP"  # of what we announce

Packets = list[tuple[int, bytes]]  # channel 2 x track index for RTP, that + 1 for RTCP; payload


class PullKeys:
    """Keys of what is pulled, by place of the track in the description's offer.

    `ssrc` is what our reports go out under. What cannot be opened is counted in `drops`.
    """

    def __init__(self, ssrc: int, patience: float) -> None:
        """`patience`: seconds of packets that none of can be opened, then the keys are wrong."""
        self.ssrc = ssrc
        self._patience = patience
        self.drops: Counter[str] = Counter()
        self._tracks: dict[int, SecureTrack] = {}
        self._profiles: dict[int, str] = {}
        self._shared: set[int] = set()  # one key for both ways, the server's
        self._opened_at: float | None = None

    def take_description(
        self, session: SessionDescription, offered: Sequence[RtpTrack]
    ) -> tuple[tuple[RtpTrack, ...], tuple[RefusedMedia, ...]]:
        """Take the server's keys: the tracks that can be had, and those whose key is of no use."""
        kept: list[RtpTrack] = []
        refused: list[RefusedMedia] = []
        for track in offered:
            media = session.media[track.media_index]
            if is_secure(media.protocol):
                keys = SecureTrack(self.ssrc)
                own = keys.sender
                try:
                    keys.take_media(media, session)
                except WireError as error:
                    refused.append(
                        RefusedMedia(track.media_index, media.kind, error.reason, error.detail)
                    )
                    continue
                self._tracks[len(kept)] = keys
                self._profiles[len(kept)] = _profile_of(media.protocol)
                if keys.sender is not own:
                    self._shared.add(len(kept))
            kept.append(track)
        return tuple(kept), tuple(refused)

    def secured(self) -> dict[int, Secured]:
        """What SETUP says of each track that is SRTP."""
        return {
            place: Secured(
                self._profiles[place], None if place in self._shared else _header_of(keys)
            )
            for place, keys in self._tracks.items()
        }

    def take_answers(self, answers: Iterable[TrackTransport]) -> None:
        """Take the keys that came with the answers to SETUP; raises `WireError`."""
        for answer in answers:
            keys = self._tracks.get(answer.track_index)
            if keys is not None and answer.keys:
                keys.take_header(answer.keys)

    def open(self, packets: Packets, now: float) -> Packets:
        """The packets in plain; those of tracks that are no SRTP pass as they are."""
        if not self._tracks:
            return packets
        opened = open_channels(self._tracks, packets)
        if opened or self._opened_at is None:
            self._opened_at = now
        if len(opened) < len(packets):
            for keys in self._tracks.values():
                if keys.receiver is not None and keys.receiver.drops:
                    self.drops.update(keys.receiver.drops)
                    keys.receiver.drops.clear()
        return opened

    def is_locked_out(self, now: float) -> bool:
        """Whether packets come and none could be opened for too long."""
        return self._opened_at is not None and now - self._opened_at >= self._patience

    def protect(self, place: int, report: bytes) -> bytes:
        """A report of ours as it goes out."""
        keys = self._tracks.get(place)
        return report if keys is None else keys.sender.protect_rtcp(report)


class PushKeys:
    """Keys of what is pushed, by track index: ours for the media, the server's for its reports.

    What of its reports cannot be opened is counted in `drops`.
    """

    def __init__(self, ssrcs: Mapping[int, int]) -> None:
        self.tracks = {index: SecureTrack(ssrc) for index, ssrc in ssrcs.items()}
        self.drops: Counter[str] = Counter()

    def places(self) -> dict[int, Place]:
        """What the description says of each track."""
        ntp = ntp_now()
        return {
            index: Place(protocol=PROFILE, attributes=keys.attributes(ntp))
            for index, keys in self.tracks.items()
        }

    def secured(self) -> dict[int, Secured]:
        """What SETUP says of each track."""
        return {index: Secured(PROFILE, _header_of(keys)) for index, keys in self.tracks.items()}

    def take_announced(self, headers: str) -> None:
        """Take the server's keys from its answer to ANNOUNCE."""
        self._take(headers, list(self.tracks.values()))

    def take_answers(self, answers: Iterable[TrackTransport]) -> None:
        """Take the server's keys from its answers to SETUP."""
        for answer in answers:
            self._take(answer.keys, [self.tracks[answer.track_index]])

    def open(self, index: int, report: bytes) -> bytes:
        """A report of the server in plain; empty if it cannot be opened."""
        opened = open_reports([self.tracks[index]], [report], self.drops)
        return opened[0] if opened else b""

    def _take(self, headers: str, tracks: Sequence[SecureTrack]) -> None:
        if not headers:
            return
        try:
            take_headers(headers, tracks)
        except WireError as error:
            self.drops[error.reason] += 1  # reports stay closed, the media is not touched


def _profile_of(protocol: str) -> str:
    """The profile as it stands in a Transport header."""
    return "RTP/SAVPF" if "SAVPF" in protocol.upper() else PROFILE


def _header_of(keys: SecureTrack) -> Callable[[str], str]:
    """What makes the KeyMgmt header for a URL, stamped when it is asked for."""
    return lambda url: keys.header(url, ntp_now())
