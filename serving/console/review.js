"use strict";
// What the pages of reviewers share: who reviews, taking jobs and putting them back, keys, breaks.

const BREAK_AFTER_MS = 15 * 60e3; // without a decision for so long, one has had a break
const desk = $("desk");

// --- who ------------------------------------------------------------------------------------------------------------

// With a token its subject reviews. Where access is open, whoever one says one is.
const me = () => desk.dataset.reviewer || $("reviewer").value.trim();

function named() {
  if (desk.dataset.reviewer) return {};
  if (!me()) {
    $("reviewer").focus();
    throw Object.assign(new Error("Say first who reviews: your name, at the top."), { mine: true });
  }
  return { reviewer: me() };
}

if (desk && $("reviewer")) {
  $("reviewer").value = localStorage.reviewer ?? "";
  $("reviewer").addEventListener("change", () => {
    localStorage.reviewer = me();
    dispatchEvent(new Event("reviewer"));
  });
}

// --- jobs -----------------------------------------------------------------------------------------------------------

const jobPage = (jobId) => "/console/review/" + encodeURIComponent(jobId);
const jobCall = (jobId, act, body = {}) => post(`/v1/review/jobs/${encodeURIComponent(jobId)}/${act}`, { ...named(), ...body });
const filters = () => JSON.parse(sessionStorage.reviewFilters ?? "{}");

function queuePage() {
  const asked = new URLSearchParams(filters()).toString();
  return "/console/review" + (asked ? "?" + asked : "");
}

// What is said goes along to the page that comes next.
function go(path, text = "") {
  if (text) sessionStorage.reviewSaid = text;
  location.assign(path);
}

async function takeNext(text = "") {
  try {
    const { job } = await post("/v1/review/lease", { ...named(), ...filters() });
    go(jobPage(job.job_id), text);
  } catch (error) {
    if (error.status !== 404) throw error;
    go(queuePage(), `${text} Nothing else waits for you.`.trim());
  }
}

// --- keys -----------------------------------------------------------------------------------------------------------

function onKeys(does) {
  document.addEventListener("keydown", (pressed) => {
    if (pressed.ctrlKey || pressed.metaKey || pressed.altKey || pressed.isComposing) return;
    const field = pressed.target.closest?.("input:not([type=radio], [type=checkbox]), textarea, select");
    if (field) {
      if (pressed.key === "Escape") field.blur();
      return;
    }
    const act = $("keys").checked ? does[pressed.key] : null;
    if (!act || (pressed.key === "Enter" && pressed.target.closest("a, button, summary"))) return;
    pressed.preventDefault();
    act();
  });
}

if ($("keys")) {
  $("keys").checked = localStorage.reviewKeys !== "off";
  $("keys").addEventListener("change", () => { localStorage.reviewKeys = $("keys").checked ? "on" : "off"; });
}

// --- breaks ---------------------------------------------------------------------------------------------------------

function countDecision() {
  const before = JSON.parse(localStorage.reviewed ?? "{}");
  const count = Date.now() - (before.at ?? 0) < BREAK_AFTER_MS ? before.count + 1 : 1;
  localStorage.reviewed = JSON.stringify({ count, at: Date.now() });
  return count;
}

// Tells whether it is time for a break, and offers it.
function offerBreak(count, then) {
  const after = Number(desk.dataset.wellness);
  if (!after || count < after) return false;
  $("decided").textContent = count;
  $("break").hidden = false;
  document.body.classList.add("resting");
  $("break-title").focus();
  $("go-on").onclick = () => {
    localStorage.removeItem("reviewed");
    $("break").hidden = true;
    document.body.classList.remove("resting");
    then();
  };
  return true;
}

if (desk && sessionStorage.reviewSaid) {
  say(sessionStorage.reviewSaid);
  sessionStorage.removeItem("reviewSaid");
}
