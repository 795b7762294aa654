"use strict";
const COLOURS = ["#2468b8", "#b34a12", "#1f7a45", "#94377f", "#7d5c00", "#a3261a", "#0f7379", "#5f43b2"]; // white text is readable on each
const CAMERA_WIDTH = 960;
const PAUSE = 120; // milliseconds between the answer about one camera picture and the next picture
const at = (id) => document.getElementById(id);
let model = null, faces = [], chosen = 0, url = null, stream = null, asked = 0;
let answered = null; // the picture on show and the answer about it
let heated = null; // the label whose heat map is on show or asked for

function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}
const percent = (share) => `${Math.round(100 * share)}%`;
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

// --- asking ---
async function ask(picture, path = "predict") {
  if (model && picture.size > model.max_mb * 1e6) throw new Error(`more than the limit of ${model.max_mb} MB`);
  const type = picture.type.startsWith("image/") ? picture.type : "application/octet-stream";
  let reply;
  try {
    reply = await fetch(path, { method: "POST", body: picture, headers: { "Content-Type": type } });
  } catch {
    throw new Error("the server does not answer: is it still running?");
  }
  const answer = await reply.json().catch(() => ({ error: "the server is busy: try again" }));
  if (!reply.ok) throw new Error(answer.error);
  return answer;
}

async function open(picture) {
  stopCamera();
  const mine = ++asked;
  at("error").hidden = true;
  at("status").textContent = `reading ${picture.name || "the picture"} …`;
  at("stage").setAttribute("aria-busy", "true");
  try {
    const answer = await ask(picture);
    if (mine !== asked) return; // another was opened meanwhile
    await showPicture(picture, answer);
    if (mine !== asked) return;
    showAnswer(answer, picture);
    at("answers").focus({ preventScroll: true });
  } catch (error) {
    if (mine === asked) showError(`${picture.name || "The picture"}: ${error.message.replace(/^image: /, "")}`);
  } finally {
    if (mine === asked) {
      at("stage").removeAttribute("aria-busy");
      if (at("status").textContent.startsWith("reading")) at("status").textContent = "";
    }
  }
}

// --- the picture ---
async function showPicture(picture, answer) {
  hideHeat();
  if (url) URL.revokeObjectURL(url);
  const mine = url = URL.createObjectURL(picture);
  const image = at("picture"), frame = at("frame");
  at("drop").hidden = true;
  at("shown").hidden = false;
  image.hidden = false;
  image.src = url;
  image.alt = picture.name || "the picture";
  frame.style.setProperty("--shape", `${answer.width} / ${answer.height}`);
  try {
    await image.decode();
    frame.classList.remove("blank");
  } catch { // TIFF and the like: read by the server, not by browsers
    if (url !== mine) return; // another is shown meanwhile
    frame.classList.add("blank");
    image.removeAttribute("src");
    image.alt = "This browser can't show the picture. The server read it.";
  }
}

function showBoxes(answer) {
  at("boxes").replaceChildren(...faces.map((face, k) => {
    if (face.how === "whole") return "";
    const box = make("button", "box"), { x, y, w, h } = face.box;
    box.type = "button";
    box.style.setProperty("--face", COLOURS[k % COLOURS.length]);
    box.style.left = percent2(x / answer.width);
    box.style.top = percent2(y / answer.height);
    box.style.width = percent2(w / answer.width);
    box.style.height = percent2(h / answer.height);
    box.classList.toggle("right", x + w / 2 > answer.width / 2); // titles grow to the middle: there is room
    box.classList.toggle("high", y / answer.height < 0.08);
    box.append(make("span", "", titleOf(face, k)));
    box.addEventListener("click", () => choose(k));
    return box;
  }));
}
const percent2 = (share) => `${(100 * share).toFixed(2)}%`;

function titleOf(face, k) {
  const number = faces.length > 1 ? `${k + 1} ` : "";
  return face.emotion === null ? `${number}${plural(face.active_aus.length, "active unit")}` : `${number}${face.emotion} ${percent(face.emotion_prob[face.emotion])}`;
}

// --- the answers ---
function showAnswer(answer, picture) {
  answered = { answer, picture };
  faces = answer.faces;
  chosen = Math.min(chosen, faces.length - 1);
  if (!stream) chosen = 0;
  at("empty").hidden = true;
  at("result").hidden = false;
  showBoxes(answer);
  at("faces").replaceChildren(...(faces.length > 1 ? faces.map(chip) : []));
  if (!stream) at("status").textContent = faces[0].how !== "whole" ? plural(faces.length, "face") : model?.crop === "full" ? "" : "no face found";
  choose(chosen);
}

