"use strict";
// The page of rebridge: sends pictures, shows what the server says of them. What is restored, and how, the server knows.

const $ = (id) => document.getElementById(id);
const items = []; // {key, file, options, job, problem, preview}
let about = null, ready = false, chosen = null, sending = false, polling = false, stream = null, nextKey = 0;

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function say(text) {
  $("status").textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { $("status").textContent = ""; }, 8000);
}

async function ask(address, options) {
  let answer;
  try { answer = await fetch(address, options); } catch { throw new Error("The server cannot be reached. Is it still running?"); }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(sentence(body.error)), { status: answer.status });
  return body;
}

function sentence(text) {
  const kept = text || "something went wrong";
  return kept[0].toUpperCase() + kept.slice(1) + (/[.!?]$/.test(kept) ? "" : ".");
}

const unfinished = (item) => !item.problem && (!item.job || item.job.state === "waiting" || item.job.state === "running");

// ---- options

async function start() {
  showExamples();
  try {
    about = await ask("/api/about");
  } catch (error) {
    $("limits").textContent = error.message;
    $("limits").className = "bad";
    begin();
    return;
  }
  const most = about.limits;
  $("limits").textContent = `JPEG, PNG, WebP, TIFF and more; at most ${Math.round(most.upload_bytes / 1e6)} MB and ` +
    `${Math.round(most.pixels / 1e6)} megapixels each, ${most.visitor_waiting} at a time, ${Math.round(most.job_seconds / 60)} minutes of work each.`;
  $("steps").max = most.steps;
  $("samples").max = most.samples;
  for (const model of about.models) $("model").append(make("option", { value: model.name, textContent: model.name }));
  $("model").value = about.default;
  for (const format of about.formats) $("format").append(make("option", { value: format, textContent: format.toUpperCase() }));
  showModel();
  for (const job of await ask("/api/jobs")) {
    const item = { key: nextKey++, file: null, options: null, job };
    items.push(item);
    if (unfinished(item)) update(item, job, null);
  }
  draw();
  poll();
  begin();
}

// What was dropped meanwhile is sent only now: the list of the server would have it twice.
function begin() { ready = true; send(); }

function showModel() {
  const model = about.models.find((one) => one.name === $("model").value);
  const tasks = model.tasks.filter((task) => task !== "clean");
  $("about-model").textContent = `Removes ${tasks.map((task) => about.words[task]).join(", ") || "what it was trained on"}.`;
  $("steps").placeholder = model.steps ? `${model.steps} (recommended)` : "recommended";
  $("task-row").hidden = model.method !== "irbridge" && !model.told;
  $("task").replaceChildren(make("option", { value: "", textContent: model.told ? "what is found" : "not stated" }),
    ...tasks.map((task) => make("option", { value: task, textContent: about.words[task] })));
}

function options() {
  const found = {};
  for (const [key, value] of new FormData($("options"))) if (value !== "" && !(key === "task" && $("task-row").hidden)) found[key] = value;
  return found;
}

// ---- sending

function add(files, changes = {}, mask = null) {
  if (!$("options").reportValidity()) { say("One of the options is out of range."); return; }
  for (const file of files) {
    const item = { key: nextKey++, file, mask, options: { ...options(), ...changes }, job: null, problem: null };
    if (about && file.size > about.limits.upload_bytes) item.problem = `It has ${(file.size / 1e6).toFixed(1)} MB; the limit is ${about.limits.upload_bytes / 1e6} MB.`;
    items.push(item);
  }
  if (files.length) say(files.length === 1 ? `${files[0].name} is in the queue.` : `${files.length} pictures are in the queue.`);
  draw();
  send();
}

async function send() {
  if (sending || !ready) return;
  sending = true;
  let item;
  while ((item = items.find((one) => !one.job && !one.problem))) {
    const form = new FormData();
    for (const [key, value] of Object.entries(item.options)) form.append(key, value);
    form.append("image", item.file, item.file.name || "pasted.png");
    if (item.mask) form.append("mask", item.mask, "mask.png");
    try {
      const job = await ask("/api/jobs", { method: "POST", body: form });
      if (item.gone) ask(`/api/jobs/${job.id}`, { method: "DELETE" }).catch(() => {});
      else update(item, job, null);
    } catch (error) {
      if (error.status === 429 || error.status === 503) { await new Promise((done) => setTimeout(done, 2000)); continue; }
      item.problem = error.message;
      say(`${item.file.name}: ${error.message}`);
    }
    draw();
    poll();
  }
  sending = false;
}

