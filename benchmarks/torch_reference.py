"""The same work by PyTorch eager: our modules, and the reference's way of putting them to use.

The reference conditions anew in every step: cross-attention keys and values of 257 context tokens, local embeddings of
every frame; it decodes all allocated frames in one piece. `python -m benchmarks.torch_reference` makes a whole clip
like that, in a process of its own.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from sa3_export.checkpoints.published import Checkpoint
from sa3_export.networks.dit import Conditioning, DiffusionTransformer

IDS = torch.tensor([[10, 20, 30, 40, 50, 60, 70]])  # a short prompt


class TorchModels:
    """A checkpoint's networks, and their inputs for one prompt."""

    def __init__(self, path: Path):
        self.checkpoint = Checkpoint(path)
        self.dit: DiffusionTransformer = self.checkpoint.dit()
        self.autoencoder = self.checkpoint.autoencoder()
        self.text_encoder = self.checkpoint.text_encoder()
        self.conditioners = self.checkpoint.conditioners()
        self.channels = self.checkpoint.config.latent_channels

    def text(self) -> Tensor:
        return self.text_encoder(IDS)  # type: ignore[no-any-return]

    def context(self, hidden: Tensor, seconds: float, *, all_pads: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Context tokens, global condition, key bias: one key a pad, or one for all of them."""
        prompt = self.conditioners.prompt
        tokens, bias = prompt(hidden, torch.ones(hidden.shape[:2]), torch.ones(1))
        duration = self.conditioners.seconds_total(torch.tensor([seconds]))
        if all_pads:
            pads = prompt.max_tokens - hidden.shape[1]
            tokens = torch.cat((hidden, tokens[:, -1:].expand(-1, pads, -1)), dim=1)
            bias = torch.zeros(prompt.max_tokens)
        return torch.cat((tokens, duration[None]), dim=1), duration, torch.cat((bias, torch.zeros(1)))

    def conditioning(self, hidden: Tensor, seconds: float) -> tuple[Conditioning, Tensor]:
        """What the steps share, with one local embedding for all frames, and the key bias."""
        context, duration, bias = self.context(hidden, seconds, all_pads=False)
        return self.dit.condition(context, duration, torch.zeros(1, 1 + self.channels, 1)), bias

    def step_modules(self, hidden: Tensor, seconds: float, frames: int) -> Callable[[Tensor, Tensor], Tensor]:
        """A step of our modules: what the steps share is computed here, once."""
        shared, bias = self.conditioning(hidden, seconds)
        return lambda x, t: self.dit.denoise(x, t, shared, bias)

    def step_reference(self, hidden: Tensor, seconds: float, frames: int) -> Callable[[Tensor, Tensor], Tensor]:
        """A step of the reference: everything anew."""
        context, duration, bias = self.context(hidden, seconds, all_pads=True)
        local = torch.zeros(1, 1 + self.channels, frames)
        return lambda x, t: self.dit.denoise(x, t, self.dit.condition(context, duration, local), bias)


def main() -> None:
    parser = argparse.ArgumentParser(description="A clip by PyTorch eager, the reference's way; times as JSON.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--frames", type=int, required=True, help="allocated latent frames")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = time.perf_counter()
    with torch.no_grad():
        models = TorchModels(arguments.checkpoint)
        loaded = time.perf_counter()
        step = models.step_reference(models.text(), arguments.seconds, arguments.frames)
        x = torch.randn(1, models.channels, arguments.frames)
        for _ in range(arguments.steps):
            x = x - step(x, torch.tensor([0.5])) / arguments.steps
        models.autoencoder.decode(x)
    print(json.dumps({"load": loaded - start, "total": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
