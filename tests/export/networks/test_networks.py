"""The PyTorch modules compute what the reference computes, and its shortcuts are exact."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file

from sa3_export.checkpoints.published import Checkpoint
from sa3_export.networks.conditioners import Conditioners
from sa3_export.networks.dit import DiffusionTransformer
from tests.conftest import DATA, Golden, relative_error
from tests.goldens import Networks, network_error, network_goldens, tolerance_of


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Iterator[Checkpoint]:
    with torch.no_grad():
        yield Checkpoint(tiny_checkpoint)


@pytest.fixture(scope="module")
def dit(checkpoint: Checkpoint) -> DiffusionTransformer:
    return checkpoint.dit()


@pytest.fixture(scope="module")
def conditioners(checkpoint: Checkpoint) -> Conditioners:
    return checkpoint.conditioners()


@pytest.fixture(scope="module")
def networks(checkpoint: Checkpoint) -> Networks:
    return Networks.of(checkpoint)


def tensor(golden: Golden, name: str) -> torch.Tensor:
    return torch.from_numpy(golden[name]).float()


@pytest.mark.parametrize("name", network_goldens(load_file(DATA / "tiny" / "golden.safetensors")))
def test_each_network_computes_its_golden(networks: Networks, golden: Golden, name: str) -> None:
    assert network_error(networks, golden, name) < tolerance_of(name)


@pytest.mark.parametrize("index", [0, 1, 4])
def test_positions_past_the_prompt_are_the_learned_padding(
    conditioners: Conditioners, golden: Golden, index: int
) -> None:
    tokens = len(golden[f"prompt.{index}.ids"])
    padding = conditioners.prompt.padding_embedding.expand(256 - tokens, -1)
    assert torch.equal(padding, tensor(golden, f"prompt.{index}.embeds")[0, tokens:])


@pytest.mark.parametrize("padding_scale", [0.0, 1.0])
@pytest.mark.parametrize("tokens", [1, 3, 255, 256])
def test_one_key_for_all_pads_is_exact(
    dit: DiffusionTransformer, conditioners: Conditioners, golden: Golden, tokens: int, padding_scale: float
) -> None:
    x, local = tensor(golden, "dit.L7.x"), torch.zeros(1, 17, 1)
    duration = conditioners.seconds_total(torch.tensor([5.0]))
    text = tensor(golden, "prompt.4.embeds")[:, :tokens]
    scale = torch.tensor([padding_scale])
    padding = (conditioners.prompt.padding_embedding * scale).expand(1, 256 - tokens, -1)

    def velocity(context: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        conditioning = dit.condition(torch.cat((context, duration[None]), 1), duration, local)
        return dit.denoise(x, torch.tensor([0.3]), conditioning, torch.cat((bias, torch.zeros(1))))

    expected = velocity(torch.cat((text, padding), 1), torch.zeros(256))
    short, bias = conditioners.prompt(text, torch.ones(1, tokens), scale)
    assert short.shape[1] == tokens + 1
    torch.testing.assert_close(velocity(short, bias), expected, rtol=1e-4, atol=1e-5)


def test_folding_the_norms_changes_nothing_and_leaves_the_original_alone(checkpoint: Checkpoint) -> None:
    plain = checkpoint.autoencoder()
    for name, parameter in plain.named_parameters():
        if name.endswith(("alpha", "gamma")):
            parameter.uniform_(0.3, 2.0)  # far from 1, where a factor at the wrong place would hardly show
        elif name.endswith("beta"):
            parameter.normal_()
    latents, audio = torch.randn(1, checkpoint.config.latent_channels, 6), 0.3 * torch.randn(1, 2, 6 * 4096)
    expected = plain.decode(latents), plain.encode(audio)
    folded = plain.folded()
    assert relative_error(folded.decode(latents).numpy(), expected[0].numpy()) < 1e-5
    assert relative_error(folded.encode(audio).numpy(), expected[1].numpy()) < 1e-5
    torch.testing.assert_close(plain.decode(latents), expected[0], rtol=0, atol=0)
