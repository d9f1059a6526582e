"use strict";

const REFRESH_MS = 10000;
const rows = () => [...document.querySelectorAll(".queue tbody tr")];
const rowOf = (node) => node?.closest?.(".queue tbody tr");
const selected = () => rowOf(document.activeElement) ?? rows().find((one) => one.classList.contains("selected"));

function select(row) {
  rows().forEach((one) => one.classList.toggle("selected", one === row));
  row?.querySelector("a").focus();
}

function move(by) {
  const all = rows();
  const at = all.indexOf(selected());
  select(all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)]);
}

const isMine = (row) => Boolean(row?.dataset.holder) && row.dataset.holder === me();

async function attempt(act) {
  try {
    await act();
  } catch (error) {
    say(error.message, true);
  }
}

async function take(row) {
  if (!row) return say("Choose a job first, with j and k.", true);
  if (isMine(row)) return go(jobPage(row.dataset.jobId));
  try {
    await jobCall(row.dataset.jobId, "lease");
    go(jobPage(row.dataset.jobId));
  } catch (error) {
    row.classList.toggle("gone", error.status === 409);
    throw error;
  }
}

async function release(row) {
  if (!isMine(row)) return say("Only a job that is yours can be put back.", true);
  await jobCall(row.dataset.jobId, "release");
  go(queuePage(), "Put back into the queue.");
}

function markMine() {
  for (const row of rows()) {
    row.classList.toggle("mine", isMine(row));
    const button = row.querySelector("[data-act=release]");
    if (button) button.hidden = !isMine(row);
  }
}

async function refresh() {
  if (document.hidden) return;
  try {
    const { counts } = await call("/v1/review/jobs?limit=1");
    const open = Object.values(counts).reduce((sum, states) => sum + (states.open ?? 0), 0);
    $("waiting").textContent = open.toLocaleString("en");
  } catch { /* what is shown stays; whoever acts is told what is wrong */ }
}

const nextOne = () => attempt(takeNext);

sessionStorage.reviewFilters = JSON.stringify(
  Object.fromEntries(["harm", "kind"].filter((name) => desk.dataset[name]).map((name) => [name, desk.dataset[name]])));
document.addEventListener("click", ({ target }) => {
  const act = target.closest("[data-act]")?.dataset.act;
  if (act) attempt(() => (act === "lease" ? take : release)(rowOf(target)));
});
document.addEventListener("focusin", ({ target }) => { if (rowOf(target)) rows().forEach((one) => one.classList.toggle("selected", one === rowOf(target))); });
document.addEventListener("keydown", (pressed) => { // on a job Enter takes it; a click only looks
  if (pressed.key !== "Enter" || pressed.ctrlKey || pressed.metaKey || !pressed.target.closest(".queue td.reason a")) return;
  pressed.preventDefault();
  attempt(() => take(selected()));
});
$("next").addEventListener("click", nextOne);
addEventListener("reviewer", markMine);
onKeys({
  j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1),
  l: () => attempt(() => take(selected())), Enter: () => attempt(() => take(selected())),
  o: () => selected() && go(jobPage(selected().dataset.jobId)),
  r: () => attempt(() => release(selected())), n: nextOne,
});
markMine();
setInterval(refresh, REFRESH_MS);