function chip(face, k) {
  const button = make("button", "", `Face ${k + 1}`);
  button.type = "button";
  button.style.setProperty("--face", COLOURS[k % COLOURS.length]);
  button.addEventListener("click", () => choose(k));
  return button;
}

function choose(k) {
  chosen = k;
  hideHeat();
  const face = faces[k];
  for (const group of [at("faces"), at("boxes")]) [...group.children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === k)));
  at("whole").hidden = face.how !== "whole" || model?.crop === "full";
  const emotions = Object.entries(face.emotion_prob).sort((a, b) => b[1] - a[1]);
  at("emotion-part").hidden = !emotions.length;
  at("emotions").replaceChildren(...emotions.map(([name, share]) => bar(name, "", name, share, name === face.emotion)));
  const units = Object.entries(face.au_prob).sort((a, b) => b[1] - a[1]);
  const [active, rest] = [units.filter(([au]) => face.au_active[au]), units.filter(([au]) => !face.au_active[au])];
  at("unit-part").hidden = !units.length;
  at("none").hidden = active.length > 0;
  at("active").replaceChildren(...active.map(([au, share]) => unitBar(au, share, true)));
  at("rest").replaceChildren(...rest.map(([au, share]) => unitBar(au, share, false)));
  at("rest-title").textContent = `${rest.length} not active`;
  at("rest-title").parentElement.hidden = !rest.length;
}

function unitBar(au, share, on) {
  const about = model?.aus.find((unit) => unit.au === au);
  return bar(au, au, about?.name ?? "", share, on, about?.threshold);
}

function bar(label, code, name, share, on, threshold) {
  const item = make("li", on ? "on" : ""), title = make("span"), track = make("span", "track"), fill = make("span", "fill");
  if (code) title.append(make("span", "code", code));
  title.append(name);
  fill.style.width = percent2(share);
  track.append(fill);
  if (threshold !== undefined) {
    const tick = make("span", "tick");
    tick.style.left = percent2(threshold);
    track.append(tick);
    track.title = `active from ${percent(threshold)}`;
  }
  track.setAttribute("aria-hidden", "true"); // the number beside it says the same
  item.append(title, heatButton(label, `${code} ${name}`.trim()), make("span", "share", percent(share)), track);
  return item;
}

// --- heat maps ---
function heatButton(label, words) {
  if (!model?.heat || stream) return "";
  const button = make("button", "", "heat");
  button.type = "button";
  button.dataset.label = label;
  button.title = `where the network looked for ${words}`;
  button.setAttribute("aria-label", `Heat map of ${words}`);
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => (heated === label ? hideHeat() : showHeat(label, words)));
  return button;
}

function hideHeat() {
  heated = null;
  at("heat").hidden = at("heat-note").hidden = true;
  document.querySelectorAll(".bars button").forEach((button) => button.setAttribute("aria-pressed", "false"));
}

async function showHeat(label, words) {
  hideHeat();
  heated = label;
  document.querySelectorAll(".bars button").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.label === label)));
  at("shown").scrollIntoView({ block: "nearest" });
  say(`looking where ${words} comes from …`);
  const { picture, answer } = answered, face = faces[chosen], { x, y, w, h } = face.box;
  const box = face.how === "whole" ? "" : `&box=${[x, y, w, h].join()}`;
  const current = () => heated === label && faces[chosen] === face;
  try {
    const heat = await ask(picture, `heat?label=${encodeURIComponent(label)}${box}`);
    if (!current()) return;
    const image = at("heat");
    image.style.left = percent2(heat.view.x / answer.width);
    image.style.top = percent2(heat.view.y / answer.height);
    image.style.width = percent2(heat.view.w / answer.width);
    image.style.height = percent2(heat.view.h / answer.height);
    image.src = `data:image/png;base64,${heat.png}`;
    image.alt = `Heat map of ${words}`;
    image.hidden = heat.empty;
    say(heat.empty ? `Nothing in this face speaks for ${words}.` : `Bright: what raised the score of ${words}. It does not show that the answer is right.`);
  } catch (error) {
    if (!current()) return;
    hideHeat();
    showError(`Heat map of ${words}: ${error.message}`);
  }
}

