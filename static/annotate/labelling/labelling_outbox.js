// What was done and is not known to have arrived: kept in this browser from the moment it is sent until the server has
// answered, and sent again, oldest first, under the key it had at first, so that nothing is done twice.
(() => {
  "use strict";
  const Judge = window.Judge, RETRY_MS = 4000, STRIKES = 2, HERE = "#task, #judge-status";
  const LEAVES = ["judgement", "skip"], FLAGS = ["flag", "unflag"]; // those that lead on, and those beside the item
  const NAMES = { judgement: "annotation", skip: "skip", flag: "flag", unflag: "withdrawal of a flag", undo: "undo" };
  let retry = null, sending = null, lost = false, memory = null; // memory: where the browser keeps nothing
  let undoes = false; // as soon as what is on its way has arrived

  const strip = () => document.getElementById("outbox");
  const name = () => `assay:outbox:${strip().dataset.user}`;
  const all = () => memory || Judge.read(name()) || [];
  function write(acts) {
    if (!acts.length) Judge.forget(name());
    memory = acts.length && !Judge.store(name(), acts) ? acts : null;
    if (memory) Judge.forget(name());
    strip().toggleAttribute("data-unsent", acts.length > 0);
  }
  Judge.isUnsent = () => all().length > 0;
  const find = (key) => all().find((act) => act.key === key);
  const remove = (key) => write(all().filter((act) => act.key !== key));
  const shown = () => (Judge.task() ? Judge.task().dataset.assignment : "");
  const keyIn = (fields) => fields.act_key || fields.idempotency_key;
  const said = ({ csrfmiddlewaretoken, idempotency_key, seconds, shown_at, ...rest }) => JSON.stringify(Object.entries(rest).sort());

  // --- what is sent, from its form or from here ---
  const formOf = (elt) => elt && elt.closest && elt.closest("form[data-act]");
  const source = (event) => (event.detail.requestConfig || event.detail).elt; // of a swap, `elt` is what is swapped
  const isOurs = (event) => {
    const elt = source(event);
    if (elt === strip() || event.detail.requestConfig?.outbox) return true; // the form of a flag that arrived is gone by now
    return Boolean(formOf(elt) && elt.closest(HERE));
  };
  document.addEventListener("htmx:configRequest", (event) => {
    const { elt, parameters } = event.detail, form = formOf(elt);
    if (!isOurs(event) || elt === strip()) return;
    if (form.dataset.act === "judgement") parameters.seconds = Judge.seconds();
    const before = find(keyIn(parameters));
    // Other words than those that may have arrived are another judgement: the server says so if the first one stands.
    if (before && form.dataset.act === "judgement" && said(before.fields) !== said(fieldsOf(parameters))) {
      form.elements.idempotency_key.value = parameters.idempotency_key = newKey();
    }
  });
  const fieldsOf = (parameters) => Object.fromEntries(Object.entries(parameters).map(([key, value]) => [key, String(value)]));
  const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (!isOurs(event)) return;
    const { elt, requestConfig } = event.detail;
    if (Judge.task() && (elt !== strip() || find(sending)?.assignment === shown())) Judge.task().classList.add("sending");
    if (elt === strip()) return;
    requestConfig.outbox = keep(formOf(elt).dataset.act, requestConfig.path, fieldsOf(requestConfig.parameters));
  });
  function keep(act, url, { csrfmiddlewaretoken, ...fields }) {
    const entry = { key: keyIn(fields), act, url, fields, assignment: fields.assignment, at: Date.now() };
    if (act === "judgement") entry.draft = Judge.draftName();
    const replaced = (other) => other.key === entry.key
      || LEAVES.includes(act) && LEAVES.includes(other.act) && other.assignment === entry.assignment;
    write([...all().filter((other) => !replaced(other)), entry]);
    return entry.key;
  }
  // Where the next item is here already nobody waits for the server: what was done is sent from here.
  document.addEventListener("submit", (event) => {
    const form = event.target, { act } = form.dataset, button = event.submitter;
    if (!LEAVES.includes(act) || !form.closest("#task") || !Judge.ahead.isReady() || all().some((one) => one.assignment === shown() && LEAVES.includes(one.act))) return;
    const fields = fieldsOf(Object.fromEntries(new FormData(form)));
    if (button && button.name) fields[button.name] = button.value;
    if (!Judge.ahead.isWhole(form, fields)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (act === "judgement") fields.seconds = String(Judge.seconds());
    keep(act, form.getAttribute("action"), fields);
    Judge.ahead.goOn();
    flush();
  }, { capture: true });
  function flush() {
    clearTimeout(retry);
    const [next] = all();
    if (!next || sending) return;
    sending = next.key;
    const csrf = document.querySelector("[name=csrfmiddlewaretoken]");
    htmx.ajax("POST", next.url, {
      source: strip(), target: strip(), swap: "outerHTML settle:0ms show:window:top",
      values: { ...next.fields, ...beside(next), csrfmiddlewaretoken: csrf ? csrf.value : "" },
    }).catch(() => {}); // what failed is told by events
    // Nothing was sent when another of ours was on its way: later, then.
    retry = setTimeout(() => { sending = null; flush(); }, RETRY_MS + 16000);
  }

  // The page has gone on by itself: the server answers with what stands beside the item that it shows.
  const isBeside = (act) => LEAVES.includes(act.act) && shown() && act.assignment !== shown() && "ahead" in Judge.task().dataset && act.url.startsWith(location.pathname);
  const beside = (act) => (isBeside(act) ? { showing: shown(), shown_for: Judge.shownFor(), drawn_as: Judge.task().dataset.drawnAs || "" } : {});

  // --- what became of it ---
  const keyOf = (event) => (source(event) === strip() ? sending : event.detail.requestConfig && event.detail.requestConfig.outbox);
  const isLost = (status) => status >= 500 || status === 408 || status === 429;
  function wait() {
    lost = true;
    describe();
    clearTimeout(retry);
    retry = setTimeout(flush, RETRY_MS);
    if (undoes) Judge.takeBack();
  }
  for (const failed of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(failed, (event) => { if (isOurs(event)) { sentLater(event); wait(); } });
  }
  // A flag is raised and taken back beside the item: its form says at once that this is kept.
  function sentLater(event) {
    const form = formOf(source(event)), act = find(keyOf(event));
    if (!form || !act || !FLAGS.includes(act.act)) return;
    const note = document.createElement("p");
    note.className = "note";
    note.id = form.id;
    note.textContent = act.act === "flag"
      ? `Flagged: ${act.fields.other || act.fields.reason}. This browser keeps the flag until it is sent.`
      : "Flag taken back. This browser keeps that until it is sent.";
    form.replaceWith(note);
    Judge.task().focus({ preventScroll: true });
  }
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!isOurs(event)) return;
    if (Judge.task()) Judge.task().classList.remove("sending");
    if (source(event) === strip()) sending = null;
  });
  // What comes next is another page: the guidelines, a lesson, one's history after an earlier judgement was changed.
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    if (isOurs(event) && event.detail.xhr.getResponseHeader("HX-Redirect")) arrived(keyOf(event));
  });
  function arrived(key) {
    const act = find(key);
    if (act && act.draft) Judge.forget(act.draft);
    remove(key);
    settled();
  }
  function settled() {
    lost = all().length > 0 && lost;
    describe();
    clearTimeout(retry);
    if (all().length) retry = setTimeout(flush, 50);
    else queueMicrotask(() => document.dispatchEvent(new CustomEvent("judge:settled"))); // after what came is in the page
  }
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (!isOurs(event)) return;
    const { xhr } = event.detail, elt = source(event), key = keyOf(event), act = find(key);
    if (isLost(xhr.status)) { event.detail.shouldSwap = false; sentLater(event); return wait(); }
    const isFlag = FLAGS.includes(act ? act.act : formOf(elt)?.dataset.act);
    const isPart = isFlag ? !xhr.responseText.includes("<html") : xhr.responseText.includes('id="judge-status"');
    if (!isPart) { event.detail.shouldSwap = false; return ledAway(xhr, act); }
    const isRefused = xhr.status >= 400;
    if (isRefused) undoes = false;
    event.detail.isError = false;
    event.detail.shouldSwap = true;
    if (elt === strip()) event.detail.target = document.getElementById("task"); // the one shown by now: the page may have gone on
    if (isFlag && elt === strip()) { // its form is long gone
      event.detail.shouldSwap = false;
      if (isRefused) say(`Your ${NAMES[act.act]} was not saved.`, textOf(xhr.responseText));
    } else if (elt === strip() && act && LEAVES.includes(act.act) && !isRefused && shown() && act.assignment !== shown()) {
      event.detail.shouldSwap = isBeside(act) && takesTheirPlace(xhr); // else somebody is at work on another item by now
    }
    if (isRefused) { remove(key); settled(); } else arrived(key);
  });
  // What stands beside the item shown; or the item that is to be shown in its place: it may no longer be worked on, or was
  // drawn under other guidelines.
  function takesTheirPlace(xhr) {
    if (xhr.getResponseHeader("HX-Reswap") === "none") return true;
    return xhr.responseText.includes(`data-assignment="${shown()}"`) || !Judge.isBegun();
  }
  const textOf = (html) => new DOMParser().parseFromString(html, "text/html").body.textContent.trim();
  // A whole page in the place of a part: to sign in first, or a refusal. The second time it is no accident.
  function ledAway(xhr, act) {
    Judge.changed();
    const toSignIn = act && xhr.responseURL && new URL(xhr.responseURL).pathname !== new URL(act.url, location.href).pathname;
    if (!act || toSignIn) return location.assign(location.href);
    const strikes = (act.strikes || 0) + 1;
    write(strikes < STRIKES ? all().map((one) => (one.key === act.key ? { ...one, strikes } : one)) : all().filter((one) => one.key !== act.key));
    if (strikes < STRIKES) return location.assign(location.href);
    say(`Your ${NAMES[act.act]} was not saved.`, "The server refused it. This browser keeps your input.");
    settled();
  }

  // --- what the person is told ---
  function describe() {
    const acts = all();
    if (!acts.length) { if ("waits" in strip().dataset) hide(); return; }
    if (!lost) return;
    const kinds = [...new Set(acts.map((act) => act.act))];
    const names = kinds.map((kind) => named(kind, acts.filter((act) => act.act === kind).length));
    const list = acts.length > 1 ? `${[names.slice(0, -1).join(", your "), names.at(-1)].filter(Boolean).join(" and your ")} are` : `${names[0]} is`;
    say("Not sent: the server cannot be reached.", `Your ${list} kept in this browser and sent once, when this page has a connection again.`);
    strip().dataset.waits = "";
    strip().querySelector("[data-retry]").hidden = false;
    strip().querySelector("[data-take-back]").hidden = acts.every((act) => FLAGS.includes(act.act));
    strip().querySelector("[data-seen]").hidden = true;
  }
  const named = (kind, n) => (n > 1 ? `${n} ${NAMES[kind]}s` : NAMES[kind]);
  function say(what, more) {
    const [title, text] = strip().querySelectorAll("strong, span");
    if (title.textContent !== what) title.textContent = what; // what is the same is not read out again
    if (text.textContent !== more) text.textContent = more;
    for (const button of strip().querySelectorAll("button")) button.hidden = !("seen" in button.dataset);
    delete strip().dataset.waits;
    strip().hidden = false;
  }
  function hide() {
    delete strip().dataset.waits;
    for (const text of strip().querySelectorAll("strong, span")) text.textContent = "";
    strip().hidden = true;
  }
  // What has not gone out can be kept back: Undo means the last thing that was done.
  Judge.takeBack = () => {
    const last = all().filter((act) => !FLAGS.includes(act.act)).at(-1), hasLeft = Boolean(last) && Judge.ahead.hasLeft(last.assignment);
    undoes = hasLeft && last.key === sending;
    if (undoes) return true; // it is on its way: it is undone there
    if (!last || !lost && !hasLeft || Judge.task()?.classList.contains("sending")) return false;
    remove(last.key);
    settled();
    if (hasLeft) Judge.ahead.goBack(last.assignment);
    // It may have arrived after all: other words are another annotation, which the server refuses then.
    if (last.act === "judgement" && last.assignment === shown()) Judge.form().elements.idempotency_key.value = newKey();
    if (Judge.task()) Judge.task().focus({ preventScroll: true });
    return true;
  };
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-retry]")) { sending = null; flush(); }
    if (event.target.closest("[data-take-back]")) Judge.takeBack();
    if (event.target.closest("[data-seen]")) hide();
  });
  document.addEventListener("submit", (event) => {
    if (event.target.id === "undo-form" && Judge.takeBack()) { event.preventDefault(); event.stopImmediatePropagation(); }
  }, { capture: true });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (!undoes || event.target.id !== "judge-status") return;
    undoes = false;
    document.querySelector("[data-action=undo]")?.click();
  });
  window.addEventListener("online", () => { if (all().length) { sending = null; flush(); } });
  document.addEventListener("judge:begin", (event) => {
    if (event.detail.swapped) return;
    strip().toggleAttribute("data-unsent", Judge.isUnsent());
    flush();
  });
})();
