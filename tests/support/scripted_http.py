"""An HTTP server that answers what a test wrote down, and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Answer = tuple[int, str, bytes]  # status, content type, body
Script = Callable[[str, str], Answer]  # method and path with its query


class ScriptedHttp:
    """Serves on a free port of the loopback interface while the context lasts."""

    def __init__(self, script: Script) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append((self.command, self.path, dict(self.headers)))
                status, content_type, body = script(self.command, self.path)
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_DELETE = do_GET

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def as_json(value: object, status: int = 200) -> Answer:
    """A JSON answer."""
    return status, "application/json", json.dumps(value).encode()


def problem(status: int, reason: str, detail: str) -> Answer:
    """Problem details, RFC 9457."""
    body = {"status": status, "reason": reason, "detail": detail}
    return status, "application/problem+json", json.dumps(body).encode()


def page(items: Sequence[Mapping[str, Any]], number: int = 0, count: int = 1) -> Answer:
    """One page of a list."""
    return as_json({"items": items, "page": number, "page_count": count, "item_count": len(items)})
