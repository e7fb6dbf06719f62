// A red-team talk: Ctrl and Enter says it; what was taken leaves its field; the rating opens when an answer stands.
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.id === "text") {
    event.preventDefault();
    const button = document.querySelector("#doing [type=submit]");
    if (button) event.target.form.requestSubmit(button);
  }
});

document.addEventListener("htmx:oobAfterSwap", (event) => {
  if (event.detail.target.id !== "questions") return;
  const field = document.getElementById("text");
  field.value = "";
  field.focus();
  document.getElementById("questions").lastElementChild.scrollIntoView({ block: "nearest" });
});

// A broken connection keeps what was written: the page as it is loaded again shows it.
document.addEventListener("htmx:wsClose", () => {
  const stop = document.querySelector("#doing [ws-send]");
  if (stop) stop.parentElement.innerHTML = '<span class="error" role="alert">The connection was lost. The text is saved: <a href="">reload the page</a>.</span>';
});
