// Whatever is entered is kept in this browser as it is entered, and sent once: after a reload with the same key, so that
// had the first try arrived after all, the server answers with that one.
(() => {
  "use strict";
  const Judge = window.Judge, DRAFT = "assay:draft:", DAYS_KEPT = 3;
  const KEPT = /^(choice|thumbs|stars|edited_from|comment|text|spans|aspect-.+|rank-.+)$/;
  const name = () => DRAFT + ("editing" in Judge.task().dataset ? "edit:" : "") + Judge.task().dataset.assignment;
  const forget = (key) => { try { localStorage.removeItem(key); } catch { /* nothing was kept */ } };

  function save() {
    const values = Object.fromEntries([...new FormData(Judge.form())].filter(([field]) => KEPT.test(field)));
    const key = Judge.form().elements.idempotency_key.value;
    Judge.store(name(), { values, key, seconds: Judge.seconds(), at: Date.now(), pending: Judge.isPending() });
  }
  function restore() {
    const draft = Judge.read(name());
    if (!draft || !draft.values || "refused" in Judge.task().dataset) return;
    Judge.addSeconds(draft.seconds || 0);
    for (const field of document.querySelectorAll("[form=verdict-form][name]")) {
      const value = draft.values[field.name];
      if (field.type === "radio") field.checked = value !== undefined && field.value === value;
      else if (value !== undefined) {
        field.value = value;
        if (value && field.closest("details")) field.closest("details").open = true;
      }
    }
    document.dispatchEvent(new CustomEvent("judge:restored"));
    if (draft.pending && draft.key) { Judge.form().elements.idempotency_key.value = draft.key; Judge.waitForConnection(); Judge.send(); }
  }
  function dropOld() {
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(DRAFT) && Date.now() - ((Judge.read(key) || {}).at || 0) > DAYS_KEPT * 86400000) forget(key);
    }
  }
  try { dropOld(); } catch { /* a browser that keeps nothing */ }
  document.addEventListener("judge:changed", save);
  document.addEventListener("judge:sent", () => forget(name()));
  // Last of all that begins: the other parts have set the page up by then.
  document.addEventListener("judge:begin", () => queueMicrotask(() => { if (Judge.task()) restore(); }));
})();
