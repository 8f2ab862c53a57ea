// The page: the form, the list of clips, and what happens between them.

import * as api from "./api.js";
import { Card } from "./cards.js";
import * as compare from "./compare.js";
import { Editor } from "./editor.js";
import * as player from "./player.js";
import { examples, roll } from "./prompts.js";
import { announce, element } from "./words.js";

const $ = (id) => document.getElementById(id);
const fields = Object.fromEntries(
  ["prompt", "seconds", "model", "seed", "count", "steps", "cfg", "format", "negative_prompt", "loop", "bpm", "bars"].map((id) => [id, $(id)]));
const cards = new Map();
let models = [];
let loops = false;
let next = null;

// -- The form

function chosen() {
  return models.find((model) => model.name === fields.model.value);
}

function say(problem) {
  $("problem").textContent = problem;
  $("problem").hidden = !problem;
}

function showModel() {
  const model = chosen();
  if (!model) return;
  for (const input of [fields.seconds, $("seconds-range")]) input.max = model.max_seconds;
  if (fields.seconds.valueAsNumber > model.max_seconds) setSeconds(model.max_seconds);
  fields.steps.placeholder = model.steps;
  fields.cfg.placeholder = model.cfg;
  $("examples").replaceChildren(...Object.entries(examples(model.name)).map(([name, text]) =>
    element("li", {}, element("button", { type: "button", title: text, onclick: () => setPrompt(text) }, name))));
}

function setPrompt(text) {
  fields.prompt.value = text;
  fields.prompt.focus();
}

function setSeconds(seconds) {
  fields.seconds.value = seconds;
  $("seconds-range").value = seconds;
}

const editor = new Editor($("editor"), (source, mode) => {
  $("drop").hidden = source !== null;
  $("length-row").hidden = source !== null;
  $("loop-fields").hidden = source !== null || !loops;
  $("generate").textContent = { inpaint: "Redo the region", extend: "Extend", prepend: "Prepend", vary: "Vary" }[mode] ?? "Generate";
});

function request() {
  const number = (input) => (input.value === "" ? undefined : input.valueAsNumber);
  const asked = {
    prompt: fields.prompt.value.trim(),
    model: fields.model.value,
    seed: number(fields.seed),
    steps: number(fields.steps),
    cfg: number(fields.cfg),
    negative_prompt: fields.negative_prompt.value.trim() || undefined,
    format: fields.format.value,
  };
  if (editor.source) return { ...asked, ...editor.options() };
  if (loops && fields.loop.checked) {
    const [bpm, bars] = [number(fields.bpm), number(fields.bars)];
    const length = bpm && bars ? {} : { seconds: number(fields.seconds) };
    return { ...asked, loop: true, bpm, bars, ...length };
  }
  return { ...asked, seconds: number(fields.seconds) };
}

async function submit(asked, count = 1) {
  say("");
  // Several takes are seeds in a row, so that a take can be made again by its number.
  const first = asked.seed ?? Math.floor(Math.random() * (2 ** 32 - count));
  for (let take = 0; take < count; take += 1) {
    put(await api.generate({ ...asked, seed: first + take }), true);
  }
  announce(count > 1 ? `${count} clips are on their way` : "The clip is on its way");
}

async function tried(action) {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof api.Refused)) throw error;
    say(`${error.message[0].toUpperCase()}${error.message.slice(1)}.`);
  }
}

$("compose").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("generate").disabled = true;
  await tried(() => submit(request(), Math.min(8, Math.max(1, fields.count.valueAsNumber || 1))));
  $("generate").disabled = false;
});
fields.prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("compose").requestSubmit();
});
$("dice").addEventListener("click", () => setPrompt(roll(fields.model.value)));
$("seconds-range").addEventListener("input", (event) => setSeconds(event.target.valueAsNumber));
fields.seconds.addEventListener("input", () => { $("seconds-range").value = fields.seconds.value; });
fields.model.addEventListener("change", showModel);

// -- Recordings

async function take(file) {
  if (!file) return;
  say("");
  announce(`Reading ${file.name}`);
  await tried(async () => {
    const recording = await api.upload(file);
    await editor.open({ id: recording.id, seconds: recording.seconds, name: file.name });
    announce(`${file.name} can be edited`);
  });
}

$("file").addEventListener("change", async (event) => {
  await take(event.target.files[0]);
  event.target.value = "";
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files[0]);
});

// -- Clips

