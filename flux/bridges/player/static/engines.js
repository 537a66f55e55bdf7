/* The ways to play: FLV over HTTP or WebSocket by mpegts.js, HLS by hls.js or the browser itself.

   An engine has start(), stop(), goLive(), latency() in seconds, bitrate() in bit/s (null where not
   known) and calls `onFailure(kind, detail)` at most once; kinds are keys of TEXTS. */

import { mendChanges } from "./changes.js";
import { LiveEdge } from "./edge.js";
import { mendJoins } from "./joins.js";
import { mendParts } from "./parts.js";
import { serverTime } from "./server.js";

const FLV_TARGET = 0.25; // seconds of buffer that HTTP-FLV begins with
const STEP = 100; // ms between looks at the buffer
const HLS_BEHIND = 2.2; // segments behind that HLS settles at
const HLS_START = 1.3; // target durations; FLUX says one second more than its segments have
const HOLE = 0.3; // seconds to step over where another source begins: its pictures' reordering
const START_LOOKS = 30; // STEPs in which HLS may jump to where it settles
const START_EXCESS = 0.3; // seconds behind it that are worth a jump at the start
const LEAP = 1; // seconds that are, later on; or half a segment
const OUTAGE = 6000; // ms in which further stalls are of the same cause
const FORGIVEN = 30_000; // ms without a stall after which one is forgotten
const HELD = 40_000; // ms that the server may hold a playlist while a stream starts
const WATCHED = 4; // seconds of media behind a change of quality in which pictures may stand
const STANDS = 0.1; // seconds of media, and two pictures, without another one
const SLOWEST = 5; // pictures a second, where the playlist does not tell
const SANE_LATENCY = 120; // seconds; more is a clock that is wrong
const NOT_SUPPORTED = 9; // DOMException.NOT_SUPPORTED_ERR

const loaded = new Map();

/** Load a script of the vendor folder once. */
function library(name) {
  if (!loaded.has(name)) {
    loaded.set(name, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL(`vendor/${name}`, import.meta.url).href;
      script.onload = resolve;
      script.onerror = () => {
        loaded.delete(name);
        script.remove();
        reject(new Error(name));
      };
      document.head.append(script);
    }));
  }
  return loaded.get(name);
}

const hasMse = () => "MediaSource" in window || "ManagedMediaSource" in window;
const playsHls = (media) => media.canPlayType("application/vnd.apple.mpegurl") !== "";

/** Whether a way that somebody asks for can play here. */
export function isPlayable(protocol, media) {
  if (protocol === "ws") return hasMse() && "WebSocket" in window;
  return candidates(media).includes(protocol);
}

/** What can play here without being asked for, best first. */
export function candidates(media) {
  const found = [];
  if (hasMse() && "fetch" in window) found.push("flv");
  if (hasMse() || playsHls(media)) found.push("hls");
  return found;
}

/** An engine for a protocol. */
export function engineFor(protocol, media, urls, onFailure) {
  if (protocol === "flv" || protocol === "ws") return new FlvEngine(media, urls[protocol], onFailure);
  if (hasMse()) return new HlsEngine(media, urls.hls, onFailure);
  return new NativeEngine(media, urls.hls, onFailure);
}

/** What an HTTP status means to a viewer. */
function kindOf(status) {
  if (status === 404 || status === 410) return "missing";
  if (status === 401 || status === 403) return "refused";
  if (status === 429) return "busy";
  if (status === 415) return "codec";
  return status >= 500 ? "offline" : "network";
}

class Engine {
  constructor(media, url, onFailure) {
    this.media = media;
    this.url = url;
    this.onFailure = onFailure;
    this.stopped = false;
    this.timer = null;
  }

  fail(kind, detail = "") {
    if (this.stopped) return;
    this.stop();
    this.onFailure(kind, detail);
  }

  stop() {
    this.stopped = true;
    clearInterval(this.timer);
    this.media.playbackRate = 1;
  }

  goLive() {}
  latency() { return null; }
  bitrate() { return null; }
}

