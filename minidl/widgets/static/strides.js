// Stride explorer: memory as a strip, and the table that shape, strides and offset read from it. Python has placed
// every cell; what is read from the same position lights up together.

const TALL = 30;

function cellOf([x, y, width, text, small, look, key, position], label) {
  const middle = { x: x + width / 2, "text-anchor": "middle" };
  const broken = text === "×" || text.includes("∞");
  return s("g", { "data-key": key, "data-position": position, "aria-label": label, "data-now": look === "now" },
    s("rect", { x, y, width, height: TALL, class: broken ? "broken-paper" : look === "unused" ? "absent" : "outline",
      "pointer-events": "all" }),
    look === "again" ? s("path", { d: `M${x},${y + 9}l9,-9M${x},${y + 18}l18,-18`, class: "stroke" }) : null,
    s("text", { ...middle, y: y + 13, class: broken ? "small broken" : look === "unused" ? "muted small" : "small bold" }, text),
    s("text", { ...middle, y: y + 26, class: broken ? "small broken" : "muted small" }, small));
}

/** Mark all cells that stand for one position. */
function together(stage, item) {
  for (const other of stage.querySelectorAll("[data-position]")) {
    other.classList.toggle("md-same", Boolean(item) && other.dataset.position === item.dataset.position);
  }
}

export default widget({
  setup(view) {
    const cases = h("select", { "aria-label": "named case", onchange: () => {
      if (cases.value) view.edit({ expression: cases.value, entry: "" }, 0);
    } }, h("option", { value: "" }, "a named case …"),
    view.model.get("cases").map(([value, name]) => h("option", { value }, `${name}: ${value}`)));
    view.controls.append(view.field({ name: "expression", type: "text", size: 30 }), cases,
      view.field({ name: "entry", type: "text", size: 8, placeholder: "the last" }));
    const item = (event) => event.target.closest && event.target.closest("[data-position]");
    view.stage.addEventListener("focusin", (event) => together(view.stage, item(event)));
    view.stage.addEventListener("focusout", () => together(view.stage, null));
    view.stage.addEventListener("pointerover", (event) => { if (item(event)) together(view.stage, item(event)); });
  },
  draw(stage, frame, view) {
    const { cells, words, width, height, step } = frame.data;
    const labels = view.trace.figure.labels[step];
    const svg = picture(width, height,
      words.map(([x, y, text, look]) => s("text", { x, y, class: look }, text)),
      cells.map((one) => cellOf(one, labels[one[6]])),
      cells.filter((one) => one[5] === "now").map(([x, y, w]) => // on top of the neighbours
        s("rect", { x, y, width: w, height: TALL, class: "now", "pointer-events": "none" })));
    svg.classList.add("strides-picture");
    stage.replaceChildren(svg);
  },
});
