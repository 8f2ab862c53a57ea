"""What the demo's music holds of what it is asked for: `python -m benchmarks.demo_music --model demo`.

Makes clips, writes them as WAV, reads them back and measures nothing but those files (`music.py`). Every line of the
table is a promise with its figure: in how many of the seeds it holds, and in how many it has to.
"""

import argparse
import json
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import soundfile

from benchmarks import music
from benchmarks.devices import describe_machine
from benchmarks.music import Audio
from sa3_edge import AudioSource, Continuation, GenerationRequest, Inpainting, Pipeline, Region

SECONDS = 15.0
TEMPOS = {"techno drums": 129.2, "house in a minor": 129.2, "lofi hip hop drums": 80.75}
KEYS = ("C major", "G major", "F major", "A minor", "E minor", "C minor", "D minor", "G minor")
LONG_SECONDS = (5.0, 30.0, 90.0, 120.0)
LONG_TEMPOS = {"techno": 129.2, "house in a minor": 129.2}
VARIED = ("lofi", "techno", "house", "ambient", "drum and bass")
_PULSE, _IN_KEY, _APART_DB, _ALIKE = 0.6, 0.8, 10.0, 0.95


@dataclass(frozen=True)
class Line:
    """One promise: of `seeds` clips `held` have it, `needed` must; `figure` is the median of what was measured."""

    promise: str
    prompt: str
    held: int
    needed: int
    seeds: int
    figure: float
    unit: str

    @property
    def holds(self) -> bool:
        return self.held >= self.needed


class Studio:
    """Makes clips of a model and gives them back as read from their files."""

    def __init__(self, pipeline: Pipeline, folder: Path):
        self._pipeline, self._folder = pipeline, folder
        self.rate = pipeline.bundle.manifest.audio.sample_rate

    def path(self, request: GenerationRequest, name: str) -> Path:
        path = self._folder / f"{name}.wav"
        soundfile.write(path, self._pipeline.generate(request).audio.T, self.rate, "PCM_24")
        return path

    def clips(self, request: GenerationRequest, seeds: Sequence[int]) -> list[Audio]:
        return [self.read(self.path(replace(request, seed=seed), "clip")) for seed in seeds]

    @staticmethod
    def read(path: Path) -> Audio:
        audio, _ = soundfile.read(path, dtype="float32", always_2d=True)
        return np.ascontiguousarray(audio.T)


