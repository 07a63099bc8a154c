// The start page: a text to its label, a photo to its boxes, and who of the services is up.
"use strict";

const $ = (id) => document.getElementById(id);

const LABELS = {
  negative: ["消极", "negative"],
  positive: ["积极", "positive"],
  normal: ["正常", "normal"],
  troll: ["杠精", "troll"],
};
const ENDS = { sentiment: ["negative", "positive"], troll: ["normal", "troll"] };
const EXAMPLES = {
  sentiment: ["房间很干净，服务热情，下次还会来。", "等了一个小时，菜还是凉的，再也不来了。", "包装不错，味道一般。"],
  troll: ["谢谢分享，学到了很多。", "就这？你行你上啊，懂什么就在这里教人。", "数据是哪一年的？想看看原文。"],
};
const COLOURS = ["#0369a1", "#c2410c", "#15803d", "#be123c", "#7e22ce", "#92600a", "#0f766e", "#be185d"]; // white is readable on each
const LONGEST_SIDE = 1600; // pixels; more do not help a detector with an input of 416

const labelText = (label) => (LABELS[label] ? language.pick(...LABELS[label]) : label);
const versionText = (version) =>
  version ? language.pick(`模型版本 ${version}`, `model version ${version}`) : language.pick("内置模型", "built-in model");
const percent = (p) => `${(p * 100).toFixed(1)} %`;

async function post(path, body) {
  const started = performance.now();
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error(language.pick("连不上服务器。", "The server cannot be reached."));
  }
  const data = await answer.json();
  if (!answer.ok) throw new Error(`${data.code}: ${data.message}`);
  return { data, ms: performance.now() - started, by: answer.headers.get("X-Served-By") };
}

const factsOf = (words, { ms, by }) => make("p", { class: "facts", text: [...words, `${ms.toFixed(0)} ms`, by].filter(Boolean).join(" · ") });
const show = (where, ...children) => $(where).replaceChildren(...children);
const showError = (where, error) => show(where, make("p", { class: "error", role: "alert", text: error.message }));
const showBusy = (where) => show(where, make("p", { class: "busy", text: language.pick("正在计算…", "Working…") }));

// ---- text ----

const task = () => new FormData($("text-form")).get("task");
let lastText = null; // what /predict answered, and what /explain did once it has

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

// The text as the model read it, a shade behind each character: green for the second label, red and underlined for the first.
function shadedText({ characters, clipped }) {
  const strongest = Math.max(1e-9, ...characters.map((c) => Math.abs(c.contribution)));
  const shaded = make("p", { class: "shaded", lang: "zh-CN" });
  characters.forEach((c, i) => {
    const span = make("span", { class: c.contribution < 0 ? "against" : "for", title: signed(c.contribution), text: c.text });
    span.style.setProperty("--weight", (0.75 * Math.abs(c.contribution)) / strongest);
    if (Math.abs(c.contribution) < 0.15 * strongest) span.classList.add("faint");
    if (clipped && i === Math.floor((characters.length * 3) / 4)) shaded.append(" … ");
    shaded.append(span);
  });
  return shaded;
}

// The words that weigh most; where a model has no n-grams, its characters.
function strongestParts({ characters, ngrams }) {
  const parts = ngrams.length ? ngrams : [...characters].sort((a, b) => Math.abs(b.contribution) - Math.abs(a.contribution));
  return make("ul", { class: "parts" }, ...parts.slice(0, 6).map((part) =>
    make("li", { class: part.contribution < 0 ? "against" : "for" }, make("b", { lang: "zh-CN", text: part.text }), ` ${signed(part.contribution)}`)));
}

function whyParts(why, ends) {
  if (!why) return [];
  const [first, second] = [labelText(ends[0]), labelText(why.about)];
  return [
    make("h3", { text: language.pick("为什么", "Why") }),
    shadedText(why),
    make("p", { class: "legend" }, make("span", { class: "for", text: language.pick(`更像“${second}”`, `speaks for ${second}`) }), " ",
      make("span", { class: "against", text: language.pick(`更像“${first}”`, `speaks for ${first}`) })),
    strongestParts(why),
  ];
}

