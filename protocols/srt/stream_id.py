"""What a caller wants, as its stream id says: draft appendix B, and the short forms in use.

    #!::r=NAME,m=request|publish,u=USER,s=...,h=...   appendix B.2
    publish:NAME[:USER:PASSWORD]   read:NAME[:USER:PASSWORD]
    NAME                           read

`p` and `pass` hold a password, `token` a token; without them `s`, the session id of the draft,
stands for the password of the user `u`, as other servers have it.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from flux.base.errors import WireError

STANDARD = "#!::"
NESTED = "#!:"  # of B.3, which nobody writes
SHORT_FORMS = {"publish": "publish", "read": "read", "request": "read", "play": "read"}
PASSWORD_KEYS = ("p", "pass", "password")
MAX_KEYS = 32


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

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a stream id.

        Raises WireError: `stream-id-empty`, `stream-id-malformed`, `stream-id-mode` (neither
        request nor publish, or not a stream).
        """
        if not text:
            raise WireError("stream-id-empty")
        if text.startswith(STANDARD):
            return cls._standard(text[len(STANDARD) :])
        if text.startswith(NESTED):
            raise WireError("stream-id-malformed", "nested keys")
        kind, colon, rest = text.partition(":")
        action = SHORT_FORMS.get(kind)
        if not colon or action is None:
            return cls(_named(text))
        name, *credentials = rest.split(":", 2)
        user, password = (*credentials, "", "")[:2]
        return cls(_named(name), Action(action), user, password)

    @classmethod
    def _standard(cls, text: str) -> Self:
        found: dict[str, str] = {}
        for pair in text.split(","):
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
        return cls(
            _named(found.get("r", "")),
            Action.PUBLISH if mode == "publish" else Action.READ,
            user,
            password or (session if user else ""),
            found.get("token", ""),
            session,
            found.get("h", ""),
        )


def _named(name: str) -> str:
    """A name without the slashes that players put around it."""
    name = name.strip("/")
    if not name:
        raise WireError("stream-id-empty")
    return name
