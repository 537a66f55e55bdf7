/* Keeps the pictures behind a change of quality, where sound and pictures share a buffer in hls.js.

   Another stream's sound does not go on where the old one's ended, but some milliseconds before or
   behind. Browsers take that for a jump and then drop the pictures of that buffer up to the next key
   frame (Media Source Extensions, coded frame processing), also those of a key frame that has just
   been taken, if its pictures go on without a jump: up to a GOP is lost. So where an initialization
   segment comes, a buffer has to forget where the media before it ended. */

const BOX_TYPE = 4; // bytes before it
const FILE_TYPE = [..."ftyp"].map((letter) => letter.charCodeAt(0)); // ISO/IEC 14496-12 section 4.3

const begins = (data) => FILE_TYPE.every((code, index) => data[BOX_TYPE + index] === code);

/** Mend a SourceBuffer; hls.js gives it bytes. */
export function mendJoins(buffer) {
  const append = buffer.appendBuffer;
  buffer.appendBuffer = (data) => {
    if (!buffer.updating && begins(data)) forget(buffer);
    append.call(buffer, data);
  };
}

function forget(buffer) {
  try {
    buffer.abort(); // nothing is being appended; it resets what the buffer knows of times
  } catch {
    // its stream has ended: appending opens it again, and is what may fail
  }
}
