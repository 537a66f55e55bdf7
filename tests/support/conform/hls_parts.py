"""Low latency in one media playlist; rfc8216bis sections 4.4.3.7 to 4.4.5.4 and appendix B.1."""

from tests.support.conform.hls_model import MediaPlaylist, Segment
from tests.support.conform.problem import Findings

ROUNDING = 0.001  # seconds that a duration may be off by its digits
LEAST = 0.85  # of the part target


def judge_parts(playlist: MediaPlaylist, findings: Findings) -> None:
    """What parts and the tags around them have to be."""
    _judge_control(playlist, findings)
    _judge_hints(playlist, findings)
    _judge_reports(playlist, findings)
    parents = [*playlist.segments, *([playlist.making] if playlist.making else [])]
    has_parts = any(segment.parts for segment in parents)
    name = playlist.text.name
    if has_parts and not playlist.text.counts["#EXT-X-PART-INF"]:
        findings.add("part-inf-missing", name)
        return
    if playlist.text.counts["#EXT-X-PART-INF"] and playlist.part_target <= 0:
        findings.add("part-target", name)
        return
    left = sum(segment.duration for segment in playlist.segments)
    for segment in parents:
        _judge_durations(playlist, segment, findings)
        left -= max(segment.duration, 0.0)
        if segment.parts and left > 3 * playlist.target + ROUNDING and not playlist.is_ended:
            text = f"{left:.3f} s from the end"
            findings.add("part-old", f"{name} line {segment.parts[0].number}", text)


def _judge_durations(playlist: MediaPlaylist, segment: Segment, findings: Findings) -> None:
    add, name, target = findings.add, playlist.text.name, playlist.part_target
    parts = segment.parts
    for index, part in enumerate(parts):
        where = f"{name} line {part.number}"
        if part.duration > target + 1e-6:
            add("part-long", where, f"{part.duration} s, {target} s may be")
        is_last = index == len(parts) - 1
        is_final = is_last and bool(segment.uri)
        may_be_short = part.is_independent or part.is_gap or is_final
        if not is_last and parts[index + 1].is_gap:
            may_be_short = True
        if is_last and not segment.uri:
            may_be_short = True  # it may turn out to be the final one; a reload tells
        if part.duration < LEAST * target - 1e-6 and not may_be_short:
            add("part-short", where, f"{part.duration} s of {target} s")
    if segment.uri and parts:
        total = sum(part.duration for part in parts)
        off, room = total - segment.duration, ROUNDING * (len(parts) + 1)
        if abs(off) > room:
            text = f"parts of {total:.3f} s in {segment.duration:.3f} s"
            add("part-sum", f"{name} line {segment.number}", text)


def _judge_control(playlist: MediaPlaylist, findings: Findings) -> None:
    add = findings.add
    line, name = playlist.control, playlist.text.name
    has_parts = bool(playlist.text.counts["#EXT-X-PART-INF"])
    if line is None:
        if has_parts:
            add("part-hold-back-missing", name, "no EXT-X-SERVER-CONTROL at all")
        return
    where = playlist.text.where(line)
    for flag in ("CAN-BLOCK-RELOAD", "CAN-SKIP-DATERANGES"):
        if line.attributes.get(flag, "YES") != "YES":
            add("server-control", where, f"{flag} is YES or is not there")
    for key in ("CAN-SKIP-UNTIL", "HOLD-BACK", "PART-HOLD-BACK"):
        if key in line.attributes and line.seconds(key) < 0:
            add("server-control", where, f"{key} is no number")
    if has_parts and "CAN-BLOCK-RELOAD" not in line.attributes:
        add("block-reload-missing", where)
    skip, hold = line.seconds("CAN-SKIP-UNTIL"), line.seconds("HOLD-BACK")
    if 0 <= skip < 6 * playlist.target:
        add("skip-boundary", where, f"{skip} s for targets of {playlist.target} s")
    if "CAN-SKIP-DATERANGES" in line.attributes and skip < 0:
        add("skip-dateranges", where, "without CAN-SKIP-UNTIL")
    if 0 <= hold < 3 * playlist.target:
        add("hold-back", where, f"{hold} s for targets of {playlist.target} s")
    part_hold = line.seconds("PART-HOLD-BACK")
    if has_parts and part_hold < 0:
        add("part-hold-back-missing", where)
    elif has_parts and part_hold < 2 * playlist.part_target:
        add("part-hold-back", where, f"{part_hold} s for parts of {playlist.part_target} s")
    elif has_parts and part_hold < 3 * playlist.part_target - 1e-6:
        add("part-hold-back-low", where, f"{part_hold} s for parts of {playlist.part_target} s")


def _judge_hints(playlist: MediaPlaylist, findings: Findings) -> None:
    add, text = findings.add, playlist.text
    kinds = []
    for line in playlist.hints:
        kind = line.attributes.get("TYPE", "")
        numbers = [line.attributes.get(f"BYTERANGE-{name}", "0") for name in ("START", "LENGTH")]
        if (
            kind not in ("PART", "MAP")
            or not line.text("URI")
            or not all(number.isdigit() for number in numbers)
        ):
            add("hint", text.where(line), line.value)
        if kind in kinds:
            add("hint-repeated", text.where(line), f"a second one for {kind}")
        kinds.append(kind)
    if kinds and playlist.is_ended:
        add("hint-ended", text.where(playlist.hints[0]))
    if playlist.part_target > 0 and not playlist.is_ended and "PART" not in kinds:
        add("hint-missing", text.name, "no hint of the next part")


def _judge_reports(playlist: MediaPlaylist, findings: Findings) -> None:
    for line in playlist.reports:
        uri = line.text("URI")
        sequence, part = (line.attributes.get(f"LAST-{name}", "0") for name in ("MSN", "PART"))
        if not uri or "://" in uri or not sequence.isdigit() or not part.isdigit():
            findings.add("report", playlist.text.where(line), line.value)
