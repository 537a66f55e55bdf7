"""The programs in C: compiled on demand into `.cache/native`."""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "native"
CACHE = Path(__file__).parent.parent / ".cache"
FLAGS = ("-O2", "-Wall", "-Wextra", "-Wno-sign-compare", "-Wno-unused-parameter")


def program(name: str) -> Path:
    """The compiled program of `native/NAME.c` or of all files in `native/NAME/`."""
    folder = SOURCES / name
    sources = sorted(folder.glob("*.c")) if folder.is_dir() else [SOURCES / f"{name}.c"]
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for source in [*sources, *sorted(folder.glob("*.h"))]:
        digest.update(source.read_bytes())
    target = CACHE / "native" / f"{name}-{digest.hexdigest()[:12]}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        compiler = os.environ.get("CC", "cc")
        # Several may compile at once, threads of one process too: each into a place of its own.
        with tempfile.TemporaryDirectory(dir=target.parent) as own:
            made = Path(own) / name
            subprocess.run([compiler, *FLAGS, "-o", made, *sources], check=True)
            made.rename(target)
    return target
