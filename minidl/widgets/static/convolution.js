// The convolution explorer: fields of cells that answer each other, in the words of minidl/widgets/convolution.py.

const TERMS = 9; // products that the sentence about a cell writes out
const LABELS = { x: "x", w: "w", y: "y", dy: "dL/dy", dx: "dL/dx", dw: "dL/dw" };

// ---- which weight meets which pixel
const each = (counts, f) => (counts.length
  ? Array.from({ length: counts[0] }, (_, i) => each(counts.slice(1), (...rest) => f(i, ...rest))).flat() : [f()]);

/** Every product of the convolution: places in y, w and x, weight a, pixel b, gradient g. */
function linksOf(f) {
  const [depth, share, links] = [f.w[0].length, f.w.length / f.groups, []];
  each([f.w.length, ...f.out], (o, i, j) => each([depth, ...f.kernel], (c, k, n) => {
    const channel = Math.floor(o / share) * depth + c;
    const [row, column] = [[i, k], [j, n]].map(([at, tap], d) => at * f.stride[d] - f.padding[d] + tap * f.dilation[d]);
    const pixel = f.x[channel][row]?.[column];
    links.push({ y: `${o} ${i} ${j}`, w: `${o} ${c} ${k} ${n}`, x: `${channel} ${row} ${column}`, at: [o, i, j],
      of: [o, c, k, n], pixel: [channel, row, column], a: f.w[o][c][k][n], b: pixel ?? 0, g: f.dy[o][i][j],
      real: pixel !== undefined });
  }));
  return links;
}

/** The products that a cell of any array takes part in. */
const at = (view, name, place) => view.links.filter((link) => link[name.slice(-1)] === place.join(" "));

/** The frame of a sum, or of a gradient on its way; a long trace lacks some. */
const frameOf = (view, name, place) => view.trace.frames.find((frame) => frame.data.at?.join() === place.join()
  && frame.phase === { y: "forward", dy: "backward" }[name]);

// ---- in words
const factor = (x) => (number(x).startsWith(MINUS) ? `(${number(x)})` : number(x));
const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

function summed(terms, total) {
  const rest = terms.length > TERMS ? ` + ${terms.length - TERMS} more products` : "";
  return `${terms.slice(0, TERMS).map(([a, b]) => `${factor(a)}·${factor(b)}`).join(" + ")}${rest} = ${number(total)}`;
}

/** All that is to be said about one cell, as ConvolutionExplorer.about says it. */
function about(view, name, place) {
  const f = view.trace.figure;
  const links = at(view, name, place);
  const value = place.reduce((array, k) => array[k], f[name]);
  const label = `${LABELS[name]}[${place.join(", ")}]`;
  const head = `${label} = ${number(value, 6)}`;
  if (name === "x") {
    if (!links.length) return `${head}. No window reads it: it changes nothing, and its gradient is 0.`;
    const found = links.filter((link) => link.at[0] === links[0].at[0]);
    const read = found.map((l) => `(${l.at.slice(1).join(", ")}) through weight (${l.of.slice(2).join(", ")})`);
    return `${head} is read by ${count(found.length, "window")} of each filter: ${read.join(", ")}.`;
  }
  if (name === "w") {
    const [channel, row, column] = links[0].pixel;
    return `${head} meets ${count(links.length, "pixel")} of channel ${channel}, one for each sum y[${place[0]}]: `
      + `rows ${row} + ${f.stride[0]}·i, columns ${column} + ${f.stride[1]}·j.`;
  }
  if (name.endsWith("y")) return frameOf(view, name, place)?.text || head;
  if (!links.length) return `${label} = 0: no window read this pixel.`;
  const why = name === "dx" ? "As the windows go on, the weights are met from the last to the first: the kernel is flipped."
    : "Each gradient times the pixel that this weight met.";
  return `${label}: ${summed(links.map((l) => [l.g, name === "dx" ? l.a : l.b]), value)}. ${why}`;
}

// ---- what a frame shows
const order = (f, [o, i, j]) => (o * f.out[0] + i) * f.out[1] + j;

