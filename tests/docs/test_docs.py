"""What the documentation says is tried: configuration, commands, links, names, examples."""

import asyncio
import json
import re
import shlex
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import BaseModel, ValidationError
from typer.testing import CliRunner

from config import srt_url
from config.problems import ConfigProblems
from config.schema import Config
from config.sources.file import load_bytes
from flux.api import models
from flux.api.routes import Api
from flux.app.streams import StreamRegistry
from flux.bridges.srt.sessions import SrtSessions
from flux.cli import app
from flux.core.bus import Bus
from flux.core.children import Children
from flux.core.forwarding import Forwards
from flux.core.looplag import LoopLag
from flux.telemetry import metrics
from flux.telemetry.collect import Collector
from flux.telemetry.eventlog import event_word
from media.router import Router
from protocols.rtsp.exchange import status_reason
from protocols.srt import reject
from tests.support import reasons
from tests.support.markdown import Page, Span, Table
from tests.support.snapshots import make_server, make_stream

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CHANGELOG.md", *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]
CODE = [p for room in ("flux", "protocols", "media", "config") for p in (ROOT / room).rglob("*.py")]

SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
METRIC = re.compile(r"\bflux_[a-z0-9_]+")
STATUS_REASON = re.compile(r"rtsp-(\d{3}|\dxx)")
MEDIA_PATH = re.compile(r"/[\w/]+(\.flv|\.ts|/index\.m3u8)")
# Programs that are not ours.
OTHERS = frozenset(
    {
        *("curl", "ffmpeg", "ffplay", "gst-launch-1.0", "openssl", "srt-live-transmit"),
        *("sysctl", "ulimit", "vlc"),
    }
)
# Of the reasons of one depacketizer that several formats share.
PREFIXES = ("h264", "h265", "vp8", "vp9", "av1", "mjpeg", "klv", "onvif")
SOUNDS = {  # media/payloads/samples.py and fragments.py
    **dict.fromkeys(("g711", "g722", "g726", "l16"), ("unit-loss", "malformed")),
    **dict.fromkeys(
        ("mp3", "ac3", "eac3"), ("unit-loss", "fragment-loss", "unit-too-large", "malformed")
    ),
}

Check = Callable[[Page], Iterator[str]]
Words = list[str]


def page(name: str) -> Page:
    """A page of the project."""
    return Page((ROOT / name).read_text(), name)


def python(*names: str) -> list[Path]:
    """Modules by folder or by path."""
    places = [ROOT / name for name in names]
    return [file for p in places for file in (p.rglob("*.py") if p.is_dir() else [p])]


# -- what the code has ---------------------------------------------------------------------------


@cache
def known_words() -> frozenset[str]:
    """Constants of the code, words of its events, reasons that are made of two parts."""
    events = {event_word(type(name, (), {})) for name in reasons.classes(CODE)}
    words = reasons.constants(CODE) | events
    shared = reasons.constants(python("media/payloads"))
    words |= {f"{prefix}-{word}" for prefix in PREFIXES for word in shared}
    words |= set(reject.SLUGS.values())
    return frozenset(words | {f"{prefix}-{end}" for prefix, ends in SOUNDS.items() for end in ends})


def exposed_metrics() -> dict[str, tuple[str, ...]]:
    """Every metric as a scrape shows it, with its labels."""
    found: dict[str, tuple[str, ...]] = {}
    for family in metrics.families(make_server(make_stream())):
        name = family.name + "_total" * (family.type == "counter")
        labels = {label for sample in family.samples for label in sample.labels}
        found[name] = tuple(sorted(labels - {"le"}))
    return found


def routes() -> set[str]:
    """The routes of the API."""
    bus = Bus()
    router = Router(bus.emit)
    collector = Collector(router, bus, LoopLag())
    forwards = Forwards(router, bus.emit, {})
    children, sessions = Children(bus.emit), SrtSessions()
    registry = StreamRegistry(Config(), router, children, collector, bus.emit, forwards, sessions)
    paths = [route.path for route in Api(collector, registry, bus).routes()]
    return {re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path) for path in paths}


