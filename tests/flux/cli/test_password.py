"""`flux hash-password`, and the credentials that commands send."""

from base64 import b64decode

from typer.testing import CliRunner

from config.access import check_hash
from flux.cli import EXIT_FAILURE, app
from flux.security.passwords import verify_hash
from tests.support.scripted_http import Answer, ScriptedHttp, as_json, page


def test_a_password_on_standard_input_is_hashed() -> None:
    result = CliRunner().invoke(app, ["hash-password"], input="pässword\r\nmore\n")
    assert result.exit_code == 0
    encoded = result.stdout.strip()
    check_hash(encoded)
    assert verify_hash(encoded, "pässword".encode())
    assert "pässword" not in result.output


def test_no_password_is_an_error() -> None:
    result = CliRunner().invoke(app, ["hash-password"], input="\n")
    assert (result.exit_code, result.stdout) == (EXIT_FAILURE, "")


def answer(method: str, path: str) -> Answer:
    return page([]) if path.startswith("/api/") else as_json({"status": "ok"})


def sent(*arguments: str, **env: str) -> str:
    """The credentials with which a command asked; the password is in none of its output."""
    with ScriptedHttp(answer) as server:
        url = server.url
        if "FLUX_API" in env:
            url = url.replace("http://", f"http://{env['FLUX_API']}@")
        result = CliRunner().invoke(app, arguments, env=env | {"FLUX_API": url})
        assert result.exit_code == 0
        assert "right" not in result.output
        (request,) = server.requests
    scheme, _, token = request[2].get("Authorization", " ").partition(" ")
    assert scheme in ("Basic", "")
    return b64decode(token).decode()


def test_credentials_are_sent() -> None:
    assert sent("streams") == ""
    assert sent("streams", "--user", "ann", "--password", "right:x") == "ann:right:x"
    assert sent("sessions", FLUX_API_USER="änn", FLUX_API_PASSWORD="right") == "änn:right"
    assert sent("healthcheck", "--user", "bob", FLUX_API_PASSWORD="right") == "bob:right"
    assert sent("kick", "x", FLUX_API_USER="ann", FLUX_API_PASSWORD="right") == "ann:right"
    assert sent("streams", FLUX_API="eve:right") == "eve:right"
    assert sent("streams", "--user", "ann", FLUX_API="eve:right") == "ann:"


def test_a_password_is_in_no_help_text() -> None:
    result = CliRunner().invoke(app, ["streams", "--help"], env={"FLUX_API_PASSWORD": "s3cret"})
    assert result.exit_code == 0
    assert "s3cret" not in result.output
