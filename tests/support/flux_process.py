"""A real `flux run` in its own process, with its API at hand."""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from tests.support.ports import free_port
from tests.support.program import ProcessFailed, Program, rss_bytes

READY_LIMIT = 30.0
POLL = 0.05
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever http_proxy says


class FluxProcess:
    """FLUX on free ports with these streams.

    `streams` maps names to the settings of a stream as `config/flux.yaml` has them; `settings` are
    further sections of the file, `rtsp`, `http` and `api` further keys of these listeners.
    """

    def __init__(
        self,
        folder: Path,
        streams: Mapping[str, Mapping[str, object]] | None = None,
        settings: Mapping[str, Mapping[str, object] | str] | None = None,
        *,
        pulls: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        rtsp: Mapping[str, object] | None = None,
        http: Mapping[str, object] | None = None,
        api: Mapping[str, object] | None = None,
    ) -> None:
        self.http_port, self.api_port, self.rtsp_port, self.srt_port = (
            free_port() for _ in range(4)
        )
        listeners: dict[str, dict[str, object]] = {
            "http": {"address": f"127.0.0.1:{self.http_port}", **(http or {})},
            "api": {"address": f"127.0.0.1:{self.api_port}", **(api or {})},
            "rtsp": {
                "address": f"127.0.0.1:{self.rtsp_port}",
                "rtp_address": "127.0.0.1:0",
                "rtcp_address": "127.0.0.1:0",
                **(rtsp or {}),
            },
            "srt": {"address": f"127.0.0.1:{self.srt_port}"},
        }
        config = {"listeners": listeners, "streams": dict(streams or {}), **(settings or {})}
        file = folder / f"flux-{self.api_port}.yaml"
        file.write_text(yaml.safe_dump(config))
        options = [f"--pull={name}={url}" for name, url in (pulls or {}).items()]
        self.program = Program(
            [*wrapper, sys.executable, "-m", "flux", "run", "--config", file, *options]
        )
        try:
            self.wait_until(lambda: self.is_ready, "FLUX is ready", READY_LIMIT)
        except BaseException:
            self.program.stop()
            raise

    @property
    def pid(self) -> int:
        """The process id of the server itself."""
        return self.program.pid

    @property
    def rss_bytes(self) -> int:
        """Its resident memory."""
        return rss_bytes(self.pid)

    @property
    def is_ready(self) -> bool:
        """Whether `/readyz` says so."""
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def flv(self, name: str, query: str = "") -> str:
        """Where a stream plays as HTTP-FLV."""
        return f"http://127.0.0.1:{self.http_port}/{name}.flv{query}"

    def ts(self, name: str) -> str:
        """Where a stream plays as MPEG-TS over HTTP."""
        return f"http://127.0.0.1:{self.http_port}/{name}.ts"

    def mp4(self, name: str) -> str:
        """Where a stream plays as fragmented MP4 over HTTP."""
        return f"http://127.0.0.1:{self.http_port}/{name}.mp4"

    def hls(self, name: str) -> str:
        """Where a stream plays as HLS."""
        return f"http://127.0.0.1:{self.http_port}/{name}/index.m3u8"

    def rtsp(self, name: str) -> str:
        """Where a stream plays, and is published, over RTSP."""
        return f"rtsp://127.0.0.1:{self.rtsp_port}/{name}"

    def srt(self, stream_id: str) -> str:
        """Where a stream is read, and published, over SRT: `read:NAME`, `publish:NAME`."""
        return f"srt://127.0.0.1:{self.srt_port}?streamid={stream_id}"

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a path of the API port."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.api_port}{path}", timeout=5
            ) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def stream(self, name: str) -> dict[str, Any]:
        """What the API says of one stream."""
        status, body = self.get(f"/api/v1/streams/{name}")
        if status != 200:
            raise ProcessFailed(f"stream {name}: status {status}: {body.decode()}")
        result: dict[str, Any] = json.loads(body)
        return result

    def metrics(self) -> dict[str, float]:
        """All samples of `/metrics` by name with labels, as they are written there."""
        _, body = self.get("/metrics")
        samples = {}
        for line in body.decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    def wait_until(self, condition: Callable[[], bool], what: str, limit: float = 15.0) -> None:
        """Wait for something that FLUX does; ProcessFailed with its log if it does not."""
        end = time.monotonic() + limit
        while not condition():
            if not self.program.is_running:
                raise ProcessFailed(f"FLUX ended before {what}:\n{self.program.output}")
            if time.monotonic() > end:
                raise ProcessFailed(f"not within {limit} s: {what}\n{self.program.output[-6000:]}")
            time.sleep(POLL)

    def wait_for_source(self, name: str, state: str, reason: str = "", limit: float = 15.0) -> None:
        """Wait until a stream's source is in a state, for a reason that holds `reason`."""

        def reached() -> bool:
            source = self.stream(name)["source"]
            return bool(source["state"] == state and reason in source["reason"])

        try:
            self.wait_until(reached, f"source of {name} is {state} ({reason})", limit)
        except ProcessFailed as error:
            raise ProcessFailed(f"{self.stream(name)['source']}\n{error}") from None

    def stop(self) -> int:
        """End it as a service manager would; answers the exit status."""
        return self.program.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
