"""Requests and their answers: CSeq, session id, authentication; one request under way at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.rtsp.auth import Authenticator
from protocols.rtsp.message import Headers, Request, Response

UNAUTHORIZED = 401
MAX_STALE_NONCES = 2  # for one request


@dataclass(slots=True)
class Outstanding:
    """The request under way."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    cseq: int
    deadline_at: float
    body: bytes = b""
    answers: int = 0  # challenges answered for this request
    stale: int = 0


class Exchange:
    """The client's half of RTSP's request and answer, RFC 2326 sections 12.17 and 12.37.

    A 401 is answered once for a request; a nonce that the server calls stale (RFC 7616 section 3.3)
    does not count. `challenge_failed` tells why a 401 came through: `rtsp-unauthorized`, or
    `rtsp-auth-unsupported` where nothing was offered that FLUX can answer.
    """

    def __init__(self, authenticator: Authenticator, user_agent: str) -> None:
        self._authenticator = authenticator
        self._user_agent = user_agent
        self._cseq = 0
        self.session_id = ""
        self.outstanding: Outstanding | None = None
        self.challenge_failed = "rtsp-unauthorized"
        self.mismatched = 0  # answers that belong to no request

    def request(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        deadline_at: float,
        body: bytes = b"",
    ) -> bytes:
        """The bytes of a new request, which replaces the one under way."""
        self.outstanding = Outstanding(method, url, headers, 0, deadline_at, body)
        return self._send(self.outstanding)

    def cancel(self) -> None:
        """Wait no longer; a late answer is dropped by its CSeq."""
        self.outstanding = None

    def receive(self, response: Response) -> tuple[Outstanding | None, bytes]:
        """Take an answer: the request that it ends (None if none), and bytes to send instead."""
        pending = self.outstanding
        cseq = response.headers.get("CSeq").strip()
        # quirk: some cameras leave CSeq out, against section 12.17; only one answer is due
        if pending is None or (cseq and cseq.lstrip("0") != str(pending.cseq)):
            self.mismatched += 1
            return None, b""
        if 100 <= response.status < 200:
            return None, b""
        if response.status == UNAUTHORIZED and self._may_answer(response, pending):
            return None, self._send(pending)
        self.outstanding = None
        return pending, b""

    def _may_answer(self, response: Response, pending: Outstanding) -> bool:
        challenge = self._authenticator.accept(response.headers.get_all("WWW-Authenticate"))
        if challenge is None:
            self.challenge_failed = "rtsp-auth-unsupported"
            return False
        self.challenge_failed = "rtsp-unauthorized"
        if not self._authenticator.has_credentials:
            return False
        if challenge.is_stale and pending.answers and pending.stale < MAX_STALE_NONCES:
            pending.stale += 1
            return True
        pending.answers += 1
        return pending.answers == 1

    def _send(self, pending: Outstanding) -> bytes:
        self._cseq += 1
        pending.cseq = self._cseq
        headers = Headers([("CSeq", str(self._cseq)), ("User-Agent", self._user_agent)])
        if self.session_id:
            headers.add("Session", self.session_id)
        authorization = self._authenticator.authorization(pending.method, pending.url)
        if authorization:
            headers.add("Authorization", authorization)
        for name, value in pending.headers:
            headers.add(name, value)
        return Request(pending.method, pending.url, headers, pending.body).serialize()


def status_reason(status: int) -> str:
    """The slug of a refusal. Few, as they become metric labels."""
    if status in (
        400,
        403,
        404,
        405,
        406,
        451,
        453,
        454,
        455,
        457,
        459,
        461,
        500,
        501,
        503,
        505,
        551,
    ):
        return f"rtsp-{status}"
    return f"rtsp-{status // 100}xx" if 300 <= status < 600 else "rtsp-status"
