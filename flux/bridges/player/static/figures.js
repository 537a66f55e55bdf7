/* The figures below the picture. */

const $ = (id) => document.getElementById(id);
const NONE = "–";
const LOOKS = 5; // that the frame rate is measured over

export class Figures {
  constructor(media) {
    this.media = media;
    this.engine = null;
    this.latency = null;
    this.counts = []; // [time, frames so far] of the last looks
  }

  show() {
    const { engine, media } = this;
    const isOn = engine !== null && media.readyState >= 2;
    this.latency = isOn ? engine.latency() : null;
    put("latency", seconds(this.latency));
    put("buffer", isOn ? seconds(bufferAhead(media)) : NONE);
    put("resolution", media.videoWidth ? `${media.videoWidth}×${media.videoHeight}` : NONE);
    put("bitrate", isOn ? bits(engine.bitrate()) : NONE);
    this.showFrames(isOn);
  }

  showFrames(isOn) {
    const quality = this.media.getVideoPlaybackQuality?.();
    const now = performance.now();
    if (!isOn || !quality) {
      this.counts = [];
      put("frames", NONE);
      put("dropped", NONE);
      return;
    }
    const [then, before] = this.counts[0] ?? [now, 0];
    if (quality.totalVideoFrames < before) this.counts = []; // another connection
    else if (now - then > 1500) {
      put("frames", `${Math.round((quality.totalVideoFrames - before) / (now - then) * 1000)} /s`);
    }
    this.counts = [...this.counts, [now, quality.totalVideoFrames]].slice(-LOOKS);
    put("dropped", String(quality.droppedVideoFrames));
  }
}

function put(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

/** Seconds of media after the picture. */
export function bufferAhead(media) {
  for (let index = 0; index < media.buffered.length; index += 1) {
    const [start, end] = [media.buffered.start(index), media.buffered.end(index)];
    if (start - 0.1 <= media.currentTime && media.currentTime <= end) return end - media.currentTime;
  }
  return 0;
}

const seconds = (value) => value === null ? NONE : `${value.toFixed(value < 10 ? 2 : 0)} s`;

function bits(value) {
  if (value === null || !Number.isFinite(value)) return NONE;
  return value < 1e6 ? `${Math.round(value / 1e3)} kbit/s` : `${(value / 1e6).toFixed(1)} Mbit/s`;
}
