"""Log lines: formats, redaction, bounded writing."""

import io
import json
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import pytest

from flux.core.bus import Bus
from flux.telemetry.eventlog import EventLog, event_word
from flux.telemetry.log import configure_logging, get_logger
from flux.telemetry.logwriter import MAX_LINES, LogWriter
from flux.telemetry.redact import redact_text, redact_value


class Output:
    """Logging into memory; `text` and `lines` flush and end it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stream = io.StringIO()
        self.close: Callable[[], None] = lambda: None

    def begin(self, level: str = "debug", form: Literal["auto", "text", "json"] = "json") -> None:
        self.close = configure_logging(level, form, self.stream, clock=lambda: self.now)

    def text(self) -> str:
        self.close()
        self.close = lambda: None
        return self.stream.getvalue()

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def output() -> Iterator[Output]:
    made = Output()
    yield made
    made.close()


def test_a_line_is_one_json_object(output: Output) -> None:
    output.begin()
    log = get_logger("flux.bridges.rtsp", stream="live/cam1", session="s1")
    log.info("source-running", transport="tcp")
    (line,) = output.lines()
    assert str(line.pop("ts")).endswith("Z")
    assert line == {
        "level": "info",
        "event": "source-running",
        "logger": "flux.bridges.rtsp",
        "stream": "live/cam1",
        "session": "s1",
        "transport": "tcp",
    }


def test_the_standard_library_s_lines_look_alike(output: Output) -> None:
    output.begin()
    logging.getLogger("other").warning("lost %d packets", 3, extra={"stream": "a"})
    get_logger("ours").warning("lost %d", 3)
    first, second = output.lines()
    assert (first["event"], first["logger"], first["level"]) == (
        "lost 3 packets",
        "other",
        "warning",
    )
    assert first["stream"] == "a"
    assert second["event"] == "lost 3"


def test_lines_below_the_level_are_not_written(output: Output) -> None:
    output.begin("warning")
    get_logger("a").info("no")
    logging.getLogger("b").info("no")
    get_logger("a").warning("yes")
    assert [line["event"] for line in output.lines()] == ["yes"]


def test_text_is_for_people(output: Output) -> None:
    output.begin(form="text")
    get_logger("a").info("source-running", stream="live/cam1")
    (line,) = output.text().splitlines()
    assert "source-running" in line
    assert "stream=live/cam1" in line
    assert "\x1b" not in line


def test_auto_is_json_where_there_is_no_terminal(output: Output) -> None:
    output.begin(form="auto")
    get_logger("a").info("x")
    assert output.lines()[0]["event"] == "x"


def test_credentials_are_never_written(output: Output) -> None:
    output.begin()
    url = "rtsp://admin:hunter2@cam/1"
    log = get_logger("a", source=url)
    log.info("connecting", url=url, password="hunter2", nested={"a": [url], "token": "hunter2"})
    log.info("cannot open %s", url)
    logging.getLogger("b").error("cannot open %s", url)
    try:
        raise ValueError(f"bad url {url}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("b").exception("failed %s", "Authorization: Basic aHVudGVyMg==")
    text = output.text()
    assert "hunter2" not in text
    assert "aHVudGVyMg" not in text
    assert "rtsp://***@cam/1" in text
    assert "ValueError" in text


def test_other_values_are_left_alone() -> None:
    values = {"a": [1, None, 2.5, True], "b": "no secret: a@b.c", "c": b"x"}
    assert redact_value(values) == values
    assert redact_text("Basic facts about SPS") != ""
    assert redact_text("Bearer eyJhbGciOi.x.y, next") == "Bearer ***"


def test_a_storm_of_faults_is_one_line_with_a_count(output: Output) -> None:
    output.begin()
    log = get_logger("a")
    for number in range(100):
        log.warning("packet-refused", stream="cam", reason="rtp-version", number=number)
    log.warning("packet-refused", stream="other", reason="rtp-version")
    for number in range(100):
        logging.getLogger("b").error("refused %d", number)
    for _ in range(3):
        log.info("not-a-fault")
    lines = output.lines()
    cam = [line for line in lines if line.get("stream") == "cam"]
    assert [(line["number"], line.get("repeated")) for line in cam] == [(0, None), (99, 99)]
    assert len([line for line in lines if line.get("stream") == "other"]) == 1
    refused = [line for line in lines if line["logger"] == "b"]
    assert [(line["event"], line.get("repeated")) for line in refused] == [
        ("refused 0", None),
        ("refused 99", 99),
    ]
    assert len([line for line in lines if line["event"] == "not-a-fault"]) == 3


def test_what_cannot_be_json_is_written_all_the_same(output: Output) -> None:
    output.begin()
    get_logger("a").info("x", value=object(), data=b"\xff", text="line\nbreak")
    assert output.lines()[0]["text"] == "line\nbreak"


def test_logging_is_as_before_when_it_is_closed(output: Output) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    output.begin()
    assert root.handlers != before[1]
    output.text()
    assert (root.level, root.handlers) == before


class Stuck(io.StringIO):
    """An output that blocks until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = queue.Queue[None]()
        self.go = threading.Event()

    def writelines(self, lines: object) -> None:
        self.reached.put(None)
        self.go.wait()
        super().writelines(lines)  # type: ignore[arg-type]  # passed on as it came


