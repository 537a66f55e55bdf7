"""Stream names: what may stand in `rtsp://host/NAME` and `http://host/NAME.flv`."""

MAX_NAME_BYTES = 200  # in UTF-8; leaves room for suffixes where a name becomes a file name
RESERVED = frozenset({"index.m3u8", "whip", "whep"})  # last components of our own URLs
FORBIDDEN = frozenset("*?#%\\:,;=&<>\"'`|{}[]^$!")  # they mean something in URLs, SRT ids, patterns


def check_stream_name(name: str) -> str:
    """The name itself; `ValueError` says what is wrong with it.

    A name is one or more components joined by `/`. A component does not start with `_`, `.` or
    `~` and is none of `index.m3u8`, `whip`, `whep`; characters that are not printable, spaces
    and those that have a meaning in a URL are refused.
    """
    if not name:
        raise ValueError("expected a stream name, found an empty one")
    if len(name) > MAX_NAME_BYTES or len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        raise ValueError(f"expected a stream name of at most {MAX_NAME_BYTES} bytes")
    for character in name:
        if character in FORBIDDEN or character.isspace() or not character.isprintable():
            raise ValueError(f"expected a stream name without the character {character!r}")
    for component in name.split("/"):
        if not component:
            raise ValueError("expected a stream name without empty components (no // or outer /)")
        if component[0] in "_.~":
            raise ValueError(f"expected name components that do not start with {component[0]!r}")
        if component in RESERVED:
            raise ValueError(f"expected a stream name without the reserved word {component!r}")
    return name
