"""`docker-compose.yml` and Prometheus' configuration: structure here, real parsers below."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.sources.file import load_file

ROOT = Path(__file__).parent.parent.parent
COMPOSE = ROOT / "docker-compose.yml"
PROMETHEUS = ROOT / "deploy" / "prometheus.yml"


def compose() -> dict[str, Any]:
    result: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return result


def test_flux_and_prometheus_are_the_services() -> None:
    assert set(compose()["services"]) == {"flux", "prometheus"}
    assert set(compose()) == {"services", "volumes"}


@pytest.mark.parametrize("name", ["flux", "prometheus"])
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = compose()["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"]["max-file"] == "5"
    assert "privileged" not in service


def test_what_is_mounted_is_there() -> None:
    volumes = compose()["volumes"]
    for service in compose()["services"].values():
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            assert source in volumes or (ROOT / source).is_file(), source


def test_the_ports_are_those_of_the_configuration() -> None:
    flux = compose()["services"]["flux"]
    (mount,) = (mount for mount in flux["volumes"] if "flux.yaml" in mount)
    source, target, mode = mount.split(":")
    assert (target, mode) == ("/config/flux.yaml", "ro")
    config = load_file(ROOT / source)
    listeners = config.listeners
    http, rtsp = listeners.http.address.port, listeners.rtsp.address.port
    srt = listeners.srt.address.port
    pair = f"{listeners.rtsp.rtp_address.port}-{listeners.rtsp.rtcp_address.port}"
    assert flux["ports"] == [
        f"{http}:{http}",
        f"{rtsp}:{rtsp}",
        f"{pair}:{pair}/udp",
        f"{srt}:{srt}/udp",
    ]


def test_flux_has_time_to_stop() -> None:
    flux = compose()["services"]["flux"]
    config = load_file(ROOT / "deploy" / "container.yaml")
    assert int(flux["stop_grace_period"].removesuffix("s")) > config.shutdown_timeout


def test_prometheus_asks_where_flux_answers() -> None:
    jobs = {
        job["job_name"]: job for job in yaml.safe_load(PROMETHEUS.read_text())["scrape_configs"]
    }
    ((target,),) = (entry["targets"] for entry in jobs["flux"]["static_configs"])
    name, _, port = target.partition(":")
    assert name in compose()["services"]
    config = load_file(ROOT / "deploy" / "container.yaml")
    assert int(port) == config.listeners.api.address.port
    assert "metrics_path" not in jobs["flux"]  # /metrics is the default of both
    assert compose()["services"]["prometheus"]["depends_on"] == {
        "flux": {"condition": "service_healthy"}
    }


@pytest.mark.interop
def test_docker_compose_takes_it() -> None:
    done = subprocess.run(
        ["docker-compose", "-f", COMPOSE, "config", "-q"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.interop
def test_docker_compose_would_refuse_it(tmp_path: Path) -> None:
    file = tmp_path / "docker-compose.yml"
    file.write_text(COMPOSE.read_text().replace("stop_grace_period", "stop_grace_time"))
    done = subprocess.run(
        ["docker-compose", "-f", file, "config", "-q"], capture_output=True, timeout=60
    )
    assert done.returncode != 0


@pytest.mark.interop
def test_promtool_takes_the_configuration(tmp_path: Path) -> None:
    tool = shutil.which("promtool")
    assert tool is not None
    good = subprocess.run(
        [tool, "check", "config", PROMETHEUS], capture_output=True, text=True, timeout=60
    )
    assert good.returncode == 0, good.stderr
    file = tmp_path / "prometheus.yml"
    file.write_text(PROMETHEUS.read_text().replace("static_configs", "static_config"))
    bad = subprocess.run([tool, "check", "config", file], capture_output=True, timeout=60)
    assert bad.returncode != 0
