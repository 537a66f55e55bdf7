"""`flux streams`, `sessions`, `kick` and `healthcheck`: what asks a running server."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from flux.cli.api import (
    DEFAULT_API,
    ApiClient,
    ApiError,
    ApiOption,
    PasswordOption,
    UserOption,
    path_of,
)
from flux.cli.output import (
    EXIT_FAILURE,
    Align,
    JsonOption,
    add_rows,
    fail,
    make_console,
    make_table,
    percent,
    plain,
    print_json,
    rate,
    seconds,
    size,
    sound_format,
)

COMPLETION_TIMEOUT = 0.5  # seconds that a key press may wait for the server
HEALTH_TIMEOUT = 3.0
L, R = Align.LEFT, Align.RIGHT
Table = tuple[Sequence[tuple[str, Align]], Iterable[Sequence[object]]]


def complete_stream(context: typer.Context, incomplete: str) -> list[str]:
    """Names of streams for the shell."""
    return _complete(context, "streams", "name", incomplete)


def complete_session(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of sessions for the shell."""
    return _complete(context, "sessions", "id", incomplete)


def streams(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Show this one.", autocompletion=complete_stream),
    ] = None,
    api: ApiOption = DEFAULT_API,
    user: UserOption = "",
    password: PasswordOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the streams of a running server, or show one with its tracks and readers."""
    client = ApiClient(api, user=user, password=password)
    if name is None:
        items = _call(lambda: client.items("/api/v1/streams"))
        if as_json:
            print_json(items)
        else:
            _print_tables([_stream_table(items)])
        return
    stream = _call(lambda: client.get(path_of("streams", name)))
    if as_json:
        print_json(stream)
    else:
        _print_stream(stream)


def sessions(
    stream: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of this stream only.", autocompletion=complete_stream),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(metavar="PROTOCOL", help="Of this protocol only, such as hls.")
    ] = None,
    api: ApiOption = DEFAULT_API,
    user: UserOption = "",
    password: PasswordOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the readers and publishers of a running server."""
    client = ApiClient(api, user=user, password=password)
    items = [
        item
        for item in _call(lambda: client.items("/api/v1/sessions"))
        if (stream is None or item.get("stream") == stream)
        and (protocol is None or item.get("protocol") == protocol)
    ]
    if as_json:
        print_json(items)
    else:
        _print_tables([_session_table(items)])


def kick(
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...",
            help="Ids as `flux sessions` has them.",
            autocompletion=complete_session,
        ),
    ],
    api: ApiOption = DEFAULT_API,
    user: UserOption = "",
    password: PasswordOption = "",
    as_json: JsonOption = False,
) -> None:
    """End sessions of a running server. The exit code is 1 if any of them was not there."""
    client = ApiClient(api, user=user, password=password)
    kicked: list[str] = []
    failed: list[dict[str, str]] = []
    for session in ids:
        try:
            client.delete(path_of("sessions", session))
        except ApiError as error:
            failed.append({"id": session, "reason": error.reason})
            if not as_json:
                typer.echo(plain(f"{session}: {error}"), err=True)
        else:
            kicked.append(session)
            if not as_json:
                typer.echo(plain(f"{session}: kicked"))
    if as_json:
        print_json({"kicked": kicked, "failed": failed})
    if failed:
        raise typer.Exit(EXIT_FAILURE)


