/* Keeps a live picture close to the newest one that has come, without starving it. */

const CATCH_UP = 1.06; // playback rates: too little to be heard
const HOLD_BACK = 0.97;
const SPARE = 0.12; // seconds over the target before the rate goes up
const JUMP = 1.5; // seconds over the target that are skipped instead of caught up
const CALM = 30; // seconds without a stall after which the target comes down again
const LARGEST_TARGET = 3;
const SETTLING = 1.5; // seconds after a jump in which a stall proves nothing
const OUTAGE = 2; // seconds behind a stall in which another one is of the same cause
const NEAR = 0.1; // seconds before a hole in which a picture that stands waits for it
const CROSSING = 0.2; // seconds behind a hole within which the picture must have gone on

/**
 * Steers a media element whose source appends a live stream. `step` is called some times a second.
 * The target grows by half with every stall, so each viewer's network finds its own.
 */
export class LiveEdge {
  constructor(media, target) {
    this.media = media;
    this.smallest = target;
    this.target = target;
    this.started = false;
    this.calmSince = 0;
    this.jumpedAt = 0;
    this.stalledAt = -OUTAGE;
    this.offset = null; // largest seen of (newest time in the buffer - clock)
    this.seenAt = 0;
    this.place = 0; // in the media, at the last look
    this.crossed = null; // when a hole was crossed, and the pictures shown until then
  }

  /** The newest time in the buffer; null without any. */
  get end() {
    const ranges = this.media.buffered;
    return ranges.length ? ranges.end(ranges.length - 1) : null;
  }

  /** Seconds of media ahead of the picture. */
  get ahead() {
    return this.end === null ? 0 : Math.max(0, this.end - this.media.currentTime);
  }

  /** Seconds that the picture is behind the newest that came or would have come by `now`. */
  latency(now) {
    if (this.offset === null || !this.started) return null;
    return Math.max(0, now + this.offset - this.media.currentTime);
  }

  /** One look at the buffer; `now` in seconds of a steady clock. */
  step(now) {
    const end = this.end;
    if (end === null) return;
    // Slowly forgotten, for the clocks of sender and viewer drift apart.
    const forgotten = (now - this.seenAt) * 0.002;
    this.offset = this.offset === null ? end - now : Math.max(this.offset - forgotten, end - now);
    this.seenAt = now;
    const { media } = this;
    if (!this.started) {
      this.started = true;
      this.jump(now);
      return;
    }
    if (media.paused || media.seeking || this.leap(now)) return;
    const spare = this.ahead - this.target;
    if (media.currentTime < media.buffered.start(0) || spare > JUMP) {
      this.jump(now);
    } else if (spare > SPARE) {
      this.rate(CATCH_UP);
    } else if (spare < -0.5 * this.target) {
      this.rate(HOLD_BACK);
    } else if (media.playbackRate > 1 ? spare < 0.02 : spare > -0.1 * this.target) {
      this.rate(1);
    }
    if (now - this.calmSince > CALM && this.target > this.smallest) {
      this.target = Math.max(this.smallest, this.target * 0.85);
      this.calmSince = now;
    }
  }

  /**
   * Lead the picture over a hole in the buffer, as a change of sources may leave one: browsers stand
   * still before it, or play the sound on and show no picture behind it. Whether it had to be led.
   */
  leap(now) {
    const { buffered: ranges, currentTime: at, readyState } = this.media;
    const before = this.place;
    this.place = at;
    for (let index = 1; index < ranges.length; index += 1) {
      const start = ranges.start(index);
      if (at < start && at > ranges.end(index - 1) - NEAR && readyState < 3) {
        this.go(start, now);
        return true;
      }
      if (before < start && at >= start) this.crossed = { now, pictures: this.pictures };
    }
    if (this.crossed === null || now - this.crossed.now < CROSSING) return false;
    const stands = this.pictures === this.crossed.pictures;
    this.crossed = null;
    if (stands) this.go(at, now); // its decoder begins anew
    return stands;
  }

  /** Pictures shown so far. */
  get pictures() {
    return this.media.getVideoPlaybackQuality?.().totalVideoFrames;
  }

  /** The buffer ran dry. */
  stalled(now) {
    const isNews = now - this.jumpedAt > SETTLING && now - this.stalledAt > OUTAGE;
    this.calmSince = this.stalledAt = now;
    if (this.started && isNews && !this.media.seeking) {
      this.target = Math.min(LARGEST_TARGET, this.target * 1.5);
    }
  }

  /** Go to the newest picture less the target. */
  jump(now) {
    const ranges = this.media.buffered;
    if (!ranges.length) return;
    const last = ranges.length - 1;
    this.calmSince = now;
    this.go(Math.max(ranges.start(last), ranges.end(last) - this.target), now);
  }

  go(place, now) {
    this.jumpedAt = now;
    this.crossed = null;
    this.media.currentTime = place;
    this.place = place;
    this.rate(1);
  }

  rate(value) {
    if (this.media.playbackRate !== value) this.media.playbackRate = value;
  }
}
