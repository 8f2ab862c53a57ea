// A clip as a card: how it is getting on, then what it looks like, how it sounds, and what can be done with it.

import * as api from "./api.js";
import * as player from "./player.js";
import { draw } from "./picture.js";
import { STAGES, ago, clock, element, exact, icon, left, setIcon } from "./words.js";

const ENDED = ["done", "failed", "cancelled"];
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) entry.target.card.look();
}, { rootMargin: "200px" });

export class Card {
  // `actions`: again, vary, edit, use, compare(slot), remove; each is called with the generation.
  constructor(generation, actions) {
    this.actions = actions;
    this.element = element("article", { class: "card", "data-id": generation.id, "aria-labelledby": `t-${generation.id}` });
    this.element.card = this;
    this.update(generation);
  }

  update(generation) {
    const was = this.generation?.state;
    this.generation = generation;
    if (generation.state === "done") {
      if (was !== "done") this.finished();
    } else if (was === generation.state && generation.state === "running") {
      this.advance();
    } else if (was !== generation.state || generation.state === "queued") {
      this.unfinished();
    }
    return was !== undefined && was !== generation.state && ENDED.includes(generation.state);
  }

  title() {
    return element("h3", { id: `t-${this.generation.id}` }, this.generation.prompt || "(no words)");
  }

  meta(...more) {
    const { created, model, seed } = this.generation;
    const parts = [...more, seed === null ? null : `seed ${seed}`, model].filter(Boolean);
    return element("p", { class: "meta" }, ...parts.map((part) => element("span", {}, part)),
      element("time", { datetime: created, title: new Date(created).toLocaleString() }, ago(created)));
  }

  unfinished() {
    const { state, error } = this.generation;
    if (state === "failed" || state === "cancelled") {
      const words = state === "cancelled" ? "Cancelled." : error;
      this.element.replaceChildren(this.title(), this.meta(), element("p", { class: state === "failed" ? "problem" : "note" }, words),
        element("div", { class: "actions" }, this.action("Try again", "again"), this.action("Use settings", "use"), this.action("Dismiss", "remove")));
      return;
    }
    this.stage = element("span", {});
    this.time = element("span", {});
    this.bar = element("progress", { max: "1", value: "0", "aria-label": `Progress of ${this.generation.prompt || "the clip"}` });
    this.listen = element("button", { type: "button", hidden: true, onclick: () => player.play(this.generation.id, api.audioOf(this.generation.id)) }, "Listen already");
    const cancel = element("button", { type: "button", onclick: () => this.cancel(cancel) }, "Cancel");
    this.element.replaceChildren(this.title(), this.meta(),
      element("div", { class: "progress" }, this.bar, element("div", { class: "words" }, this.stage, this.time)),
      element("div", { class: "actions" }, cancel, this.listen));
    this.advance();
  }

  advance() {
    const { state, ahead, progress } = this.generation;
    this.bar.value = progress.fraction;
    if (state === "queued") {
      this.stage.textContent = ahead ? `Waiting: ${ahead} before it` : "About to start";
      return;
    }
    const words = STAGES[progress.stage] ?? "Waking the model";
    const steps = progress.total > 1 ? ` ${progress.done} of ${progress.total}` : "";
    this.stage.textContent = words + steps;
    this.time.textContent = left(progress.seconds_left);
    this.listen.hidden = !(progress.stage === "decode" && progress.done > 0);
  }

  async cancel(button) {
    button.disabled = true;
    try {
      await api.cancel(this.generation.id);
    } catch (error) {
      if (error.code !== "ended") button.disabled = false;
    }
  }

