// The next items are in this page before they are needed, so that the one after another is shown at once, with a
// connection or without. The server lends them for some minutes; what was not shown goes back when the page is left.
(() => {
  "use strict";
  const Judge = window.Judge, FEW = 2;
  let items = [], left = []; // sections of the page; left: those whose act waits to be sent
  let isAsking = false, round = 0; // a round ends when the server chooses what is shown
  const idOf = (section) => section.dataset.assignment;
  const isHere = (id) => [Judge.task(), ...items, ...left].some((section) => section && idOf(section) === id);

  const Ahead = (Judge.ahead = { isReady: () => items.length > 0 });
  Ahead.goOn = () => {
    left.push(Judge.task());
    Judge.show(items.shift());
  };
  Ahead.hasLeft = (id) => left.some((one) => idOf(one) === id);
  // What was not sent is shown again, and what is shown waits.
  Ahead.goBack = (id) => {
    const section = left.find((one) => idOf(one) === id);
    left = left.filter((one) => one !== section);
    if (Judge.task()) items.unshift(Judge.task());
    Judge.show(section);
  };
  // Whether the server will take what was entered, by the form's own list of what it needs: of each group one list of
  // names is filled in, and none in part. Else it is asked first, and says beside the form what is missing.
  Ahead.isWhole = (form, fields) => {
    const has = (name) => !["", "[]"].includes((fields[name] || "").trim());
    const groups = JSON.parse(form.dataset.needs);
    const isPart = (names) => names.some(has) && !names.every(has);
    if (groups.flat().some(isPart) || !groups.every((lists) => lists.some((names) => names.every(has)))) return false;
    return form.dataset.act === "skip" || !isUnchanged(fields);
  };
  const isUnchanged = (fields) => Boolean((fields.text || "").trim()) && [...document.querySelectorAll(".answer .raw")].some((answer) => answer.textContent.trim() === fields.text.trim());

  const post = (fields) => new URLSearchParams({ ...fields, csrfmiddlewaretoken: document.querySelector("[name=csrfmiddlewaretoken]").value });
  async function fill() {
    const shown = Judge.task();
    if (!shown || !shown.dataset.ahead || isAsking || items.length >= FEW || Judge.isUnsent()) return;
    const asked = round;
    isAsking = true;
    try {
      const response = await fetch(shown.dataset.ahead, { method: "POST", body: post({ have: [shown, ...items].map(idOf).join(" ") }) });
      const html = response.status === 200 && !response.redirected ? await response.text() : "";
      if (asked === round) take(html);
    } catch { /* no connection: they are asked for again when there is one */ }
    isAsking = false;
    if (asked !== round) fill();
  }
  function take(html) {
    const sections = new DOMParser().parseFromString(html, "text/html").querySelectorAll("section.task");
    items.push(...[...sections].filter((section) => !isHere(idOf(section))));
  }
  function giveBack() {
    if (items.length) navigator.sendBeacon(items[0].dataset.giveBack, post({ have: items.map(idOf).join(" ") }));
    items = [];
  }

  document.addEventListener("judge:begin", (event) => {
    if (event.detail.isAhead) return;
    items = []; // the server knows what comes next, too
    round += 1;
    fill();
  });
  document.addEventListener("judge:settled", () => { left = []; fill(); });
  window.addEventListener("online", fill);
  window.addEventListener("pagehide", giveBack);
  window.addEventListener("pageshow", (event) => { if (event.persisted) fill(); });
})();
