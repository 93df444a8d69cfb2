// Who descends from whom.
let children = null;

function reach(row, next) { // all rows to which `next` leads, without `row`
  const seen = new Set(), waiting = [row];
  while (waiting.length)
    for (const other of next(waiting.pop())) if (!seen.has(other)) seen.add(other), waiting.push(other);
  seen.delete(row);
  return seen;
}

function fittestPath(row) { // from a seed to `row`, by the fitter parent
  const { parents, fitness } = report.candidates;
  const path = [row];
  while (parents[path[0]].length && path.length < 10000)
    path.unshift([...parents[path[0]]].sort((a, b) => (fitness[b] ?? -Infinity) - (fitness[a] ?? -Infinity))[0]);
  return path;
}

function lightLineage(row) {
  const { parents } = report.candidates;
  if (!children) {
    children = parents.map(() => []);
    parents.forEach((list, child) => list.forEach((parent) => children[parent].push(child)));
  }
  const above = reach(row, (one) => parents[one]), below = reach(row, (one) => children[one]);
  const path = fittestPath(row);
  drawLineage(row, above, below, path);
  const all = report.candidates;
  fillTable(find("path"), [
    ["step", "number", (one) => whole(path.indexOf(one))],
    ["id", "", link],
    ["round", "number", (one) => roundName(all.round[one])],
    ["size", "number", (one) => whole(all.params[one])],
    ["error", "number", (one) => fixed(all.error[one])],
    ["fitness", "number", (one) => fixed(all.fitness[one])],
  ], path);
}

function drawLineage(row, above, below, path) {
  const dots = linked.find((one) => one.chart === "lineage");
  if (!dots) return;
  const place = new Map(dots.rows.map((one, i) => [one, [dots.source.data.x[i], dots.source.data.y[i]]]));
  const known = (list) => [...list].filter((one) => place.has(one));
  const kin = known([...above, ...below]);
  const set = (name, data) => (sourceNamed("lineage", `lineage_${name}`).data = data);
  const family = new Set([row, ...kin]), xs = [], ys = [];
  for (const child of family)
    for (const parent of report.candidates.parents[child])
      if (family.has(parent) && place.has(child)) {
        xs.push([place.get(parent)[0], place.get(child)[0]]);
        ys.push([place.get(parent)[1], place.get(child)[1]]);
      }
  set("edges", { xs, ys });
  set("kin", { x: kin.map((one) => place.get(one)[0]), y: kin.map((one) => place.get(one)[1]) });
  const steps = known(path);
  const led = steps.length > 1 ? [steps.map((one) => place.get(one))] : [];
  set("path", { xs: led.map((path) => path.map(([x]) => x)), ys: led.map((path) => path.map(([, y]) => y)) });
  set("chosen", place.has(row) ? { x: [place.get(row)[0]], y: [place.get(row)[1]] } : { x: [], y: [] });
  nameWhatIsThere("lineage");
}