  finished() {
    const { id, clip, prompt } = this.generation;
    const name = prompt || "the clip";
    this.canvas = element("canvas", { role: "img", "aria-label": `Spectrogram and waveform of ${name}` });
    this.head = element("div", { class: "head", hidden: true });
    this.position = element("input", {
      type: "range", min: "0", max: String(clip.seconds), step: "0.01", value: "0", "aria-label": `Position in ${name}`,
      oninput: () => this.seek(this.position.valueAsNumber),
    });
    this.play = element("button", { type: "button", class: "icon play", "aria-label": `Play ${name}`, onclick: () => this.toggle() }, icon("play"));
    this.loop = element("button", { type: "button", class: "icon", "aria-pressed": "false", "aria-label": "Loop", title: "Loop", onclick: () => this.setLoop() }, icon("loop"));
    this.time = element("span", { class: "time" }, `0:00 / ${clock(clip.seconds)}`);
    const slots = ["A", "B"].map((slot) => element("button", {
      type: "button", class: "icon", "aria-label": `Compare as ${slot}`, title: `Compare as ${slot}`,
      onclick: () => this.actions.compare(this.generation, slot),
    }, slot));
    const format = element("select", { "aria-label": "Format to download" },
      ...["flac", "wav", "opus", "mp3", "ogg"].map((kind) => element("option", { value: kind, selected: kind === clip.format }, kind.toUpperCase())));
    const download = element("a", { class: "button", download: true, "aria-label": `Download ${name}`, title: "Download" }, icon("download"));
    const point = () => { download.href = api.audioOf(id, `?download=true&format=${format.value}`); };
    format.addEventListener("change", point);
    point();
    const took = clip.took_seconds ? `made in ${exact(clip.took_seconds)}` : null;
    this.element.replaceChildren(this.title(), this.meta(exact(clip.seconds), took),
      element("div", { class: "picture" }, this.canvas, this.head, this.position),
      element("div", { class: "controls" }, this.play, this.time, this.loop, element("span", { class: "spring" }), ...slots, format, download),
      ...clip.notes.map((note) => element("p", { class: "note" }, note)),
      element("div", { class: "actions" }, this.action("Another seed", "again"), this.action("Vary", "vary"), this.action("Edit", "edit"),
        this.action("Use settings", "use"), this.action("Delete", "remove")));
    this.picture = null;
    this.looked = new AbortController();
    seen.observe(this.element);
    new ResizeObserver(() => this.redraw()).observe(this.canvas);
    player.onChange((state) => this.follow(state));
  }

  action(words, name) {
    const label = `${words}: ${this.generation.prompt || "the clip"}`;
    return element("button", { type: "button", "aria-label": label, onclick: () => this.actions[name](this.generation) }, words);
  }

  async look() {
    if (this.picture || this.looking) return;
    this.looking = true;
    try {
      this.picture = await api.pictureOf(this.generation.id, 480, 64, this.looked.signal);
      this.redraw();
      this.canvas.dataset.drawn = "yes";
    } catch {
      this.canvas.setAttribute("aria-label", "No picture of this clip");
    } finally {
      this.looking = false;
    }
  }

  // It is about to be deleted: nothing more is asked of it.
  leave() {
    seen.unobserve(this.element);
    this.looked?.abort();
  }

  redraw() {
    const { seconds } = this.generation.clip;
    draw(this.canvas, this.picture, { played: this.mine ? this.at / seconds : 0 });
  }

  toggle() {
    const state = player.state();
    if (state.id === this.generation.id && state.playing) player.pause();
    else player.play(this.generation.id, api.audioOf(this.generation.id), this.mine ? null : this.position.valueAsNumber);
  }

  seek(seconds) {
    if (this.mine) player.seek(seconds);
    this.place(seconds);
  }

  setLoop() {
    this.wantsLoop = !this.wantsLoop;
    this.loop.setAttribute("aria-pressed", String(this.wantsLoop));
    if (this.mine) player.setLoop(this.wantsLoop);
  }

  follow(state) {
    const mine = state.id === this.generation.id;
    if (!mine && !this.mine) return;
    const begins = mine && !this.mine;
    this.mine = mine;
    if (begins && this.wantsLoop) player.setLoop(true);
    const playing = mine && state.playing;
    if (playing !== this.sounding) {
      this.sounding = playing;
      this.element.classList.toggle("playing", playing);
      setIcon(this.play, playing ? "pause" : "play");
      this.play.setAttribute("aria-label", `${playing ? "Pause" : "Play"} ${this.generation.prompt || "the clip"}`);
    }
    this.place(mine ? state.position : 0);
  }

  place(seconds) {
    const whole = this.generation.clip.seconds;
    this.at = seconds;
    this.position.value = seconds;
    this.position.setAttribute("aria-valuetext", `${clock(seconds)} of ${clock(whole)}`);
    this.time.textContent = `${clock(seconds)} / ${clock(whole)}`;
    this.head.hidden = seconds === 0;
    this.head.style.left = `${(100 * seconds) / whole}%`;
    this.redraw();
  }
}
