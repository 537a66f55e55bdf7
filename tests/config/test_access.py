"""The access section: what is taken, what is refused, and that no password is ever shown."""

import json

import pytest
from pydantic import ValidationError

from config.access import AccessSection, AddressRange, UserSection, check_fingerprint, check_hash

HASH = "$argon2id$v=19$m=65536,t=3,p=4$APg9dEeQjomyGZkswDjyBA$" + "b" * 43
READ = {"action": "read"}


def section(*users: object, **more: object) -> AccessSection:
    return AccessSection.model_validate({"users": list(users), **more})


def refusal(*users: object, **more: object) -> str:
    with pytest.raises(ValidationError) as caught:
        section(*users, **more)
    return str(caught.value)


def test_without_anything_access_is_open() -> None:
    assert AccessSection().is_open
    assert AccessSection.model_validate(None) == AccessSection()
    assert not section({"name": "any", "permissions": [READ]}).is_open
    assert not section(callback={"url": "http://127.0.0.1/"}).is_open


def test_one_is_a_list() -> None:
    access = section(
        {"name": "any", "addresses": "10.0.0.0/8", "permissions": [READ | {"streams": "live/*"}]}
    )
    (user,) = access.users
    (permission,) = user.permissions
    assert [str(each) for each in user.addresses] == ["10.0.0.0/8"]
    assert (permission.action, [str(p) for p in permission.streams]) == (("read",), ["live/*"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1/32", "192.0.2.1"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("fd00::/8", "fd00::/8"),
        ("::1", "::1"),
    ],
)
def test_ranges(text: str, shown: str) -> None:
    assert str(AddressRange.parse(text)) == shown
    assert AddressRange.parse(shown) == AddressRange.parse(text)


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "example.org", "10.0.0", "1"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an IP address"):
        AddressRange.parse(text)


SECRET = "s3cret-phrase"
BROKEN: list[tuple[object, str]] = [
    ({"name": "any", "password": SECRET, "permissions": [READ]}, "no password for the user any"),
    ({"name": "ann", "permissions": [READ]}, "expected a password"),
    ({"name": "ann", "password": "", "permissions": [READ]}, "expected a password"),
    ({"name": "", "password": SECRET, "permissions": [READ]}, "at least 1 character"),
    ({"name": "a:b", "password": SECRET, "permissions": [READ]}, "without colons"),
    ({"name": "ann", "password": "sha256:" + SECRET, "permissions": [READ]}, "hash-password"),
    ({"name": "ann", "password": "argon2:" + SECRET, "permissions": [READ]}, "hash-password"),
    ({"name": "ann", "password": "$argon2i$" + SECRET, "permissions": [READ]}, "argon2id hash"),
    ({"name": "ann", "password": HASH.replace("65536", "9999999"), "permissions": [READ]}, "1 GiB"),
    ({"name": "ann", "password": HASH.replace("t=3", "t=99"), "permissions": [READ]}, "50 passes"),
    ({"name": "ann", "password": HASH.replace("p=4", "p=99"), "permissions": [READ]}, "64 lanes"),
    ({"name": "ann", "password": "x" * 1001, "permissions": [READ]}, "at most 1000"),
    ({"name": "ann", "password": SECRET, "permissions": [{"action": []}]}, "at least one action"),
    ({"name": "ann", "password": SECRET, "permissions": [{"action": "fly"}]}, "publish"),
    ({"name": "ann", "password": SECRET, "permissions": [READ | {"streams": "~("}]}, "regular"),
    ({"name": "ann", "password": SECRET, "addresses": "home", "permissions": [READ]}, "IP address"),
    (f"ann:{SECRET}", "expected a list of sections"),
]


@pytest.mark.parametrize(("user", "reason"), BROKEN)
def test_what_is_wrong_is_refused_without_the_password(user: object, reason: str) -> None:
    from config.problems import problems_of

    with pytest.raises(ValidationError) as caught:
        section(user)
    assert reason in str(caught.value)
    # What a user of FLUX reads, as opposed to what pydantic says.
    shown = [str(each) for each in problems_of(caught.value, AccessSection, {}, "flux.yaml")]
    assert shown
    assert SECRET not in str(shown)
    assert "b" * 43 not in str(shown)


def test_names_are_unique_but_for_any() -> None:
    anyone = {"name": "any", "permissions": [READ]}
    ann = {"name": "ann", "password": SECRET, "permissions": [READ]}
    assert len(section(anyone, anyone, ann).users) == 3
    assert "each user once" in refusal(ann, ann)


def test_hashes_of_mediamtx_lose_their_prefix() -> None:
    user = UserSection.model_validate(
        {"name": "ann", "password": f"argon2:{HASH}", "permissions": [READ]}
    )
    assert user.password.get_secret_value() == HASH
    check_hash(HASH)


def test_no_password_is_shown() -> None:
    access = section({"name": "ann", "password": SECRET, "permissions": [READ]})
    for shown in (repr(access), str(access), json.dumps(access.model_dump(mode="json"))):
        assert SECRET not in shown


def test_fingerprints() -> None:
    assert check_fingerprint("") == ""
    assert check_fingerprint("AB:" * 31 + "CD") == "ab" * 31 + "cd"
    for text in ("ab", "x" * 64, "a" * 63):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            check_fingerprint(text)


def test_penalties_are_bounded() -> None:
    assert "expected a duration" in refusal(penalties={"delay": "11s"})
    assert "greater than or equal" in refusal(penalties={"addresses": 1})
