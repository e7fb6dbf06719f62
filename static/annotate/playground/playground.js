// The playground: Ctrl and Enter asks; a question that was taken leaves its field; a broken connection is said.
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.id === "text") {
    event.preventDefault();
    const button = document.querySelector("#doing [type=submit]");
    if (button) event.target.form.requestSubmit(button);
  }
});

document.addEventListener("htmx:oobAfterSwap", (event) => {
  if (event.detail.target.id === "turns") {
    const field = document.getElementById("text");
    field.value = "";
    field.focus();
    document.getElementById("turns").lastElementChild.scrollIntoView({ block: "nearest" });
  }
});

document.addEventListener("htmx:wsClose", () => {
  const stop = document.querySelector("#doing [ws-send]");
  if (!stop) return;
  stop.parentElement.innerHTML = '<button type="submit">Ask</button> <span class="error" role="alert">The connection was lost. The text above is not part of the conversation; ask again.</span>';
});
