/* The bar over the picture, the keys, and full screen. */

const IDLE = 2500; // ms without the pointer moving until the bar goes
const LIVE_LATENCY = { flv: 2, ws: 2, hls: 12 }; // seconds that still count as live

const $ = (id) => document.getElementById(id);

export class Controls {
  constructor(stage, media, { onPlay, onLive, onProtocol }) {
    this.stage = stage;
    this.media = media;
    this.onPlay = onPlay;
    this.idleTimer = null;
    $("play").addEventListener("click", () => this.togglePlay());
    $("mute").addEventListener("click", () => this.toggleMute());
    $("live").addEventListener("click", onLive);
    $("fullscreen").addEventListener("click", () => this.toggleFullscreen());
    $("protocol").addEventListener("change", (event) => onProtocol(event.target.value));
    $("volume").addEventListener("input", (event) => {
      media.volume = Number(event.target.value);
      media.muted = media.volume === 0;
    });
    $("big-play").addEventListener("click", () => {
      $("big-play").hidden = true;
      onPlay();
    });
    media.addEventListener("click", (event) => this.clicked(event));
    media.addEventListener("dblclick", () => this.toggleFullscreen());
    for (const name of ["play", "playing", "pause", "volumechange"]) {
      media.addEventListener(name, () => this.showState());
    }
    for (const name of ["pointermove", "pointerdown", "focusin", "keydown"]) {
      stage.addEventListener(name, () => this.wake());
    }
    stage.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") this.sleep();
    });
    document.addEventListener("keydown", (event) => this.pressed(event));
    this.showState();
    this.wake();
  }

  /** The browser wants a gesture before it plays. */
  askToPlay() { $("big-play").hidden = false; }

  showProtocol(forced, current) {
    $("protocol").value = forced;
    const name = { flv: "HTTP-FLV", ws: "WS-FLV", hls: "HLS" }[current];
    $("protocol").options[0].textContent = name && !forced ? `Auto: ${name}` : "Auto";
  }

  showLive(latency, protocol) {
    const isNow = latency !== null && latency < LIVE_LATENCY[protocol] && !this.media.paused;
    $("live").classList.toggle("now", isNow);
  }

  showState() {
    const { media, stage } = this;
    stage.classList.toggle("paused", media.paused);
    stage.classList.toggle("muted", media.muted || media.volume === 0);
    $("play").setAttribute("aria-label", media.paused ? "Play" : "Pause");
    $("mute").setAttribute("aria-label", media.muted ? "Sound on" : "Sound off");
    $("volume").value = media.muted ? 0 : media.volume;
    if (!media.paused) $("big-play").hidden = true;
  }

  togglePlay() {
    if (this.media.paused) this.onPlay();
    else this.media.pause();
  }

  toggleMute() {
    this.media.muted = !this.media.muted;
    if (!this.media.muted && this.media.volume === 0) this.media.volume = 1;
  }

  async toggleFullscreen() {
    const { media, stage } = this;
    if (document.fullscreenElement) await document.exitFullscreen();
    else if (stage.requestFullscreen) await stage.requestFullscreen().catch(() => {});
    else media.webkitEnterFullscreen?.(); // phones that allow it for the video alone
  }

  clicked(event) {
    if (event.pointerType === "mouse") this.togglePlay(); // a finger only shows the bar
  }

  pressed(event) {
    const isControl = event.target.closest?.("button, select, input, a, summary");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "f") this.toggleFullscreen();
    else if (event.key === "m") this.toggleMute();
    else if ((event.key === " " && !isControl) || event.key === "k") {
      event.preventDefault();
      this.togglePlay();
    }
  }

  wake() {
    this.stage.classList.remove("idle");
    clearTimeout(this.idleTimer);
    this.idleTimer = setTimeout(() => this.sleep(), IDLE);
  }

  sleep() {
    const isUsed = this.stage.querySelector(".controls :focus-visible");
    if (!this.media.paused && !isUsed) this.stage.classList.add("idle");
  }
}
