"""All hooks of the server: a Part.

A hook is told of events by the bus in a call that only puts them into its queue; posting, starting
processes and waiting happen in tasks of the hook. So nothing that a receiver or a program does is
felt by whoever publishes the event, and since the queues are the hooks' own, one that is slow costs
the others nothing. The bus' bounded subscriptions would lose their oldest events when a thousand
readers leave in one turn, and with one of them the end of a command; here only what a single hook
cannot keep up with is dropped, and counted.
"""

import asyncio
from collections.abc import Sequence

from config.hooks import AuthorizeSection, HookSection
from flux.core.admission import Gate
from flux.core.bus import Bus
from flux.core.hooks.authorize import AuthorizeGate
from flux.core.hooks.command import CommandHook
from flux.core.hooks.occurrence import Cause, Occurrence
from flux.core.hooks.post import Poster
from flux.core.hooks.status import HookStatus
from flux.core.hooks.timing import Timing
from flux.core.hooks.translate import AddressOf, Translator
from flux.core.hooks.webhook import Webhook


def _no_address(stream: str, session: str) -> str:
    del stream, session
    return ""


class Hooks:
    """Start it before and stop it after the parts whose events it tells of."""

    name = "hooks"

    def __init__(
        self,
        bus: Bus,
        hooks: Sequence[HookSection],
        authorize: AuthorizeSection,
        *,
        address_of: AddressOf = _no_address,
        timing: Timing | None = None,
    ) -> None:
        timing = timing or Timing()
        self._bus = bus
        self._poster = Poster()
        self._hooks: list[tuple[HookSection, Webhook | CommandHook]] = []
        for index, section in enumerate(hooks):
            name = f"hooks[{index}]"
            if section.webhook is not None:
                webhook = Webhook(name, section.webhook, self._poster, bus.emit, timing)
                self._hooks.append((section, webhook))
            elif section.command is not None:
                self._hooks.append((section, CommandHook(name, section.command, bus.emit, timing)))
        self._translator = Translator(self, timing, address_of)
        self._authorize = (
            AuthorizeGate(authorize, self._poster, timing) if authorize.url is not None else None
        )

    @property
    def gate(self) -> Gate | None:
        """The gate that asks the service; None if none is configured."""
        return self._authorize

    def status(self) -> tuple[HookStatus, ...]:
        """Every hook as it is now, in the order of the configuration."""
        return tuple(
            HookStatus(
                name=hook.name,
                kind="webhook" if isinstance(hook, Webhook) else "command",
                on=tuple(section.on),
                waiting=hook.waiting,
                running=hook.running,
                done=hook.counters.done,
                failed=hook.counters.failed,
                retries=hook.counters.retries,
                dropped=hook.counters.dropped,
            )
            for section, hook in self._hooks
        )

    async def start(self) -> None:
        """Begin to listen."""
        has_webhook = any(isinstance(hook, Webhook) for _, hook in self._hooks)
        if has_webhook or self._authorize is not None:
            await self._poster.open()
        self._translator.subscribe(
            self._bus, {on for section, _ in self._hooks for on in section.on}
        )

    async def stop(self) -> None:
        """Deliver what waits as far as there is time, end every process, refuse who waits."""
        self._translator.close()
        endings = [hook.stop() for _, hook in self._hooks]
        if self._authorize is not None:
            endings.append(self._authorize.close())
        try:
            await asyncio.gather(*endings)
        finally:
            await self._poster.close()

    # -- what the translator tells -----------------------------------------------------------

    def begin(self, occurrence: Occurrence) -> None:
        """Something happened: each hook that wants it takes it into its queue."""
        for section, hook in self._hooks:
            if occurrence.on in section.on and section.covers(occurrence.stream):
                hook.begin(occurrence)

    def end(self, cause: Cause, *, at_once: bool) -> None:
        """Something that lasted is over; hooks that do not know of it are not disturbed."""
        for _, hook in self._hooks:
            hook.end(cause, at_once=at_once)

    def end_stream(self, stream: str) -> None:
        """A stream is gone for good."""
        for _, hook in self._hooks:
            hook.end_stream(stream)
