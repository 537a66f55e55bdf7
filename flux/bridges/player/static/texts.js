/* Every sentence that a viewer reads when there is no picture. */

/** Why there is no picture, by the kind of a failure or the state of the stream. */
export const TEXTS = {
  connecting: ["Connecting…", ""],
  starting: ["Starting the stream…", "This can take some seconds."],
  "on-demand": ["Starting the stream…", "It runs while somebody watches."],
  segments: ["Starting the stream…", "HLS begins when its first parts are complete."],
  offline: ["This stream is offline", "It has no source at the moment."],
  interrupted: ["The stream was interrupted", "It goes on as soon as its source is back."],
  ended: ["The stream has ended", "It may begin again."],
  missing: ["This stream does not exist", "It may have been removed or renamed."],
  refused: ["You may not watch this stream", "The server refused access."],
  busy: ["The server is busy", "It takes no more viewers at the moment."],
  network: ["No connection to the server", "Check your network."],
  timeout: ["The stream does not come", "The server has sent no picture in time."],
  stalled: ["The picture has stopped", "Waiting for the stream…"],
  codec: ["This browser cannot play the stream", "It does not know the stream's format."],
  media: ["The picture could not be decoded", "The stream may be damaged."],
  paused: ["Paused", ""],
  unsupported: ["This browser cannot play live streams", "A newer version may be able to."],
};

/** What the pill in the head says of a stream. */
export const STATES = {
  connecting: "connecting",
  live: "live",
  starting: "starting",
  interrupted: "interrupted",
  "on-demand": "on demand",
  offline: "offline",
};

const CODECS = [
  ["hvc1", "H.265"], ["hev1", "H.265"], ["h265", "H.265"], ["avc", "H.264"], ["h264", "H.264"],
  ["av01", "AV1"], ["vp09", "VP9"], ["ac-3", "AC-3"], ["ec-3", "E-AC-3"], ["opus", "Opus"],
  ["mp4a", "AAC"], ["aac", "AAC"], ["pcma", "G.711"], ["pcmu", "G.711"],
];

/** The names that people know of the codecs in a text such as `hvc1.1.6.L93.B0,mp4a.40.2`. */
export function codecNames(text) {
  const found = CODECS.filter(([prefix]) => text.toLowerCase().includes(prefix));
  return [...new Set(found.map(([, name]) => name))].join(", ");
}

/** Title and text of a notice. */
export function textOf(kind, detail = "") {
  const [title, text] = TEXTS[kind] ?? TEXTS.network;
  const names = kind === "codec" ? codecNames(detail) : "";
  return [title, names ? `It cannot decode ${names} here.` : text];
}
