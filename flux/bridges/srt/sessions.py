"""The links of all sessions: what `/api/v1/sessions/ID/srt` looks up."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from protocols.srt.link import Channel


class SrtSessions:
    """By the id of a reader's or a publisher's session, while it lasts."""

    def __init__(self) -> None:
        self._links: dict[str, Channel] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._links)

    def add(self, session: str, link: Channel) -> None:
        """This session goes over this link."""
        self._links[session] = link

    def remove(self, session: str) -> None:
        """It is over; one that is not known does no harm."""
        self._links.pop(session, None)

    def statistics(
        self, session: str, is_clearing: bool = False, is_tool: bool = False
    ) -> Mapping[str, object] | None:
        """What is measured, under libsrt's names; None: no such session, or not SRT.

        `is_tool`: in the form of srt-live-transmit's reports.
        """
        link = self._links.get(session)
        if link is None:
            return None
        found = link.statistics(time.monotonic(), is_clearing=is_clearing)
        if found is None or not is_tool:
            return None if found is None else found.to_json()
        return found.to_tool_json(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f%z"))