def _line(
    promise: str,
    prompt: str,
    values: Sequence[float],
    holds: Callable[[float], bool],
    of_ten: int,
    unit: str = "",
) -> Line:
    needed = -(-len(values) * of_ten // 10)
    return Line(promise, prompt, sum(map(holds, values)), needed, len(values), round(float(np.median(values)), 3), unit)


def measure_pulse(studio: Studio, seeds: Sequence[int]) -> list[Line]:
    lines = []
    for prompt, tempo in TEMPOS.items():
        clips = studio.clips(GenerationRequest(prompt, SECONDS), seeds)
        found = [music.pulse(clip, studio.rate, tempo) for clip in clips]
        lines.append(_line(f"pulse at {tempo:g} bpm", prompt, found, lambda value: value >= _PULSE, 9))
    clips = studio.clips(GenerationRequest("ambient pad", SECONDS), seeds)
    found = [music.strongest_pulse(clip, studio.rate)[0] for clip in clips]
    lines.append(_line("no pulse", "ambient pad", found, lambda value: value < _PULSE, 9))
    return lines


def measure_keys(studio: Studio, seeds: Sequence[int], keys: Sequence[str] = KEYS) -> list[Line]:
    lines = []
    for name in keys:
        prompt = f"ambient chords in {name}"
        clips = studio.clips(GenerationRequest(prompt, SECONDS), seeds)
        found = [music.key(clip, studio.rate, *name.split()) for clip in clips]
        lines.append(_line("in key", prompt, [each.share for each in found], lambda value: value >= _IN_KEY, 8))
        agrees = [float(each.agrees) for each in found]
        lines.append(_line("key or its relative", prompt, agrees, lambda value: value > 0, 7))
    return lines


def measure_layers(studio: Studio, seeds: Sequence[int]) -> list[Line]:
    def over(prompt: str) -> list[float]:
        clips = studio.clips(GenerationRequest(prompt, SECONDS), seeds)
        return [music.percussive_over_harmonic(clip) for clip in clips]

    return [
        _line("no drums", "piano", over("piano"), lambda value: value <= -_APART_DB, 8, "dB"),
        _line("no chords", "drums", over("drums"), lambda value: value >= _APART_DB, 8, "dB"),
    ]


def measure_variety(studio: Studio, seeds: Sequence[int]) -> list[Line]:
    lines = []
    for prompt in VARIED:
        clips = studio.clips(GenerationRequest(prompt, SECONDS), seeds)
        alike = [music.likeness(clips[index], clips[index - 1], studio.rate) for index in range(len(clips))]
        lines.append(_line("seeds differ", prompt, alike, lambda value: value < _ALIKE, 10))
    first, again = (studio.clips(GenerationRequest("lofi", SECONDS), seeds[:1])[0] for _ in range(2))
    lines.append(_line("a seed repeats", "lofi", [float(np.array_equal(first, again))], lambda value: value > 0, 10))
    return lines


def measure_negative(studio: Studio, seeds: Sequence[int]) -> list[Line]:
    """Of seeds whose clip has drums: how much less is struck with a negative prompt."""
    plain = GenerationRequest("lofi", SECONDS)
    guided = replace(plain, cfg=3.0, negative_prompt="drums")
    fallen: list[float] = []
    for seed in range(seeds[0], seeds[0] + 4 * len(seeds)):
        before = music.percussive_over_harmonic(studio.clips(plain, [seed])[0])
        if before <= -_APART_DB:  # has no drums by itself
            continue
        fallen.append(before - music.percussive_over_harmonic(studio.clips(guided, [seed])[0]))
        if len(fallen) == len(seeds):
            break
    return [_line("negative prompt drums", "lofi", fallen, lambda value: value >= 6.0, 7, "dB less struck")]


def measure_lengths(studio: Studio, seeds: Sequence[int], lengths: Sequence[float] = LONG_SECONDS) -> list[Line]:
    return [
        line
        for prompt, tempo in LONG_TEMPOS.items()
        for seconds in lengths
        for line in _measure_length(studio, seeds, prompt, tempo, seconds)
    ]


def _measure_length(studio: Studio, seeds: Sequence[int], prompt: str, tempo: float, seconds: float) -> list[Line]:
    clips = studio.clips(GenerationRequest(prompt, seconds), seeds)
    said = f"{seconds:g} s: "
    lines = []
    if seconds >= 10:
        last = [music.pulse(clip[:, -int(10 * studio.rate) :], studio.rate, tempo) for clip in clips]
        lines.append(_line(said + "pulse at the end", prompt, last, lambda value: value >= _PULSE, 9))
    quiet = [music.longest_silence(clip, studio.rate) for clip in clips]
    lines.append(_line(said + "no silence", prompt, quiet, lambda value: value < 0.5, 10, "s"))
    peaks = [music.true_peak(clip) for clip in clips]
    lines.append(_line(said + "true peak", prompt, peaks, lambda value: value < 0, 10, "dBFS"))
    if seconds >= 30:
        spread = [float(np.ptp(music.levels(clip, studio.rate, 10.0))) for clip in clips]
        lines.append(_line(said + "level", prompt, spread, lambda value: value <= 6, 10, "dB apart"))
    return lines


def measure_edits(studio: Studio, seeds: Sequence[int]) -> list[Line]:
    return [line for prompt, tempo in LONG_TEMPOS.items() for line in _measure_edit(studio, seeds, prompt, tempo)]


def _measure_edit(studio: Studio, seeds: Sequence[int], prompt: str, tempo: float) -> list[Line]:
    """Inpainting of 8 to 12 s of 20 s, and 10 s more after 20."""
    inpainted, extended = [], []
    for seed in seeds:
        source = studio.path(GenerationRequest(prompt, 20.0, seed), "source")
        recording = AudioSource.from_file(source)
        edit = Inpainting(recording, (Region(8.0, 12.0),))
        made = studio.clips(GenerationRequest(prompt, None, edit=edit), [seed + 1000])[0]
        region = made[:, int(7 * studio.rate) : int(13 * studio.rate)]
        inpainted.append(music.pulse(region, studio.rate, tempo))
        edit_on = Continuation(recording, extend=10.0)
        longer = studio.clips(GenerationRequest(prompt, None, edit=edit_on), [seed + 1000])[0]
        cut = int(20 * studio.rate)
        before = music.beat_phase(longer[:, :cut], studio.rate, tempo)
        after = music.beat_phase(longer[:, cut:], studio.rate, tempo, start=20.0)
        extended.append(1000 * music.phase_distance(before, after, tempo))
    return [
        _line("pulse through what is inpainted", prompt, inpainted, lambda value: value >= _PULSE, 9),
        _line("beat goes on", prompt, extended, lambda value: value <= 20, 9, "ms off"),
    ]


PARTS: dict[str, Callable[[Studio, Sequence[int]], list[Line]]] = {
    "pulse": measure_pulse,
    "keys": measure_keys,
    "layers": measure_layers,
    "variety": measure_variety,
    "negative": measure_negative,
    "lengths": measure_lengths,
    "edits": measure_edits,
}


def measure(
    pipeline: Pipeline, seeds: Sequence[int], long_seeds: int, parts: Sequence[str], say: Callable[[str], None]
) -> list[Line]:
    """Long clips and edits take as long as all else: of them, `long_seeds` may be fewer."""
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(pipeline, Path(folder))
        for part in parts:
            fewer = seeds[:long_seeds] if part in {"lengths", "edits"} else seeds
            for line in PARTS[part](studio, fewer):
                lines.append(line)
                say(row(line))
    return lines


def row(line: Line) -> str:
    mark = "yes" if line.holds else "**no**"
    figure = f"{line.figure:g} {line.unit}".strip()
    return f"| {line.promise} | {line.prompt} | {line.held}/{line.seeds} (needs {line.needed}) | {figure} | {mark} |"


def compare(paths: Sequence[Path]) -> str:
    """Figures that were saved as demo-music-PRECISION.json, a bundle each, as one table."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    lines = [{(line["promise"], line["prompt"]): line for line in run["lines"]} for run in runs]
    rows = [
        "| promise | prompt | " + " | ".join(path.stem.rpartition("-")[2] for path in paths) + " |",
        "|---" * (2 + len(runs)) + "|",
    ]
    for key in lines[0]:
        cells = []
        for line in (found.get(key) for found in lines):
            mark = "" if line is None or line["holds"] else " **no**"
            cells.append(
                f"{line['held']}/{line['seeds']}, {line['figure']:g} {line['unit']}".strip() + mark if line else ""
            )
        rows.append(f"| {key[0]} | {key[1]} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_music", description=__doc__)
    parser.add_argument("--model", default="demo", help="a model's name, or a bundle's folder")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--save", type=Path, help="JSON file of the figures")
    parser.add_argument("--long-seeds", type=int, default=10, help="of long clips and edits")
    parser.add_argument("--compare", type=Path, nargs="+", metavar="JSON", help="only print saved figures as one table")
    options = parser.parse_args()
    if options.compare:
        print(compare(options.compare))
        return
    print("| promise | prompt | seeds that hold | median | holds |\n|---|---|---|---|---|", flush=True)
    seeds, parts = range(options.seeds), options.parts.split(",")
    with Pipeline.load(options.model) as pipeline:
        lines = measure(pipeline, seeds, options.long_seeds, parts, lambda text: print(text, flush=True))
    held = sum(line.holds for line in lines)
    print(f"\n{held} of {len(lines)} hold")
    if options.save:
        found = {
            "model": options.model,
            "date": datetime.now(UTC).date().isoformat(),
            "machine": describe_machine(),
            "python": platform.python_version(),
            "lines": [asdict(line) | {"holds": line.holds} for line in lines],
        }
        options.save.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
