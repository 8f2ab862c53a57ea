// One clip sounds at a time. Cards ask it to play and are told where it is.

const audio = new Audio();
audio.preload = "none";
const listeners = new Set();
let current = null; // the id whose sound is loaded

const tell = () => listeners.forEach((listener) => listener(state()));

export const state = () => ({
  id: current,
  playing: !audio.paused && !audio.ended,
  position: audio.currentTime,
  loop: audio.loop,
});

export const onChange = (listener) => { listeners.add(listener); return () => listeners.delete(listener); };

export async function play(id, url, from = null) {
  if (current !== id) {
    audio.src = url;
    current = id;
    audio.loop = false;
  }
  if (from !== null) await seek(from);
  try {
    await audio.play();
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
}

export const pause = () => audio.pause();

export async function seek(seconds) {
  if (audio.readyState === 0) {
    audio.load();
    await new Promise((resolve) => audio.addEventListener("loadedmetadata", resolve, { once: true }));
  }
  audio.currentTime = seconds;
  tell();
}

export function setLoop(on) {
  audio.loop = on;
  tell();
}

export function forget(id) {
  if (current !== id) return;
  audio.pause();
  audio.removeAttribute("src");
  audio.load();
  current = null;
  tell();
}

for (const name of ["play", "pause", "ended", "seeked"]) audio.addEventListener(name, tell);

// Smoother than timeupdate, and only while something sounds.
let frame = 0;
audio.addEventListener("play", () => {
  cancelAnimationFrame(frame);
  const step = () => {
    tell();
    if (!audio.paused) frame = requestAnimationFrame(step);
  };
  step();
});
