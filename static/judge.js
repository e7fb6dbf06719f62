// The workplace with JavaScript on: sending, and a connection that was lost. Without it the page still works by plain
// forms. Its other parts: judge_drafts (what was entered survives), judge_time, judge_scales, judge_spans, judge_keys.
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const GUIDELINES = "assay:guidelines-closed", PLAIN = "assay:plain-text", RETRY_MS = 4000;
  let retry = null, pending = false;

  const task = () => document.querySelector("#task[data-assignment]");
  const form = () => document.getElementById("verdict-form");
  const field = (name) => document.querySelector(`[form=verdict-form][name="${CSS.escape(name)}"]`);
  const store = (key, value) => { try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* full or forbidden */ } };
  const read = (key) => { try { return JSON.parse(localStorage.getItem(key)); } catch { return null; } };
  const tell = (name, detail) => document.dispatchEvent(new CustomEvent(`judge:${name}`, { detail }));
  const changed = () => { if (task()) tell("changed"); };
  const send = () => { if (form()) form().requestSubmit(); };
  const Judge = (window.Judge = { task, form, field, store, read, changed, send, isPending: () => pending, waitForConnection, seconds: () => 0 });

  // --- sending, and a connection that was lost ---
  function waitForConnection() {
    pending = true;
    changed();
    task().querySelector(".offline").hidden = false;
    clearInterval(retry);
    retry = setInterval(send, RETRY_MS);
  }
  function arrived() {
    pending = false;
    clearInterval(retry);
  }
  const isSaid = (elt) => elt === form() || Boolean(elt.closest(".skip-item"));
  const ours = (event) => event.detail.elt && event.detail.elt.closest("#task");
  document.addEventListener("htmx:configRequest", (event) => {
    if (ours(event) && form() && event.detail.elt.id !== "flag-form") event.detail.parameters.seconds = Judge.seconds();
  });
  document.addEventListener("htmx:beforeRequest", (event) => { if (ours(event)) task().classList.add("sending"); });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (task()) task().classList.remove("sending");
    // What comes next is another page: the guidelines, or one's history after an earlier judgement was changed.
    if (task() && isSaid(event.detail.elt) && event.detail.xhr.getResponseHeader("HX-Redirect")) tell("sent");
  });
  for (const lost of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(lost, (event) => { if (ours(event) && event.detail.elt === form()) waitForConnection(); });
  }
  window.addEventListener("online", () => { if (pending) send(); });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, requestConfig, target } = event.detail;
    if (requestConfig.elt.id === "flag-form" && !xhr.responseText.includes("<html")) { // it is answered where it was sent from
      event.detail.shouldSwap = xhr.status < 500;
      event.detail.isError = false;
      return;
    }
    if (target.id !== "task" && requestConfig.elt.id !== "flag-form") return;
    if (xhr.status >= 500) { if (requestConfig.elt === form()) waitForConnection(); return; }
    // A sign-in page or another whole page instead of our fragment: go there, the draft stays.
    if (!xhr.responseText.includes('id="task"')) {
      event.detail.shouldSwap = false;
      changed();
      location.assign(location.href);
      return;
    }
    if (xhr.status < 400 && task() && requestConfig.elt.closest("#task")) tell("sent"); // not when an earlier one is undone
    arrived();
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  });
  document.addEventListener("htmx:afterSwap", (event) => { if (event.detail.target.id === "task") begin(true); });

  // --- choosing between two sends at once; Undo takes it back ---
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-retry]")) return send();
    // Arrow keys move a radio group by clicks without detail: those choose, and only Enter sends.
    const choice = event.target.closest(".choices input");
    if (choice && event.detail > 0) Judge.choose(choice);
  });
  Judge.choose = (choice) => {
    choice.checked = true;
    changed();
    if ("editing" in task().dataset) choice.focus({ preventScroll: true }); else send();
  };
  document.addEventListener("input", (event) => {
    if (!task() || event.target.getAttribute("form") !== "verdict-form") return;
    if (event.target.name === "edited_from") startFrom(event.target.value);
    changed();
  });
  function startFrom(letter) {
    const text = field("text");
    const shown = [...document.querySelectorAll(".answer .raw")].map((answer) => answer.textContent);
    if (text.value.trim() && !shown.includes(text.value)) return; // never over somebody's own words
    const answer = letter && document.querySelector(`#answer-${letter} .raw`);
    text.value = answer ? answer.textContent : "";
    text.focus();
  }

  // --- an answer as it is meant to look, or as it was written ---
  Judge.showPlain = (plain) => {
    for (const answer of document.querySelectorAll(".answer")) {
      const raw = answer.querySelector(".raw");
      if (!raw) continue;
      raw.hidden = !plain;
      answer.querySelector(".laid-out").hidden = plain;
    }
    for (const button of document.querySelectorAll("[data-action=plain]")) button.setAttribute("aria-pressed", plain);
  };
  Judge.isPlain = () => Boolean(document.querySelector(".answer .raw:not([hidden])"));
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-action=plain]")) return;
    Judge.showPlain(!Judge.isPlain());
    // Where words are marked the plain text comes first each time: only there a place is exact.
    if (!("spans" in task().dataset)) Judge.store(PLAIN, Judge.isPlain());
  });

  // The bar's height, so that nothing that is focused hides behind it.
  const bar = new ResizeObserver(([entry]) => document.documentElement.style.setProperty("--bar", `${Math.ceil(entry.target.offsetHeight)}px`));

  function begin(swapped) {
    if (!task()) { tell("begin", { swapped }); return; }
    const guidelines = document.querySelector(".guidelines");
    if (guidelines) {
      guidelines.open = !Judge.read(GUIDELINES) && innerWidth > 768 || Boolean(guidelines.querySelector(".tag"));
      guidelines.addEventListener("toggle", () => { if (innerWidth > 768) Judge.store(GUIDELINES, !guidelines.open); });
    }
    if ("spans" in task().dataset || Judge.read(PLAIN)) Judge.showPlain(true);
    bar.disconnect();
    bar.observe(document.querySelector(".verdict"));
    tell("begin", { swapped });
    const earlier = document.querySelector(".earlier[open]");
    if (earlier && earlier.offsetHeight > innerHeight / 2) document.getElementById("prompt").scrollIntoView({ block: "center" });
    if (swapped) task().focus({ preventScroll: true });
  }
  // After htmx has taken the forms: its own listener was added before this one.
  document.addEventListener("DOMContentLoaded", () => begin(false));
})();
