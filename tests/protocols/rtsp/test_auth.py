"""Challenges and digests: the vectors of RFC 2617 section 3.5 and RFC 7616 section 3.9."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.rtsp.auth import Authenticator, Challenge, digest_response, parse_challenges

RFC_7616 = Challenge(
    "digest", "http-auth@example.org", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", qop="auth"
)
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def test_rfc_2617() -> None:
    nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
    challenge = Challenge("digest", "testrealm@host.com", nonce, qop="auth")
    response = digest_response(
        challenge, "Mufasa", "Circle Of Life", "GET", "/dir/index.html", cnonce="0a4f113b"
    )
    assert response == "6629fae49393a05397450978507c4ef1"


def test_rfc_2069_form_without_qop() -> None:
    nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
    challenge = Challenge("digest", "testrealm@host.com", nonce)
    response = digest_response(challenge, "Mufasa", "CircleOfLife", "GET", "/dir/index.html")
    assert response == "1949323746fe6a43ef61f9606e7febea"  # erratum 749 of RFC 2069


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc_7616(algorithm: str, expected: str) -> None:
    challenge = Challenge("digest", RFC_7616.realm, RFC_7616.nonce, algorithm=algorithm, qop="auth")
    response = digest_response(
        challenge, "Mufasa", "Circle of Life", "GET", "/dir/index.html", cnonce=CNONCE
    )
    assert response == expected


def test_rfc_7616_sha_512_256_with_userhash() -> None:
    """The values of erratum 4897: those of the RFC itself are of a truncated SHA-512."""
    header = (
        'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, '
        'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", '
        'opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true'
    )
    cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v"
    authenticator = Authenticator("J\u00e4s\u00f8n Doe", "Secret, or not?", cnonce)
    assert authenticator.accept([header]) is not None
    value = authenticator.authorization("GET", "/doe.json")
    assert "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b" in value
    assert "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5" in value
    assert "userhash=true" in value


def test_basic() -> None:
    authenticator = Authenticator("Aladdin", "open sesame", "")
    assert authenticator.authorization("GET", "/") == ""
    authenticator.accept(['Basic realm="x"'])
    assert authenticator.authorization("GET", "/") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


def test_the_strongest_of_several_challenges_is_answered() -> None:
    basic, md5 = 'Basic realm="a, b"', 'Digest realm="a, b", nonce="1"'
    sha = 'digest REALM = "q\\"q" ,nonce=2,algorithm=SHA-256 , qop="auth-int,auth"'
    strange = 'Digest realm="a", nonce="3", algorithm=SHA3-999'
    authenticator = Authenticator("u", "p", "c")
    for values in ([basic, strange, sha, md5], [f"{basic}, {strange}, {sha}, {md5}"]):
        chosen = authenticator.accept(values)
        assert chosen == Challenge("digest", 'q"q', "2", algorithm="SHA-256", qop="auth")
    chosen = authenticator.accept([f"{basic}, {md5}"])
    assert chosen == Challenge("digest", "a, b", "1")
    assert authenticator.accept([strange, 'Digest nonce="1", qop="auth-int"', "Bearer x"]) is None


def test_the_count_grows_with_each_request_of_one_nonce() -> None:
    authenticator = Authenticator("u", "p", "c")
    for _ in range(2):
        authenticator.accept(['Digest realm="r", nonce="n", qop="auth", opaque=""'])
        for count in ("00000001", "00000002"):
            value = authenticator.authorization("PLAY", "rtsp://h/")
            assert f"nc={count}" in value
            assert 'opaque=""' in value


def test_session_variant_hashes_the_nonces_in() -> None:
    plain = Challenge("digest", "r", "n", algorithm="MD5", qop="auth")
    session = Challenge("digest", "r", "n", algorithm="MD5-sess", qop="auth")
    one, other = (digest_response(c, "u", "p", "GET", "/", cnonce="c") for c in (plain, session))
    assert one != other


@given(st.text(max_size=200) | st.text('Digest Basic="\\,nonce=realm', max_size=80))
def test_any_header_is_no_fault(value: str) -> None:
    authenticator = Authenticator("u", "p", "c")
    parse_challenges([value])
    if authenticator.accept([value]) is not None:
        assert authenticator.authorization("PLAY", "rtsp://h/")
