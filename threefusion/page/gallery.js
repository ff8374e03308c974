// Sorts, filters and compares the runs of a gallery.
const find = (id) => document.getElementById(id);
const { runs, shared, scores } = JSON.parse(find("data").textContent);
const setting = (run, key) => run.settings[key] ?? shared[key];
const FIRST = ["text_image.r_precision", "truth.silhouette_iou", "truth.albedo_error", "cost.seconds"].filter((name) => name in scores);

function add(parent, tag, content = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = content;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

function addPicture(parent, run) {
  if (run.picture) add(parent, "img", "", { src: run.picture, alt: `${run.prompt}, seed ${run.seed}, from four sides`, decoding: "async" });
  else add(parent, "div", "no picture", { class: "none" });
}

const about = (run) => `${run.name} · seed ${run.seed} · ${run.when}`;

function makeCard(run) {
  const card = document.createElement("article");
  card.className = "card";
  card.dataset.run = run.folder;
  addPicture(card, run);
  const heading = add(card, "h2");
  if (run.link) add(heading, "a", run.prompt || run.folder, { href: run.link });
  else heading.textContent = run.prompt || run.folder;
  const line = add(card, "p");
  if (run.state !== "finished") add(line, "span", run.state, { class: `state ${run.state}` });
  line.append(` ${about(run)}`);
  run.numbers = add(card, "p", "", { class: "numbers" });
  for (const warning of run.warnings) add(card, "p", warning, { class: "warned" });
  const footer = add(card, "footer");
  const label = add(footer, "label");
  run.box = add(label, "input", "", { type: "checkbox" });
  label.append(" Compare");
  run.box.addEventListener("change", () => choose(run));
  add(footer, "span", run.folder, { class: "soft" });
  return card;
}

function showNumbers(run, sorted) {
  run.numbers.replaceChildren();
  for (const name of new Set([...(sorted in scores ? [sorted] : []), ...FIRST])) {
    const shown = add(run.numbers, "span", "", { title: scores[name].text, class: name === sorted ? "sorted" : "" });
    add(shown, "span", scores[name].title, { class: "soft" });
    add(shown, "b", run.scores[name]?.[1] ?? "–");
  }
}

let reversed = false;

// The better, the newer and the first of the alphabet come first; runs without the score last, in either direction.
function order(name) {
  const value = (run) => (name in scores ? run.scores[name]?.[0] : run[name]);
  const sign = (name === "begun" || (name in scores && scores[name].better >= 0) ? -1 : 1) * (reversed ? -1 : 1);
  return (a, b) => {
    const [first, second] = [value(a), value(b)];
    if (first === undefined || second === undefined) return (first === undefined) - (second === undefined);
    return sign * (typeof first === "number" && typeof second === "number" ? first - second : String(first).localeCompare(String(second)));
  };
}

// A word is looked up in the prompt, the config's name and the folder; `key=value` in the settings whose path ends with the key.
function matches(run, word) {
  const [key, value] = word.split("=");
  if (value === undefined) return [run.prompt, run.name, run.folder, run.state].some((text) => text.toLowerCase().includes(word));
  return Object.entries({ ...shared, ...run.settings }).some(([path, text]) => `.${path}`.toLowerCase().endsWith(`.${key}`) && text.toLowerCase() === value);
}

function update() {
  const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [sort, key, wanted] = [find("sort").value, find("key").value, find("value").value];
  find("direction").textContent = reversed ? "↑" : "↓";
  runs.sort(order(sort));
  let shown = 0;
  for (const run of runs) {
    run.card.hidden = !words.every((word) => matches(run, word)) || (key !== "" && (setting(run, key) ?? "–") !== wanted);
    shown += !run.card.hidden;
    showNumbers(run, sort);
  }
  find("cards").append(...runs.map((run) => run.card));
  find("count").textContent = `${shown === runs.length ? "" : `${shown} of `}${runs.length} runs. Tick two of them to compare them.`;
}

function offerValues() {
  const key = find("key").value;
  const values = key === "" ? [] : [...new Set(runs.map((run) => setting(run, key) ?? "–"))];
  values.sort((a, b) => a - b || a.localeCompare(b));
  find("value").replaceChildren();
  for (const value of values) add(find("value"), "option", value, { value });
  find("value").disabled = values.length === 0;
  update();
}

let chosen = [];

function choose(run) {
  chosen = chosen.filter((other) => other !== run);
  if (run.box.checked) chosen.push(run);
  for (const other of chosen.splice(0, chosen.length - 2)) other.box.checked = false;
  showComparison();
}

function addRow(table, tag, cells) {
  const row = table.insertRow();
  return cells.map((text) => add(row, tag, text));
}

function compareScores(panel, first, second) {
  const names = Object.keys(scores).filter((name) => name in first.scores || name in second.scores);
  const differing = names.filter((name) => first.scores[name]?.[1] !== second.scores[name]?.[1]);
  add(panel, "h3", "Scores that differ");
  if (names.length > differing.length) add(panel, "p", `${names.length - differing.length} scores are the same.`);
  if (!differing.length) return;
  const table = add(add(panel, "div", "", { class: "wide", tabindex: 0 }), "table");
  addRow(table, "th", ["", "first", "second", "difference"]);
  for (const name of differing) {
    const [a, b] = [first.scores[name], second.scores[name]];
    const difference = typeof a?.[0] === "number" && typeof b?.[0] === "number" ? b[0] - a[0] : NaN;
    const [scale, unit] = name.endsWith("_bytes") ? [1e6, " MB"] : [1, ""];
    const amount = Number((difference / scale).toPrecision(3));
    const text = Number.isNaN(difference) ? "" : `${difference > 0 ? "+" : ""}${amount}${unit}`.replace("-", "−");
    const cells = addRow(table, "td", [`${scores[name].section}: ${scores[name].title}`, a?.[1] ?? "–", b?.[1] ?? "–", text]);
    cells[0].title = scores[name].text;
    const sign = difference * scores[name].better;
    if (sign) cells[sign > 0 ? 2 : 1].className = "better";
  }
}

function compareSettings(panel, first, second) {
  const keys = [...new Set([...Object.keys(first.settings), ...Object.keys(second.settings)])];
  const differing = keys.filter((key) => setting(first, key) !== setting(second, key));
  add(panel, "h3", "Settings that differ");
  if (!differing.length) return add(panel, "p", "none");
  const table = add(add(panel, "div", "", { class: "wide", tabindex: 0 }), "table", "", { class: "settings" });
  addRow(table, "th", ["", "first", "second"]);
  for (const key of differing) addRow(table, "td", [key, setting(first, key) ?? "–", setting(second, key) ?? "–"]);
}

function showComparison() {
  const panel = find("compare");
  panel.hidden = chosen.length < 2;
  panel.replaceChildren();
  if (panel.hidden) return;
  const pictures = add(panel, "div", "", { class: "pictures" });
  for (const [index, run] of chosen.entries()) {
    const figure = add(pictures, "figure");
    addPicture(figure, run);
    const caption = add(figure, "figcaption", `${index ? "second" : "first"}: ${run.prompt}, ${about(run)}, `);
    if (run.link) add(caption, "a", run.folder, { href: run.link });
    else caption.append(run.folder);
  }
  const tables = add(panel, "div", "", { class: "pictures" });
  compareScores(add(tables, "div"), ...chosen);
  compareSettings(add(tables, "div"), ...chosen);
  const close = add(panel, "button", "Close the comparison", { type: "button" });
  close.addEventListener("click", () => {
    const [first] = chosen;
    for (const run of chosen) run.box.checked = false;
    chosen = [];
    showComparison();
    first.box.focus();
  });
  panel.scrollIntoView({ block: "nearest" });
}

for (const run of runs) run.card = makeCard(run);
find("search").addEventListener("input", update);
find("sort").addEventListener("change", update);
find("value").addEventListener("change", update);
find("key").addEventListener("change", offerValues);
find("direction").addEventListener("click", () => {
  reversed = !reversed;
  update();
});
update();
