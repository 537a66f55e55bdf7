"""The users of the configuration, ready to be asked."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from config.access import ANYONE, PHC, Network, UserSection
from config.names import MAX_NAME_BYTES
from config.patterns import StreamPattern
from flux.core.admission import API, STREAM_ACTIONS
from flux.security.places import Place


@dataclass(frozen=True, slots=True)
class Permission:
    """Actions, and the streams that they are allowed on."""

    actions: frozenset[str]
    streams: tuple[StreamPattern, ...]

    def covers(self, action: str, stream: str) -> bool:
        """Whether this is allowed by it."""
        if action not in self.actions:
            return False
        return action not in STREAM_ACTIONS or any(p.matches(stream) for p in self.streams)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody, or everybody."""

    name: str
    password: str = field(repr=False)  # as it is, or its argon2id hash
    networks: tuple[Network, ...]  # none: it may come from everywhere
    permissions: tuple[Permission, ...]

    @classmethod
    def of(cls, section: UserSection) -> "User":
        """From its section."""
        return cls(
            section.name,
            section.password.get_secret_value(),
            tuple(each.network for each in section.addresses),
            tuple(Permission(frozenset(p.action), tuple(p.streams)) for p in section.permissions),
        )

    @property
    def is_hashed(self) -> bool:
        """Whether the password is known by its hash alone."""
        return self.password.startswith(PHC)

    def may_come_from(self, place: Place) -> bool:
        """Whether it is let in from there."""
        return not self.networks or place.is_in(self.networks)

    def may(self, action: str, stream: str) -> bool:
        """Whether one of its permissions covers this."""
        if len(stream) > MAX_NAME_BYTES:  # no stream, and no work for a regular expression
            return False
        return any(permission.covers(action, stream) for permission in self.permissions)


class Users:
    """All users. Without any, everybody may do everything but use the API."""

    def __init__(self, sections: Sequence[UserSection]) -> None:
        users = [User.of(section) for section in sections]
        self.are_configured = bool(users)
        self._anyone = tuple(user for user in users if user.name == ANYONE)
        self._named = {user.name: user for user in users if user.name != ANYONE}
        self.has_names = bool(self._named)
        self.are_plain = not any(user.is_hashed for user in users)

    def find(self, name: str) -> User | None:
        """The user of this name, who has a password."""
        return self._named.get(name)

    def anyone_may(self, action: str, stream: str, place: Place) -> bool:
        """Whether this needs no credentials."""
        if not self.are_configured:
            return action != API
        return any(u.may_come_from(place) and u.may(action, stream) for u in self._anyone)
