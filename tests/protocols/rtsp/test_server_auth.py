"""The server's side of Basic and Digest: RFC 7616's own example, cameras, replays, age."""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.rtsp import server_events as ask
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.message import Headers, Request
from protocols.rtsp.server_auth import AuthDesk, Credentials
from protocols.rtsp.server_options import ServerOptions
from tests.support.rtsp_app import URL, App, Bench, Reply

HASHES = {"": hashlib.md5, "MD5": hashlib.md5, "SHA-256": hashlib.sha256}


@dataclass
class Client:
    """A Digest of the tests' own, RFC 7616 section 3.4."""

    user: str = "u"
    password: str = "p"
    algorithm: str = "MD5"
    qop: str = ""
    uri: str = URL
    realm: str = "FLUX"
    counter: "count[int]" = field(default_factory=lambda: count(1))

    def header(self, method: str, nonce: str, nc: int | None = None) -> str:
        digest = HASHES[self.algorithm]

        def hashed(text: str) -> str:
            return digest(text.encode()).hexdigest()

        number = next(self.counter) if nc is None else nc
        secret = hashed(f"{self.user}:{self.realm}:{self.password}")
        middle = f"{nonce}:{number:08x}:c:auth" if self.qop else nonce
        response = hashed(f"{secret}:{middle}:{hashed(f'{method}:{self.uri}')}")
        text = (
            f'Digest username="{self.user}", realm="{self.realm}", nonce="{nonce}", '
            f'uri="{self.uri}", response="{response}"'
        )
        if self.algorithm:
            text += f", algorithm={self.algorithm}"
        if self.qop:
            text += f', qop=auth, nc={number:08x}, cnonce="c"'
        return text


def challenged(options: ServerOptions | None = None) -> tuple[Bench, Reply, str]:
    bench = Bench(App(passwords={"u": "p"}), options or ServerOptions())
    reply = bench.ask("DESCRIBE")
    assert reply.status == 401
    match = re.search(r'nonce="([^"]*)"', reply["WWW-Authenticate"])
    return bench, reply, match[1] if match else ""


