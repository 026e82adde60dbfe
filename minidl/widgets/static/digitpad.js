// Draw a digit, and see all layers: a pad of 28 x 28 pixels, bars for the classes, a band for each layer.

const SIDE = 28;
const PAUSE = 80; // ms from a stroke to the question, and from answer to question while one goes on drawing
const SHADES = 9;
const ALPHABET = "abcdefghijklmnopqrstuvwxyz";
const percent = (p) => (!Number.isFinite(p) ? "× NaN" : p > 0 && p < 0.001 ? "under 0.1 %"
  : p < 1 && p > 0.999 ? "over 99.9 %" : `${Number((100 * p).toPrecision(3))} %`);

// ------------------------------------------------------------------ planes of letters, see minidl/widgets/activity.py
/** The share of the top that a letter stands for. */
function share(letter) {
  if (letter === ".") return 0;
  const k = ALPHABET.indexOf(letter.toLowerCase()) + 1;
  return k ? (k / 26) * (letter === letter.toLowerCase() ? 1 : -1) : letter === "?" ? NaN : Infinity;
}

/** A plane as an <svg>: one path for each shade, made of strokes over cells that lie side by side. */
function plane(text, { width, height, cell, positive, about = {}, marks = [], edge = "" }) {
  const name = fresh("lit");
  const paths = new Map();
  const broken = [];
  const stroke = (level, i, j, n) => paths.set(level, `${paths.get(level) || ""}M${j} ${i + 0.5}h${n}`);
  for (let i = 0; i < height; i += 1) {
    for (let j = 0, start = 0, last = 0; j <= width; j += 1) {
      const x = j < width ? share(text[i * width + j]) : 0;
      if (!Number.isFinite(x)) broken.push([i, j]);
      const level = Number.isFinite(x) ? Math.sign(x) * Math.ceil(Math.abs(x) * SHADES - 1e-9) : 0;
      if (level !== last || j === width) {
        if (last) stroke(last, i, start, j - start);
        [start, last] = [j, level];
      }
    }
  }
  const lines = s("line", { x1: 0, y1: 0, x2: 0, y2: 1.6, stroke: "var(--md-paper)", "stroke-width": 0.5 });
  const below = [...paths].filter(([level]) => level < 0).map(([, d]) => d).join("");
  return s("svg", { viewBox: `0 0 ${width} ${height}`, width: width * cell, height: height * cell, class: "md-plane", ...about },
    below ? s("defs", {}, s("pattern", { id: name, width: 1.6, height: 1.6, patternUnits: "userSpaceOnUse",
      patternTransform: "rotate(45)" }, lines)) : null,
    s("rect", { width, height, class: "paper" }),
    [...paths].map(([level, d]) => s("path", { d, fill: "none", "stroke-width": 1, "stroke-opacity": Math.abs(level) / SHADES,
      style: `stroke: var(--md-${positive ? "ink" : level > 0 ? "positive" : "negative"})` })),
    below ? s("path", { d: below, fill: "none", "stroke-width": 1, stroke: `url(#${name})` }) : null,
    broken.map(([i, j]) => s("rect", { x: j, y: i, width: 1, height: 1, class: "broken" })),
    edge ? s("path", { d: edge, fill: "none", stroke: "var(--md-ink)", "stroke-width": 0.16 }) : null,
    marks.map((k) => s("rect", { x: k % width, y: Math.floor(k / width), width: 1, height: 1, fill: "none",
      stroke: "var(--md-ink)", "stroke-width": 0.3 })));
}

// ------------------------------------------------------------------ the pad
class Pad {
  constructor(view) {
    Object.assign(this, { view, ink: new Array(SIDE * SIDE).fill(0), at: [14, 14], down: false, erasing: false, last: null });
    this.cells = this.ink.map((_, k) => s("rect", { x: k % SIDE, y: Math.floor(k / SIDE), width: 1.02, height: 1.02,
      style: "fill: var(--md-ink)", "fill-opacity": 0 }));
    this.cursor = s("rect", { width: 1, height: 1, fill: "none", stroke: "var(--md-positive)", "stroke-width": 0.35 });
    this.face = s("svg", { viewBox: "0 0 28 28", width: 224, height: 224, class: "md-pad", tabindex: 0, role: "application",
      "aria-label": "pad of 28 by 28 pixels. Arrows move, Space puts a dot, Enter lowers or lifts the pen, C clears.",
      onpointerdown: (event) => this.start(event), onpointermove: (event) => this.draw(event),
      onpointerup: () => this.stop(), onpointercancel: () => this.stop(), onkeydown: (event) => this.press(event) },
    s("rect", { width: 28, height: 28, class: "paper" }), this.cells, this.cursor);
    this.told = h("output", { class: "md-place", "aria-live": "polite" }); // apart from the answer, which comes at any time
    this.move(0, 0);
  }

