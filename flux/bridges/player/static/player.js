/* The player page: chooses how to play, tries again when it fails, says what is going on. */

import { Controls } from "./controls.js";
import { candidates, engineFor, isPlayable } from "./engines.js";
import { Figures } from "./figures.js";
import { Quality } from "./quality.js";
import { ROOT, pathOf, stateOf } from "./server.js";
import { STATES, textOf } from "./texts.js";

const OWN_PARAMETERS = ["embed", "protocol"]; // the others go to the server with each request
const PATIENCE = 1500; // ms before a notice says more than that it connects
const START_TIMEOUT = { flv: 16_000, ws: 16_000, hls: 40_000 }; // ms until a first picture
const STALL = 3000; // ms without a new picture before it is said
const STALL_LIMIT = 9000; // ms after which a stream that is live is connected anew
const WATCH = 1000; // ms between looks
const WAITS = [1000, 2000, 4000, 8000, 15_000, 30_000]; // ms between tries
const LONG_WAIT = 60_000; // for what will hardly change
const SETTLED = 10_000; // ms of playing after which waits begin anew
const PAUSE_LIMIT = 20_000; // ms of pause after which the connection is given up
const HOPELESS = ["codec", "unsupported", "refused", "missing"];
const OTHER_MAY_HELP = ["codec", "media", "missing", "network", "timeout", "unsupported"];

const IS_GROUP = "group" in document.documentElement.dataset; // several qualities: HLS alone

const $ = (id) => document.getElementById(id);

