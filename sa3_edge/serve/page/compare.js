// Two clips in place: both run together, one is heard, and a key changes over without losing the place.

import { audioOf } from "./api.js";
import * as player from "./player.js";
import { clock, element, icon, setIcon } from "./words.js";

const slots = { A: null, B: null };
const sounds = { A: new Audio(), B: new Audio() };
let heard = "A";
let parts = null;

const place = () => document.getElementById("compare");
const both = () => [sounds.A, sounds.B];

export function put(generation, slot) {
  slots[slot] = generation;
  sounds[slot].src = audioOf(generation.id);
  both().forEach((sound) => sound.pause());
  both().forEach((sound) => { if (sound.readyState) sound.currentTime = 0; });
  if (!slots[heard]) heard = slot;
  build();
}

export function leave(id) {
  for (const slot of ["A", "B"]) if (slots[slot]?.id === id) close();
}

function close() {
  for (const slot of ["A", "B"]) {
    slots[slot] = null;
    sounds[slot].pause();
    sounds[slot].removeAttribute("src");
  }
  place().hidden = true;
}

function hear(slot) {
  if (!slots[slot]) return;
  heard = slot;
  for (const name of ["A", "B"]) {
    sounds[name].muted = name !== heard;
    parts.buttons[name].setAttribute("aria-pressed", String(name === heard));
  }
}

const playing = () => both().some((sound) => sound.src && !sound.paused);

async function toggle() {
  if (playing()) {
    both().forEach((sound) => sound.pause());
    return;
  }
  player.pause();
  const lead = sounds[heard];
  const there = ["A", "B"].filter((slot) => slots[slot]).map((slot) => sounds[slot]);
  const from = lead.ended ? 0 : lead.currentTime;
  for (const sound of there) sound.currentTime = from;
  await Promise.all(there.map((sound) => sound.play()));
}

function show() {
  if (!parts) return;
  const lead = sounds[heard];
  const length = Number.isFinite(lead.duration) ? lead.duration : 0;
  parts.position.max = length;
  parts.position.value = lead.currentTime;
  parts.position.setAttribute("aria-valuetext", `${clock(lead.currentTime)} of ${clock(length)}`);
  parts.time.textContent = `${clock(lead.currentTime)} / ${clock(length)}`;
  setIcon(parts.play, playing() ? "pause" : "play");
  parts.play.setAttribute("aria-label", playing() ? "Pause both" : "Play both");
  // They drift apart by no more than this, whatever a browser does.
  const other = sounds[heard === "A" ? "B" : "A"];
  if (playing() && other.src && !other.ended && Math.abs(other.currentTime - lead.currentTime) > 0.06) other.currentTime = lead.currentTime;
}

function build() {
  const button = (slot) => element("button", {
    type: "button", disabled: !slots[slot], "aria-label": `Hear ${slot}: ${slots[slot]?.prompt ?? "empty"}`, onclick: () => hear(slot),
  }, element("b", {}, slot), element("span", {}, slots[slot] ? `${slots[slot].prompt || "(no words)"} · ${slots[slot].seed}` : "press its letter on a clip"));
  parts = {
    buttons: { A: button("A"), B: button("B") },
    play: element("button", { type: "button", class: "icon play", "aria-label": "Play both", onclick: toggle }, icon("play")),
    time: element("span", { class: "time" }),
    position: element("input", { type: "range", min: "0", max: "0", step: "0.01", "aria-label": "Position in both",
      oninput: (event) => both().forEach((sound) => { if (sound.src) sound.currentTime = event.target.valueAsNumber; }) }),
  };
  const shut = element("button", { type: "button", class: "icon", "aria-label": "Stop comparing", title: "Stop comparing", onclick: close }, icon("close"));
  place().replaceChildren(
    element("div", { class: "slots" }, parts.buttons.A, parts.buttons.B),
    element("div", { class: "controls" }, parts.play, parts.time, parts.position, element("span", { class: "soft" }, "X changes over"), shut));
  place().hidden = false;
  hear(heard);
  show();
}

both().forEach((sound) => {
  sound.preload = "auto";
  for (const name of ["timeupdate", "play", "pause", "ended", "loadedmetadata"]) sound.addEventListener(name, show);
});
player.onChange((state) => { if (state.playing) both().forEach((sound) => sound.pause()); });

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=range]), textarea, select, dialog");
  if (event.key.toLowerCase() === "x" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey && parts && !place().hidden) {
    hear(heard === "A" ? "B" : "A");
  }
});
