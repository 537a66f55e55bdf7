"""Replies of the server: the headers that all have, and those of single methods."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from flux.base.errors import StateError
from protocols.rtsp.message import PHRASES, Headers, Request, Response
from protocols.rtsp.server_events import PlayPoint, Refusal, Started
from protocols.rtsp.server_options import ServerOptions
from protocols.rtsp.server_session import ServerSession

Fields = Iterable[tuple[str, str]]

MAX_CSEQ_CHARACTERS = 64


class Replies:
    """Builds the bytes of replies. `date` gives the value of the Date header; `refused` counts
    refusals by reason."""

    __slots__ = ("_date", "_options", "_refused")

    def __init__(
        self, options: ServerOptions, date: Callable[[], str] | None, refused: Counter[str]
    ) -> None:
        self._options = options
        self._date = date
        self._refused = refused

    def build(
        self,
        request: Request | None,
        status: int,
        fields: Fields = (),
        *,
        body: bytes = b"",
        session: ServerSession | None = None,
        reason: str = "",
    ) -> bytes:
        """One whole reply; `request` is None where none could be read.

        CSeq is given back as it came, digit for digit (RFC 2326 section 12.17). It is never
        interpreted: clients repeat numbers after a 401, start again, or send none; TCP brings every
        request once and in order, so nothing hangs on it.
        """
        headers = Headers()
        cseq = request.headers.get("CSeq")[:MAX_CSEQ_CHARACTERS] if request is not None else ""
        if cseq:
            headers.add("CSeq", cseq)
        if self._date is not None:
            headers.add("Date", self._date())
        if self._options.server:
            headers.add("Server", self._options.server)
        if session is not None:
            headers.add("Session", session.header)
        for name, value in fields:
            headers.add(name, value)
        phrase = PHRASES.get(status, "Status")
        if reason:
            phrase = f"{phrase} ({reason})"
        return Response(status, headers, body, phrase).serialize()

    def refuse(
        self, request: Request | None, refusal: Refusal, session: ServerSession | None = None
    ) -> bytes:
        """An error reply."""
        if not 300 <= refusal.status <= 599:
            raise StateError(f"{refusal.status} is no refusal")
        self._refused[refusal.reason or f"rtsp-{refusal.status}"] += 1
        return self.build(
            request, refusal.status, refusal.headers, session=session, reason=refusal.reason
        )


def play_fields(
    request: Request, session: ServerSession, tracks: Iterable[int], started: Started
) -> Fields:
    """What a reply to PLAY says: Range always, Scale and Speed where they were asked for (RFC 2326
    sections 12.29, 12.34, 12.35), RTP-Info where it is known."""
    fields = [("Range", started.range)] if started.range else []
    for name, value in (("Scale", started.scale), ("Speed", started.speed)):
        if request.headers.get(name) and value:
            fields.append((name, value))
    info = rtp_info(session, tracks, started.points)
    if info:
        fields.append(("RTP-Info", info))
    return [*fields, *started.headers]


def rtp_info(session: ServerSession, tracks: Iterable[int], points: Mapping[int, PlayPoint]) -> str:
    """The RTP-Info header, RFC 2326 section 12.33: an entry for each track, or nothing at all.

    The URL is the one of the client's SETUP, by which it knows the track.
    """
    entries: list[str] = []
    wanted = set(tracks)
    for track in session.tracks.values():
        if track.index not in wanted:
            continue
        point = points.get(track.index)
        if point is None:
            return ""
        url = track.target.url.replace(",", "%2C").replace(";", "%3B")
        sequence, rtptime = point.sequence & 0xFFFF, point.rtptime & 0xFFFFFFFF
        entries.append(f"url={url};seq={sequence};rtptime={rtptime}")
    return ",".join(entries)