/** The arrays of a frame; null is what is not computed yet, gradients are those that have arrived. */
function seen(view, frame) {
  const f = view.trace.figure;
  if (frame.phase === "guess") return f;
  const last = order(f, frame.data.at);
  if (frame.phase === "forward") {
    return { ...f, y: f.y.map((map, o) => map.map((row, i) => row.map((v, j) => (order(f, [o, i, j]) <= last ? v : null)))) };
  }
  if (last === f.y.length * f.out[0] * f.out[1] - 1) return f;
  const zeros = (array) => (Array.isArray(array) ? array.map(zeros) : 0);
  const [dx, dw] = [zeros(f.x), zeros(f.w)];
  for (const link of view.links) {
    if (order(f, link.at) > last) break;
    const { of: [o, c, k, n], pixel: [channel, row, column] } = link;
    dw[o][c][k][n] += link.g * link.b;
    if (link.real) dx[channel][row][column] += link.g * link.a;
  }
  return { ...f, dx, dw };
}

/** The cells that belong to the chosen one, or to the sum of the frame. */
function belonging(view, name, place, back) {
  if (!place.length) return new Set();
  const others = { x: ["y", "w"], dx: ["dy", "w"], w: ["x", "y"], dw: ["x", "dy"] }[name]
    || (back ? ["x", "w", "dx", "dw"] : ["x", "w"]);
  const links = at(view, name, place);
  return new Set([`${name} ${place.join(" ")}`, ...others.flatMap((one) => links
    .filter((link) => link.real || one !== "dx").map((link) => `${one} ${link[one.slice(-1)]}`))]);
}

// ---- drawing
const topOf = (array) => Math.max(0, ...array.flat(Infinity).filter(Number.isFinite).map(Math.abs)) || 1;

/** The side of all cells, and whether numbers fit in. */
function cellSize(arrays, wide, room) {
  const wanted = Math.max(24, 7 * Math.max(...arrays.flat(Infinity).map((v) => number(v).length)) + 4);
  return wanted <= 46 && wanted * wide <= room ? [wanted, true] : [Math.max(9, Math.min(22, Math.floor(0.75 * room / wide))), false];
}

/** One channel of an array with a caption. What has not changed since the last frame is left as it is. */
function field(view, name, place, rows, look) {
  const f = view.trace.figure;
  const { cell, text, lit, mine } = look;
  const [p, q] = name === "x" ? f.padding : [0, 0];
  const [width, height] = [(rows[0].length + 2 * q) * cell, (rows.length + 2 * p) * cell];
  const key = (i, j) => [name, ...place, i, j].join(" ");
  const label = (v, ...at) => `${LABELS[name]}[${[...place, ...at].join(", ")}]${v === null ? ": not computed yet" : ` = ${number(v, 6)}`}`;
  const corner = (i, j) => ({ x: 3 + (q + j) * cell, y: 3 + (p + i) * cell });
  const id = `${name} ${place.join(" ")}`;
  let known = view.fields.get(id);
  const svg = known?.svg || picture(width + 6, height + 6, s("rect", { x: 3, y: 3, width, height, class: "panel" }));
  const style = { cell, top: topOf(f[name]), hatch: svg.hatch, text };
  if (!known) {
    const body = cells(rows, { ...style, ...corner(0, 0), key, label });
    const struck = name === "x" ? each(f.size, (i, j) => [i, j]).filter(([i, j]) => !f.reads[i][j]).map(([i, j]) =>
      s("path", { d: `M${corner(i, j).x},${corner(i + 1, j).y}l${cell},${-cell}v${cell}h${-cell}v${-cell}h${cell}`,
        class: "md-unread" })) : [];
    const rings = s("g");
    svg.append(body, ...struck, s("rect", { x: 1, y: 1, width: width + 4, height: height + 4,
      class: name.length > 1 ? "gradient" : "value" }), rings);
    const caption = `${LABELS[name]}[${place.join(", ")}]${p + q && name === "x" ? ", padded" : ""}`;
    known = { svg, rings, rows, parts: [...body.childNodes], node: h("figure", { class: "md-map" }, h("figcaption", {}, caption), svg) };
    view.fields.set(id, known);
  }
  if (known.rows !== rows) rows.forEach((row, i) => row.forEach((v, j) => {
    if (Object.is(v, known.rows[i][j])) return;
    const part = cells([[v]], { ...style, ...corner(i, j), key: () => key(i, j), label: () => label(v, i, j) }).firstChild;
    known.parts[i * row.length + j].replaceWith(part);
    known.parts[i * row.length + j] = part;
  }));
  known.rows = rows;
  known.rings.replaceChildren(...[...lit].filter((cellKey) => cellKey.startsWith(`${id} `)).map((cellKey) => {
    const { x, y } = corner(...cellKey.split(" ").slice(-2).map(Number));
    return s("rect", { x: x + 1, y: y + 1, width: cell - 2, height: cell - 2, class: "now md-lit",
      style: `stroke-width: ${mine === cellKey ? 4 : 2}` });
  }));
  for (const part of known.parts) part.toggleAttribute("data-now", part.dataset.key === mine);
  return known.node;
}

