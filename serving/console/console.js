"use strict";

const REFRESH_MS = 5000;
const FOUND_WITHIN_MS = 15000;
const FATES = {
  gone: "deleted meanwhile", changed: "its image was replaced meanwhile", hidden: "hidden", enforced: "taken down",
  unsafe: "not safe to show",
  private: "private or unlisted", "blocked-region": "blocked in the viewer's region", "query-image": "the query itself",
  "below-min-score": "not similar enough", duplicate: "the same image as", "near-duplicate": "almost the same image as",
  "beyond-k": "enough better results",
};
let query = null; // what the page shows the answer to: {mediaId} or {file}
let answer = null;
let asked = 0; // numbers the searches, so that an answer that is overtaken is dropped

// --- the API --------------------------------------------------------------------------------------------------------

function postFile(path, file, fields = {}) {
  const form = new FormData();
  form.append("file", file);
  for (const [name, value] of Object.entries(fields)) form.append(name, typeof value === "object" ? JSON.stringify(value) : value);
  return call(path, { method: "POST", body: form });
}

const report = (kind, shown, traceId) => count(kind, shown, { surface: "visual_search", trace_id: traceId });

// --- search ---------------------------------------------------------------------------------------------------------

function options() {
  const category = $("category").value.trim();
  const chosen = { k: Number($("k").value) || 24, filters: category ? { category } : {} };
  if ($("min-score").value) chosen.min_score = Number($("min-score").value);
  return chosen;
}

async function search(asks) {
  const number = ++asked;
  query = asks;
  $("upload").disabled = true;
  $("results").setAttribute("aria-busy", "true");
  say("Searching…");
  try {
    const found = asks.file
      ? await postFile("/v1/search/images", asks.file, options())
      : await post("/v1/search/images", { media_id: asks.mediaId, ...options() });
    if (number !== asked) return;
    say("");
    $("upload").disabled = !asks.file; // what could not be looked at could not be added either
    show(found);
  } catch (error) {
    if (number !== asked) return;
    showRecent();
    say(error.message, true);
  } finally {
    if (number === asked) $("results").removeAttribute("aria-busy");
  }
}

function searchFile(file) {
  if ($("query-image").src.startsWith("blob:")) URL.revokeObjectURL($("query-image").src);
  preview(URL.createObjectURL(file));
  history.pushState(null, "", "/console");
  scrollTo(0, 0);
  search({ file });
}

// The address names the stored image that is searched for, so that Back works and an answer can be linked to.
function followAddress() {
  const mediaId = /^#like=([0-9a-f]{64})$/.exec(location.hash)?.[1];
  if (!mediaId) {
    asked++;
    query = null;
    preview("");
    showRecent();
    return say("");
  }
  preview("/v1/media/" + mediaId);
  scrollTo(0, 0);
  search({ mediaId });
}

function preview(source) {
  if (source) $("query-image").src = source;
  $("query-image").hidden = !source;
  $("drop-text").hidden = Boolean(source);
}

// --- the page -------------------------------------------------------------------------------------------------------

function card(result, position) {
  const name = result.title || result.item_id;
  const score = result.score.toFixed(3);
  titles.set(result.media_id, name).set(result.item_id, name);
  const filled = element("i");
  filled.style.width = Math.max(0, result.score) * 100 + "%";
  const link = element("a", { className: "card", href: "/console#like=" + result.media_id, ariaLabel: `${name}, similarity ${score}` },
    element("img", { src: "/v1/media/" + result.media_id, alt: "", loading: "lazy" }),
    element("span", { className: "name", textContent: name, title: name }),
    element("span", { className: "score" }, score, element("span", { className: "bar" }, filled)));
  const { trace_id: traceId } = answer;
  link.addEventListener("click", () => report("click", [{ result, position }], traceId));
  return element("li", {}, link);
}

function show(found) {
  answer = found;
  const called = query.file ? query.file.name : titles.get(query.mediaId);
  const focused = document.activeElement;
  const focusGoes = focused === document.body || focused.closest(".grid"); // what has it is about to disappear
  $("recent").hidden = true;
  $("answer").hidden = false;
  $("answer-title").textContent = called ? `Similar to ${called}` : "Similar images";
  $("took").textContent = `${found.results.length} result${found.results.length === 1 ? "" : "s"} in ${found.took_ms.toFixed(0)} ms`;
  $("results").replaceChildren(...found.results.map(card));
  $("nothing").hidden = found.results.length > 0;
  $("why").open = false;
  $("candidates").replaceChildren();
  $("why-not-answer").textContent = "";
  if (focusGoes) $("answer-title").focus({ preventScroll: true });
  report("impression", found.results.map((result, position) => ({ result, position })), found.trace_id);
}

function showRecent() {
  answer = null;
  $("answer").hidden = true;
  $("recent").hidden = false;
}

