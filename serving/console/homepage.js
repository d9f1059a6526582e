"use strict";

const REFRESH_MS = 5000;
const SURFACE = "homepage";
const FATES = {
  deleted: "deleted", hidden: "hidden", enforced: "taken down", private: "private", unlisted: "unlisted",
  "blocked-region": "blocked in the viewer's country", "hidden-by-viewer": "hidden by the viewer", seen: "seen already",
  demoted: "demoted further than what is recommended", "not-scored": "not scored: enough better proposals",
  duplicate: "the same as", "near-duplicate": "almost the same as", "creator-cap": "enough by its creator",
  "beyond-k": "enough better videos",
};
const PLACES = { score: "by score", exploration: "kept for new videos", "small-creator": "kept for small creators" };
let answer = null;
let viewer = USER; // whose homepage is shown
let asked = 0; // numbers the requests, so that an answer that is overtaken is dropped

// --- the API --------------------------------------------------------------------------------------------------------

function question(extra = {}) {
  const asks = { k: $("k").value, country: $("country").value.trim().toUpperCase(), language: $("language").value.trim(), device: "console", ...extra };
  return new URLSearchParams(Object.entries(asks).filter(([, value]) => value));
}

async function load(submit) {
  submit?.preventDefault();
  const number = ++asked;
  const user = $("user").value.trim() || USER;
  $("results").setAttribute("aria-busy", "true");
  say("Asking…");
  try {
    const found = await call(`/v1/recommendations/${encodeURIComponent(user)}?${question()}`);
    if (number !== asked) return;
    viewer = user;
    say(found.degraded.length ? `Degraded: this answer had to do without ${found.degraded.join(", ")}.` : "", true);
    show(found);
  } catch (error) {
    if (number === asked) say(error.message, true);
  } finally {
    if (number === asked) $("results").removeAttribute("aria-busy");
  }
}

// What is shown and done counts in the next answer, unless it is only looked at.
const report = (kind, shown, value = null) =>
  $("counts").checked && count(kind, shown, { user_id: viewer, surface: SURFACE, trace_id: answer.trace_id, value });

// --- the page -------------------------------------------------------------------------------------------------------

function video(result, position) {
  const name = result.title || result.item_id;
  titles.set(result.item_id, name);
  const reasons = element("div", { className: "reasons", id: `reasons-${position}` },
    element("b", { textContent: result.because }),
    element("span", { textContent: `Proposed by ${result.generators.join(", ") || "nobody"}` }),
    element("span", { textContent: `Score ${result.score.toFixed(3)}; place ${position + 1}, ${PLACES[result.place] ?? result.place}` }));
  const tile = element("div", { className: "tile" }, element("span", { textContent: result.category || "video" }));
  tile.style.setProperty("--hue", hue(result.category || result.creator_id));
  if (result.duration_s) tile.append(element("span", { className: "duration", textContent: duration(result.duration_s) }));
  const card = element("article", { className: "card video", tabIndex: 0, ariaLabel: name },
    tile, element("span", { className: "name", textContent: name, title: name }),
    element("span", { className: "by soft", textContent: `${result.creator_id}${result.place === "score" ? "" : " · " + PLACES[result.place]}` }),
    element("span", { className: "acts" }, ...["watch", "like", "hide"].map((kind) => act(kind, result, position))), reasons);
  card.setAttribute("aria-describedby", reasons.id);
  return element("li", {}, card);
}

function act(kind, result, position) {
  const button = element("button", { type: "button", textContent: kind[0].toUpperCase() + kind.slice(1) });
  button.addEventListener("click", async () => {
    const seconds = result.duration_s || 60;
    const value = kind === "watch" ? { seconds, of_s: seconds } : null;
    button.disabled = true;
    if (!(await report(kind, [{ result, position }], value))) button.disabled = false;
    else if (kind === "hide") button.closest("li").remove();
    else say("Counted. The next homepage knows.");
  });
  return button;
}

const duration = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const hue = (text) => [...text].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);

function show(found) {
  answer = found;
  $("answer").hidden = false;
  $("answer-title").textContent = (viewer === USER ? "Your homepage" : `Homepage of ${viewer}`) + (found.known ? "" : " (nobody known)");
  $("took").textContent = `${found.results.length} video${found.results.length === 1 ? "" : "s"} in ${found.took_ms.toFixed(0)} ms, scored by ${found.scored_by}`;
  $("results").replaceChildren(...found.results.map(video));
  $("nothing").textContent = found.note ?? "";
  $("nothing").hidden = !found.note;
  $("why").open = false;
  $("candidates").replaceChildren();
  $("why-not-answer").textContent = "";
  report("impression", found.results.map((result, position) => ({ result, position })));
}

async function explain() {
  if (!$("why").open || $("candidates").childElementCount) return;
  const { trace_id: traceId, results } = answer;
  try {
    const { payload } = await call("/v1/traces/" + traceId);
    if (answer.trace_id !== traceId) return;
    const all = payload.candidates.length + Object.values(payload.others).flat().length;
    const asked = Object.entries(payload.generators).map(([name, said]) => `${name} ${said.proposed}`);
    $("why-summary").textContent = `${all} candidates, ${results.length} shown. Proposed: ${asked.join(", ")}.`;
    const times = Object.entries(payload.stages_ms).map(([stage, ms]) => `${stage} ${ms.toFixed(1)} ms`);
    $("why-trace").textContent = [`trace ${traceId}`, payload.scored_by, ...times].join(" · ");
    $("candidates").replaceChildren(
      element("thead", {}, row("th", ["Rank", "Video", "Proposed by", "Score", "Outcome"])),
      element("tbody", {}, ...payload.candidates.map(candidate)));
  } catch (error) {
    $("why-summary").textContent = error.message;
  }
}

function candidate(one) {
  const fate = one.position === null ? fateOf(one, FATES) : `place ${one.position + 1}, ${PLACES[one.place]}`;
  const cells = [one.rank === null ? "–" : one.rank + 1, nameOf(one.item_id), one.generators.join(", "), one.score?.toFixed(4) ?? "–", fate];
  return row("td", cells, one.position === null ? "out" : "");
}

async function whyNot(submit) {
  submit.preventDefault();
  const itemId = $("why-not-item").value.trim();
  try {
    const { detail } = await call(`/v1/recommendations/${encodeURIComponent(viewer)}/why-not/${encodeURIComponent(itemId)}?${question()}`);
    $("why-not-answer").textContent = `${itemId}: ${detail}`;
  } catch (error) {
    $("why-not-answer").textContent = error.message;
  }
}

async function refresh() {
  if (document.hidden) return;
  try {
    const { ready, promises, log } = await call("/v1/recommender");
    status(ready ? "live" : "catching up", ready ? "good" : "wait", log.problem);
    $("videos").textContent = log.videos.toLocaleString("en");
    $("people").textContent = log.users.toLocaleString("en");
    $("promises").textContent = promises.kept + promises.broken ? `${promises.kept} of ${promises.kept + promises.broken} kept` : `${promises.open} open`;
  } catch (error) {
    status("out of reach", "bad", error.message);
  }
}

// --- wiring ---------------------------------------------------------------------------------------------------------

$("viewer").addEventListener("submit", load);
// Looking at somebody else's homepage must not change it, unless that is wanted.
$("user").addEventListener("change", () => { $("counts").checked = !$("user").value.trim(); });
$("why").addEventListener("toggle", explain);
$("why-not").addEventListener("submit", whyNot);
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, REFRESH_MS);
refresh();
load();
