"""Options of the RTSP server."""

from dataclasses import dataclass

BASIC = "basic"
SCHEMES = ("SHA-256", "MD5", BASIC)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What can be set about each connection; times are seconds."""

    server: str = "FLUX"  # Server header; empty: none
    realm: str = "FLUX"
    # In the order in which they are offered, RFC 7616 section 3.7: hash names mean Digest. The
    # weaker Digest is the last: ffmpeg 5 keeps the last one that it reads, and knows MD5 alone.
    schemes: tuple[str, ...] = SCHEMES
    has_qop: bool = False  # offer qop=auth; both forms are accepted whatever is offered
    nonce_lifetime: float = 600.0
    max_challenges: int = 10  # answers 401 in a row after which the connection ends
    may_publish: bool = True  # ANNOUNCE and RECORD exist

    session_timeout: float = 60.0  # of the Session header
    session_grace: float = 5.0  # that long later the session is really ended
    media_timeout: float = 10.0  # without a packet of a publisher
    idle_timeout: float = 60.0  # of a connection without session
    request_timeout: float = 10.0  # from the first to the last byte of a message
    answer_timeout: float = 30.0  # of the application

    max_sessions: int = 8  # of one connection
    max_pipelined: int = 16  # requests that wait behind one
    max_requests_per_second: int = 100
    max_unexpected_bytes: int = 1024 * 1024  # interleaved frames of nobody, before the end
