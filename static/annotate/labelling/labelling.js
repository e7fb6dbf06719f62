// The workplace with JavaScript on. Without it the page still works by plain forms. Its other parts: labelling_drafts
// (what was entered survives), labelling_ahead (the next items are here), labelling_outbox (what was sent arrives),
// labelling_time, labelling_scales, labelling_spans, labelling_keys.
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const GUIDELINES = "assay:guidelines-closed", PLAIN = "assay:plain-text", PAUSE_MS = 400;

  const task = () => document.querySelector("#task[data-assignment]");
  const form = () => document.getElementById("verdict-form");
  const field = (name) => document.querySelector(`[form=verdict-form][name="${CSS.escape(name)}"]`);
  const store = (key, value) => { try { localStorage.setItem(key, JSON.stringify(value)); return true; } catch { return false; /* full or forbidden */ } };
  const read = (key) => { try { return JSON.parse(localStorage.getItem(key)); } catch { return null; } };
  const forget = (key) => { try { localStorage.removeItem(key); } catch { /* nothing was kept */ } };
  const tell = (name, detail) => document.dispatchEvent(new CustomEvent(`judge:${name}`, { detail }));
  const changed = () => { if (task()) tell("changed"); };
  const send = () => { if (form()) form().requestSubmit(); };
  const Judge = (window.Judge = { task, form, field, store, read, forget, changed, send, seconds: () => 0 });
  // A new item takes nothing for a moment: a key pressed twice, or a second click, is no annotation of what nobody has read.
  let waking = null;
  Judge.isReady = () => !task() || "ready" in task().dataset;
  function wake() {
    const shown = task();
    clearTimeout(waking);
    waking = setTimeout(() => { shown.dataset.ready = ""; }, PAUSE_MS);
  }

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "task") begin({ swapped: true });
    // A flag is raised beside the work: what was focused is gone, and the keys are the item's again.
    if (event.detail.target.id === "flag-form" && task() && document.activeElement === document.body) task().focus({ preventScroll: true });
  });

  // Show an item that is here already in the place of the one that is shown.
  Judge.show = (section) => {
    delete section.dataset.ready;
    for (const details of section.querySelectorAll("details.above[open]")) details.open = false;
    document.getElementById("task").replaceWith(section);
    htmx.process(section);
    Judge.form().elements.shown_at.value = (Date.now() / 1000).toFixed(2);
    window.scrollTo(0, 0);
    begin({ swapped: true, isAhead: true });
  };

  // --- where one thing is asked a choice sends at once; Undo takes it back ---
  document.addEventListener("click", (event) => {
    // Arrow keys move a radio group by clicks without detail: those choose, and only Enter sends.
    const choice = event.target.closest(".choices input, [data-at-once] .steps input");
    if (choice && event.detail > 0) Judge.choose(choice);
  });
  Judge.choose = (choice) => {
    choice.checked = true;
    changed();
    if ("atOnce" in task().dataset) send(); else choice.focus({ preventScroll: true });
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

  function begin(how) {
    if (!task()) { tell("begin", how); return; }
    const guidelines = document.querySelector(".guidelines");
    if (guidelines) {
      guidelines.open = !Judge.read(GUIDELINES) && innerWidth > 768 || Boolean(guidelines.querySelector(".tag"));
      guidelines.addEventListener("toggle", () => { if (innerWidth > 768) Judge.store(GUIDELINES, !guidelines.open); });
    }
    if ("spans" in task().dataset || Judge.read(PLAIN)) Judge.showPlain(true);
    bar.disconnect();
    bar.observe(document.querySelector(".verdict"));
    tell("begin", how);
    wake();
    const earlier = document.querySelector(".earlier[open]");
    if (earlier && earlier.offsetHeight > innerHeight / 2) document.getElementById("prompt").scrollIntoView({ block: "center" });
    if (how.swapped) task().focus({ preventScroll: true });
  }
  // After htmx has taken the forms: its own listener was added before this one.
  document.addEventListener("DOMContentLoaded", () => begin({ swapped: false }));
})();
