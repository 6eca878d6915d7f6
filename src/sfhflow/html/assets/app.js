"use strict";
// The page: a list of spectra, one panel for each, and one that compares them.  All computing is the server's.

const find = (selector, root = document) => root.querySelector(selector);
const items = [];
let comparison = null;
let chosen = null;

// ---- talking to the server -------------------------------------------------------------------------------

class Problem extends Error {
  constructor(sentence, asks = []) {
    super(sentence);
    this.asks = asks;
  }
}

async function ask(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Problem("The server does not answer; is sfhflow serve still running?");
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(body.error || `The server refused the request (${answer.status}).`, body.asks);
  return body;
}

function send(item) {
  const form = new FormData();
  if (item.example) form.append("example", item.example);
  else form.append("file", item.file, item.file.name);
  for (const name of ["redshift", "medium", "resolution", "fwhm", "snr"]) form.append(name, item.form.elements[name].value);
  return ask("api/spectra", { method: "POST", body: form });
}

function settings(form) {
  const values = Object.fromEntries(new FormData(form));
  return { ...values, mask_lines: form.elements.mask_lines.checked };
}

// ---- spectra ---------------------------------------------------------------------------------------------

function addItem(name, source) {
  const panel = find("#panel").content.firstElementChild.cloneNode(true);
  find("#panels").append(panel);
  const item = { name, panel, form: find("form", panel), state: "new", latest: 0, ...source };
  panel.setAttribute("aria-label", name);
  item.form.addEventListener("submit", (event) => { event.preventDefault(); update(item); });
  item.form.addEventListener("change", () => { if (item.key) update(item); });
  items.push(item);
  return item;
}

async function addSource(name, source) {
  const item = addItem(name, source);
  const limit = Number(document.body.dataset.maxMegabytes);
  choose(item);
  if (item.file && item.file.size > limit * 1e6) {
    return show(item, new Problem(`${name}: the file is too large, expected at most ${limit} MB.`));
  }
  await update(item);
}

// Read the file if that has not succeeded yet, then fit; a later call makes an earlier one void.
async function update(item) {
  const turn = ++item.latest;
  busy(item, true);
  try {
    item.reading ??= item.key ? Promise.resolve() : read(item);
    await item.reading;
    const part = await ask(`api/spectra/${item.key}/fit`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(settings(item.form)),
    });
    if (turn === item.latest) present(item, part);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (!item.key) item.reading = null;
    if (turn === item.latest) show(item, problem);
  } finally {
    if (turn === item.latest) busy(item, false);
  }
}

async function read(item) {
  const answer = await send(item);
  const [first, ...others] = answer.spectra;
  [item.key, item.name] = [first.key, first.name];
  for (const other of others) {
    const sibling = addItem(other.name, { key: other.key });
    for (const field of item.form.elements) {
      if (field.type === "checkbox") sibling.form.elements[field.name].checked = field.checked;
      else if (field.name) sibling.form.elements[field.name].value = field.value;
    }
    update(sibling);
  }
  item.warning = answer.problems.join(" ");
}

function present(item, part) {
  const place = find(".result", item.panel);
  place.innerHTML = part.html; // the server has escaped all text, and the page's policy runs no scripts from it
  item.figures = part.figures;
  item.state = find(".verdict", place).classList.contains("ok") ? "ok" : "doubt";
  for (const link of item.panel.querySelectorAll(".downloads a")) {
    link.href = `api/spectra/${item.key}/${link.dataset.kind}`;
    link.download = "";
  }
  find(".downloads", item.panel).hidden = false;
  find("button.main", item.panel).textContent = "Fit again";
  complain(item, item.warning || "", []);
  if (chosen === item) drawIfShown(item);
  say(`${item.name}: ${find(".verdict", place).textContent.trim()}`);
  comparison = null;
  list();
}

function show(item, problem) {
  complain(item, sentence(problem.message, item.name), problem.asks || []);
  find(".result", item.panel).classList.toggle("stale", Boolean(item.figures || item.drawn));
  if (!item.drawn) item.state = "asks";
  list();
}

