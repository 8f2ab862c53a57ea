"""The demo's networks: the codec that is written down, the clock, and training that goes on where it stopped."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from sa3_export.checkpoints.demo.atoms import render
from sa3_export.checkpoints.demo.clock import angular_frequencies
from sa3_export.checkpoints.demo.codec import write_codec
from sa3_export.checkpoints.demo.corpus import FRAMES_A_SECOND, STYLES, compose
from sa3_export.checkpoints.demo.examples import LONGEST, Examples, latent_scale
from sa3_export.checkpoints.demo.network import DemoNetworks
from sa3_export.checkpoints.demo.sizes import read_configs
from sa3_export.checkpoints.demo.training import Recipe, Trainer, draw_times
from sa3_export.checkpoints.demo.vocabulary import make_tokenizer
from sa3_export.checkpoints.demo.workers import work
from sa3_export.networks.same import Autoencoder


def _snr_db(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return 10 * math.log10(float(expected.square().sum() / (actual - expected).square().sum()))


@pytest.fixture(scope="module")
def codec() -> Autoencoder:
    made = Autoencoder(read_configs()[0].autoencoder)
    write_codec(made)
    return made.eval()


@pytest.mark.parametrize("style", STYLES)
def test_the_codec_gives_a_song_back(codec: Autoencoder, style: str) -> None:
    layers = STYLES[style].layers if style != "effects" else ("rain",)
    song = compose(np.random.default_rng(5), 64, style=style, layers=layers)
    latents = torch.from_numpy(song.activations * latent_scale()).T[None]
    audio = torch.from_numpy(render(song.activations))[None]
    with torch.no_grad():
        assert _snr_db(codec.decode(latents), audio) > 24
        assert _snr_db(codec.decode(codec.encode(audio)), audio) > 20


@pytest.mark.parametrize("offset", [0, 1164])
def test_the_clock_keeps_time_to_the_end_of_the_longest_clip(offset: int) -> None:
    model = DemoNetworks(*read_configs())
    streams: list[torch.Tensor] = []
    norm = model.dit.transformer.layers[2].pre_norm
    assert isinstance(norm, torch.nn.Module)
    norm.register_forward_hook(lambda module, args, out: streams.append(args[0]))
    ones = torch.ones(1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        context = model.context([[5, 6]], 10 * ones, ones, ones)
        model(torch.randn(1, 64, 128, generator=generator), ones, context, None, offset)
    stream = streams[0][0, -128:]
    frames = torch.arange(128) + offset
    for index, (period, written) in enumerate(sorted(angular_frequencies().items())):
        wanted = 2 * math.pi / period
        assert abs((written - wanted + math.pi) % (2 * math.pi) - math.pi) < 2.5e-4
        cosine, sine = (stream[:, model.clock.channels[2 * index + part]] for part in (0, 1))
        turned = torch.complex(cosine, sine) * torch.exp(-1j * wanted * frames)
        mean = turned.mean()
        assert float(mean.abs()) > 0.75 * float(turned.abs().square().mean().sqrt()), period
        assert abs(float(mean.angle())) < 0.5, period


def test_times_are_those_of_the_sampler() -> None:
    times = draw_times(4000, torch.Generator().manual_seed(0))
    assert 0.08 < float((times == 1).float().mean()) < 0.17
    assert 0.11 < float(times.min()) < 0.2


def test_windows_reach_the_end_of_the_longest_clip_and_long_pieces_end_there() -> None:
    examples = Examples(make_tokenizer(captions=400), seed=0, tokens=128)
    ends = []
    for number in range(120):
        batch = examples.batch(number, {64: 0.5, 128: 0.5})
        window = batch.latents.shape[-1]
        assert batch.offset + window <= LONGEST
        ends.append(batch.offset + window)
        for latents, seconds in zip(batch.latents, batch.seconds, strict=True):
            left = float(seconds) * FRAMES_A_SECOND - batch.offset
            assert not latents[:, math.ceil(left) + 1 :].any()
    assert max(ends) == LONGEST
    assert min(ends) <= 128


def test_a_run_writes_a_checkpoint_and_another_can_begin_with_it(tmp_path: Path) -> None:
    work(0, Recipe(steps=2, tokens=64, workers=1), tmp_path, meeting="", threads=1, begin_with=None)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    trainer = Trainer(Recipe(workers=1), make_tokenizer(captions=400))
    trainer.begin_with(tmp_path / "checkpoint")
    for name, value in trainer.model.dit.named_parameters():
        assert torch.equal(value, state["average"][f"dit.{name}"]), name
    theirs, mine = (each.token_to_id("▁techno") for each in (tokenizer, trainer.tokenizer))
    wanted = state["average"]["text.embed_tokens.weight"][theirs].bfloat16().float()
    assert torch.equal(trainer.model.text.embed_tokens.weight[mine], wanted)
    assert torch.equal(trainer.average["text.embed_tokens.weight"][mine], wanted)


def test_training_learns_repeats_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(captions=400)
    recipe = Recipe(steps=6, tokens=128, workers=1)

    def steps(trainer: Trainer, count: int) -> None:
        for _ in range(count):
            trainer.step()

    whole, first, second = (Trainer(recipe, tokenizer) for _ in range(3))
    before = {name: value.clone() for name, value in whole.model.named_parameters()}
    steps(whole, 4)
    steps(first, 2)
    first.save(tmp_path / "state.pt")
    second.load(tmp_path / "state.pt")
    steps(second, 2)
    for name, value in second.model.named_parameters():
        assert torch.equal(value, dict(whole.model.named_parameters())[name]), name
    moved = [name for name, value in whole.model.named_parameters() if not torch.equal(value, before[name])]
    assert "dit.transformer.layers.3.ff.ff.0.proj.weight" in moved
    assert "dit.transformer.memory_tokens" not in moved  # of the clock
