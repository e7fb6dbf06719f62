// Scales and places: which one a digit answers, taking an answer back, and moving completions up and down a ranking.
(() => {
  "use strict";
  const Judge = window.Judge;
  const scales = () => [...document.querySelectorAll("[data-steps]")];
  const places = () => [...document.querySelectorAll(".place")];
  const current = (list) => list.find((one) => "current" in one.dataset);

  function mark(list, one, { still = false } = {}) {
    for (const each of list) delete each.dataset.current;
    if (!one) return;
    one.dataset.current = "";
    // Never while a finger is down: what it points at must not move away.
    if (list.length > 1 && !still) one.scrollIntoView({ block: "nearest" });
  }
  const isAnswered = (scale) => Boolean(scale.querySelector(":checked"));
  const place = (one) => Number(one.querySelector("select").value) || null;
  const letterOf = (one) => one.dataset.letter;

  // --- scales: a digit answers the one that is marked, and the mark goes on to the next unanswered ---
  Judge.step = (n) => {
    const list = scales(), scale = current(list) || list[0];
    const input = scale && scale.querySelector(`[data-step="${n}"]`);
    if (!input) return;
    if ("atOnce" in Judge.task().dataset) return Judge.choose(input);
    input.checked = !input.checked; // the same again takes it back
    input.focus({ preventScroll: true });
    Judge.changed();
    const rest = [...list.slice(list.indexOf(scale) + 1), ...list];
    if (input.checked) mark(list, rest.find((one) => !isAnswered(one)) || scale);
  };
  Judge.moveScale = (by) => {
    const list = scales(), at = list.indexOf(current(list));
    const next = list[Math.min(Math.max(at + by, 0), list.length - 1)];
    mark(list, next);
    if (next) (next.querySelector(":checked") || next.querySelector("input")).focus({ preventScroll: true });
  };

  // --- ranking: groups of equals, from best to worst ---
  function order() {
    const groups = new Map();
    for (const one of places()) if (place(one)) groups.set(place(one), [...(groups.get(place(one)) || []), one]);
    return [...groups].sort(([a], [b]) => a - b).map(([, group]) => group);
  }
  function setOrder(groups) {
    groups.filter((group) => group.length).forEach((group, i) => { for (const one of group) one.querySelector("select").value = i + 1; });
    ranked();
  }
  Judge.place = (n) => {
    const list = places(), one = current(list) || list[0];
    if (!one || n > list.length) return;
    const select = one.querySelector("select");
    select.value = Number(select.value) === n ? "" : n;
    ranked();
    if (select.value) Judge.goTo(letterOf([...list.slice(list.indexOf(one) + 1), ...list].find((each) => !place(each)) || one), { quietly: true });
  };
  Judge.move = (how, one = current(places()) || places()[0]) => {
    if (!one) return;
    let groups = order();
    if (!place(one)) groups.push([one]);
    const at = groups.findIndex((group) => group.includes(one)), alone = groups[at].length === 1;
    const others = groups.map((group) => group.filter((each) => each !== one));
    if (how === "equal") { if (at > 0) others[at - 1].push(one); else others[at].push(one); }
    // Out of a group of equals first; alone, past the neighbour.
    else if (how === "better") others.splice(alone ? Math.max(at - 1, 0) : at, 0, [one]);
    else others.splice(alone ? at + 2 : at + 1, 0, [one]);
    setOrder(others);
    Judge.goTo(letterOf(one), { quietly: true, still: true });
  };
  function ranked() {
    describe();
    Judge.changed();
  }
  function describe() {
    const line = document.querySelector(".order");
    if (!line) return;
    const groups = order().map((group) => group.map((one) => letterOf(one).toUpperCase()).join(" = "));
    const without = places().filter((one) => !place(one)).map((one) => letterOf(one).toUpperCase());
    line.textContent = groups.join(" › ") + (groups.length && without.length ? " · " : "") + (without.length ? `without a place: ${without.join(", ")}` : "");
  }

  // --- an answer by its letter ---
  Judge.goTo = (letter, { quietly = false, still = false } = {}) => {
    const answer = document.getElementById(`answer-${letter}`);
    if (!answer) return;
    for (const each of document.querySelectorAll(".answer")) delete each.dataset.current;
    if (document.querySelectorAll(".answer").length > 1) answer.dataset.current = "";
    mark(places(), document.querySelector(`.place[data-letter="${letter}"]`), { still });
    if (quietly) return;
    const text = answer.querySelector(".raw[tabindex]:not([hidden])");
    (text || answer).focus({ preventScroll: true });
    answer.scrollIntoView({ block: answer.offsetHeight > innerHeight / 2 ? "start" : "nearest" });
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-move]");
    if (button) Judge.move(button.dataset.move, button.closest(".place"));
  });
  document.addEventListener("change", (event) => { if (event.target.closest(".place")) ranked(); });
  document.addEventListener("focusin", (event) => {
    const scale = event.target.closest("[data-steps]"), one = event.target.closest(".place"), answer = event.target.closest(".task.rank .answer");
    if (scale) mark(scales(), scale, { still: true });
    if (one) Judge.goTo(letterOf(one), { quietly: true, still: true });
    if (answer) Judge.goTo(answer.id.slice(-1), { quietly: true, still: true });
  });
  // A second click on what is chosen takes it back: a radio group by itself has no way to say nothing.
  let was = null;
  document.addEventListener("pointerdown", (event) => {
    const input = event.target.closest(".scale label") && event.target.closest("label").querySelector("input");
    was = input && input.checked && !input.closest("[data-at-once]") ? input : null;
  });
  document.addEventListener("click", (event) => {
    if (event.target !== was) return;
    was.checked = false;
    was = null;
    Judge.changed();
  });
  function begin() {
    if (scales().length > 1) mark(scales(), scales().find((scale) => !isAnswered(scale)) || scales()[0]);
    if (places().length) Judge.goTo("a", { quietly: true });
    describe();
  }
  document.addEventListener("judge:begin", begin);
  document.addEventListener("judge:restored", begin);
})();
