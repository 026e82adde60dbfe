// Pass viewer: the listing of a graph with what a pass removed (−), added (+) and rewired (~); what was gained.

const MARK = { same: "", added: "+", removed: "−", rewired: "~", gap: "…", end: "" };
const SAYS = { added: "added", removed: "removed", rewired: "reads something else now" };

function sized(bytes) {
  for (const unit of ["B", "KiB", "MiB"]) {
    if (bytes < 1024) return `${number(bytes)} ${unit}`;
    bytes /= 1024;
  }
  return `${number(bytes)} GiB`;
}

function row([mark, name, text, kind], k) {
  const said = `${SAYS[mark] ? `${SAYS[mark]}: ` : ""}${name}${mark === "end" || !name ? " " : " = "}${text}${kind ? `, ${kind}` : ""}`;
  return h("div", { class: `pass-row pass-${mark}`, "data-key": name && mark !== "end" ? `${mark === "removed" ? "-" : ""}${name}` : `row${k}`,
    "aria-label": said, "data-now": mark === "added" || mark === "removed" },
  h("span", { class: "pass-mark" }, MARK[mark]), h("span", { class: "pass-name" }, name),
  h("span", { class: "pass-text" }, text), h("span", { class: "pass-kind" }, kind));
}

/** A bar for each graph so far: steps, bytes moved, and how far the numbers are from those that were recorded. */
function gained(stages, now) {
  const top = [1, 2].map((j) => Math.max(...stages.map((stage) => stage[j])) || 1);
  const bar = (share, text) => h("td", {}, h("span", { class: "pass-bar", style: `width: ${(60 * share).toFixed(1)}px` }), text);
  return h("table", { class: "pass-gained" },
    h("tr", {}, ["after", "steps", "bytes moved", "max |Δ|"].map((text) => h("th", { scope: "col" }, text))),
    stages.slice(0, now + 1).map(([name, steps, bytes, gap], k) => h("tr", { class: k === now ? "pass-now" : "" },
      h("td", {}, `${k === now ? "▸ " : ""}${name}`), bar(steps / top[0], whole(steps)), bar(bytes / top[1], sized(bytes)),
      h("td", {}, number(gap)))));
}

/** Rows that a step reads, or that read it, light up with it. */
function related(stage, item) {
  const names = (element) => new Set((element.querySelector(".pass-text")?.textContent || "").match(/\w+/g) || []);
  for (const other of stage.querySelectorAll(".pass-row")) {
    const name = (element) => element.querySelector(".pass-name").textContent;
    const near = item && other !== item && name(other) && name(item)
      && (names(item).has(name(other)) || names(other).has(name(item)));
    other.classList.toggle("pass-near", Boolean(near));
  }
}

export default widget({
  setup(view) {
    view.controls.hidden = false;
    const boxes = view.model.get("names").map((name) => [name, h("input", { type: "checkbox", onchange: () =>
      view.edit({ without: boxes.filter(([, box]) => !box.checked).map(([one]) => one) }, 0) })]);
    const write = () => boxes.forEach(([name, box]) => { box.checked = !view.model.get("without").includes(name); });
    view.on("without", write);
    write();
    view.controls.append(...boxes.map(([name, box]) => h("label", { class: "md-field" }, box, name)));
    view.stage.addEventListener("focusin", (event) => related(view.stage, event.target.closest(".pass-row")));
    view.stage.addEventListener("focusout", () => related(view.stage, null));
    view.stage.addEventListener("pointerover", (event) => related(view.stage, event.target.closest(".pass-row")));
  },
  draw(stage, frame, view) {
    const { stages, source } = view.trace.figure;
    const { rows, stage: now } = frame.data;
    stage.replaceChildren(h("div", { class: "pass-list" },
      rows ? rows.map(row) : source.map((line, k) => row(["end", "", line, ""], k))), gained(stages, now));
    const list = stage.firstChild;
    const changed = list.querySelector("[data-now]");
    list.scrollTop = changed ? Math.max(changed.offsetTop - list.offsetTop - 40, 0) : 0;
  },
});