// ---- progress

async function poll() {
  if (polling) return;
  polling = true;
  while (items.some((item) => item.job && unfinished(item))) {
    const asked = items.filter((item) => item.job && unfinished(item)).map((item) => [item, item.job]);
    try { merge(asked, await ask("/api/jobs")); } catch (error) { say(error.message); }
    await new Promise((done) => setTimeout(done, 700));
  }
  polling = false;
}

// An answer may be older than what an event or another answer has told since: only what has not changed takes it.
function merge(asked, jobs) {
  for (const [item, was] of asked) {
    if (item.job !== was) continue;
    const now = jobs.find((job) => job.id === was.id);
    if (now) update(item, now, was.state);
    else item.problem = "The server does not know this picture any more; try again.";
  }
  draw();
}

function update(item, job, before) {
  item.job = job;
  if (job.preview) item.preview = `data:image/jpeg;base64,${job.preview}`;
  if (job.state === before) return;
  if (job.state === "running") listen(item);
  if (job.state === "done") {
    say(`${job.name} is restored.`);
    if (!chosen || !(chosen.job && chosen.job.state === "done") || items.filter((one) => one.job && one.job.state === "done").length === 1) select(item);
  }
  if (job.state === "failed") say(`${job.name}: ${sentence(job.error)}`);
}

function listen(item) {
  if (stream) stream.close();
  stream = new EventSource(`/api/jobs/${item.job.id}/events`);
  const mine = stream;
  mine.onmessage = (event) => {
    update(item, JSON.parse(event.data), item.job.state);
    if (!unfinished(item)) mine.close();
    draw();
  };
  mine.onerror = () => mine.close();
}

async function cancel(item) {
  item.gone = true;
  if (!item.job) { item.problem = "Cancelled."; draw(); return; }
  try { update(item, await ask(`/api/jobs/${item.job.id}`, { method: "DELETE" }), item.job.state); } catch (error) { say(error.message); return; }
  say(`${item.job.name} is being cancelled.`);
  draw();
}

async function remove(item) {
  if (item.job && item.job.state === "done") await ask(`/api/jobs/${item.job.id}`, { method: "DELETE" }).catch(() => {});
  items.splice(items.indexOf(item), 1);
  if (chosen === item) { chosen = null; $("show").hidden = true; }
  draw();
  $("list").focus();
}

function retry(item) {
  Object.assign(item, { job: null, problem: null, gone: false, preview: null, options: options() });
  draw();
  send();
}

// ---- the list

function words(item) {
  if (item.problem) return item.problem;
  const job = item.job;
  if (!job) return "Sending…";
  if (job.state === "waiting") return job.before_it ? `Waiting; ${job.before_it} before it.` : "Waiting.";
  if (job.state === "running") return `Restoring: ${Math.round(100 * job.progress)} %` + (job.found_words ? `; found ${job.found_words}` : "");
  if (job.state === "done") return `Restored in ${job.done.seconds.toFixed(1)} s; ${job.width} × ${job.height} pixels.`;
  return sentence(job.error);
}

function draw() {
  const list = $("list");
  const kept = new Map([...list.children].map((node) => [node.dataset.key, node]));
  for (const item of items) {
    const key = String(item.key);
    const state = item.problem ? "failed" : item.job ? item.job.state : "sending";
    let node = kept.get(key);
    kept.delete(key);
    if (!node || node.dataset.state !== state) {
      const fresh = row(item, state);
      const focused = node && node.contains(document.activeElement);
      if (node) node.replaceWith(fresh); else list.append(fresh);
      if (focused) (fresh.querySelector("button, a") || list).focus();
      node = fresh;
    }
    node.querySelector(".words").textContent = words(item);
    const bar = node.querySelector("progress");
    if (bar && item.job && item.job.state === "running") bar.value = item.job.progress;
    const image = node.querySelector("img");
    if (image && item.preview) { image.hidden = false; if (image.src !== item.preview) image.src = item.preview; }
    const open = node.querySelector(".name button");
    if (open) open.setAttribute("aria-current", String(item === chosen));
  }
  for (const node of kept.values()) node.remove();
  $("empty").hidden = items.length > 0;
  $("zip").hidden = !items.some((item) => item.job && item.job.state === "done");
}

