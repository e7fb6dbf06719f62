// Stop is heard although the answer above it grows and moves it away between press and release: the browser sends its
// click elsewhere then. Whoever moves the pointer away first has thought better of it.
(() => {
  const SLACK = 10; // pixels that a hand trembles
  let press = null;
  document.addEventListener("pointerdown", (event) => {
    const stop = event.target.closest("#doing [ws-send]");
    press = stop && event.isPrimary && event.button === 0 ? { stop, x: event.clientX, y: event.clientY } : null;
  });
  document.addEventListener("pointercancel", () => (press = null));
  document.addEventListener("pointerup", (event) => {
    const began = press;
    press = null;
    if (!began || !began.stop.isConnected) return;
    const stayed = Math.hypot(event.clientX - began.x, event.clientY - began.y) < SLACK;
    if (stayed && !began.stop.contains(document.elementFromPoint(event.clientX, event.clientY))) began.stop.click();
  });
})();