def make_targets() -> set[str]:
    """What can be made."""
    text = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", text, re.MULTILINE))


def has_key(path: str) -> bool:
    """Whether the schema knows a key or a section."""
    value: object = Config().model_dump()
    for step in path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return False
        value = value[step]
    return True


def is_default(path: str, value: str) -> bool:
    """Whether a key with this value, as a file would say it, is what holds without it."""
    *sections, key = path.split(".")
    text = "".join(f"{section}: {{" for section in sections) + f"{key}: {value}"
    try:
        return load_bytes((text + "}" * len(sections)).encode(), "key") == Config()
    except ConfigProblems:
        return False


# -- the checks ----------------------------------------------------------------------------------


def check_yaml(page: Page) -> Iterator[str]:
    """Every YAML block is a configuration."""
    for fence in page.fences:
        if fence.info in ("yaml", "yml"):
            try:
                load_bytes(fence.text.encode(), page.place(fence.line))
            except ConfigProblems as problems:
                yield str(problems)


def check_json(page: Page) -> Iterator[str]:
    """Every JSON block is JSON; `json api.Stream` is what the API answers."""
    for fence in page.fences:
        language, _, name = fence.info.partition(" ")
        if language != "json":
            continue
        model = getattr(models, name.removeprefix("api."), None) if name else None
        try:
            json.loads(fence.text)
            if isinstance(model, type) and issubclass(model, BaseModel):
                model.model_validate_json(fence.text)
            elif name:
                yield f"{page.place(fence.line)}: the API has no {name}"
        except (json.JSONDecodeError, ValidationError) as error:
            yield f"{page.place(fence.line)}: {error}"


def commands(page: Page) -> Iterator[tuple[str, Words]]:
    """Every command line with its place, of shell blocks and of code spans."""
    for fence in page.fences:
        if fence.info == "sh":
            for offset, line in enumerate(fence.text.splitlines()):
                if line.strip():
                    yield page.place(fence.line + offset), shlex.split(line, comments=True)
    for span in page.spans:
        if re.match(r"(flux|make|ffplay|python -m flux) ", span.text) and "..." not in span.text:
            yield page.place(span.line), shlex.split(span.text)


def check_commands(page: Page) -> Iterator[str]:
    """Every command line is understood by what it calls."""
    for place, words in commands(page):
        program = Path(words[0]).name
        if program == "flux":
            yield from flux_problems(place, words[1:])
        elif words[:3] == ["python", "-m", "flux"]:
            yield from flux_problems(place, words[3:])
        elif program == "python":
            module = ROOT / words[2].replace(".", "/") if words[1] == "-m" else ROOT / words[1]
            if not (module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()):
                yield f"{place}: no module {words[2]}"
        elif program == "make":
            for word in words[1:]:
                if word.startswith("ARGS="):
                    if "run" in words:
                        yield from flux_problems(place, ["run", *shlex.split(word[5:])])
                elif word not in make_targets():
                    yield f"{place}: make has no target {word}"
        elif program not in OTHERS:
            yield f"{place}: {program} is no command that is known here"
        for word in words:
            if word.startswith("http://localhost:") and not is_ours(word):
                yield f"{place}: {word} is no URL of ours"


def flux_problems(place: str, arguments: Words) -> Iterator[str]:
    """Run a command of ours, its server replaced; files that it names are made."""
    if len(arguments) == 1 or arguments[0] == "probe":  # it would ask a server: parse it only
        arguments = [*arguments, "--help"]
    for word in arguments:
        if word.endswith(".yaml"):
            Path(word).write_text("streams: {}\n")
    result = CliRunner().invoke(app, arguments, env={"FLUX_CONFIG": ""})
    if result.exit_code != 0:
        yield f"{place}: flux {shlex.join(arguments)}: {result.output}"