/** The sum as a row of a matrix. */
function unfolded(view, [o, i, j]) {
  const f = view.trace.figure;
  const here = i * f.out[1] + j;
  const all = each(f.out, (...one) => [o, ...one]);
  const start = Math.max(0, Math.min(here - 20, all.length - 40));
  const part = all.slice(start, start + 40);
  const matrix = part.map((one) => at(view, "y", one).map((link) => link.b));
  const weights = f.w[o].flat(2).map((v) => [v]);
  const sums = part.map(([, a, b]) => [f.y[o][a][b] - (f.bias ? f.bias[o] : 0)]);
  const [cell, text] = cellSize([matrix, weights, sums], matrix[0].length + 4, 640);
  const wide = Math.max(matrix[0].length * cell, 180);
  const svg = picture(wide + 2 * cell + 120, Math.max(matrix.length, weights.length) * cell + 26);
  const word = (x, y, words) => svg.append(s("text", { x, y }, words));
  const heads = [`windows of x as rows, ${here} of 0 … ${all.length - 1}`, `w[${o}]`, `y[${o}]${f.bias ? " − bias" : ""}`];
  [[3, matrix], [wide + 36, weights], [wide + 72 + cell, sums]].forEach(([x, rows], k) => {
    word(x, 13, heads[k]);
    svg.append(cells(rows, { x, y: 20, cell, top: topOf(rows), hatch: svg.hatch, text }), k === 1 ? "" : s("rect",
      { x, y: 20 + (here - start) * cell, width: rows[0].length * cell, height: cell, class: "now" }));
  });
  word(wide + 13, 20 + cell, "@");
  word(wide + 50 + cell, 20 + cell, "=");
  return h("div", { class: "md-unfolded" }, svg);
}

/** Two inputs for a pair of whole numbers. */
function pair(view, [name, label, min]) {
  const send = () => inputs.every((i) => i.value !== "") && view.edit({ [name]: inputs.map((i) => Number(i.value)) });
  const inputs = ["vertical", "horizontal"].map((axis) =>
    h("input", { type: "number", min, "aria-label": `${label}, ${axis}`, oninput: send }));
  const write = () => view.model.get(name).forEach((v, k) => { inputs[k].value = v; });
  view.on(name, write);
  write();
  return h("span", { class: "md-field" }, label, inputs[0], "×", inputs[1]);
}

/** Ask about a cell, or about none. */
function choose(view, key) {
  view.set("chosen", key);
  view.redraw();
}

