"use strict";
// Text of candidates is hostile: it becomes text nodes only, and characters that hide or reorder text are spelled out.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const visible = (text) =>
  String(text).replace(/\r\n/g, "\n").replace(UNSEEN, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children) element.append(child instanceof Node ? child : visible(child ?? ""));
  return element;
}

const find = (id) => document.getElementById(id);
const MINUS = "\u2212";
const signed = (text) => text.replace(/^-/, MINUS);
// Made once: a formatter costs a hundred times what it then formats.
const formatters = new Map();
function format(value, options) {
  const key = JSON.stringify(options);
  if (!formatters.has(key)) formatters.set(key, new Intl.NumberFormat("en", options));
  return signed(formatters.get(key).format(value));
}
const whole = (value) => (value === null || value === undefined ? "" : format(value, {}));
function number(value, digits = 4) {
  if (value === null || value === undefined) return "";
  if (Math.abs(value) >= 1000) return format(value, { maximumFractionDigits: 0 });
  return format(value, { maximumSignificantDigits: digits });
}
const fixed = (value) => // with as many digits in each line of a table
  value === null || value === undefined || Math.abs(value) >= 1000 ? number(value)
    : format(value, { minimumSignificantDigits: 4, maximumSignificantDigits: 4 });
const percent = (value) => (value === null || value === undefined ? "" : `${(100 * value).toFixed(1)} %`);
function duration(hours) {
  if (hours >= 1) return `${number(hours, 3)} h`;
  return hours * 60 >= 1 ? `${number(hours * 60, 3)} min` : `${number(hours * 3600, 3)} s`;
}
const roundName = (round) => (round < 0 ? "seeds" : String(round));

// Columns: [header, kind ("number" or "text" or ""), cell(row) -> string or Node].
function fillTable(table, columns, rows) {
  const cell = (row, [, kind, value]) => make("td", { class: kind || null }, value(row));
  const head = columns.map(([header, kind]) => make("th", { class: kind || null, scope: "col" }, header));
  table.replaceChildren(
    make("thead", {}, make("tr", {}, ...head)),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...columns.map((column) => cell(row, column))))),
  );
}

function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make("dl", { class: "facts" }, ...shown.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

async function unpack(id) {
  const packed = Uint8Array.from(atob(find(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}
