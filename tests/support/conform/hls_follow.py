"""A media playlist over time, as a client sees it that reloads; RFC 8216 section 6.2, bis 6.2."""

from dataclasses import dataclass, replace

from tests.support.conform.hls_media import DATE_ROOM, read_media
from tests.support.conform.hls_model import MediaPlaylist, Segment
from tests.support.conform.hls_rules import RULES
from tests.support.conform.problem import Findings, Problem

NOT_YET = -1.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with delivery directives and its answer; times in seconds of the same clock."""

    sequence: int | None  # _HLS_msn
    part: int | None  # _HLS_part
    asked_at: float
    answered_at: float
    status: int
    body: bytes | str = b""


class Follower:
    """Judges one playlist and all its changes.

    `slack` is how much later than told a change may come, `date_room` how far dates may be off
    what the durations say, both in seconds. Times may be left out: then
    nothing is said of them.
    """

    def __init__(
        self, name: str = "playlist", *, slack: float = 0.0, date_room: float = DATE_ROOM
    ) -> None:
        self.findings = Findings(RULES)
        self.playlists: list[MediaPlaylist] = []  # whole ones, delta updates merged
        self._name = name
        self._slack = slack
        self._date_room = date_room
        self._numbers: dict[tuple[str, tuple[int, int] | None], int] = {}
        self._segment_at: float | None = None  # when a new segment was seen
        self._part_at: float | None = None

    @property
    def problems(self) -> list[Problem]:
        """All that was found so far."""
        return self.findings.problems

    @property
    def newest(self) -> MediaPlaylist | None:
        """The last version."""
        return self.playlists[-1] if self.playlists else None

    def reload(self, data: bytes | str, now: float | None = None) -> MediaPlaylist:
        """The next version, whole or as a delta update; judges it and its difference."""
        name = f"{self._name} {len(self.playlists)}"
        new = read_media(data, name, self.findings, date_room=self._date_room)
        old = self.newest
        if new.skipped:
            new = self._merge(old, new)
        if old is not None:
            self._judge(old, new)
        self._judge_uris(new)
        if now is not None:
            self._judge_time(old, new, now)
        self.playlists.append(new)
        return new

    def asked(self, request: Asked) -> None:
        """A blocking request: judge when it was answered and with what."""
        add, old = self.findings.add, self.newest
        what = f"{self._name}: _HLS_msn={request.sequence} _HLS_part={request.part}"
        waited = request.answered_at - request.asked_at
        if request.sequence is None:
            if request.part is not None and request.status != 400:
                add("block-bad-request", what, f"{request.status} instead of 400")
            return
        if old is not None and not old.is_ended:
            last = old.segments[-1].sequence if old.segments else old.sequence - 1
            if request.sequence > last + 2:
                if request.status != 400 or waited > max(self._slack, 0.5):
                    add(
                        "block-ahead",
                        what,
                        f"{request.status} after {waited:.3f} s; {last} is last",
                    )
                return
            if waited > 3 * old.target + self._slack and request.status != 503:
                add("block-late", what, f"{request.status} after {waited:.3f} s")
        if request.status != 200:
            if request.status != 503:
                add("block-refused", what, str(request.status))
            return
        new = self.reload(request.body, request.answered_at)
        sequence, part = request.sequence, request.part
        parent = next((each for each in new.segments if each.sequence == sequence), None)
        if part is not None and parent is not None and 0 < len(parent.parts) <= part:
            sequence, part = sequence + 1, 0
        if not new.is_ended and not new.covers(sequence, part):
            add("block-early", what, f"the last part is {new.last_part}")

    def _merge(self, old: MediaPlaylist | None, new: MediaPlaylist) -> MediaPlaylist:
        """A delta update with what the version before has of the skipped segments."""
        add, where = self.findings.add, new.text.name
        known = {segment.sequence: segment for segment in old.segments} if old else {}
        wanted = range(new.sequence, new.sequence + new.skipped)
        skipped = [known[sequence] for sequence in wanted if sequence in known]
        if len(skipped) != new.skipped:
            add("delta-unknown", where, f"{new.skipped} skipped, {len(skipped)} are known")
            return new
        boundary = new.control.seconds("CAN-SKIP-UNTIL") if new.control else NOT_YET
        if boundary < 0:
            add("delta-boundary", where, "no CAN-SKIP-UNTIL")
        elif new.duration < boundary - 1e-6:
            add("delta-boundary", where, f"{new.duration:.3f} s are left, {boundary} s have to be")
        elif new.segments and new.duration - new.segments[0].duration > boundary:
            add("delta-boundary", where, "a segment beyond the boundary was not skipped")
        for segment in new.segments:
            other = known.get(segment.sequence)
            if other is not None and _path(segment.uri) != _path(other.uri):
                add("delta-differs", where, f"segment {segment.sequence}")
        shift = 0
        if skipped:
            # Discontinuities of skipped segments were not counted.
            shift = skipped[-1].discontinuities - new.discontinuity_sequence
        rest = [
            replace(
                segment,
                discontinuities=segment.discontinuities + shift,
                map_uri=segment.map_uri or skipped[-1].map_uri,
            )
            for segment in new.segments
        ]
        new.segments = [*skipped, *rest]
        new.skipped = 0
        return new

    def _judge(self, old: MediaPlaylist, new: MediaPlaylist) -> None:
        add, where = self.findings.add, new.text.name
        same = (
            ("target-changed", old.target, new.target),
            ("part-target-changed", old.part_target, new.part_target),
            ("type-changed", old.type, new.type),
            ("independent-changed", old.is_independent, new.is_independent),
            (
                "server-control-changed",
                old.control.value if old.control else "",
                new.control.value if new.control else "",
            ),
        )
        for slug, before, after in same:
            if before != after:
                add(slug, where, f"{before} became {after}")
        has_skip = "#EXT-X-SKIP" in new.text.counts or "#EXT-X-SKIP" in old.text.counts
        if old.version != new.version and not has_skip:
            add("version-changed", where, f"{old.version} became {new.version}")
        if new.sequence < old.sequence:
            add("sequence-back", where, f"{new.sequence} after {old.sequence}")
        if new.discontinuity_sequence < old.discontinuity_sequence:
            text = f"{new.discontinuity_sequence} after {old.discontinuity_sequence}"
            add("discontinuity-sequence-back", where, text)
        if old.is_ended and (
            not new.is_ended or _uris(old.segments)[-1:] != _uris(new.segments)[-1:]
        ):
            add("end-changed", where)
        self._judge_segments(old, new)
        self._judge_parts(old, new)

    def _judge_segments(self, old: MediaPlaylist, new: MediaPlaylist) -> None:
        add, where = self.findings.add, new.text.name
        now = {segment.sequence: segment for segment in new.segments}
        for segment in old.segments:
            other = now.get(segment.sequence)
            if other is None:
                if segment.sequence >= new.sequence:
                    add("segment-lost", where, f"{segment.sequence} {segment.uri}")
                continue
            if _path(other.uri) != _path(segment.uri):
                add("sequence-mismatch", where, f"{segment.sequence} was {segment.uri}")
            elif other.duration != segment.duration or other.is_gap != segment.is_gap:
                add("segment-changed", where, f"{segment.sequence}: {other.duration} s")
            elif other.date and segment.date and other.date != segment.date:
                add("segment-changed", where, f"{segment.sequence}: {other.date}")
            if other.discontinuities != segment.discontinuities:
                text = f"{segment.sequence}: {other.discontinuities}, was {segment.discontinuities}"
                add("discontinuity-sequence", where, text)
        if old.segments and new.segments and new.sequence > old.segments[-1].sequence + 1:
            add(
                "removed-all",
                where,
                f"{new.sequence} is first, {old.segments[-1].sequence} was last",
            )
        was_removed = new.sequence > old.sequence
        if was_removed and not new.is_ended and new.duration < 3 * new.target:
            add("playlist-short", where, f"{new.duration:.3f} s, targets of {new.target} s")

    def _judge_parts(self, old: MediaPlaylist, new: MediaPlaylist) -> None:
        """Parts stay as they are; the next one is the one that was hinted."""
        add, where = self.findings.add, new.text.name
        before, after = _parts(old), _parts(new)
        for sequence, parts in before.items():
            now = after.get(sequence, [])
            if now and now[: len(parts)] != parts and sequence in after:
                add("part-changed", where, f"of segment {sequence}")
        hint = next((line for line in old.hints if line.attributes.get("TYPE") == "PART"), None)
        if hint is None or not before:
            return
        sequence, index = max(before), len(before[max(before)])
        now = after.get(sequence, [])
        following = now[index : index + 1] or after.get(sequence + 1, [])[:1]
        if following and following[0][0] != hint.text("URI"):
            add("hint-broken", where, f"{following[0][0]}, {hint.text('URI')} was hinted")

    def _judge_uris(self, new: MediaPlaylist) -> None:
        for segment in new.segments:
            key = (_path(segment.uri), segment.range)
            if self._numbers.setdefault(key, segment.sequence) != segment.sequence:
                text = f"{segment.uri} was segment {self._numbers[key]}"
                self.findings.add("uri-reused", new.text.name, text)

    def _judge_time(self, old: MediaPlaylist | None, new: MediaPlaylist, now: float) -> None:
        """Nothing new at this look: is it late by now?"""
        add, where = self.findings.add, new.text.name
        last = new.segments[-1].sequence if new.segments else -1
        before = old.segments[-1].sequence if old and old.segments else -1
        if last > before or self._segment_at is None:
            self._segment_at = now
        elif not new.is_ended and now - self._segment_at > 1.5 * new.target + self._slack:
            add("update-late", where, f"nothing for {now - self._segment_at:.3f} s")
        if old is None or new.last_part > old.last_part or last > before or self._part_at is None:
            self._part_at = now
        elif 0 < new.part_target < now - self._part_at - self._slack and not new.is_ended:
            add("part-late", where, f"nothing for {now - self._part_at:.3f} s")


def _uris(segments: list[Segment]) -> list[str]:
    return [_path(segment.uri) for segment in segments]


def _path(uri: str) -> str:
    """A URI without its query: that may carry a token."""
    return uri.partition("?")[0]


def _parts(playlist: MediaPlaylist) -> dict[int, list[tuple[str, float]]]:
    """URI and duration of the parts by their parent's number."""
    parents = [*playlist.segments, *([playlist.making] if playlist.making else [])]
    return {
        parent.sequence: [(part.uri, part.duration) for part in parent.parts]
        for parent in parents
        if parent.parts
    }
