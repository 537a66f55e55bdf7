"""A source that a test plays."""


class ScriptedSource:
    """Starts when asked and does nothing by itself; satisfies `media.source.Source`."""

    def __init__(self) -> None:
        self.calls: list[str] = []  # start, and the reasons of stops

    def start(self) -> None:
        self.calls.append("start")

    def stop(self, reason: str) -> None:
        self.calls.append(reason)
