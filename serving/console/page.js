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
  if (!response.ok) throw new Error(body.detail || `The API answered ${response.status}.`);
  return body;
}

const post = (path, value) =>
  call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });

function event(type, subject, data) {
  return { specversion: "1.0", id: newId(), source: "console", type: "riverlight." + type, time: new Date().toISOString(), subject, data };
}

// --- the page -------------------------------------------------------------------------------------------------------

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Where one is signed in, the header has a button to end it.
$("sign-out")?.addEventListener("click", () =>
  fetch("/console/session", { method: "DELETE" }).finally(() => location.assign("/console/sign-in")));
