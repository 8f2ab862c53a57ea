"""What the goldens hear: each part of the model made wrong in one way, and how far it moves the goldens.

A test of the tests (export/test_mutations.py) asks that every one is refused; `python -m tests.mutations` prints all
of them as a table.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sa3_edge import Pipeline
from sa3_export.networks import dit as dit_module
from sa3_export.networks.layers import RotaryEmbedding
from tests.conftest import Golden
from tests.goldens import Networks, names_of, network_error, run_errors


@dataclass(frozen=True)
class Mutation:
    """One part made wrong. `hears`: the goldens, by the beginning of their names, that must refuse it."""

    part: str
    what: str
    apply: Callable[[Networks], None]
    hears: tuple[str, ...]


@dataclass(frozen=True)
class RunMutation:
    """One graph made wrong in whole runs: its inputs or its outputs, by name, become zeros."""

    part: str
    what: str
    graph: str
    zeros: tuple[str, ...]
    hears: tuple[str, ...]


def _replace(target: object, name: str, value: object) -> None:
    setattr(target, name, value)


def _nothing(*inputs: Any, **named: Any) -> Tensor:
    return torch.zeros_like(inputs[0])


def _drop(select: Callable[[Networks], nn.Module], kind: str) -> Callable[[Networks], None]:
    """Every submodule of that name adds nothing."""

    def apply(networks: Networks) -> None:
        parts = [part for name, part in select(networks).named_modules() if name.rpartition(".")[2] == kind]
        assert parts
        for part in parts:
            _replace(part, "forward", _nothing)

    return apply


def _zero(select: Callable[[Networks], nn.Module], kind: str) -> Callable[[Networks], None]:
    """Every parameter of that name is zero."""

    def apply(networks: Networks) -> None:
        found = [(name, tensor) for name, tensor in select(networks).named_parameters() if name.endswith(kind)]
        assert found
        for _, parameter in found:
            parameter.data = torch.zeros_like(parameter)

    return apply


def _no_rotation(select: Callable[[Networks], nn.Module]) -> Callable[[Networks], None]:
    def apply(networks: Networks) -> None:
        for part in select(networks).modules():
            if isinstance(part, RotaryEmbedding):
                part.cos, part.sin = torch.ones_like(part.cos), torch.zeros_like(part.sin)

    return apply


def _silence(method: str) -> Callable[[Networks], None]:
    def apply(networks: Networks) -> None:
        real = getattr(networks.autoencoder, method)
        _replace(networks.autoencoder, method, lambda given: real(torch.zeros_like(given)))

    return apply


def _zeros(method: str) -> Callable[[Networks], None]:
    def apply(networks: Networks) -> None:
        real = getattr(networks.autoencoder, method)
        _replace(networks.autoencoder, method, lambda given: torch.zeros_like(real(given)))

    return apply


def _no_local(networks: Networks) -> None:
    real = networks.dit.condition
    _replace(networks.dit, "condition", lambda *given: _without_local(real(*given)))


def _without_local(conditioning: dit_module.Conditioning) -> dit_module.Conditioning:
    return conditioning._replace(local_embed=torch.zeros_like(conditioning.local_embed))


def _one_context(index: int) -> Callable[[Networks], None]:
    """One of what `condition` is given - context tokens, duration, what to keep - is zeros."""

    def apply(networks: Networks) -> None:
        real = networks.dit.condition
        _replace(
            networks.dit,
            "condition",
            lambda *given: real(*(torch.zeros_like(x) if i == index else x for i, x in enumerate(given))),
        )

    return apply


def _same_token(networks: Networks) -> None:
    real = networks.text_encoder.forward
    _replace(networks.text_encoder, "forward", lambda ids: real(torch.zeros_like(ids)))


def _duration(value: float) -> Callable[[Networks], None]:
    def apply(networks: Networks) -> None:
        real = networks.conditioners.seconds_total.forward
        _replace(networks.conditioners.seconds_total, "forward", lambda s: real(torch.full_like(s, value)))

    return apply


def _unclamped(networks: Networks) -> None:
    module = networks.conditioners.seconds_total
    _replace(module, "forward", lambda seconds: module.embedder.embedding(seconds / module.max_seconds))


def _dit(networks: Networks) -> nn.Module:
    return networks.dit


def _encoder(networks: Networks) -> nn.Module:
    return networks.autoencoder.encoder


def _decoder(networks: Networks) -> nn.Module:
    return networks.autoencoder.decoder


def _text(networks: Networks) -> nn.Module:
    return networks.text_encoder


MUTATIONS = (
    Mutation("encoder", "silence in", _silence("encode"), ("encoder.",)),
    Mutation("encoder", "zeros out", _zeros("encode"), ("encoder.",)),
    Mutation("encoder", "no attention", _drop(_encoder, "self_attn"), ("encoder.",)),
    Mutation("encoder", "no feed-forward", _drop(_encoder, "ff"), ("encoder.",)),
    Mutation("encoder", "no learned token", _zero(_encoder, "new_tokens"), ("encoder.",)),
    Mutation("encoder", "no RoPE", _no_rotation(_encoder), ("encoder.",)),
    Mutation("decoder", "zeros in", _silence("decode"), ("decoder.",)),
    Mutation("decoder", "zeros out", _zeros("decode"), ("decoder.",)),
    Mutation("decoder", "no attention", _drop(_decoder, "self_attn"), ("decoder.",)),
    Mutation("decoder", "no feed-forward", _drop(_decoder, "ff"), ("decoder.",)),
    Mutation("decoder", "no learned token", _zero(_decoder, "new_tokens"), ("decoder.",)),
    Mutation("decoder", "no RoPE", _no_rotation(_decoder), ("decoder.",)),
    Mutation("text", "one token for all", _same_token, ("prompt.0", "prompt.2", "prompt.3", "prompt.4")),
    Mutation("text", "zeros out", _drop(_text, "norm"), ("prompt.0", "prompt.2", "prompt.3", "prompt.4")),
    Mutation("text", "no attention", _drop(_text, "self_attn"), ("prompt.0", "prompt.2", "prompt.3", "prompt.4")),
    Mutation("text", "no feed-forward", _drop(_text, "mlp"), ("prompt.0", "prompt.2", "prompt.3", "prompt.4")),
    Mutation("text", "no RoPE", _no_rotation(_text), ("prompt.2", "prompt.3")),
    Mutation(
        "text",
        "no learned padding",
        lambda networks: _replace(
            networks.conditioners.prompt.padding_embedding,
            "data",
            torch.zeros_like(networks.conditioners.prompt.padding_embedding),
        ),
        ("prompt.0", "prompt.1", "prompt.2", "prompt.3"),
    ),
    Mutation("seconds", "always 30 s", _duration(30.0), ("seconds.0.5", "seconds.5.0", "seconds.90.0", "seconds.120")),
    Mutation("seconds", "always 0 s", _duration(0.0), ("seconds.",)),
    Mutation("seconds", "not clamped", _unclamped, ("seconds.500.0",)),
    Mutation("seconds", "no global condition", _one_context(1), ("dit.",)),
    Mutation("cross", "zeros for text", _one_context(0), ("dit.",)),
    Mutation("cross", "no cross-attention", _drop(_dit, "cross_attn"), ("dit.",)),
    Mutation("local", "nothing to keep", _one_context(2), ("dit.L7.local", "dit.L20.local")),
    Mutation("local", "no local embedding", _no_local, ("dit.",)),
    Mutation("self", "no self-attention", _drop(_dit, "self_attn"), ("dit.",)),
    Mutation("self", "no feed-forward", _drop(_dit, "ff"), ("dit.",)),
    Mutation("memory tokens", "zeros", _zero(_dit, "memory_tokens"), ("dit.",)),
    Mutation("RoPE", "no rotation", _no_rotation(_dit), ("dit.",)),
    Mutation("timestep", "no embedding", _zero(_dit, "to_timestep_embed.2.weight"), ("dit.",)),
    Mutation("scale, shift, gate", "zeros", _zero(_dit, "to_scale_shift_gate"), ("dit.",)),
    Mutation("first convolution", "dropped", _zero(_dit, "preprocess_conv.weight"), ("dit.",)),
    Mutation("last convolution", "dropped", _zero(_dit, "postprocess_conv.weight"), ("dit.",)),
)  # fmt: skip

_FROM_TEXT, _FROM_AUDIO = ("t2a_5s", "t2a_1.3s_4steps"), ("a2a_0.3_2steps", "inpaint", "inpaint_multi")
_ALL = (*_FROM_TEXT, "t2a_empty", *_FROM_AUDIO)
RUN_MUTATIONS = (
    RunMutation("encoder", "silence in", "encoder", ("audio",), _FROM_AUDIO),
    RunMutation("encoder", "zeros out", "encoder", ("latents",), _FROM_AUDIO),
    RunMutation("decoder", "zeros in", "decoder", ("latents",), ("t2a_1.3s_4steps", "t2a_empty", "inpaint")),
    RunMutation("text", "zeros out", "text_encoder", ("hidden",), (*_FROM_TEXT, *_FROM_AUDIO)),
    RunMutation("seconds", "always 0 s", "conditioner", ("seconds",), _ALL),
    RunMutation("cross", "zeros for keys and values", "denoiser", ("cross_k", "cross_v"), _ALL),
    RunMutation("local", "nothing to keep", "conditioner", ("inpaint_mask", "inpaint_masked_input"), ("inpaint",)),
    RunMutation("padding", "its key counts once", "denoiser", ("key_bias",), _ALL),
    RunMutation("timestep", "always 0", "denoiser", ("t",), _ALL),
)


@contextmanager
def mutated(pipeline: Pipeline, mutation: RunMutation) -> Iterator[None]:
    """Within, the pipeline's graph is given or gives zeros where the mutation says."""
    real = pipeline.graphs.run

    def run(graph: Any, inputs: Any, *adapters: Any) -> Any:
        if graph != mutation.graph:
            return real(graph, inputs, *adapters)
        inputs = {n: np.zeros_like(x) if n in mutation.zeros else x for n, x in inputs.items()}
        outputs = real(graph, inputs, *adapters)
        return {n: np.zeros_like(x) if n in mutation.zeros else x for n, x in outputs.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.graphs, "run", run)
        yield


