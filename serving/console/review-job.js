"use strict";

const TICK_MS = 5000;
const EXTEND_BELOW_MS = 5 * 60e3;
const { jobId } = desk.dataset;
const clockAhead = Date.parse(desk.dataset.now) - Date.now(); // the gateway's clock and this one
const form = $("decide");
const media = [...document.querySelectorAll(".medium")];
let holder = desk.dataset.holder;
let until = Date.parse(desk.dataset.until);
let active = 0; // when the reviewer last did something
let extending = false;
let decided = false;

const leftMs = () => (holder ? until - Date.now() - clockAhead : 0);
const isMine = () => Boolean(holder) && holder === me() && leftMs() > 0;

// --- the lease ------------------------------------------------------------------------------------------------------

function showLease() {
  if (!form) return;
  const mine = isMine();
  const minutes = Math.ceil(leftMs() / 60e3);
  form.querySelector("fieldset").disabled = !mine;
  $("take").hidden = decided || mine || (leftMs() > 0 && holder !== me());
  $("release").hidden = !mine;
  $("lease").textContent = decided ? "Decided" : mine ? `Yours for ${minutes} min` : leftMs() > 0 ? `With ${holder} for ${minutes} min` : holder === me() && holder ? "Your time with it is over" : "Free";
}

async function take() {
  await jobCall(jobId, "lease");
  location.reload(); // the post may have changed since this page was made
}

async function release(text = "Put back into the queue.") {
  await jobCall(jobId, "release");
  go(queuePage(), text);
}

// Whoever still works on a job keeps it.
async function extend() {
  if (extending || !isMine() || leftMs() > EXTEND_BELOW_MS || Date.now() - active > 2 * TICK_MS) return;
  extending = true;
  try {
    const { job } = await jobCall(jobId, "lease");
    until = Date.parse(job.leased_until);
  } catch { /* it is said when the decision is sent */ } finally {
    extending = false;
  }
}

// --- problems -------------------------------------------------------------------------------------------------------

function complain(text, ...remedies) {
  if (!form) return say(text, true);
  $("problem").textContent = text;
  $("remedies").hidden = !remedies.length;
  $("remedies").replaceChildren(...remedies.map(([label, act]) => {
    const button = element("button", { type: "button", className: "plain", textContent: label });
    button.addEventListener("click", () => attempt(act));
    return button;
  }));
}

const onward = ["Next job", () => takeNext()];

async function explain(error) {
  if (error.status === 403) return complain(`${error.message}.`, onward);
  if (error.status !== 409) return complain(error.message, ...(error.status || error.mine ? [] : [["Try again", submit]]));
  const { job } = await call("/v1/review/jobs/" + encodeURIComponent(jobId)).catch(() => ({ job: {} })); // what it is now says why
  const held = job.state === "leased" && Date.parse(job.leased_until) > Date.now() + clockAhead;
  if (held && job.reviewer === me()) {
    return complain("The post has changed since you took the job. Look at it again, then decide.", ["Show it as it is now", lookAgain], onward);
  }
  if (!held && (job.state === "open" || job.state === "leased")) {
    return complain("Your time with this job is over. Nothing was decided; what you wrote is still here.", ["Take it again", keepWords], onward);
  }
  complain(`${error.message}. Nothing was decided by you.`, onward);
}

async function attempt(act) {
  complain("");
  try {
    await act();
  } catch (error) {
    await explain(error);
  }
}

async function lookAgain() {
  await jobCall(jobId, "release");
  await take();
}

// Takes the job without loading the page again: the store says so if the post has changed.
async function keepWords() {
  const { job } = await jobCall(jobId, "lease");
  holder = job.reviewer;
  until = Date.parse(job.leased_until);
  showLease();
  $("reason").focus();
}

// --- deciding -------------------------------------------------------------------------------------------------------

const chosen = () => form.elements.action.value;

function choose(action) {
  if (!form || !isMine()) return complain(form ? "Take the job first." : "This job is closed.");
  form.elements.action.value = action;
  showAction();
  (action !== "allow" && !$("harm").value ? $("harm") : $("reason")).focus();
}

