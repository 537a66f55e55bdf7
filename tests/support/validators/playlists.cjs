// Reads playlists with hls-parser (strict) and m3u8-parser and says what they object to.
// node playlists.cjs FILE...  The modules are found by NODE_PATH.
const { readFileSync } = require("node:fs");
const HLS = require("hls-parser");
const { Parser } = require("m3u8-parser");

HLS.setOptions({ strictMode: true });
for (const file of process.argv.slice(2)) {
  const text = readFileSync(file, "utf8");
  try {
    const playlist = HLS.parse(text);
    const count = playlist.isMasterPlaylist ? playlist.variants.length : playlist.segments.length;
    console.log(`${file}: hls-parser: ${count} entries`);
  } catch (error) {
    console.log(`${file}: PROBLEM hls-parser: ${error.message}`);
  }
  const parser = new Parser();
  for (const kind of ["warn", "error"]) {
    parser.on(kind, (event) => console.log(`${file}: PROBLEM m3u8-parser: ${event.message}`));
  }
  parser.push(text);
  parser.end();
  const { segments, playlists } = parser.manifest;
  console.log(`${file}: m3u8-parser: ${(playlists ?? segments).length} entries`);
}