// What was asked for, from what a clip says of itself.
function settingsOf(generation) {
  const options = generation.clip ? { ...generation.clip.options } : {};
  for (const name of ["seed", "headroom", "apg", "splice", "limiter"]) delete options[name];
  return { ...options, prompt: generation.prompt, model: generation.model };
}

function edit(generation, mode) {
  const { id, prompt, seed, clip } = generation;
  fields.prompt.value = prompt;
  $("source").scrollIntoView({ block: "nearest" });
  return editor.open({ id, seconds: clip.seconds, name: `${prompt || "(no words)"} · ${seed}` }, mode);
}

const actions = {
  again: (generation) => tried(() => submit(generation.clip ? settingsOf(generation) : request())),
  vary: (generation) => tried(() => edit(generation, "vary")),
  edit: (generation) => tried(() => edit(generation, "inpaint")),
  compare: (generation, slot) => compare.put(generation, slot),
  use(generation) {
    const options = settingsOf(generation);
    fields.prompt.value = generation.prompt;
    if ([...fields.model.options].some((option) => option.value === generation.model)) fields.model.value = generation.model;
    showModel();
    if (options.seconds) setSeconds(options.seconds);
    fields.seed.value = generation.seed ?? "";
    fields.steps.value = options.steps ?? "";
    fields.cfg.value = options.cfg ?? "";
    fields.negative_prompt.value = options.negative_prompt ?? "";
    fields.prompt.focus();
    announce("The settings are in the form");
  },
  async remove(generation) {
    if (generation.clip && !window.confirm(`Delete ${generation.clip.file}?`)) return;
    await tried(async () => {
      cards.get(generation.id).leave();
      await api.remove(generation.id);
      player.forget(generation.id);
      compare.leave(generation.id);
      cards.get(generation.id).element.remove();
      cards.delete(generation.id);
      showEmpty();
    });
  },
};

// The answer to a request may come after the events of a clip that was quickly made, and is older than they are.
const progressOf = (generation) => ({ queued: 0, running: 1 })[generation.state] ?? 2;

function put(generation, fresh = false) {
  const known = cards.get(generation.id);
  if (known) {
    if (progressOf(generation) < progressOf(known.generation)) return;
    if (known.update(generation)) announce(`${generation.prompt || "The clip"}: ${generation.state}`);
    return;
  }
  const card = new Card(generation, actions);
  if (fresh) card.element.classList.add("fresh");
  cards.set(generation.id, card);
  // By time, the newest first.
  const after = [...$("clips").children].find((other) => other.card.generation.created <= generation.created);
  $("clips").insertBefore(card.element, after ?? null);
  showEmpty();
}

function showEmpty() {
  $("empty").hidden = cards.size > 0;
}

async function load(before = null) {
  const page = await api.get(`/v1/generations?limit=20${before ? `&before=${before}` : ""}`);
  page.generations.forEach((generation) => put(generation));
  next = page.next;
  $("older").hidden = next === null;
  showEmpty();
}

$("older").addEventListener("click", () => tried(() => load(next)));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  cards.forEach((card) => { if (card.canvas) card.redraw(); });
  editor.picker?.redraw();
});

// -- Beginning

function askToken() {
  const dialog = $("login");
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    $("login-form").addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        await api.openSession($("token").value);
        dialog.close();
        resolve();
      } catch (error) {
        $("login-problem").textContent = error.message;
        $("login-problem").hidden = false;
      }
    });
  });
}

async function begin() {
  let asking = null;
  api.whenTokenIsNeeded(() => { asking ??= askToken().finally(() => { asking = null; }); return asking; });
  // Behind a #, so that it is in no log; and it leaves the address at once.
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    history.replaceState(null, "", location.pathname);
    await tried(() => api.openSession(token));
  }
  const [{ models: listed }, health, described] = await Promise.all([api.get("/v1/models"), api.get("/health"), api.get("/openapi.json")]);
  models = listed.filter((model) => !model.problem);
  fields.model.replaceChildren(...models.map((model) =>
    element("option", { value: model.name }, model.synthetic ? `${model.name} (untrained)` : model.name)));
  loops = "loop" in described.components.schemas.GenerationRequest.properties;
  $("loop-fields").hidden = !loops;
  showModel();
  $("folder").textContent = `kept in ${health.folder}`;
  await load();
  api.follow((generation) => put(generation, true), () => tried(() => load()));
}

tried(begin);
