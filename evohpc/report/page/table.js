// The table of candidates: a page at a time, so that ten thousand of them cost as little as fifty.
const PAGE = 50;
const order = { key: "fitness", descending: true, page: 0 };
let ordered = [];

const tableColumns = () => [
  ["id", "id", "", (row) => make("button", { class: "link", type: "button", onclick: () => showCandidate(row, true) }, report.candidates.id[row])],
  ["round", "round", "number", (row) => roundName(report.candidates.round[row])],
  ["outcome", "status", "", (row) => report.candidates.status[row].replaceAll("_", " ")],
  ["fitness", "fitness", "number", (row) => fixed(report.candidates.fitness[row])],
  [report.metric.replaceAll("_", " ") || "metric", "metric", "number", (row) => fixed(report.candidates.metric[row])],
  ["size", "params", "number", (row) => whole(report.candidates.params[row])],
  ["temperature", "temperature", "number", (row) => number(report.candidates.temperature[row])],
  ["seconds", "seconds", "number", (row) => fixed(report.candidates.seconds[row])],
  ["detail", "detail", "text", (row) => report.candidates.detail[row].slice(0, 300)],
];

function sortRows(rows) {
  const column = report.candidates[order.key];
  const sign = order.descending ? -1 : 1;
  const missing = (value) => value === null || value === undefined || value === "";
  return rows.sort((a, b) => {
    const [x, y] = [column[a], column[b]];
    if (missing(x) || missing(y)) return missing(x) - missing(y) || a - b; // last, whichever the order
    return x === y ? a - b : x < y ? -sign : sign;
  });
}

function sortBy(key) {
  order.descending = order.key === key ? !order.descending : ["fitness", "metric"].includes(key);
  order.key = key;
  order.page = 0;
  ordered = sortRows(ordered);
  drawTable();
  find("candidates").querySelector(`button[data-key="${key}"]`).focus();
}

function drawTable() {
  const columns = tableColumns();
  const pages = Math.max(1, Math.ceil(ordered.length / PAGE));
  order.page = Math.min(order.page, pages - 1);
  const rows = ordered.slice(order.page * PAGE, (order.page + 1) * PAGE);
  const table = find("candidates");
  fillTable(table, columns.map(([header, , kind, cell]) => [header, kind, cell]), rows);
  table.querySelectorAll("th").forEach((th, place) => {
    const [header, key] = columns[place];
    if (key === order.key) th.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
    th.replaceChildren(make("button", { type: "button", "data-key": key, onclick: () => sortBy(key) }, header));
  });
  const turn = (step) => () => { order.page += step; drawTable(); };
  find("pages").replaceChildren(
    make("button", { type: "button", disabled: order.page === 0, onclick: turn(-1) }, "Previous"),
    ` page ${whole(order.page + 1)} of ${whole(pages)} `,
    make("button", { type: "button", disabled: order.page >= pages - 1, onclick: turn(1) }, "Next"),
  );
  const total = report.candidates.id.length;
  const drawn = chosen.rows ? `, ${whole(chosen.rows.size)} of them chosen in a chart` : "";
  find("count").textContent = `${whole(ordered.length)} of ${whole(total)} candidates${isFiltered() ? drawn : ""}`;
}

function refreshTable(rows) {
  order.page = 0;
  ordered = sortRows([...rows]);
  drawTable();
}
