// How sure against how often right, while the temperature slides. minidl/widgets/calibration.py computes it.

const [SIDE, LEFT, TOP, FOOT] = [250, 44, 26, 38];
const LEGEND = "The thick line: how sure. Hatched below it: surer than right. Plain above it: more often right than sure.";
const [COLDEST, HOTTEST] = [0.1, 10];

const word = (text, x, y, anchor, look = "small muted") => s("text", { x, y, "text-anchor": anchor,
  "dominant-baseline": "central", class: look }, text);
const rule = (x0, y0, x1, y1, look = "rule") => s("path", { d: `M${x0},${y0}L${x1},${y1}`, class: look, fill: "none" });
const percent = (share, digits = 3) => `${number(100 * share, digits)} %`;

function reliability(data) {
  const svg = picture(LEFT + SIDE + 14, TOP + SIDE + FOOT);
  const wide = SIDE / data.bins;
  svg.append(word("how often right", LEFT, 12, "start", "small bold"),
    word("how sure", LEFT + SIDE / 2, TOP + SIDE + 28, "middle", "small bold"));
  for (const share of [0, 0.5, 1]) {
    const y = TOP + SIDE * (1 - share);
    svg.append(rule(LEFT, y, LEFT + SIDE, y), word(percent(share), LEFT - 6, y, "end"),
      word(percent(share), LEFT + SIDE * share, TOP + SIDE + 12, "middle"));
  }
  data.low.forEach((low, k) => {
    const [sure, right] = [data.sure[k], data.right[k]];
    const x = LEFT + low * SIDE + 1;
    const end = sure > right ? "negative" : "positive";
    const gap = { x, y: TOP + SIDE * (1 - Math.max(sure, right)), width: wide - 2, height: SIDE * Math.abs(sure - right) };
    const y = TOP + SIDE * (1 - sure);
    svg.append(s("g", { "data-key": `bin ${k}`, "data-now": k === data.low.length - 1,
      "aria-label": `Sure ${percent(low)} to ${percent(low + 1 / data.bins)}: ${whole(data.count[k])} rows, sure `
        + `${percent(sure, 4)} on the mean, right ${percent(right, 4)}.` },
    s("rect", { x, y: TOP, width: wide - 2, height: SIDE, fill: "transparent" }),
    s("rect", { x, y: TOP + SIDE * (1 - right), width: wide - 2, height: SIDE * right, style: "fill: var(--md-muted)",
      "fill-opacity": 0.5 }),
    s("rect", { ...gap, style: `fill: var(--md-${end}); stroke: var(--md-${end})` }),
    sure > right ? s("rect", { ...gap, fill: svg.hatch }) : null, rule(x, y, x + wide - 2, y, "now")));
  });
  svg.append(rule(LEFT, TOP + SIDE, LEFT + SIDE, TOP, "gradient md-through"));
  return svg;
}

function counts(svg, data, box) {
  const [wide, high] = [box.width / data.bins, 62];
  const most = Math.max(...data.count);
  svg.append(word("rows in each bin", box.x, 12, "start", "small bold"));
  data.low.forEach((low, k) => {
    const tall = Math.max((high * data.count[k]) / most, 1);
    const x = box.x + low * box.width;
    svg.append(s("rect", { x: x + 1, y: TOP + 14 + high - tall, width: wide - 2, height: tall, style: "fill: var(--md-muted)" }));
    if (data.bins <= 10) svg.append(word(whole(data.count[k]), x + wide / 2, TOP + 6 + high - tall, "middle", "small"));
  });
  svg.append(rule(box.x, TOP + 14 + high, box.x + box.width, TOP + 14 + high));
}

function valley(svg, f, data, box) {
  const [temperatures, losses] = f.curve;
  const [top, high] = [TOP + 116, SIDE - 116];
  const least = Math.min(...losses);
  const most = 3 * least > least ? Math.min(Math.max(...losses), 3 * least) : Math.max(...losses);
  const x = (t) => box.x + (box.width * Math.log(t / COLDEST)) / Math.log(HOTTEST / COLDEST);
  const y = (loss) => top + high * (1 - (Math.min(loss, most) - least) / (most - least || 1));
  svg.append(word("loss on the validation rows, over T", box.x, top - 16, "start", "small bold"));
  for (const loss of [least, most]) {
    svg.append(rule(box.x, y(loss), box.x + box.width, y(loss)), word(number(loss), box.x - 6, y(loss), "end"));
  }
  for (const t of [COLDEST, 1, HOTTEST]) svg.append(word(number(t), x(t), TOP + SIDE + 12, "middle"));
  const points = temperatures.map((t, k) => [t, losses[k]]).filter(([, loss]) => loss <= most);
  svg.append(s("path", { d: points.map(([t, loss], k) => `${k ? "L" : "M"}${x(t)},${y(loss)}`).join(""), fill: "none",
    style: "stroke: var(--md-ink); stroke-width: 1.8" }),
  s("circle", { cx: x(f.best), cy: y(f.lowest), r: 5, class: "outline", "data-key": "best",
    "aria-label": `The lowest loss of the validation rows, ${number(f.lowest, 6)}, at T = ${number(f.best, 6)}. Enter goes there.` }),
  rule(x(data.temperature), top - 4, x(data.temperature), top + high, "now"),
  word(`┃ T = ${number(data.temperature)}`, box.x, TOP + SIDE + 28, "start", "small bold"),
  word(`○ best ${number(f.best)}`, box.x + box.width, TOP + SIDE + 28, "end", "small"));
}

function plots(f, data, room) {
  const width = Math.min(Math.max(room, 300), 370);
  const svg = picture(width, TOP + SIDE + FOOT);
  const box = { x: 44, width: width - 56 };
  counts(svg, data, box);
  valley(svg, f, data, box);
  return svg;
}

const toBest = (view) => view.edit({ temperature: Number(view.trace.figure.best.toPrecision(3)) });

export default widget({
  keys: [["+ / −", "a higher or lower temperature"], ["b", "the best one"]],

  setup(view) {
    view.controls.append(view.field({ name: "temperature", label: "temperature T", type: "range", min: 0.1, max: 10, step: 0.1 }),
      view.field({ name: "bins", min: 2, max: 20 }),
      h("button", { type: "button", onclick: () => toBest(view) }, "best T"));
  },

  open(key, view) { if (key === "best") toBest(view); },

  press(event, view) {
    if (event.key === "b") { toBest(view); return true; }
    const direction = { "+": 1, "=": 1, "-": -1 }[event.key];
    if (!direction) return false;
    const t = Math.round((view.wanted("temperature") + 0.1 * direction) * 100) / 100;
    view.edit({ temperature: Math.min(Math.max(t, COLDEST), HOTTEST) }, 40);
    return true;
  },

  draw(stage, frame, view) {
    const f = view.trace.figure;
    stage.replaceChildren(h("div", { class: "md-diagram" }, reliability(frame.data), plots(f, frame.data, stage.clientWidth - 12)),
      h("div", { class: "md-calibration-facts" },
        [LEGEND, ...f.facts].map((fact) => h("div", {}, fact))));
  },
});