async function explain() {
  if (!$("why").open || $("candidates").childElementCount) return;
  const { trace_id: traceId, results } = answer;
  try {
    const { payload } = await call("/v1/traces/" + traceId);
    if (answer?.trace_id !== traceId) return;
    const removed = payload.candidates.filter((one) => one.position === null);
    const reasons = Map.groupBy ? Map.groupBy(removed, (one) => one.reason) : new Map();
    const taken = [...reasons].map(([reason, those]) => `${those.length} ${FATES[reason] ?? reason}`);
    $("why-summary").textContent = `${payload.candidates.length} candidates, ${results.length} shown`
      + (taken.length ? `; removed: ${taken.join(", ")}` : "") + `. Least similarity ${payload.rules.min_score}.`;
    const times = Object.entries(payload.stages_ms).map(([stage, ms]) => `${stage} ${ms.toFixed(1)} ms`);
    $("why-trace").textContent =
      [`trace ${traceId}`, payload.model_version, `${payload.index.items.toLocaleString("en")} items`, ...times].join(" · ");
    $("candidates").replaceChildren(
      element("thead", {}, row("th", ["Rank", "Item", "Similarity", "Outcome"])),
      element("tbody", {}, ...payload.candidates.map(candidate)));
  } catch (error) {
    $("why-summary").textContent = error.message;
  }
}

function candidate(one) {
  const fate = one.position === null ? fateOf(one, FATES) : `result ${one.position + 1}`;
  return row("td", [one.rank + 1, nameOf(one.item_id), one.score.toFixed(4), fate], one.position === null ? "out" : "");
}

async function whyNot(submit) {
  submit.preventDefault();
  const itemId = $("why-not-item").value.trim();
  try {
    const { why } = await call(`/v1/traces/${answer.trace_id}?item_id=${encodeURIComponent(itemId)}`);
    const score = why.score === null ? "" : ` (similarity ${why.score.toFixed(4)})`;
    $("why-not-answer").textContent = `${itemId}: ${why.detail}${score}`;
  } catch (error) {
    $("why-not-answer").textContent = error.message;
  }
}

// --- adding to the index --------------------------------------------------------------------------------------------

async function upload() {
  const { file } = query;
  $("upload").disabled = true;
  say("Adding…");
  try {
    const media = await postFile("/v1/media", file);
    const itemId = "console-" + newId();
    const sent = performance.now();
    await post("/v1/events/uploads", event("upload.created", itemId, {
      item_id: itemId, owner_id: USER, kind: media.kind, media_id: media.media_id,
      title: file.name.replace(/\.[^.]*$/, "").slice(0, 300), category: $("category").value.trim(),
    }));
    say("Accepted; waiting until it can be found…");
    await found(media.media_id, sent + FOUND_WITHIN_MS);
    say(`Added. It could be found ${((performance.now() - sent) / 1000).toFixed(2)} s after it was sent.`);
    refresh();
  } catch (error) {
    say(error.message, true);
    $("upload").disabled = query?.file !== file;
  }
}

async function found(mediaId, deadline) {
  while (performance.now() < deadline) {
    const seen = await post("/v1/search/images", { media_id: mediaId, k: 1, include_query: true, filters: { owner_id: USER } });
    if (seen.results.some((result) => result.media_id === mediaId)) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("It was accepted, but cannot be found yet. `riverlight status` tells whether the workers run.");
}

// --- the state of the index -----------------------------------------------------------------------------------------

async function refresh() {
  if (document.hidden) return;
  try {
    const [index, metrics] = await Promise.all([call("/v1/index"), fetch("/metrics").then((response) => response.text())]);
    status(index.ready ? "live" : "catching up", index.ready ? "good" : "wait", index.log.problem);
    $("index-items").textContent = (index.items - index.hidden).toLocaleString("en");
    $("index-model").textContent = index.model_version;
    $("freshness").textContent = freshness(metrics);
  } catch (error) {
    status("out of reach", "bad", error.message);
  }
}

// The smallest bucket that holds 95 of 100 uploads, of the histogram that the index follower keeps.
function freshness(metrics) {
  const buckets = [];
  for (const line of metrics.split("\n")) {
    if (!line.startsWith("riverlight_freshness_seconds_bucket{") || !line.includes('effect="searchable"')) continue;
    if (line.includes('system="visual_search"')) buckets.push([/le="([^"]+)"/.exec(line)[1], Number(/\} (\S+)/.exec(line)[1])]);
  }
  const all = buckets.at(-1)?.[1];
  if (!all) return "–";
  const [bound] = buckets.find(([, count]) => count >= 0.95 * all);
  return bound === "+Inf" ? `> ${Number(buckets.at(-2)[0])} s` : `≤ ${Number(bound)} s`;
}

// --- wiring ---------------------------------------------------------------------------------------------------------

document.querySelectorAll("#recent .card").forEach(({ dataset }) =>
  titles.set(dataset.mediaId, dataset.title).set(dataset.itemId, dataset.title));
document.addEventListener("click", (click) => { // the address does not change, so nothing else would tell
  const link = click.target.closest?.("a.card");
  if (link && link.hash === location.hash) followAddress();
});
document.addEventListener("error", (failed) => { // hidden since the page was made
  if (failed.target.matches?.(".card img")) failed.target.className = "gone";
  if (failed.target === $("query-image")) preview("");
}, true);
addEventListener("hashchange", followAddress);
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) searchFile(file);
  $("file").value = ""; // the same file can be chosen again
});
for (const name of ["k", "min-score", "category"]) $(name).addEventListener("change", () => query && search(query));
$("upload").addEventListener("click", upload);
$("why").addEventListener("toggle", explain);
$("why-not").addEventListener("submit", whyNot);
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (drag) => {
    drag.preventDefault();
    document.body.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && drag.dataTransfer.files[0]) searchFile(drag.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (paste) => {
  const [file] = paste.clipboardData.files;
  if (file) searchFile(file);
});
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, REFRESH_MS);
refresh();
if (location.hash) followAddress();
