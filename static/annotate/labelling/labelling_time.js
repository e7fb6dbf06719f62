// How long a judgement took, without the time when nobody was there.
//
// Time counts while the page is in view and there was a sign of life (pointer, key, scroll, touch) not long ago. Who
// reads gives none: a screen of text is read in half a minute or so before it is scrolled, which is the pause that
// counts in full. After a longer silence those 30 seconds count and no more: the rest was lunch.
(() => {
  "use strict";
  const Judge = window.Judge, READING_PAUSE_MS = 30000;
  let counted = 0, shownSince = 0, last = null, alive = false; // last: the last moment up to which time is counted; null while the page is not in view

  function count() {
    alive = true;
    if (last === null) return;
    const now = performance.now();
    counted += Math.min(now - last, READING_PAUSE_MS);
    last = now;
  }
  const soFar = () => counted + (last === null ? 0 : Math.min(performance.now() - last, READING_PAUSE_MS));
  Judge.seconds = () => Math.round(soFar() / 10) / 100;
  Judge.goOnFrom = (seconds) => { counted = Math.max(counted, seconds * 1000); };
  for (const sign of ["pointermove", "pointerdown", "keydown", "wheel", "scroll", "touchmove", "selectionchange"]) {
    document.addEventListener(sign, count, { passive: true, capture: true });
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { count(); last = null; } else last = performance.now();
  });
  // An item does not run out under the hands of somebody who is at work on it.
  const A_MINUTE = 60000;
  let keptAt = Date.now();
  setInterval(() => {
    const task = Judge.task();
    if (!task || document.hidden || !alive) return;
    alive = false;
    if (Date.now() - keptAt < Number(task.dataset.minutes) * A_MINUTE / 3) return;
    keptAt = Date.now();
    const body = new FormData(Judge.form());
    fetch(task.dataset.keep, { method: "POST", body: new URLSearchParams([...body].filter(([name]) => ["assignment", "csrfmiddlewaretoken"].includes(name))) }).catch(() => {});
  }, A_MINUTE);

  Judge.shownFor = () => (performance.now() - shownSince) / 1000;

  document.addEventListener("judge:begin", () => { keptAt = Date.now(); counted = 0; Judge.goOnFrom(Number(Judge.task()?.dataset.seconds || 0)); shownSince = performance.now(); last = document.hidden ? null : performance.now(); });
})();
