"use strict";
// The heat maps are in the page; this adds the picker, the details panel and the table of all cells. Text goes in as
// text only, never as HTML. A large board has no data: then only the picker works.

const data = JSON.parse(document.getElementById("data").textContent);
const panel = document.getElementById("panel");
const body = document.getElementById("panel-body");

// --- the data: what many cells share is written once, and referred to by its number ---

function unpackedEntry(entry, exact) {
  const [repetition, state, said, stages, times, traceback, id] = entry;
  const seconds = times ? times.split(" ") : [];
  return {
    id: id || `${exact}/r${repetition}`,
    state: data.states[state],
    said: data.said[said],
    seconds: data.stages[stages].map((stage, i) => [stage, seconds[i]]),
    traceback: traceback || "",
  };
}

function unpackedConfusion(text) {
  if (!text) return [];
  const counts = text.split(",").map(Number);
  const classes = Math.round(Math.sqrt(counts.length));
  return Array.from({ length: classes }, (_, i) => counts.slice(i * classes, (i + 1) * classes));
}

function unpacked(cell) {
  const place = data.places[cell.p];
  const [attack, attackShown] = data.attacks[cell.a];
  const [defence, defenceShown] = data.defences[cell.d];
  const exact = [...place, attack, defence].join("/");
  const metrics = data.layouts[cell.l].map((name, i) => [name, cell.m[i], cell.n && cell.n[i] ? cell.n[i].split(" ") : [cell.m[i]]]);
  return {
    exact, place, attack: attackShown, defence: defenceShown, metrics,
    result: cell.r,
    threat: data.threats[cell.t].slice(1),
    entries: cell.e.map((entry) => unpackedEntry(entry, exact)),
    warnings: cell.w.map((index) => data.warnings[index]),
    compared: (cell.x || []).map(([contrast, mean, ...ends]) => [...data.contrasts[contrast], mean, ends]),
    confusion: unpackedConfusion(cell.c),
    provenance: cell.v.map((index) => data.provenances[index]),
  };
}