def errors(networks: Networks, golden: Golden, mutation: Mutation) -> dict[str, float]:
    """The relative error of each golden that must refuse the mutation."""
    heard = [
        name
        for ending in (".velocity", ".embeds", ".audio", ".latents")
        for name in names_of(golden, "", ending)
        if name.startswith(mutation.hears) or name.endswith(mutation.hears)
        if name.startswith(("encoder.", "decoder.", "prompt.", "dit.")) and not _is_input(name)
    ] + [name for name in names_of(golden, "seconds.") if name.startswith(mutation.hears)]
    mutant = copy.deepcopy(networks)
    mutation.apply(mutant)
    return {name: network_error(mutant, golden, name) for name in heard}


def _is_input(name: str) -> bool:
    return (name.startswith("encoder.") and name.endswith(".audio")) or (
        name.startswith("decoder.") and name.endswith(".latents")
    )


def run_mutation_errors(
    pipeline: Pipeline, golden: Golden, runs: list[dict[str, Any]], mutation: RunMutation
) -> dict[str, float]:
    """The relative error of each golden of the runs that must refuse the mutation."""
    with mutated(pipeline, mutation):
        made = {name: error for run in runs if run["name"] in mutation.hears
                for name, error in run_errors(pipeline, golden, run)}  # fmt: skip
    heard = ".audio" if mutation.graph == "decoder" else ".latents"
    return {name: error for name, error in made.items() if name.endswith(heard)}


