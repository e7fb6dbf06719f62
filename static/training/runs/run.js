// Curves of a run page. The rest of the page is swapped in by htmx; here the new points join the curves.
"use strict";
(() => {
  const source = document.getElementById("points-data");
  if (!source || !window.uPlot) return;
  const given = JSON.parse(source.textContent);
  const look = { smooth: given.smooth, log: given.log };
  const charts = new Map();
  let rows = given.points; // [sequence, id, step, values]

  // A reconnect says which row the page has, so that nothing is missed and nothing comes twice.
  window.htmx.createWebSocket = (url) => {
    const last = rows[rows.length - 1];
    return new WebSocket(last ? `${url}${url.includes("?") ? "&" : "?"}after=${last[0]}.${last[1]}` : url, []);
  };

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const rounded = (v) => (v == null ? "–" : Math.abs(v) >= 1e6 || (v !== 0 && Math.abs(v) < 1e-3) ? v.toExponential(2) : String(+v.toPrecision(4))).replace("-", "−");
  const node = (name, className, text) => Object.assign(document.createElement(name), { className: className || "", textContent: text || "" });

  // Candidates are numbered among themselves; the steps of a curve are those of all rows.
  const has = (curve, row) => typeof row[3][curve.name] === "number";
  const measured = (curve) => rows.filter((row) => has(curve, row));
  const rowsOf = (curve) => (curve.dots ? measured(curve) : rows);
  const isSmooth = (curve) => look.smooth > 0 && !curve.dots;
  const isLog = (curve) => look.log && !curve.share && measured(curve).every((row) => row[3][curve.name] > 0);

  // An exponential mean over about so many points, free of the pull towards its beginning; figures/charts.py has the same.
  function smoothed(values) {
    const keep = 1 - 2 / (look.smooth + 1);
    let mean = 0, weight = 0;
    return values.map((value) => {
      if (value == null) return null;
      mean = keep * mean + (1 - keep) * value;
      weight = keep * weight + (1 - keep);
      return mean / weight;
    });
  }

  function data(curve) {
    const own = rowsOf(curve);
    const steps = curve.dots ? own.map((_, i) => i + 1) : own.map((r) => r[2]);
    const values = own.map((r) => (has(curve, r) ? r[3][curve.name] : null));
    return [steps, values, isSmooth(curve) ? smoothed(values) : values.map(() => null), ...curve.lines.map((line) => steps.map(() => line.value))];
  }

  const wide = (u, low, high) => (low === high ? [low - (Math.abs(low) / 2 || 0.5), high + (Math.abs(high) / 2 || 0.5)] : uPlot.rangeNum(low, high, 0.1, true));

  function options(curve, width, height) {
    const font = "12px system-ui, sans-serif";
    const axis = { stroke: colour("--soft"), font, labelFont: font, grid: { stroke: colour("--rule"), width: 1 }, ticks: { show: false } };
    const across = { ...axis, size: 24, label: curve.unit, labelSize: 16, grid: { show: false }, space: 60, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000], values: (u, ticks) => ticks.map(String) };
    const up = { ...axis, size: 52, space: 26, label: curve.of || undefined, labelSize: 16, values: (u, ticks) => ticks.map((tick) => (tick == null ? "" : rounded(tick))) };
    const y = isLog(curve) ? { distr: 3 } : { range: curve.share ? [0, 1] : wide };
    const accent = colour("--accent");
    const pale = isSmooth(curve);
    return {
      width, height,
      scales: { x: { time: false }, y },
      legend: { show: false },
      cursor: { y: false, points: { size: 7 }, sync: { key: `run ${curve.unit}`, scales: ["x", null] } },
      axes: [across, up],
      series: [
        {},
        { label: curve.title, stroke: accent, alpha: pale ? 0.3 : 1, width: pale ? 1 : 2, points: { show: curve.dots, size: 7, fill: accent }, spanGaps: true, ...(curve.dots && { paths: () => null }) },
        { label: `${curve.title}, smoothed`, show: pale, stroke: accent, width: 2, points: { show: false }, spanGaps: true },
        ...curve.lines.map((line) => ({ label: line.label, stroke: colour("--b"), width: 1, dash: [5, 4], points: { show: false } })),
      ],
      hooks: { setCursor: [(u) => read(curve, u.cursor.idx)] },
    };
  }

  // The number under the cursor, else the latest one: read without guessing from the axis.
  function read(curve, index) {
    const own = rowsOf(curve);
    const row = index == null || !own[index] || !has(curve, own[index]) ? own.findLast((r) => has(curve, r)) : own[index];
    const chart = charts.get(curve.name);
    if (!row || !chart) return;
    const unit = curve.of && curve.of !== "share" ? ` ${curve.of}` : "";
    chart.output.textContent = `${curve.unit} ${curve.dots ? own.indexOf(row) + 1 : row[2]}: ${rounded(row[3][curve.name])}${unit}`;
  }

  function legend(curve) {
    const words = [];
    if (isSmooth(curve)) words.push(`Dark line: mean over about ${look.smooth} points. Pale line: original values.`);
    if (look.log && !isLog(curve)) words.push(curve.share ? "Linear: a share." : "Linear: it has values of 0 or less.");
    if (curve.lines.length) words.push(`Dashed: ${curve.lines.map((line) => `${line.label} ${rounded(line.value)}`).join(", ")}.`);
    return words.join(" ");
  }

  function build(curve, place) {
    const figure = node("figure", "chart");
    const caption = node("figcaption");
    const output = node("output");
    caption.append(node("span", "", curve.title), output);
    const plot = node("div", "plot");
    plot.setAttribute("role", "application");
    plot.setAttribute("aria-roledescription", "chart");
    plot.setAttribute("aria-label", `${curve.title}. Arrow keys read the points; the table below has the figures.`);
    const chart = { curve, figure, plot, output, few: node("p", "few"), key: node("p", "key"), height: place.classList.contains("one") ? 240 : 170, uplot: null };
    const table = node("details");
    table.append(node("summary", "", "Table"));
    table.addEventListener("toggle", () => fill(curve, table));
    chart.table = table;
    figure.append(caption, plot, chart.few, chart.key, table);
    plot.addEventListener("keydown", (event) => press(event, chart));
    place.append(figure);
    charts.set(curve.name, chart);
  }

  // At most 120 lines, evenly spaced, always with the last.
  function fill(curve, table) {
    table.querySelector(".rows")?.remove();
    if (!table.open) return;
    const own = measured(curve);
    const count = Math.min(own.length, 120);
    const box = node("div", "rows");
    for (const [name, value] of Object.entries({ tabindex: "0", role: "region", "aria-label": `${curve.title}: table` })) box.setAttribute(name, value);
    const lines = node("table", "small");
    const head = lines.createTHead().insertRow();
    for (const words of [curve.unit, curve.of || "value"]) { const cell = node("th", "n", words); cell.scope = "col"; head.append(cell); }
    const body = lines.createTBody();
    for (let i = 0; i < count; i++) {
      const at = count > 1 ? Math.round((i * (own.length - 1)) / (count - 1)) : 0;
      const line = body.insertRow();
      line.append(node("td", "n", String(curve.dots ? at + 1 : own[at][2])), node("td", "n", rounded(own[at][3][curve.name])));
    }
    box.append(lines);
    table.append(box);
  }

  const beside = (chart) => [...charts.values()].filter((one) => one.uplot && one.curve.unit === chart.curve.unit);
  const zoom = (chart, low, high) => beside(chart).forEach((one) => one.uplot.setScale("x", { min: low, max: high }));

  // What the mouse does, by keys: read the points one by one, zoom around the one that is read, see all.
  function press(event, chart) {
    const u = chart.uplot;
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!u || event.ctrlKey || event.metaKey || event.altKey) return;
    const xs = u.data[0];
    const points = xs.map((_, i) => i).filter((i) => u.data[1][i] != null && xs[i] >= u.scales.x.min && xs[i] <= u.scales.x.max);
    const at = u.cursor.idx ?? points[points.length - 1];
    if (step !== undefined && points.length) {
      const before = points.filter((i) => i < at), after = points.filter((i) => i > at);
      const next = step === -Infinity ? points[0] : step === Infinity ? points[points.length - 1] : step < 0 ? before.pop() : after[0];
      const index = next ?? at;
      beside(chart).forEach((one) => one.uplot.setCursor({ left: one.uplot.valToPos(xs[index], "x"), top: 10 }, true, false));
    } else if ("+-=".includes(event.key)) {
      const { min, max } = u.scales.x;
      const half = ((max - min) / 2) * (event.key === "-" ? 2 : 0.5);
      zoom(chart, Math.max(xs[0], xs[at] - half), Math.min(xs[xs.length - 1], xs[at] + half));
    } else if (event.key === "Escape") zoom(chart, xs[0], xs[xs.length - 1]);
    else return;
    event.preventDefault();
  }

  function show(chart, afresh) {
    const { curve } = chart;
    const own = measured(curve);
    const isFew = own.length < 2;
    chart.plot.hidden = isFew;
    chart.plot.tabIndex = isFew ? -1 : 0;
    chart.few.hidden = !isFew;
    chart.few.textContent = own.length ? `One point: ${rounded(own[0][3][curve.name])} at ${curve.unit} ${curve.dots ? 1 : own[0][2]}.` : "No values yet.";
    chart.output.hidden = chart.table.hidden = isFew;
    chart.key.textContent = isFew ? "" : legend(curve);
    const width = chart.figure.clientWidth;
    if (isFew || !width) return; // folded away: drawn when it is opened
    const u = chart.uplot;
    const log = isLog(curve);
    if (u && !afresh && chart.log === log) {
      const isWhole = u.scales.x.min <= u.data[0][0] && u.scales.x.max >= u.data[0][u.data[0].length - 1];
      u.setData(data(curve), isWhole);
      if (!isWhole) u.redraw();
    } else {
      if (u) u.destroy();
      chart.log = log;
      chart.uplot = new uPlot(options(curve, width, chart.height), data(curve), chart.plot);
    }
    read(curve, chart.uplot.cursor.idx);
  }

  // New points join a chart that stands; another width, look or colours need another chart.
  function draw(afresh) {
    for (const chart of charts.values()) {
      show(chart, afresh);
      fill(chart.curve, chart.table);
    }
  }

  function layOut(known) {
    const main = document.getElementById("charts");
    const more = document.getElementById("more-charts") || main;
    for (const [name, chart] of charts) {
      if (known.some((curve) => curve.name === name)) continue;
      if (chart.uplot) chart.uplot.destroy();
      chart.figure.remove();
      charts.delete(name);
    }
    for (const curve of known) {
      const place = curve.main ? main : more;
      if (!charts.has(curve.name)) build(curve, place);
      else if (charts.get(curve.name).figure.parentElement !== place) place.append(charts.get(curve.name).figure);
      charts.get(curve.name).curve.lines = curve.lines;
    }
  }

  function update(fresh, afresh) {
    const last = afresh || !rows.length ? 0 : rows[rows.length - 1][0];
    rows = (afresh ? [] : rows).concat(fresh.filter((row) => row[0] > last));
    draw(false);
  }

  document.body.addEventListener("htmx:wsAfterMessage", () => {
    const box = document.getElementById("new-points");
    if (!box || !box.dataset.points) return;
    if (box.dataset.curves) layOut(JSON.parse(box.dataset.curves));
    update(JSON.parse(box.dataset.points), "afresh" in box.dataset);
    delete box.dataset.points;
  });

  let pending;
  const redraw = () => { clearTimeout(pending); pending = setTimeout(() => draw(true), 120); };
  window.addEventListener("resize", redraw);
  document.getElementById("more")?.addEventListener("toggle", redraw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  // The form works without this script, too; with it nothing is loaded again.
  const form = document.getElementById("chart-options");
  if (form) {
    document.getElementById("chart-help").hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => {
      look.smooth = Number(form.elements.smooth.value);
      look.log = form.elements.log.checked;
      window.history.replaceState(null, "", `?${new URLSearchParams(new FormData(form))}`);
      draw(true);
    });
  }

  layOut(given.curves);
  draw(true);
})();
