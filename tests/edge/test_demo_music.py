"""The demo makes the music it is asked for: measured from its audio, with bars that noise or a wrong style fail.

`python -m benchmarks.demo_music` is the whole of it, with ten seeds a prompt.
"""

import numpy as np
import pytest

from benchmarks import music
from sa3_edge import GenerationRequest, Pipeline
from sa3_edge.models.catalog import DEMO, resolve_model

RATE = 44_100


@pytest.fixture(scope="module")
def demo() -> Pipeline:
    return Pipeline.load(resolve_model(DEMO))


def _clip(demo: Pipeline, prompt: str, seed: int = 1, seconds: float = 8.0) -> music.Audio:
    return demo.generate(GenerationRequest(prompt, seconds, seed)).audio


@pytest.mark.parametrize(("prompt", "tempo"), [("techno drums", 129.2), ("lofi hip hop drums", 80.75)])
def test_drums_keep_the_tempo_of_their_style(demo: Pipeline, prompt: str, tempo: float) -> None:
    clip = _clip(demo, prompt)
    assert music.pulse(clip, RATE, tempo) > 0.6
    assert music.pulse(clip, RATE, tempo * 1.11) < 0.6


def test_chords_are_in_the_key_that_is_asked_for(demo: Pipeline) -> None:
    for tonic, mode, other in (("C", "minor", "E"), ("G", "major", "B")):
        clip = _clip(demo, f"ambient chords in {tonic} {mode}", seconds=12.0)
        assert music.key(clip, RATE, tonic, mode).share > 0.8
        assert music.key(clip, RATE, other, mode).share < 0.75


def test_piano_has_no_drums_and_drums_have_no_chords(demo: Pipeline) -> None:
    piano, drums = (music.percussive_over_harmonic(_clip(demo, prompt)) for prompt in ("piano", "techno drums"))
    assert piano < -5
    assert drums > 5


def test_seeds_differ_and_nothing_clips(demo: Pipeline) -> None:
    first, second = (_clip(demo, "lofi", seed) for seed in (1, 2))
    assert music.likeness(first, second, RATE) < 0.995  # docs/demo.md says what this is in figures
    assert np.array_equal(first, _clip(demo, "lofi", 1))
    for clip in (first, second):
        assert music.true_peak(clip) < 0
        assert music.longest_silence(clip, RATE) < 0.5


def test_noise_is_no_music() -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal((2, 8 * RATE))).astype(np.float32)
    assert music.pulse(noise, RATE, 129.2) < 0.6
    assert not music.percussive_over_harmonic(noise) < -5
    assert music.key(noise, RATE, "C", "minor").share < 0.8
