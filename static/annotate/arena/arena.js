// Keys of the arena: each stands on its button as data-key. Nothing here knows which model is which.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.form) {
    const send = event.target.form.querySelector("[data-submit]");
    if (send) event.target.form.requestSubmit(send);
    return;
  }
  if (typing && event.key === "Escape") event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = CSS.escape(event.key.toLowerCase());
  const field = key === "c" ? document.getElementById("comment") : document.querySelector(`[data-key-focus="${key}"]`);
  if (field && !field.matches(":disabled")) {
    event.preventDefault();
    field.closest("details")?.setAttribute("open", "");
    field.focus();
    return;
  }
  const control = document.querySelector(`[data-key~="${key}"]`);
  if (control && !control.matches(":disabled")) {
    event.preventDefault();
    control.click();
  }
});

// An example fills the field; without JavaScript its link does the same.
document.addEventListener("click", (event) => {
  const example = event.target.closest("[data-example]"), field = document.getElementById("text");
  if (!example || !field || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  field.value = example.textContent;
  field.focus();
});

// How long one waits already, as long as not both answers have begun.
(() => {
  let since = performance.now();
  setInterval(() => {
    const clock = document.querySelector(".waiting .clock");
    if (clock && document.getElementById("waiting").textContent.trim()) clock.textContent = `${Math.round((performance.now() - since) / 1000)} s`;
  }, 1000);
  document.addEventListener("htmx:afterSwap", (event) => { if (event.detail.target.id === "battle") since = performance.now(); });
})();

// A button that goes away while it has the focus (Stop, at the end) leaves it to the battle, not to the top of the page.
let leaving = false;
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  // The answer to a stop and the live page both bring the fields in: the second must not wipe what is being typed.
  const { target, fragment } = event.detail;
  const again = target.matches("fieldset") && fragment?.querySelector?.(`#${target.id}`);
  if (again && again.disabled === target.disabled) event.detail.shouldSwap = false;
  leaving = event.detail.target.contains(document.activeElement);
});
document.addEventListener("htmx:oobAfterSwap", () => {
  if (leaving && document.activeElement === document.body) document.getElementById("battle")?.focus({ preventScroll: true });
  leaving = false;
});
// The tab that was chosen stays: while a swap brings the tabs in anew, two groups of one name unset each other.
let tab = "tab-a";
document.addEventListener("change", (event) => { if (event.target.matches(".tabs input")) tab = event.target.id; });
document.addEventListener("htmx:afterSettle", () => {
  const chosen = document.getElementById(tab);
  if (chosen && !document.querySelector(".tabs :checked")) chosen.checked = true;
});

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id !== "battle") return;
  const battle = document.getElementById("battle");
  const next = battle.querySelector("[autofocus]");
  if (next) next.focus({ preventScroll: true });
  else {
    battle.focus({ preventScroll: true });
    battle.querySelector(".pair:last-of-type")?.scrollIntoView({ block: "nearest" });
  }
});

// A vote that was refused, or never arrived, must not look like one that nobody took. Where the battle has changed, a
// reload shows how it stands: the reveal when another tab has voted, else why it is not to be had. Elsewhere (too many
// for now, a server that failed) the page stays, with what was typed, and says what the server says.
document.addEventListener("htmx:responseError", (event) => {
  const battle = event.detail.elt.closest("#battle"), { status, responseText } = event.detail.xhr;
  if (!battle) return;
  if ([403, 404, 409].includes(status)) return location.reload();
  const said = new DOMParser().parseFromString(responseText, "text/html").querySelector(".error p");
  said?.querySelector("strong")?.remove();
  const words = said?.textContent.replace(/^\s*:\s*/, "").trim();
  const progress = battle.querySelector("#progress");
  if (progress) progress.textContent = words || `The server failed (${status}). Nothing is lost; try again.`;
});
document.addEventListener("htmx:sendError", (event) => {
  const progress = event.detail.elt.closest("#battle")?.querySelector("#progress");
  if (progress) progress.textContent = "Not sent: the server cannot be reached. Your vote was not saved; try again.";
});

// A proxy may refuse websockets, or let them hang. Then the page asks for itself, and the server waits with it.
(() => {
  "use strict";
  const PATIENCE_MS = 5000;
  let isLive = false, patience = null;
  const isWriting = () => document.querySelector('#battle[ws-connect] [aria-busy="true"]');
  function expectFrames() {
    clearTimeout(patience);
    patience = setTimeout(askAgain, PATIENCE_MS);
  }
  async function askAgain() {
    if (isLive || !isWriting()) return;
    document.getElementById("progress").textContent = "No live connection: an answer appears when the server has it.";
    const focused = document.activeElement?.id;
    await htmx.ajax("GET", "?wait=1", { target: "#battle", select: "#battle", swap: "outerHTML" });
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    expectFrames();
  }
  document.addEventListener("DOMContentLoaded", expectFrames);
  document.addEventListener("htmx:wsAfterMessage", () => { isLive = true; });
  document.addEventListener("htmx:wsClose", () => { isLive = false; expectFrames(); });
  document.addEventListener("htmx:afterSwap", (event) => { if (event.detail.target.id === "battle") expectFrames(); });
})();
