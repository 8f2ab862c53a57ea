// A part of a recording, chosen by mouse, touch or keyboard: drag over the picture, or move either handle.

import { clock, element, exact } from "./words.js";
import { draw } from "./picture.js";

const SHORTEST = 0.1;
const STEP = { ArrowLeft: -0.1, ArrowDown: -0.1, ArrowRight: 0.1, ArrowUp: 0.1, PageDown: -1, PageUp: 1 };

export class RegionPicker {
  // `changed` is called with (start, end) in seconds, or null where there is no region.
  constructor(seconds, changed) {
    this.seconds = seconds;
    this.changed = changed;
    this.region = null;
    this.enabled = true;
    this.canvas = element("canvas", { role: "img", "aria-label": `Waveform and spectrogram of the recording, ${exact(seconds)}` });
    this.shade = element("div", { class: "region", hidden: true });
    this.handles = ["Start", "End"].map((name, index) =>
      element("div", {
        class: "handle", role: "slider", tabindex: "0", hidden: true,
        "aria-label": `${name} of the region`, "aria-valuemin": "0", "aria-valuemax": String(seconds),
        onkeydown: (event) => this.key(event, index),
        onpointerdown: (event) => this.grab(event, index),
      }));
    this.element = element("div", { class: "select-area", onpointerdown: (event) => this.begin(event) }, this.canvas, this.shade, ...this.handles);
    new ResizeObserver(() => this.redraw()).observe(this.element);
  }

  redraw() {
    draw(this.canvas, this.picture, { share: 0.55 });
    this.show();
  }

  set(region) {
    if (region) {
      const end = Math.min(this.seconds, Math.max(region[1], SHORTEST));
      region = [Math.max(0, Math.min(region[0], end - SHORTEST)), end].map((value) => Math.round(value * 1000) / 1000);
    }
    this.region = region;
    this.show();
    this.changed(region);
  }

  enable(on) {
    this.enabled = on;
    this.element.classList.toggle("whole", !on);
    this.show();
  }

  show() {
    const shown = this.enabled && this.region !== null;
    this.shade.hidden = !shown;
    this.handles.forEach((handle, index) => {
      handle.hidden = !shown;
      if (!shown) return;
      const value = this.region[index];
      handle.style.left = `${(100 * value) / this.seconds}%`;
      handle.setAttribute("aria-valuenow", value.toFixed(2));
      handle.setAttribute("aria-valuetext", `${exact(value)} of ${clock(this.seconds)}`);
    });
    if (!shown) return;
    this.shade.style.left = `${(100 * this.region[0]) / this.seconds}%`;
    this.shade.style.right = `${100 - (100 * this.region[1]) / this.seconds}%`;
  }

  timeAt(event) {
    const box = this.element.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * this.seconds;
  }

  begin(event) {
    if (!this.enabled || event.button > 0 || event.target.closest(".handle")) return;
    const from = this.timeAt(event);
    this.track(event, (now) => {
      if (Math.abs(now - from) >= this.seconds * 0.01) this.set([Math.min(from, now), Math.max(from, now)]);
    });
  }

  grab(event, index) {
    if (event.button > 0) return;
    event.stopPropagation();
    this.handles[index].focus();
    this.track(event, (now) => this.move(index, now));
  }

  track(event, moved) {
    event.preventDefault();
    this.element.setPointerCapture(event.pointerId);
    const move = (next) => moved(this.timeAt(next));
    const end = () => {
      this.element.removeEventListener("pointermove", move);
      this.element.removeEventListener("pointerup", end);
      this.element.removeEventListener("pointercancel", end);
    };
    this.element.addEventListener("pointermove", move);
    this.element.addEventListener("pointerup", end);
    this.element.addEventListener("pointercancel", end);
  }

  move(index, value) {
    const region = [...this.region];
    region[index] = index === 0
      ? Math.min(value, region[1] - SHORTEST)
      : Math.max(value, region[0] + SHORTEST);
    this.set(region);
  }

  key(event, index) {
    let value = this.region[index];
    if (event.key in STEP) value += STEP[event.key] * (event.shiftKey ? 10 : 1);
    else if (event.key === "Home") value = 0;
    else if (event.key === "End") value = this.seconds;
    else return;
    event.preventDefault();
    this.move(index, value);
  }
}
