"""Merged adapters equal adapters at run time: formulated here on activations, not on weights."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sa3_edge.adapters.lora import adapts
from sa3_edge.bundle import Bundle
from sa3_edge.engines.adapted import adapted_initializers
from sa3_edge.engines.libraries import load_onnxruntime
from sa3_edge.errors import AdapterError, RequestError
from sa3_edge.files import sha256_of
from sa3_edge.generation.pipeline import Pipeline
from sa3_edge.manifest import GraphName
from sa3_export import AdapterFile
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.graphs import GRAPHS
from tests.conftest import RunCli

ort = load_onnxruntime()

SECONDS = "conditioners.seconds_total.embedder.embedding.1"
LAYERS = (
    "transformer.layers.0.self_attn.to_qkv",
    "transformer.layers.0.self_attn.to_out",
    "transformer.layers.1.cross_attn.to_kv",
    "transformer.layers.1.ff.ff.0.proj",
    "transformer.layers.1.ff.ff.2",
    "transformer.layers.0.to_local_embed.2",
    "transformer.global_cond_embedder.0",
    "to_cond_embed.0",
    "preprocess_conv",
)
RANK, ALPHA = 3, 6.0


@dataclass
class Part:
    """One layer's random adapter: a (rank, inputs), b (outputs, rank), magnitudes by axis of (outputs, inputs)."""

    a: Tensor
    b: Tensor
    magnitudes: list[tuple[int, Tensor]]


@dataclass
class Run:
    """An adapter as it is applied at run time."""

    parts: dict[str, Part]
    scale: float
    strength: float


def _weights(checkpoint: Path) -> dict[str, Tensor]:
    loaded = Checkpoint(checkpoint)
    modules = {"": loaded.dit(), "conditioners.": loaded.conditioners().conditioners}
    return {
        prefix + name: module.get_parameter("weight").flatten(1)
        for prefix, root in modules.items()
        for name, module in root.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d)
    }


def _random_parts(
    checkpoint: Path, seed: int, axes: tuple[int, ...] = (), layers: tuple[str, ...] = (*LAYERS, SECONDS)
) -> dict[str, Part]:
    generator = torch.Generator().manual_seed(seed)
    weights = _weights(checkpoint)
    parts = {}
    for layer in layers:
        outputs, inputs = weights[layer].shape
        a = torch.randn(RANK, inputs, generator=generator) / math.sqrt(inputs)
        b = 0.3 * torch.randn(outputs, RANK, generator=generator)
        # Trained magnitudes lie around the weight's own norms.
        norms = [(axis, weights[layer].norm(dim=axis)) for axis in axes]
        magnitudes = [(axis, norm * (1 + 0.2 * torch.randn(norm.shape, generator=generator))) for axis, norm in norms]
        parts[layer] = Part(a, b, magnitudes)
    return parts


def _write_reference(path: Path, parts: dict[str, Part], kind: str, root: str = "model.", **config: Any) -> Path:
    names = {"bora": {1: "magnitude_r", 0: "magnitude_c"}}.get(kind, {0: "magnitude", 1: "magnitude"})
    tensors: dict[str, Tensor] = {}
    for layer, part in parts.items():
        prefix = f"{layer if layer == SECONDS else root + layer}.parametrizations.weight.0."
        tensors |= {f"{prefix}lora_A": part.a, f"{prefix}lora_B": part.b}
        tensors |= {f"{prefix}{names[axis]}": magnitude for axis, magnitude in part.magnitudes}
    config = {"rank": RANK, "alpha": ALPHA, "adapter_type": kind, "include": None} | config
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"lora_config": json.dumps(config)}
    )
    return path


def _write_peft(folder: Path, parts: dict[str, Part], config: dict[str, Any] | None) -> Path:
    folder.mkdir()
    tensors = {}
    for layer, part in parts.items():
        prefix = f"base_model.model.{layer}."
        kernel = (1,) if layer.endswith("_conv") else ()  # PEFT keeps a convolution's kernel axis
        tensors[f"{prefix}lora_A.weight"] = part.a.reshape(*part.a.shape, *kernel)
        tensors[f"{prefix}lora_B.weight"] = part.b.reshape(*part.b.shape, *kernel)
        for _, magnitude in part.magnitudes:
            tensors[f"{prefix}lora_magnitude_vector"] = magnitude.reshape(1, -1, 1) if kernel else magnitude
    path = folder / "adapter_model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    if config is not None:
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK} | config))
    return path


