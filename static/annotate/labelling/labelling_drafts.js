// Whatever is entered is kept in this browser as it is entered, until the server has it: over a reload, a session that
// ended, an item whose time ran out. What was sent and did not arrive is labelling_outbox's.
(() => {
  "use strict";
  const Judge = window.Judge, DRAFT = "assay:draft:", DAYS_KEPT = 3;
  const KEPT = /^(choice|thumbs|stars|edited_from|comment|text|spans|aspect-.+|rank-.+)$/;
  Judge.draftName = () => DRAFT + ("editing" in Judge.task().dataset ? "edit:" : "") + Judge.task().dataset.assignment;

  function save() {
    const values = Object.fromEntries([...new FormData(Judge.form())].filter(([field]) => KEPT.test(field)));
    Judge.store(Judge.draftName(), { values, seconds: Judge.seconds(), at: Date.now() });
  }
  function restore() {
    const draft = Judge.read(Judge.draftName());
    if (!draft || !draft.values || "refused" in Judge.task().dataset) return;
    Judge.goOnFrom(draft.seconds || 0); // with those that the item came with
    for (const field of document.querySelectorAll("[form=verdict-form][name]")) {
      const value = draft.values[field.name];
      if (field.type === "radio") field.checked = value !== undefined && field.value === value;
      else if (value !== undefined) {
        field.value = value;
        if (value && field.closest("details")) field.closest("details").open = true;
      }
    }
    document.dispatchEvent(new CustomEvent("judge:restored"));
  }
  function dropOld() {
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(DRAFT) && Date.now() - ((Judge.read(key) || {}).at || 0) > DAYS_KEPT * 86400000) Judge.forget(key);
    }
  }

  // --- what was begun on an item that ran out ---
  const isBegun = (draft) => Boolean(draft && draft.values) && Object.entries(draft.values).some(([field, value]) => field !== "edited_from" && value && value !== "[]");
  Judge.isBegun = () => isBegun(Judge.read(Judge.draftName()));
  function offer() {
    const told = document.getElementById("kept-draft"), status = document.getElementById("judge-status");
    const ids = (status.dataset.runOut || "").split(" ").filter(Boolean);
    const begun = ids.find((id) => isBegun(Judge.read(DRAFT + id)));
    told.hidden = !begun;
    if (!begun) return;
    told.dataset.item = begun;
    const there = new URL(location.href);
    there.searchParams.set("item", begun);
    told.querySelector("a").href = there.href;
  }
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-forget]")) return;
    Judge.forget(DRAFT + document.getElementById("kept-draft").dataset.item);
    offer();
  });

  try { dropOld(); } catch { /* a browser that keeps nothing */ }
  document.addEventListener("judge:changed", save);
  // Last of all that begins: the other parts have set the page up by then.
  document.addEventListener("judge:begin", () => queueMicrotask(() => { if (Judge.task()) restore(); offer(); }));
})();