function say(text) {
  at("heat-note").textContent = text;
  at("heat-note").hidden = false;
}

function showError(text) {
  at("error").textContent = text;
  at("error").hidden = false;
  at("status").textContent = "";
}

// --- the camera: the next picture is sent once the last is answered ---
async function startCamera() {
  at("error").hidden = true;
  at("camera").disabled = true; // a second one would never be stopped
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
  } catch (error) {
    const why = window.isSecureContext ? error.message : "browsers allow it at 127.0.0.1 and over https only";
    return showError(`The camera can't be used: ${why}`);
  } finally {
    at("camera").disabled = false;
  }
  asked++;
  hideHeat();
  at("camera").textContent = "Stop and keep this picture";
  at("drop").hidden = at("picture").hidden = true;
  at("shown").hidden = at("video").hidden = false;
  at("frame").classList.remove("blank");
  at("boxes").replaceChildren();
  at("video").srcObject = stream;
  await at("video").play();
  at("status").textContent = "looking through the camera";
  watch(stream);
}

async function watch(mine) {
  while (stream === mine) {
    const picture = await snapshot();
    try {
      const answer = await ask(picture);
      if (stream !== mine) return;
      showAnswer(answer, picture);
      mine.last = { picture, answer };
    } catch (error) {
      if (stream === mine) { stopCamera(); showError(error.message); }
      return;
    }
    await new Promise((resume) => setTimeout(resume, PAUSE));
  }
}

function snapshot() {
  const video = at("video"), canvas = make("canvas");
  const scale = Math.min(1, CAMERA_WIDTH / video.videoWidth);
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight].map((side) => Math.round(side * scale));
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
}

async function stopCamera() {
  if (!stream) return;
  const ended = stream;
  stream = null;
  ended.getTracks().forEach((track) => track.stop());
  at("video").srcObject = null;
  at("video").hidden = true;
  at("camera").textContent = "Use the camera";
  at("status").textContent = "";
  if (!ended.last) { at("shown").hidden = true; at("drop").hidden = false; return; }
  const mine = asked;
  await showPicture(ended.last.picture, ended.last.answer);
  if (mine === asked) showAnswer(ended.last.answer, ended.last.picture);
}

// --- the model ---
async function showModel() {
  const reply = await fetch("model");
  model = await reply.json();
  const can = [model.aus.length && plural(model.aus.length, "action unit"), model.emotions.length && plural(model.emotions.length, "emotion")].filter(Boolean);
  at("warning").textContent = model.warning ?? "";
  at("warning").hidden = !model.warning;
  at("model-line").textContent = `${model.name} · ${can.join(" and ")}`;
  const list = (id, texts) => at(id).replaceChildren(...texts.map((text) => make("li", "", text)));
  list("limits", model.limits);
  list("misuse", model.must_not_be_used_for);
  const facts = [["Name", model.name], ["Emotions", model.emotions.join(", ")], ["Action units", model.aus.map((unit) => `${unit.au} ${unit.name}`).join(", ")],
    ["Heat maps", model.no_heat_because ?? ""], ["Looks at", `${model.crop === "face" ? "each face" : "the whole picture"}, ${model.image_size} x ${model.image_size} pixels`], ["Trained with", `fer ${model.fer_version}`]];
  at("facts").replaceChildren(...facts.filter(([, value]) => value).flatMap(([term, value]) => [make("dt", "", term), make("dd", "", value)]));
  at("card").hidden = !model.card;
}

// --- what people do ---
at("choose").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", (event) => {
  const [picture] = event.target.files;
  event.target.value = ""; // the same one may be chosen again
  if (picture) open(picture);
});
at("camera").addEventListener("click", () => (stream ? stopCamera() : startCamera()));
at("about-button").addEventListener("click", () => at("about").showModal());
at("about").addEventListener("click", (event) => { if (event.target === at("about")) at("about").close(); });
document.addEventListener("dragover", (event) => { event.preventDefault(); at("stage").classList.add("over"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) at("stage").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("stage").classList.remove("over");
  const [picture] = event.dataTransfer.files;
  if (picture) open(picture);
  else showError("That was no file. Save the picture first, then drop the file.");
});
document.addEventListener("paste", (event) => { const [picture] = event.clipboardData.files; if (picture) open(picture); });
showModel().catch(() => showError("The server does not answer: is it still running?"));
