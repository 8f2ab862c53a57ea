// Editing a recording: what to do with it, and where. Gives the options that it stands for.

import * as api from "./api.js";
import { RegionPicker } from "./region.js";
import { element, exact, icon } from "./words.js";

const MODES = {
  inpaint: "Redo a region",
  extend: "Extend",
  prepend: "Prepend",
  vary: "Vary all",
};

export class Editor {
  // `changed(recording or null, mode)` is called when there is another recording, none any more, or another mode.
  constructor(place, changed) {
    this.place = place;
    this.changed = changed;
    this.source = null;
  }

  async open(source, mode = "inpaint") {
    this.source = source;
    this.build(mode);
    this.place.hidden = false;
    this.choose(mode);
    this.picker.picture = await api.pictureOf(source.id, 800, 48);
    this.picker.redraw();
    this.picker.canvas.dataset.drawn = "yes";
  }

  close() {
    this.source = null;
    this.place.replaceChildren();
    this.place.hidden = true;
    this.changed(null, null);
  }

  build(mode) {
    const { name, seconds } = this.source;
    this.start = this.number("region-start", "From (s)", 0, seconds);
    this.end = this.number("region-end", "To (s)", 0, seconds);
    this.amount = this.number("edit-seconds", "Seconds to add", 0.1, 3600, 10);
    this.level = element("input", { id: "noise-level", type: "range", min: "0.05", max: "1", step: "0.05", value: "0.7" });
    this.picker = new RegionPicker(seconds, (region) => {
      this.start.input.value = region ? region[0] : "";
      this.end.input.value = region ? region[1] : "";
    });
    const fromFields = () => {
      const [start, end] = [this.start.input.valueAsNumber, this.end.input.valueAsNumber];
      if (Number.isFinite(start) && Number.isFinite(end) && end > start) this.picker.set([start, end]);
    };
    this.start.input.addEventListener("change", fromFields);
    this.end.input.addEventListener("change", fromFields);
    this.panels = {
      inpaint: element("div", { class: "row" }, this.start.field, this.end.field),
      add: element("div", { class: "row" }, this.amount.field),
      vary: element("div", { class: "field" }, element("label", { for: "noise-level" }, "How far away (left: close, right: new)"), this.level),
    };
    const modes = element("div", { class: "modes", role: "radiogroup", "aria-label": "What to do with it" },
      ...Object.entries(MODES).map(([key, words]) => element("label", {},
        element("input", { type: "radio", name: "mode", value: key, checked: key === mode, onchange: () => this.choose(key) }), words)));
    const close = element("button", { type: "button", class: "icon", "aria-label": "Leave the recording out", title: "Leave out", onclick: () => this.close() }, icon("close"));
    this.help = element("p", { class: "help" });
    this.place.replaceChildren(element("div", { class: "editor" },
      element("div", { class: "editor-head" }, element("span", { class: "name" }, name), element("span", { class: "soft" }, exact(seconds)), close),
      modes, this.picker.element, this.help, this.panels.inpaint, this.panels.add, this.panels.vary));
    this.picker.set([seconds * 0.4, seconds * 0.6]);
  }

  number(id, words, min, max, value = "") {
    const input = element("input", { id, type: "number", min, max, step: "any", value, inputmode: "decimal" });
    return { input, field: element("div", { class: "field" }, element("label", { for: id }, words), input) };
  }

  choose(mode) {
    this.mode = mode;
    this.picker.enable(mode === "inpaint");
    this.panels.inpaint.hidden = mode !== "inpaint";
    this.panels.add.hidden = mode !== "extend" && mode !== "prepend";
    this.panels.vary.hidden = mode !== "vary";
    this.help.textContent = {
      inpaint: "Drag over the picture, or move the handles with the arrow keys. All else stays as it is, sample for sample.",
      extend: "Goes on after the end.",
      prepend: "Begins before the beginning.",
      vary: "Another version of the whole.",
    }[mode];
    this.changed(this.source, mode);
  }

  options() {
    if (!this.source) return {};
    const source = { init_audio: this.source.id };
    const seconds = this.amount.input.valueAsNumber;
    switch (this.mode) {
      case "inpaint":
        return { ...source, inpaint: [this.picker.region.join(":")] };
      case "extend":
        return { ...source, extend: seconds };
      case "prepend":
        return { ...source, prepend: seconds };
      default:
        return { ...source, noise_level: this.level.valueAsNumber };
    }
  }
}
