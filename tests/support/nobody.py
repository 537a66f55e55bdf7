"""Programs that refuse to run as root run as nobody, and keep what they get where nobody may write.

A test's own folder will not do: those above it are for their owner alone.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETPRIV = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
NOBODY = SETPRIV if os.geteuid() == 0 else ()  # the words before a command


@contextmanager
def public_folder() -> Iterator[Path]:
    """A folder in which anybody may read and write, while the block lasts."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o777)
        yield path
