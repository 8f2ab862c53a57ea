"""Flow matching on the demo's corpus: deterministic from a seed, resumable, one or two processes."""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed
from tokenizers import Tokenizer
from torch import Tensor

from sa3_export.checkpoints.demo.checkpoint import read_checkpoint
from sa3_export.checkpoints.demo.examples import Batch, Examples
from sa3_export.checkpoints.demo.network import DemoNetworks
from sa3_export.checkpoints.demo.optimiser import Optimiser
from sa3_export.checkpoints.demo.sizes import read_configs

_LOGSNR_START, _LOGSNR_END, _STEPS = -6.2, 2.0, 8  # of the published schedule
_EMA_STEPS = 4  # the average is updated every so many
LENGTHS = {64: 0.75, 128: 0.2, 256: 0.05}
LONG_LENGTHS = {64: 0.28, 128: 0.3, 256: 0.24, 512: 0.1, 1292: 0.08}


@dataclass(frozen=True)
class Recipe:
    """steps: in all; tokens: frames a step of each process; long_from: fraction after which long windows come in;
    cooldown: fraction at the end over which the learning rate falls to zero."""

    steps: int = 12_000
    seed: int = 0
    tokens: int = 512
    workers: int = 2
    long_from: float = 0.7
    cooldown: float = 0.4
    warmup: int = 60
    ema: float = 0.998
    muon_lr: float = 0.006
    adam_lr: float = 1.5e-3

    def rate(self, step: int) -> float:
        left = (self.steps - step) / (self.cooldown * self.steps)
        return min(1.0, (step + 1) / self.warmup, max(left, 0.0) + 1e-3)


def draw_times(count: int, generator: torch.Generator) -> Tensor:
    """Times (count,) as the sampler of eight steps visits them: spread about its own, one in eight of them 1."""
    place = (torch.rand(count, generator=generator) * _STEPS).clamp(max=_STEPS - 1e-3)
    logsnr = _LOGSNR_START + (_LOGSNR_END - _LOGSNR_START) * place / _STEPS
    return torch.where(place < 1, torch.ones(()), torch.sigmoid(-logsnr))


def velocity_error(model: DemoNetworks, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mean square error of the velocity of each example (B,), and the times (B,)."""
    t = draw_times(len(batch.latents), generator)
    noise = torch.randn(batch.latents.shape, generator=generator)
    x = torch.lerp(batch.latents, noise, t[:, None, None])
    context = model.context(batch.ids, batch.seconds, batch.padding_scale, batch.context_scale)
    velocity = model(x, t, context, batch.local, batch.offset)
    return (velocity - (noise - batch.latents)).square().mean((1, 2)), t


class Trainer:
    """Holds what a run needs; `run` goes on from where it is."""

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer, rank: int = 0):
        torch.manual_seed(recipe.seed)
        self.recipe, self.rank, self.done = recipe, rank, 0
        self.model = DemoNetworks(*read_configs())
        self.optimiser = Optimiser(self.model, recipe.muon_lr, recipe.adam_lr)
        self.average = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.tokenizer = tokenizer
        self._examples = Examples(tokenizer, recipe.seed * recipe.workers + rank, recipe.tokens)
        self._batches = 0

    def step(self) -> tuple[list[tuple[float, float]], float]:
        """One step -> (time, error) of each example, and the gradient's norm."""
        recipe, step = self.recipe, self.done
        lengths = LONG_LENGTHS if step >= recipe.long_from * recipe.steps else LENGTHS
        generator = torch.Generator().manual_seed((recipe.seed * 1_000_003 + step) * recipe.workers + self.rank)
        error, t = velocity_error(self.model, self._examples.batch(step, lengths), generator)
        torch.autograd.backward(error.mean())
        if recipe.workers > 1:
            self._share_gradients()
        norm = self.optimiser.step(recipe.rate(step))
        self.model.settle()
        self.done += 1
        if self.done % _EMA_STEPS == 0:
            keep = min(recipe.ema, self.done / (self.done + 50)) ** _EMA_STEPS
            with torch.no_grad():
                for name, value in self.model.named_parameters():
                    self.average[name].lerp_(value, 1 - keep)
        return list(zip(t.tolist(), error.tolist(), strict=True)), norm

    def _share_gradients(self) -> None:
        """Mean over the processes; a parameter that one of them did not use counts as zero there."""
        for parameter in self.model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.recipe.workers
        for gradient, part in zip(gradients, torch.split(flat, [each.numel() for each in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def save(self, path: Path) -> None:
        state = {
            "recipe": asdict(self.recipe),
            "done": self.done,
            "model": self.model.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }
        temporary = path.with_name(path.name + ".partial")
        torch.save(state, temporary)
        os.replace(temporary, path)

    def begin_with(self, checkpoint: Path) -> None:
        """Take the weights of a finished checkpoint; all else begins anew."""
        read_checkpoint(checkpoint, self.model, self.tokenizer)
        self.average = {name: value.detach().clone() for name, value in self.model.named_parameters()}

    def load(self, path: Path) -> None:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.done = state["done"]


def train(
    recipe: Recipe,
    tokenizer: Tokenizer,
    state: Path,
    log: Path,
    rank: int = 0,
    every: int = 50,
    save_every: int = 200,
    say: Callable[[str], None] = print,
    begin_with: Path | None = None,
) -> Trainer:
    """Train, or go on from `state`; a line of `log` (JSON) and of progress each `every` steps.

    begin_with: a checkpoint whose weights a new training begins with
    """
    trainer = Trainer(recipe, tokenizer, rank)
    if state.exists():
        trainer.load(state)
    elif begin_with is not None:
        trainer.begin_with(begin_with)
    begun, cpu, first = time.monotonic(), time.process_time(), trainer.done
    errors: list[tuple[float, float]] = []
    while trainer.done < recipe.steps:
        made, norm = trainer.step()
        errors += made
        if rank == 0 and (trainer.done % every == 0 or trainer.done == recipe.steps):
            line = _summary(trainer, errors, norm, begun, cpu, first)
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            left = (recipe.steps - trainer.done) * (time.monotonic() - begun) / (trainer.done - first)
            say(f"{line}; {left / 60:.0f} min to go")
            errors = []
        if rank == 0 and (trainer.done % save_every == 0 or trainer.done == recipe.steps):
            trainer.save(state)
    return trainer


def _summary(
    trainer: Trainer, errors: list[tuple[float, float]], norm: float, begun: float, cpu: float, first: int
) -> dict[str, Any]:
    """Error of the latents, denoised, by time: t^2 times the velocity's."""
    bands = {"1": (0.9999, 2.0), ".98": (0.97, 0.9999), ".9": (0.8, 0.97), ".6": (0.4, 0.8), ".25": (0.0, 0.4)}
    denoised = {}
    for name, (low, high) in bands.items():
        found = [error * t * t for t, error in errors if low <= t < high]
        denoised[name] = round(sum(found) / len(found), 4) if found else None
    velocity = sum(error for _, error in errors) / len(errors)
    return {
        "step": trainer.done,
        "steps_here": trainer.done - first,
        "wall_s": round(time.monotonic() - begun),
        "cpu_s": round(time.process_time() - cpu),
        "velocity_mse": round(velocity, 4) if math.isfinite(velocity) else None,
        "gradient": round(norm, 2),
        "denoised_mse": denoised,
    }
