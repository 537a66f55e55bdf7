"""Answers with a whole body that may have been fetched before: conditions and byte ranges.

RFC 9110 sections 13 and 14. One range is answered with 206; several ones, and those that make no
sense, with the whole, as every server may.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from flux.bridges.http.connection import HttpConnection
from flux.bridges.http.request import Request
from flux.bridges.http.response import CORS, Header

RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE)
MAX_DIGITS = 18
Span = tuple[int, int]  # first byte, and the one after the last


class UnsatisfiableError(Exception):
    """No byte of the body is in the range that was asked for."""


def is_known(request: Request, etag: str) -> bool:
    """Whether the peer has this version: If-None-Match, section 13.1.2; `etag` with its quotes."""
    given = request.headers.get("if-none-match")
    if given is None:
        return False
    return given.strip() == "*" or etag in (
        each.strip().removeprefix("W/") for each in given.split(",")
    )


def wanted_range(request: Request, etag: str, size: int) -> Span | None:
    """The part of `size` bytes that is asked for; None: the whole. Raises `UnsatisfiableError`."""
    given = request.headers.get("range")
    if given is None or request.method != "GET":
        return None
    condition = request.headers.get("if-range")
    if condition is not None and condition.strip() != etag:
        return None  # another version, or a date, of which we have none
    match = RANGE.fullmatch(given.strip())
    if match is None or not (match[1] or match[2]) or len(given) > 2 * MAX_DIGITS:
        return None
    if not match[1]:
        count = int(match[2])
        if not count or not size:
            raise UnsatisfiableError
        return max(0, size - count), size
    first = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None  # malformed: as if it were not there
    if first >= size:
        raise UnsatisfiableError
    return first, min(last + 1, size)


def give(
    connection: HttpConnection,
    request: Request,
    body: bytes,
    etag: str,
    headers: Sequence[Header],
) -> int:
    """Answer with the body, a part of it, or that the peer has it: so many bytes go out."""
    fields = [*CORS, *headers, ("ETag", etag), ("Accept-Ranges", "bytes")]
    if is_known(request, etag):
        connection.respond(304, fields)
        return 0
    try:
        span = wanted_range(request, etag, len(body))
    except UnsatisfiableError:
        whole = ("Content-Range", f"bytes */{len(body)}")
        connection.refuse(416, "range-not-satisfiable", [whole])
        return 0
    if span is None:
        connection.respond(200, fields, body)
    else:
        first, end = span
        fields.append(("Content-Range", f"bytes {first}-{end - 1}/{len(body)}"))
        body = body[first:end]
        connection.respond(206, fields, body)
    return len(body) if request.method == "GET" else 0


@lru_cache(maxsize=256)
def takes_gzip(accept_encoding: str) -> bool:
    """Whether a peer that sends this takes gzip; section 12.5.3."""
    weights: dict[str, str] = {}
    for each in accept_encoding.lower().split(","):
        coding, _, parameters = each.partition(";")
        weights[coding.strip()] = parameters.replace(" ", "") or "q=1"
    weight = weights.get("gzip", weights.get("x-gzip", weights.get("*", "q=0")))
    return weight.strip("q=.0") != ""
