// Keys: each stands on its button, and does what the button does. Which key is whose comes with the page (#keymap).
(() => {
  "use strict";
  const Judge = window.Judge;
  const maps = () => JSON.parse(document.getElementById("keymap").textContent);
  const typing = (target) => target.matches("textarea, select, input:not([type=radio]):not([type=checkbox])") || target.isContentEditable;
  const open = () => [...document.querySelectorAll("details.above[open]")];
  const help = () => document.getElementById("keys");

  const actions = {
    send: () => Judge.send(),
    next_scale: () => Judge.moveScale(1),
    previous_scale: () => Judge.moveScale(-1),
    better: () => Judge.move("better"),
    worse: () => Judge.move("worse"),
    equal: () => Judge.move("equal"),
    definitions: toggleDefinitions,
  };
  for (let n = 1; n <= 6; n++) {
    actions[`step_${n}`] = () => Judge.step(n);
    actions[`place_${n}`] = () => Judge.place(n);
  }
  for (const letter of "abcdef") actions[`answer_${letter}`] = actions[`look_${letter}`] = () => Judge.goTo(letter);
  const EARLY = ["undo", "history"]; // about what was before: they wait for no pause

  function toggleDefinitions() {
    const all = [...document.querySelectorAll("details.definition")], close = all.some((one) => one.open);
    for (const one of all) one.open = !close;
  }
  function actionOf(event) {
    const all = maps(), kind = Judge.task() ? Judge.task().dataset.kind : "";
    const groups = [Judge.isMarking() ? "mark" : "", kind, kind === "compare" ? "" : "answers", "everywhere"].map((name) => all[name]).filter(Boolean);
    const look = (key) => groups.map((keys) => keys[key]).find(Boolean);
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    // Where the keyboard writes another alphabet, or digits only with Shift, the key's place on the board is meant.
    const [, board, place] = /^(Digit|Key)(.)$/.exec(event.code) || [];
    const foreign = board === "Key" ? event.key > "\x7f" : board && !event.shiftKey;
    return look(key) || (foreign ? look(place.toLowerCase()) : undefined);
  }

  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.repeat && event.key === "Enter") return;
    const { target } = event;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && typing(target) && !target.closest(".reasons")) { event.preventDefault(); return Judge.send(); }
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || help().open) return;
    if (event.key === "Escape") return escape(target);
    if (typing(target)) return;
    if (event.key === "?") { event.preventDefault(); return showHelp(); }
    if (event.key === "Enter" && target.matches("button, a, summary")) return; // theirs
    if (event.key === "Enter" && target.closest(".reasons")) return event.preventDefault(); // a reason sends, and is named
    const reason = open().map((details) => details.querySelector(`[data-reason-key="${CSS.escape(event.key)}"]`)).find(Boolean);
    const action = reason || actionOf(event);
    if (!action) return;
    if (!Judge.isReady() && !EARLY.includes(action)) return event.preventDefault();
    const done = reason ? (reason.click(), true) : act(action);
    if (done) event.preventDefault();
  });
  function act(action) {
    if (action === "undo" && Judge.takeBack()) return true;
    const target = document.querySelector(`[data-action="${action}"]`);
    if (actions[action]) { if (!Judge.task()) return false; actions[action](); return true; }
    if (!target) return false;
    press(target);
    return true;
  }
  function press(target) {
    if (target.matches("summary")) {
      const details = target.parentElement;
      const opens = !details.open || target.matches(".words summary"); // words are never closed over by their key
      details.open = opens;
      const inside = opens && details.querySelector(details.matches(".above") ? ".reasons :is([type=radio], button)" : "textarea");
      (inside || target).focus({ preventScroll: !inside });
    } else if (target.matches("textarea")) target.focus();
    else if (target.name === "choice" || target.matches("[data-at-once] .steps input")) Judge.choose(target);
    else if (target.matches("[type=radio]")) {
      target.checked = !target.checked; // the same again takes it back
      target.focus({ preventScroll: true });
      Judge.changed();
    } else target.click();
  }
  function escape(target) {
    for (const details of open()) { details.open = false; details.querySelector("summary").focus({ preventScroll: true }); }
    if (typing(target)) target.blur();
    Judge.unselect();
  }
  // Whether an action has something to do on the item that is shown: the list of keys has no others.
  function isHere(action) {
    const answers = document.querySelectorAll("#task article.answer");
    if (/^(answer|look)_/.test(action)) return answers.length > 1 && Boolean(document.getElementById(action.replace(/^.*_/, "answer-")));
    if (action.startsWith("place_")) return Number(action.slice(6)) <= answers.length;
    if (action === "definitions") return Boolean(document.querySelector("details.definition"));
    return action === "undo" || action in actions || Boolean(document.querySelector(`[data-action="${action}"]`));
  }
  function showHelp() {
    const kind = Judge.task() ? Judge.task().dataset.kind : "", spans = Judge.task() && "spans" in Judge.task().dataset;
    for (const group of help().querySelectorAll("[data-group]")) {
      const name = group.dataset.group;
      group.hidden = !(name === "everywhere" || name === kind || name === "answers" && kind === "rank" || name === "mark" && spans || !kind);
    }
    for (const key of help().querySelectorAll("[data-does]")) key.hidden = Boolean(kind) && !isHere(key.dataset.does);
    help().showModal();
  }
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-open-keys]")) showHelp();
    const fold = event.target.closest("[data-action=fold]");
    if (fold) fold.setAttribute("aria-expanded", !document.querySelector(".verdict").classList.toggle("folded"));
    for (const details of open()) if (!details.contains(event.target)) details.open = false;
  });
})();
