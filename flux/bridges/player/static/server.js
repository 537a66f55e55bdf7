/* What the page asks of the server besides media: how a stream stands, and what time it is. */

/** Where the server's paths begin: this file is in /_/VERSION/. */
export const ROOT = new URL("../../", import.meta.url);

const TIMEOUT = 5000; // ms

let offset = 0; // ms that the server's clock is ahead of ours
let error = Infinity; // ms that this may be wrong

/** The server's clock, as Unix milliseconds. */
export const serverTime = () => Date.now() + offset;

/** The path of a stream, fit for a URL. */
export const pathOf = (name) => name.split("/").map(encodeURIComponent).join("/");

async function ask(path) {
  const url = new URL(path, ROOT);
  return fetch(url, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
}

/**
 * How a stream stands, and the codec of its picture where that is known, else "". The state is live,
 * starting, interrupted, on-demand, offline; missing, network.
 */
export async function stateOf(name) {
  const asked = Date.now();
  try {
    const answer = await ask(`_/stream.json?name=${encodeURIComponent(name)}`);
    if (!answer.ok) return { state: answer.status === 404 ? "missing" : "network", video: "" };
    const { state, video = "", now } = await answer.json();
    learnTime(now, asked, Date.now());
    return { state, video };
  } catch {
    return { state: "network", video: "" };
  }
}

/** The rows of the list of streams. */
export async function listStreams() {
  const answer = await ask("_/streams.json");
  if (!answer.ok) throw new Error(String(answer.status));
  return (await answer.json()).streams;
}

/** The answer with the shortest way tells the time best. */
function learnTime(now, asked, answered) {
  const way = (answered - asked) / 2;
  if (way <= error) {
    offset = now - (asked + way);
    error = way;
  }
}
