"use strict";

const $ = (id) => document.getElementById(id);
const USER = "console-" + (sessionStorage.user ||= crypto.randomUUID());
let chosen = null; // the file that is being looked for
let traceId = null;

function say(text, bad = false) {
  $("message").textContent = text;
  $("message").className = bad ? "bad" : "";
}

async function call(path, options) {
  const answer = await fetch(path, options);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail || answer.statusText);
  return body;
}

const post = (path, value) =>
  call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });

function event(type, subject, data) {
  return {
    specversion: "1.0", id: crypto.randomUUID(), source: "console", type: "riverlight." + type,
    time: new Date().toISOString(), subject, data,
  };
}

// What was shown and what was clicked goes the way everybody's events go.
function report(kind, items) {
  const events = items.map(([itemId, position]) => event("interaction." + kind, USER, {
    user_id: USER, item_id: itemId, surface: "visual_search", position, trace_id: traceId, device: "console",
  }));
  if (events.length) post("/v1/events/interactions", events).catch((error) => say("not counted: " + error.message, true));
}

function card(result, position) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "card";
  const image = document.createElement("img");
  image.src = "/v1/media/" + result.media_id;
  image.alt = "";
  image.loading = "lazy";
  const label = document.createElement("span");
  const score = document.createElement("b");
  score.textContent = result.score.toFixed(3);
  label.append(score, result.title || result.item_id);
  button.append(image, label);
  button.addEventListener("click", () => {
    report("click", [[result.item_id, position]]);
    searchStored(result.media_id);
  });
  return button;
}

function show(answer) {
  traceId = answer.trace_id;
  $("recent").hidden = true;
  $("answer").hidden = false;
  $("took").textContent = `${answer.results.length} in ${answer.took_ms.toFixed(1)} ms`;
  $("results").replaceChildren(...answer.results.map(card));
  $("nothing").hidden = answer.results.length > 0;
  $("why").open = false;
  $("trace").replaceChildren();
  report("impression", answer.results.map((result, position) => [result.item_id, position]));
}

function options() {
  const category = $("category").value.trim();
  return { k: Number($("k").value) || 24, filters: category ? { category } : {} };
}

async function guarded(what, work) {
  say(what);
  try { await work(); say(""); } catch (error) { say(error.message, true); }
}

function preview(source) {
  $("query-image").src = source;
  $("query-image").hidden = false;
  $("drop-text").hidden = true;
}

function searchStored(mediaId) {
  chosen = null;
  $("upload").disabled = true;
  preview("/v1/media/" + mediaId);
  return guarded("searching…", async () => show(await post("/v1/search/images", { media_id: mediaId, ...options() })));
}

function searchFile(file) {
  chosen = file;
  $("upload").disabled = false;
  preview(URL.createObjectURL(file));
  const { k, filters } = options();
  const form = new FormData();
  form.append("file", file);
  form.append("k", k);
  form.append("filters", JSON.stringify(filters));
  return guarded("searching…", async () => show(await call("/v1/search/images", { method: "POST", body: form })));
}

async function upload() {
  await guarded("uploading…", async () => {
    const form = new FormData();
    form.append("file", chosen);
    const media = await call("/v1/media", { method: "POST", body: form });
    const itemId = "console-" + crypto.randomUUID();
    await post("/v1/events/uploads", event("upload.created", itemId, {
      item_id: itemId, owner_id: USER, kind: media.kind, media_id: media.media_id,
      title: chosen.name.replace(/\.[^.]*$/, "").slice(0, 300), category: $("category").value.trim(),
    }));
  });
  if (!$("message").className) say("uploaded; it can be found in a moment");
}

async function explain() {
  if (!$("why").open || $("trace").childElementCount) return;
  await guarded("", async () => {
    const trace = await call("/v1/traces/" + traceId);
    const table = document.createElement("table");
    table.append(row("th", ["rank", "item", "score", "what became of it"]));
    for (const one of trace.payload.candidates) {
      const fate = one.position === null ? one.reason + (one.because_of ? " of " + one.because_of : "") : "result " + (one.position + 1);
      table.append(row("td", [one.rank + 1, one.item_id, one.score.toFixed(4), fate], one.position === null ? "out" : ""));
    }
    const facts = document.createElement("p");
    facts.textContent = `trace ${traceId} · model ${trace.payload.model_version} · ${trace.payload.index.items} items · cut-off ${trace.payload.rules.min_score}`;
    $("trace").append(facts, table);
  });
}

function row(tag, values, className = "") {
  const line = document.createElement("tr");
  line.className = className;
  for (const value of values) {
    const cell = document.createElement(tag);
    cell.textContent = value;
    line.append(cell);
  }
  return line;
}

document.querySelectorAll("#recent .card").forEach((button) =>
  button.addEventListener("click", () => searchStored(button.dataset.mediaId)));
$("file").addEventListener("change", () => $("file").files[0] && searchFile($("file").files[0]));
$("upload").addEventListener("click", upload);
$("back").addEventListener("click", () => location.reload());
$("why").addEventListener("toggle", explain);
$("drop").addEventListener("keydown", (press) => { if (press.key === "Enter" || press.key === " ") $("file").click(); });
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (drag) => {
    drag.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && drag.dataTransfer.files[0]) searchFile(drag.dataTransfer.files[0]);
  });
}
