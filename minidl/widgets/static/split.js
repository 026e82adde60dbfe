// Split screen: the code with its line, and two panes under it: dynamic with values, static with symbols.

const STATES = { runs: "runs now", stopped: "stopped", records: "records symbols", done: "ran once",
  program: "the program", "not run": "not needed", replays: "replays the program", asked: "hit or retrace?", hit: "hit",
  retrace: "retrace" };
const MARKS = { error: "✗ ", print: "» ", broken: "× " };
const LATER = ["program", "replays", "asked", "hit", "retrace"];

function pane(side, frame, figure) {
  const state = frame.data.states[side];
  const name = ["dynamic", "static"][side];
  const later = side === 1 && LATER.includes(state);
  const rows = later ? figure.program.map((line) => [null, "program", line])
    : [figure.left, figure.right][side].slice(0, frame.data.rows[side]);
  const list = h("div", { class: "split-rows" }, rows.map(([line, kind, text], k) => {
    const here = line !== null && line - figure.first + 1;
    const now = line !== null && line === frame.data.line;
    return h("div", { class: `split-row ${kind}${now ? " split-now" : ""}`, "data-key": `${name}${k}`,
      "aria-label": `${name}${here ? `, line ${here}` : ""}: ${text}` },
    h("span", { class: "split-number" }, here || ""), h("span", {}, (MARKS[kind] || "") + text));
  }));
  requestAnimationFrame(() => { list.scrollTop = later ? 0 : list.scrollHeight; });
  return h("section", { class: `split-pane ${name}${state === "stopped" ? " split-stopped" : ""}` },
    h("strong", {}, `${name}: ${STATES[state]}`), list);
}

function listing(frame, figure) {
  return h("div", { class: "split-code" }, figure.code.map((line, k) => {
    const now = figure.first + k === frame.data.line;
    return h("div", { class: now ? "split-line split-here" : "split-line", "data-key": `line${k + 1}`, "data-now": now,
      "aria-label": `line ${k + 1}${now ? ", now" : ""}: ${line.trim()}` },
    h("span", { class: "split-number" }, `${now ? "▸" : ""}${k + 1}`), line);
  }));
}

const seconds = (s) => (s < 1 ? `${number(s * 1000)} ms` : `${number(s)} s`);

/** Bars of both sides for as many calls as the slider says. */
function cost([dynamic, first, replay], calls) {
  const rows = h("div", {});
  const show = (n) => {
    const both = [["dynamic", dynamic * n], ["static", first + replay * (n - 1)]];
    const top = Math.max(...both.map(([, s]) => s)) || 1;
    rows.replaceChildren(...both.map(([name, s]) => h("div", { class: "split-cost", "data-key": `cost ${name}`,
      "aria-label": `${n} calls, ${name}: ${seconds(s)}` }, h("span", {}, `${n} calls, ${name}: ${seconds(s)}`),
    h("span", { class: "split-bar", style: `width: ${((s / top) * 45).toFixed(1)}%` }))));
  };
  const slider = h("input", { type: "range", min: 1, max: Math.max(20, 3 * calls), value: calls,
    "aria-label": "calls", oninput: () => show(Number(slider.value)) });
  show(calls);
  return h("div", {}, h("label", { class: "md-field" }, "calls", slider), rows);
}

export default widget({
  setup(view) {
    view.controls.append(view.field({ name: "other", label: "another call", type: "text", size: 22 }),
      view.field({ name: "guess", label: "hit or retrace?", type: "select",
        options: [["", "…"], "hit", "retrace"] }));
  },
  halt: (view) => view.frame.phase === "part" || view.frame.data.states[1] === "asked",
  draw(stage, frame, view) {
    const { figure } = view.trace;
    stage.replaceChildren(listing(frame, figure),
      h("div", { class: "split-panes" }, pane(0, frame, figure), pane(1, frame, figure)),
      frame.data.calls ? cost(figure.cost, frame.data.calls) : "");
  },
});
