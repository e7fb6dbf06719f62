// What is there to be copied is chosen whole as soon as somebody goes to it.
document.addEventListener("focusin", (event) => {
  if (event.target.matches("input[data-select]")) event.target.select();
});
