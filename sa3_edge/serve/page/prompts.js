// Prompts to begin with, and a dice that puts new ones together.

const MUSIC = {
  "lofi piano": "lofi piano, rainy evening, dusty drums, 80 BPM",
  house: "deep house with warm chords and a rolling bass, 122 BPM",
  ambient: "slow ambient pads, wide and glassy, no drums",
  techno: "driving techno drums, dark warehouse, 132 BPM",
  guitar: "acoustic guitar and brushes, sunny morning",
  "film score": "film score, strings that swell, hopeful",
};
const SOUNDS = {
  rain: "rain on a tin roof",
  steps: "footsteps on gravel, slow",
  door: "a wooden door creaks open",
  sea: "sea waves on pebbles",
  engine: "sci-fi engine powers up",
  crowd: "a crowd cheers in a stadium",
};

const PARTS = {
  genre: ["lofi hip hop", "ambient", "deep house", "techno", "jazz trio", "synthwave", "bossa nova", "drum and bass", "film score", "dub reggae", "folk", "trip hop"],
  lead: ["felt piano", "Rhodes", "warm pads", "nylon guitar", "analog bass", "vibraphone", "plucked synth", "string quartet", "muted trumpet", "kalimba", "organ", "bells"],
  mood: ["rainy evening", "sunny morning", "late at night", "wide and dreamy", "tense and sparse", "joyful", "melancholic", "dusty", "underwater", "hopeful"],
  thing: ["rain", "wind", "a small stream", "a heavy door", "footsteps", "a crackling fire", "distant thunder", "a steam engine", "birds", "a crowd"],
  place: ["in a stone hall", "on a tin roof", "in a forest", "far away", "through a wall", "at night", "in a tunnel", "on gravel"],
};

const one = (list) => list[Math.floor(Math.random() * list.length)];
const isSounds = (model) => /sfx/i.test(model);

// By a short name, the whole prompt.
export const examples = (model) => (isSounds(model) ? SOUNDS : MUSIC);

export function roll(model) {
  if (isSounds(model)) return `${one(PARTS.thing)} ${one(PARTS.place)}`;
  const tempo = 70 + 2 * Math.floor(Math.random() * 34);
  return `${one(PARTS.genre)}, ${one(PARTS.lead)}, ${one(PARTS.mood)}, ${tempo} BPM`;
}