def test_the_example_of_rfc_7616() -> None:
    """Section 3.9.1, whose method is GET."""
    options = ServerOptions(realm="http-auth@example.org")
    nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
    desk = AuthDesk(options, lambda: nonce)
    desk.challenges((), 0.0)
    value = (
        'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", '
        'algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
        'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
        'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    found = desk.read(Request("GET", "/", Headers([("Authorization", value)])), 1.0)
    assert found is not None
    assert found.matches("Circle of Life")
    assert not found.matches("Circle of life")


@pytest.mark.parametrize("algorithm", ["", "MD5", "SHA-256"])
@pytest.mark.parametrize("qop", ["", "auth"])
@pytest.mark.parametrize("has_qop", [False, True])
def test_digest(algorithm: str, qop: str, has_qop: bool) -> None:
    bench, reply, nonce = challenged(ServerOptions(has_qop=has_qop))
    assert ('qop="auth"' in reply["WWW-Authenticate"]) is has_qop
    client = Client(algorithm=algorithm, qop=qop)
    for _ in range(3):
        good = client.header("DESCRIBE", nonce)
        assert bench.ask("DESCRIBE", Authorization=good).status == 200
    wrong = Client(algorithm=algorithm, qop=qop, password="x").header("DESCRIBE", nonce, nc=9)
    reply = bench.ask("DESCRIBE", Authorization=wrong)
    assert reply.status == 401
    assert "stale" not in reply["WWW-Authenticate"]


def test_our_own_client_is_understood() -> None:
    bench, reply, _ = challenged()
    mine = Authenticator("u", "p", "cnonce")
    values = [
        f"{scheme} {rest}"
        for scheme, rest in re.findall(
            r"(Digest|Basic) (.*?)(?=, Digest|, Basic|$)", reply["WWW-Authenticate"]
        )
    ]
    assert len(values) == 3
    assert mine.accept(values) is not None
    for method in ("DESCRIBE", "DESCRIBE"):
        value = mine.authorization(method, URL)
        assert "SHA-256" in value
        assert bench.ask(method, Authorization=value).status == 200


def test_the_order_of_challenges() -> None:
    _, reply, nonce = challenged()
    assert reply["WWW-Authenticate"] == (
        f'Digest realm="FLUX", nonce="{nonce}", algorithm=SHA-256, '
        f'Digest realm="FLUX", nonce="{nonce}", algorithm=MD5, Basic realm="FLUX"'
    )


def test_schemes_by_option_and_by_answer() -> None:
    _, reply, _ = challenged(ServerOptions(schemes=("MD5",)))
    assert reply["WWW-Authenticate"].startswith("Digest")
    assert "SHA-256" not in reply["WWW-Authenticate"]
    bench = Bench(App(held={ask.DescribeAsked}))
    bench.feed(b"DESCRIBE rtsp://h/live RTSP/1.0\r\nCSeq: 1\r\n\r\n")
    _, (reply,) = bench.later(ask.Unauthorized(("basic",)))
    assert reply["WWW-Authenticate"] == 'Basic realm="FLUX"'


def test_an_algorithm_that_was_not_offered() -> None:
    bench, _, nonce = challenged(ServerOptions(schemes=("SHA-256",)))
    assert bench.ask("DESCRIBE", Authorization=Client().header("DESCRIBE", nonce)).status == 401
    assert bench.asked(ask.DescribeAsked).credentials is None


def test_the_uri_is_the_client_s_own() -> None:
    """Cameras and recorders sign another URI than that of their request line."""
    bench, _, nonce = challenged()
    header = Client(uri="/live/cam").header("DESCRIBE", nonce)
    assert bench.ask("DESCRIBE", Authorization=header).status == 200
    known = bench.asked(ask.DescribeAsked).credentials
    assert known is not None
    assert (known.scheme, known.user, known.uri) == ("digest", "u", "/live/cam")


def test_a_method_is_signed() -> None:
    bench, _, nonce = challenged()
    header = Client().header("SETUP", nonce)
    assert bench.ask("DESCRIBE", Authorization=header).status == 401


def test_a_nonce_of_another_connection_is_stale() -> None:
    _, _, nonce = challenged()
    header = Client().header("DESCRIBE", nonce + "x")
    bench, _, _ = challenged()
    reply = bench.ask("DESCRIBE", Authorization=header)
    assert reply.status == 401
    assert reply["WWW-Authenticate"].count("stale=true") == 2
    assert bench.asked(ask.DescribeAsked).credentials is None  # nobody has guessed a password
    fresh = re.findall(r'nonce="([^"]*)"', reply["WWW-Authenticate"])[0]
    again = Client().header("DESCRIBE", fresh)
    assert bench.ask("DESCRIBE", Authorization=again).status == 200


def test_a_nonce_grows_old() -> None:
    bench, _, nonce = challenged(ServerOptions(nonce_lifetime=30.0))
    header = Client().header("DESCRIBE", nonce)
    bench.run(bench.now + 29)
    assert bench.ask("DESCRIBE", Authorization=header).status == 200
    bench.run(bench.now + 2)
    reply = bench.ask("DESCRIBE", Authorization=header)
    assert "stale=true" in reply["WWW-Authenticate"]
    assert nonce not in reply["WWW-Authenticate"]


def test_a_stale_answer_opens_what_is_open_to_all() -> None:
    bench = Bench()
    header = Client().header("DESCRIBE", "never-given-out")
    assert bench.ask("DESCRIBE", Authorization=header).status == 200


def test_a_camera_that_never_counts() -> None:
    bench, _, nonce = challenged()
    client = Client(qop="auth")
    for _ in range(5):
        header = client.header("DESCRIBE", nonce, nc=1)
        assert bench.ask("DESCRIBE", Authorization=header).status == 200


def test_a_count_that_steps_back_is_stale() -> None:
    bench, _, nonce = challenged()
    client = Client(qop="auth")
    assert bench.ask("DESCRIBE", Authorization=client.header("DESCRIBE", nonce, nc=5)).status == 200
    reply = bench.ask("DESCRIBE", Authorization=client.header("DESCRIBE", nonce, nc=4))
    assert (reply.status, "stale=true" in reply["WWW-Authenticate"]) == (401, True)


@pytest.mark.parametrize("password", ["p", "pä:ss", "", "a:b"])
def test_basic(password: str) -> None:
    token = base64.b64encode(f"u:{password}".encode()).decode()
    bench = Bench(App(passwords={"u": password}))
    assert bench.ask("DESCRIBE", Authorization=f"basic {token}").status == 200
    known = bench.asked(ask.DescribeAsked).credentials
    assert known is not None
    assert (known.user, known.password) == ("u", password)
    assert not known.matches(password + "x")
    assert password not in repr(known) or len(password) < 2


def test_a_bearer_is_handed_on() -> None:
    bench = Bench()
    bench.ask("DESCRIBE", Authorization="Bearer abc.def")
    known = bench.asked(ask.DescribeAsked).credentials
    assert known == Credentials("bearer", "", "abc.def")


@pytest.mark.parametrize(
    "value",
    [
        "Basic !!!",
        "Basic dTp",
        "Basic dQ==",
        "Digest",
        "Digest username=u",
        'Digest username="u", realm="FLUX", nonce="{nonce}", uri="/", response=""',
        'Digest username="u", realm="FLUX", nonce="{nonce}", response="0", qop=auth-int',
        'Digest username="u", realm="FLUX", nonce="{nonce}", response="0", qop=auth, nc=zz',
        'Digest username="u", realm="FLUX", nonce="{nonce}", response="0", algorithm=CRC',
        'Digest username="u", realm="other", nonce="{nonce}", response="0"',
        "Negotiate abc",
        "",
        "Basic " + "A" * 8000,
    ],
)
def test_what_cannot_be_looked_at_is_no_credentials(value: str) -> None:
    bench, _, nonce = challenged()
    assert bench.ask("DESCRIBE", Authorization=value.replace("{nonce}", nonce)).status == 401
    assert bench.asked(ask.DescribeAsked).credentials is None


def test_guessing_ends_the_connection() -> None:
    bench, _, nonce = challenged()
    client = Client(password="x")
    for _ in range(9):
        bench.ask("DESCRIBE", Authorization=client.header("DESCRIBE", nonce))
    assert bench.end == "rtsp-too-many-challenges"


def test_a_success_forgets_the_challenges() -> None:
    bench, _, nonce = challenged()
    for _ in range(30):
        bench.ask("DESCRIBE")
        bench.ask("DESCRIBE", Authorization=Client().header("DESCRIBE", nonce))
    assert bench.end == ""


def test_a_realm_with_quotes() -> None:
    bench, reply, nonce = challenged(ServerOptions(realm='a "b" \\c'))
    assert 'realm="a \\"b\\" \\\\c"' in reply["WWW-Authenticate"]
    client = Client(realm='a "b" \\c')
    header = client.header("DESCRIBE", nonce).replace(
        f'realm="{client.realm}"', 'realm="a \\"b\\" \\\\c"'
    )
    assert bench.ask("DESCRIBE", Authorization=header).status == 200


@given(st.text(max_size=200))
def test_any_header_is_read(value: str) -> None:
    desk = AuthDesk(ServerOptions(), lambda: "n")
    desk.challenges((), 0.0)
    for prefix in ("", "Digest ", "Basic ", 'Digest nonce="n", realm="FLUX", '):
        found = desk.read(Request("PLAY", "*", Headers([("Authorization", prefix + value)])), 1.0)
        assert found is None or not found.matches("\udcff".encode("utf-8", "replace").decode())