class FlvEngine extends Engine {
  async start() {
    try {
      await library("mpegts.js");
    } catch {
      return this.fail("network");
    }
    if (this.stopped) return;
    const { mpegts } = window;
    mpegts.LoggingControl.enableAll = false;
    if (!mpegts.getFeatureList().mseLivePlayback) return this.fail("unsupported");
    this.codecs = "";
    this.rates = [];
    this.edge = new LiveEdge(this.media, FLV_TARGET);
    this.onWaiting = () => this.edge.stalled(performance.now() / 1000);
    this.media.addEventListener("waiting", this.onWaiting);
    this.player = mpegts.createPlayer({ type: "flv", isLive: true, url: this.url }, {
      enableStashBuffer: false,
      lazyLoad: false,
      autoCleanupSourceBuffer: true,
      autoCleanupMaxBackwardDuration: 20,
      autoCleanupMinBackwardDuration: 10,
    });
    const { Events } = mpegts;
    this.player.on(Events.METADATA_ARRIVED, () => mendChanges(this.player));
    this.player.on(Events.MEDIA_INFO, (info) => {
      this.codecs = [info.videoCodec, info.audioCodec].filter(Boolean).join(",");
    });
    this.player.on(Events.STATISTICS_INFO, (info) => this.rates.push(info.speed));
    this.player.on(Events.LOADING_COMPLETE, () => this.fail("ended"));
    this.player.on(Events.ERROR, (type, detail, info) => this.failed(type, detail, info ?? {}));
    this.player.attachMediaElement(this.media);
    this.player.load();
    this.timer = setInterval(() => this.edge.step(performance.now() / 1000), STEP);
  }

  failed(type, detail, info) {
    const { ErrorTypes, ErrorDetails } = window.mpegts;
    if (type === ErrorTypes.NETWORK_ERROR) {
      const hasStatus = detail === ErrorDetails.NETWORK_STATUS_CODE_INVALID;
      this.fail(hasStatus ? kindOf(info.code) : "network");
    } else if (
      info.code === NOT_SUPPORTED
      || detail === ErrorDetails.MEDIA_CODEC_UNSUPPORTED
      || detail === ErrorDetails.MEDIA_FORMAT_UNSUPPORTED
    ) {
      this.fail("codec", this.codecs || String(info.msg ?? ""));
    } else {
      this.fail("media", String(info.msg ?? detail));
    }
  }

  stop() {
    super.stop();
    if (this.onWaiting) this.media.removeEventListener("waiting", this.onWaiting);
    this.player?.destroy();
    this.player = null;
  }

  goLive() { this.edge?.jump(performance.now() / 1000); }
  latency() { return this.edge?.latency(performance.now() / 1000) ?? null; }

  bitrate() {
    this.rates = this.rates?.slice(-5) ?? [];
    if (this.rates.length < 5) return null; // the first are those of the cached picture
    return this.rates.reduce((sum, rate) => sum + rate, 0) / this.rates.length * 1024 * 8;
  }
}

class HlsEngine extends Engine {
  async start() {
    try {
      await library("hls.min.js");
    } catch {
      return this.fail("network");
    }
    if (this.stopped) return;
    const { Hls } = window;
    if (!Hls.isSupported()) {
      return this.fail("unsupported");
    }
    this.fragments = [];
    this.stalls = 0;
    this.recovered = false;
    this.looks = 0;
    const patient = { ...Hls.DefaultConfig.manifestLoadPolicy.default };
    patient.maxLoadTimeMs = HELD;
    patient.errorRetry = null; // the page tells the viewer and tries again itself
    patient.timeoutRetry = null;
    const playlist = { ...Hls.DefaultConfig.playlistLoadPolicy.default };
    playlist.maxTimeToFirstByteMs = HELD;
    playlist.maxLoadTimeMs = HELD;
    playlist.errorRetry = { maxNumRetry: 2, retryDelayMs: 500, maxRetryDelayMs: 2000 };
    const fragment = { ...Hls.DefaultConfig.fragLoadPolicy.default };
    fragment.errorRetry = { maxNumRetry: 2, retryDelayMs: 500, maxRetryDelayMs: 2000 };
    this.hls = new Hls({
      liveSyncDurationCount: HLS_START,
      liveMaxLatencyDurationCount: 6,
      backBufferLength: 30,
      maxBufferHole: HOLE,
      manifestLoadPolicy: { default: patient },
      playlistLoadPolicy: { default: playlist },
      fragLoadPolicy: { default: fragment },
    });
    this.hls.on(Hls.Events.ERROR, (_event, data) => this.failed(data));
    this.hls.on(Hls.Events.BUFFER_CREATED, (_event, { tracks }) => {
      for (const { buffer } of Object.values(tracks)) if (buffer) mendJoins(buffer);
    });
    this.hls.on(Hls.Events.FRAG_LOADED, (_event, { frag }) => {
      this.fragments.push({ seconds: frag.duration, bits: frag.stats.total * 8 });
    });
    mendParts(this.hls, Hls.Events);
    this.hls.on(Hls.Events.LEVEL_SWITCHED, () => { this.changedAt = this.media.currentTime; });
    this.onEnded = () => this.fail("ended");
    this.media.addEventListener("ended", this.onEnded);
    this.hls.attachMedia(this.media);
    this.hls.loadSource(this.url);
    this.timer = setInterval(() => this.steer(), STEP);
  }

