"""The clips and the picture of docs/demo.md: `python -m benchmarks.demo_examples` (also needs matplotlib)."""

import os
import tempfile
from pathlib import Path

import librosa
import numpy as np

import sa3_edge
from benchmarks.music import Audio
from sa3_edge import GenerationRequest, Pipeline

PROMPTS = {
    "techno": "techno",
    "house": "house in A minor",
    "lofi": "lofi hip hop",
    "piano": "lofi piano in D minor",
    "ambient": "ambient chords in G major",
    "dnb": "drum and bass",
}
SECONDS, SEED = 8.0, 1
_DOCS = Path(__file__).parents[1] / "docs"
AUDIO, PICTURE = _DOCS / "audio", _DOCS / "images" / "demo-clips.png"


def draw(clips: dict[str, Audio], rate: int, path: Path) -> None:
    """Mel spectrograms, one below the other."""
    os.environ.setdefault("MPLCONFIGDIR", tempfile.gettempdir())
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), dpi=80, layout="constrained")
    for axes, (prompt, clip) in zip(figure.subplots(len(clips), 1, sharex=True), clips.items(), strict=True):
        mel = librosa.feature.melspectrogram(y=np.ascontiguousarray(clip.mean(axis=0)), sr=rate, n_mels=96)
        levels = librosa.power_to_db(mel, ref=np.max, top_db=70)
        axes.imshow(levels, origin="lower", aspect="auto", extent=(0, clip.shape[-1] / rate, 0, 96), cmap="magma")
        axes.set_yticks([])
        axes.set_title(prompt, loc="left", fontsize=9)
    axes.set_xlabel("seconds")
    figure.savefig(path)


def main() -> None:
    AUDIO.mkdir(parents=True, exist_ok=True)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    clips = {}
    with Pipeline.load("demo") as pipeline:
        rate = pipeline.bundle.manifest.audio.sample_rate
        for name, prompt in PROMPTS.items():
            made = pipeline.generate(GenerationRequest(prompt, SECONDS, SEED))
            write(AUDIO / f"{name}.opus", made.audio, rate)
            clips[prompt] = made.audio
    draw(clips, rate, PICTURE)
    print(f"sa3-edge {sa3_edge.__version__}: {sum(path.stat().st_size for path in AUDIO.iterdir())} bytes of audio")


def write(path: Path, audio: Audio, rate: int) -> None:
    import soundfile
    import soxr

    # Opus knows no 44.1 kHz.
    resampled = soxr.resample(audio.T, rate, 48_000)
    soundfile.write(path, np.clip(resampled, -1, 1), 48_000, format="OGG", subtype="OPUS", compression_level=0.9)


if __name__ == "__main__":
    main()