function showText() {
  if (!lastText) return;
  const { data, ends, why } = lastText;
  const known = ends.includes(data.label);
  const bar = make("i");
  const meter = make("div", {
    class: "meter", role: "meter", "aria-valuemin": "0", "aria-valuemax": "100",
    "aria-valuenow": (data.prob * 100).toFixed(1), "aria-label": labelText(known ? ends[1] : data.label),
  }, bar);
  bar.style.width = percent(data.prob).replace(" ", "");
  show(
    "text-result",
    make("div", { class: "verdict" }, make("b", { text: labelText(data.label) }),
      make("span", { text: `P(${labelText(known ? ends[1] : data.label)}) = ${percent(data.prob)}` })),
    meter,
    ...(known ? [make("div", { class: "ends" }, make("span", { text: labelText(ends[0]) }), make("span", { text: labelText(ends[1]) }))] : []),
    factsOf([versionText(data.version)], lastText),
    ...whyParts(why, ends),
  );
}

// By the version that gave the label, whoever else may answer now. The label is there already: without an explanation
// the page is only poorer.
async function explainText(shown, body) {
  try {
    const { data } = await post("/explain", { ...body, version: shown.data.version ? String(shown.data.version) : "built-in" });
    shown.why = data;
  } catch {
    return;
  }
  if (shown === lastText) showText();
}

async function classify(event) {
  event.preventDefault();
  const button = $("text-form").querySelector("button.main");
  button.disabled = true;
  showBusy("text-result");
  try {
    const body = { text: $("text").value, task: task() };
    lastText = { ...(await post("/predict", body)), ends: ENDS[body.task] };
    showText();
    explainText(lastText, body);
  } catch (error) {
    lastText = null;
    showError("text-result", error);
  } finally {
    button.disabled = false;
  }
}

function showExamples() {
  show("examples", ...EXAMPLES[task()].map((text) => {
    const button = make("button", { type: "button", lang: "zh-CN", text });
    button.addEventListener("click", () => {
      $("text").value = text;
      showCurl();
      $("text-form").requestSubmit();
    });
    return button;
  }));
}

const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function showCurl() {
  const body = { text: $("text").value || EXAMPLES[task()][0] };
  if (task() !== "sentiment") body.task = task();
  $("text-curl").textContent = `curl -s ${location.origin}/predict \\\n  -d ${shellQuoted(JSON.stringify(body))}`;
  $("photo-curl").textContent =
    `printf '{"id": "1", "image": "%s"}' "$(base64 -w0 photo.jpg)" |\n  curl -s ${location.origin}/api/object_detection -d @-`;
}

// ---- photo ----

let photo = null; // {canvas, base64}: upright, at most LONGEST_SIDE, as it was sent
let lastPhoto = null;

