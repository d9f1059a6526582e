"use strict";

const form = document.getElementById("sign-in");
const message = document.getElementById("message");

form.addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  message.textContent = "";
  const token = document.getElementById("token").value.trim();
  try {
    const response = await fetch("/console/session", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token }),
    });
    if (response.ok) return location.replace("/console");
    message.textContent = (await response.json().catch(() => ({}))).detail || `The API answered ${response.status}.`;
  } catch {
    message.textContent = "The API does not answer. Is the system running?";
  }
});
