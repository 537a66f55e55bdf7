"""ETag, If-Match and If-None-Match (RFC 9110 section 13): two clients that change the same stream.

The tag is the version of a stream's settings, not of its figures, which change with every frame.
"""

import re

from aiohttp import web

from flux.api.problem import ApiProblem

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST = re.compile(rf"\s*{_TAG}\s*(?:,\s*{_TAG}\s*)*")
_ONE = re.compile(_TAG)


class Versions:
    """Makes the tags. `instance` tells one run of the server from the next."""

    def __init__(self, instance: str) -> None:
        self._instance = instance

    def tag(self, version: int) -> str:
        """The entity tag of a version."""
        return f'"{self._instance}-{version}"'

    def check(self, request: web.Request, version: int, *, exists: bool) -> None:
        """Raise 412 if the client's idea of the stream is not what it is."""
        wanted = _tags(request, "If-Match")
        if wanted is not None:
            # Weak tags never match here, section 13.1.1.
            holds = exists if wanted == ["*"] else exists and self.tag(version) in wanted
            if not holds:
                raise self._failed(version, exists)
        refused = _tags(request, "If-None-Match")
        if refused is not None:
            known = [tag.removeprefix("W/") for tag in refused]
            if exists and (refused == ["*"] or self.tag(version) in known):
                raise self._failed(version, exists)

    def _failed(self, version: int, exists: bool) -> ApiProblem:
        if not exists:
            return ApiProblem(412, "precondition-failed", "There are no settings of this name.")
        detail = "The settings were changed meanwhile: read them again."
        return ApiProblem(412, "precondition-failed", detail, {"ETag": self.tag(version)})


def _tags(request: web.Request, header: str) -> list[str] | None:
    """The tags of a header, `["*"]` for any; None if it is not there."""
    values = request.headers.getall(header, [])
    if not values:
        return None
    text = ",".join(values)
    if text.strip() == "*":
        return ["*"]
    if _LIST.fullmatch(text) is None:
        detail = f'{header} is * or entity tags such as "1a2b-3".'
        raise ApiProblem(412, "precondition-failed", detail)  # the safe side
    return _ONE.findall(text)
