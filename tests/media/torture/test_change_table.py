"""The change table of docs/architecture.md, cell by cell: each cell is what players really get."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from media.events import KeyFramesMissing
from tests.support.conform.flv import read_flv
from tests.support.conform.flv_tags import VIDEO
from tests.support.conform.flv_tags import Body as Tag
from tests.support.conform.hls import parse_media
from tests.support.conform.ts import TsLimits, read_ts
from tests.support.h264_sets import PPS_OTHER, SPS_OTHER
from tests.support.torture.marks import number_of
from tests.support.torture.run import played
from tests.support.torture.stage import Body

PAGE = Path(__file__).parents[3] / "docs" / "architecture.md"
FLV, RTP, TS = "HTTP-FLV", "RTP", "MPEG-TS (HTTP, SRT, UDP)"
HLS_TS, HLS_MP4 = "HLS (MPEG-TS)", "HLS (fMP4, low latency)"
IN_KEY, IN_OTHER = "parameter sets, in a key frame", "parameter sets, in another frame"
TRACKS, AWAY = "codec or set of tracks", "source stays away"
RETURN = "source returns within the grace period, same tracks"
KEYLESS, JUMP = "no key frame for 10 s", "the source's clock jumps"
SCENARIO = {
    IN_KEY: "new parameters in a key frame",
    IN_OTHER: "new parameters in another frame",
    TRACKS: "codec changes",
    RETURN: "source returns in another order",
    AWAY: "source stays away",
    KEYLESS: "no key frame at first",
    JUMP: "jump hours back",
}
OUTPUTS = {
    FLV: ("flv",),
    RTP: ("rtp",),
    TS: ("ts", "srt"),
    HLS_TS: ("hls-ts",),
    HLS_MP4: ("hls-fmp4", "ll-hls"),
}
Check = Callable[[str, list[Body]], None]
CELLS: dict[tuple[str, str], Check] = {}


def cell(row: str, *columns: str) -> Callable[[Check], Check]:
    def keep(check: Check) -> Check:
        for column in columns:
            assert (row, column) not in CELLS
            CELLS[row, column] = check
        return check

    return keep


# -- what bodies hold --------------------------------------------------------------------------


def reasons(bodies: list[Body]) -> list[str]:
    return [body.reason for body in bodies]


def only(bodies: list[Body]) -> Body:
    """The one body: nobody was closed."""
    assert reasons(bodies) == ["server-stopping"]
    return bodies[0]


def flv_pictures(body: Body) -> list[Tag]:
    return [tag for tag in read_flv(body.data).tags if tag.kind == VIDEO]


def breaks(body: Body) -> int:
    """How many EXT-X-DISCONTINUITY a viewer saw."""
    found = {
        segment.sequence
        for look in body.looks
        for segment in parse_media(look.playlist).segments
        if segment.is_discontinuity
    }
    return len(found)


def maps(body: Body) -> list[str]:
    """The EXT-X-MAPs that a viewer saw, in their order."""
    found: dict[str, None] = {}
    for look in body.looks:
        for segment in parse_media(look.playlist).segments:
            if segment.map_uri:
                found[segment.map_uri] = None
    return list(found)


def media(body: Body) -> bytes:
    """All segments."""
    return b"".join(data for name, data in body.resources.items() if not name.endswith(".mp4"))


def sent(body: Body) -> bytes:
    """All RTP packets."""
    return b"".join(data for channel, data in body.packets if not channel & 1)


def marked_breaks(data: bytes) -> int:
    """Packets with discontinuity_indicator."""
    packets = (data[at : at + 188] for at in range(0, len(data), 188))
    return sum(bool(p[3] & 0x20 and p[4] and p[5] & 0x80) for p in packets)


# -- parameter sets ----------------------------------------------------------------------------


@cell(IN_KEY, FLV)
def header_before_the_key_frame(_output: str, bodies: list[Body]) -> None:
    tags = flv_pictures(only(bodies))
    headers = [n for n, tag in enumerate(tags) if tag.is_header]
    assert len(headers) == 2
    header, after = tags[headers[1]], tags[headers[1] + 1]
    assert header.record is not None
    assert SPS_OTHER in header.record.sets
    assert after.is_key
    assert SPS_OTHER not in after.sets


@cell(IN_OTHER, FLV)
def header_before_the_frame_and_in_band(_output: str, bodies: list[Body]) -> None:
    tags = flv_pictures(only(bodies))
    headers = [n for n, tag in enumerate(tags) if tag.is_header]
    assert len(headers) == 2
    header, after = tags[headers[1]], tags[headers[1] + 1]
    assert header.record is not None
    assert SPS_OTHER in header.record.sets
    assert not after.is_key
    assert set(after.sets) == {SPS_OTHER, PPS_OTHER}


@cell(IN_KEY, RTP)
@cell(IN_OTHER, RTP)
def in_band_in_rtp(_output: str, bodies: list[Body]) -> None:
    packets = only(bodies).packets
    first = next(n for n, (channel, data) in enumerate(packets) if SPS_OTHER in data)
    assert first > 200
    assert not any(SPS_OTHER in data for _, data in packets[:first])
    assert PPS_OTHER in sent(only(bodies))


@cell(IN_KEY, TS)
@cell(IN_OTHER, TS)
def in_band_in_ts(_output: str, bodies: list[Body]) -> None:
    body = only(bodies)
    assert SPS_OTHER in body.data
    assert PPS_OTHER in body.data
    assert read_ts(body.data, TsLimits(tables_within=0)).versions == [0]


@cell(IN_KEY, HLS_TS)
def in_band_behind_a_break(_output: str, bodies: list[Body]) -> None:
    body = only(bodies)
    assert breaks(body) == 1
    assert SPS_OTHER in media(body)


@cell(IN_OTHER, HLS_TS)
def in_band_and_no_break_there(_output: str, bodies: list[Body]) -> None:
    """The next key frame has the new sets before it, which is a change for a playlist."""
    body = only(bodies)
    assert breaks(body) <= 1
    assert SPS_OTHER in media(body)


@cell(IN_KEY, HLS_MP4)
def another_map(_output: str, bodies: list[Body]) -> None:
    body = only(bodies)
    assert breaks(body) == 1
    first, second = maps(body)
    assert SPS_OTHER not in body.resources[first]
    assert SPS_OTHER in body.resources[second]
    assert SPS_OTHER not in media(body)


@cell(IN_OTHER, HLS_MP4)
def in_band_then_another_map(_output: str, bodies: list[Body]) -> None:
    body = only(bodies)
    assert SPS_OTHER in media(body)
    assert SPS_OTHER in body.resources[maps(body)[-1]]


# -- tracks and sources ------------------------------------------------------------------------


@cell(TRACKS, FLV, RTP)
def closed_with_tracks_changed(_output: str, bodies: list[Body]) -> None:
    assert reasons(bodies) == ["tracks-changed", "server-stopping"]


@cell(TRACKS, TS)
def another_version_of_the_pmt(_output: str, bodies: list[Body]) -> None:
    content = read_ts(only(bodies).data, TsLimits(tables_within=0, pcr_within=0, pts_within=0))
    assert content.versions == [0, 1]
    assert set(content.streams.values()) == {0x24, 0x0F}


@cell(TRACKS, HLS_TS)
def a_break_and_another_pmt(_output: str, bodies: list[Body]) -> None:
    body = only(bodies)
    assert breaks(body) == 1
    types = {
        frozenset(read_ts(data, TsLimits(tables_within=0)).streams.values())
        for data in body.resources.values()
    }
    assert types == {frozenset({0x1B, 0x0F}), frozenset({0x24, 0x0F})}


@cell(TRACKS, HLS_MP4)
def a_break_and_another_map(_output: str, bodies: list[Body]) -> None:
    body = only(bodies)
    assert breaks(body) == 1
    first, second = maps(body)
    assert b"avc1" in body.resources[first]
    assert b"hvc1" in body.resources[second]


@cell(RETURN, FLV)
@cell(JUMP, FLV)
def goes_on_in_flv(_output: str, bodies: list[Body]) -> None:
    tags = [tag for tag in flv_pictures(only(bodies)) if tag.is_frame]
    assert len({number_of(tag.data[-8:]) for tag in tags}) == len(tags)


@cell(RETURN, RTP)
@cell(JUMP, RTP)
def numbers_go_on(_output: str, bodies: list[Body]) -> None:
    for channel in (0, 2):
        own = [data for each, data in only(bodies).packets if each == channel]
        numbers = [int.from_bytes(data[2:4], "big") for data in own]
        assert all((b - a) % 65_536 == 1 for a, b in pairwise(numbers))
        assert len({data[8:12] for data in own}) == 1


@cell(RETURN, TS)
@cell(JUMP, TS)
def discontinuity_is_indicated(_output: str, bodies: list[Body]) -> None:
    body = only(bodies)
    assert marked_breaks(body.data) >= 2
    assert read_ts(body.data, TsLimits(tables_within=0)).versions == [0]


@cell(RETURN, HLS_TS, HLS_MP4)
@cell(JUMP, HLS_TS, HLS_MP4)
def a_break_and_no_more(_output: str, bodies: list[Body]) -> None:
    body = only(bodies)
    assert breaks(body) == 1
    assert len(maps(body)) <= 1


@cell(AWAY, FLV, TS)
def closed_with_the_sources_reason(_output: str, bodies: list[Body]) -> None:
    assert reasons(bodies) == ["source-ended", "server-stopping"]


@cell(AWAY, RTP)
def closed_with_goodbye(_output: str, bodies: list[Body]) -> None:
    assert reasons(bodies) == ["source-ended", "server-stopping"]
    rtcp = [data for channel, data in bodies[0].packets if channel & 1]
    assert all(b"\x81\xcb\x00\x01" in data for data in rtcp[-2:])


@cell(AWAY, HLS_TS, HLS_MP4)
def the_playlist_ends(_output: str, bodies: list[Body]) -> None:
    assert reasons(bodies) == ["source-ended", "server-stopping"]
    assert [parse_media(body.looks[-1].playlist).is_ended for body in bodies] == [True, True]


@cell(KEYLESS, FLV, RTP, TS)
def readers_start_anyway(output: str, bodies: list[Body]) -> None:
    stage = played(SCENARIO[KEYLESS])
    assert any(isinstance(event, KeyFramesMissing) for event in stage.events)
    body = only(bodies)
    assert body.joined_at < 103
    limits = TsLimits(tables_within=0, pcr_within=0, pts_within=0)
    if output == "flv":
        first = next(tag for tag in flv_pictures(body) if tag.is_frame)
        assert not first.is_key
    elif output != "rtp":
        content = read_ts(body.data, limits)
        assert not content.units[0x100][0].is_key
    assert len(body.data) + len(body.packets) > 20


@cell(KEYLESS, HLS_TS, HLS_MP4)
def segments_without_key_frame(_output: str, bodies: list[Body]) -> None:
    playlist = parse_media(only(bodies).looks[-1].playlist)
    assert playlist.segments
    assert not playlist.is_independent


# -- all of them -------------------------------------------------------------------------------


def table() -> dict[tuple[str, str], str]:
    """The cells of the page."""
    text = PAGE.read_text().partition("**Change**")[2].partition("\n\n")[2].partition("\n\n")[0]
    rows = [[part.strip() for part in line.strip("|").split("|")] for line in text.splitlines()]
    columns = rows[0][1:]
    return {
        (row[0], column): value
        for row in rows[2:]
        for column, value in zip(columns, row[1:], strict=True)
    }


def test_every_cell_of_the_page_has_a_test() -> None:
    cells = table()
    assert len(cells) >= 18
    assert [each for each in cells if each not in CELLS] == []
    assert all(cells.values())


def test_every_row_has_a_test_for_each_column() -> None:
    assert set(CELLS) == {(row, column) for row in SCENARIO for column in OUTPUTS}


@pytest.mark.parametrize(("row", "column"), CELLS, ids=lambda text: text)
def test_a_cell(row: str, column: str) -> None:
    stage = played(SCENARIO[row])
    for output in OUTPUTS[column]:
        CELLS[row, column](output, stage.players[output].bodies)
