"""Songs hold what their description says, and a caption of them."""

import numpy as np
import pytest

from benchmarks import music
from sa3_export.checkpoints.demo.atoms import FRAME, bank, render
from sa3_export.checkpoints.demo.captions import caption, key_name
from sa3_export.checkpoints.demo.corpus import KEYS, PITCHES, SCALES, STYLES, Song, compose
from sa3_export.checkpoints.demo.vocabulary import in_any_case, make_tokenizer

_PITCHED = ("piano", "pad", "lead", "bass")


def _song(style: str, seed: int = 0, **choices: object) -> Song:
    return compose(np.random.default_rng(seed), 160, style=style, **choices)  # type: ignore[arg-type]


def _sounding(song: Song) -> set[str]:
    return {bank().names[index][0] for index in np.flatnonzero(np.abs(song.activations).max(axis=0))}


def test_a_frame_is_a_sum_of_64_atoms_of_which_none_is_another() -> None:
    waves = bank().waves / np.linalg.norm(bank().waves, axis=1, keepdims=True)
    assert len(waves) == len(set(bank().names)) == 64
    assert np.linalg.svd(waves, compute_uv=False)[-1] > 0.1
    assert render(np.eye(64)).shape == (2, 64 * FRAME)


@pytest.mark.parametrize("style", [name for name in STYLES if name != "effects"])
@pytest.mark.parametrize("tonic_mode", KEYS)
def test_pitches_are_of_the_key(style: str, tonic_mode: tuple[int, str]) -> None:
    tonic, mode = tonic_mode
    song = _song(style, key=(tonic, mode), layers=STYLES[style].layers)
    heard = {
        bank().names[index][1]
        for index in np.flatnonzero(np.abs(song.activations).max(axis=0))
        if bank().names[index][0] in _PITCHED
    }
    assert heard <= {(tonic + step) % 12 for step in SCALES[mode]}
    assert len(heard) >= 4


@pytest.mark.parametrize(("tonic", "mode"), [(5, "major"), (7, "major"), (7, "minor"), (2, "minor")])
def test_chords_are_heard_in_their_key_or_its_relative(tonic: int, mode: str) -> None:
    heard: dict[bytes, music.Key] = {}
    for seed in range(6):
        song = compose(np.random.default_rng(seed), 128, style="ambient", key=(tonic, mode), layers=("pad",))
        chords = (song.activations[[8, 40, 72, 104]] > 0).tobytes()
        if chords not in heard:  # what swells make of the same chords is the same key
            audio = render(song.activations)[:, ::4].astype(np.float32)  # pads have nothing above 5 kHz
            heard[chords] = music.key(audio, 44_100 // 4, PITCHES[tonic], mode)
    assert len(heard) >= 2
    assert [key.best for key in heard.values() if not key.agrees] == []


@pytest.mark.parametrize("style", STYLES)
def test_a_layer_that_is_left_out_is_silent(style: str) -> None:
    for layer in STYLES[style].layers:
        sounding = _sounding(_song(style, layers=(layer,)))
        assert sounding
        assert ("kick" in sounding) == (layer == "drums")
        assert ("piano" in sounding) == (layer == "piano")
        assert ("pad" in sounding) == (layer == "pad")


def test_no_arrangement_clips() -> None:
    for style in STYLES:
        for seed in range(3):
            layers = STYLES[style].layers if style != "effects" else ("riser",)
            assert np.abs(render(_song(style, seed, layers=layers).activations)).max() < 1


def test_a_piece_with_an_end_is_silent_after_it_and_not_before() -> None:
    for style in STYLES:
        song = _song(style, layers=STYLES[style].layers if style != "effects" else ("footsteps",), end=100)
        assert not song.activations[100:].any()
        assert song.activations[90:100].any()


@pytest.mark.parametrize("style", [name for name in STYLES if name != "effects"])
def test_a_window_is_a_part_of_the_whole_song(style: str) -> None:
    start, layers = 300, STYLES[style].layers
    whole, window, ended = (
        compose(np.random.default_rng(2), frames, style=style, layers=layers, start=begin, end=end).activations
        for frames, begin, end in ((380, 0, None), (80, start, None), (80, start, 340))
    )
    assert np.allclose(window[32:], whole[start + 32 :])  # before that, what rings on from the phrase before
    assert np.allclose(ended[:20], window[:20])
    assert not ended[40:].any()


def test_a_caption_that_leaves_the_layers_open_gets_several_arrangements() -> None:
    rng = np.random.default_rng(0)
    heard: dict[str, set[tuple[str, ...]]] = {"lofi": set(), "techno": set(), "lofi hip hop": set()}
    for index in range(900):
        song = compose(rng, 1, style="lofi" if index % 3 else "techno")
        heard.get(caption(rng, song), set()).add(song.layers)
    assert min(map(len, heard.values())) >= 3
    assert {"drums" in layers for layers in heard["lofi"]} == {True, False}
    assert all("drums" in layers for name in ("techno", "lofi hip hop") for layers in heard[name])


def test_drums_that_are_left_out_can_be_said_to_be() -> None:
    rng = np.random.default_rng(0)
    captions = [caption(rng, compose(rng, 1, style="lofi", layers=("bass", "piano", "bells"))) for _ in range(60)]
    assert any("no drums" in text or "without drums" in text for text in captions)
    assert not any(
        "hip hop" in text or "beat" in text.replace("no beat", "").replace("without beat", "") for text in captions
    )


def test_a_seed_gives_the_same_song() -> None:
    first, second, other = (compose(np.random.default_rng(seed), 128, style="lofi") for seed in (3, 3, 4))
    assert np.array_equal(first.activations, second.activations)
    assert not np.array_equal(first.activations, other.activations)


def test_captions_name_every_layer_of_a_part_and_mostly_a_key_that_is_not_the_styles_own() -> None:
    rng, named = np.random.default_rng(0), 0
    for _ in range(200):
        song = compose(rng, 1, style="house", key=(4, "minor"), layers=("drums", "bass"))
        text = caption(rng, song)
        assert any(word in text for word in ("drum", "beat"))
        assert "bass" in text
        named += key_name(4, "minor") in text
        drums = compose(rng, 1, style="techno", layers=("drums",))
        assert "minor" not in caption(rng, drums)
    assert 160 < named < 200


def test_the_tokenizer_reads_words_in_any_case_and_letters_for_the_rest() -> None:
    lower = make_tokenizer(captions=800)
    words, source = in_any_case(lower)
    wanted = lower.encode("techno drums in c minor", add_special_tokens=False).ids
    for text in ("techno drums in c minor", "Techno Drums in C minor", "TECHNO DRUMS IN C MINOR"):
        assert [source[each] for each in words.encode(text, add_special_tokens=False).ids] == wanted
    ids = words.encode("Zebra é", add_special_tokens=False).ids
    assert words.token_to_id("<unk>") not in ids
    assert max(source) < lower.get_vocab_size() <= len(source) == words.get_vocab_size()