Operation = Callable[[Tensor], Tensor]  # (..., inputs) -> (..., outputs), without bias


def _rescaled(operation: Operation, axis: int, factor: Tensor) -> Operation:
    """Outputs (axis 1: each has its norm over inputs) or inputs (axis 0) times a factor."""
    return (lambda x: operation(x) * factor) if axis == 1 else (lambda x: operation(x * factor))


def _with_adapter(base: Operation, part: Part, scale: float, strength: float, inputs: int) -> Operation:
    """y = base(x) + s scale B(A(x)), then DoRA's rescaling of outputs or inputs. Norms come from probing with I."""

    def low_rank(x: Tensor) -> Tensor:
        return base(x) + strength * scale * F.linear(F.linear(x, part.a), part.b)

    operation: Operation = low_rank
    identity = torch.eye(inputs)
    for axis, magnitude in part.magnitudes:
        # The rows of operation(I) are inputs.
        before, after = base(identity).norm(dim=1 - axis), operation(identity).norm(dim=1 - axis)
        factor = ((1 - strength) * before + strength * magnitude) / after
        operation = _rescaled(operation, axis, factor)
    return operation


@dataclass
class _AtRunTime(TorchFunctionMode):
    """Intercepts products with adapted weights, of the whole of one or of a slice of its rows."""

    operations: dict[int, tuple[int, Operation]] = field(default_factory=dict)  # by storage: inputs, operation
    used: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def adapt(self, weight: Tensor, part: Part, scale: float, strength: float) -> None:
        inputs = weight.flatten(1).shape[1]
        key = weight.untyped_storage().data_ptr()
        _, base = self.operations.get(key, (inputs, lambda x: F.linear(x, weight.flatten(1))))
        self.operations[key] = (inputs, _with_adapter(base, part, scale, strength, inputs))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in (F.linear, F.conv1d, torch.conv1d) or (key := _storage(args[1])) not in self.operations:
            return func(*args, **(kwargs or {}))
        self.used.add(key)
        x, weight = args[:2]
        bias = args[2] if len(args) > 2 else (kwargs or {}).get("bias")
        inputs, operation = self.operations[key]
        first = weight.storage_offset() // inputs
        channels_last = x if func is F.linear else x.transpose(1, 2)
        y = operation(channels_last)[..., first : first + weight.shape[0]]
        y = y if bias is None else y + bias
        return y if func is F.linear else y.transpose(1, 2)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


Inputs = dict[str, Tensor]


def _inputs(checkpoint: Checkpoint) -> Inputs:
    generator = torch.Generator().manual_seed(5)
    channels, width = checkpoint.config.latent_channels, checkpoint.config.conditioner.text_dim
    normal = {"hidden": (1, 4, width), "inpaint_masked_input": (1, channels, 9), "x": (1, channels, 9)}
    return {name: torch.randn(shape, generator=generator) for name, shape in normal.items()} | {
        "text_mask": torch.ones(1, 4),
        "padding_scale": torch.ones(1),
        "seconds": torch.tensor([7.5]),
        "inpaint_mask": torch.ones(1, 1, 9),
        "t": torch.tensor([0.63]),
    }


@contextmanager
def _modules(checkpoint: Checkpoint) -> Iterator[tuple[nn.Module, nn.Module, Callable[[Inputs], Tensor]]]:
    """The conditioner's and the denoiser's modules, and the two run in turn -> velocity (1, C, T)."""
    conditioner, denoiser = GRAPHS["conditioner"](checkpoint), GRAPHS["denoiser"](checkpoint)

    def velocity(inputs: Inputs) -> Tensor:
        conditioning = conditioner.module(*(inputs[spec.name] for spec in conditioner.inputs))
        made: Tensor = denoiser.module(inputs["x"], inputs["t"], *conditioning)
        return made

    with torch.no_grad():
        yield conditioner.module, denoiser.module, velocity


