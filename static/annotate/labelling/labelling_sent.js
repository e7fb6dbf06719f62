// What was just sent, in one line, for three seconds, or as long as somebody points at it or has the focus there. It stays
// in the page for who hears it.
(() => {
  "use strict";
  const SHOWN_MS = 3000;
  let timer = null;
  const line = () => document.getElementById("sent");

  function show() {
    if (!line()) return;
    line().toggleAttribute("data-shown", Boolean(line().textContent.trim()));
    rest();
  }
  function rest() {
    clearTimeout(timer);
    timer = setTimeout(() => { if (!line().matches(":hover, :focus-within")) delete line().dataset.shown; }, SHOWN_MS);
  }
  const isThere = (event) => event.target.closest?.("#sent");
  for (const name of ["pointerover", "focusin"]) document.addEventListener(name, (event) => { if (isThere(event)) clearTimeout(timer); });
  for (const name of ["pointerout", "focusout"]) document.addEventListener(name, (event) => { if (isThere(event)) rest(); });
  document.addEventListener("judge:begin", (event) => { if (event.detail.isAhead) line()?.replaceChildren(); show(); });
  document.addEventListener("htmx:oobAfterSwap", (event) => { if (event.detail.target.id === "sent") show(); });
})();
