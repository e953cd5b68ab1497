// Curves, streams and the threshold's slider. Every page works without it but for these.
"use strict";
const COLOURS = ["#1f6f8b", "#c2542d", "#4a7d2c", "#7a4d9e", "#946c00", "#444c55"];
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [4, 4], [1, 5]]; // readable without colour

function chart(box, series, rows, xLabel, yLabel, extra) {
  box.replaceChildren();
  const options = Object.assign({
    width: Math.max(240, box.clientWidth - 14), height: 260,
    scales: { x: { time: false } },
    axes: [{ label: xLabel, labelSize: 20 }, { label: yLabel, labelSize: 20, size: 58 }],
    series: [{ label: xLabel }].concat(series.map((label, i) => ({
      label, stroke: COLOURS[i % 6], dash: DASHES[i % 6], width: 1.5, spanGaps: true, points: { show: rows[0].length < 3 },
    }))),
  }, extra || {});
  return new uPlot(options, rows, box);
}

function lossOf(rows) { // held-out loss beside the training's, where it is there
  const at = rows.filter((row) => "step" in row);
  const names = ["loss", "val/loss"].filter((name) => at.some((row) => name in row));
  return { names, rows: [at.map((row) => row.step)].concat(names.map((name) => at.map((row) => row[name] ?? null))) };
}

async function curves(box) {
  const all = [];
  for (const address of box.dataset.curve.trim().split(/\s+/)) {
    const answer = await fetch(address);
    if (answer.ok) all.push(await answer.json());
  }
  const tables = [], labels = [];
  for (const one of all) {
    const found = lossOf(one.rows);
    if (!found.names.length) continue;
    tables.push(found.rows);
    for (const name of found.names) labels.push(all.length > 1 ? one.name + " " + name : name);
  }
  if (!tables.length) { box.textContent = "no steps were logged"; return; }
  chart(box, labels, tables.length > 1 ? uPlot.join(tables) : tables[0], "step", "loss");
}

function follow(log) {
  const box = document.getElementById("live"), state = document.getElementById("state");
  const progress = document.getElementById("progress"), bar = document.getElementById("bar");
  let rows = [], plot = null, fresh = true;
  const source = new EventSource(log.dataset.stream);
  source.addEventListener("log", (event) => {
    const low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    if (fresh) { log.textContent = ""; fresh = false; } // the stream begins with the page's own text
    log.textContent = (log.textContent + JSON.parse(event.data)).slice(-200000);
    if (low) log.scrollTop = log.scrollHeight;
    const lines = log.textContent.trim().split("\n"), last = lines[lines.length - 1];
    const step = last.match(/step ([\d,]+)\/([\d,]+)/) || last.match(/: ([\d,]+) of ([\d,]+)/);
    if (progress) progress.textContent = last.slice(0, 200);
    if (bar && step) {
      const [done, total] = [step[1], step[2]].map((text) => Number(text.replaceAll(",", "")));
      bar.hidden = false; bar.value = Math.min(1, done / total);
    }
  });
  source.addEventListener("metrics", (event) => {
    rows = rows.concat(JSON.parse(event.data));
    if (!box) return;
    const found = lossOf(rows);
    if (!found.names.length) return;
    if (plot && plot.series.length === found.rows.length) plot.setData(found.rows);
    else plot = chart(box, found.names, found.rows, "step", "loss");
  });
  source.addEventListener("end", (event) => {
    source.close();
    if (state) state.textContent = JSON.parse(event.data);
    location.reload();
  });
}

document.querySelectorAll("[data-curve]").forEach(curves);
document.querySelectorAll("[data-stream]").forEach(follow);
document.querySelectorAll("[data-submit]").forEach((select) => select.addEventListener("change", () => select.form.submit()));
document.querySelectorAll("#log").forEach((log) => { log.scrollTop = log.scrollHeight; });