def _merged_velocity(path: Path, files: list[AdapterFile]) -> Tensor:
    checkpoint = Checkpoint(path, files)
    with _modules(checkpoint) as (_, _, velocity):
        return velocity(_inputs(checkpoint))


def _bundle_velocity(bundle: Path, checkpoint: Path, files: list[AdapterFile]) -> Tensor:
    """As the bundle's graphs compute it with adapters merged while they are loaded."""
    pipeline = Pipeline.load(bundle)
    adapters = pipeline._read_adapters(tuple(files))
    inputs = {name: tensor.numpy() for name, tensor in _inputs(Checkpoint(checkpoint)).items()}
    graphs: tuple[GraphName, ...] = ("conditioner", "denoiser")
    for graph in graphs:
        wanted = {tensor.name: inputs[tensor.name] for tensor in pipeline.bundle.manifest.graphs[graph].inputs}
        inputs |= pipeline.graphs.run(graph, wanted, adapters)
    return torch.from_numpy(np.asarray(inputs["velocity"]))


def _run_time_velocity(path: Path, runs: list[Run]) -> Tensor:
    checkpoint = Checkpoint(path)
    with _modules(checkpoint) as (conditioner, denoiser, velocity):
        mode = _AtRunTime()
        for weight in (*conditioner.parameters(), *denoiser.parameters()):
            weight.data = weight.data.clone()  # a storage of its own, to be known by
        for run in runs:
            for layer, part in run.parts.items():
                for module in (conditioner, denoiser):
                    for name, weight in module.named_parameters():
                        if name in (f"dit.{layer}.weight", f"conditioners.{layer}.weight"):
                            mode.adapt(weight, part, run.scale, run.strength)
        with mode:
            made = velocity(_inputs(checkpoint))
        # Both graphs hold the whole transformer and use a part of it each.
        assert len(mode.used) >= len({layer for run in runs for layer in run.parts})
        return made