function complain(item, sentence, asks) {
  const place = find(".problem", item.panel);
  place.textContent = sentence;
  place.hidden = !sentence;
  for (const field of item.form.elements) {
    field.classList.toggle("asked", asks.includes(field.name));
    field.setAttribute("aria-invalid", asks.includes(field.name));
  }
  if (asks.length && chosen === item) item.form.elements[asks[0]].focus();
}

function busy(item, yes) {
  find(".busy", item.panel).hidden = !yes;
  if (yes) find(".result", item.panel).classList.add("stale");
  else if (find(".problem", item.panel).hidden || item.warning) find(".result", item.panel).classList.remove("stale");
}

async function remove(item) {
  items.splice(items.indexOf(item), 1);
  item.panel.remove();
  comparison = null;
  if (chosen === item) choose(items[0] || null);
  list();
  if (item.key) await ask(`api/spectra/${item.key}`, { method: "DELETE" }).catch(() => {});
}

// ---- showing ---------------------------------------------------------------------------------------------

// figures need a visible place to know their width
function drawIfShown(item) {
  if (!item.figures) return;
  drawFigures(item.panel, item.figures);
  item.drawn = true;
  item.figures = null;
}

function choose(item) {
  chosen = item;
  find("#welcome").hidden = items.length > 0;
  for (const other of items) other.panel.hidden = other !== item;
  const panel = find("#comparison");
  if (panel) panel.hidden = item !== "comparison";
  if (item && item !== "comparison") drawIfShown(item);
  list();
}

async function compare() {
  if (!find("#comparison")) {
    const panel = document.createElement("article");
    panel.id = "comparison";
    find("#panels").append(panel);
  }
  choose("comparison");
  if (comparison) return;
  const panel = find("#comparison");
  const query = items.filter(done).map((item) => `key=${encodeURIComponent(item.key)}`).join("&");
  try {
    comparison = await ask(`api/comparison?${query}`);
    panel.innerHTML = comparison.html; // escaped by the server, as above
    drawFigures(panel, comparison.figures);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    const line = document.createElement("p");
    line.className = "problem";
    line.textContent = sentence(problem.message, "");
    panel.replaceChildren(line);
  }
}

const done = (item) => item.state === "ok" || item.state === "doubt";

function list() {
  const rows = items.map((item) => {
    const row = document.createElement("li");
    const pick = document.createElement("button");
    const dot = document.createElement("span");
    const name = document.createElement("span");
    const drop = document.createElement("button");
    pick.type = drop.type = "button";
    pick.className = "pick";
    drop.className = "drop-it";
    drop.textContent = "×";
    drop.setAttribute("aria-label", `Remove ${item.name}`);
    dot.className = `dot ${item.state}`;
    dot.title = { ok: "no reason for doubt", doubt: "do not trust", asks: "needs attention", new: "in work" }[item.state];
    name.textContent = item.name;
    row.classList.toggle("chosen", item === chosen);
    if (item === chosen) pick.setAttribute("aria-current", "true");
    pick.append(dot, name);
    pick.addEventListener("click", () => choose(item));
    drop.addEventListener("click", () => remove(item));
    row.append(pick, drop);
    return row;
  });
  find("#list").replaceChildren(...rows);
  find("#list-card").hidden = items.length === 0;
  find("#compare").hidden = items.filter(done).length < 2;
  find("#compare").classList.toggle("chosen", chosen === "comparison");
}

// names of files keep their case
function sentence(text, name) {
  const start = text.startsWith(name) ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.?!]$/.test(start) ? start : `${start}.`;
}

function say(text) {
  find("#live").textContent = text;
}

// ---- events ----------------------------------------------------------------------------------------------

function addFiles(files) {
  for (const file of files) addSource(file.name, { file });
}

find("#file").addEventListener("change", (event) => {
  addFiles([...event.target.files]);
  event.target.value = "";
});
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => addSource(button.dataset.example, { example: button.dataset.example }));
}
find("#compare").addEventListener("click", compare);
for (const kind of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    find("#drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer) addFiles([...event.dataTransfer.files]);
  });
}