def main() -> None:
    """Print the tables for the tiny checkpoint of the tests."""
    import json
    import tempfile
    from pathlib import Path

    from safetensors.numpy import load_file

    from sa3_export import ExportPlan, export_bundle
    from sa3_export.checkpoints.published import Checkpoint
    from tests.conftest import DATA

    golden = load_file(DATA / "tiny" / "golden.safetensors")
    runs = json.loads((DATA / "tiny" / "golden.json").read_text(encoding="utf-8"))["runs"]
    networks = Networks.of(Checkpoint(DATA / "tiny"))
    print("| part | what is wrong | goldens | relative error |\n|---|---|---|---|")
    for mutation in MUTATIONS:
        _print_row(mutation.part, mutation.what, errors(networks, golden, mutation))
    with tempfile.TemporaryDirectory() as folder:
        export_bundle(DATA / "tiny", Path(folder) / "tiny", ExportPlan(precision="fp32"))
        pipeline = Pipeline.load(Path(folder) / "tiny", keep_loaded=True)
        for run_mutation in RUN_MUTATIONS:
            made = run_mutation_errors(pipeline, golden, runs, run_mutation)
            _print_row(run_mutation.part, f"{run_mutation.what}, in runs", made)


def _print_row(part: str, what: str, made: dict[str, float]) -> None:
    print(f"| {part} | {what} | {len(made)} | {min(made.values()):.2g} to {max(made.values()):.2g} |")


if __name__ == "__main__":
    main()
