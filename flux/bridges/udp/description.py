"""Session descriptions that a user gives: the text itself, or the path of a file."""

import asyncio
from pathlib import Path

from flux.base.errors import PeerError
from protocols.sdp import SessionDescription
from protocols.sdp.session import MAX_SDP_BYTES

READ_TIMEOUT = 5.0  # seconds; a file may lie on a server that is away


async def read_description(sdp: str) -> SessionDescription:
    """Read and parse; `sdp` is a text that begins with `v=`, or a path.

    Raises `PeerError` `sdp-not-found`, `sdp-unreadable`, `sdp-timeout`, and WireError as
    `SessionDescription.parse`.
    """
    if sdp.lstrip().startswith("v="):
        return SessionDescription.parse(sdp.encode())
    try:
        async with asyncio.timeout(READ_TIMEOUT):
            data = await asyncio.to_thread(_read, Path(sdp))
    except FileNotFoundError as error:
        raise PeerError("sdp-not-found", detail=sdp) from error
    except TimeoutError as error:
        raise PeerError("sdp-timeout", detail=sdp) from error
    except (OSError, ValueError) as error:
        raise PeerError("sdp-unreadable", detail=str(error)) from error
    return SessionDescription.parse(data)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_SDP_BYTES + 1)
