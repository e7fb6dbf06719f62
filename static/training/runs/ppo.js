// The step that a reader chose to look at survives the page's live updates.
"use strict";
(() => {
  let chosen = "";
  document.body.addEventListener("change", (event) => { if (event.target.name === "shown-step") chosen = event.target.id; });
  document.body.addEventListener("htmx:wsAfterMessage", () => {
    const radio = chosen && document.getElementById(chosen);
    if (radio) radio.checked = true;
  });
})();
