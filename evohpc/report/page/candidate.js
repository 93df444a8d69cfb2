// One candidate: what it was asked for and what it is, its source, and what changed from each parent.
const MOST_COMPARISONS = 4e6; // lines of one times lines of the other

// Returns [mark, line] pairs of a diff by longest common subsequence, or null where it would take too long.
function difference(before, after) {
  const [a, b] = [before.split("\n"), after.split("\n")];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const middle = compare(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  const same = (lines) => lines.map((line) => [" ", line]);
  return middle && [...same(a.slice(0, head)), ...middle, ...same(a.slice(a.length - tail))];
}

function compare(a, b) {
  const width = b.length + 1;
  if (a.length * b.length > MOST_COMPARISONS) return null;
  const common = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      common[i * width + j] =
        a[i] === b[j] ? common[(i + 1) * width + j + 1] + 1 : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
  const lines = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) lines.push([" ", a[i++]], (j++, null));
    else if (j < b.length && (i === a.length || common[i * width + j + 1] > common[(i + 1) * width + j])) lines.push(["+", b[j++]]);
    else lines.push([MINUS, a[i++]]);
  }
  return lines.filter(Boolean);
}

function diffBlock(before, after) {
  const lines = difference(before, after);
  if (!lines) return make("p", {}, "Too long to compare here.");
  if (lines.every(([mark]) => mark === " ")) return make("p", {}, "The same text.");
  const kinds = { "+": "plus", [MINUS]: "minus" };
  return make("pre", { tabindex: 0 }, ...lines.map(([mark, line]) => make("span", { class: kinds[mark] }, `${mark} ${line}`)));
}

const promptOf = (row) => report.prompts[`${report.candidates.round[row]}/${report.candidates.prompt[row]}`];

// The last docstring of a prompt holds the metrics that the language model was asked for.
function targets(prompt) {
  const found = [...(prompt ?? "").matchAll(/"""Metrics:\n\{(.*)\}\n"""/g)].at(-1);
  return found ? [...found[1].matchAll(/'([^']+)': '([^']+)'/g)].map(([, name, value]) => [name, Number(value)]) : [];
}

function sized(count) {
  return report.size === "num_params" ? `${count} parameters` : `${report.size} ${count}`;
}

function targetTable(row) {
  const asked = targets(promptOf(row));
  if (!asked.length) return "";
  const { params, metric } = report.candidates;
  const measured = { [report.size]: params[row], [report.metric]: metric[row] };
  const table = make("table");
  fillTable(table, [
    ["quantity", "", ([name]) => name.replaceAll("_", " ")],
    ["asked for", "number", ([, value]) => number(value)],
    ["measured", "number", ([name]) => number(measured[name]) || "not measured"],
  ], asked);
  return make("div", { class: "scroll" }, table);
}

function lateness(row) {
  const until = report.candidates.late_until[row];
  return until === null ? "" : `no outcome when round ${until - 1} closed (search.close_at); round ${until} is the first that could select it`;
}

function completion(row) {
  const { round, tokens, temperature } = report.candidates;
  if (round[row] < 0) return "";
  return temperature[row] === null ? report.by_rule : `${whole(tokens[row])} tokens at temperature ${number(temperature[row])}`;
}

function candidateFacts(row) {
  const all = report.candidates;
  const drawn = all.round[row] < 0 ? "seed program" : `round ${all.round[row]}, prompt ${all.prompt[row]}, sample ${all.sample[row]}`;
  const parents = make("span", {}, ...all.parents[row].flatMap((parent) => [link(parent), " "]));
  return facts([
    ["outcome", all.status[row].replaceAll("_", " ") + (all.detail[row] ? `: ${all.detail[row].slice(0, 2000)}` : "")],
    ["drawn", drawn],
    ["parents", all.parents[row].length ? parents : ""],
    ["late", lateness(row)],
    ["completion", completion(row)],
    ["fitness", number(all.fitness[row])],
    ["size", all.params[row] === null ? "" : sized(whole(all.params[row]))],
    ["error", number(all.error[row])],
    [report.metric.replaceAll("_", " ") || "metric", number(all.metric[row])],
    ["in training", leastError(row)],
    ["evaluation", all.attempt[row] === null ? "" : `attempt ${all.attempt[row]}, ${number(all.seconds[row], 3)} s, ended ${all.finished_at[row]}`],
    ["host", all.host[row]],
    ["isolation", all.isolation[row]],
    ["sha256 of the source", all.source_sha256[row]],
    ["code hash", all.code_hash[row]],
  ]);
}

// How the error of a candidate fell while it was trained; null where it is not known.
function curveOf(row) {
  const [steps, ...error] = report.curves.errors[row] ?? [];
  if (!error.length) return null;
  return { x: report.curves.steps[steps], y: error.map((value) => Math.max(value, report.curves.floor)), error };
}

function leastError(row) {
  const curve = curveOf(row);
  if (!curve) return "";
  const place = curve.error.indexOf(Math.min(...curve.error));
  return `least error ${number(curve.error[place])} at step ${whole(curve.x[place])} of ${whole(curve.x.at(-1))}`;
}

function drawCurve(row) {
  const own = curveOf(row);
  find("curve").hidden = !own;
  if (!own) return;
  const place = own.y.indexOf(Math.min(...own.y));
  const parents = report.candidates.parents[row].map(curveOf).filter(Boolean);
  const set = (name, data) => (sourceNamed("curve", `curve_${name}`).data = data);
  set("parents", { xs: parents.map(({ x }) => x), ys: parents.map(({ y }) => y) });
  set("own", own);
  set("least", { x: [own.x[place]], y: [own.y[place]] });
  nameWhatIsThere("curve");
}

const link = (row) => make("button", { class: "link", type: "button", onclick: () => showCandidate(row, true) }, report.candidates.id[row]);

async function showCandidate(row, isAsked) {
  const all = report.candidates;
  find("candidate-id").textContent = visible(all.id[row]);
  find("choose-id").value = all.id[row];
  find("candidate-facts").replaceChildren(candidateFacts(row), targetTable(row));
  drawCurve(row);
  const body = [make("h3", {}, "Source"), make("pre", { tabindex: 0, id: "source" }, sources[row])];
  for (const parent of all.parents[row])
    body.push(make("h3", {}, "Changes from ", link(parent)), diffBlock(sources[parent], sources[row]));
  const log = report.logs[row];
  if (log) body.push(make("h3", {}, "The end of what it printed"), make("pre", { tabindex: 0, id: "log" }, log));
  const prompt = promptOf(row);
  if (prompt) body.push(make("details", {}, make("summary", {}, "Prompt"), make("pre", { tabindex: 0 }, prompt)));
  find("candidate-text").replaceChildren(...body);
  if (isAsked) {
    lightLineage(row);
    find("candidate").scrollIntoView();
    find("choose-id").focus({ preventScroll: true });
  }
}

function buildChooser() {
  const byId = new Map(report.candidates.id.map((id, row) => [id, row]));
  find("choose").addEventListener("submit", (event) => {
    event.preventDefault();
    const row = byId.get(find("choose-id").value.trim());
    find("choose-fault").textContent = row === undefined ? "no candidate has this id" : "";
    if (row !== undefined) showCandidate(row, true);
  });
  find("choose-best").addEventListener("click", () => report.candidates.best !== null && showCandidate(report.candidates.best, true));
}
