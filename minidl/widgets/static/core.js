// What all widgets have in common in the page: numbers, elements, the frame player, keys, focus, words.
//
// A widget's own file follows behind this one and ends with
//
//     export default widget({ draw(stage, frame, view) { ... } });
//
// It draws one frame and nothing else; see docs/widgets.md.

// ------------------------------------------------------------------ numbers, as minidl/viz/theme.py writes them
const MINUS = "\u2212";

/** A number with three significant digits and a real minus sign. Ties go to the even digit, as in Python. */
function number(x, digits = 3) {
  if (typeof x === "boolean") return x ? "True" : "False";
  if (typeof x !== "number") return String(x);
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return (x < 0 ? MINUS : "") + "∞";
  if (x === 0) return "0";
  const [mantissa, power] = significant(Math.abs(x), digits);
  const text = power >= -4 && power < 6 ? String(Number(`${mantissa}e${power}`)) : `${Number(mantissa)}e${power}`;
  return (x < 0 ? MINUS : "") + text.replace("-", MINUS);
}

function significant(x, digits) {
  const [long, power] = x.toExponential(40).split("e");
  const all = long.replace(".", "");
  const tie = /^50*$/.test(all.slice(digits)) && Number(all[digits - 1]) % 2 === 0;
  if (!tie) return x.toExponential(digits - 1).split("e").map((part, k) => (k ? Number(part) : part));
  return [`${all[0]}.${all.slice(1, digits)}`, Number(power)];
}

/** A whole number in full. */
const whole = (n) => String(n).replace("-", MINUS);

/** "positive", "negative", "zero" or "broken". */
function signOf(x) {
  if (!Number.isFinite(x)) return "broken";
  return x > 0 ? "positive" : x < 0 ? "negative" : "zero";
}

/** The colour between paper and the two ends, so that it follows the theme by itself. */
function diverging(x, top) {
  if (!Number.isFinite(x)) return "var(--md-broken-paper)";
  const share = top > 0 ? Math.min(Math.abs(x) / top, 1) * 100 : 0;
  return `color-mix(in srgb, var(--md-${x > 0 ? "positive" : "negative"}) ${share.toFixed(1)}%, var(--md-paper))`;
}

/** The colour of a number of 0 and more: paper at 0, ink at `top`. */
function sequential(x, top) {
  if (!Number.isFinite(x)) return "var(--md-broken-paper)";
  const share = top > 0 ? Math.min(Math.max(x / top, 0), 1) * 100 : 0;
  return `color-mix(in srgb, var(--md-ink) ${share.toFixed(1)}%, var(--md-paper))`;
}

// ------------------------------------------------------------------ elements
function built(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

/** An HTML element: h("button", { class: "a", onclick: f }, "text", child, [children]). Texts are never parsed. */
const h = (tag, attributes, ...children) => built(document.createElement(tag), attributes, children);

/** The same for SVG. */
const s = (tag, attributes, ...children) =>
  built(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

let counter = 0;
/** A name that no other element of the page has. */
const fresh = (stem) => `md-${stem}-${(counter += 1)}`;

/** An <svg> of a size, with the hatch for negative cells at hand as fill "url(#...)": svg.hatch. */
function picture(width, height, ...children) {
  const name = fresh("hatch");
  const line = s("line", { x1: 0, y1: 0, x2: 0, y2: 5, stroke: "var(--md-paper)", "stroke-width": 1.2 });
  const pattern = s("pattern", { id: name, width: 5, height: 5, patternUnits: "userSpaceOnUse",
    patternTransform: "rotate(45)" }, line);
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "md-picture" },
    s("defs", {}, pattern), ...children);
  svg.hatch = `url(#${name})`;
  return svg;
}

/**
 * Rows of numbers as cells. Negative ones are hatched, NaN is ×, an infinity ∞, null is an empty dotted box, and what
 * lies beyond the scale carries ▴ or ▾ (where the numbers are not written).
 * options: x, y, cell (px), top (the number that gets the full colour), hatch (of the picture), text (write numbers),
 * positive (all are 0 or more: one hue), key (row, column) -> the name of the cell for focus, label (value, i, j).
 */
