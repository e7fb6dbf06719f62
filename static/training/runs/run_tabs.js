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
  const toEnd = () => {
    const log = document.getElementById("run-log");
    if (log) log.scrollTop = log.scrollHeight;
  };
  document.body.addEventListener("htmx:wsAfterMessage", toEnd);
  toEnd();
})();
