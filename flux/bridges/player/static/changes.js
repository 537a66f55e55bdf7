/* Keeps each picture with the parameters that it was made with, in mpegts.js.

   mpegts.js holds back the newest picture until the next one tells how long it lasts. A new sequence
   header goes past it: the last picture before a change stands behind the new initialization segment,
   where browsers cannot decode it, and give up if it is a key frame. No server can flush it: FLV does
   not support a NAL unit that ends a sequence (E.4.3.1), and its own end of sequence is not heeded.
   So a header waits here for the first picture behind it. That one tells how long the last old one
   lasts, and is then what is held back. */

const mended = new WeakSet(); // demuxers

class Changes {
  constructor(demuxer, remuxer) {
    this.queue = demuxer._videoTrack;
    this.remuxer = remuxer;
    this.waiting = []; // headers, and how many pictures of the queue are from before them
    this.describe = demuxer.onTrackMetadata;
    this.give = demuxer.onDataAvailable;
    demuxer.onTrackMetadata = (type, metadata) => this.described(type, metadata);
    demuxer.onDataAvailable = (audio, video) => this.came(audio, video);
  }

  described(type, metadata) {
    const before = this.queue.samples.length;
    if (type !== "video" || !(before || this.remuxer._videoStashedLastSample)) {
      this.describe(type, metadata);
      return;
    }
    if (this.waiting.at(-1)?.before === before) this.waiting.pop(); // no picture came with that one
    this.waiting.push({ before, metadata: { ...metadata } }); // mpegts.js writes over its own
  }

  came(audio, video) {
    while (this.waiting.length && video.samples.length > this.waiting[0].before) {
      const { before, metadata } = this.waiting.shift();
      this.finish(video, before + 1);
      this.describe("video", metadata);
      for (const header of this.waiting) header.before -= before + 1;
    }
    this.give(audio, this.waiting.length ? null : video);
  }

  /** Hand over what is held back and so many pictures; the last of them is held back then. */
  finish(video, count) {
    const held = this.remuxer._videoStashedLastSample;
    const samples = video.samples.splice(0, count);
    video.length = bytesOf(video.samples);
    if (held) samples.unshift(held);
    this.remuxer._videoStashedLastSample = null;
    this.give(null, { ...video, samples, length: bytesOf(samples) });
  }
}

const bytesOf = (samples) => samples.reduce((sum, sample) => sum + sample.length, 0);

/** Mend a player of mpegts.js that reads already, once. One with another inside stays as it is. */
export function mendChanges(player) {
  const { _demuxer: demuxer, _remuxer: remuxer } =
    player?._player_engine?._transmuxer?._controller ?? {};
  const isKnown = demuxer?._videoTrack && remuxer?._videoStashedLastSample !== undefined;
  if (!isKnown || mended.has(demuxer)) return;
  mended.add(demuxer);
  new Changes(demuxer, remuxer);
}