export default widget({
  keys: [["M", "matrix of windows"]],

  setup(view) {
    this.renew(view);
    view.boxes = Object.fromEntries(Object.keys(LABELS).map((name) => [name, h("div", { class: "md-maps" })]));
    view.conv = h("div", { class: "md-conv" }, ["x", "w", "y"].map((name) =>
      h("div", { class: "md-pair" }, view.boxes[name], view.boxes[`d${name}`])));
    view.below = h("div");
    const free = ([name]) => !view.model.get("fixed").includes(name);
    const pairs = [["size", "image", 1], ["kernel", "kernel", 1], ["stride", "stride", 1], ["padding", "padding", 0],
      ["dilation", "dilation", 1]].filter(free).map((one) => pair(view, one));
    const counts = ["channels", "filters", "groups"].filter((name) => free([name])).map((name) => view.field({ name, min: 1, max: 8 }));
    const options = ["numbers", "ones"].concat(view.trace.figure.yours ? "yours" : []);
    const matrix = h("input", { type: "checkbox", onchange: () => view.set("unfolded", matrix.checked) });
    matrix.checked = view.model.get("unfolded");
    view.on("unfolded", () => { matrix.checked = view.model.get("unfolded"); view.redraw(); });
    view.on("chosen", () => view.redraw());
    view.controls.append(...pairs, ...counts, view.field({ name: "gradient", label: "dL/dy", type: "select", options }),
      h("label", { class: "md-field" }, matrix, "as a matrix (im2col)"));
    view.stage.addEventListener("focusin", ({ target }) => { // before the core reads the label out
      const [name, ...place] = (target.dataset.key || "").split(" ");
      const computed = name && !target.getAttribute("aria-label").includes("not computed");
      if (computed) target.setAttribute("aria-label", about(view, name, place.map(Number)));
    });
  },

  renew(view) {
    view.links = linksOf(view.trace.figure);
    view.fields = new Map();
  },

  open(key, view) {
    const [name, ...place] = key.split(" ");
    const found = view.frame.phase === "backward" && name === "y" ? undefined : frameOf(view, name, place);
    const asked = view.model.get("chosen");
    if (!found || asked) choose(view, !found && asked !== key ? key : "");
    if (found) view.move(() => view.trace.frames.indexOf(found));
    view.enter(key);
  },

  press(event, view) {
    if (event.key === "Escape" && view.model.get("chosen")) return choose(view, ""), true;
    if (event.key.toLowerCase() === "m") return view.set("unfolded", !view.model.get("unfolded")), true;
    return false;
  },

  draw(stage, frame, view, before) {
    if (before && before !== frame && view.model.get("chosen")) view.set("chosen", "");
    const f = view.trace.figure;
    const [chosen, back, place] = [view.model.get("chosen"), frame.phase === "backward", frame.data.at || []];
    const [name, ...where] = chosen ? chosen.split(" ").map((p, k) => (k ? Number(p) : p)) : [back ? "dy" : "y", ...place];
    const arrays = seen(view, frame);
    const shows = Object.keys(LABELS).slice(0, { guess: 2, forward: 3 }[frame.phase]);
    const wide = Math.max(f.size[1] + 2 * f.padding[1], f.out[1], f.kernel[1]);
    const [cell, text] = cellSize(shows.map((one) => f[one]), wide, Math.min(Math.max(stage.clientWidth - 20, 240), 420));
    if (view.cell !== cell || view.text !== text) view.fields.clear();
    Object.assign(view, { cell, text });
    const look = { cell, text, lit: belonging(view, name, where, back), mine: [name, ...where].join(" ") };
    const maps = (one) => {
      if (!shows.includes(one)) return [];
      if (!one.endsWith("w")) return arrays[one].map((rows, c) => field(view, one, [c], rows, look));
      const filters = place.length ? [/w/.test(name) ? where[0] : place[0]] : f.w.map((_, o) => o);
      return filters.flatMap((o) => arrays[one][o].map((rows, c) => field(view, one, [o, c], rows, look)));
    };
    for (const [one, box] of Object.entries(view.boxes)) { // a field that stays must not leave the page
      const nodes = maps(one);
      const same = nodes.length === box.childNodes.length && nodes.every((node, k) => box.childNodes[k] === node);
      if (!same) box.replaceChildren(...nodes);
    }
    view.conv.classList.toggle("md-guess", !place.length);
    if (!stage.contains(view.conv)) stage.replaceChildren(view.conv, view.below);
    const facts = frame.phase === "guess" ? f.sizes.map((size) => `${size} = ?`) : f.facts;
    const says = chosen ? [about(view, name, where)] : frame.lines;
    view.below.replaceChildren(says.length ? h("div", { class: "md-sum" }, says.map((line) => h("div", {}, line))) : "",
      place.length && view.model.get("unfolded") ? unfolded(view, place) : "",
      h("div", { class: "md-facts" }, facts.map((fact) => h("div", {}, fact))),
      h("code", {}, back ? `dL/dx = ${f.call_back}` : `y = ${f.call}`));
  },
});
