// Keys of the arena: each stands on its button as data-key. Nothing here knows which model is which.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.form) {
    event.target.form.requestSubmit(event.target.form.querySelector("[data-submit]"));
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const control = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (control && !control.matches(":disabled")) {
    event.preventDefault();
    control.click();
  }
});

// A vote that was refused, or never arrived, must not look like one that nobody took. Reloading shows how the battle
// stands: the reveal when another tab has voted, else why it is not to be had.
document.addEventListener("htmx:responseError", (event) => {
  if (event.detail.elt.closest("#battle")) location.reload();
});
document.addEventListener("htmx:sendError", (event) => {
  const progress = event.detail.elt.closest("#battle")?.querySelector("#progress");
  if (progress) progress.textContent = "Not sent: the server cannot be reached. Your vote has not been cast; try again.";
});