function showAction() {
  $("harm").disabled = chosen() === "allow";
  document.querySelectorAll(".action").forEach((one) => one.classList.toggle("chosen", one.querySelector("input").checked));
}

function showPolicy() {
  document.querySelectorAll(".policy details").forEach((one) => { one.open = one.dataset.harm === $("harm").value; });
}

function wanting(field, text) {
  field.setAttribute("aria-invalid", "true");
  field.focus();
  complain(text);
}

async function submit() {
  for (const field of [$("harm"), $("reason")]) field.removeAttribute("aria-invalid");
  if (!isMine()) return complain("Take the job first: it is not yours.", ["Take it", keepWords]);
  const action = chosen();
  if (!action) return wanting(form.elements.action[0], "Choose what to do: 1 allow, 2 demote, 3 enforce.");
  const harm = action === "allow" ? null : $("harm").value;
  if (harm === "") return wanting($("harm"), `To ${action} a post, say which harm it does.`);
  const reason = $("reason").value.trim();
  if (!reason) return wanting($("reason"), "Say why: a decision needs a reason.");
  $("submit").disabled = true;
  say("Deciding…");
  try {
    await jobCall(jobId, "decision", { action, harm, reason });
  } catch (error) {
    say("");
    throw error;
  } finally {
    $("submit").disabled = false;
  }
  const said = `Decided: ${action}${harm ? ", " + harm.replace("_", "-") : ""}.`;
  say(said);
  [decided, holder] = [true, ""];
  showLease();
  if (!offerBreak(countDecision(), () => attempt(() => takeNext(said)))) await takeNext(said);
}

// --- pictures -------------------------------------------------------------------------------------------------------

function show(medium, clear) {
  medium.setAttribute("aria-pressed", String(clear));
  medium.setAttribute("aria-label", medium.getAttribute("aria-label").replace(/: .*/, clear ? ": hide it" : ": show it"));
  medium.querySelector(".caption").lastChild.textContent = clear ? " hide" : " show";
  medium.querySelector("img").src = `/v1/review/media/${medium.dataset.mediaId}${clear ? "?clear=true" : ""}`;
}

const isClear = (medium) => medium.getAttribute("aria-pressed") === "true";

function toggleMedia() {
  const focused = document.activeElement.closest(".medium");
  const clear = focused ? !isClear(focused) : !media.some(isClear);
  (focused ? [focused] : media).forEach((one) => show(one, clear));
}

function lost(medium) {
  medium.disabled = true;
  medium.classList.add("lost");
  medium.querySelector(".caption").textContent = "cannot be shown";
}

for (const medium of media) {
  const image = medium.querySelector("img");
  medium.addEventListener("click", () => show(medium, !isClear(medium)));
  image.addEventListener("error", () => lost(medium));
  if (image.complete && !image.naturalWidth) lost(medium);
}

// --- wiring ---------------------------------------------------------------------------------------------------------

$("next").addEventListener("click", () => attempt(() => takeNext()));
$("take")?.addEventListener("click", () => attempt(take));
$("release")?.addEventListener("click", () => attempt(() => release()));
form?.addEventListener("submit", (submitted) => { submitted.preventDefault(); attempt(submit); });
form?.addEventListener("change", showAction);
$("harm")?.addEventListener("change", showPolicy);
document.addEventListener("keydown", (pressed) => {
  if (form && pressed.key === "Enter" && (pressed.ctrlKey || pressed.metaKey) && !pressed.isComposing && $("break").hidden && !$("submit").disabled) {
    pressed.preventDefault();
    attempt(submit);
  }
});
for (const kind of ["keydown", "pointerdown", "scroll"]) addEventListener(kind, () => { active = Date.now(); }, { passive: true });
addEventListener("reviewer", showLease);
onKeys({
  1: () => choose("allow"), 2: () => choose("demote"), 3: () => choose("enforce"),
  h: () => $("harm")?.focus(), i: () => $("reason")?.focus(), u: toggleMedia,
  l: () => form && !decided && !isMine() && attempt(take),
  r: () => isMine() && attempt(() => release()),
  n: () => attempt(() => takeNext()), q: () => go(queuePage()),
});
showLease();
setInterval(() => { extend(); showLease(); }, TICK_MS);
