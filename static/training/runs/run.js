// Curves of a run page. The rest of the page is swapped in by htmx; here the new points join the curves.
"use strict";
(() => {
  const source = document.getElementById("points-data");
  if (!source || !window.uPlot) return;
  const { points, curves } = JSON.parse(source.textContent);
  const charts = new Map();
  let rows = points; // [sequence, id, step, values]

  // A reconnect says which row the page has, so that nothing is missed and nothing comes twice.
  window.htmx.createWebSocket = (url) => {
    const last = rows[rows.length - 1];
    return new WebSocket(last ? `${url}?after=${last[0]}.${last[1]}` : url, []);
  };

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const rounded = (v) => (v == null ? "–" : Math.abs(v) >= 1e6 || (v !== 0 && Math.abs(v) < 1e-3) ? v.toExponential(2) : String(+v.toPrecision(4)).replace("-", "−"));

  // Candidates are numbered among themselves; the steps of a curve are those of all rows.
  const has = (curve, row) => typeof row[3][curve.name] === "number";
  const rowsOf = (curve) => (curve.dots ? rows.filter((r) => has(curve, r)) : rows);

  function data(curve) {
    const own = rowsOf(curve);
    const steps = curve.dots ? own.map((_, i) => i + 1) : own.map((r) => r[2]);
    const values = own.map((r) => (has(curve, r) ? r[3][curve.name] : null));
    return [steps, values, ...curve.lines.map((line) => steps.map(() => line.value))];
  }

  function options(curve, width, height) {
    const axis = { stroke: colour("--soft"), font: "12px system-ui, sans-serif", grid: { stroke: colour("--rule"), width: 1 }, ticks: { show: false } };
    const whole = { ...axis, size: 26, grid: { show: false }, space: 60, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000], values: (u, ticks) => ticks.map((t) => String(t)) };
    const lone = (u) => u.data[1].reduce((n, value) => n + (value != null), 0) < 2; // a line of one point is not seen
    return {
      width, height,
      scales: { x: { time: false }, y: { range: (u, low, high) => (low === high ? [low - (Math.abs(low) / 2 || 0.5), high + (Math.abs(high) / 2 || 0.5)] : uPlot.rangeNum(low, high, 0.1, true)) } },
      legend: { show: false },
      cursor: { y: false, points: { size: 7 } },
      axes: [whole, { ...axis, size: 52, space: 26, values: (u, ticks) => ticks.map(rounded) }],
      series: [
        {},
        { label: curve.title, stroke: colour("--accent"), width: 2, points: { show: curve.dots || lone, size: 6, fill: colour("--accent") }, spanGaps: true, ...(curve.dots && { paths: () => null }) },
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
    const lines = curve.lines.map((line) => ` · ${line.label} ${rounded(line.value)}`).join("");
    chart.output.textContent = `${curve.unit} ${curve.dots ? own.indexOf(row) + 1 : row[2]}: ${rounded(row[3][curve.name])}${lines}`;
  }

  function build(curve, place, isWide) {
    const figure = document.createElement("figure");
    figure.className = isWide ? "chart wide-chart" : "chart";
    const caption = document.createElement("figcaption");
    const title = document.createElement("span");
    title.textContent = curve.title;
    const output = document.createElement("output");
    caption.append(title, output);
    const plot = document.createElement("div");
    plot.className = "plot";
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", `${curve.title}: the table below has the figures`);
    figure.append(caption, plot);
    place.append(figure);
    charts.set(curve.name, { curve, plot, output, height: isWide ? 180 : 120, uplot: null });
  }

  // New points join a chart that stands; another width or other colours need another chart.
  function draw(afresh) {
    for (const chart of charts.values()) {
      const width = chart.plot.clientWidth;
      if (!width) continue; // folded away: drawn when it is opened
      if (chart.uplot && afresh === false && rows.length > 2) chart.uplot.setData(data(chart.curve));
      else {
        if (chart.uplot) chart.uplot.destroy();
        chart.uplot = new uPlot(options(chart.curve, width, chart.height), data(chart.curve), chart.plot);
      }
      read(chart.curve, null);
    }
  }

  function layOut(known) {
    const main = document.getElementById("charts");
    const more = document.getElementById("more-charts");
    for (const curve of known) {
      if (!charts.has(curve.name)) build(curve, curve.main ? main : more, curve.main && main.childElementCount < 1);
    }
  }

  function update(fresh, afresh) {
    const last = afresh || !rows.length ? 0 : rows[rows.length - 1][0];
    rows = (afresh ? [] : rows).concat(fresh.filter((row) => row[0] > last));
    draw(false);
  }

  document.body.addEventListener("htmx:wsAfterMessage", () => {
    const box = document.getElementById("new-points");
    if (box && box.dataset.points) {
      if (box.dataset.curves) layOut(JSON.parse(box.dataset.curves));
      update(JSON.parse(box.dataset.points), "afresh" in box.dataset);
      delete box.dataset.points;
    }
    const log = document.getElementById("run-log");
    if (log) log.scrollTop = log.scrollHeight;
  });

  let pending;
  const redraw = () => { clearTimeout(pending); pending = setTimeout(() => draw(true), 120); };
  window.addEventListener("resize", redraw);
  document.getElementById("more").addEventListener("toggle", redraw);
  document.getElementById("log").addEventListener("toggle", () => { const log = document.getElementById("run-log"); log.scrollTop = log.scrollHeight; });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  layOut(curves);
  draw(true);
})();
