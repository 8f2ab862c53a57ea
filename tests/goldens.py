"""What modules and pipelines make of a golden checkpoint, compared with what the reference made, by golden.

The tests and the tests of the tests (mutations.py) compare through these.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sa3_edge import AudioSource, Continuation, GenerationRequest, Inpainting, Pipeline, Region, Variation
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.networks.conditioners import Conditioners
from sa3_export.networks.dit import DiffusionTransformer
from sa3_export.networks.same import Autoencoder
from sa3_export.networks.t5gemma import TextEncoder
from tests.conftest import DATA, Golden, relative_error

RATE = 44100
NETWORK_TOLERANCE, RUN_TOLERANCE = 1e-4, 1e-3
# Durations beyond 100 s have features of up to 6e4 radians: another processor's exp or cos moves them by up to 1e-3.
LONG_SECONDS_TOLERANCE = 2e-3
_TOKENS = 256


@dataclass
class Networks:
    text_encoder: TextEncoder
    conditioners: Conditioners
    dit: DiffusionTransformer
    autoencoder: Autoencoder

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "Networks":
        return cls(checkpoint.text_encoder(), checkpoint.conditioners(), checkpoint.dit(), checkpoint.autoencoder())


def golden_runs(name: str) -> list[dict[str, Any]]:
    """The arguments of the runs of a golden checkpoint."""
    runs: list[dict[str, Any]] = json.loads((DATA / name / "golden.json").read_text(encoding="utf-8"))["runs"]
    return runs


def write_checkpoint(name: str, folder: Path, *objective: str) -> Path:
    """A golden checkpoint, made by its script; of another objective if one is named."""
    subprocess.run([sys.executable, DATA / "synth.py", name, folder, *objective], check=True)
    return folder


def names_of(golden: Golden, prefix: str, suffix: str = "") -> list[str]:
    """The goldens that begin and end so."""
    return sorted(name for name in golden if name.startswith(prefix) and name.endswith(suffix))


def tolerance_of(name: str) -> float:
    """How far a network's golden may be missed."""
    if name.startswith("seconds.") and float(name.removeprefix("seconds.")) > 100:
        return LONG_SECONDS_TOLERANCE
    return NETWORK_TOLERANCE


def network_goldens(golden: Golden) -> list[str]:
    """All goldens of single networks."""
    return [
        *names_of(golden, "prompt.", ".embeds"),
        *names_of(golden, "seconds."),
        *names_of(golden, "dit.", ".velocity"),
        *names_of(golden, "decoder.", ".audio"),
        *names_of(golden, "encoder.", ".latents"),
    ]


def _tensor(golden: Golden, name: str) -> torch.Tensor:
    return torch.from_numpy(golden[name]).float()


@torch.no_grad()
def network_error(networks: Networks, golden: Golden, name: str) -> float:
    """The relative error of one of `network_goldens`."""
    kind, part, *_ = name.split(".")
    stem = name.rpartition(".")[0]
    match kind:
        case "prompt":
            made = _embeddings(networks, golden, part)
        case "seconds":
            made = networks.conditioners.seconds_total(torch.tensor([float(name.removeprefix("seconds."))]))
        case "dit":
            made = _velocity(networks.dit, golden, f"dit.{part}", inpainting=".local." in name)
        case "decoder":
            made = networks.autoencoder.decode(_tensor(golden, f"{stem}.latents"))
        case _:
            made = networks.autoencoder.encode(_tensor(golden, f"{stem}.audio"))
    return relative_error(made.numpy(), golden[name])


def _embeddings(networks: Networks, golden: Golden, index: str) -> torch.Tensor:
    ids = torch.from_numpy(golden[f"prompt.{index}.ids"]).long()[None]
    padding = networks.conditioners.prompt.padding_embedding.expand(1, _TOKENS - ids.shape[1], -1)
    return torch.cat((networks.text_encoder(ids), padding), dim=1) if ids.shape[1] else padding


def _velocity(dit: DiffusionTransformer, golden: Golden, stem: str, *, inpainting: bool) -> torch.Tensor:
    x, cross, global_cond, local = (_tensor(golden, f"{stem}.{part}") for part in ("x", "cross", "global", "local"))
    if not inpainting:
        local = torch.zeros(1, local.shape[1], 1)  # text to audio: one zero frame stands for all
    conditioning = dit.condition(cross, global_cond, local)
    return dit.denoise(x, torch.tensor([0.63]), conditioning, torch.zeros(cross.shape[1]))


def request_of(run: dict[str, Any], golden: Golden) -> GenerationRequest:
    """The request that makes a golden run."""
    source = AudioSource.from_array(golden["input.audio_3s"], RATE)
    edit: Variation | Inpainting | Continuation | None = None
    if "init_audio" in run:
        edit = Variation(source, run["init_noise_level"], "reference")
    elif "continuation" in run["name"]:
        edit = Continuation(source, extend=run["duration"] - 3, splice=False)
    elif "inpaint_audio" in run:
        starts, ends = (_as_list(run[f"inpaint_mask_{end}_seconds"]) for end in ("start", "end"))
        edit = Inpainting(source, tuple(map(Region, starts, ends)), splice=False)
    return GenerationRequest(
        run["prompt"],
        None if isinstance(edit, Continuation) else run["duration"],
        run["seed"],
        run.get("steps"),
        edit=edit,
        cfg=run.get("cfg_scale", 1.0),
        negative_prompt=run.get("negative_prompt", ""),
        apg=run.get("apg_scale", 1.0),
    )


def _as_list(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


def run_errors(pipeline: Pipeline, golden: Golden, run: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Make a golden run; the relative errors of its latents and of what is kept of its audio."""
    made = pipeline.generate(request_of(run, golden))
    name = f"run.{run['name']}"
    assert made.latents.shape[-1] == run["n_valid"]
    yield f"{name}.latents", relative_error(made.latents, golden[f"{name}.latents"][:, :, : run["n_valid"]])
    for audio in names_of(golden, f"{name}.audio"):
        expected = golden[audio][0]
        start = int(audio.rpartition(".from")[2]) if ".from" in audio else 0
        yield audio, relative_error(made.audio[:, start : start + expected.shape[-1]], expected)
