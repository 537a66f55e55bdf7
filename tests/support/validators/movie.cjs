// Reads fragmented MP4 with MP4Box.js (of the GPAC project) and says what it objects to.
// node movie.cjs FILE...  The module is found by NODE_PATH.
const { readFileSync } = require("node:fs");
const MP4Box = require("mp4box");

for (const file of process.argv.slice(2)) {
  const problem = (text) => console.log(`${file}: PROBLEM MP4Box.js: ${text}`);
  MP4Box.Log.setLogLevel(MP4Box.Log.LOG_LEVEL_WARNING);
  for (const level of ["warn", "error"]) {
    MP4Box.Log[level] = (module, text) => problem(`${level} ${module}: ${text}`);
  }
  const movie = MP4Box.createFile(true);
  let samples = 0;
  movie.onError = (module, text) => problem(`${module}: ${text}`);
  movie.onSamples = (_id, _user, found) => {
    samples += found.length;
  };
  movie.onReady = (info) => {
    if (!info.isFragmented) problem("not fragmented");
    for (const track of info.tracks) {
      console.log(`${file}: MP4Box.js: track ${track.id} ${track.codec} ${track.timescale}`);
      movie.setExtractionOptions(track.id, null, { nbSamples: 1000 });
    }
    movie.start();
  };
  const data = readFileSync(file);
  const buffer = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
  buffer.fileStart = 0;
  movie.appendBuffer(buffer, true);
  movie.flush();
  for (const box of movie.boxes) {
    if (box.constructor.name === "UnknownBox" || box.has_unparsed_data) problem(`box ${box.type}`);
  }
  console.log(`${file}: MP4Box.js: ${samples} samples`);
}
