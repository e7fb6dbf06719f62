// The tabs of a run's page are addresses; fragments of the time when all stood on one page lead to them.
"use strict";
(() => {
  const places = { log: "log", "run-log": "log", charts: "charts", more: "charts", "run-samples": "samples" };
  const follow = () => {
    const tab = places[window.location.hash.slice(1)];
    if (tab && !new URLSearchParams(window.location.search).get("tab")) window.location.replace(`?tab=${tab}`);
  };
  window.addEventListener("hashchange", follow);
  follow();
  // On a phone the current tab is in sight; of a log that grows, its end.
  const current = document.querySelector(".run-tabs [aria-current]");
  if (current) current.parentElement.scrollLeft = current.offsetLeft - current.parentElement.offsetLeft - 40;
  const log = () => document.getElementById("run-log");
  const toEnd = () => { if (log()) log().scrollTop = log().scrollHeight; };
  toEnd();

  // Parts are swapped while one reads them: what was unfolded stays so, the focus stays, and so does a place in the log.
  const folds = () => [...document.querySelectorAll("#live details")].map((fold) => [fold.querySelector("summary")?.textContent, fold]);
  let before = null;
  document.body.addEventListener("htmx:wsBeforeMessage", () => {
    const pre = log();
    const opened = new Set(folds().filter(([, fold]) => fold.open).map(([words]) => words));
    const isAtEnd = !pre || pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 4;
    before = { opened, focused: document.activeElement?.id, top: isAtEnd ? null : pre.scrollTop };
  });
  document.body.addEventListener("htmx:wsAfterMessage", () => {
    if (!before) return;
    for (const [words, fold] of folds()) if (before.opened.has(words)) fold.open = true;
    if (before.focused && document.activeElement === document.body) document.getElementById(before.focused)?.focus({ preventScroll: true });
    if (before.top === null) toEnd();
    else log().scrollTop = before.top;
  });
})();
