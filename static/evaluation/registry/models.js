// A lineage that is wider than the page begins with the model whose page it is in view.
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".graph .box.current")) {
    const frame = box.closest(".wide");
    const middle = box.getBoundingClientRect().left - frame.getBoundingClientRect().left - frame.clientWidth / 2 + 80;
    if (middle > 0) frame.scrollLeft = middle;
  }
});
