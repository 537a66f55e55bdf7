"""Requests that a server sends to its client, RFC 2326 section 10: cameras ask who is alive."""

from dataclasses import dataclass

from protocols.rtsp.message import Headers, Request, Response

MAX_PER_SECOND = 50
METHODS = ("OPTIONS", "GET_PARAMETER", "SET_PARAMETER", "ANNOUNCE", "REDIRECT", "TEARDOWN")
END_NOTICES = ("2101", "2104")  # end of stream, start of stream (played backwards)
ACCEPTED = (*METHODS, "PLAY_NOTIFY")  # the last of RFC 7826 section 13.5


def answer(request: Request, session_id: str) -> Response:
    """The answer to a server's request; what it means is for the machine to see."""
    headers = Headers()
    cseq = request.headers.get("CSeq")
    if cseq:
        headers.add("CSeq", cseq)
    if session_id:
        headers.add("Session", session_id)
    if request.method == "OPTIONS":
        headers.add("Public", ", ".join(METHODS))
    return Response(200 if request.method in ACCEPTED else 501, headers)


def is_end_of_stream(request: Request) -> bool:
    """Whether this request says that a recording has been played to its end, or its beginning.

    RFC 7826 section 13.5.1, and the notices of video-on-demand servers that RFC 2326 does not have.
    """
    if request.method == "PLAY_NOTIFY":
        return request.headers.get("Notify-Reason").strip().lower() == "end-of-stream"
    notice = request.headers.get("x-notice") or request.headers.get("Event-Type")
    return notice.strip()[:4] in END_NOTICES


@dataclass(slots=True)
class RequestRate:
    """Counts requests per second: answers to a flood of them would fill our memory."""

    second: float = 0.0
    count: int = 0

    def is_flood(self, now: float) -> bool:
        """Count one request; true once there are more than a second may have."""
        if now - self.second >= 1.0:
            self.second = now
            self.count = 0
        self.count += 1
        return self.count > MAX_PER_SECOND