def is_ours(url: str) -> bool:
    """Whether a URL of the default ports leads to something."""
    parts = urlsplit(url)
    if parts.port == 8888:
        return MEDIA_PATH.fullmatch(parts.path) is not None
    is_stream = parts.path.startswith(("/api/v1/streams/", "/api/v1/switch/"))
    return parts.port == 9997 and (is_stream or parts.path in routes())


def check_links(page: Page) -> Iterator[str]:
    """Every relative link leads to a file, and to a heading of it."""
    for link in page.links:
        if re.match(r"[a-z]+:", link.text):
            continue
        path, _, anchor = link.text.partition("#")
        target = (ROOT / page.path).parent / path
        if not target.exists():
            yield f"{page.place(link.line)}: no file {path}"
        elif anchor and anchor not in (Page(target.read_text()) if path else page).anchors:
            yield f"{page.place(link.line)}: no heading for #{anchor} in {path or page.path}"


def check_metrics(page: Page) -> Iterator[str]:
    """Every metric that is named exists; a table of metrics has all of them, with their labels."""
    exposed = exposed_metrics()
    for span in page.spans:
        for name in METRIC.findall(span.text):
            if name not in exposed and re.sub("_(bucket|sum|count)$", "", name) not in exposed:
                yield f"{page.place(span.line)}: no metric {name}"
    for table in page.tables:
        if "metric" not in table.header:
            continue
        listed = {bare(cell): cell.line for cell in table.column("metric")}
        yield from (f"{page.place(table.line)}: {m} is missing" for m in exposed.keys() - listed)
        for cell, labels in zip(table.column("metric"), table.column("labels"), strict=True):
            said = tuple(sorted(label.strip() for label in labels.text.split(",") if label))
            if bare(cell) in exposed and said != exposed[bare(cell)]:
                yield f"{page.place(cell.line)}: {bare(cell)} has other labels"


def check_words(page: Page) -> Iterator[str]:
    """Every reason and every event that is named is one of the code's."""
    spans = [span for span in page.spans if SLUG.fullmatch(span.text)]
    for table in page.tables:
        for header in {"reason", "event"} & set(table.header):
            spans += [span for cell in table.column(header) for span in in_code(cell)]
    for span in spans:
        status = STATUS_REASON.fullmatch(span.text)
        number = int(status[1].replace("xx", "99")) if status else 0
        if span.text not in known_words() and (not number or status_reason(number) != span.text):
            yield f"{page.place(span.line)}: the code does not say {span.text}"


def check_keys(page: Page) -> Iterator[str]:
    """Every configuration key that is named exists and has the default that is told."""
    sections = "|".join(Config.model_fields)
    for span in page.spans:
        if re.fullmatch(rf"({sections})(\.[a-z_]+)+", span.text) and not has_key(span.text):
            yield f"{page.place(span.line)}: no key {span.text}"
    for table in page.tables:
        if table.header[:2] != ["key", "default"]:
            continue
        for key, default in zip(table.column("key"), table.column("default"), strict=True):
            if not has_key(bare(key)):
                yield f"{page.place(key.line)}: no key {bare(key)}"
            elif not is_default(bare(key), bare(default)):
                yield f"{page.place(key.line)}: {bare(key)} is not {bare(default)} by default"


def check_routes(page: Page) -> Iterator[str]:
    """A table of routes has all routes and no others."""
    for table in page.tables:
        if "route" in table.header:
            listed = {bare(cell) for cell in table.column("route")}
            for route in sorted(listed ^ routes()):
                yield f"{page.place(table.line)}: {route}: in the code or here only"


def bare(cell: Span) -> str:
    """A cell without its code marks."""
    return cell.text.strip("`")


def in_code(cell: Span) -> list[Span]:
    """The code spans of a cell."""
    return [Span(span.text, cell.line) for span in Page(cell.text).spans]