function row(item, state) {
  const name = item.job ? item.job.name : item.file.name || "pasted.png";
  const done = state === "done";
  const title = make("span", { className: "name" }, done ? make("button", { type: "button", textContent: name, onclick: () => { select(item); $("show-title").scrollIntoView({ block: "nearest" }); } }) : name);
  const buttons = make("span", { className: "buttons" });
  if (state === "sending" || state === "waiting" || state === "running") buttons.append(make("button", { type: "button", textContent: "Cancel", ariaLabel: `Cancel ${name}`, onclick: () => cancel(item) }));
  else {
    if (done) buttons.append(make("a", { className: "button", href: `/api/jobs/${item.job.id}/result`, textContent: "Save", ariaLabel: `Save ${name}`, download: "" }));
    if (item.file) buttons.append(make("button", { type: "button", textContent: done ? "Again" : "Retry", ariaLabel: `${done ? "Again" : "Retry"}: restore ${name} with the options as they are now`, onclick: () => retry(item) }));
    buttons.append(make("button", { type: "button", textContent: "Remove", ariaLabel: `Remove ${name}`, onclick: () => remove(item) }));
  }
  const more = make("div", { className: "more" }, make("span", { className: "words small" + (state === "failed" ? " bad" : "") }));
  if (state === "running") more.append(make("progress", { max: 1, value: 0, ariaLabel: `Progress of ${name}` }), make("img", { alt: `Estimate of ${name} so far`, hidden: true }));
  const node = make("li", {}, title, more, buttons);
  node.dataset.key = item.key;
  node.dataset.state = state;
  return node;
}

// ---- the picture: two layers under one transform

const place = { scale: 1, x: 0, y: 0, fit: true };
const images = () => document.querySelectorAll(".layer img");

function select(item) {
  const same = chosen === item && !$("show").hidden;
  if (brush.on) paintMode(false);
  if (lens.on) useLoupe(false);
  chosen = item;
  $("show").hidden = false;
  if (!same) place.fit = true;
  const job = item.job, done = job.done;
  $("show-title").textContent = `Before and after: ${job.name}`;
  $("download").href = `/api/jobs/${job.id}/result`;
  const labels = { compare: "Before / after", changed: "What changed", uncertainty: "Uncertainty" };
  const known = ["compare", ...Object.keys(labels).filter((view) => job.views.includes(view))];
  $("views").replaceChildren(...known.map((view) => make("button", { type: "button", textContent: labels[view], onclick: () => look(view) })));
  [...$("views").children].forEach((button, index) => { button.dataset.view = known[index]; });
  look("compare");
  draw();
  const percent = (100 * done.changed.share).toFixed(0);
  $("found").textContent = done.words ? sentence(done.words) : job.found_words ? `Found ${job.found_words}. ${treated(job.found)}` : "";
  $("how").textContent = `Bridge ${done.bridge}; sampler ${done.sampler}; seed ${done.seed}; ${done.samples} ${done.samples === 1 ? "sample" : "samples"}.`;
  $("facts").textContent = `${done.model}, ${done.steps} ${done.steps === 1 ? "step" : "steps"}, ${done.seconds.toFixed(1)} s. ${percent} % of the pixels changed, by ${done.changed.mean.toFixed(1)} of 255 levels on average. ` + (done.note ? sentence(done.note) : "");
  $("how").parentElement.hidden = Boolean(done.words);
}

function treated(found) {
  const names = found.filter((one) => one.treated > 0).map((one) => one.name);
  return names.length ? `Treated: ${names.join(", ")}.` : "Left as it is: choose the damage, where there is one.";
}

function look(view) {
  const job = chosen.job, compare = view === "compare";
  const base = `/api/jobs/${job.id}/views/`;
  const [under, over] = images();
  under.src = base + (compare ? "before" : view);
  over.src = base + "after";
  const white = (figures, what) => `${what} of ${job.name}: black is none, white ${figures.largest.toFixed(1)} of 255 levels`;
  under.alt = compare ? `${job.name} before` : view === "changed" ? white(job.done.changed, "Change") : white(job.done.uncertainty, "Standard deviation of the samples");
  over.alt = `${job.name} restored`;
  $("over").hidden = $("line").hidden = $("tag-before").hidden = $("tag-after").hidden = $("slider-row").hidden = !compare;
  for (const button of $("views").children) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  if (!compare) say(`${under.alt}.`);
  arrange();
}

