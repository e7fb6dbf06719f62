// The workplace with JavaScript on: keys, drafts that survive a reload, time in view, and work that a lost connection
// cannot lose. Without this file the page still works by plain forms.
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const DRAFT = "assay:draft:", GUIDELINES = "assay:guidelines-closed", DAYS_KEPT = 3, RETRY_MS = 4000;
  const FIELDS = ["choice", "thumbs", "stars", "edited_from", "comment", "text"];
  let inView = 0, since = null, retry = null, pending = false;

  const task = () => document.querySelector("#task[data-assignment]");
  const form = () => document.getElementById("verdict-form");
  const store = (key, value) => { try { localStorage.setItem(key, value); } catch { /* full or forbidden: no draft */ } };
  const read = (key) => { try { return JSON.parse(localStorage.getItem(key)); } catch { return null; } };
  const forget = (key) => { try { localStorage.removeItem(key); } catch { /* nothing was kept */ } };
  const draftKey = () => DRAFT + task().dataset.assignment;
  const checked = (name) => document.querySelector(`[form=verdict-form][name=${name}]:checked`);

  // --- drafts ---
  function values() {
    const data = new FormData(form());
    return Object.fromEntries(FIELDS.map((name) => [name, data.get(name) || ""]));
  }
  function saveDraft(more = {}) {
    store(draftKey(), JSON.stringify({ ...values(), key: form().idempotency_key.value, seconds: seconds(), at: Date.now(), pending, ...more }));
  }
  function restoreDraft() {
    const draft = read(draftKey());
    if (!draft || "refused" in task().dataset) return;
    inView = (draft.seconds || 0) * 1000;
    for (const name of FIELDS) {
      const fields = [...document.querySelectorAll(`[form=verdict-form][name=${name}]`)];
      for (const field of fields) {
        if (field.type === "radio") field.checked = field.value === draft[name] || (field.checked && !draft[name]);
        else if (draft[name]) { field.value = draft[name]; field.closest("details").open = true; }
      }
    }
    // The same key as before the reload: had the first try arrived after all, the server answers with that one.
    if (draft.pending && draft.key) { form().idempotency_key.value = draft.key; waitForConnection(); send(); }
  }
  function dropOldDrafts() {
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(DRAFT) && Date.now() - ((read(key) || {}).at || 0) > DAYS_KEPT * 86400000) forget(key);
    }
  }

  // --- time with the page in view ---
  const seconds = () => Math.round((inView + (since === null ? 0 : performance.now() - since)) / 10) / 100;
  function lookAway() { if (since !== null) { inView += performance.now() - since; since = null; } }
  function lookBack() { if (since === null && !document.hidden) since = performance.now(); }
  document.addEventListener("visibilitychange", () => (document.hidden ? lookAway() : lookBack()));

  // --- sending, and a connection that was lost ---
  function send() { form().requestSubmit(); }
  function waitForConnection() {
    pending = true;
    saveDraft();
    task().querySelector(".offline").hidden = false;
    clearInterval(retry);
    retry = setInterval(send, RETRY_MS);
  }
  function arrived() {
    pending = false;
    clearInterval(retry);
  }
  const ours = (event) => event.detail.elt && event.detail.elt.closest("#task");
  document.addEventListener("htmx:configRequest", (event) => {
    if (ours(event) && form()) event.detail.parameters.seconds = seconds();
  });
  document.addEventListener("htmx:beforeRequest", (event) => { if (ours(event)) task().classList.add("sending"); });
  document.addEventListener("htmx:afterRequest", (event) => { if (task()) task().classList.remove("sending"); });
  for (const lost of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(lost, (event) => { if (ours(event) && event.detail.elt === form()) waitForConnection(); });
  }
  window.addEventListener("online", () => { if (pending && form()) send(); });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const status = event.detail.xhr.status;
    if (event.detail.target.id !== "task") return;
    if (status >= 500) { if (event.detail.requestConfig.elt === form()) waitForConnection(); return; }
    // A sign-in page or another whole page instead of our fragment: go there, the draft stays.
    if (!event.detail.xhr.responseText.includes('id="task"')) { event.detail.shouldSwap = false; if (task()) saveDraft(); location.assign(location.href); return; }
    if (status < 400 && task()) forget(draftKey());
    arrived();
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  });
  document.addEventListener("htmx:afterSwap", (event) => { if (event.detail.target.id === "task") begin(true); });

  // --- choosing ---
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-retry]")) return send();
    // Arrow keys move a radio group by clicks without detail: those choose, and only Enter sends.
    const choice = event.target.closest(".choices input");
    if (choice && event.detail > 0) { saveDraft(); send(); }
  });
  document.addEventListener("input", (event) => {
    if (!task() || event.target.getAttribute("form") !== "verdict-form") return;
    if (event.target.name === "edited_from") startFrom(event.target.value);
    saveDraft();
  });
  function startFrom(letter) {
    const text = document.querySelector("[form=verdict-form][name=text]");
    const shown = [...document.querySelectorAll(".answer .text")].map((answer) => answer.textContent);
    if (text.value.trim() && !shown.includes(text.value)) return; // never over somebody's own words
    const answer = letter && document.querySelector(`#answer-${letter} .text`);
    text.value = answer ? answer.textContent : "";
    text.focus();
  }

  // --- keys: each stands on its button ---
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const typing = event.target.matches("textarea, input[type=text]");
    if (event.key === "Escape") { closeSkip(); if (typing) event.target.blur(); return; }
    if (typing || event.target.matches("select")) return;
    const key = event.key.toLowerCase();
    if (key === "enter") {
      if (event.target.matches("button, a, summary") || !form()) return;
      event.preventDefault();
      return send();
    }
    const skipping = document.querySelector(".skip-item[open]");
    const button = skipping && document.querySelector(`[data-skip-key="${CSS.escape(key)}"]`);
    const target = button || document.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (!target) return;
    event.preventDefault();
    press(target);
  });
  function press(target) {
    if (target.matches("summary")) {
      const details = target.parentElement;
      details.open = !details.open;
      const field = details.open && details.querySelector("textarea, .reasons button");
      (field || target).focus({ preventScroll: !field });
    } else if (target.matches("[type=radio]")) {
      target.checked = target.name === "choice" || !target.checked; // the same star again takes it back
      saveDraft();
      if (target.name === "choice") send(); else target.focus();
    } else target.click();
  }
  function closeSkip() { for (const open of document.querySelectorAll(".skip-item[open]")) open.open = false; }

  function begin(swapped) {
    inView = 0; since = null; lookBack();
    if (!task()) return;
    const guidelines = document.querySelector(".guidelines");
    if (guidelines) {
      guidelines.open = !read(GUIDELINES) || Boolean(guidelines.querySelector(".tag"));
      guidelines.addEventListener("toggle", () => store(GUIDELINES, JSON.stringify(!guidelines.open)));
    }
    restoreDraft();
    if (swapped) task().focus({ preventScroll: true });
  }
  dropOldDrafts();
  // After htmx has taken the forms: its own listener was added before this one.
  document.addEventListener("DOMContentLoaded", () => begin(false));
})();