  /** What Python says is on the pad, unless there are strokes that it does not know of yet. */
  put(ink) {
    const { view } = this;
    if (this.last || this.timer !== undefined || "pixels" in view.pending) return;
    if (view.asked > view.model.get("answer")) return;
    this.ink = [...ink];
    this.paint();
  }

  paint() { this.cells.forEach((cell, k) => cell.setAttribute("fill-opacity", this.ink[k] / 255)); }

  place(event) {
    const box = this.face.getBoundingClientRect();
    return [((event.clientY - box.top) / box.height) * SIDE - 0.5, ((event.clientX - box.left) / box.width) * SIDE - 0.5];
  }

  start(event) {
    event.preventDefault();
    this.face.focus({ preventScroll: true });
    this.face.setPointerCapture(event.pointerId);
    this.last = this.place(event);
    this.line(this.last, this.last);
  }

  draw(event) {
    if (!this.last) return;
    for (const point of (event.getCoalescedEvents && event.getCoalescedEvents()) || [event]) {
      const next = this.place(point);
      this.line(this.last, next);
      this.last = next;
    }
  }

  stop() {
    this.last = null;
    this.ask();
  }

  /** Ink along a line, soft at its edge: full within 0.9 pixels of it, none from 1.9 on. */
  line([a, b], [c, d]) {
    const long = (c - a) ** 2 + (d - b) ** 2;
    for (let i = Math.max(0, Math.floor(Math.min(a, c) - 2)); i <= Math.min(SIDE - 1, Math.ceil(Math.max(a, c) + 2)); i += 1) {
      for (let j = Math.max(0, Math.floor(Math.min(b, d) - 2)); j <= Math.min(SIDE - 1, Math.ceil(Math.max(b, d) + 2)); j += 1) {
        const t = long ? Math.min(Math.max(((i - a) * (c - a) + (j - b) * (d - b)) / long, 0), 1) : 0;
        const ink = Math.round(255 * Math.min(Math.max(1.9 - Math.hypot(i - a - t * (c - a), j - b - t * (d - b)), 0), 1));
        const k = i * SIDE + j;
        this.ink[k] = this.erasing ? Math.min(this.ink[k], 255 - ink) : Math.max(this.ink[k], ink);
      }
    }
    this.paint();
    this.ask();
  }

  /** Ask Python, but never before it has answered the last time. */
  ask() {
    if (this.timer !== undefined) return;
    const tick = () => {
      this.timer = undefined;
      if (this.view.stale && this.last) this.ask();
      else this.view.edit({ pixels: [...this.ink], example: -1 }, 0);
    };
    this.timer = setTimeout(tick, PAUSE);
  }

  clear() {
    this.ink.fill(0);
    this.paint();
    this.ask();
  }

  // ---------------------------------------------------------------- with the keyboard
  move(di, dj) {
    const from = this.at;
    this.at = [from[0] + di, from[1] + dj].map((k) => Math.min(Math.max(k, 0), SIDE - 1));
    this.cursor.setAttribute("y", this.at[0]);
    this.cursor.setAttribute("x", this.at[1]);
    if (this.down && (di || dj)) this.line(from, this.at);
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Tab") return;
    const to = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (to) this.move(...to);
    else if (event.key === " ") this.line(this.at, this.at);
    else if (event.key === "Enter") { this.down = !this.down; if (this.down) this.line(this.at, this.at); }
    else if (event.key === "c" || event.key === "C") this.clear();
    else if (event.key === "e" || event.key === "E") this.eraser.click();
    else return;
    event.preventDefault();
    event.stopPropagation();
    const ink = this.ink[this.at[0] * SIDE + this.at[1]];
    this.told.textContent = `Row ${this.at[0]}, column ${this.at[1]}: ${ink ? `ink ${Math.round(ink / 2.55)} %` : "no ink"}, `
      + `pen ${this.down ? "down" : "up"}${this.erasing ? ", erasing" : ""}.`;
  }
}

// ------------------------------------------------------------------ what the net makes of it
function bars(data) {
  return h("div", { class: "md-bars", role: "group", "aria-label": "classes" }, data.classes.map((one, k) => {
    const painted = data.paint && data.paint.target === k;
    const label = `class ${one.name}: probability ${percent(one.p)}, score ${number(one.score, 6)}. Enter paints its gradient.`;
    return h("div", { class: `md-class${data.top[0] === k ? " md-first" : ""}`, "data-key": `c${k}`, "aria-label": label,
      "data-now": data.top[0] === k },
    h("span", { class: "md-name" }, `${painted ? "∂ " : ""}${one.name}`),
    h("span", { class: "md-track" }, h("i", { style: `width: ${Number.isFinite(one.p) ? 100 * one.p : 0}%` })),
    h("span", { class: "md-value" }, data.top.includes(k) || !Number.isFinite(one.p) ? percent(one.p) : ""));
  }));
}

