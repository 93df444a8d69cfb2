let report = null, sources = null;

function drawTiles() {
  find("subtitle").textContent = visible(report.subtitle);
  find("footer").textContent = visible(report.footer);
  find("tiles").append(...report.tiles.map(([name, value, more]) => make("div", {}, make("dt", {}, name), make("dd", {}, value, make("small", {}, more)))));
  const headings = [...document.querySelectorAll("section > h2")];
  document.querySelector("nav").append(...headings.map((h2) => make("a", { href: `#${h2.parentNode.id}` }, h2.firstChild.textContent.trim())));
}

function drawRounds() {
  const names = report.outcomes.filter((name) => report.rounds.some((row) => row[name.replaceAll(" ", "_")]));
  fillTable(find("rounds"), [
    ["round", "number", (row) => roundName(row.round)],
    ...names.map((name) => [name, "number", (row) => whole(row[name.replaceAll(" ", "_")])]),
    ...(report.rounds.some((row) => row.late) ? [
      ["late", "number", (row) => whole(row.late)],
      ["late, entered here", "number", (row) => whole(row.late_entered)],
    ] : []),
    ["valid novel", "number", (row) => percent(row.valid_novel)],
    ["95 % interval", "number", (row) => (row.valid_novel === null ? "" : `${percent(row.valid_novel_low)} to ${percent(row.valid_novel_high)}`)],
    ["best fitness", "number", (row) => number(row.best_fitness)],
    ["best", "", (row) => row.best ?? ""],
    ["evaluation time", "number", (row) => duration(row.evaluation_hours)],
  ], report.rounds);
}

function drawProvenance() {
  find("provenance-body").append(
    facts(report.provenance),
    make("details", {}, make("summary", {}, "Resolved config"), make("pre", { tabindex: 0 }, report.config)),
  );
}

async function start() {
  report = await unpack("data");
  sources = await unpack("sources");
  index(sources);
  drawTiles();
  drawRounds();
  drawParents();
  drawProvenance();
  buildFilters();
  buildChooser();
  let wasDrawnAround = null;
  filterListeners.push(() => {
    const rows = passing();
    refreshTable(rows);
    sync(isFiltered() ? rows : null);
    if (chosen.rows !== wasDrawnAround) recount();
    wasDrawnAround = chosen.rows;
  });
  refreshTable(passing());
  await embedCharts();
  const first = report.candidates.best ?? 0;
  if (report.candidates.id.length) {
    await showCandidate(first, false);
    lightLineage(first);
  }
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  find("fault").hidden = false;
  find("fault").textContent = `This report could not be drawn: ${error}. Open it in a browser of 2023 or later.`;
  throw error;
});