function make(tag, options, ...children) {
  const element = document.createElement(tag);
  const { text, ...attributes } = options || {};
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

function table(heads, rows, right = []) {
  const cell = (tag, value, i) => {
    const made = make(tag, { ...(right.includes(i) && { class: "right" }), ...(tag === "th" && { scope: "col" }) });
    made.append(value);
    return made;
  };
  const head = make("tr", {}, ...heads.map((value, i) => cell("th", value, i)));
  const lines = rows.map((row) => make("tr", {}, ...row.map((value, i) => cell("td", value, i))));
  const made = make("table", { class: "plain" }, make("thead", {}, head), make("tbody", {}, ...lines));
  return make("div", { class: "wrap" }, made);
}

const heading = (text) => make("h3", { text });

// --- the details panel ---

const first = ["clean-accuracy", "robust-accuracy", "asr", "accuracy-drop"];
const rank = ([name]) => (first.includes(name) ? first.indexOf(name) : first.length);

function metricRows(cell) {
  return [...cell.metrics].sort((a, b) => rank(a) - rank(b)).map(([name, spread, values]) => {
    const [, direction, unit] = data.metrics[name] || ["", "", ""];
    const better = { higher: "higher is better", lower: "lower is better" }[direction] || "";
    const label = make("span", { text: name + (unit ? ` (${unit})` : "") });
    return [label, spread, values.join("\u2002"), make("span", { class: "better", text: better })];
  });
}

function comparedRows(cell) {
  const minus = (text) => text.replace("-", "−");
  return cell.compared.map(([metric, against, mean, ends]) => {
    const sign = against && !mean.startsWith("-") ? "+" : "";
    const interval = ends.length ? `${minus(ends[0])} to ${minus(ends[1])}` : "one repetition: not known";
    return [metric, against || "–", sign + minus(mean), interval];
  });
}

function definitions(cell) {
  const list = make("dl", { class: "definitions" });
  for (const [name] of [...cell.metrics].sort((a, b) => rank(a) - rank(b))) {
    const [definition] = data.metrics[name] || [""];
    if (definition) list.append(make("dt", { text: name }), make("dd", { text: definition }));
  }
  return list.children.length ? [make("details", {}, make("summary", { text: "What these mean" }), list)] : [];
}

function entryRows(cell) {
  return cell.entries.map((entry) => {
    const why = make("span", { text: entry.state });
    for (const said of entry.said) why.append(make("small", { text: said }));
    return [why, entry.id];
  });
}

function secondsTable(cell) {
  const stages = [...new Set(cell.entries.flatMap((entry) => entry.seconds.map(([stage]) => stage)))];
  const runs = cell.entries.filter((entry) => entry.seconds.length);
  const rows = stages.map((stage) => [stage, ...runs.map((entry) => new Map(entry.seconds).get(stage) || "")]);
  const heads = ["stage", ...runs.map((entry) => entry.id.slice(entry.id.lastIndexOf("/") + 1))];
  return table(heads, rows, runs.map((_, i) => i + 1));
}

function confusionTable(matrix) {
  const most = Math.max(1, ...matrix.flat());
  const head = make("tr", {}, make("td", { class: "corner" }), ...matrix.map((_, i) => make("th", { scope: "col", text: i })));
  const lines = matrix.map((row, i) => {
    const cells = row.map((count, j) => {
      const share = Math.round((100 * count) / most);
      const made = make("td", { text: count || "", style: `--t:${share}%` });
      if (i !== j) made.className = "wrong";
      return made;
    });
    return make("tr", {}, make("th", { scope: "row", text: i }), ...cells);
  });
  return make("div", { class: "wrap" }, make("table", { class: "confusion", "aria-label": "Confusion matrix" }, head, ...lines));
}

function fill(packed) {
  const cell = unpacked(packed);
  const title = make("h2", { id: "panel-title", text: `${cell.attack} × ${cell.defence}` });
  const close = make("button", { type: "button", class: "close", text: "Close" });
  close.addEventListener("click", () => panel.close());
  const words = make("div", {}, title, make("p", { text: cell.place.join(" · ") }));
  body.replaceChildren(make("div", { class: "panel-head" }, words, close));
  const bare = /^\d/.test(cell.result) && cell.compared.length; // of a single number, say what it is
  const told = bare ? `${cell.compared[0][0].replace("-", " ")} ${cell.result} %` : cell.result;
  body.append(make("p", { class: "result", text: told }));
  if (cell.threat.length) {
    const chips = cell.threat.map(([name, value]) => make("li", { text: `${name.replaceAll("_", " ")}: ${value}` }));
    body.append(make("ul", { class: "chips" }, ...chips));
  }
  if (cell.warnings.length) {
    const list = cell.warnings.map(([id, message]) => make("li", {}, make("b", { text: id }), `: ${message}`));
    body.append(heading("Warnings"), make("ul", { class: "warnings" }, ...list));
  }
  if (cell.compared.length) {
    body.append(heading("How much, and how sure"));
    body.append(table(["number", "compared with", "points", "95 % interval"], comparedRows(cell), [2, 3]));
    body.append(make("p", { class: "where", text: "Differences are paired: the same seeds without the defence, or without the attack. Intervals: Student's t over repetitions; of trials, and of the images of one repetition, Wilson's." }));
  }
  if (cell.metrics.length) {
    const heads = ["metric", "mean ± std", "each repetition", "for the defender"];
    body.append(heading("Metrics"), table(heads, metricRows(cell), [1, 2]), ...definitions(cell));
  }
  const pictures = document.querySelectorAll(`.gallery [data-of="${data.cells.indexOf(packed)}"]`);
  for (const found of pictures) {
    const copy = found.cloneNode(true);
    copy.className = "panel-picture";
    const about = copy.querySelector("img");
    body.append(heading("Pictures"), copy);
    if (about) body.append(make("p", { class: "where", text: about.title }));
  }
  body.append(heading("Repetitions"), table(["state", "cell"], entryRows(cell)));
  for (const entry of cell.entries.filter((found) => found.traceback)) {
    const summary = make("summary", { text: `Traceback of ${entry.id}` });
    body.append(make("details", {}, summary, make("pre", { text: entry.traceback })));
  }
  if (cell.confusion.length) {
    body.append(heading("Confusion matrix"));
    body.append(make("p", { class: "where", text: "Rows: true class; columns: predicted, on the attacked inputs; all repetitions." }));
    body.append(confusionTable(cell.confusion));
  }
  if (cell.entries.some((entry) => entry.seconds.length)) {
    body.append(heading("Seconds per stage"), secondsTable(cell));
    body.append(make("p", { class: "where", text: "Stages shared with other cells are counted in each." }));
  }
  for (const found of cell.provenance) {
    const facts = found.map(([name, value]) =>
      make("div", {}, make("dt", { text: name }), make("dd", { text: value })));
    body.append(heading("Provenance"), make("dl", { class: "facts" }, ...facts));
  }
  if (cell.provenance.length) {
    const quoted = `'${cell.exact.replaceAll("'", "'\\''")}'`;
    body.append(make("p", { class: "where", text: "Computed again, and compared, in the board's folder:" }));
    body.append(make("pre", { class: "command", text: `sparring verify . --only ${quoted}` }));
  }
}

// --- the view is in the address, so that it can be shared ---

const view = new URLSearchParams(/^#\d+$/.test(location.hash) ? `table=${location.hash.slice(1)}` : location.hash.slice(1));

function remember(name, value) {
  if (value === "") view.delete(name); else view.set(name, value);
  const told = view.toString();
  history.replaceState(null, "", told ? `#${told}` : location.pathname + location.search);
}

function open(index) {
  fill(data.cells[index]);
  panel.showModal();
  panel.scrollTop = 0;
  remember("cell", unpacked(data.cells[index]).exact);
}

panel.addEventListener("close", () => remember("cell", ""));

document.addEventListener("click", (event) => {
  const chosen = event.target.closest("[data-cell]");
  if (chosen && data) {
    open(Number(chosen.dataset.cell));
  } else if (event.target === panel) {
    panel.close(); // a click beside the panel
  }
});

// An address that was typed or pasted into this very tab is another view; what `remember` writes is not heard here.
window.addEventListener("hashchange", () => location.reload());

// --- the address holds the view, so a link within the page only scrolls ---

document.getElementById("to-notes")?.addEventListener("click", (event) => {
  event.preventDefault();
  const warnings = document.getElementById("warnings");
  warnings.open = true;
  warnings.scrollIntoView();
  warnings.querySelector("summary").focus();
});

// --- the Tab key stops once in each table; from there, arrow keys go from cell to cell ---

function stop(at) {
  for (const other of at.closest("table").querySelectorAll('[data-cell][tabindex="0"]')) other.tabIndex = -1;
  at.tabIndex = 0;
}

for (const heat of document.querySelectorAll(".heat")) {
  const cells = heat.querySelectorAll("[data-cell]");
  cells.forEach((cell, i) => { cell.tabIndex = i ? -1 : 0; });
}

document.addEventListener("focusin", (event) => {
  const cell = event.target.closest("table [data-cell]");
  if (cell) stop(cell);
});

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Home: [-1e9, 0], End: [1e9, 0] };

document.addEventListener("keydown", (event) => {
  const from = event.target.closest("table [data-cell]");
  const step = STEPS[event.key];
  if (!from || !step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const row = from.closest("tr");
  const rows = [...row.parentElement.rows];
  const middle = (cell) => { const box = cell.getBoundingClientRect(); return (box.left + box.right) / 2; };
  let next = rows.indexOf(row) + step[1];
  while (rows[next]?.hidden) next += step[1];
  const cells = [...rows[next]?.querySelectorAll("[data-cell]") || []];
  const to = step[0]
    ? cells[Math.min(Math.max(cells.indexOf(from) + step[0], 0), cells.length - 1)]
    : cells.sort((a, b) => Math.abs(middle(a) - middle(from)) - Math.abs(middle(b) - middle(from)))[0];
  if (!to || to === from) return; // the page scrolls on
  event.preventDefault();
  to.focus();
});

// --- tables wider than the page fade out where they go on ---

const scrolls = [...document.querySelectorAll(".scroll")];

function hint() {
  for (const box of scrolls) box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
}

for (const box of scrolls) box.addEventListener("scroll", hint, { passive: true });
window.addEventListener("resize", hint);

// --- on paper, nothing is folded away ---

const opened = [];

window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("main details:not([open]), footer details:not([open])")) {
    part.open = true;
    opened.push(part);
  }
});

