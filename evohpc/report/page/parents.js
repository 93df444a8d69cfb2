// What came of the children of each parent.
const MOST_PARENTS = 20;

function byParent() {
  const all = report.candidates;
  const found = new Map();
  all.parents.forEach((parents, row) => {
    for (const parent of parents) {
      if (!found.has(parent)) found.set(parent, { parent, rows: [], novel: 0, settled: 0, fitter: 0, best: null });
      const one = found.get(parent);
      one.rows.push(row);
      if (!report.unsettled.includes(all.outcome[row])) one.settled++;
      if (report.valid_novel.includes(all.outcome[row])) one.novel++;
      if (!all.counts[row]) continue;
      if (all.fitness[row] > all.fitness[parent]) one.fitter++;
      if (one.best === null || all.fitness[row] > all.fitness[one.best]) one.best = row;
    }
  });
  return [...found.values()].sort((a, b) => b.rows.length - a.rows.length || a.parent - b.parent);
}

function drawParents() {
  const all = report.candidates;
  const found = byParent();
  if (!found.length) return find("parents").replaceChildren(make("caption", {}, "No child was drawn yet."));
  const list = (one) => () => {
    choose({ text: "", outcomes: null, status: "", round: "", temperature: "", rows: new Set(one.rows) });
    find("table").scrollIntoView();
  };
  fillTable(find("parents"), [
    ["parent", "", (one) => link(one.parent)],
    ["its fitness", "number", (one) => fixed(all.fitness[one.parent])],
    ["children", "number", (one) => make("button", { class: "link", type: "button", onclick: list(one) }, whole(one.rows.length))],
    ["valid novel", "number", (one) => (one.settled ? `${whole(one.novel)} (${percent(one.novel / one.settled)})` : "")],
    ["fitter than it", "number", (one) => whole(one.fitter)],
    ["fittest child", "", (one) => (one.best === null ? "" : link(one.best))],
    ["its fitness", "number", (one) => (one.best === null ? "" : fixed(all.fitness[one.best]))],
  ], found.slice(0, MOST_PARENTS));
}