async function loadPhoto(file) {
  const url = URL.createObjectURL(file);
  const image = new Image();
  try {
    image.src = url;
    await image.decode();
  } catch {
    throw new Error(language.pick("这个文件不是浏览器认识的图片。", "This file is not a picture that the browser knows."));
  } finally {
    URL.revokeObjectURL(url);
  }
  const scale = Math.min(1, LONGEST_SIDE / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return { canvas, base64: canvas.toDataURL("image/jpeg", 0.92).split(",")[1] };
}

const colourOf = (labels, label) => COLOURS[labels.indexOf(label) % COLOURS.length];

const overlap = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

// Where an object's tag goes: above its box, or inside it, or further down until it covers no other tag.
function placeTag({ left, top }, w, h, canvas, taken) {
  const tag = { x: Math.max(0, Math.min(left, canvas.width - w)), y: top >= h ? top - h : top, w, h };
  while (taken.some((other) => overlap(tag, other)) && tag.y + 2 * h < canvas.height) tag.y += h;
  taken.push(tag);
  return tag;
}

function drawBox(context, object, colour, unit) {
  const { left, top, width, height } = object.rectangle;
  context.lineWidth = unit * 0.18;
  context.strokeStyle = colour;
  context.strokeRect(left, top, width, height);
}

function drawTag(context, object, colour, unit, taken) {
  const text = `${object.label} ${(object.accuracy * 100).toFixed(0)}%`;
  context.font = `600 ${unit}px system-ui, sans-serif`;
  const tag = placeTag(object.rectangle, context.measureText(text).width + unit * 0.7, unit * 1.45, context.canvas, taken);
  context.fillStyle = colour;
  context.fillRect(tag.x, tag.y, tag.w, tag.h);
  context.fillStyle = "#fff";
  context.fillText(text, tag.x + unit * 0.35, tag.y + unit * 1.08);
}

function drawPhoto(objects) {
  const canvas = $("canvas");
  const context = canvas.getContext("2d");
  const labels = [...new Set(objects.map((o) => o.label))];
  canvas.width = photo.canvas.width;
  canvas.height = photo.canvas.height;
  canvas.hidden = false;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", objects.map((o) => `${o.label} ${percent(o.accuracy)}`).join(", ") || language.pick("没有找到物体", "nothing found"));
  context.drawImage(photo.canvas, 0, 0);
  const shown = canvas.clientWidth || 480;
  const unit = Math.max(10, (canvas.width / shown) * 14); // 14 px on the screen
  const taken = [];
  for (const object of [...objects].reverse()) drawBox(context, object, colourOf(labels, object.label), unit);
  for (const object of objects) drawTag(context, object, colourOf(labels, object.label), unit, taken);
}

function showPhoto() {
  if (!lastPhoto) return;
  const { objects } = lastPhoto.data;
  const labels = [...new Set(objects.map((o) => o.label))];
  drawPhoto(objects);
  const found = objects.length
    ? make("ul", { class: "objects" }, ...objects.map((o) => {
        const dot = make("i");
        dot.style.background = colourOf(labels, o.label);
        return make("li", {}, dot, o.label, make("span", { text: percent(o.accuracy) }));
      }))
    : make("p", { class: "busy", text: language.pick("没有找到把握足够的物体。", "Nothing found with that much confidence.") });
  show("photo-result", found, factsOf([language.pick(`${objects.length} 个物体`, `${objects.length} objects`)], lastPhoto));
}

async function detect() {
  if (!photo) return;
  showBusy("photo-result");
  drawPhoto([]);
  try {
    lastPhoto = await post("/api/object_detection", { id: `page-${Date.now()}`, image: photo.base64, threshold: $("threshold").value / 100 });
    showPhoto();
  } catch (error) {
    lastPhoto = null;
    showError("photo-result", error);
  }
}

async function takePhoto(file) {
  if (!file) return;
  try {
    photo = await loadPhoto(file);
  } catch (error) {
    showError("photo-result", error);
    return;
  }
  await detect();
}

// ---- services ----

const NAMES = { inference: ["文字推理", "inference"], detector: ["物体检测", "detector"], aggregator: ["联邦聚合", "aggregator"], trainer: ["训练守护", "trainer"] };
const STATES = { serving: ["正常", "serving"], not_serving: ["还不能服务", "not serving yet"], down: ["没有响应", "down"] };
let lastStatus = null;

function modelText(model) {
  if (model.model) return `${model.model}, ${model.input_width}×${model.input_height}`;
  const marks = [model.architecture, model.production && "production", model.candidate && "candidate"].filter(Boolean);
  return `${model.task} ${model.version ? `v${model.version}` : language.pick("内置", "built-in")}${marks.length ? ` (${marks.join(", ")})` : ""}`;
}

function showStatus() {
  if (!lastStatus) return;
  show("services", ...lastStatus.services.map((service) => {
    const name = make("span", {}, make("b", { text: language.pick(...NAMES[service.name]) }), " ", make("span", { text: language.pick(...STATES[service.state]) }));
    const models = (service.models || []).map(modelText).join(" · ");
    return make("li", {}, make("i", { class: `dot ${service.state}` }), name, ...(models ? [make("small", { text: models })] : []));
  }));
}

async function refreshStatus() {
  if (document.hidden) return;
  try {
    lastStatus = await (await fetch("/api/status")).json();
  } catch {
    return; // the next one may come through
  }
  showStatus();
}

function start() {
  const drop = $("drop");
  $("text-form").addEventListener("submit", classify);
  $("text-form").addEventListener("change", () => { showExamples(); showCurl(); });
  $("text").addEventListener("input", showCurl);
  $("photo").addEventListener("change", (event) => { takePhoto(event.target.files[0]); event.target.value = ""; });
  $("threshold").addEventListener("input", () => { $("threshold-value").textContent = `${$("threshold").value} %`; });
  $("threshold").addEventListener("change", detect);
  for (const type of ["dragover", "dragleave", "drop"])
    drop.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", type === "dragover");
      if (type === "drop") takePhoto(event.dataTransfer.files[0]);
    });
  document.addEventListener("language", () => { showText(); showPhoto(); showStatus(); });
  document.addEventListener("visibilitychange", refreshStatus);
  setInterval(refreshStatus, 10000);
  showExamples();
  showCurl();
  refreshStatus();
}

start();
