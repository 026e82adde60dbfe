// The backprop player: the board, what can be changed, and the slopes to predict.

const answered = (view) => (view.right ??= new Set());
const asked = (frame, view) => view.model.get("predict") && frame.data.ask && !answered(view).has(view.index);

/** While a question is open the board shows the step before, and nothing of the answer. */
function visible(frame, view) {
  if (!asked(frame, view)) return frame.data;
  const { arrived, edge, ...rest } = frame.data;
  return { ...rest, arrived: arrived - 1, now: edge[0] };
}

function draw(stage, frame, view, before) {
  const { figure } = view.trace;
  place(stage, board(figure, visible(frame, view), view, asked(frame, view) ? null : before));
  quiz(frame, view);
}

function quiz(frame, view) {
  const ask = asked(frame, view) && frame.data.ask;
  view.quiz.hidden = !ask;
  if (!ask || view.quiz.dataset.at === String(view.index)) { if (!ask) delete view.quiz.dataset.at; return; }
  view.quiz.dataset.at = view.index;
  view.tries = 0;
  view.verdict.textContent = "";
  view.ask.textContent = `${ask.name} = `;
  view.guess.value = "";
}

function judge(view) {
  const { ask } = view.frame.data;
  const text = view.guess.value.trim().replace(",", ".").replace(MINUS, "-");
  const guess = Number(text);
  if (text === "" || !Number.isFinite(guess)) { view.verdict.textContent = "Type a number, such as −0.5."; return; }
  const right = Math.abs(guess - ask.answer) <= 5e-3 + 0.02 * Math.abs(ask.answer);
  view.tries += 1;
  if (right || view.tries === 3) {
    answered(view).add(view.index);
    view.show(view.trace.frames[view.index - 1]);
    const found = `The finite difference gives ${number(ask.answer)}.`;
    view.said.textContent = `${right ? "Right." : "Not this time."} ${found} ${sentence(view.trace, view.frame)}`;
    view.stage.focus();
  } else {
    const hint = Math.abs(guess + ask.answer) < 0.02 * Math.abs(ask.answer) + 5e-3 ? "Look at the sign." : "Not yet.";
    view.verdict.textContent = `${hint} ${3 - view.tries} ${view.tries === 2 ? "try" : "tries"} left.`;
  }
}

function inputs(view) {
  const { leaves } = view.trace.figure;
  view.leaves.replaceChildren(...leaves.map(([name, value]) => h("label", { class: "md-field" }, name,
    h("input", { type: "number", step: "any", value, oninput: (event) => {
      if (event.target.value === "") return;
      view.edit({ values: { ...view.model.get("values"), ...view.pending.values, [name]: Number(event.target.value) } });
    } }))));
}

export default widget({
  setup(view) {
    view.ask = h("span", { class: "md-ask" });
    view.guess = h("input", { type: "text", inputmode: "decimal", size: 8, "aria-label": "your prediction" });
    view.verdict = h("span", { role: "status" });
    view.quiz = h("div", { class: "md-controls md-quiz", hidden: true }, h("strong", {}, "Predict: "), view.ask, view.guess,
      h("button", { type: "button", onclick: () => judge(view) }, "check"), view.verdict);
    view.guess.addEventListener("keydown", (event) => { if (event.key === "Enter") judge(view); });
    view.leaves = h("span", { class: "md-controls" });
    const predict = h("input", { type: "checkbox", onchange: (event) => {
      view.set("predict", event.target.checked);
    } });
    predict.checked = view.model.get("predict");
    view.on("predict", () => { predict.checked = view.model.get("predict"); view.show(); });
    view.controls.append(view.leaves, view.field({ name: "lr", step: "any", min: 0 }),
      view.field({ name: "overwrite", label: "= in place of +=", type: "checkbox" }),
      view.trace.figure.modules ? view.field({ name: "fold", label: "fold modules", type: "checkbox" }) : "",
      h("label", { class: "md-field" }, predict, "predict slopes"));
    view.controls.hidden = false;
    view.stage.after(legend(), view.quiz);
    inputs(view);
  },
  renew(view) {
    answered(view).clear();
    const now = JSON.stringify(view.trace.figure.leaves.map(([name]) => name));
    if (now !== JSON.stringify([...view.leaves.querySelectorAll("label")].map((l) => l.firstChild.textContent))) inputs(view);
  },
  draw,
  say: (frame, view) => (asked(frame, view) ? `Step ${frame.step} of ${view.trace.steps}. Predict: ${frame.data.ask.text}` : ""),
  halt: (view) => asked(view.frame, view),
  neighbour: along,
});