function painting({ paint }) {
  if (!paint) return null;
  return h("figure", { class: "md-painted" }, plane(paint.plane, { width: SIDE, height: SIDE, cell: 5, marks: paint.nudged,
    edge: paint.edge,     about: { "data-key": "paint", "aria-label": paint.says } }),
  h("figcaption", {}, `∂ score of ${paint.target} / ∂ image, up to ±${number(paint.top)}. ${paint.says}`));
}

function band(layer, k, unit) {
  const pinned = (n) => unit && unit.layer === k && unit.index[0] === n;
  const cell = layer.maps ? Math.max(2, Math.min(8, 56 / layer.width)) : 16;
  const shown = layer.maps
    ? layer.planes.map((text, n) => plane(text, { ...layer, cell, about: { "data-key": `u${k}:${n}`,
      "aria-label": layer.labels[n], class: `md-plane${pinned(n) ? " md-pin" : ""}` } }))
    : [...layer.planes[0]].slice(0, layer.count).map((letter, n) => plane(letter, { width: 1, height: 1, cell,
      positive: layer.positive, about: { "data-key": `u${k}:${n}`, "aria-label": layer.labels[n],
        class: `md-plane${pinned(n) ? " md-pin" : ""}` } }));
  return h("div", { class: "md-layer" }, h("div", { class: "md-says" }, layer.says),
    h("div", { class: layer.maps ? "md-maps" : "md-units" }, shown), unit && unit.layer === k ? closer(unit) : null);
}

function closer(unit) {
  const fields = unit.fields.map((field) => {
    const cell = Math.max(2, Math.min(12, 84 / field.width));
    return h("div", { class: "md-given" }, h("div", { class: "md-says" }, `${field.name}, up to ±${number(field.top)}`),
      h("div", { class: "md-maps" }, field.planes.map((text) => plane(text, { ...field, cell }))));
  });
  return h("div", { class: "md-closer" }, h("div", { class: "md-maps" }, fields), h("p", {}, unit.says));
}

export default widget({
  keys: [["arrows, Space", "on the pad: move, dot"], ["Enter, C, E", "on the pad: pen, clear, erase"]],

  setup(view) {
    const pad = new Pad(view);
    view.pad = pad;
    view.root.classList.add("md-digits");
    pad.eraser = h("input", { type: "checkbox", onchange: () => { pad.erasing = pad.eraser.checked; } });
    const digit = view.field({ name: "example", label: "test digit (−1: own drawing)", min: -1,
      max: view.trace.figure.examples - 1 });
    const unit = view.field({ name: "unit", label: "unit, such as 0[2, 5, 7]", type: "text", size: 12 });
    const wrong = h("button", { type: "button", onclick: () => {
      const { mistakes } = view.trace.figure;
      view.edit({ example: mistakes.find((k) => k > view.wanted("example")) ?? mistakes[0] }, 0);
    } }, "next mistake");
    wrong.disabled = !view.trace.figure.mistakes.length;
    view.controls.append(pad.face, h("div", { class: "md-tools" },
      h("button", { type: "button", onclick: () => pad.clear() }, "clear"),
      h("label", { class: "md-field" }, pad.eraser, "erase"), pad.told,
      view.field({ name: "normalise", label: "centre and scale, as MNIST does", type: "checkbox" }), digit, wrong, unit));
    view.stage.addEventListener("click", (event) => { // before the shell's own listener opens the item
      view.spot = event.target.closest("svg[data-key]") && event;
    }, true);
  },

  draw(stage, frame, view) {
    const { data } = frame;
    view.pad.put(data.pad);
    stage.replaceChildren(h("div", { class: "md-maps" },
      h("div", {}, h("div", { class: "md-says" }, "what the net sees"),
        plane(data.seen, { width: SIDE, height: SIDE, cell: 5, positive: true,
          about: { "data-key": "seen", "aria-label": "what the net sees, 28 by 28 numbers from 0 to 1" } })),
      bars(data), painting(data)),
    ...data.layers.map((layer, k) => band(layer, k, data.unit)));
  },

  open(key, view) {
    const event = view.spot;
    view.spot = null;
    if (key[0] === "c") {
      const target = Number(key.slice(1));
      view.edit({ target: view.wanted("target") === target ? -1 : target }, 0);
    }
    if (key[0] !== "u") return;
    const [k, n] = key.slice(1).split(":").map(Number);
    const layer = view.frame.data.layers[k];
    let index = `${n}`;
    if (layer.maps && event) {
      const box = event.target.closest("svg").getBoundingClientRect();
      const cell = (at, size, count) => Math.min(Math.floor((at / size) * count), count - 1);
      index += `, ${cell(event.clientY - box.top, box.height, layer.height)}, `
        + `${cell(event.clientX - box.left, box.width, layer.width)}`;
    }
    const unit = `${layer.name}[${index}]`;
    view.edit({ unit: view.wanted("unit") === unit ? "" : unit }, 0);
  },
});