def healthcheck(
    ready: Annotated[
        bool,
        typer.Option("--ready", help="Ask whether it may get new work, not only whether it lives."),
    ] = False,
    api: ApiOption = DEFAULT_API,
    user: UserOption = "",
    password: PasswordOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask a running server for its health: exit code 0 or 1, for containers and monitors."""
    client = ApiClient(api, HEALTH_TIMEOUT, user, password)
    try:
        answer = client.get("/readyz" if ready else "/healthz")
    except ApiError as error:
        if as_json:
            print_json({"healthy": False, "reason": error.reason, "detail": str(error)})
            raise typer.Exit(EXIT_FAILURE) from None
        fail(plain(error))
    status = answer.get("status", "") if isinstance(answer, dict) else ""
    if as_json:
        print_json({"healthy": True, "status": status})
    else:
        typer.echo(plain(status))


# -- inside --------------------------------------------------------------------------------------


def _call(ask: Any) -> Any:
    """Ask the server; end with exit code 1 where it says no."""
    try:
        return ask()
    except ApiError as error:
        fail(plain(error))


def _complete(context: typer.Context, kind: str, key: str, incomplete: str) -> list[str]:
    """What a key press offers; nothing where no server answers at once."""
    url = context.params.get("api") or DEFAULT_API
    try:
        user, password = (str(context.params.get(key) or "") for key in ("user", "password"))
        client = ApiClient(str(url), COMPLETION_TIMEOUT, user, password)
        items = client.items(f"/api/v1/{kind}")
    except (ApiError, typer.BadParameter):
        return []
    return [str(item[key]) for item in items if str(item.get(key, "")).startswith(incomplete)]


def _print_tables(tables: Iterable[Table]) -> None:
    console = make_console()
    for columns, rows in tables:
        table = make_table(columns, is_terminal=console.is_terminal)
        add_rows(table, rows)
        console.print(table)


def _stream_table(items: Iterable[Mapping[str, Any]]) -> Table:
    columns = [
        ("NAME", L), ("STATE", L), ("SOURCE", L), ("TRACKS", L), ("READERS", R), ("IN", R),
        ("KEY", R), ("REASON", L),
    ]  # fmt: skip
    rows = [
        (
            item["name"],
            item["state"],
            (item["source"] or {}).get("kind", item["origin"]),
            " ".join(track["codec"] for track in item["tracks"]) or "-",
            sum(item["readers"].values()),
            rate(item["received_bps"]),
            seconds(item["key_frame_interval"]),
            item["reason"] or (item["source"] or {}).get("reason") or "",
        )
        for item in items
    ]
    return columns, rows


def _session_table(items: Iterable[Mapping[str, Any]]) -> Table:
    columns = [
        ("ID", L), ("ROLE", L), ("PROTOCOL", L), ("STREAM", L), ("ADDRESS", L), ("SINCE", L),
        ("LAG", R), ("SENT", R), ("RECEIVED", R), ("DROPPED", R),
    ]  # fmt: skip
    rows = [
        (
            item["id"],
            item["role"],
            item["protocol"],
            item["stream"],
            item["address"],
            str(item["since"])[:19].replace("T", " "),
            seconds(item["lag"]),
            size(item["sent_bytes"]),
            size(item["received_bytes"]),
            item["dropped"],
        )
        for item in items
    ]
    return columns, rows


def _print_stream(stream: Mapping[str, Any]) -> None:
    source = stream["source"] or {}
    facts: list[tuple[str, object]] = [
        ("name", stream["name"]),
        ("state", " ".join(filter(None, (stream["state"], stream["reason"])))),
        ("origin", stream["origin"]),
        ("source", source.get("url", "-")),
        ("source state", " ".join(filter(None, (source.get("state"), source.get("reason"))))),
        ("in", f"{rate(stream['received_bps'])}, {size(stream['received_bytes'])}"),
        ("out", size(stream["sent_bytes"])),
        ("key frames", f"every {seconds(stream['key_frame_interval'])}"),
        ("memory", size(stream["memory_bytes"])),
    ]
    rtp = stream["rtp"]
    if rtp and rtp["packets"]:
        lost = rtp["lost"] / (rtp["packets"] + rtp["lost"])
        facts.append(("rtp", f"{rtp['packets']} packets, {percent(lost)} lost"))
    facts += [(f"dropped {reason}", count) for reason, count in stream["drops"].items()]
    facts += [
        ("interrupted", f"{each['count']} by {cause}, {seconds(each['seconds'])}")
        for cause, each in stream["interruptions"].items()
        if each["count"]
    ]
    facts += [("track", dropped["text"]) for dropped in stream["dropped_tracks"]]
    for key, value in facts:
        typer.echo(f"{key:<14}{plain(value)}")
    typer.echo("")
    _print_tables([_track_table(stream["tracks"]), _reader_table(stream["reader_list"] or [])])


def _track_table(items: Iterable[Mapping[str, Any]]) -> Table:
    columns = [("TRACK", R), ("KIND", L), ("CODEC", L), ("FORMAT", L), ("RATE", R), ("BIT RATE", R)]
    rows = [
        (
            item["id"],
            item["kind"],
            item["codec_string"] or item["codec"],
            _format_of(item),
            f"{item['frames_per_second']:.2f}/s",
            rate(item["bitrate_bps"]),
        )
        for item in items
    ]
    return columns, rows


def _format_of(track: Mapping[str, Any]) -> str:
    if track["width"]:
        return f"{track['width']}x{track['height']}"
    if track["sample_rate"]:
        return sound_format(track["sample_rate"], track["channels"] or 0)
    return "-"


def _reader_table(items: Iterable[Mapping[str, Any]]) -> Table:
    columns = [("READER", L), ("PROTOCOL", L), ("LAG", R), ("SENT", R), ("DROPPED", R)]
    rows = [
        (
            item["id"],
            item["protocol"],
            seconds(item["lag"]),
            size(item["sent_bytes"]),
            item["dropped"],
        )
        for item in items
    ]
    return columns, rows