  failed(data) {
    const { ErrorTypes, ErrorDetails } = window.Hls;
    if (data.details === ErrorDetails.BUFFER_STALLED_ERROR) this.stalled(performance.now());
    if (!data.fatal) return;
    const codecs = this.hls.levels?.map((level) => level.attrs?.CODECS ?? "").join(",") ?? "";
    switch (data.details) {
      case ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR:
      case ErrorDetails.BUFFER_ADD_CODEC_ERROR:
      case ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR:
        return this.fail("codec", `${codecs} ${data.mimeType ?? ""} ${data.error?.message ?? ""}`);
      default:
    }
    if (data.type === ErrorTypes.NETWORK_ERROR) {
      return this.fail(data.response?.code ? kindOf(data.response.code) : "network");
    }
    if (data.type === ErrorTypes.MEDIA_ERROR && !this.recovered) {
      this.recovered = true;
      return this.hls.recoverMediaError();
    }
    return this.fail("media", data.error?.message ?? data.details);
  }

  /** The buffer ran dry; `now` in ms. */
  stalled(now) {
    if (this.stalls && now - this.stalledAt < OUTAGE) return;
    this.stalls += 1;
    this.stalledAt = now;
  }

  /** A line that has been good for long needs less. */
  forgive(now) {
    if (!this.stalls || now - this.stalledAt < FORGIVEN) return;
    this.stalls -= 1;
    this.stalledAt = now;
  }

  /** Whether so many seconds from a place on are loaded. */
  holds(place, seconds) {
    const { buffered } = this.media;
    for (let index = 0; index < buffered.length; index += 1) {
      if (place >= buffered.start(index) && place + seconds < buffered.end(index)) return true;
    }
    return false;
  }

  /**
   * Whether pictures stand still since a change of quality, while what is loaded goes on. With parts
   * hls.js begins a quality at its last key frame, which replaces what is being shown; browsers then
   * show the old pictures as far as they reach, and wait for a key frame that comes behind them, up
   * to a GOP later.
   */
  stands() {
    const { media, hls } = this;
    const at = media.currentTime;
    const pictures = media.getVideoPlaybackQuality?.().totalVideoFrames;
    const mayShow = media.videoWidth > 0 && !document.hidden && !media.seeking;
    if (pictures === undefined || pictures !== this.pictures || !mayShow) {
      [this.pictures, this.shownAt] = [pictures, at];
    }
    const level = hls.levels[hls.currentLevel];
    const rate = level?.frameRate || SLOWEST;
    return at < this.changedAt + WATCHED && at > this.shownAt + STANDS + 2 / rate;
  }

