// A button on each piece of code that copies it. It is put there once an answer is whole: while it is being written, each
// frame brings the text anew.
(() => {
  "use strict";
  const SAID_MS = 2000;

  function look() {
    for (const pre of document.querySelectorAll(".laid-out:not([aria-busy]) pre:not(.code > pre)")) {
      const box = document.createElement("div"), button = document.createElement("button");
      box.className = "code";
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.setAttribute("aria-label", "Copy the code");
      pre.replaceWith(box);
      box.append(pre, button);
    }
  }
  async function copy(button) {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch { // no clipboard without HTTPS, or the person forbids it: what is selected can be copied by hand
      getSelection().selectAllChildren(code);
      return say(button, "Selected");
    }
    say(button, "Copied");
  }
  function say(button, words) {
    button.textContent = words;
    button.setAttribute("aria-label", words);
    setTimeout(() => { button.textContent = "Copy"; button.setAttribute("aria-label", "Copy the code"); }, SAID_MS);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".copy");
    if (button) copy(button);
  });
  document.addEventListener("DOMContentLoaded", look);
  for (const name of ["htmx:afterSwap", "htmx:oobAfterSwap", "judge:begin"]) document.addEventListener(name, look);
})();
