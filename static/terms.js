// Definitions of terms. A press opens them without this; here they open under the mouse and with the keyboard's focus, too.
(() => {
  const LINGER_MS = 250; // time to go from the word to its definition
  let closing;
  const termAt = (node) => node instanceof Element && node.closest(".term");
  const noteAt = (node) => node instanceof Element && node.closest(".term-note");
  const noteOf = (term) => document.getElementById(term.getAttribute("popovertarget"));
  const isOpen = (note) => note.matches(":popover-open");

  function open(term) {
    clearTimeout(closing);
    const note = noteOf(term);
    if (note.showPopover && !isOpen(note)) note.showPopover({ source: term });
  }
  function closeSoon(note) {
    clearTimeout(closing);
    closing = setTimeout(() => isOpen(note) && note.hidePopover(), LINGER_MS);
  }

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    if (termAt(event.target)) open(termAt(event.target));
    else if (noteAt(event.target)) clearTimeout(closing);
  });
  document.addEventListener("pointerout", (event) => {
    if (event.pointerType !== "mouse") return;
    const note = noteAt(event.target) || (termAt(event.target) && noteOf(termAt(event.target)));
    if (note) closeSoon(note);
  });
  document.addEventListener("focusin", (event) => {
    if (event.target.matches(".term:focus-visible")) open(event.target);
    else if (noteAt(event.target)) clearTimeout(closing);
  });
  document.addEventListener("focusout", (event) => {
    const note = noteAt(event.target) || (termAt(event.target) && noteOf(termAt(event.target)));
    if (note && !note.contains(event.relatedTarget)) closeSoon(note);
  });
  // What the mouse has opened by pointing stays open when it is pressed as well.
  document.addEventListener("click", (event) => {
    const term = termAt(event.target);
    if (term && event.pointerType === "mouse" && isOpen(noteOf(term))) event.preventDefault();
  });
})();
