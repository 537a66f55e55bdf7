"""How a board looks: one table, live or final."""

from typing import TYPE_CHECKING

from flux.cli.output import (
    Align,
    add_rows,
    make_table,
    milliseconds,
    percent,
    plain,
    rate,
    seconds,
    sound_format,
)
from flux.cli.probe.figures import Board, TrackMeter, mapping_of

if TYPE_CHECKING:
    from rich.console import RenderableType

L, R = Align.LEFT, Align.RIGHT
COLUMNS = [
    ("TRACK", L), ("CODEC", L), ("FORMAT", L), ("FRAMES", R), ("RATE", R), ("BIT RATE", R),
    ("KEY", R), ("JITTER", R), ("LOSS", R),
]  # fmt: skip
MAX_NOTES = 8


def headline(board: Board) -> str:
    """One line on the whole."""
    via = " over ".join(filter(None, (board.protocol, board.transport)))
    parts = [board.url, via]
    if board.wait is None:
        parts.append(f"waiting for media, {seconds(board.now - board.started)}")
    else:
        parts.append(f"first frame after {seconds(board.wait, 2)}")
        parts.append(f"measured {seconds(board.measured)}")
        parts.append(rate(board.bitrate_bps))
    return "  ".join(plain(part) for part in parts if part)


def render(board: Board, *, is_terminal: bool) -> "RenderableType":
    """The board as rich shows it."""
    from rich.console import Group
    from rich.text import Text

    table = make_table(COLUMNS, is_terminal=is_terminal)
    add_rows(table, [_row(track) for track in board.tracks])
    lines: list[RenderableType] = [Text(headline(board), overflow="fold"), table]
    notes = list(mapping_of(board.notes).items())
    lines += [Text(f"{plain(reason)}: {count}") for reason, count in notes[:MAX_NOTES]]
    if len(notes) > MAX_NOTES:
        lines.append(Text(f"and {len(notes) - MAX_NOTES} more"))
    return Group(*lines)


def _row(track: TrackMeter) -> tuple[object, ...]:
    return (
        track.kind,
        track.codec_string or track.codec,
        _format(track),
        track.frames,
        f"{track.frame_rate:.2f}/s" if track.frame_rate else "-",
        rate(track.bitrate_bps),
        seconds(track.key_interval, 2),
        milliseconds(track.jitter),
        percent(track.loss),
    )


def _format(track: TrackMeter) -> str:
    if track.width:
        return f"{track.width}x{track.height}"
    if track.sample_rate:
        return sound_format(track.sample_rate, track.channels)
    return "-"
