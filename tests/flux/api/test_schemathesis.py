"""Schemathesis against the running API: what the OpenAPI document says is what the server does."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_client import served
from tests.support.api_state import ApiState, populated

ST = Path(sys.executable).with_name("st")
ROOT = Path(__file__).parents[3]
# A program looks through all of its environment for proxies before each request, and tables of
# characters that are kept need not be made again.
ENVIRONMENT = {
    "PATH": os.defpath,
    "HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".hypothesis"),
    "NO_PROXY": "*",
}
ENDLESS = "^/api/v1/events"  # these answers do not end; tests of their own try them
SETTINGS = """\
[checks.positive_data_acceptance]
expected-statuses = {statuses}
"""
# JSON Schema cannot say which characters can be printed, which URLs lead to a camera, or that two
# preconditions hold at once: of what fits the document these may be the answer.
STRICTER = ["2xx", "400", "404", "409", "412", "422"]
NARROW = ["2xx", "404", "409", "412"]
# Nor between which bounds a duration lies.
HLS = {
    "type": ["object", "null"],
    "properties": {
        "low_latency": {"type": ["boolean", "null"]},
        "part_duration": {"type": ["string", "null"], "pattern": "^[1-9]00ms$"},
        "window": {"type": ["string", "null"], "pattern": "^[1-9][smh]$"},
        "window_size": {"type": ["string", "null"], "pattern": "^[1-9][MG]$"},
    },
    "additionalProperties": False,
}

EXAMPLES = pytest.mark.parametrize(
    "examples",
    [
        pytest.param(5, id="quick", marks=pytest.mark.timeout(120)),
        pytest.param(100, id="many", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)


@pytest.fixture
def state() -> ApiState:
    return populated()


@pytest.fixture
def address(state: ApiState) -> Iterator[str]:
    with served(state) as address:
        yield address


@pytest.fixture
def document(address: str) -> Any:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://{address}/api/v1/openapi.json", timeout=5) as answer:
        return json.load(answer)


def narrowed(document: Any) -> Any:
    """The document with names and sources that are right for sure."""
    narrow = deepcopy(document)
    for path, item in narrow["paths"].items():
        for operation in item.values():
            for parameter in operation["parameters"]:
                if parameter["name"] == "name":
                    parameter["schema"] = {"type": "string", "pattern": "^[a-d](/[a-d])?$"}
            if "{name}" in path:
                assert any(each["name"] == "name" for each in operation["parameters"])
    for name in ("StreamSection", "StreamPatch"):
        source = {"type": "string", "pattern": "^(rtsp://cam[1-9]/[a-z]{0,5}|testcard:)$"}
        narrow["components"]["schemas"][name]["properties"]["source"] = source
        narrow["components"]["schemas"][name]["properties"]["hls"] = HLS
        lag = {"type": ["string", "null"], "pattern": "^[1-9]00ms$"}
        narrow["components"]["schemas"][name]["properties"]["max_lag"] = lag
    return narrow


def run(folder: Path, document: Any, address: str, statuses: list[str], *options: str) -> str:
    """Run Schemathesis over a document; its report, if there is nothing to complain of."""
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "schemathesis.toml").write_text(SETTINGS.format(statuses=json.dumps(statuses)))
    command = [str(ST), "run", "openapi.json", "--url", f"http://{address}", *options]
    command += ["--exclude-path-regex", ENDLESS, "--generation-deterministic", "--no-color"]
    command += ["--warnings", "off"]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cases(report: str) -> int:
    """How many requests were made."""
    found = re.search(r"(\d+) generated", report)
    assert found, report
    return int(found[1])


@EXAMPLES
def test_the_server_keeps_to_the_document(
    tmp_path: Path, document: Any, address: str, state: ApiState, examples: int
) -> None:
    """Right and wrong requests, boundaries, other methods, and walks along the links."""
    report = run(tmp_path, document, address, STRICTER, "--max-examples", f"{examples}")
    assert cases(report) > 1500
    assert state.bus.counters.faults == 0


@EXAMPLES
def test_what_is_right_is_accepted(
    tmp_path: Path, document: Any, address: str, examples: int
) -> None:
    """Streams are made, changed and ended."""
    options = ("--max-examples", f"{examples}", "--mode", "positive")
    assert cases(run(tmp_path, narrowed(document), address, NARROW, *options)) > 600