function cells(rows, options) {
  const { x = 0, y = 0, cell = 14, top = 1, hatch = "", text = false, positive = false, key, label } = options;
  const drawn = rows.map((row, i) => row.map((value, j) => {
    const at = { x: x + j * cell, y: y + i * cell, width: cell, height: cell };
    const middle = { x: at.x + cell / 2, y: at.y + cell / 2, "text-anchor": "middle", "dominant-baseline": "central" };
    const about = key ? { "data-key": key(i, j), "aria-label": label ? label(value, i, j) : number(value, 6) } : {};
    if (value === null) return s("rect", { ...at, class: "absent", ...about });
    const fill = positive ? sequential(value, top) : diverging(value, top);
    const parts = [s("rect", { ...at, class: "md-cell", style: `fill: ${fill}` })];
    if (!Number.isFinite(value)) {
      parts.push(s("text", { ...middle, class: "broken", "font-size": cell * 0.8 }, Number.isNaN(value) ? "×" : "∞"));
    } else {
      if (value < 0 && hatch) parts.push(s("rect", { ...at, fill: hatch }));
      const edge = Math.abs(value) > 1.01 * top && !text; // more than the colour can tell
      if (edge) parts.push(s("text", { ...middle, "font-size": cell * 0.7, style: "fill: var(--md-paper)" }, value > 0 ? "▴" : "▾"));
      const dark = Math.abs(value) > 0.55 * top ? "fill: var(--md-paper)" : null;
      if (text) parts.push(s("text", { ...middle, class: "small", style: dark }, number(value)));
    }
    return s("g", about, parts);
  }));
  return s("g", { class: "md-cells" }, drawn);
}

// ------------------------------------------------------------------ the trace
const BROKEN = { nan: NaN, inf: Infinity, "-inf": -Infinity };
const revive = (key, v) => (v && typeof v === "object" && "$" in v ? BROKEN[v.$] : v && Object.freeze(v));
const NOTHING = { title: "", note: "", steps: 0, figure: {}, frames: [] };

/** The trace of a model; nothing in it can be changed. */
function traceOf(model) {
  const text = model.get("trace");
  const trace = text ? JSON.parse(text, revive) : NOTHING;
  const phases = [];
  trace.frames.forEach((frame, k) => {
    const open = phases[phases.length - 1];
    if (open && open.name === frame.phase) open.stop = k + 1;
    else phases.push({ name: frame.phase, start: k, stop: k + 1 });
  });
  return { ...trace, phases };
}

/** A frame in one line, as Trace.sentence says it. */
function sentence(trace, frame) {
  if (trace.steps === 1) return frame.text;
  return `Step ${frame.step} of ${trace.steps}${frame.phase ? ", " : ""}${frame.phase}. ${frame.text}`;
}

// ------------------------------------------------------------------ the shell around a widget's picture
const KEYS = [["← / →", "step"], ["Shift+← / →", "phase"], ["Home / End", "first / last"], ["Space", "play or pause"],
  ["Enter / Esc", "open / up"], ["/", "find"], ["?", "keys"], ["T", "text view"]];
const STEP = 1200; // ms from one step to the next at speed 1
const MOTION = 400; // ms of what moves
const SPEEDS = [0.25, 0.5, 1, 2, 4];
const PATIENCE = 8000; // ms until we say that no kernel answers

/** One widget on the page. What a widget's own code may use is listed in docs/widgets.md. */
class View {
  constructor(spec, model, el) {
    Object.assign(this, { spec, model, el, pending: {}, offs: [], opened: false, key: null, textual: false, asked: 0 });
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.trace = traceOf(model);
    this.index = model.get("index") || 0;
    this.build();
    this.listen();
    if (spec.setup) spec.setup(this);
    this.show();
  }

