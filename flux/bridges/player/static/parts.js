/* What hls.js does wrong with the parts of low-latency HLS, put right through its events. */

/** Mend a player; `events` are the names of its events. */
export function mendParts(hls, events) {
  const parts = (level) => hls.levels[level]?.details?.partList ?? [];
  hls.on(events.FRAG_PARSED, (_event, { frag, part }) => leaveOpen(frag, part, parts(frag.level)));
  hls.on(events.FRAG_BUFFERED, (_event, { frag, part }) => remember(frag, part, parts(frag.level)));
  hls.on(events.LEVEL_SWITCHING, (_event, { level }) => forget(parts(level)));
  hls.on(events.LEVEL_UPDATED, (_event, { details }) => correct(details));
}

/**
 * It takes a segment for loaded where no more than 0.2 s of it are missing. Where the last part is as
 * short, and is listed before the one ahead of it has come, it would ask for that part no more, nor
 * for anything behind it until it is listed no more.
 */
function leaveOpen(frag, part, parts) {
  const isMissing = (each) =>
    each.fragment.sn === frag.sn && each.index > part.index && !each.loaded;
  if (!part || !parts.some(isMissing)) return;
  for (const each of Object.values(frag.elementaryStreams)) if (each) each.partial = true;
}

/**
 * It forgets which parts it has loaded where the playlist came anew meanwhile, as it does when a
 * quality begins with several of them: at the end of their segment it would wait for them until they
 * are listed no more.
 */
function remember(frag, part, parts) {
  if (!part) return;
  for (const each of parts) {
    const isBefore = each.fragment.sn === frag.sn && each.index <= part.index;
    if (isBefore && !each.loaded) each.elementaryStreams = part.elementaryStreams;
  }
}

/** It goes on behind the parts that it loaded when it had a quality before, however old. */
function forget(parts) {
  for (const each of parts) each.elementaryStreams = { audio: null, video: null, audiovideo: null };
}

/**
 * It takes LAST-PART=0 for one that is not told, and would ask another quality for a part that comes
 * a second later. Of a segment that is whole any part will do: the answer is what there is.
 */
function correct(details) {
  for (const report of details.renditionReports ?? []) {
    const number = parseInt(report["LAST-MSN"]);
    if (parseInt(report["LAST-PART"]) !== 0 || !(number > 1)) continue;
    Object.assign(report, { "LAST-MSN": `${number - 1}`, "LAST-PART": "1" });
  }
}