window.addEventListener("afterprint", () => {
  for (const part of opened.splice(0)) part.open = false;
});

// --- one heat map at a time ---

const grids = [...document.querySelectorAll(".grid")];
const picker = document.getElementById("picker");

function pick(index) {
  grids.forEach((grid, i) => { grid.style.display = i === index ? "" : "none"; });
  picker.querySelectorAll("button").forEach((button, i) => button.setAttribute("aria-pressed", String(i === index)));
  picker.querySelectorAll("select").forEach((select) => { select.value = String(index); });
  remember("table", index ? String(index + 1) : "");
  hint();
}

if (grids.length > 1) {
  const titles = grids.map((grid) => grid.querySelector("h3").textContent);
  if (grids.length <= 8) {
    titles.forEach((text, i) => {
      const button = make("button", { type: "button", text });
      button.addEventListener("click", () => pick(i));
      picker.append(button);
    });
  } else {
    const select = make("select", { "aria-label": "Data set and victim" });
    titles.forEach((text, i) => select.append(make("option", { value: i, text })));
    select.addEventListener("change", () => pick(Number(select.value)));
    picker.append(select);
  }
  picker.hidden = false;
  document.documentElement.classList.add("picked");
  const wanted = Number(view.get("table")) || 1;
  pick(Math.min(Math.max(wanted, 1), grids.length) - 1);
}

// --- all cells: sorting and filtering ---

const long = document.getElementById("long");
const order = new Intl.Collator("en", { numeric: true });
const words = document.getElementById("words");
const state = document.getElementById("state");
const metric = document.getElementById("metric");
const choices = [...document.querySelectorAll("#filter [data-column]")];
const METRIC = 8; // column of the number that is asked for
const lines = data ? data.cells.map(line) : [];
const texts = lines.map((row) => row.textContent.toLowerCase());