class Player {
  constructor(name) {
    this.name = name;
    this.media = $("video");
    this.stage = $("stage");
    this.engine = null;
    this.protocol = ""; // that plays or is being tried
    this.tried = new Map(); // protocol: how it failed since something last worked
    this.worked = new Set();
    this.attempt = 0; // failures since it last played well
    this.playingSince = 0;
    this.connectedAt = 0;
    this.movedAt = 0;
    this.lastTime = 0;
    this.timer = null;
    this.retryAt = 0;
    this.pausedAt = 0;
    this.notice = "";
    const search = new URLSearchParams(location.search);
    this.forced = search.get("protocol") ?? "";
    for (const key of OWN_PARAMETERS) search.delete(key);
    const query = String(search) && `?${search}`;
    this.urls = {
      flv: new URL(`${pathOf(name)}.flv${query}`, ROOT).href,
      hls: new URL(`${pathOf(name)}/index.m3u8${query}`, ROOT).href,
    };
    this.urls.ws = this.urls.flv.replace(/^http/, "ws");
    this.figures = new Figures(this.media);
    this.quality = new Quality();
    this.controls = new Controls(this.stage, this.media, {
      onPlay: () => this.resume(),
      onLive: () => this.goLive(),
      onProtocol: (protocol) => this.choose(protocol),
    });
    this.choices = candidates(this.media);
    this.video = document.documentElement.dataset.video; // codec of the picture, if it is known
    if (IS_GROUP) this.choices = this.choices.filter((choice) => choice === "hls");
    if (!(this.forced in this.urls) || IS_GROUP) this.forced = "";
    this.controls.showProtocol(this.forced, "");
    $("again").addEventListener("click", () => this.retryNow());
    window.addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState !== "visible") return;
      this.movedAt = performance.now();
      if (this.retryAt) this.retryNow();
    });
    this.media.addEventListener("pause", () => { this.pausedAt = performance.now(); });
    this.media.addEventListener("timeupdate", () => this.look(performance.now()));
    setInterval(() => this.watch(), WATCH);
  }

  // -- connecting ----------------------------------------------------------------------------

  /**
   * Ways to play, best first. quirk: mpegts.js 1.8 skips the order hints of references (AV1 5.9.2)
   * in key frames too, which have none, and fails or shows a wrong size; test: test_av1.py
   */
  get ways() {
    if (this.forced) return [this.forced];
    const whole = this.choices.filter((choice) => this.video !== "av1" || choice !== "flv");
    return whole.length ? whole : this.choices;
  }

  connect(protocol = "") {
    clearTimeout(this.timer);
    this.engine?.stop();
    this.retryAt = 0;
    this.playingSince = 0;
    const { ways } = this;
    this.protocol = protocol || ways.find((choice) => this.worked.has(choice)) || ways[0];
    if (!isPlayable(this.protocol, this.media)) {
      this.tell("unsupported");
      return;
    }
    this.connectedAt = performance.now();
    this.lastTime = this.media.currentTime;
    if (!this.notice) this.tell("connecting");
    this.engine = engineFor(this.protocol, this.media, this.urls, (kind, detail) => {
      this.failed(kind, detail);
    });
    this.figures.engine = this.engine;
    this.controls.showProtocol(this.forced, this.protocol);
    this.engine.start();
    this.media.play().catch((error) => {
      if (error.name === "NotAllowedError") this.controls.askToPlay();
    });
    this.showState();
  }

  failed(kind, detail) {
    if (performance.now() - this.playingSince > SETTLED && this.playingSince) this.attempt = 0;
    const wasPlaying = this.playingSince > 0;
    this.playingSince = 0;
    this.engine?.stop();
    this.engine = null;
    this.figures.engine = null;
    this.tried.set(this.protocol, { kind, detail });
    const isTrusted = this.worked.has(this.protocol) && kind !== "codec";
    if (!this.forced && !isTrusted && OTHER_MAY_HELP.includes(kind)) {
      const other = this.ways.find((choice) => !this.tried.has(choice));
      if (other) {
        this.connect(other);
        return;
      }
    }
    // A format that cannot be played tells more than whatever the other way came to.
    const known = [...this.tried.values()].find((failure) => failure.kind === "codec");
    this.tried.clear();
    this.wait(known?.kind ?? kind, known?.detail ?? detail, wasPlaying);
  }

  /** Say why there is no picture, and try again later. */
  async wait(kind, detail, wasPlaying) {
    const patience = HOPELESS.includes(kind)
      ? LONG_WAIT
      : WAITS[Math.min(this.attempt, WAITS.length - 1)];
    this.attempt += 1;
    const quick = wasPlaying && this.attempt === 1;
    const delay = quick ? 300 : patience * (0.9 + 0.2 * Math.random());
    this.retryAt = performance.now() + delay;
    this.timer = setTimeout(() => this.connect(), delay);
    if (quick) return;
    const planned = this.retryAt;
    this.tell(kind, detail);
    const state = await this.showState();
    if (this.retryAt !== planned || HOPELESS.includes(kind)) return;
    // The server knows better what is the matter than a connection that broke.
    if (["network", "missing", "offline", "interrupted"].includes(state)) this.tell(state);
    else if (kind === "offline" && state === "live") this.tell("busy");
  }

  retryNow() {
    if (!this.retryAt) return;
    this.tell("connecting");
    this.connect();
  }

  choose(protocol) {
    this.forced = protocol;
    this.attempt = 0;
    this.tried.clear();
    this.worked.clear();
    this.tell("connecting");
    this.connect();
  }

  resume() {
    if (!this.engine && !this.retryAt) {
      this.tell("connecting");
      this.connect();
    } else {
      this.goLive();
    }
  }

  goLive() {
    this.engine?.goLive();
    this.media.play().catch(() => this.controls.askToPlay());
  }

  // -- watching ------------------------------------------------------------------------------

  watch() {
    const now = performance.now();
    this.countDown(now);
    this.figures.show();
    this.quality.watch(this.engine);
    this.controls.showLive(this.figures.latency, this.protocol);
    if (!this.engine) return;
    if (this.media.paused && this.pausedAt) {
      this.movedAt = now;
      if (this.playingSince && now - this.pausedAt > PAUSE_LIMIT) this.giveUp();
      return;
    }
    if (this.look(now)) return;
    if (!this.playingSince) {
      this.waitForStart(now);
    } else if (now - this.movedAt > STALL && document.visibilityState === "visible") {
      this.stalled(now);
    }
  }

  /** Whether the picture has gone on since the last look. */
  look(now) {
    const { media } = this;
    if (!this.engine || media.currentTime === this.lastTime || media.readyState < 2) return false;
    if (media.seeking) return false;
    this.lastTime = media.currentTime;
    this.moved(now);
    return true;
  }

  moved(now) {
    this.movedAt = now;
    if (!this.playingSince) {
      this.playingSince = now;
      this.worked.add(this.protocol);
      this.tried.clear();
    }
    if (this.notice) {
      this.tell("");
      this.setPill("live");
    }
  }

  async waitForStart(now) {
    if (now - this.connectedAt > START_TIMEOUT[this.protocol]) {
      this.failed("timeout");
    } else if (now - this.connectedAt > PATIENCE) {
      const { engine } = this;
      const state = await this.showState();
      if (this.engine !== engine || this.playingSince) return;
      if (state !== "live") this.tell(state);
      else if (this.protocol === "hls") this.tell("segments");
    }
  }

  async stalled(now) {
    const { engine } = this;
    const state = await this.showState();
    if (this.engine !== engine || performance.now() - this.movedAt < STALL) return;
    this.tell(state === "live" ? "stalled" : state);
    if (state === "live" && now - this.movedAt > STALL_LIMIT) this.failed("stalled");
  }

  /** A long pause: nothing is kept loading. */
  giveUp() {
    this.engine.stop();
    this.engine = null;
    this.figures.engine = null;
    this.playingSince = 0;
    this.tell("paused");
  }

  // -- telling -------------------------------------------------------------------------------

  tell(kind, detail = "") {
    this.notice = kind;
    $("notice").hidden = !kind;
    if (!kind) return;
    const [title, text] = textOf(kind, detail);
    $("notice").classList.toggle("over-picture", this.media.readyState >= 2);
    $("notice").dataset.kind = kind;
    $("notice-title").textContent = title;
    this.text = text;
    const isWaiting = this.retryAt > 0;
    $("spinner").hidden = isWaiting || kind === "paused" || kind === "unsupported";
    $("again").hidden = !isWaiting;
    this.countDown(performance.now());
  }

  countDown(now) {
    if (!this.notice) return;
    const seconds = Math.max(0, Math.ceil((this.retryAt - now) / 1000));
    const again = this.retryAt ? ` Next try in ${seconds} s.` : "";
    $("notice-text").textContent = (this.text + again).trim();
  }

  async showState() {
    const { state, video } = await stateOf(this.name);
    this.video = video || this.video;
    if (state in STATES) this.setPill(state);
    else this.setPill("offline");
    return state;
  }

  setPill(state) {
    $("pill").dataset.state = state;
    $("pill").textContent = STATES[state];
  }
}

for (const element of IS_GROUP ? document.querySelectorAll(".one-stream") : []) {
  element.hidden = true;
}
const player = new Player(document.documentElement.dataset.stream);
for (const [protocol, url] of Object.entries(player.urls)) {
  $(`${protocol}-address`).href = url;
  $(`${protocol}-address`).textContent = url;
}
player.connect();
