// The list of runs is swapped in anew while it is live; what was ticked for comparing stays ticked.
"use strict";
(() => {
  const ticked = () => [...document.querySelectorAll("#run-rows [name=run]:checked")].map((box) => box.value);
  let kept = [];
  document.addEventListener("htmx:wsBeforeMessage", () => { kept = ticked(); });
  document.addEventListener("htmx:wsAfterMessage", () => {
    for (const value of kept) {
      const box = document.querySelector(`#run-rows [name=run][value="${value}"]`);
      if (box) box.checked = true;
    }
  });
})();
