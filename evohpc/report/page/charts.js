// Bokeh's charts: embedded, coloured for light or dark, and linked by the column `row` of their sources.
const charts = new Map(); // name of the chart -> its model
const linked = []; // { source, rows, chart }
let isSyncing = false;

// A chart out of sight is painted when it comes into sight: only what is seen has to be quick.
const inSight = new Set(), postponed = new Map();
const sight = new IntersectionObserver((changes) => {
  for (const { target, isIntersecting } of changes) {
    if (!isIntersecting) inSight.delete(target.id);
    else {
      inSight.add(target.id);
      for (const paint of postponed.get(target.id)?.values() ?? []) paint();
      postponed.delete(target.id);
    }
  }
});

function whenSeen(chart, kind, paint) {
  if (inSight.has(chart)) return paint();
  if (!postponed.has(chart)) postponed.set(chart, new Map());
  postponed.get(chart).set(kind, paint); // of two of a kind the last counts
}

async function embedCharts() {
  for (const figure of document.querySelectorAll("figure")) {
    const item = report.figures[figure.id];
    if (!item) {
      figure.replaceChildren(make("p", { class: "none" }, "Nothing to draw yet."));
      continue;
    }
    const views = await Bokeh.embed.embed_item(item, figure.id);
    const view = [...views][0];
    charts.set(figure.id, view.model);
    linkSources(figure.id, view.model);
    sight.observe(figure);
  }
  linkBars("outcomes", (data, i) => ({ round: data.x[i], outcomes: new Set([data.outcome[i]]) }));
  linkBars("temperatures", (data, i) => ({ temperature: data.x[i], outcomes: new Set([data.outcome[i]]) }));
  linkBars("failures", (data, i) => ({ status: data.status[i] }));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  colour(dark.matches);
  dark.addEventListener("change", () => colour(dark.matches));
  addEventListener("beforeprint", () => colour(false));
  addEventListener("afterprint", () => colour(dark.matches));
}

// A legend names only what is there: Bokeh draws no sign for what has no data.
function nameWhatIsThere(chart) {
  for (const legend of charts.get(chart)?.above ?? [])
    for (const item of legend.items ?? [])
      item.visible = item.renderers.some(({ data_source }) => data_source.get_length() > 0);
}

const sourceNamed = (chart, name) => charts.get(chart)?.document.get_model_by_name(name);

function linkSources(name, chart) {
  for (const renderer of chart.renderers) {
    const source = renderer.data_source;
    if (!source?.tags.includes("candidates")) continue;
    linked.push({ source, rows: Array.from(source.data.row), chart: name });
    source.selected.properties.indices.change.connect(() => isSyncing || later(() => chosenIn(name)));
  }
}

let isWaiting = false;
function later(action) { // a lasso changes the sources of a chart one after the other
  if (isWaiting) return;
  isWaiting = true;
  setTimeout(() => { isWaiting = false; action(); }, 0);
}

function chosenIn(chart) {
  const rows = linked.filter((one) => one.chart === chart).flatMap(({ source, rows }) => source.selected.indices.map((i) => rows[i]));
  if (chart === "lineage") {
    if (rows.length) lightLineage(rows[0]), showCandidate(rows[0], false);
  } else if (rows.length === 1) {
    sync(isFiltered() ? passing() : null);
    showCandidate(rows[0], true);
  } else choose({ rows: rows.length ? new Set(rows) : null });
}

function sync(rows) { // null: nothing is dimmed
  const wanted = rows && new Set(rows);
  for (const one of linked) whenSeen(one.chart, `selection of ${one.source.id}`, () => dim(one, wanted));
}

function dim({ source, rows }, wanted) {
  const indices = [];
  if (wanted) rows.forEach((row, i) => wanted.has(row) && indices.push(i));
  if (!indices.length && !source.selected.indices.length) return;
  isSyncing = true;
  source.selected.indices = indices;
  isSyncing = false;
}

function linkBars(chart, filter) {
  const source = sourceNamed(chart, `${chart}_source`);
  source?.selected.properties.indices.change.connect(() => {
    const [first] = source.selected.indices;
    if (isSyncing || first === undefined) return;
    choose({ status: "", round: "", temperature: "", outcomes: null, ...filter(source.data, first) });
    isSyncing = true;
    source.selected.indices = [];
    isSyncing = false;
    find("table").scrollIntoView();
  });
}

// Counts the bars anew for what was drawn around in a chart.
function recount() {
  const all = report.candidates;
  const counts = new Map();
  for (let row = 0; row < all.id.length; row++) {
    if (all.round[row] < 0 || (chosen.rows && !chosen.rows.has(row))) continue;
    for (const key of [`outcomes/${all.round[row]}/${all.outcome[row]}`, `temperatures/${all.temperature[row]}/${all.outcome[row]}`, `failures/${all.status[row]}`])
      counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const count = (...key) => counts.get(key.join("/")) ?? 0;
  for (const chart of ["outcomes", "temperatures"])
    whenSeen(chart, "count", () => restack(chart, (x, outcome) => count(chart, x, outcome)));
  whenSeen("failures", "count", () => {
    const source = sourceNamed("failures", "failures_source");
    if (source) source.data = { ...source.data, count: Array.from(source.data.status, (status) => count("failures", status)) };
  });
}

function restack(chart, count) {
  const source = sourceNamed(chart, `${chart}_source`);
  if (!source) return;
  const { x, outcome } = source.data;
  const counted = Array.from(x, (value, i) => count(value, outcome[i]));
  const whole = {};
  counted.forEach((n, i) => (whole[x[i]] = (whole[x[i]] ?? 0) + n));
  const ends = {};
  const bottom = [], top = [];
  counted.forEach((n, i) => {
    bottom.push(ends[x[i]] ?? 0);
    ends[x[i]] = bottom[i] + (chart === "temperatures" ? n / Math.max(whole[x[i]], 1) : n);
    top.push(ends[x[i]]);
  });
  source.data = { ...source.data, count: counted, bottom, top };
}

function colour(isDark) {
  const ink = isDark ? "#e6e9ec" : "#1b1f24", soft = isDark ? "#6b7681" : "#8c959f", line = isDark ? "#363d45" : "#d8dee4";
  for (const chart of charts.values()) {
    for (const part of [...chart.left, ...chart.below, ...chart.right, ...chart.above, ...chart.center]) {
      if ("axis_label_text_color" in part) {
        part.setv({ axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: soft, major_tick_line_color: soft });
      } else if ("grid_line_color" in part && part.grid_line_color !== null) part.grid_line_color = line;
      else if ("label_text_color" in part) part.label_text_color = ink;
      else if ("title_text_color" in part) part.setv({ title_text_color: ink, major_label_text_color: ink });
    }
  }
}
