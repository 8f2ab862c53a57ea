// Draws what picture.py computed of a sound: the spectrogram above, the waveform below. Knows canvas and colours only.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function channels(hex) {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function palette() {
  const stops = ["--spec-0", "--spec-1", "--spec-2"].map((name) => channels(colour(name)));
  return Array.from({ length: 256 }, (_, level) => {
    const at = Math.max(0, (level - 60) / 195) * 2; // what is quieter than -69 dB is ground
    const from = stops[Math.min(1, Math.floor(at))];
    const to = stops[Math.min(2, Math.floor(at) + 1)];
    const share = Math.min(1, at - Math.min(1, Math.floor(at)));
    return from.map((part, index) => part + (to[index] - part) * share);
  });
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

function spectrogram(picture) {
  const { columns, bands } = picture;
  const levels = bytes(picture.spectrogram);
  const colours = palette();
  const image = new ImageData(columns, bands);
  for (let band = 0; band < bands; band += 1) {
    for (let column = 0; column < columns; column += 1) {
      const at = ((bands - 1 - band) * columns + column) * 4;
      image.data.set(colours[levels[band * columns + column]], at);
      image.data[at + 3] = 255;
    }
  }
  const small = new OffscreenCanvas(columns, bands);
  small.getContext("2d").putImageData(image, 0, 0);
  return small;
}

// `share` is the part of the height that the spectrogram takes; `played` 0..1 is drawn stronger.
export function draw(canvas, picture, { share = 0.62, played = 0 } = {}) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  if (!picture) return;
  const top = Math.round(height * share);
  if (top) {
    picture.small ??= {};
    const theme = colour("--spec-0");
    picture.small[theme] ??= spectrogram(picture);
    context.imageSmoothingQuality = "high";
    context.drawImage(picture.small[theme], 0, 0, width, top);
  }
  const middle = (top + height) / 2;
  const reach = Math.max(1, (height - top) / 2 - ratio);
  const step = 3 * ratio;
  const bars = Math.max(1, Math.floor(width / step));
  const [past, ahead] = [colour("--wave-past"), colour("--wave")];
  for (let bar = 0; bar < bars; bar += 1) {
    const first = Math.floor((bar * picture.columns) / bars);
    const last = Math.max(first + 1, Math.floor(((bar + 1) * picture.columns) / bars));
    const high = Math.max(...picture.highs.slice(first, last), 0) / 127;
    const low = Math.min(...picture.lows.slice(first, last), 0) / 127;
    const up = Math.max(ratio / 2, high * reach);
    const down = Math.max(ratio / 2, -low * reach);
    context.fillStyle = (bar + 0.5) / bars <= played ? past : ahead;
    context.beginPath();
    context.roundRect(bar * step, middle - up, 2 * ratio, up + down, ratio);
    context.fill();
  }
}
