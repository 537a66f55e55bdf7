"""What a caller wants, as its stream id says: draft appendix B, and the short forms in use.

    #!::r=NAME,m=request|publish,u=USER,s=...,h=...   appendix B.2
    publish:NAME[:USER:PASSWORD]   read:NAME[:USER:PASSWORD]
    NAME                           read

Behind NAME may stand a query with `token` (or `jwt`), `user`, `pass` and `start` (gop, key, live:
where a reader begins): `read:NAME?token=T`. The standard form has `token` and `start`, too.
A stream id without a colon and with `%3A` in it is read unescaped.

`p` and `pass` hold a password, `token` a token; without them `s`, the session id of the draft,
stands for the password of the user `u`, as other servers have it.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self
from urllib.parse import unquote

from flux.base.errors import WireError

STANDARD = "#!::"
NESTED = "#!:"  # of B.3, which nobody writes
SHORT_FORMS = {"publish": "publish", "read": "read", "request": "read", "play": "read"}
PASSWORD_KEYS = ("p", "pass", "password")
STARTS = ("", "gop", "key", "live")
MAX_KEYS = 32
ESCAPED_COLON = re.compile("%3a", re.IGNORECASE)


class Action(StrEnum):
    """What a caller does."""

    READ = "read"
    PUBLISH = "publish"


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """A stream id read. What it does not say is empty."""

    name: str
    action: Action = Action.READ
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    session: str = field(default="", repr=False)
    host: str = ""
    start: str = ""  # gop, key, live: where to begin to read; empty: as the server likes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a stream id.

        Raises WireError: `stream-id-empty`, `stream-id-malformed`, `stream-id-nested` (B.3),
        `stream-id-mode` (neither request nor publish, or not a stream).
        """
        # quirk: OBS sends the `streamid` of its URL as it stands there, escapes and all, as
        # `publish%3Alive%2Fcam`; `test_what_obs_sends`.
        if ":" not in text and ESCAPED_COLON.search(text):
            text = unquote(text)
        if not text:
            raise WireError("stream-id-empty")
        if text.startswith(STANDARD):
            return cls._standard(text[len(STANDARD) :])
        if text.startswith(NESTED):
            raise WireError("stream-id-nested", "write #!::r=NAME,m=publish")
        kind, colon, rest = text.partition(":")
        action = SHORT_FORMS.get(kind)
        if not colon or action is None:
            return cls._named(text)
        name, *credentials = rest.split(":", 2)
        user, password = (*credentials, "", "")[:2]
        return cls._named(name, Action(action), user, password)

    @classmethod
    def _standard(cls, text: str) -> Self:
        found: dict[str, str] = {}
        for pair in text.removesuffix(",").split(","):
            key, equals, value = pair.partition("=")
            if not equals or not key or key in found or len(found) == MAX_KEYS:
                raise WireError("stream-id-malformed", key)
            found[key] = value
        mode = found.get("m", "request")
        if mode not in ("request", "publish") or found.get("t", "stream") != "stream":
            raise WireError("stream-id-mode", f"m={mode}")
        session = found.get("s", "")
        user = found.get("u", "")
        password = next((found[key] for key in PASSWORD_KEYS if key in found), "")
        return cls._named(
            found.get("r", ""),
            Action.PUBLISH if mode == "publish" else Action.READ,
            user,
            password or (session if user else ""),
            found.get("token", ""),
            session,
            found.get("h", ""),
            found.get("start", ""),
        )

    @classmethod
    def _named(
        cls,
        text: str,
        action: Action = Action.READ,
        user: str = "",
        password: str = "",
        token: str = "",
        session: str = "",
        host: str = "",
        start: str = "",
    ) -> Self:
        """With a name as it was written: slashes around it, and a query behind it."""
        name, _, query = text.partition("?")
        name = name.strip("/")
        if not name:
            raise WireError("stream-id-empty")
        if query:
            fields = dict(pair.partition("=")[::2] for pair in query.split("&"))
            user = user or unquote(fields.get("user", ""))
            password = password or unquote(fields.get("pass", ""))
            token = token or unquote(fields.get("token", fields.get("jwt", "")))
            start = start or fields.get("start", "")
        if start not in STARTS:
            raise WireError("stream-id-malformed", "start")
        return cls(name, action, user, password, token, session, host, start)