  /**
   * Settles HLS_BEHIND segments behind the newest moment, with low latency as far as the playlist
   * asks for: in one step at the start, and where a line that was too thin for a while has left it
   * far behind; else slowly.
   */
  steer() {
    const { media } = this;
    const details = this.hls?.latestLevelDetails;
    const told = this.latency();
    if (!details?.live || !details.fragments.length || told === null || !media.buffered.length) return;
    const segment = details.totalduration / details.fragments.length;
    // The playlist's end is at most so much older than what the server has: a date that says
    // otherwise is of a clock that is wrong.
    const { latency: toEnd } = this.hls;
    const latency = Math.min(Math.max(told, toEnd), toEnd + segment * 1.5);
    const part = details.partTarget || 0;
    const unit = part || segment;
    this.forgive(performance.now());
    if (part && this.stands()) media.currentTime += 0; // its decoder begins with the last key frame
    const wanted = part
      ? Math.max(details.partHoldBack, 3 * part) + part * (1 + Math.min(this.stalls, 5))
      : segment * Math.min(HLS_BEHIND + this.stalls * 0.25, HLS_BEHIND + 1);
    const ahead = media.buffered.end(media.buffered.length - 1) - media.currentTime;
    const excess = latency - wanted;
    const mayJump = media.readyState >= 3 && !media.seeking && !media.paused;
    const isStart = this.looks < START_LOOKS;
    const worth = isStart ? START_EXCESS : Math.max(LEAP, part ? 0 : segment / 2);
    if (mayJump && isStart) this.looks += 1; // the buffer fills meanwhile
    if (mayJump && excess > worth && this.holds(media.currentTime + excess, unit * 0.8)) {
      this.looks = START_LOOKS;
      media.currentTime += excess;
      return;
    }
    const isBehind = excess > (media.playbackRate > 1 ? 0 : unit * (part ? 0.5 : 0.15));
    const rate = isBehind && ahead > unit * 0.6 ? 1.06 : 1;
    if (media.playbackRate !== rate) media.playbackRate = rate;
  }

  stop() {
    super.stop();
    if (this.onEnded) this.media.removeEventListener("ended", this.onEnded);
    this.hls?.destroy();
    this.hls = null;
  }

  /** What a viewer may choose from; none if there is one quality alone. */
  qualities() {
    const levels = this.hls?.levels ?? [];
    return levels.length > 1 ? levels : [];
  }

  /** The place in `qualities` of what is shown. */
  quality() { return this.hls?.currentLevel ?? -1; }

  /** A place in `qualities`, -1: as the line bears it. What is loaded already is still shown. */
  choose(place) { if (this.hls) this.hls.loadLevel = place; }

  goLive() {
    const position = this.hls?.liveSyncPosition;
    if (position) this.media.currentTime = position;
  }

  /** Behind the moment that the picture was taken, where the playlist tells; else behind its end. */
  latency() {
    if (!this.hls) return null;
    const taken = this.hls.playingDate;
    if (taken) {
      const seconds = (serverTime() - taken.getTime()) / 1000;
      if (seconds >= 0 && seconds < SANE_LATENCY) return seconds;
    }
    return this.hls.latency || null;
  }

  bitrate() {
    const last = this.fragments?.slice(-4) ?? [];
    const seconds = last.reduce((sum, fragment) => sum + fragment.seconds, 0);
    return seconds ? last.reduce((sum, fragment) => sum + fragment.bits, 0) / seconds : null;
  }
}

class NativeEngine extends Engine {
  start() {
    this.onError = () => {
      const code = this.media.error?.code;
      this.fail(code === MediaError.MEDIA_ERR_DECODE ? "media" : "network");
    };
    this.onEnded = () => this.fail("ended");
    this.media.addEventListener("error", this.onError);
    this.media.addEventListener("ended", this.onEnded);
    this.media.src = this.url;
    this.media.load();
  }

  stop() {
    super.stop();
    this.media.removeEventListener("error", this.onError);
    this.media.removeEventListener("ended", this.onEnded);
    this.media.removeAttribute("src");
    this.media.load();
  }

  goLive() {
    const ranges = this.media.seekable;
    if (ranges.length) this.media.currentTime = ranges.end(ranges.length - 1);
  }

  latency() {
    const start = this.media.getStartDate?.().getTime();
    if (!start) return null;
    const seconds = (serverTime() - start) / 1000 - this.media.currentTime;
    return seconds >= 0 && seconds < SANE_LATENCY ? seconds : null;
  }
}
