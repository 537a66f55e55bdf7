"""Users: names, permissions, and where they may come from."""

import pytest

from config.access import AccessSection
from flux.security.places import place_of
from flux.security.users import Users

HERE, THERE = place_of("10.1.1.1"), place_of("192.0.2.1")


def users(*entries: object) -> Users:
    return Users(AccessSection.model_validate({"users": list(entries)}).users)


def test_without_users_everything_but_the_api_is_open() -> None:
    nobody = users()
    allowed = {
        action: nobody.anyone_may(action, "cam", THERE)
        for action in ("publish", "read", "playback", "metrics", "api")
    }
    assert allowed == {
        "publish": True,
        "read": True,
        "playback": True,
        "metrics": True,
        "api": False,
    }
    assert not nobody.has_names


@pytest.mark.parametrize(
    ("action", "stream", "allowed"),
    [
        ("read", "live/cam", True),
        ("read", "live/a/b", True),
        ("read", "other", False),
        ("read", "xlive/cam", False),
        ("read", "", False),
        ("read", "live/" + "x" * 200, False),
        ("publish", "studio", True),
        ("publish", "live/cam", False),
        ("api", "", True),
        ("metrics", "", False),
    ],
)
def test_permissions(action: str, stream: str, allowed: bool) -> None:
    ann = users(
        {
            "name": "ann",
            "password": "x",
            "permissions": [
                {"action": "read", "streams": "live/*"},
                {"action": ["publish", "api"], "streams": ["studio", "~^show[0-9]$"]},
            ],
        }
    ).find("ann")
    assert ann is not None
    assert ann.may(action, stream) is allowed


def test_anyone_is_bound_to_its_addresses_and_is_no_name() -> None:
    found = users(
        {"name": "any", "addresses": "10.0.0.0/8", "permissions": [{"action": "read"}]},
        {"name": "any", "permissions": [{"action": "read", "streams": "open"}]},
    )
    assert found.anyone_may("read", "cam", HERE)
    assert not found.anyone_may("read", "cam", THERE)
    assert found.anyone_may("read", "open", THERE)
    assert not found.anyone_may("publish", "open", HERE)
    assert found.find("any") is None
    assert not found.has_names


def test_a_password_is_not_in_the_repr() -> None:
    ann = users({"name": "ann", "password": "s3cret", "permissions": [{"action": "api"}]})
    assert "s3cret" not in repr(ann.find("ann"))
