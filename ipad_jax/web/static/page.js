// Curves, streams and the threshold's slider. Every page works without it but for these.
"use strict";
const COLOURS = ["#1f6f8b", "#c2542d", "#4a7d2c", "#7a4d9e", "#946c00", "#444c55"];
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [4, 4], [1, 5]]; // readable without colour

function chart(box, series, rows, xLabel, yLabel, extra, joins = true) {
  box.replaceChildren();
  const options = Object.assign({
    width: Math.max(240, box.clientWidth - 14), height: 260,
    scales: { x: { time: false } },
    axes: [{ label: xLabel, labelSize: 20 }, { label: yLabel, labelSize: 20, size: 58 }],
    series: [{ label: xLabel }].concat(series.map((label, i) => ({
      label, stroke: COLOURS[i % 6], dash: DASHES[i % 6], width: 1.5, spanGaps: joins, points: { show: rows[i + 1].filter((value) => value !== null && value !== undefined).length < 3 },
    }))),
  }, extra || {});
  const plot = new uPlot(options, rows, box);
  new ResizeObserver(() => {
    const width = Math.max(240, box.clientWidth - 14);
    if (width !== plot.width) plot.setSize({ width, height: 260 });
  }).observe(box);
  return plot;
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


function watch(box) { // score of the last two minutes, alarms as a band
  const SHOWN_S = 120, verdict = document.getElementById("verdict"), list = document.getElementById("events");
  const goesOn = "on" in box.dataset, SILENT_S = 10;
  let rows = [], plot = null, number = null, heard = Date.now();
  if (goesOn) setInterval(() => { // what was said last is not the state of now
    const silent = Math.round((Date.now() - heard) / 1000);
    if (silent < SILENT_S) return;
    verdict.className = "verdict";
    verdict.textContent = "nothing heard for " + silent + " s: the camera or the watch has stopped";
  }, 1000);
  const source = new EventSource(box.dataset.watch);
  source.addEventListener("scores", (event) => {
    rows = rows.concat(JSON.parse(event.data));
    const last = rows[rows.length - 1];
    rows = rows.filter((row) => row[0] > last[0] - SHOWN_S);
    const top = Math.max(...rows.map((row) => row[1] ?? 0));
    const data = [rows.map((r) => r[0]), rows.map((r) => r[1]), rows.map((r) => r[2]), rows.map((r) => (r[3] ? top : null))];
    if (plot) plot.setData(data);
    else plot = chart(box, ["score", "its median", "alarm"], data, "seconds", "score", {}, false);
    heard = Date.now();
    if (!goesOn) return;
    const alarm = last[3] === 1;
    verdict.className = "verdict " + (alarm ? "alarm" : "calm");
    verdict.textContent = (alarm ? "ALARM" : "no alarm") + ", score " + (last[1] === null ? "-" : last[1].toFixed(2)) + " at " + last[0].toFixed(1) + " s";
  });
  source.addEventListener("events", async (event) => {
    const found = JSON.parse(event.data);
    if (number !== null && found !== number) {
      const answer = await fetch(box.dataset.events);
      if (answer.ok) list.innerHTML = await answer.text(); // our own template, escaped there
    }
    number = found;
  });
}

function faultRows(all, heading, place, address, number) { // a row each; returns the cells of their verdicts
  const list = document.createElement("table");
  list.className = "stacked";
  place.className = "scroll";
  place.replaceChildren(heading, list);
  return all.map((fault, i) => {
    const row = list.insertRow();
    const named = (of) => { const made = row.insertCell(); made.dataset.of = of; return made; };
    const verdict = named("at this threshold"), shown = named("its peak");
    if (fault.picture) {
      const image = document.createElement("img");
      image.className = "small"; image.alt = fault.kind + " at its peak";
      image.src = address.replace(/table$/, "picture/" + i);
      shown.append(image);
    }
    named("kind").textContent = fault.kind;
    named("where").textContent = "video " + fault.video + ", " + fault.start_s.toFixed(1) + " to " + fault.end_s.toFixed(1) + " s";
    named("highest").textContent = "score " + (fault.score === null ? "-" : number(fault.score)) + ", median " + (fault.sustained === null ? "-" : number(fault.sustained));
    return verdict;
  });
}

async function threshold(box) { // thresholds of every rate are there; the slider chooses among them
  const answer = await fetch(box.dataset.table);
  if (!answer.ok) return;
  const table = await answer.json(), wishes = table.wishes, slider = document.getElementById("rate");
  const hidden = box.querySelector("[name=per_hour]"), promise = document.getElementById("promise");
  const wish = Number(box.dataset.wish);
  const nearest = (i, k) => Math.abs(Math.log(wishes[i].per_hour / wish)) < Math.abs(Math.log(wishes[k].per_hour / wish));
  slider.max = wishes.length - 1;
  slider.value = wishes.reduce((best, _, i) => (nearest(i, best) ? i : best), 0);
  slider.disabled = false;
  const highest = Math.max(...table.normal), least = Math.min(...table.normal);
  const faultScores = table.faults.map((fault) => fault.score ?? 0);
  // Normal scores fill the picture; what lies right of it counts in the last piece.
  const now = wishes[slider.value].threshold, near = Math.max(3 * highest, 1.2 * Math.min(now ?? 0, 6 * highest));
  const far = Math.min(near, 1.1 * Math.max(highest, now ?? 0, ...faultScores)) || 1, bins = 60, width = (far - least) / bins;
  const count = (scores) => {
    const counts = new Array(bins).fill(0);
    for (const score of scores) counts[Math.min(bins - 1, Math.max(0, Math.floor((score - least) / width)))] += 1;
    return counts;
  };
  const x = Array.from({ length: bins }, (_, i) => least + (i + 0.5) * width);
  let at = null;
  const line = (u, value, dash, label) => {
    const inside = value === null || value > far ? null : u.valToPos(value, "x", true);
    if (inside === null) return;
    u.ctx.save(); u.ctx.strokeStyle = "#b3261e"; u.ctx.fillStyle = "#b3261e"; u.ctx.lineWidth = 2; u.ctx.textAlign = "left"; u.ctx.setLineDash(dash);
    u.ctx.beginPath(); u.ctx.moveTo(inside, u.bbox.top); u.ctx.lineTo(inside, u.bbox.top + u.bbox.height); u.ctx.stroke();
    u.ctx.fillText(label, inside + 4, u.bbox.top + 12); u.ctx.restore();
  };
  const steps = uPlot.paths.stepped({ align: 0 });
  const plot = chart(box.querySelector(".chart"), ["normal, pieces of " + table.unit_s.toFixed(2) + " s", "known faults"],
    [x, count(table.normal), count(faultScores)], "score", "how many", {
      axes: [{ label: "highest score" + (Math.max(...faultScores, 0) > far ? ", at the right edge: and above" : ""), labelSize: 20 },
        { label: "how many", labelSize: 20, size: 58, values: (u, ticks) => ticks.map((tick) => (tick === null || tick < 0 ? "" : tick)) }],
      scales: { x: { time: false, range: [least, far] }, y: { distr: 4, range: (u, low, high) => [0, 1.3 * high] } },
      series: [{ label: "score" },
        { label: "normal, pieces of " + table.unit_s.toFixed(2) + " s", stroke: COLOURS[0], fill: "#1f6f8b40", paths: steps, points: { show: false } },
        { label: "known faults", stroke: COLOURS[1], fill: "#c2542d60", dash: DASHES[1], paths: steps, points: { show: false } }],
      hooks: { draw: [(u) => { line(u, at.threshold, [], "frame"); line(u, at.sustained, [6, 4], "median"); }] },
    });
  const number = (value) => (value === null ? "never" : Number(value.toPrecision(3)).toLocaleString("en"));
  const caught = (fault) => (at.threshold !== null && (fault.score ?? -Infinity) > at.threshold) || (at.sustained !== null && (fault.sustained ?? -Infinity) > at.sustained);
  const heading = document.createElement("h2"), faults = document.getElementById("faults");
  const verdicts = table.faults.length ? faultRows(table.faults, heading, faults, box.dataset.table, number) : [];
  if (!table.faults.length) faults.textContent = "No known faults: evaluate the run on test videos to see here which ones are caught.";
  const show = () => {
    at = wishes[slider.value];
    hidden.value = at.per_hour;
    const each = at.per_hour >= 1 ? number(at.per_hour) + " an hour" : "one in " + number(1 / at.per_hour) + " hours";
    slider.setAttribute("aria-valuetext", each);
    promise.textContent = "At most " + each + ": alarm above " + number(at.threshold) + " for a frame, " + number(at.sustained) + " for its median";
    document.getElementById("rests").textContent = "Rests on " + table.minutes.toFixed(1) + " minutes of normal footage" +
      (table.another_recording ? "" : " of the training's own recording, which promises nothing about another day") + "; " + at.above + " of its " + table.normal.length + " pieces lie above." +
      (at.extrapolated ? " Extrapolated: so little footage cannot show so low a rate." : "") +
      (at.threshold !== null && at.threshold > far ? " The frame's threshold lies right of the picture, far above every score of the footage." : "");
    heading.textContent = "Known faults: " + table.faults.filter(caught).length + " of " + table.faults.length + " caught";
    table.faults.forEach((fault, i) => {
      const hit = caught(fault);
      verdicts[i].textContent = hit ? "caught" : "missed"; verdicts[i].className = hit ? "right" : "wrong";
    });
    plot.redraw(false); // its own first drawing is still to come
  };
  slider.addEventListener("input", show);
  show();
}

function tested(choice) { // test images beside the share of false alarms that is ticked
  choice.addEventListener("change", () => {
    const threshold = Number(choice.dataset.threshold), counts = {};
    document.querySelectorAll("[data-score]").forEach((span) => {
      const kind = span.dataset.of, alarm = Number(span.dataset.score) > threshold;
      span.textContent = alarm ? "alarm" : "no alarm";
      span.className = alarm === (kind !== "good") ? "right" : "wrong";
      counts[kind] ??= [0, 0];
      counts[kind][0] += alarm; counts[kind][1] += 1;
    });
    document.querySelectorAll("[data-kind]").forEach((line) => {
      line.textContent = counts[line.dataset.kind].join(" of ") + " raise an alarm";
    });
  });
}

function fitting(datasets) { // a purpose that trains on the chosen dataset
  const purposes = document.querySelector("select[name=purpose]");
  const choose = () => {
    const builder = datasets.value.split("/")[0];
    for (const one of purposes.options) one.disabled = !one.dataset.builders.split(" ").includes(builder);
    if (purposes.selectedOptions[0]?.disabled ?? true) purposes.value = [...purposes.options].find((one) => !one.disabled)?.value;
  };
  datasets.addEventListener("change", choose);
  choose();
}

function upload(form) { // with a bar and a way to stop; without scripts the browser sends it by itself
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const button = form.querySelector("button"), bar = document.createElement("progress"), line = document.createElement("p");
    const stop = Object.assign(document.createElement("button"), { type: "button", className: "second", textContent: "Stop sending" });
    const request = new XMLHttpRequest();
    const over = (text) => { bar.remove(); stop.remove(); line.className = "notice"; line.textContent = text; button.disabled = false; };
    form.querySelectorAll("progress, p").forEach((old) => old.remove());
    bar.max = 1; bar.setAttribute("aria-label", "sent");
    line.setAttribute("role", "status");
    button.disabled = true;
    form.append(bar, line, stop);
    request.upload.addEventListener("progress", (sent) => {
      bar.value = sent.loaded / sent.total;
      line.textContent = (sent.loaded / 1e6).toFixed(1) + " of " + (sent.total / 1e6).toFixed(1) + " MB sent" + (sent.loaded === sent.total ? ", looking into it" : "");
    });
    request.addEventListener("load", () => {
      if (request.status < 400) { location.assign(request.responseURL); return; }
      const answer = new DOMParser().parseFromString(request.responseText, "text/html").querySelector(".notice");
      over(answer ? answer.textContent : request.responseText.slice(0, 300));
    });
    request.addEventListener("error", () => over("The connection broke: is the page still running?"));
    request.addEventListener("abort", () => over("Stopped; nothing was kept."));
    stop.addEventListener("click", () => request.abort());
    request.open("POST", form.action);
    request.send(new FormData(form));
  });
}

document.querySelectorAll("select[name=dataset]").forEach(fitting);
document.querySelectorAll("form[enctype]").forEach(upload);
document.querySelectorAll("[data-threshold]").forEach(tested);
document.querySelectorAll("[data-watch]").forEach(watch);
document.querySelectorAll("#threshold").forEach(threshold);
document.querySelectorAll("[data-seek]").forEach((link) => link.addEventListener("click", () => {
  const video = document.getElementById("all");
  if (video) video.currentTime = Number(link.dataset.seek);
}));
document.querySelectorAll("[data-curve]").forEach(curves);
document.querySelectorAll("[data-stream]").forEach(follow);
document.querySelectorAll("[data-submit]").forEach((select) => { // arrow keys go through the list: Enter or the button sends it
  let keyed = false;
  select.addEventListener("keydown", () => { keyed = true; });
  select.addEventListener("pointerdown", () => { keyed = false; });
  select.addEventListener("change", () => { if (!keyed) select.form.submit(); });
});
document.querySelectorAll("#log").forEach((log) => { log.scrollTop = log.scrollHeight; });
