/* The choice of a quality: shown where a stream comes in several. */

const AUTO = "";

const $ = (id) => document.getElementById(id);

/** What people call a quality: 720p, with its frame rate or bit rate where that alone differs. */
export function nameOf(level, levels) {
  const same = levels.filter((other) => other.height === level.height);
  const size = level.height ? `${level.height}p` : "Sound";
  if (same.length < 2 && level.height) return size;
  const rates = new Set(same.map((other) => Math.round(other.frameRate)));
  if (rates.size === same.length && level.frameRate) return `${size}${Math.round(level.frameRate)}`;
  return `${size} ${(level.bitrate / 1e6).toFixed(1)} Mbit/s`;
}

export class Quality {
  constructor() {
    this.engine = null;
    this.names = [];
    this.wanted = AUTO; // what the viewer chose, by name: kept over connections
    $("quality").addEventListener("change", (event) => {
      this.wanted = event.target.value;
      this.apply();
    });
  }

  /** Look again at what there is; about once a second. */
  watch(engine) {
    const levels = engine?.qualities?.() ?? [];
    const names = levels.map((level) => nameOf(level, levels));
    const isNew = engine !== this.engine || names.join() !== this.names.join();
    this.engine = engine;
    if (isNew) {
      this.names = names;
      this.offer();
      this.apply();
    }
    const playing = names[engine?.quality?.() ?? -1];
    const isAuto = $("quality").value === AUTO;
    $("quality").options[0].textContent = playing && isAuto ? `Auto: ${playing}` : "Auto";
  }

  offer() {
    const options = this.names.map((name) => new Option(name, name));
    $("quality").replaceChildren(new Option("Auto", AUTO), ...options);
    $("quality").value = this.names.includes(this.wanted) ? this.wanted : AUTO;
    $("quality-choice").hidden = this.names.length < 2;
  }

  apply() {
    if (this.names.length > 1) this.engine.choose(this.names.indexOf(this.wanted));
  }
}
