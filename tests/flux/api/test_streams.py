"""Streams over the API: lists, one with everything, changes, and two clients at once."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from yarl import URL

from config.names import FORBIDDEN
from tests.support.api_client import ApiClient, Reply, client_of
from tests.support.api_state import ApiState, populated, section

ONE = "/api/v1/streams/live/cam1"


@pytest.fixture
def state() -> ApiState:
    return populated()


@pytest.fixture
async def api(state: ApiState) -> AsyncIterator[ApiClient]:
    async with client_of(state) as client:
        yield client


def names(reply: Reply) -> list[str]:
    assert reply.status == 200
    return [stream["name"] for stream in reply.body["items"]]


# -- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [ONE, "/api/v1/streams/live%2Fcam1"])
async def test_a_stream_whose_name_holds_slashes(api: ApiClient, path: str) -> None:
    reply = await api(path)
    assert reply.status == 200
    assert reply.body["name"] == "live/cam1"
    assert reply.body["source"]["url"] == "rtsp://***@cam/1"
    assert reply.body["source"]["since"] == "2026-11-20T11:59:00Z"
    assert [track["codec_string"] for track in reply.body["tracks"]] == ["avc1.64001f", None]
    assert [reader["id"] for reader in reply.body["reader_list"]] == ["r1", "r2"]
    assert reply.body["dropped_tracks"][0]["text"] == "audio dropped: pcma not in hls-ts"
    assert reply.body["drops"] == {"h264-fu-loss": 3}
    assert reply.body["rtp"]["lost"] == 12
    assert reply.body["settings"]["transport"] == "tcp"


async def test_a_stream_that_nobody_declared_has_no_settings(api: ApiClient) -> None:
    reply = await api("/api/v1/streams/obs")
    assert reply.body["settings"] is None
    assert reply.body["origin"] == "publisher"


async def test_streams_come_in_pages(api: ApiClient) -> None:
    reply = await api("/api/v1/streams?items_per_page=2&page=0")
    assert (reply.body["item_count"], reply.body["page_count"]) == (4, 2)
    assert names(reply) == ["a", "b"]
    assert reply.body["items"][0]["reader_list"] is None
    assert names(await api("/api/v1/streams?items_per_page=2&page=1")) == ["live/cam1", "obs"]
    assert names(await api("/api/v1/streams?page=7")) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=ready", ["a", "b", "live/cam1", "obs"]),
        ("state=idle", []),
        ("protocol=rtsp", ["a", "b", "live/cam1"]),
        ("origin=publisher", ["obs"]),
        ("prefix=live/", ["live/cam1"]),
        ("prefix=l&origin=config&protocol=rtsp&state=ready", ["live/cam1"]),
        ("prefix=%D9%A3", []),
        ("sort=name", ["a", "b", "live/cam1", "obs"]),
        ("sort=-name", ["obs", "live/cam1", "b", "a"]),
        ("sort=readers", ["obs", "a", "b", "live/cam1"]),
        ("sort=-received_bps", ["b", "a", "live/cam1", "obs"]),
        ("sort=ready_since", ["live/cam1", "a", "b", "obs"]),
    ],
)
async def test_streams_are_filtered_and_ordered(
    api: ApiClient, state: ApiState, query: str, expected: list[str]
) -> None:
    figures: dict[str, dict[str, Any]] = {
        "b": {"received_bps": 9_000_000},
        "live/cam1": {"ready_since": None},
    }
    state.server = replace(
        state.server,
        streams=tuple(replace(s, **figures.get(s.name, {})) for s in state.server.streams),
    )
    assert names(await api(f"/api/v1/streams?{query}")) == expected


async def test_no_answer_shows_a_secret(api: ApiClient) -> None:
    await api("/api/v1/streams/n", "PUT", json={"source": "rtsp://user:secret@cam/1?token=secret"})
    for path in ("/api/v1/streams", ONE, "/api/v1/streams/n", "/metrics", "/api/v1/sessions"):
        reply = await api(path)
        assert reply.status == 200
        assert "secret" not in str(reply.body)


# -- changing ------------------------------------------------------------------------------------


async def test_a_stream_is_made_changed_and_ended(api: ApiClient, state: ApiState) -> None:
    path = "/api/v1/streams/new/cam"
    reply = await api(path, "POST", json={"source": "rtsp://u:p@cam/2", "on_demand": True})
    assert (reply.status, reply.headers["Location"]) == (201, path)
    assert reply.body["settings"]["source"] == "rtsp://***@cam/2"
    assert reply.headers["ETag"] == (await api(path)).headers["ETag"]

    reply = await api(path, "PATCH", json={"transport": "udp"})
    assert reply.status == 200
    made = state.sections["new/cam"]
    assert made.source is not None
    assert made.source.reveal() == "rtsp://u:p@cam/2"
    assert (made.on_demand, made.transport) == (True, "udp")

    reply = await api(path, "PATCH", json={"on_demand": None, "transport": None})
    assert (reply.body["settings"]["on_demand"], reply.body["settings"]["transport"]) == (
        False,
        "auto",
    )
    reply = await api(path, "PUT", json={"source": "testcard:"})
    assert reply.status == 200
    assert str(state.sections["new/cam"].source) == "testcard:"

    reply = await api(path, "DELETE")
    assert (reply.status, reply.body) == (204, b"")
    assert (await api(path)).reason == "stream-not-found"
    assert (await api(path, "DELETE")).reason == "stream-not-found"
    assert (await api(path, "PATCH", json={})).reason == "stream-not-found"


async def test_put_makes_what_is_not_there(api: ApiClient, state: ApiState) -> None:
    reply = await api("/api/v1/streams/p", "PUT", json={"source": "testcard:"})
    assert reply.status == 201
    assert "p" in state.sections


async def test_post_touches_nothing_that_is_there(api: ApiClient, state: ApiState) -> None:
    for name in ("a", "obs"):
        reply = await api(f"/api/v1/streams/{name}", "POST", json={"source": "testcard:"})
        assert (reply.status, reply.reason) == (409, "name-taken")
    assert str(state.sections["a"].source) == "rtsp://cam/1"


async def test_what_a_publisher_owns_is_not_changeable(api: ApiClient) -> None:
    for method in ("PATCH", "DELETE"):
        reply = await api("/api/v1/streams/obs", method, json={})
        assert (reply.status, reply.reason) == (409, "not-changeable")
    reply = await api("/api/v1/streams/obs", "PUT", json={"source": "testcard:"})
    assert (reply.status, reply.reason) == (409, "name-taken")


async def test_a_patch_may_be_a_merge_patch_by_type(api: ApiClient) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    reply = await api(ONE, "PATCH", data=b'{"on_demand": true}', headers=headers)
    assert (reply.status, reply.body["settings"]["on_demand"]) == (200, True)
    reply = await api(ONE, "PUT", data=b"{}", headers=headers)
    assert (reply.status, reply.reason) == (415, "body-not-json")


# -- bad input -----------------------------------------------------------------------------------

BAD_NAMES = [
    *("..%2f..%2fetc%2fpasswd", "%2e%2e", ".hidden", "_x", "~x", "a//b", "a/", "%2Fa", "a%00b"),
    *("a%0Ab", "a%20b", "x/index.m3u8", "x/whip", "a" * 201, "%E2%80%AEa", "%FF", "%ED%A0%80"),
    *(f"a%{ord(character):02X}" for character in sorted(FORBIDDEN)),
]


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_names_that_cannot_be_are_refused(api: ApiClient, state: ApiState, name: str) -> None:
    before = state.names
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        url = URL(f"http://{api.address}/api/v1/streams/{name}", encoded=True)
        async with api.session.request(method, url, json={"source": "testcard:"}) as response:
            assert response.status == 400
            assert (await response.json(content_type=None))["reason"] == "name-invalid"
    assert state.names == before


@pytest.mark.parametrize("name", ["live/\u043a\u0430\u043c", "\u6444\u50cf\u673a/1", "a-b_c.d~e"])
async def test_names_of_all_scripts(api: ApiClient, name: str) -> None:
    reply = await api(f"/api/v1/streams/{name}", "PUT", json={"source": "testcard:"})
    assert (reply.status, reply.body["name"]) == (201, name)
    assert (await api(f"/api/v1/streams/{name}")).body["name"] == name
    assert (await api(f"/api/v1/streams/{name}", "DELETE")).status == 204


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ([], [""]),
        (None, [""]),
        ("rtsp://cam/1", [""]),
        ({"source": 5}, ["/source"]),
        ({"source": {"url": "rtsp://cam/1"}}, ["/source"]),
        ({"source": "ftp://cam/1"}, ["/source"]),
        ({"source": "rtsp://"}, ["/source"]),
        ({"source": "rtsp://cam/\u202e"}, ["/source"]),
        ({"source": "rtsp://" + "a" * 5000}, ["/source"]),
        ({"on_demand": "yes"}, ["/on_demand"]),
        ({"on_demand": 1, "transport": "pigeon"}, ["/on_demand", "/transport"]),
        ({"ondemand": True}, ["/ondemand"]),
        ({"a/b~c": True}, ["/a~1b~0c"]),
        ({"source": "rtsp://***@other/1"}, ["/source"]),
        ({"audio": "mp3"}, ["/audio"]),
        ({"audio": {"hls": "mp3", "rtsp": "keep"}}, ["/audio/hls"]),
        ({"audio": {"webrtc": "opus"}}, ["/audio/webrtc"]),
    ],
)
async def test_settings_that_cannot_be_are_refused_with_their_places(
    api: ApiClient, state: ApiState, body: Any, pointers: list[str]
) -> None:
    before = dict(state.sections)
    for method, path in (("PUT", ONE), ("PATCH", ONE), ("POST", "/api/v1/streams/n")):
        reply = await api(path, method, data=json.dumps(body).encode(), headers=JSON)
        assert (reply.status, reply.reason) == (422, "settings-invalid")
        assert reply.pointers == pointers
    assert state.sections == before


async def test_a_refused_url_keeps_its_password(api: ApiClient) -> None:
    reply = await api(ONE, "PUT", json={"source": "gopher://user:hunter2@cam/1"})
    assert reply.reason == "settings-invalid"
    assert "hunter2" not in str(reply.body)


async def test_a_hidden_source_that_is_sent_back_stays(api: ApiClient, state: ApiState) -> None:
    shown = (await api(ONE)).body["settings"]
    reply = await api(ONE, "PUT", json={**shown, "on_demand": True})
    assert reply.status == 200
    kept = state.sections["live/cam1"]
    assert kept.source is not None
    assert (kept.source.reveal(), kept.on_demand) == ("rtsp://user:secret@cam/1", True)


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "body-malformed"),
        (b"{", 400, "body-malformed"),
        (b"{'source': 1}", 400, "body-malformed"),
        (b'{"source": NaN}', 400, "body-malformed"),
        (b'{"source": -Infinity}', 400, "body-malformed"),
        (b'{"source": 1, "source": 2}', 400, "body-malformed"),
        (b'{"source": "\\ud800"}', 400, "body-malformed"),
        (b'{"source": "\xff"}', 400, "body-malformed"),
        (b"\xef\xbb\xbf{}", 400, "body-malformed"),
        (b"[" * 60_000, 400, "body-malformed"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, 400, "body-malformed"),
        (b'{"source": ' + b"9" * 5000 + b"}", 400, "body-malformed"),
        (b'{"source": "' + b"x" * (1 << 20) + b'"}', 413, "body-too-large"),
        (b" " * 70_000, 413, "body-too-large"),
    ],
)
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_bodies_that_are_no_settings(
    api: ApiClient, state: ApiState, body: bytes, status: int, reason: str, is_chunked: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1 << 15):
            yield body[start : start + (1 << 15)]

    before = dict(state.sections)
    for method, path in (("PUT", ONE), ("PATCH", ONE), ("POST", "/api/v1/streams/n")):
        reply = await api(
            path, method, data=pieces() if is_chunked else BytesIO(body), headers=JSON
        )
        assert (reply.status, reply.reason) == (status, reason)
    assert state.sections == before
    assert (await api("/healthz")).status == 200


HEAD = b"PUT /api/v1/streams/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "rest",
    [
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}",
        b"Content-Length: 50\r\n\r\n{}",
        b"Content-Length: 4\r\nContent-Encoding: gzip\r\n\r\nabcd",
    ],
)
async def test_bodies_that_are_cut_or_badly_framed(
    api: ApiClient, state: ApiState, rest: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    host, _, port = api.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(HEAD + rest)
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer == b"" or b" 400 " in answer.splitlines()[0]
    assert b"Traceback" not in answer
    assert caplog.text == ""
    assert str(state.sections["a"].source) == "rtsp://cam/1"


# -- two clients ---------------------------------------------------------------------------------


async def test_the_second_of_two_clients_is_told(api: ApiClient, state: ApiState) -> None:
    """Both read, both change: the one that is late learns of it and nothing is lost."""
    tag = (await api(ONE)).headers["ETag"]
    replies = await asyncio.gather(
        *(
            api(ONE, "PATCH", json={"transport": transport}, headers={"If-Match": tag})
            for transport in ("udp", "auto", "udp", "auto")
        )
    )
    assert sorted(reply.status for reply in replies) == [200, 412, 412, 412]
    (winner,) = [reply for reply in replies if reply.status == 200]
    assert state.sections["live/cam1"].transport == winner.body["settings"]["transport"]
    for reply in replies:
        assert reply.headers["ETag"] == winner.headers["ETag"]
        assert reply.status == 200 or reply.reason == "precondition-failed"
    again = await api(
        ONE, "PATCH", json={"on_demand": True}, headers={"If-Match": winner.headers["ETag"]}
    )
    assert again.status == 200


async def test_of_many_creators_one_succeeds(api: ApiClient) -> None:
    path, body = "/api/v1/streams/race", {"source": "testcard:"}
    replies = await asyncio.gather(*(api(path, "POST", json=body) for _ in range(5)))
    assert sorted(reply.status for reply in replies) == [201, 409, 409, 409, 409]
    replies = await asyncio.gather(*(api(path, "DELETE") for _ in range(3)))
    assert sorted(reply.status for reply in replies) == [204, 404, 404]


@pytest.mark.parametrize(
    ("name", "headers", "status"),
    [
        ("live/cam1", {"If-Match": "TAG"}, 200),
        ("live/cam1", {"If-Match": '"other", TAG'}, 200),
        ("live/cam1", {"If-Match": "*"}, 200),
        ("live/cam1", {"If-Match": "W/TAG"}, 412),
        ("live/cam1", {"If-Match": '"other"'}, 412),
        ("live/cam1", {"If-Match": "TAG", "If-None-Match": '"other"'}, 200),
        ("live/cam1", {"If-None-Match": "*"}, 412),
        ("live/cam1", {"If-None-Match": "W/TAG"}, 412),
        ("live/cam1", {"If-Match": "3"}, 412),
        ("live/cam1", {"If-Match": ""}, 412),
        ("live/cam1", {"If-Match": '"a" "b"'}, 412),
        ("live/cam1", {"If-None-Match": '"a'}, 412),
        ("none", {"If-Match": "*"}, 412),
        ("none", {"If-Match": "TAG"}, 412),
        ("none", {"If-None-Match": "*"}, 201),
        ("none", {}, 201),
    ],
)
async def test_preconditions(
    api: ApiClient, name: str, headers: dict[str, str], status: int
) -> None:
    tag = (await api(ONE)).headers["ETag"]
    headers = {key: value.replace("TAG", tag) for key, value in headers.items()}
    reply = await api(
        f"/api/v1/streams/{name}", "PUT", json={"source": "testcard:"}, headers=headers
    )
    assert reply.status == status
    if status >= 400:
        assert reply.reason == "precondition-failed"


async def test_a_tag_of_another_run_never_matches(state: ApiState) -> None:
    async with client_of(state) as first:
        tag = (await first(ONE)).headers["ETag"]
    async with client_of(state) as second:
        reply = await second(ONE, "DELETE", headers={"If-Match": tag})
        assert reply.reason == "precondition-failed"


async def test_a_source_is_preferred_by_its_place(api: ApiClient, state: ApiState) -> None:
    state.declare("several", section(fallback=["rtsp://cam/2"]))
    path = "/api/v1/switch/several"
    assert (await api(f"{path}?source=1", "POST")).status == 204
    assert (await api(path, "POST")).status == 204
    assert state.switched == [("several", 1), ("several", None)]
    assert (await api(f"{path}?source=7", "POST")).reason == "source-not-found"
    assert (await api(f"{path}?source=x", "POST")).reason == "query-invalid"
    assert (await api("/api/v1/switch/nobody", "POST")).reason == "stream-not-found"
    state.declare("single", section())
    assert (await api("/api/v1/switch/single", "POST")).reason == "one-source-only"