  // ---------------------------------------------------------------- elements
  build() {
    const button = (label, face, action, keys) => h("button", { type: "button", tabindex: -1, "aria-label": label,
      title: keys ? `${label} (${keys})` : label, "aria-keyshortcuts": keys, onclick: action }, face);
    const sayId = fresh("say");
    this.headline = h("strong");
    this.remark = h("span", { class: "md-remark" });
    this.controls = h("div", { class: "md-controls", role: "group", "aria-label": "settings", hidden: true });
    this.stage = h("div", { class: "md-stage", tabindex: 0, role: "application", "aria-describedby": sayId });
    this.chapters = h("div", { class: "md-phases" });
    this.toggle = button("play", "▸ Play", () => this.play(), "Space");
    this.slider = h("input", { type: "range", min: 0, step: 1, tabindex: -1, "aria-label": "step",
      oninput: () => { this.pause(); this.go(Number(this.slider.value)); } });
    this.count = h("span", { class: "md-count" });
    this.pace = h("select", { tabindex: -1, "aria-label": "speed", title: "speed",
      onchange: () => this.set("speed", Number(this.pace.value)) },
    SPEEDS.map((speed) => h("option", { value: speed }, `${{ 0.25: "¼", 0.5: "½" }[speed] || speed}×`)));
    this.player = h("span", { class: "md-player" },
      button("first", "|◂", () => this.move(() => 0), "Home"), button("back", "◂", () => this.move((i) => i - 1), "←"),
      this.toggle, button("forward", "▸", () => this.move((i) => i + 1), "→"),
      button("last", "▸|", () => this.move(() => this.trace.frames.length - 1), "End"),
      this.slider, this.count, this.pace);
    this.bar = h("div", { class: "md-bar", role: "toolbar", "aria-label": "player" }, this.player,
      button("text view", "T", () => this.read(), "T"), button("keys", "?", () => this.help(), "?"));
    this.said = h("p", { class: "md-said", id: sayId, "aria-live": "polite" });
    this.pinned = h("p", { class: "md-pinned", hidden: true });
    this.wrong = h("p", { class: "md-error", role: "alert", hidden: true });
    this.search = h("input", { type: "text", "aria-label": "find", placeholder: "find a step, then Enter" });
    this.finder = h("div", { class: "md-finder", hidden: true }, this.search);
    this.keys = h("dl", { class: "md-keys", hidden: true },
      [...KEYS, ...(this.spec.keys || []).map(([key, says]) => [key, says])].map(([key, says]) =>
        h("div", {}, h("dt", {}, key), h("dd", {}, says))));
    this.text = h("div", { class: "md-text", hidden: true });
    this.root = h("div", { class: "minidl-live", role: "group", "data-lm-suppress-shortcuts": "true" },
      h("div", { class: "md-head" }, this.headline, this.remark), this.controls, this.chapters, this.stage, this.text,
      this.bar, this.said, this.pinned, this.wrong, this.finder, this.keys);
    this.el.replaceChildren(this.root);
  }

  /** Listen to a trait of the model until the view goes. */
  on(name, action) {
    const event = `change:${name}`;
    this.model.on(event, action);
    this.offs.push(() => this.model.off(event, action));
  }