function arrange() {
  if (!chosen) return;
  const stage = $("stage"), { width, height } = chosen.job;
  const fit = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  if (place.fit) Object.assign(place, { scale: fit, x: (stage.clientWidth - fit * width) / 2, y: (stage.clientHeight - fit * height) / 2 });
  for (const image of images()) {
    image.style.width = `${width}px`;
    image.style.transform = `translate(${place.x}px, ${place.y}px) scale(${place.scale})`;
    image.style.imageRendering = place.scale >= 2 && !place.fit ? "pixelated" : "auto";
  }
  $("paint").style.transform = `translate(${place.x}px, ${place.y}px) scale(${place.scale})`;
  magnify();
  const part = Number($("slider").value);
  $("over").style.clipPath = `inset(0 0 0 ${part}%)`;
  $("line").style.left = `${part}%`;
  $("slider").setAttribute("aria-valuetext", `${part} % before, ${100 - part} % after`);
  $("zoom").textContent = `${Math.round(100 * place.scale)} %`;
}

function zoom(factor, x, y) {
  const stage = $("stage");
  const [cx, cy] = [x ?? stage.clientWidth / 2, y ?? stage.clientHeight / 2];
  const scale = Math.min(Math.max(place.scale * factor, 0.02), 16);
  Object.assign(place, { fit: false, x: cx - (cx - place.x) * scale / place.scale, y: cy - (cy - place.y) * scale / place.scale, scale });
  arrange();
}

function move(x, y) {
  Object.assign(place, { fit: false, x: place.x + x, y: place.y + y });
  arrange();
}

// ---- the loupe: before and after side by side, pixel for pixel

const lens = { on: false, x: null, y: null };

function magnify(x = lens.x, y = lens.y) {
  const stage = $("stage"), loupe = $("loupe");
  Object.assign(lens, { x, y });
  loupe.hidden = !lens.on;
  if (!lens.on) return;
  const [left, top] = [x ?? stage.clientWidth / 2, y ?? stage.clientHeight / 2];
  loupe.style.left = `${left}px`;
  loupe.style.top = `${top}px`;
  const at = { x: (left - place.x) / place.scale, y: (top - place.y) / place.scale };
  [...loupe.children].forEach((half, index) => {
    half.style.backgroundImage = `url("/api/jobs/${chosen.job.id}/views/${index ? "after" : "before"}")`;
    half.style.backgroundPosition = `${half.clientWidth / 2 - at.x}px ${half.clientHeight / 2 - at.y}px`;
  });
}

function useLoupe(on) {
  lens.on = on;
  $("look-closer").setAttribute("aria-pressed", String(on));
  if (on) say("The loupe shows before on the left and after on the right, at 100 %.");
  magnify(null, null);
}

// ---- painting over what shall be filled

const brush = { on: false, strokes: [], last: null };

function paintMode(on) {
  if (on && !(chosen && chosen.file)) { say("Choose the picture again to paint on it: the page was loaded anew since."); return; }
  Object.assign(brush, { on, strokes: [], last: null });
  $("start-painting").setAttribute("aria-pressed", String(on));
  $("painting").hidden = $("paint").hidden = !on;
  $("stage").classList.toggle("paints", on);
  if (!on) return;
  Object.assign($("paint"), { width: chosen.job.width, height: chosen.job.height });
  $("slider").value = 100;
  look("compare");
  say("Paint over what shall be filled.");
}

function dab(point, starts) {
  const at = { x: (point.x - place.x) / place.scale, y: (point.y - place.y) / place.scale };
  if (starts) brush.strokes.push({ width: Number($("brush").value) / place.scale, points: [] });
  brush.strokes[brush.strokes.length - 1].points.push(at);
  repaint();
}

