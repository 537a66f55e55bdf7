"""What pages load: scripts, styles and the vendored players, read once and never changed.

All of it is served below one folder whose name is a digest of every file, so that a browser may
keep a file for ever and still never mixes two versions. Scripts name each other relatively.
"""

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from flux.bridges.http.response import Header

STATIC = "static"
CONTENT_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
TEMPLATE_TYPE = "html"  # rendered, never served as it is
FOREVER = "public, max-age=31536000, immutable"
MIN_GZIP_BYTES = 1024
DIGEST_LETTERS = 16


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, as it is and packed; `packed` is empty where that saves nothing."""

    content_type: str
    plain: bytes
    packed: bytes

    def answer(self, accepted: str) -> tuple[list[Header], bytes]:
        """Header fields and body for a client with this Accept-Encoding."""
        headers = [
            ("Content-Type", self.content_type),
            ("Cache-Control", FOREVER),
            ("X-Content-Type-Options", "nosniff"),
            ("Vary", "Accept-Encoding"),
        ]
        if self.packed and _takes_gzip(accepted):
            return [*headers, ("Content-Encoding", "gzip")], self.packed
        return headers, self.plain


class Assets:
    """Every file of the pages by its path; templates apart."""

    def __init__(self) -> None:
        found = dict(_walk(files(__package__) / STATIC, ""))
        whole = sha256()
        for path, data in sorted(found.items()):
            whole.update(f"{path}\0{len(data)}\0".encode())
            whole.update(data)
        self.digest = whole.hexdigest()[:DIGEST_LETTERS]
        self.templates: Mapping[str, str] = {
            path: data.decode() for path, data in found.items() if _type_of(path) == TEMPLATE_TYPE
        }
        self._assets = {
            f"{self.digest}/{path}": _asset(path, data)
            for path, data in found.items()
            if _type_of(path) in CONTENT_TYPES and path not in self.templates
        }

    def find(self, path: str) -> Asset | None:
        """The asset at `DIGEST/path`: a look-up, so no path leads anywhere else."""
        return self._assets.get(path)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that `find` knows."""
        return tuple(self._assets)


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry.read_bytes()


def _type_of(path: str) -> str:
    return path.rpartition(".")[2]


def _asset(path: str, data: bytes) -> Asset:
    packed = gzip.compress(data, 6, mtime=0) if len(data) >= MIN_GZIP_BYTES else b""
    return Asset(CONTENT_TYPES[_type_of(path)], data, packed)


def _takes_gzip(accepted: str) -> bool:
    """RFC 9110 section 12.5.3, as far as browsers use it."""
    for item in accepted.lower().split(","):
        coding, _, parameters = item.partition(";")
        if coding.strip() in ("gzip", "*"):
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
