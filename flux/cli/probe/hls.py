"""HLS: playlists polled as a player does, every segment fetched and measured."""

import asyncio
import time

import aiohttp

from flux.base.errors import WireError
from flux.cli.probe.engine import ProbeFailed
from flux.cli.probe.figures import Board, TrackMeter
from flux.cli.probe.playlist import Playlist, Segment, parse
from flux.cli.probe.segment import SegmentTrack, demux

START_BEHIND = 3  # segments from the live edge, RFC 8216 section 6.3.3
AHEAD = 10.0  # seconds of a finished recording that are fetched ahead of the clock
MAX_SEGMENT_BYTES = 256 << 20
MAX_PLAYLIST_BYTES = 4 << 20
SHORTEST_POLL, LONGEST_POLL = 0.25, 10.0  # seconds
PREFIXES = {"h264": ("avc",), "h265": ("hvc", "hev"), "aac": ("mp4a",), "opus": ("opus",)}


class HlsReader:
    """Follows one HLS URL."""

    def __init__(self, session: aiohttp.ClientSession, board: Board) -> None:
        self._session = session
        self._board = board
        self._meters: dict[int, TrackMeter] = {}
        self._codecs: tuple[str, ...] = ()
        self._next = -1  # number of the segment that is wanted
        self._inits: dict[str, bytes] = {}
        self._fetched = self._missed = 0  # segments

    async def run(self, url: str, body: bytes) -> str:
        """Read until cancelled, or until the playlist ends."""
        playlist = parse(body.decode("utf-8", "replace"), url)
        if playlist.variants:
            best = max(playlist.variants, key=lambda variant: variant.bandwidth)
            if len(playlist.variants) > 1:
                self._board.notes["hls-variants-not-read"] = len(playlist.variants) - 1
            self._codecs = best.codecs
            url = best.url
            playlist = await self._playlist(url)
        started = time.monotonic()
        while True:
            before = self._next
            await self._take(playlist, started)
            if playlist.is_ended:
                return "source-ended"
            wait = playlist.target / 2 if self._next == before else playlist.target
            await asyncio.sleep(min(max(wait, SHORTEST_POLL), LONGEST_POLL))
            playlist = await self._playlist(url)

    async def _take(self, playlist: Playlist, started: float) -> None:
        """Fetch the segments of a playlist that are new."""
        segments = playlist.segments
        if not segments:
            return
        if self._next < 0:
            behind = 0 if playlist.is_ended else max(0, len(segments) - START_BEHIND)
            self._next = segments[behind].number
        first, last = segments[0].number, segments[-1].number
        if first > self._next:  # it left the playlist before we came for it
            self._miss(first - self._next)
            self._next = first
        elif last + 1 < self._next:  # the server began anew
            self._board.notes["hls-sequence-restarted"] += 1
            self._next = segments[max(0, len(segments) - START_BEHIND)].number
        fetched = 0.0
        for segment in segments:
            if segment.number < self._next:
                continue
            self._next = segment.number + 1
            await self._segment(segment)
            fetched += segment.duration
            if playlist.is_ended and (ahead := fetched - (time.monotonic() - started)) > AHEAD:
                await asyncio.sleep(ahead - AHEAD)

    async def _segment(self, segment: Segment) -> None:
        try:
            init = await self._init(segment.init_url) if segment.init_url else b""
            data = await self._fetch(segment.url, MAX_SEGMENT_BYTES)
            tracks, frames = await asyncio.to_thread(demux, init + data)
        except (ProbeFailed, WireError) as error:
            self._board.notes[error.reason] += 1
            self._miss(1)
            return
        self._fetched += 1
        self._board.media(time.monotonic())
        for track in tracks:
            self._describe(track)
        for frame in frames:
            self._meters[frame.track].add(frame.time, frame.size_bytes, key=frame.key)
        self._count()

    def _describe(self, track: SegmentTrack) -> None:
        meter = self._meters.get(track.id)
        if meter is None:
            meter = self._meters[track.id] = TrackMeter(track.kind, track.codec)
            self._board.tracks.append(meter)
        meter.codec = track.codec
        prefixes = PREFIXES.get(track.codec, ())
        named = [c.strip() for c in self._codecs if c.strip().lower().startswith(prefixes or "?")]
        meter.codec_string = named[0] if named else ""
        # A segment that was cut without a key frame says nothing of its pictures.
        meter.width, meter.height = track.width or meter.width, track.height or meter.height
        meter.sample_rate = track.sample_rate or meter.sample_rate
        meter.channels = track.channels or meter.channels
        meter.nominal_rate = track.nominal_rate or meter.nominal_rate

    def _miss(self, count: int) -> None:
        self._missed += count
        self._board.notes["hls-segments-missed"] += count
        self._count()

    def _count(self) -> None:
        """Segments are what can be lost here; every track of them is."""
        for meter in self._meters.values():
            meter.packets, meter.lost = self._fetched, self._missed

    async def _init(self, url: str) -> bytes:
        if url not in self._inits:
            self._inits = {url: await self._fetch(url, MAX_SEGMENT_BYTES)}
        return self._inits[url]

    async def _playlist(self, url: str) -> Playlist:
        body = await self._fetch(url, MAX_PLAYLIST_BYTES)
        return parse(body.decode("utf-8", "replace"), url)

    async def _fetch(self, url: str, limit: int) -> bytes:
        async with self._session.get(url) as answer:
            if answer.status != 200:
                raise ProbeFailed(f"http-{answer.status}")
            data = bytearray()
            while piece := await answer.content.readany():
                data += piece
                if len(data) > limit:
                    raise ProbeFailed("too-large")
            return bytes(data)