CHECKS: list[Check] = [
    check_yaml,
    check_json,
    check_commands,
    check_links,
    check_metrics,
    check_words,
    check_keys,
    check_routes,
]


@pytest.fixture(autouse=True)
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder to write to, and a server that ends as soon as it runs."""

    async def serve(config: Config, on_running: Callable[[], None]) -> None:
        await asyncio.sleep(0)
        on_running()

    module = types.ModuleType("flux.app")
    monkeypatch.setattr(module, "serve", serve, raising=False)
    monkeypatch.setitem(sys.modules, "flux.app", module)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_true(name: str, check: Check) -> None:
    assert list(check(page(name))) == []


# -- what the code has must be told --------------------------------------------------------------


def test_all_metrics_are_told() -> None:
    assert any("metric" in table.header for table in page("docs/operations.md").tables)


def test_all_routes_are_told() -> None:
    assert any("route" in table.header for table in page("docs/api.md").tables)


def statuses(table: Table) -> dict[str, int]:
    """Reason and status of each row; one row may have several reasons."""
    rows = zip(table.column("reason"), table.column("status"), strict=True)
    return {span.text: int(status.text) for cell, status in rows for span in in_code(cell)}


def untold(told: Mapping[str, int], code: Mapping[str, int]) -> set[tuple[str, int]]:
    """What the code answers and the page does not say so."""
    return {(reason, status) for reason, status in code.items() if told.get(reason) != status}


RTSP_SERVER = (
    *(
        f"flux/bridges/rtsp/{name}.py"
        for name in ("server", "entrance", "play", "play_ways", "record", "groups", "ways")
    ),
    *(str(file.relative_to(ROOT)) for file in (ROOT / "protocols/rtsp").glob("server_*.py")),
)
REFUSALS = [
    ("docs/http.md", ("flux/bridges/http", "flux/bridges/hls"), ("refuse", "fail", "PeerError")),
    ("docs/http.md", ("media/lease.py", "media/router.py"), ("_refuse", "refuse_all")),
    ("docs/api.md", ("flux/api",), ("ApiProblem",)),
    ("docs/rtsp-server.md", RTSP_SERVER, ("refuse", "Refusal", "PeerError")),
]


@pytest.mark.parametrize(("name", "places", "functions"), REFUSALS)
def test_all_refusals_are_told(
    name: str, places: tuple[str, ...], functions: tuple[str, ...]
) -> None:
    (table,) = [t for t in page(name).tables if t.header[:2] == ["reason", "status"]]
    code = {r: s for r, s in reasons.given(python(*places), functions).items() if s}
    assert code
    assert untold(statuses(table), code) == set()


def test_an_untold_refusal_is_found() -> None:
    told = {"not-found": 404, "no-segments-yet": 500}
    code = {"not-found": 404, "no-segments-yet": 503, "too-many-sessions": 503}
    assert untold(told, code) == {("no-segments-yet", 503), ("too-many-sessions", 503)}


def test_all_refusals_of_srt_callers_are_told() -> None:
    (table,) = [t for t in page("docs/srt.md").tables if t.header[:2] == ["code", "reason"]]
    rows = zip(table.column("code"), table.column("reason"), strict=True)
    told = {span.text: int(code.text) for code, cell in rows for span in in_code(cell)}
    code = reasons.given(python("flux/bridges/srt/server.py"), ("_refuse",))
    code |= reasons.given(python("protocols/srt/stream_id.py"), ("WireError",))
    assert {"name-taken", "stream-id-nested", "srt-message-api"} < code.keys()
    assert code.keys() - told.keys() == set()
    assert {n for n in told.values() if n > 99} <= set(map(int, reject.Reject))
    assert {slug: n for slug, n in told.items() if slug.startswith("srt-")} == {
        slug: n for n, slug in reject.SLUGS.items() if slug in told
    }


def test_all_options_of_srt_urls_are_told() -> None:
    (table,) = [t for t in page("docs/srt.md").tables if t.header[0] == "option"]
    told = {span.text for cell in table.column("option") for span in in_code(cell)}
    wanted = {*srt_url.TEXTS, *srt_url.NUMBERS, *srt_url.OTHER_NAMES} - {"srt_streamid"}
    assert told == wanted


RTSP_CLIENT = (
    *(f"protocols/rtsp/{name}.py" for name in ("connection", "dialogue", "endpoint", "client")),
    "protocols/rtsp/push",
    "protocols/rtsp/tunnel",
    *(f"flux/bridges/rtsp/{name}.py" for name in ("pull", "pull_run", "push", "client_keys")),
)
CLIENT_NETWORK = tuple(f"flux/net/{name}.py" for name in ("tcp", "tls", "multicast", "udp_pairs"))


def source_reasons() -> set[str]:
    """Why a camera is not there, or what of it was dropped."""
    ends = reasons.given(
        python(*RTSP_CLIENT),
        ("_fail", "close", "_end", "dropped", "drops", "PeerError", "WireError"),
    )
    network = reasons.given(python(*CLIENT_NETWORK), ("PeerError",))
    others = reasons.named(python(*RTSP_CLIENT, *CLIENT_NETWORK))
    refused = reasons.given(python("flux/bridges/rtp"), ("WireError", "_drop", "dropped"))
    packets = reasons.given(python("protocols/rtp"), ("WireError", "_refuse", "refused"))
    units = reasons.given(
        python("media/payloads", "media/stream.py"), ("_on_drop", "SequenceCheck", "drops")
    )
    found = others | ends.keys() | network.keys() | refused.keys() | packets.keys() | units.keys()
    for prefix in PREFIXES:
        files = python(
            "media/payloads/assembler.py",
            "media/payloads/access_unit.py",
            f"media/payloads/{prefix}.py",
        )
        shared = reasons.given(files, ("_fail", "_drop"))
        found |= {f"{prefix}-{reason}" for reason in shared}
    found |= {f"{prefix}-{end}" for prefix, ends in SOUNDS.items() for end in ends}
    return found | {f"{p}-malformed" for p in PREFIXES if p not in ("klv", "onvif")}


def test_all_reasons_of_cameras_are_told() -> None:
    code = source_reasons()
    assert {"dns-failure", "media-timeout", "sdp-not-rtp", "rtp-packet-lost", "h265-fu-loss"} < code
    assert {"tunnel-refused", "multicast-no-route", "peer-teardown", "rtsp-no-server-port"} < code
    assert code - {span.text for span in page("docs/rtsp.md").spans} == set()


def test_reasons_are_found_in_code(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "def f(self, drops):\n"
        "    self._fail('too-slow')\n"
        "    refuse(503, 'too-many', [])\n"
        "    drops['late-frame'] += 1\n"
        "    drops[name], other['no-drop'] = log('not-given'), self._fail('two words-here')\n"
        "    self._fail(self.reason or 'peer-gone')\n"
        "    reason, detail = 'no-way' if f else 'no-answer', 'not-named'\n"
        "    return 'no-road'\n"
    )
    assert reasons.named([tmp_path / "a.py"]) == {"no-way", "no-answer", "no-road"}
    found = reasons.given([tmp_path / "a.py"], ("_fail", "refuse", "drops"))
    assert found == {"too-slow": 0, "too-many": 503, "late-frame": 0, "peer-gone": 0}


# -- each check has something that it must reject ------------------------------------------------

LABELS = "\n".join(f"| `{m}` | {', '.join(labels)} |" for m, labels in exposed_metrics().items())
KEYS = "| key | default |\n| --- | --- |\n"
METRICS = f"| metric | labels |\n| --- | --- |\n{LABELS}\n"
ROUTES = "| route | answer |\n| --- | --- |\n" + "".join(f"| `{r}` | |\n" for r in routes())

GOOD: list[tuple[Check, str]] = [
    (check_yaml, "```yaml\nlog: {level: info}\n```"),
    (check_json, '```json\n{"a": 1}\n```'),
    (
        check_commands,
        "```sh\nflux run --pull a=rtsp://h/x  # a camera\nmake run ARGS='-c a.yaml'\n```",
    ),
    (check_commands, "`flux check-config` and `flux ...`"),
    (check_links, "[a](README.md) [b](#c-d) [e](https://example.com/)\n\n# C: `d`\n"),
    (check_metrics, METRICS),
    (check_words, "`http-flv` `stream-state-changed` `h264-fu-loss` `rtsp-404` `rtsp-5xx`"),
    (check_keys, KEYS + "| `flv.start` | `gop` |\n| `sources.retry_refused` | `60s` |\n"),
    (check_routes, ROUTES),
]

BROKEN: list[tuple[Check, str, str]] = [
    (check_yaml, "```yaml\nlog: {levl: info}\n```", "log.levl (page.md:2:1): unknown key"),
    (check_json, "```json\n{a: 1}\n```", "page.md:2: "),
    (check_json, "```json api.Reader\n{}\n```", "Field required"),
    (check_json, "```json api.Watcher\n{}\n```", "the API has no api.Watcher"),
    (check_commands, "```sh\nflux run --cofnig a.yaml\n```", "No such option"),
    (check_commands, "```sh\npython -m flux serve\n```", "No such command"),
    (check_commands, "```sh\nflux run --pull rtsp://h/x\n```", "expected NAME=URL"),
    (check_commands, "```sh\nmake run ARGS='--lop uvloop'\n```", "No such option"),
    (check_commands, "`make love`", "make has no target love"),
    (check_commands, "```sh\ngstream x\n```", "gstream is no command"),
    (check_commands, "```sh\npython -m benchmarks.nothing\n```", "no module benchmarks.nothing"),
    (check_commands, "```sh\ncurl http://localhost:9997/api/v2\n```", "no URL of ours"),
    (check_commands, "```sh\nffplay http://localhost:8888/demo.fly\n```", "no URL of ours"),
    (check_links, "[a](nowhere.md)", "page.md:1: no file nowhere.md"),
    (check_links, "[a](#nothing)\n\n# Something\n", "no heading for #nothing"),
    (check_metrics, "`flux_nothing_total`", "no metric flux_nothing_total"),
    (check_metrics, METRICS.replace("| `flux_ready` |  |\n", ""), "flux_ready is missing"),
    (check_metrics, METRICS.replace("state", "status"), "flux_streams has other labels"),
    (check_words, "`no-such-reason`", "the code does not say no-such-reason"),
    (check_words, "`rtsp-402`", "the code does not say rtsp-402"),
    (check_words, "| event |\n| --- |\n| `source bored` |\n", "does not say source bored"),
    (check_keys, "`fanout.windw`", "no key fanout.windw"),
    (check_keys, "| key | default |\n| --- | --- |\n| `start` | `gop` |\n", "no key start"),
    (check_keys, KEYS + "| `flv.start` | `live` |\n", "flv.start is not live"),
    (check_keys, KEYS + "| `flv.start` | `soon` |\n", "flv.start is not soon"),
    (check_routes, ROUTES + "| `/api/v1/users` | |\n", "/api/v1/users"),
    (check_routes, ROUTES.replace("| `/healthz` | |\n", ""), "/healthz"),
]


@pytest.mark.parametrize(("check", "text"), GOOD)
def test_good_text_passes(check: Check, text: str) -> None:
    assert list(check(Page(text))) == []


@pytest.mark.parametrize(("check", "text", "problem"), BROKEN)
def test_broken_text_is_rejected(check: Check, text: str, problem: str) -> None:
    (found,) = check(Page(text))
    assert problem in found


def test_a_fence_must_end() -> None:
    with pytest.raises(ValueError, match=r"page\.md:1: a fence without an end"):
        Page("```sh\nflux run\n")
