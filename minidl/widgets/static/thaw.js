// Freeze and thaw: a row for each layer that a click freezes or thaws, and the curve of what is right. What is measured
// and said comes from Python (minidl/widgets/thaw.py).

const [LEFT, TOP, HEIGHT, WIDE, LABELS] = [46, 20, 120, 700, 234]; // of the curves, px; room for what stands beside them
const DASHES = ["", "7 4", "8 3 2 3", "2 3"];
const HEADS = ["layer, from the input on", "backward", "on the tape", "gradient + Adam", "this step; ▾ since the start"];
const percent = (share, digits) => `${number(100 * share, digits)} %`;
const trail = (points) => (points.length ? `M${points.map((p) => p.join(",")).join("L")}` : "");
const lane = (k) => ({ style: `stroke: var(--md-lane-${k})`, "stroke-dasharray": DASHES[k] || null, fill: "none" });

// ------------------------------------------------------------------ the layers
function told(row, k, data) {
  const far = data.moved === null ? "" : ` Moved by ${percent(data.moved[k], 5)} in this step, `
    + `${percent(data.way[k], 5)} since the start, ${data.slope[k] === null ? "no gradient"
      : `gradient of length ${number(data.slope[k], 5)}`}.`;
  return `${row.says}${far} Enter or a click ${row.frozen ? "thaws" : "freezes"} it.`;
}

/** How far the step moved a layer, and a mark for how far it is from its start. */
function bar(k, figure, data) {
  if (data.moved === null) return h("div", { "data-head": "" }, h("div", { class: "md-push md-none" }));
  const lit = data.moved[k] / figure.top;
  return h("div", { "data-head": "moved" }, h("div", { class: "md-push" }, h("i", { style: `width: ${(100 * lit).toFixed(1)}%` }),
    h("b", { style: `left: ${(100 * data.way[k] / figure.far).toFixed(1)}%` }, "▾")),
  h("small", {}, `${percent(data.moved[k])}; ${percent(data.way[k])}`));
}

function layer(row, k, figure, data) {
  const lit = data.moved === null ? 0 : 45 * data.moved[k] / figure.top;
  const cell = (j, text, off) => h("div", { "data-head": HEADS[j], class: off ? "md-off" : null }, text);
  return h("div", { class: `md-layer${row.frozen ? " md-frozen" : ""}`, "data-key": `layer-${row.name}`,
    "aria-label": told(row, k, data) },
  h("div", { class: "md-state", style: `background: color-mix(in srgb, var(--md-positive) ${lit.toFixed(1)}%, var(--md-paper))` },
    h("b", {}, row.title), h("small", {}, `${row.count.toLocaleString("en")} numbers, ${row.frozen ? "frozen" : "learns"}`)),
  cell(1, row.way, row.back === "stops"), cell(2, row.tape, !row.ops), cell(3, row.memory, row.frozen), bar(k, figure, data));
}

// ------------------------------------------------------------------ what is right
function curves(figure, t, room) {
  const beside = room >= 560; // or else the labels stand below
  const whole = Math.max(Math.min(room, WIDE), 280);
  const width = whole - LEFT - (beside ? LABELS : 8);
  const floor = TOP + HEIGHT;
  const at = (step, share) => [LEFT + width * step / figure.steps,
    floor - HEIGHT * (share - figure.low) / (figure.high - figure.low)];
  const word = (text, x, y, more) => s("text", { x, y, class: "small muted", ...more }, text);
  const lines = [{ label: figure.choice, right: figure.right.slice(0, t + 1) }, ...figure.earlier]
    .map((line, k) => ({ ...line, k, points: line.right.map((share, step) => at(step, share)), last: line.right[line.right.length - 1] }));
  const says = `After step ${t}, ${percent(figure.right[t], 6)} of ${figure.judged} are right. `
    + lines.slice(1).map((line) => `Before, ${line.label}: ${percent(line.last, 6)} in the end.`).join(" ");
  const svg = picture(whole, floor + (beside ? 22 : 26 + 15 * lines.length));
  svg.append(s("g", { "data-key": "right", "aria-label": says },
    s("rect", { x: LEFT, y: TOP, width, height: HEIGHT, class: "rule" }),
    word(`right, of ${figure.judged} that it does not learn from`, LEFT, TOP - 6, { class: "small bold" }),
    [figure.low, figure.high].map((share) => word(`${(100 * share).toFixed(0)} %`, LEFT - 6, at(0, share)[1] + 4, { "text-anchor": "end" })),
    word("0", LEFT, floor + 15, { "text-anchor": "middle" }),
    word(`step ${figure.steps}`, LEFT + width, floor + 15, { "text-anchor": "end" }),
    lines.map((line) => s("path", { d: trail(line.points), "stroke-width": line.k ? 1.6 : 2.4, ...lane(line.k) })),
    s("circle", { cx: at(t, 0)[0], cy: at(t, figure.right[t])[1], r: 4, style: "fill: var(--md-lane-0)" }),
    labels(lines, beside ? LEFT + width + 5 : LEFT, beside ? null : floor + 32, word, whole)));
  return svg;
}

/** The name of each line beside its end, moved apart; or one below the other from a height on. */
function labels(lines, x, from, word, whole) {
  const end = (line) => line.points[line.points.length - 1][1];
  const most = Math.floor((whole - x - 28) / 6.4); // letters that fit
  let free = from === null ? -Infinity : from - 13;
  return (from === null ? [...lines].sort((a, b) => end(a) - end(b) || a.k - b.k) : lines).map((line) => {
    free = Math.max(from === null ? end(line) + 4 : 0, free + 14);
    const text = `${percent(line.last)} ${line.label}`;
    return [s("path", { d: trail([[x, free - 4], [x + 22, free - 4]]), "stroke-width": 2, ...lane(line.k) }),
      word(text.length > most ? `${text.slice(0, most - 1)}…` : text, x + 26, free, { class: line.k ? "small" : "small bold" })];
  });
}

// ------------------------------------------------------------------ what can be changed
/** Freeze or thaw a layer; what comes is a new run, so there is a new question. */
function toggle(name, view) {
  const now = "frozen" in view.pending ? view.pending.frozen : view.model.get("frozen");
  const frozen = now.includes(name) ? now.filter((one) => one !== name) : [...now, name];
  view.edit({ frozen, guess: "", index: 0 });
}

export default widget({
  keys: [["Enter on a layer", "freeze or thaw it"]],
  setup(view) {
    const { rows } = view.trace.figure;
    view.controls.append(
      view.field({ name: "guess", label: "Predict: which layer moves furthest?", type: "select",
        options: [["", "…"], ...rows.map((row) => [row.name, row.title])] }),
      view.field({ name: "steps", min: 1, max: 60 }), view.field({ name: "lr", label: "lr of Adam", min: 0, max: 1, step: 0.001 }));
  },
  halt: (view) => view.index === 0 && !view.model.get("guess"),
  open(key, view) { if (key.startsWith("layer-")) toggle(key.slice(6), view); },
  draw(stage, frame, view) {
    const { figure } = view.trace;
    const facts = h("div", { class: "md-facts" }, figure.facts.map((fact) => h("div", {}, fact)));
    stage.replaceChildren(facts, h("div", { class: "md-thaw" },
      h("div", { class: "md-layer md-heads" }, HEADS.map((head) => h("span", {}, head))),
      figure.rows.map((row, k) => layer(row, k, figure, frame.data)),
      h("div", { class: "md-loss" }, "▴ the loss: backward starts here and goes up")), curves(figure, frame.data.t, stage.clientWidth - 12));
  },
});
