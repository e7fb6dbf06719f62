// Marking words in an answer. Places are counted in characters (code points) of the text as it was written, so marks are
// made on the plain text alone: what Markdown lays out has other characters.
(() => {
  "use strict";
  const Judge = window.Judge;
  let spans = [], selected = null, restoring = false; // a span: { completion, start, end, label }

  const texts = () => [...document.querySelectorAll(".raw[tabindex]")];
  const bar = () => document.querySelector(".marking");
  const completionOf = (text) => Number(text.closest("[data-completion]").dataset.completion);
  const textOf = (completion) => document.querySelector(`[data-completion="${completion}"] .raw`);
  const points = (text) => [...text].length;
  // A place in the browser's string, counted in halves of characters beyond the first 65,536, as code points, and back.
  const toPoints = (text, units) => points(text.slice(0, units));
  const toUnits = (text, n) => [...text].slice(0, n).join("").length;
  const titles = () => Object.fromEntries([...bar().querySelectorAll("[data-label]")].map((b) => [b.dataset.label, b.firstChild.textContent.trim()]));

  // --- what is selected ---
  function unitsOf(text, node, offset) {
    const range = document.createRange();
    range.setStart(text, 0);
    range.setEnd(node, offset);
    return range.toString().length;
  }
  function fromSelection() {
    const selection = getSelection();
    if (!selection.rangeCount || selection.isCollapsed) return null;
    const range = selection.getRangeAt(0);
    const text = texts().find((one) => one.contains(range.startContainer) && one.contains(range.endContainer));
    if (!text) return null;
    const content = text.textContent;
    let start = unitsOf(text, range.startContainer, range.startOffset), end = unitsOf(text, range.endContainer, range.endOffset);
    const inside = content.slice(start, end); // blanks at either end come with a double click: nobody means them
    start += inside.length - inside.trimStart().length;
    end -= inside.length - inside.trimEnd().length;
    return start < end ? { text, start, end } : null;
  }
  document.addEventListener("selectionchange", () => {
    if (!bar() || restoring) return;
    const found = fromSelection();
    // A tap on a label lets go of the selection on some phones before the tap arrives: what was selected is kept.
    if (!found && (document.activeElement || document.body).closest(".marking")) return;
    offer(found);
  });
  function offer(found) {
    selected = found;
    bar().hidden = !found;
    if (found) bar().querySelector(".quoted").textContent = `“${shorten(found.text.textContent.slice(found.start, found.end))}”`;
  }
  const shorten = (text) => (points(text) > 60 ? `${[...text].slice(0, 57).join("")}…` : text);
  Judge.isMarking = () => Boolean(selected);
  Judge.unselect = () => { if (selected) { getSelection().removeAllRanges(); offer(null); } };

  // --- marking, and taking a mark away ---
  document.addEventListener("pointerdown", (event) => { if (event.target.closest(".marking")) event.preventDefault(); });
  document.addEventListener("click", (event) => {
    const label = event.target.closest("[data-label]"), remove = event.target.closest("[data-remove]");
    if (label && selected) add(label.dataset.label);
    if (event.target.closest("[data-unselect]")) Judge.unselect();
    if (remove) { spans.splice(Number(remove.dataset.remove), 1); keep(); }
  });
  function add(label) {
    const { text, start, end } = selected, content = text.textContent;
    const span = { completion: completionOf(text), start: toPoints(content, start), end: toPoints(content, end), label };
    const same = (one) => one.completion === span.completion && one.start === span.start && one.end === span.end && one.label === label;
    if (!spans.some(same)) spans.push(span);
    cursor = { text, start, end };
    getSelection().removeAllRanges();
    offer(null);
    keep();
    text.focus({ preventScroll: true });
  }
  function keep() {
    Judge.field("spans").value = JSON.stringify(spans);
    draw();
    Judge.changed();
  }

  // --- showing what is marked: in the text, and as a list ---
  function draw() {
    restoring = true;
    for (const text of texts()) paint(text);
    restoring = false;
    const list = document.querySelector(".marks ul");
    list.replaceChildren(...spans.map((span, i) => {
      const item = document.createElement("li"), words = document.createElement("q"), remove = document.createElement("button");
      const content = textOf(span.completion).textContent;
      words.textContent = shorten([...content].slice(span.start, span.end).join(""));
      remove.type = "button"; remove.className = "link"; remove.dataset.remove = i;
      remove.textContent = "remove"; remove.setAttribute("aria-label", `Remove the mark on ${words.textContent}`);
      const letter = textOf(span.completion).closest(".answer").id.slice(-1).toUpperCase();
      item.append(texts().length > 1 ? `${letter}: ` : "", words, ` ${titles()[span.label] || span.label} `, remove);
      return item;
    }));
  }
  function paint(text) {
    const content = text.textContent, here = spans.filter((span) => span.completion === completionOf(text));
    const marks = here.map((span) => ({ ...span, start: toUnits(content, span.start), end: toUnits(content, span.end) }));
    const cuts = [...new Set([0, content.length, ...marks.flatMap((m) => [m.start, m.end])])].sort((a, b) => a - b);
    const names = titles();
    text.replaceChildren(...cuts.slice(0, -1).map((from, i) => {
      const piece = document.createTextNode(content.slice(from, cuts[i + 1]));
      const on = marks.filter((m) => m.start <= from && m.end >= cuts[i + 1]);
      if (!on.length) return piece;
      const mark = document.createElement("mark");
      mark.append(piece);
      mark.dataset.labels = [...new Set(on.filter((m) => m.end === cuts[i + 1]).map((m) => names[m.label] || m.label))].join(", ");
      return mark;
    }));
  }

  // --- word by word with the arrow keys, for who uses no mouse ---
  let cursor = null, anchor = null; // cursor: the word or words selected, in the browser's units
  const words = new Map();
  function wordsOf(text) {
    const content = text.textContent;
    if (words.get(text)?.content !== content) {
      const found = window.Intl && Intl.Segmenter
        ? [...new Intl.Segmenter(undefined, { granularity: "word" }).segment(content)].filter((s) => s.isWordLike || /\p{Extended_Pictographic}/u.test(s.segment)).map((s) => [s.index, s.index + s.segment.length])
        : [...content.matchAll(/\S+/gu)].map((m) => [m.index, m.index + m[0].length]);
      words.set(text, { content, found });
    }
    return words.get(text).found;
  }
  document.addEventListener("keydown", (event) => {
    const text = event.target.closest?.(".raw[tabindex]");
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!text || !by || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const all = wordsOf(text);
    if (!all.length) return;
    if (!cursor || cursor.text !== text) { cursor = null; anchor = null; }
    select(text, all, nextWords(all, by, event.shiftKey));
  });
  function nextWords(all, by, extend) {
    if (!cursor) { anchor = 0; return [0, 0]; }
    const first = Math.max(all.findIndex(([, end]) => end > cursor.start), 0);
    const last = Math.max(all.findLastIndex(([start]) => start < cursor.end), first);
    const clamp = (i) => Math.min(Math.max(i, 0), all.length - 1);
    if (!extend) { const at = clamp((by > 0 ? last : first) + by); anchor = at; return [at, at]; }
    if (anchor === null || anchor < first || anchor > last) anchor = first;
    // The end that is not held moves: past the one that is held, and out on its other side.
    const moving = clamp((anchor === first ? last : first) + by);
    return [Math.min(anchor, moving), Math.max(anchor, moving)];
  }
  function select(text, all, [first, last]) {
    cursor = { text, start: all[first][0], end: all[last][1] };
    const [from, to] = [placeOf(text, cursor.start), placeOf(text, cursor.end)];
    getSelection().setBaseAndExtent(...from, ...to);
    const range = getSelection().getRangeAt(0);
    const box = range.getBoundingClientRect(), bottom = innerHeight - document.querySelector(".verdict").offsetHeight;
    if (box.top < 60 || box.bottom > bottom - 20) window.scrollBy({ top: box.top - bottom / 2 });
    offer({ text, start: cursor.start, end: cursor.end });
  }
  function placeOf(text, units) {
    const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
    let rest = units, node = walker.nextNode();
    while (node && rest > node.length) { rest -= node.length; node = walker.nextNode(); }
    return [node, rest];
  }

  function begin() {
    selected = cursor = anchor = null;
    words.clear();
    if (!bar()) return;
    try { spans = JSON.parse(Judge.field("spans").value || "[]"); } catch { spans = []; }
    spans = spans.filter((span) => textOf(span.completion));
    draw();
  }
  document.addEventListener("judge:begin", begin);
  document.addEventListener("judge:restored", begin);
})();
