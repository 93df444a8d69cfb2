// What is chosen, and which candidates pass it. `rows` is what was drawn around in a chart.
const chosen = { text: "", outcomes: null, status: "", round: "", temperature: "", rows: null };
const filterListeners = [];
let searched = null; // text of each candidate, sources too, in lower case

function choose(changes) {
  Object.assign(chosen, changes);
  for (const listener of filterListeners) listener();
}

const isFiltered = () =>
  Boolean(chosen.text || chosen.outcomes || chosen.status || chosen.round || chosen.temperature || chosen.rows);

function passing() {
  const all = report.candidates;
  const text = chosen.text.toLowerCase();
  const rows = [];
  for (let row = 0; row < all.id.length; row++) {
    if (chosen.rows && !chosen.rows.has(row)) continue;
    if (chosen.outcomes && !chosen.outcomes.has(all.outcome[row])) continue;
    if (chosen.status && all.status[row] !== chosen.status) continue;
    if (chosen.round !== "" && all.round[row] !== Number(chosen.round)) continue;
    if (chosen.temperature !== "" && String(all.temperature[row]) !== chosen.temperature) continue;
    if (text && !searched[row].includes(text)) continue;
    rows.push(row);
  }
  return rows;
}

function index(sources) {
  const { id, status, detail } = report.candidates;
  searched = id.map((name, row) => `${name}\n${status[row]}\n${detail[row]}\n${sources[row]}`.toLowerCase());
}

function options(label, key, values, name) {
  const list = values.map((value) => make("option", { value: String(value) }, name(value)));
  const select = make("select", { onchange: (event) => choose({ [key]: event.target.value }) });
  select.append(make("option", { value: "" }, "all"), ...list);
  filterListeners.push(() => (select.value = chosen[key]));
  return make("label", {}, `${label} `, select);
}

function outcomeBoxes() {
  const counts = new Map();
  for (const outcome of report.candidates.outcome) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  const names = report.outcomes.filter((name) => counts.has(name));
  const boxes = names.map((name) => make("input", { type: "checkbox", value: name, checked: true }));
  const read = () => {
    const ticked = boxes.filter((box) => box.checked).map((box) => box.value);
    choose({ outcomes: ticked.length === names.length ? null : new Set(ticked) });
  };
  const labels = names.map((name, place) => {
    boxes[place].addEventListener("change", read);
    const swatch = make("span", { class: "swatch" });
    swatch.style.background = report.colours[name];
    return make("label", {}, boxes[place], swatch, `${name} (${whole(counts.get(name))})`);
  });
  filterListeners.push(() => boxes.forEach((box) => (box.checked = !chosen.outcomes || chosen.outcomes.has(box.value))));
  return make("fieldset", {}, make("legend", {}, "Outcome"), ...labels);
}

function buildFilters() {
  const all = report.candidates;
  const distinct = (values) => [...new Set(values)].sort((a, b) => (a < b ? -1 : 1));
  let waiting = 0;
  const search = make("input", {
    type: "search", id: "search", placeholder: "id, failure or source", "aria-label": "Search candidates",
    oninput: (event) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => choose({ text: event.target.value }), 50);
    },
  });
  filterListeners.push(() => document.activeElement === search || (search.value = chosen.text));
  const drawn = all.temperature.filter((value) => value !== null);
  const clear = { text: "", outcomes: null, status: "", round: "", temperature: "", rows: null };
  find("filters").append(
    search,
    outcomeBoxes(),
    options("Class", "status", distinct(all.status), (status) => status.replaceAll("_", " ")),
    options("Round", "round", [...new Set(all.round)].sort((a, b) => a - b), roundName),
    options("Temperature", "temperature", [...new Set(drawn)].sort((a, b) => a - b), String),
    make("button", { type: "button", id: "clear", onclick: () => { search.value = ""; choose(clear); } }, "Show all"),
  );
  find("filters").addEventListener("submit", (event) => event.preventDefault());
}