def _distance(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def test_two_stacked_adapters_of_both_layouts_equal_those_at_run_time(tiny_checkpoint: Path, tmp_path: Path) -> None:
    first, second = _random_parts(tiny_checkpoint, 1), _random_parts(tiny_checkpoint, 2, layers=LAYERS[2:])
    files = [
        AdapterFile(_write_reference(tmp_path / "a.safetensors", first, "lora"), 0.7),
        AdapterFile(_write_peft(tmp_path / "b", second, {"lora_alpha": 4}), -1.3),
    ]
    merged = _merged_velocity(tiny_checkpoint, files)
    at_run_time = _run_time_velocity(tiny_checkpoint, [Run(first, ALPHA / RANK, 0.7), Run(second, 4 / RANK, -1.3)])
    assert _distance(merged, at_run_time) < 1e-5
    assert _distance(merged, _merged_velocity(tiny_checkpoint, [])) > 0.05
    # Deltas add: the order does not matter.
    assert _distance(merged, _merged_velocity(tiny_checkpoint, files[::-1])) < 1e-5


@pytest.mark.parametrize(("kind", "axes"), [("dora-rows", (1,)), ("dora-cols", (0,)), ("bora", (1, 0))])
def test_dora_stacks_on_the_weight_that_it_meets(
    tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path, kind: str, axes: tuple[int, ...]
) -> None:
    plain, dora = _random_parts(tiny_checkpoint, 3), _random_parts(tiny_checkpoint, 4, axes)
    files = [
        AdapterFile(_write_reference(tmp_path / "plain.safetensors", plain, "lora", root=""), 1.5),
        AdapterFile(_write_reference(tmp_path / "dora.safetensors", dora, kind, root="model.model."), 0.6),
    ]
    runs = [Run(plain, ALPHA / RANK, 1.5), Run(dora, ALPHA / RANK, 0.6)]
    merged = _merged_velocity(tiny_checkpoint, files)
    adapted = _run_time_velocity(tiny_checkpoint, runs)
    assert _distance(merged, adapted) < 1e-5
    assert _distance(_bundle_velocity(tiny_bundle, tiny_checkpoint, files), adapted) < 1e-5
    reversed_order = _merged_velocity(tiny_checkpoint, files[::-1])
    assert _distance(reversed_order, _run_time_velocity(tiny_checkpoint, runs[::-1])) < 1e-5
    assert _distance(merged, reversed_order) > 1e-3


def test_two_doras_of_both_layouts_stack(tiny_checkpoint: Path, tmp_path: Path) -> None:
    first, second = _random_parts(tiny_checkpoint, 5, (1,)), _random_parts(tiny_checkpoint, 6, (1,), LAYERS)
    config = {"lora_alpha": 4, "use_dora": True, "use_rslora": True}
    files = [
        AdapterFile(_write_reference(tmp_path / "a.safetensors", first, "dora"), 1.0),
        AdapterFile(_write_peft(tmp_path / "b", second, config), 1.0),
    ]
    runs = [Run(first, ALPHA / RANK, 1.0), Run(second, 4 / math.sqrt(RANK), 1.0)]
    assert _distance(_merged_velocity(tiny_checkpoint, files), _run_time_velocity(tiny_checkpoint, runs)) < 1e-5


@pytest.mark.parametrize("shape", [(1, -1), (-1, 1)])
def test_a_legacy_dora_is_told_by_the_shape_of_its_magnitudes(
    tiny_checkpoint: Path, tmp_path: Path, shape: tuple[int, int]
) -> None:
    axis = 0 if shape[0] == 1 else 1
    parts = _random_parts(tiny_checkpoint, 7, (axis,))
    legacy = {
        layer: Part(part.a, part.b, [(axis, magnitude.reshape(shape)) for axis, magnitude in part.magnitudes])
        for layer, part in parts.items()
    }
    file = AdapterFile(_write_reference(tmp_path / "a.safetensors", legacy, "dora"))
    at_run_time = _run_time_velocity(tiny_checkpoint, [Run(parts, ALPHA / RANK, 1.0)])
    assert _distance(_merged_velocity(tiny_checkpoint, [file]), at_run_time) < 1e-5


def test_peft_patterns_give_each_layer_its_scale(tiny_checkpoint: Path, tmp_path: Path) -> None:
    parts = _random_parts(tiny_checkpoint, 8, layers=LAYERS[:2])
    config = {"r": 64, "lora_alpha": 5, "rank_pattern": {r"layers\.\d+\.self_attn\.to_\w+": RANK}}
    config |= {"alpha_pattern": {"to_qkv": 12}}
    file = AdapterFile(_write_peft(tmp_path / "a", parts, config))
    runs = [Run({LAYERS[0]: parts[LAYERS[0]]}, 12 / RANK, 1), Run({LAYERS[1]: parts[LAYERS[1]]}, 5 / RANK, 1)]
    merged = _merged_velocity(tiny_checkpoint, [file])
    assert _distance(merged, _run_time_velocity(tiny_checkpoint, runs)) < 1e-5


def test_without_a_config_alpha_is_the_rank(tiny_checkpoint: Path, tmp_path: Path) -> None:
    parts = _random_parts(tiny_checkpoint, 9, (1,), LAYERS)
    expected = _run_time_velocity(tiny_checkpoint, [Run(parts, 1.0, 1.0)])
    peft = AdapterFile(_write_peft(tmp_path / "peft", parts, None))
    reference = AdapterFile(_write_reference(tmp_path / "a.safetensors", parts, "dora", alpha=None, rank=None))
    for file in (peft, reference):
        assert _distance(_merged_velocity(tiny_checkpoint, [file]), expected) < 1e-5


def test_strength_0_changes_nothing(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = _write_reference(tmp_path / "a.safetensors", _random_parts(tiny_checkpoint, 10, (1,)), "dora-rows")
    adapted, plain = Checkpoint(tiny_checkpoint, [AdapterFile(path, 0.0)]), Checkpoint(tiny_checkpoint)
    for actual, expected in ((adapted.dit(), plain.dit()), (adapted.conditioners(), plain.conditioners())):
        expected_state = expected.state_dict()
        assert all(torch.equal(tensor, expected_state[name]) for name, tensor in actual.state_dict().items())
    # And what is near 0 is near nothing.
    nearly = _merged_velocity(tiny_checkpoint, [AdapterFile(path, 1e-6)])
    assert _distance(nearly, _merged_velocity(tiny_checkpoint, [])) < 1e-5


def test_export_merges_into_both_graphs_and_records_it(
    tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    first, second = _random_parts(tiny_checkpoint, 11), _random_parts(tiny_checkpoint, 12, (1,))
    odd = tmp_path / "odd:0.5"  # looks like a strength, is a path
    odd.mkdir()
    plain = _write_reference(odd / "plain.safetensors", first, "lora")
    dora = _write_reference(tmp_path / "dora.safetensors", second, "dora-rows")
    out = tmp_path / "bundle"
    code, _, err = run_cli("export", tiny_checkpoint, "--lora", plain, "--lora", f"{dora}:-0.4", "--out", out, "--json")
    assert code == 0, err

    adapters = Bundle.load(out).manifest.model.adapters
    assert [(a.file, a.sha256, a.strength) for a in adapters] == [
        ("plain.safetensors", sha256_of(plain), 1.0),
        ("dora.safetensors", sha256_of(dora), -0.4),
    ]
    code, stdout, _ = run_cli("inspect", out)
    assert "dora.safetensors, strength -0.4" in stdout

    inputs = {name: tensor.numpy() for name, tensor in _inputs(Checkpoint(tiny_checkpoint)).items()}
    for graph in ("conditioner", "denoiser"):
        session = ort.InferenceSession(out / f"{graph}.onnx", providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        made = session.run(names, {value.name: inputs[value.name] for value in session.get_inputs()})
        inputs |= dict(zip(names, made, strict=True))
    velocity = torch.from_numpy(np.asarray(inputs["velocity"]))
    runs = [Run(first, ALPHA / RANK, 1.0), Run(second, ALPHA / RANK, -0.4)]
    assert _distance(velocity, _run_time_velocity(tiny_checkpoint, runs)) < 1e-5

    # Merged while the plain bundle is loaded: the same bytes of weights.
    plain_bundle = Pipeline.load(tiny_bundle)
    merging = plain_bundle._read_adapters((AdapterFile(plain), AdapterFile(dora, -0.4)))
    seen = set()
    for name in ("conditioner.onnx", "denoiser.onnx"):
        (artifact,) = (
            graph.artifacts["onnx"]
            for graph in plain_bundle.bundle.manifest.graphs.values()
            if graph.artifacts["onnx"].files[0].path == name
        )
        exported = ir.load(out / name).graph.initializers
        for initializer, weight in adapted_initializers(tiny_bundle / name, artifact, merging).items():
            stored = exported[initializer].const_value
            assert stored is not None
            assert np.array_equal(weight, stored.numpy())
        seen |= {layer for layer in artifact.layers if adapts(merging, layer)}
    assert len(seen) == len({*first, *second})


def test_a_bundle_without_adapters_says_so(tiny_bundle: Path) -> None:
    assert Bundle.load(tiny_bundle).manifest.model.adapters == []


def test_files_and_strengths_are_told_apart(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b:2", "c:d.safetensors"):
        (tmp_path / name).touch()
    for text, name, strength in (
        ("a.safetensors", "a.safetensors", 1.0),
        ("a.safetensors:0", "a.safetensors", 0.0),
        ("a.safetensors:-1.5", "a.safetensors", -1.5),
        ("b:2", "b:2", 1.0),
        ("b:2:3", "b:2", 3.0),
        ("c:d.safetensors", "c:d.safetensors", 1.0),
        ("c:d.safetensors:.25", "c:d.safetensors", 0.25),
    ):
        assert AdapterFile.parse(f"{tmp_path}/{text}") == AdapterFile(tmp_path / name, strength)


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ("absent.safetensors", "absent.safetensors: no such file"),
        ("absent.safetensors:0.5", "absent.safetensors: no such file"),
        ("a.safetensors:loud", "the strength must be a number, got 'loud'"),
        ("a.safetensors:", "the strength must be a number, got ''"),
        ("a.safetensors:nan", "must be a finite number, got nan"),
        ("a.safetensors:inf", "must be a finite number, got inf"),
        (".", "a folder; name the .safetensors file in it"),
        ("pickle.ckpt", "only safetensors is safe to open"),
        ("pickle.pt:0.5", "only safetensors is safe to open"),
        ("adapter_model.BIN", "only safetensors is safe to open"),
        ("a.safetensors", "not a whole safetensors file"),
    ],
)
def test_bad_requests_are_refused_before_any_work(
    tiny_checkpoint: Path, tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, lora: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.safetensors", "pickle.ckpt", "pickle.pt", "adapter_model.BIN"):
        (tmp_path / name).write_bytes(b"not an adapter")
    before = sorted(tmp_path.iterdir())
    code, _, err = run_cli("export", tiny_checkpoint, "--lora", lora, "--out", "bundle")
    assert code == 2
    assert said in err
    assert sorted(tmp_path.iterdir()) == before


def test_random_weights_take_no_adapters(run_cli: RunCli) -> None:
    code, _, err = run_cli("export", "--synthetic", "tiny", "--lora", "a.safetensors")
    assert code == 2
    assert "--lora needs a checkpoint" in err


def test_a_strength_from_python_is_checked(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").touch()
    with pytest.raises(RequestError, match="finite"):
        AdapterFile(tmp_path / "a.safetensors", float("inf"))


QKV = "transformer.layers.0.self_attn.to_qkv"  # (384, 128)
KEY = f"model.{QKV}.parametrizations.weight.0."


def _tensors(**changes: Tensor | None) -> dict[str, Tensor]:
    """A fitting plain LoRA on one layer, with tensors replaced, added or (None) left out."""
    tensors: dict[str, Tensor | None] = {"lora_A": torch.ones(RANK, 128), "lora_B": torch.ones(384, RANK)}
    return {name: tensor for name, tensor in (tensors | changes).items() if tensor is not None}


def _native(tensors: dict[str, Tensor], config: dict[str, Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "a.safetensors"
        save_file({KEY + name: tensor for name, tensor in tensors.items()}, path, {"lora_config": json.dumps(config)})
        return path

    return write


def _raw(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "a.safetensors"
        save_file(tensors, path, metadata)
        return path

    return write


def _peft(config: dict[str, Any] | str, **changes: Tensor | None) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "a.safetensors"
        save_file(
            {f"base_model.model.{QKV}.{name}.weight": tensor for name, tensor in _tensors(**changes).items()}, path
        )
        text = config if isinstance(config, str) else json.dumps({"r": RANK} | config)
        (folder / "adapter_config.json").write_text(text)
        return path

    return write


_NAN = torch.full((RANK, 128), float("nan"))
_MAGNITUDE = torch.ones(384)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (
            _native(_tensors(lora_A=torch.ones(RANK, 127)), {}),
            rf"{QKV}: lora_A \(3, 127\), .* the weight is \(384, 128\)",
        ),
        (_native(_tensors(lora_B=torch.ones(128, RANK)), {}), rf"{QKV}: .* lora_B \(128, 3\)"),
        (_native(_tensors(lora_B=torch.ones(384, 4)), {}), rf"{QKV}: lora_A \(3, 128\), lora_B \(384, 4\)"),
        (_native(_tensors(lora_A=torch.ones(128)), {}), rf"{QKV}: lora_A \(128,\)"),
        (_native(_tensors(), {"rank": 4}), f"{QKV} is of rank 3, the config says 4"),
        (_native(_tensors(), {"alpha": "much"}), "alpha must be a number, got 'much'"),
        (_native(_tensors(lora_A=_NAN), {}), rf"{QKV}\.lora_A holds NaN"),
        (_native(_tensors(lora_A=torch.ones(RANK, 128, dtype=torch.int8)), {}), rf"{QKV}\.lora_A holds"),
        (_native(_tensors(lora_B=None), {}), rf"{QKV} \(lacks lora_B\)"),
        (_native(_tensors(), {"adapter_type": "dora"}), rf"{QKV} \(lacks magnitude\)"),
        (_native(_tensors(magnitude=_MAGNITUDE), {}), rf"not a lora .*{QKV} \(has magnitude\)"),
        (
            _native(_tensors(magnitude=_MAGNITUDE[:128]), {"adapter_type": "dora-rows"}),
            rf"{QKV}: magnitude \(128,\), .* expected 384",
        ),
        (
            _native(_tensors(magnitude=_MAGNITUDE), {"adapter_type": "dora-cols"}),
            rf"{QKV}: magnitude \(384,\), .* expected 128",
        ),
        (_native({"M_xs": torch.ones(3, 3)}, {"adapter_type": "lora-xs"}), "'lora-xs' is not computed .* singular"),
        (_native(_tensors(), {"adapter_type": "loha"}), "adapter_type 'loha' is not computed; only lora, dora-rows"),
        (_raw({KEY + "lora_A": torch.ones(1)}, {"lora_config": "{"}), "lora_config is not valid JSON"),
        (_raw({KEY + "lora_A": torch.ones(1)}, {"lora_config": "[]"}), "lora_config must be a JSON object"),
        (_raw({KEY + "lora_A": torch.ones(1), "extra": torch.ones(1)}), "not part of a LoRA .* extra"),
        (_raw({"lora_unet_x.lora_down.weight": torch.ones(1)}), r"neither .* lora_unet_x\.lora_down\.weight"),
        (_raw({}), "neither"),
        (
            _raw({f"transformer.layers.99.x.lora_{half}.weight": torch.ones(2, 2) for half in "AB"}),
            r"not in the checkpoint: transformer\.layers\.99\.x",
        ),
        (
            _raw({f"{root}{QKV}.lora_A.weight": torch.ones(1, 128) for root in ("", "model.")}),
            "lacks lora_B",
        ),
        (
            _raw(
                {f"{root}{QKV}.lora_A.weight": torch.ones(1, 128) for root in ("", "model.")}
                | {f"{root}{QKV}.lora_B.weight": torch.ones(384, 1) for root in ("", "model.")}
            ),
            f"twice in the file: {QKV}",
        ),
        (_peft({"peft_type": "LOHA"}), "peft_type 'LOHA' is not computed"),
        (_peft({"use_dora": True}), rf"{QKV} \(lacks magnitude\)"),
        (_peft({}, lora_magnitude_vector=_MAGNITUDE), rf"{QKV} \(has magnitude\)"),
        (_peft({"init_lora_weights": "pissa"}), "'pissa' changes the base weights"),
        (_peft({"lora_bias": True, "use_qalora": True}), "uses lora_bias, use_qalora, which is not computed"),
        (_peft({"r": 5}), f"{QKV} is of rank 3, the config says 5"),
        (_peft({"rank_pattern": {"(": 3}}), r"rank_pattern '\(' is not a regular expression"),
        (_peft({"alpha_pattern": [3]}), "alpha_pattern must be a JSON object"),
        (_peft("{"), r"adapter_config\.json is not valid JSON"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    tiny_checkpoint: Path, tmp_path: Path, write: Callable[[Path], Path], said: str
) -> None:
    path = write(tmp_path)
    with pytest.raises(AdapterError, match=said) as caught:
        Checkpoint(tiny_checkpoint, [AdapterFile(path)])
    assert str(path) in str(caught.value)


def test_a_merge_that_overflows_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = _native(_tensors(), {})(tmp_path)
    with pytest.raises(
        AdapterError, match=rf"model\.model\.{QKV}\.weight overflows .* a\.safetensors at strength 1e\+300"
    ):
        Checkpoint(tiny_checkpoint, [AdapterFile(path, 1e300)]).dit()
