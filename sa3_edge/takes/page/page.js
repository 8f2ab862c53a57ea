"use strict";
const { name, takes, stars: kept } = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const KEY = `sa3-edge takes ${location.pathname}`;

// What was starred since the file was saved; a page that cannot keep it still works.
const remembered = (() => { try { return JSON.parse(localStorage.getItem(KEY)) ?? {}; } catch { return {}; } })();
const stars = { ...kept, ...remembered };
const starOf = (file) => stars[file] ?? { star: false, note: "" };

function mark(file, change) {
  stars[file] = { ...starOf(file), ...change };
  try { localStorage.setItem(KEY, JSON.stringify(stars)); } catch { /* not where storage is switched off */ }
  $("save").disabled = false;
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const say = (words) => { $("announce").textContent = words; };

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// The picture of a take, played as far as it is; `draw` is of picture.js.
const show = (card) => draw(card.canvas, card.take, { played: card.at / card.take.seconds });

// -- Sound: one take at a time

const audio = new Audio();
audio.preload = "auto";
let current = null;

function follow() {
  if (!current) return;
  current.at = audio.currentTime;
  current.position.value = audio.currentTime;
  current.position.setAttribute("aria-valuetext", `${clock(audio.currentTime)} of ${clock(current.take.seconds)}`);
  current.time.textContent = `${clock(audio.currentTime)} / ${clock(current.take.seconds)}`;
  const playing = !audio.paused && !audio.ended;
  current.play.textContent = playing ? "Pause" : "Play";
  current.play.setAttribute("aria-label", `${playing ? "Pause" : "Play"} ${current.take.file}`);
  show(current);
}

function frame() {
  follow();
  if (!audio.paused) requestAnimationFrame(frame);
}
audio.addEventListener("play", frame);
for (const event of ["pause", "ended", "seeked"]) audio.addEventListener(event, follow);
audio.addEventListener("error", () => { if (current) say(`${current.take.file} cannot be played here`); });

function choose(card) {
  if (current === card) return;
  if (current) {
    audio.pause();
    current.at = 0;
    current.time.textContent = `0:00 / ${clock(current.take.seconds)}`;
    current.play.textContent = "Play";
    current.article.classList.remove("current");
    show(current);
  }
  current = card;
  card.article.classList.add("current");
  audio.src = encodeURIComponent(card.take.file);
  audio.loop = card.loops;
}

async function play(card, from = null) {
  choose(card);
  if (from !== null) await seek(card, from);
  try { await audio.play(); } catch (error) { if (error.name !== "AbortError") say(`${card.take.file} cannot be played here`); }
}

async function seek(card, seconds) {
  choose(card);
  if (audio.readyState === 0) await new Promise((ready) => audio.addEventListener("loadedmetadata", ready, { once: true }));
  audio.currentTime = seconds;
  follow();
}

const toggle = (card) => (current === card && !audio.paused ? audio.pause() : play(card));

function loop(card) {
  card.loops = !card.loops;
  card.loop.setAttribute("aria-pressed", String(card.loops));
  if (current === card) audio.loop = card.loops;
}

// -- Two takes, compared in place: the other one goes on from the same moment

const slots = { A: null, B: null };

function put(card, slot) {
  slots[slot] = card;
  $("compare").hidden = false;
  $(`slot-${slot}`).textContent = card.take.file;
  $("switch").disabled = !(slots.A && slots.B);
  say(`${card.take.file} is ${slot}`);
}

async function other() {
  if (!slots.A || !slots.B) return;
  const slot = current === slots.A ? "B" : "A";
  const [at, playing] = [current === slots.A || current === slots.B ? audio.currentTime : 0, !audio.paused];
  await seek(slots[slot], Math.min(at, slots[slot].take.seconds));
  if (playing || at === 0) await play(slots[slot]);
  for (const each of ["A", "B"]) $(`slot-${each}`).classList.toggle("on", each === slot);
}

// -- Cards

async function copy(button, words) {
  try {
    await navigator.clipboard.writeText(words);
  } catch { // pages opened from a disk may not, in some browsers
    const field = element("textarea", {}, words);
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy command"; }, 1500);
}

function setStar(card) {
  const star = !starOf(card.take.file).star;
  mark(card.take.file, { star });
  card.star.setAttribute("aria-pressed", String(star));
  card.star.textContent = star ? "★" : "☆";
  arrange();
}

function makeCard(take) {
  const card = { take, at: 0, loops: false };
  const { star, note } = starOf(take.file);
  const level = take.level === null ? "silent" : `${take.level.toFixed(1)} dB, peak ${take.peak.toFixed(1)} dB`;
  card.canvas = element("canvas", { role: "img", "aria-label": `Spectrogram and waveform of ${take.file}` });
  card.position = element("input", { type: "range", min: "0", max: String(take.seconds), step: "0.01", value: "0", "aria-label": `Position in ${take.file}`, oninput: () => seek(card, card.position.valueAsNumber) });
  card.play = element("button", { type: "button", "aria-label": `Play ${take.file}`, onclick: () => toggle(card) }, "Play");
  card.loop = element("button", { type: "button", "aria-pressed": "false", "aria-label": `Loop ${take.file}`, onclick: () => loop(card) }, "Loop");
  card.star = element("button", { type: "button", "aria-pressed": String(star), "aria-label": `Star ${take.file}`, onclick: () => setStar(card) }, star ? "★" : "☆");
  card.time = element("span", { class: "time" }, `0:00 / ${clock(take.seconds)}`);
  const comparing = ["A", "B"].map((slot) => element("button", { type: "button", "aria-label": `Compare ${take.file} as ${slot}`, onclick: () => put(card, slot) }, slot));
  const copying = take.command ? element("button", { type: "button", "aria-label": `Copy command of ${take.file}`, onclick: (event) => copy(event.currentTarget, take.command) }, "Copy command") : null;
  card.note = element("textarea", { rows: "1", placeholder: "Notes", "aria-label": `Notes on ${take.file}`, oninput: () => mark(take.file, { note: card.note.value }) });
  card.note.value = note;
  const facts = [take.seed === null ? null : `seed ${take.seed}`, `${take.seconds.toFixed(1)} s`, level, take.model || null].filter(Boolean).join(" · ");
  card.article = element("article", { tabindex: "-1", "aria-label": take.file },
    element("h2", {}, take.file), element("p", { class: "soft" }, take.prompt || "(no words)"), element("p", { class: "soft" }, facts),
    element("div", { class: "picture" }, card.canvas, card.position, element("span", { class: "edge" })),
    element("div", { class: "row" }, card.play, card.time, card.loop, card.star, ...comparing, copying), card.note);
  new ResizeObserver(() => show(card)).observe(card.canvas);
  return card;
}

const cards = takes.map(makeCard);
const ORDERS = {
  file: () => 0,
  star: (one, two) => Number(starOf(two.take.file).star) - Number(starOf(one.take.file).star),
  level: (one, two) => (two.take.level ?? -999) - (one.take.level ?? -999),
};

function arrange() {
  const shown = [...cards].sort(ORDERS[$("sort").value]).filter((card) => !$("only").checked || starOf(card.take.file).star);
  const [focused, main] = [document.activeElement, $("takes")];
  main.replaceChildren(...shown.map((card) => card.article));
  if (main.contains(focused)) focused.focus();
  $("count").textContent = shown.length === takes.length ? `${takes.length} takes` : `${shown.length} of ${takes.length} takes`;
}

async function save() {
  const chosen = Object.fromEntries(Object.entries(stars).filter(([, { star, note }]) => star || note));
  const text = `${JSON.stringify(chosen, null, 1)}\n`;
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: "stars.json" });
  link.click();
  URL.revokeObjectURL(link.href);
  say("stars.json is saved; move it beside this page to keep the stars there");
}

$("name").textContent = document.title = name;
$("sort").addEventListener("change", arrange);
$("only").addEventListener("change", arrange);
$("save").addEventListener("click", save);
$("switch").addEventListener("click", other);
$("leave").addEventListener("click", () => { $("compare").hidden = true; slots.A = slots.B = null; });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => cards.forEach(show));
document.addEventListener("keydown", (event) => {
  if (event.target.matches("textarea, select, button, input[type=checkbox]") && event.key === " ") return;
  if (event.target.matches("textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const shown = [...document.querySelectorAll("article")].map((article) => cards.find((card) => card.article === article));
  const step = (by) => { const next = shown[Math.max(0, shown.indexOf(current) + by)]; if (next) { play(next); next.article.scrollIntoView({ block: "nearest" }); } };
  const keys = { " ": () => toggle(current ?? shown[0]), j: () => step(1), k: () => step(-1), s: () => current && setStar(current), l: () => current && loop(current), x: other };
  const act = keys[event.key.toLowerCase()];
  if (!act || !shown.length) return;
  event.preventDefault();
  act();
});
arrange();