def test_an_output_that_blocks_holds_nobody_and_loses_are_counted() -> None:
    stream = Stuck()
    writer = LogWriter(stream, lambda everything: [], lambda: False)
    record = logging.makeLogRecord({"msg": "x"})
    writer.emit(record)
    stream.reached.get(timeout=5)
    for _ in range(MAX_LINES + 5):
        writer.emit(record)
    assert writer.dropped == 5
    stream.go.set()
    writer.close()
    text = stream.getvalue()
    assert text.count("x\n") == MAX_LINES + 1
    assert '"count":5' in text


@pytest.mark.parametrize("may_hold", [False, True])
def test_who_holds_nothing_back_sleeps(monkeypatch: pytest.MonkeyPatch, may_hold: bool) -> None:
    monkeypatch.setattr("flux.telemetry.logwriter.TICK", 0.001)
    looks = queue.Queue[None]()

    def held_lines(everything: bool) -> list[str]:
        looks.put(None)
        return []

    writer = LogWriter(io.StringIO(), held_lines, lambda: may_hold)
    writer.emit(logging.makeLogRecord({"msg": "x"}))
    looks.get(timeout=5)  # for the line
    if may_hold:
        looks.get(timeout=5)
    else:
        with pytest.raises(queue.Empty):
            looks.get(timeout=0.1)
    writer.close()


def test_an_output_that_is_gone_ends_nothing() -> None:
    stream = io.StringIO()
    writer = LogWriter(stream, lambda everything: [], lambda: False)
    stream.close()
    writer.emit(logging.makeLogRecord({"msg": "x"}))
    writer.close()
    assert writer.dropped == 1


@dataclass(frozen=True, slots=True)
class SourceStateChanged:
    stream: str
    state: str
    reason: str

    def __str__(self) -> str:
        return f"{self.stream} is {self.state}"


@dataclass(frozen=True, slots=True)
class ReaderClosed:
    stream: str
    level: str


def test_events_become_lines(output: Output) -> None:
    output.begin()
    bus = Bus()
    log = EventLog(bus, {SourceStateChanged: "warning"})
    bus.emit(SourceStateChanged("cam", "waiting", "refused rtsp://u:hunter2@cam/"))
    bus.emit(ReaderClosed("cam", "odd name"))
    bus.emit(object())
    log.close()
    bus.emit(ReaderClosed("cam", "unheard"))
    first, second, third = output.lines()
    assert (first["event"], first["level"], first["state"]) == (
        "source-state-changed",
        "warning",
        "waiting",
    )
    assert first["text"] == "cam is waiting"
    assert "text" not in second
    assert first["reason"] == "refused rtsp://***@cam/"
    assert (second["event"], second["level"], second["stream"]) == ("reader-closed", "info", "cam")
    assert third["event"] == "object"
    assert event_word(SourceStateChanged) == "source-state-changed"
    assert bus.counters.faults == 0
