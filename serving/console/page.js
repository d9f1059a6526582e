"use strict";
// What every page of the console needs.

const $ = (id) => document.getElementById(id);
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
const USER = (sessionStorage.user ||= "console-" + newId());

// --- the API --------------------------------------------------------------------------------------------------------

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The API does not answer. Is the system running?");
  }
  if (response.status === 401) location.assign("/console/sign-in"); // the token has ended
  const body = await response.json().catch(() => ({})); // what stands before the API may answer in its own words
  if (!response.ok) throw Object.assign(new Error(body.detail || `The API answered ${response.status}.`), { status: response.status });
  return body;
}

const post = (path, value) =>
  call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });

function event(type, subject, data) {
  return { specversion: "1.0", id: newId(), source: "console", type: "riverlight." + type, time: new Date().toISOString(), subject, data };
}

// What was shown and done goes the way everybody's events go. Tells whether it was counted.
async function count(kind, shown, { user_id = USER, ...data }) {
  if (!shown.length) return false;
  const events = shown.map(({ result, position }) => event("interaction." + kind, user_id, {
    user_id, item_id: result.item_id, position, device: "console", ...data,
  }));
  try {
    const { rejected } = await post("/v1/events/interactions", events);
    if (rejected.length) throw new Error(rejected[0].error);
    return true;
  } catch (error) {
    say(`This ${kind} was not counted: ${error.message}`, true);
    return false;
  }
}

// --- the page -------------------------------------------------------------------------------------------------------

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function say(text, bad = false) {
  $("message").textContent = text;
  $("message").className = bad ? "bad" : "";
}

function status(text, className, why) {
  Object.assign($("index-state"), { textContent: text, className, title: why });
}

function row(tag, values, className = "") {
  return element("tr", { className }, ...values.map((value) => element(tag, { textContent: value, scope: tag === "th" ? "col" : "" })));
}

// --- candidates -----------------------------------------------------------------------------------------------------

const titles = new Map(); // what the page knows to call an item or media

const nameOf = (itemId) => (titles.has(itemId) ? `${titles.get(itemId)} (${itemId})` : itemId);

function fateOf(candidate, fates) {
  const because = candidate.because_of ? " " + (titles.get(candidate.because_of) ?? candidate.because_of) : "";
  return (fates[candidate.reason] ?? candidate.reason) + because;
}

// --- signing out ----------------------------------------------------------------------------------------------------

// Where one is signed in, the header has a button to end it.
$("sign-out")?.addEventListener("click", () =>
  fetch("/console/session", { method: "DELETE" }).finally(() => location.assign("/console/sign-in")));
