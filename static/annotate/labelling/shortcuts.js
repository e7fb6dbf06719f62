// On the page for one's own keys a key is pressed, not spelled.
(() => {
  "use strict";
  document.addEventListener("keydown", (event) => {
    const field = event.target.closest(".own-key input");
    const single = event.key.length === 1 && event.key.trim();
    if (!field || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !single) return;
    event.preventDefault();
    field.value = event.key.toLowerCase();
  });
})();
