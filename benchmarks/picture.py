"""A picture of what a sound file holds: its waveform above its mel spectrogram, and its beat.

python -m benchmarks.picture techno.wav docs/images/demo.png
"""

import argparse
from pathlib import Path

import librosa
import matplotlib
import numpy as np

_TOP = 80.0  # dB from the loudest to what is drawn black
_INK, _PAPER = "#e9e4d8", "#14161a"


def draw(sound: Path, out: Path) -> None:
    """Draw `sound`, any file that libsndfile reads, as a PNG."""
    matplotlib.use("Agg")  # before pyplot is imported: no window is wanted
    from matplotlib import pyplot

    audio, rate = librosa.load(sound, sr=None, mono=True)
    mel = librosa.feature.melspectrogram(y=audio, sr=rate, n_fft=2048, hop_length=512, n_mels=160, fmax=16_000)
    decibels = librosa.power_to_db(mel, ref=np.max, top_db=_TOP)
    seconds = len(audio) / rate

    pyplot.rcParams.update({"text.color": _INK, "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK})
    figure, (wave, spectrum) = pyplot.subplots(
        2, 1, sharex=True, figsize=(10, 3.6), height_ratios=(1, 2.4), facecolor=_PAPER, layout="constrained"
    )
    columns = audio[: len(audio) // 2000 * 2000].reshape(2000, -1)
    at = np.linspace(0, seconds, 2000)
    wave.fill_between(at, columns.min(axis=1), columns.max(axis=1), color="#f2b263", linewidth=0)
    wave.set_axis_off()
    spectrum.imshow(decibels, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, len(decibels)))
    hertz = [300, 1000, 3000, 10_000]
    mels = librosa.mel_frequencies(len(decibels), fmax=16_000)
    spectrum.set_yticks(np.interp(hertz, mels, np.arange(len(mels))), [f"{each} Hz" for each in hertz])
    spectrum.set_xlabel("seconds")
    spectrum.set_frame_on(False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sound", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    draw(arguments.sound, arguments.out)


if __name__ == "__main__":
    main()
