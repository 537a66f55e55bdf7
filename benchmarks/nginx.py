"""nginx with HLS files that FFmpeg writes: what a server of static files pays."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import machine, media
from tests.support.ports import free_port

WAIT = 20.0  # seconds for the first playlist
CONFIGURATION = """
worker_processes 1;
daemon off;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    open_file_cache max=100 inactive=20s;
    open_file_cache_valid 1s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; }}
    server {{ listen 127.0.0.1:{port} backlog=4096; root {folder}/files; }}
}}
"""


def is_there() -> bool:
    """Whether nginx is installed."""
    return shutil.which("nginx") is not None


@contextmanager
def serve(clip: media.Clip, segment: float) -> Iterator[tuple[int, str]]:
    """The clip as a live playlist: nginx's process and the URL."""
    with tempfile.TemporaryDirectory(prefix="nginx-hls-", dir="/dev/shm") as name:
        folder, port = Path(name), free_port()
        files = folder / "files"
        files.mkdir()
        folder.chmod(0o755)
        configuration = folder / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(folder=folder, port=port))
        cut = [
            *("-re", "-stream_loop", "-1", "-i", str(clip.mp4), "-c", "copy", "-f", "hls"),
            *("-hls_time", str(segment), "-hls_list_size", "7", "-hls_delete_threshold", "7"),
            *("-hls_flags", "delete_segments+temp_file", str(files / "media.m3u8")),
        ]
        with (
            subprocess.Popen([*machine.PIN_LOAD, *media.FFMPEG, *cut]) as source,
            subprocess.Popen(
                [*machine.PIN_SERVER, "nginx", "-e", folder / "start.log", "-c", configuration]
            ) as server,
        ):
            try:
                end = time.monotonic() + WAIT
                while len(list(files.glob("*.ts"))) < 4:
                    if time.monotonic() > end or source.poll() is not None:
                        raise SystemExit("no segments for nginx")
                    time.sleep(0.1)
                yield server.pid, f"http://127.0.0.1:{port}/media.m3u8"
            finally:
                source.terminate()
                server.terminate()
