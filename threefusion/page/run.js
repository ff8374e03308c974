// The controls of a run's page; viewer.min.js stands before it where there is a mesh.
const find = (id) => document.getElementById(id);
const data = (id) => (find(id) ? JSON.parse(find(id).textContent) : null);
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const short = (value) => (value === 0 ? "0" : Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4))));

const previews = data("previews");
const metrics = data("metrics");
const charts = [];

// Shows a step everywhere: its cursor in the curves, and the last pictures up to there.
function showStep(step) {
  for (const chart of charts) chart.showStep(step);
  if (!previews) return;
  // rows of metrics are numbered from 0, pictures by the steps before them
  const index = Math.max(previews.steps.findLastIndex((at) => at <= step + 1), 0);
  const picture = find("preview");
  picture.src = previews.pictures[index];
  picture.alt = `The scene at step ${previews.steps[index]}`;
  if (!find("slider")) return;
  find("slider").value = index;
  find("slider").setAttribute("aria-valuetext", `step ${previews.steps[index]}`);
  find("step").textContent = `step ${previews.steps[index]}`;
}

function svg(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function addText(parent, tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  parent.append(made);
  return made;
}

function makeChart({ name, steps, values }, stages, [first, last]) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const x = (step) => (last > first ? (100 * (step - first)) / (last - first) : 50);
  const y = (value) => (high > low ? 96 - (92 * (value - low)) / (high - low) : 50);
  const figure = document.createElement("figure");
  figure.className = "curve";
  figure.tabIndex = 0;
  figure.setAttribute("role", "group");
  figure.setAttribute("aria-label", `${name}: from ${short(values[0])} to ${short(values.at(-1))}; arrow keys read it`);
  addText(figure, "b", name);
  const output = addText(figure, "output", short(values.at(-1)));
  const drawing = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": true });
  for (const [, begin] of stages.slice(1)) drawing.append(svg("line", { class: "stage", x1: x(begin), x2: x(begin), y1: 0, y2: 100 }));
  const points = steps.map((step, index) => `${x(step).toFixed(2)} ${y(values[index]).toFixed(2)}`);
  drawing.append(svg("path", { d: `M${points.length > 1 ? points.join("L") : `0 ${y(values[0])}H100`}` }));
  const cursor = svg("line", { y1: 0, y2: 100, visibility: "hidden" });
  drawing.append(cursor);
  figure.append(drawing);
  const range = document.createElement("small");
  addText(range, "span", `${short(low)} … ${short(high)}`);
  addText(range, "span", `step ${first} … ${last}`);
  figure.append(range);
  let at = steps.length - 1;
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    showStep(first + ((last - first) * (event.clientX - box.left)) / box.width);
  });
  figure.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    showStep(steps[Math.min(Math.max(at + move, 0), steps.length - 1)]);
  });
  return {
    figure,
    showStep(step) {
      at = Math.max(steps.findLastIndex((other) => other <= step), 0);
      output.textContent = `${short(values[at])} at ${steps[at]}`;
      for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(steps[at]));
      cursor.setAttribute("visibility", "visible");
    },
  };
}

if (metrics) {
  const steps = metrics.curves.flatMap((curve) => [curve.steps[0], curve.steps.at(-1)]);
  const range = [Math.min(...steps), Math.max(...steps)];
  for (const curve of metrics.curves) charts.push(makeChart(curve, metrics.stages, range));
  find("curves").append(...charts.map((chart) => chart.figure));
}

if (find("slider")) {
  const slider = find("slider");
  const play = find("play");
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  };
  slider.addEventListener("input", () => {
    stop();
    showStep(previews.steps[slider.value]);
  });
  play.addEventListener("click", () => {
    if (timer) return stop();
    play.textContent = "Pause";
    let index = Number(slider.value) === previews.steps.length - 1 ? -1 : Number(slider.value);
    const next = () => {
      index += 1;
      showStep(previews.steps[index]);
      if (index === previews.steps.length - 1) stop();
    };
    timer = setInterval(next, 400);
    next();
  });
}

if (find("turntable") && !calm) find("turntable").play().catch(() => {});

for (const button of document.querySelectorAll(".command button"))
  button.addEventListener("click", async () => {
    const command = button.previousElementSibling;
    getSelection().selectAllChildren(command);
    try {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected";
    }
  });

function filterConfig() {
  const words = find("filter").value.toLowerCase().split(/\s+/);
  const only = find("only-set")?.checked;
  for (const row of find("config").rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = (only && !row.classList.contains("set")) || !words.every((word) => text.includes(word));
  }
}
find("filter").addEventListener("input", filterConfig);
find("only-set")?.addEventListener("change", filterConfig);
filterConfig();

async function showMesh(bytes) {
  const state = find("state");
  try {
    const view = await viewer.show(find("viewer"), bytes);
    state.textContent = "";
    const change = () => view.setMode(find("mode").value, find("wireframe").checked);
    find("mode").addEventListener("change", change);
    find("wireframe").addEventListener("change", change);
    find("reset").addEventListener("click", view.reset);
    change();
    window.meshView = view;
  } catch (error) {
    state.textContent = `The mesh cannot be shown here: ${error.message}`;
  }
}

if (find("mesh")) {
  const text = atob(find("mesh").textContent);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  // after the first paint
  requestAnimationFrame(() => setTimeout(() => showMesh(bytes)));
}
find("choose")?.addEventListener("change", async (event) => showMesh(new Uint8Array(await event.target.files[0].arrayBuffer())));