function repaint() {
  const canvas = $("paint"), pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  Object.assign(pen, { lineCap: "round", lineJoin: "round", strokeStyle: "#ff5fd8" });
  for (const { width, points } of brush.strokes) {
    pen.lineWidth = width;
    pen.beginPath();
    points.forEach(({ x, y }, index) => (index ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    if (points.length === 1) pen.lineTo(points[0].x + 0.01, points[0].y);
    pen.stroke();
  }
}

function fillPainted() {
  if (!brush.strokes.length) { say("Nothing is painted yet."); return; }
  const item = chosen;
  $("paint").toBlob((mask) => { paintMode(false); add([item.file], {}, mask); });
}

const pointers = new Map();
const spread = () => { const [a, b] = [...pointers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };

function listenToStage() {
  const stage = $("stage");
  const at = (event) => { const box = stage.getBoundingClientRect(); return { x: event.clientX - box.left, y: event.clientY - box.top }; };
  stage.addEventListener("wheel", (event) => { event.preventDefault(); const { x, y } = at(event); zoom(Math.exp(-event.deltaY / 400), x, y); }, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    const point = at(event), line = Number($("slider").value) * stage.clientWidth / 100;
    pointers.set(event.pointerId, { ...point, line: !brush.on && !$("line").hidden && Math.abs(point.x - line) < 16 });
    if (brush.on && pointers.size === 1) dab(point, true);
  });
  stage.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (lens.on) magnify(at(event).x, at(event).y);
    if (!last) return;
    const now = at(event), apart = pointers.size === 2 ? spread() : 0;
    pointers.set(event.pointerId, { ...now, line: last.line });
    if (pointers.size === 2 && apart > 0) zoom(spread() / apart, now.x, now.y);
    else if (brush.on) dab(now, false);
    else if (last.line) { $("slider").value = 100 * now.x / stage.clientWidth; arrange(); }
    else move(now.x - last.x, now.y - last.y);
  });
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => pointers.delete(event.pointerId));
  stage.addEventListener("keydown", (event) => {
    const keys = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
    if (keys[event.key]) move(...keys[event.key]);
    else if (event.key === "+" || event.key === "=") zoom(1.25);
    else if (event.key === "-") zoom(0.8);
    else if (event.key === "0") fit();
    else if (event.key === " " && brush.on) dab({ x: stage.clientWidth / 2, y: stage.clientHeight / 2 }, true);
    else return;
    event.preventDefault();
  });
  new ResizeObserver(arrange).observe(stage);
}

function fit() { place.fit = true; arrange(); }

// ---- examples, dropping, pasting

function showExamples() {
  for (const name of ["rain", "haze", "noise"]) {
    const file = `${name}.jpg`, address = `/static/examples/${file}`;
    const load = async () => {
      const told = about.models.find((one) => one.name === $("model").value).told;
      try { add([new File([await (await fetch(address)).blob()], file, { type: "image/jpeg" })], told ? { task: name } : {}); } catch { say("The example cannot be loaded."); }
    };
    $("examples").append(make("button", { type: "button", ariaLabel: `Restore the example: ${name}`, onclick: load }, make("img", { src: address, alt: "" }), name));
  }
}

async function dropped(entries, files) {
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) found.push(await new Promise((done, fail) => entry.file(done, fail)));
    else {
      const reader = entry.createReader();
      for (let part; (part = await new Promise((done, fail) => reader.readEntries(done, fail))).length;) for (const one of part) await walk(one);
    }
  };
  try { for (const entry of entries) await walk(entry); } catch { say("A folder could not be read."); }
  add(entries.length ? found : files);
}

$("files").addEventListener("change", () => { add([...$("files").files]); $("files").value = ""; });
$("folder").addEventListener("change", () => { add([...$("folder").files]); $("folder").value = ""; });
$("model").addEventListener("change", showModel);
$("strength").addEventListener("input", () => { $("strength-value").textContent = `${Math.round(100 * $("strength").value)} %`; });
$("options").addEventListener("submit", (event) => event.preventDefault());
$("slider").addEventListener("input", arrange);
$("in").addEventListener("click", () => zoom(1.25));
$("out").addEventListener("click", () => zoom(0.8));
$("fit").addEventListener("click", fit);
$("look-closer").addEventListener("click", () => useLoupe(!lens.on));
$("start-painting").addEventListener("click", () => paintMode(!brush.on));
$("fill").addEventListener("click", fillPainted);
$("undo").addEventListener("click", () => { brush.strokes.pop(); repaint(); });
$("clear").addEventListener("click", () => { brush.strokes = []; repaint(); });
$("full").addEventListener("click", () => zoom(1 / place.scale));
addEventListener("paste", (event) => { const files = [...event.clipboardData.files]; if (files.length) { event.preventDefault(); add(files); } });
addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  dropped(entries, [...event.dataTransfer.files]);
});
listenToStage();
start();