  listen() {
    this.on("trace", () => this.renew());
    this.on("index", () => { if (this.model.get("index") !== this.index) this.go(this.model.get("index"), false); });
    this.on("playing", () => (this.model.get("playing") ? this.play(true) : this.pause()));
    this.on("speed", () => this.paced());
    this.on("error", () => this.complain());
    this.on("answer", () => this.settle());
    this.root.addEventListener("keydown", (event) => this.press(event));
    this.stage.addEventListener("click", (event) => this.pick(event.target.closest("[data-key]")));
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.find(this.search.value);
      if (event.key === "Escape") { this.finder.hidden = true; this.stage.focus(); }
    });
    const hidden = () => { if (document.hidden) this.pause(); };
    document.addEventListener("visibilitychange", hidden);
    const seen = new IntersectionObserver(([entry]) => { if (!entry.isIntersecting) this.pause(); });
    seen.observe(this.root);
    this.offs.push(() => document.removeEventListener("visibilitychange", hidden), () => seen.disconnect());
  }

  /** The end: nothing of this view goes on. */
  close() {
    clearTimeout(this.timer);
    clearTimeout(this.sending);
    clearTimeout(this.saving);
    clearTimeout(this.waiting);
    this.offs.forEach((off) => off());
  }

  // ---------------------------------------------------------------- what is shown
  /** The frame that is shown. */
  get frame() { return this.trace.frames[this.index]; }

  /** How long something may move, in ms; 0 for readers who want no motion. */
  get motion() { return this.calm.matches ? 0 : MOTION / Math.max(this.model.get("speed") || 1, 0.25); }

  renew() {
    this.pause();
    this.trace = traceOf(this.model);
    this.index = Math.min(Math.max(this.model.get("index") || 0, 0), this.trace.frames.length - 1);
    if (this.spec.renew) this.spec.renew(this);
    this.show();
  }

  /** Draw everything for the frame at hand. */
  show(before) {
    const { trace, frame } = this;
    if (!frame) return;
    const many = trace.frames.length > 1;
    this.headline.textContent = trace.title;
    this.remark.textContent = trace.note;
    this.root.setAttribute("aria-label", trace.title);
    this.stage.setAttribute("aria-label", `${trace.title}. Press question mark for keys.`);
    this.root.style.setProperty("--md-motion", `${this.motion}ms`);
    this.player.hidden = !many;
    this.slider.max = trace.frames.length - 1;
    this.slider.value = this.index;
    this.slider.setAttribute("aria-valuetext", sentence(trace, frame));
    this.count.textContent = `${frame.step} / ${trace.steps}`;
    this.chapters.hidden = trace.phases.length < 2;
    this.chapters.replaceChildren(...trace.phases.map((phase) => {
      const now = this.index >= phase.start && this.index < phase.stop;
      return h("button", { type: "button", tabindex: -1, "aria-current": now ? "step" : null,
        onclick: () => this.move(() => phase.start) }, `${now ? "▸ " : ""}${phase.name}`);
    }));
    this.paced();
    this.complain();
    this.redraw(before);
    this.said.textContent = (this.spec.say && this.spec.say(frame, this)) || sentence(trace, frame);
    if (this.textual) this.list();
  }

  /** Draw the stage again; what had the focus keeps it. */
  redraw(before) {
    const held = this.stage.contains(document.activeElement) && document.activeElement !== this.stage;
    this.spec.draw(this.stage, this.frame, this, before);
    for (const item of this.items()) item.setAttribute("tabindex", -1);
    if (held) (this.item(this.key) || this.stage).focus();
    this.mark();
  }

  paced() {
    const playing = this.timer !== undefined;
    this.toggle.textContent = playing ? "‖ Pause" : "▸ Play";
    this.toggle.setAttribute("aria-label", playing ? "pause" : "play");
    this.pace.value = this.model.get("speed") || 1;
  }

  // ---------------------------------------------------------------- going through the frames
  /** Show frame i; beyond the ends it stays at the end. */
  go(i, tell = true) {
    const target = Math.min(Math.max(i, 0), this.trace.frames.length - 1);
    if (target === this.index) return false;
    const before = this.frame;
    this.index = target;
    this.show(before);
    if (tell) this.note();
    return true;
  }

  /** Pause, and go to the frame that `where` makes of the present one. */
  move(where) {
    this.pause();
    this.go(where(this.index));
  }

  /** One phase on (+1) or back (-1): to the start of this one first, if we are not there. */
  leap(direction) {
    const k = this.trace.phases.findIndex((phase) => this.index < phase.stop);
    const here = this.trace.phases[k];
    if (direction > 0) return this.move(() => here.stop);
    return this.move(() => (this.index > here.start ? here.start : this.trace.phases[Math.max(k - 1, 0)].start));
  }

  /** Play or, when playing already, pause. This is the only timer that moves frames. */
  play(start = false) {
    if (this.timer !== undefined) { if (!start) this.pause(); return; }
    if (this.trace.frames.length < 2) return;
    if (this.index === this.trace.frames.length - 1) this.go(0);
    const tick = () => {
      const on = !(this.spec.halt && this.spec.halt(this)) && this.go(this.index + 1, false);
      if (on && this.index < this.trace.frames.length - 1) this.timer = setTimeout(tick, this.pause_ms());
      else this.pause();
    };
    this.timer = setTimeout(tick, this.pause_ms());
    this.set("playing", true);
    this.paced();
  }

  pause_ms() { return STEP / (this.model.get("speed") || 1); }

  pause() {
    if (this.timer === undefined) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.paced();
    this.set("playing", false);
    this.note();
  }

  /** Let Python know where we are, once things have calmed down. Without a kernel nobody hears it, and nothing stops. */
  note() {
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.set("index", this.index), 150);
  }

  /** Set a trait and send it. */
  set(name, value) {
    if (this.model.get(name) === value) return;
    this.model.set(name, value);
    this.model.save_changes();
  }

  // ---------------------------------------------------------------- changes that Python answers
  /** What a control stands at by now, sent or not: what a further change starts from, however quickly it comes. */
  wanted(name) { return this.pending[name] ?? this.model.get(name); }

  /** Send changes of controls a moment after the last of them; what is on the stage is out of date until then. */
  edit(changes, delay = 150) {
    this.pause();
    Object.assign(this.pending, changes);
    this.stale = true;
    this.root.classList.add("md-stale");
    this.stage.setAttribute("aria-busy", "true");
    if (delay < 100 && this.sending) return; // a slider on its way: answers while it moves
    clearTimeout(this.sending);
    this.sending = setTimeout(() => this.send(), delay);
  }

  /** Send what has piled up; while an answer is still to come it waits, so that a slow kernel is not buried. */
  send() {
    this.sending = undefined;
    if (!Object.keys(this.pending).length) return;
    this.queued = this.asked > (this.model.get("answer") || 0);
    if (this.queued) return;
    for (const [name, value] of Object.entries(this.pending)) this.model.set(name, value);
    this.pending = {};
    clearTimeout(this.saving);
    this.model.set("index", this.index); // where we are goes with it: the answer says where we shall be
    this.asked = (this.model.get("request") || 0) + 1;
    this.model.set("request", this.asked);
    this.model.save_changes();
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      this.asked = 0; // given up; the next change is sent at once
      this.complain("No answer from the kernel. Is it running? Run the cell again.");
    }, PATIENCE);
  }

  /** An answer has come. It counts if it is one to our latest change. */
  settle() {
    if (this.model.get("answer") < this.asked) return;
    clearTimeout(this.waiting);
    if (this.queued) return this.send();
    if (!this.stale || Object.keys(this.pending).length) return;
    this.stale = false;
    this.stage.removeAttribute("aria-busy");
    this.complain();
  }

  complain(text) {
    const says = text || this.model.get("error") || "";
    this.wrong.textContent = says;
    this.wrong.hidden = !says;
    this.root.classList.toggle("md-stale", Boolean(this.stale || this.model.get("error")));
  }

  /**
   * An input that is bound to a trait. about: name, label, type ("number", "range", "text", "checkbox", "select"),
   * min, max, step, options (texts, or [value, text] pairs), send (value) -> changes.
   */
  field(about) {
    const { name, label = name, type = "number", options, send = (value) => ({ [name]: value }), ...rest } = about;
    const shown = h("output", { class: "md-shown" });
    const input = type === "select"
      ? h("select", {}, options.map((o) => (Array.isArray(o) ? h("option", { value: o[0] }, o[1]) : h("option", {}, o))))
      : h("input", { type, ...rest, spellcheck: "false", autocomplete: "off" });
    const read = () => (type === "checkbox" ? input.checked
      : type === "number" || type === "range" ? Number(input.value) : input.value);
    const write = () => {
      if (document.activeElement === input && type === "text") return;
      const value = this.model.get(name);
      if (type === "checkbox") input.checked = Boolean(value);
      else input.value = value;
      if (type === "range") shown.textContent = number(Number(value));
    };
    input.addEventListener(type === "text" ? "change" : "input", () => {
      if (type === "range") shown.textContent = number(read());
      if (type === "number" && input.value === "") return;
      this.edit(send(read()), type === "range" ? 40 : 150);
    });
    this.on(name, write);
    write();
    this.controls.hidden = false;
    return h("label", { class: "md-field" }, type === "checkbox" ? [input, label] : [label, input],
      type === "range" ? shown : null);
  }

  // ---------------------------------------------------------------- focus inside the picture
  items() { return [...this.stage.querySelectorAll("[data-key]")]; }

  item(key) { return this.items().find((item) => item.dataset.key === key); }

  /** Pin an item: by click, or with Enter on it. */
  pick(item) {
    if (!item) return;
    this.enter(item.dataset.key);
    if (this.spec.open) this.spec.open(item.dataset.key, this);
  }

  /** Put the focus on an item inside the picture. */
  enter(key) {
    const item = this.item(key) || this.stage.querySelector("[data-now]") || this.items()[0];
    if (!item) return;
    this.opened = true;
    this.key = item.dataset.key;
    item.focus({ preventScroll: false });
    this.mark();
  }

  leave() {
    this.opened = false;
    this.stage.focus();
    this.mark();
  }

  /** Ring the item with the focus and say all that is known about it. */
  mark() {
    for (const item of this.items()) item.classList.toggle("md-focus", this.opened && item.dataset.key === this.key);
    const item = this.opened && this.item(this.key);
    this.pinned.hidden = !item;
    this.pinned.textContent = item ? item.getAttribute("aria-label") : "";
  }

  /** From the item at hand to the next one in a direction, along an edge if the widget knows one. */
  step(direction) {
    const here = this.item(this.key);
    if (!here) return;
    const known = this.spec.neighbour && this.spec.neighbour(this.key, direction, this);
    const found = known ? this.item(known) : nearest(here, this.items(), direction);
    if (found) this.enter(found.dataset.key);
  }

  // ---------------------------------------------------------------- keys
  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Tab") return;
    event.stopPropagation(); // the notebook has keys of its own
    const field = event.target.matches("input:not([type=range]):not([type=checkbox]), select, textarea");
    if (field) return;
    if (event.target.matches("button") && (event.key === " " || event.key === "Enter")) return;
    if (event.target.matches("input") && event.target !== this.slider) return;
    if (this.react(event)) event.preventDefault();
  }

  react(event) {
    const own = this.spec.press && this.spec.press(event, this);
    if (own) return true;
    const { key, shiftKey } = event;
    if (this.opened && key.startsWith("Arrow") && !shiftKey) return this.step(key.slice(5).toLowerCase()), true;
    if (key === "ArrowRight") return shiftKey ? this.leap(1) : this.move((i) => i + 1), true;
    if (key === "ArrowLeft") return shiftKey ? this.leap(-1) : this.move((i) => i - 1), true;
    if (key === "Home") return this.move(() => 0), true;
    if (key === "End") return this.move(() => this.trace.frames.length - 1), true;
    if (key === " ") return this.play(), true;
    if (key === "Enter" && !shiftKey) return this.opened ? this.pick(this.item(this.key)) : this.enter(this.key), true;
    if (key === "Escape") return this.escape(), true;
    if (key === "/") return this.seek(), true;
    if (key === "?") return this.help(), true;
    if (key === "t" || key === "T") return this.read(), true;
    return false;
  }

  escape() {
    if (!this.keys.hidden) this.help();
    else if (this.textual) this.read();
    else this.leave();
  }

  help() { this.keys.hidden = !this.keys.hidden; }

  // ---------------------------------------------------------------- words
  /** Change between picture and text. */
  read() {
    this.textual = !this.textual;
    this.text.hidden = !this.textual;
    this.stage.hidden = this.textual;
    if (this.textual) this.list();
    else this.stage.focus();
  }

  list() {
    const steps = this.trace.frames.map((frame, k) => h("li", { "aria-current": k === this.index ? "step" : null,
      onclick: () => this.move(() => k) }, sentence(this.trace, frame)));
    this.text.replaceChildren(steps.length > 1 ? h("ol", {}, steps) : "",
      ...this.frame.lines.map((line) => h("p", {}, line)));
    this.text.setAttribute("tabindex", 0);
    this.text.focus({ preventScroll: true });
    const now = this.text.querySelector("[aria-current]");
    if (now) this.text.scrollTop = now.offsetTop - this.text.offsetTop - 40;
  }

  seek() {
    this.finder.hidden = false;
    this.search.focus();
  }

  /** Go to the next frame, from here on and around, whose text has the words in it. */
  find(words) {
    const { frames } = this.trace;
    const wanted = words.toLowerCase();
    const order = frames.map((_, k) => (this.index + 1 + k) % frames.length);
    const found = order.find((k) => sentence(this.trace, frames[k]).toLowerCase().includes(wanted));
    if (found === undefined) this.said.textContent = `Nothing found for “${words}”.`;
    else if (found !== this.index) this.move(() => found);
  }
}

/** The nearest item in a direction, by the middles of their boxes. */
function nearest(here, items, direction) {
  const middle = (item) => { const b = item.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; };
  const [x, y] = middle(here);
  const [dx, dy] = { left: [-1, 0], right: [1, 0], up: [0, -1], down: [0, 1] }[direction];
  let best = null;
  let least = Infinity;
  for (const item of items) {
    const [a, b] = middle(item);
    const along = (a - x) * dx + (b - y) * dy;
    const aside = Math.abs((a - x) * dy) + Math.abs((b - y) * dx);
    if (item !== here && along > 2 && along + 2 * aside < least) [best, least] = [item, along + 2 * aside];
  }
  return best;
}

/**
 * What a widget's file exports. spec: draw(stage, frame, view, before) and, if wanted, setup(view), renew(view),
 * say(frame, view), open(key, view), neighbour(key, direction, view), press(event, view), halt(view), keys.
 */
function widget(spec) {
  return {
    render({ model, el }) {
      const view = new View(spec, model, el);
      el.view = view; // for tests, and for the curious
      return () => view.close();
    },
  };
}