function line(cell, index) {
  const names = data.layouts[cell.l];
  const numbers = ["clean-accuracy", "robust-accuracy", "asr"].map((name) => cell.m[names.indexOf(name)] || "");
  const states = [...new Set(cell.e.map((entry) => entry[1]))].sort((a, b) => a - b).map((i) => data.states[i]);
  const scored = cell.e.filter((entry) => data.states[entry[1]] === "scored").length;
  const attack = make("button", { type: "button", class: "link", tabindex: -1, "data-cell": index, text: data.attacks[cell.a][1] });
  const row = make("tr", { "data-states": states.join(",") });
  for (const text of data.places[cell.p]) row.append(make("td", { text }));
  row.append(make("td", {}, attack), make("td", { text: data.threats[cell.t][0] }), make("td", { text: data.defences[cell.d][1] }));
  for (const text of numbers) row.append(make("td", { class: "right", "data-key": text ? parseFloat(text) : -1, text }));
  row.append(make("td", { class: "right", "data-key": -1 }));
  row.append(make("td", { class: "right", "data-key": scored, text: `${scored} / ${cell.e.length}` }));
  row.append(make("td", { text: states.join(", ") }));
  return row;
}

function sortBy(column, header) {
  const down = header.getAttribute("aria-sort") === "ascending";
  remember("sort", `${down ? "-" : ""}${column + 1}`);
  for (const other of long.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent;
  const numeric = lines.length > 0 && lines[0].cells[column].dataset.key !== undefined;
  const compare = numeric ? (a, b) => key(a) - key(b) : (a, b) => order.compare(key(a), key(b));
  long.tBodies[0].append(...[...lines].sort((a, b) => (down ? -compare(a, b) : compare(a, b))));
  stopAtFirst();
}

function stopAtFirst() {
  const first = [...long.tBodies[0].rows].find((row) => !row.hidden);
  if (first) stop(first.querySelector("[data-cell]"));
}

function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const narrowed = choices.filter((choice) => choice.value).map((choice) => [Number(choice.dataset.column), choice.value]);
  let count = 0;
  lines.forEach((row, i) => {
    const fits = (!state.value || row.dataset.states.split(",").includes(state.value)) &&
      narrowed.every(([column, value]) => row.cells[column].textContent === value);
    row.hidden = !(fits && wanted.every((word) => texts[i].includes(word)));
    count += row.hidden ? 0 : 1;
  });
  document.getElementById("shown").textContent = `${count} of ${lines.length} cells`;
  stopAtFirst();
  remember("filter", words.value.trim());
  remember("state", state.value);
  for (const choice of choices) remember(choice.dataset.name, choice.value);
}

// The number that was asked for, in a column of its own; it sorts as it reads.
function showMetric() {
  const shown = data.cells.map((cell) => cell.m[data.layouts[cell.l].indexOf(metric.value)] || "");
  lines.forEach((row, i) => {
    row.cells[METRIC].textContent = shown[i];
    row.cells[METRIC].dataset.key = shown[i] ? parseFloat(shown[i]) : -1;
  });
  long.tHead.rows[0].cells[METRIC].querySelector("button").textContent = metric.value || "metric";
  long.classList.toggle("no-metric", !metric.value);
  remember("metric", metric.value);
}

if (long) {
  [...long.tHead.rows[0].cells].forEach((header, i) => {
    const button = make("button", { type: "button", text: header.textContent });
    button.addEventListener("click", () => sortBy(i, header));
    header.replaceChildren(button);
  });
  long.tBodies[0].append(...lines);
  long.hidden = false;
  document.getElementById("filter").hidden = false;
  document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
  words.addEventListener("input", filter);
  state.addEventListener("change", filter);
  for (const choice of choices) {
    choice.closest("label").hidden = choice.options.length < 3; // any, and one value
    choice.addEventListener("change", filter);
    choice.value = view.get(choice.dataset.name) || "";
    if (choice.selectedIndex < 0) choice.value = "";
  }
  metric.addEventListener("change", showMetric);
  metric.value = view.get("metric") || "";
  if (metric.selectedIndex < 0) metric.value = "";
  showMetric();
  words.value = view.get("filter") || "";
  state.value = view.get("state") || "";
  if (state.selectedIndex < 0) state.value = "";
  filter();
  const sorted = Number(view.get("sort")) || 0;
  const header = long.tHead.rows[0].cells[Math.abs(sorted) - 1];
  for (let turn = 0; header && turn < (sorted < 0 ? 2 : 1); turn += 1) sortBy(Math.abs(sorted) - 1, header);
}
if (data && view.get("cell")) {
  const found = data.cells.findIndex((cell) => unpacked(cell).exact === view.get("cell"));
  if (found >= 0) open(found);
}
hint();
