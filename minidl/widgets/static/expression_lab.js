// The expression lab: a formula to type, a slider for each of its numbers, the graph, and the table of gradients.

function sliders(view) {
  const names = view.frame.data.rows.map(([name]) => name);
  if (names.join() === view.named) return;
  view.named = names.join();
  view.numbers.replaceChildren(...view.frame.data.rows.map(([name, value]) => {
    const tell = (x, other) => {
      other.value = x;
      view.edit({ values: { ...view.model.get("values"), ...view.pending.values, [name]: Number(x) } });
    };
    const range = h("input", { type: "range", min: -5, max: 5, step: 0.05, value, "aria-label": `${name}, slider`,
      oninput: () => tell(range.value, exact) });
    const exact = h("input", { type: "number", step: "any", value, "aria-label": name,
      oninput: () => { if (exact.value !== "") tell(exact.value, range); } });
    return h("span", { class: "md-field" }, `${name} `, range, exact);
  }));
}

function table(rows) {
  const head = ["number", "value", "gradient", "finite difference", ""];
  return h("table", { class: "md-table" },
    h("thead", {}, h("tr", {}, head.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, rows.map(([name, value, gradient, slope, same]) => h("tr", {}, h("th", { scope: "row" }, name),
      h("td", {}, number(value)), h("td", { class: tone(number(gradient)), title: number(gradient, 7) }, number(gradient)),
      h("td", { class: tone(number(slope)), title: number(slope, 7) }, number(slope)),
      h("td", {}, same ? "✓ alike" : "≠ differ")))));
}

export default widget({
  setup(view) {
    view.numbers = h("span", { class: "md-controls" });
    const field = view.field({ name: "expression", label: "L =", type: "text", size: 34 });
    field.classList.add("mono");
    view.controls.append(field, view.numbers);
    view.table = h("div", {});
    view.stage.after(legend(), view.table);
  },
  draw(stage, frame, view) {
    sliders(view);
    place(stage, board(view.trace.figure, frame.data));
    view.table.replaceChildren(table(frame.data.rows));
  },
  neighbour: along,
});
