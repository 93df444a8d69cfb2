let report = null;

const interval = (row, name) =>
  row[`${name}_low`] === null ? number(row[name]) : `${fixed(row[name])} [${fixed(row[`${name}_low`])}, ${fixed(row[`${name}_high`])}]`;
const mean = (row, name) => interval(row, name) + (row[`${name}_runs`] === row.runs ? "" : ` (${row[`${name}_runs`]} of ${row.runs})`);

function drawGroups() {
  const reached = (row) => (row.reached_target === null ? "" : `${row.reached_target} of ${row.runs}`);
  fillTable(find("groups"), [
    ["group", "", (row) => row.group],
    ["runs", "number", (row) => whole(row.runs)],
    ["unfinished", "number", (row) => whole(row.unfinished)],
    ["best fitness", "number", (row) => mean(row, "best_fitness")],
    ["at equal evaluations", "number", (row) => mean(row, "best_at_equal_evaluations")],
    ["at equal hours", "number", (row) => mean(row, "best_at_equal_hours")],
    ...(report.target === null ? [] : [
      ["reached the target", "number", reached],
      ["median evaluations to it", "number", (row) => whole(row.median_evaluations_to_target)],
      ["median hours to it", "number", (row) => number(row.median_hours_to_target, 3)],
    ]),
  ], report.groups);
}

function drawRuns() {
  fillTable(find("runs"), [
    ["run", "", (row) => row.run],
    ["group", "", (row) => row.group],
    ["seed", "number", (row) => (row.seed === null ? "" : String(row.seed))],
    ["finished", "", (row) => (row.is_over ? "yes" : "no")],
    ["evaluations", "number", (row) => whole(row.evaluations)],
    ["evaluation time", "number", (row) => duration(row.hours)],
    ...(report.runs.some((row) => row.late) ? [
      ["late", "number", (row) => whole(row.late)],
      ["entered later", "number", (row) => whole(row.late_entered)],
    ] : []),
    ["best fitness", "number", (row) => fixed(row.best_fitness)],
    [`at ${whole(report.runs[0].equal_evaluations)} evaluations`, "number", (row) => fixed(row.best_at_equal_evaluations)],
    [`at ${duration(report.runs[0].equal_hours)}`, "number", (row) => fixed(row.best_at_equal_hours)],
  ], report.runs);
}

function drawPairs() {
  if (!report.pairs.length) return find("pairs").replaceWith(make("p", { class: "none" }, "There is one group only; make several with --by."));
  fillTable(find("pairs"), [
    ["first", "", (row) => row.first],
    ["second", "", (row) => row.second],
    ["pairs", "number", (row) => whole(row.pairs)],
    ["difference", "number", (row) => interval(row, "difference")],
    ["first is fitter", "number", (row) => `${row.first_is_fitter} of ${row.pairs}`],
    ["p of all their runs", "number", (row) => number(row.p, 3)],
  ], report.pairs);
}

async function start() {
  report = await unpack("data");
  find("subtitle").textContent = visible(report.subtitle);
  find("footer").textContent = visible(report.footer);
  find("tiles").remove();
  const headings = [...document.querySelectorAll("section > h2")];
  document.querySelector("nav").append(...headings.map((h2) => make("a", { href: `#${h2.parentNode.id}` }, h2.textContent)));
  document.querySelector(".skip").href = "#runs";
  drawGroups();
  drawRuns();
  drawPairs();
  find("broken").append(report.broken.length ? facts(report.broken) : make("p", { class: "none" }, "Every run could be read."));
  await embedCharts();
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  find("fault").hidden = false;
  find("fault").textContent = `This comparison could not be drawn: ${error}. Open it in a browser of 2023 or later.`;
  throw error;
});
