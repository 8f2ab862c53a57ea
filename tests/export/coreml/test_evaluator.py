"""The evaluator computes what Core ML's operations mean, and the gate built on it lets no broken package through."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import coremltools as ct
import msgspec
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813 - its usual name
from coremltools.converters.mil.mil import types

from sa3_edge import manifest as m
from sa3_export import CoreMLOptions, ParityError
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.coreml.artifact import export_coreml
from sa3_export.coreml.evaluator import Package
from sa3_export.coreml.gate import Verification, verify_package
from sa3_export.coreml.kernels import CoreMLKernels
from sa3_export.coreml.mil_ops import OPERATIONS
from sa3_export.errors import EvaluationError
from sa3_export.graphs import GRAPHS, Graph
from sa3_export.networks.kernels import TorchKernels

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
_program: Callable[..., Callable[[Any], Any]] = mb.program
Exported = tuple[Graph, m.Artifact, Path]


def _exported(checkpoint: Path, name: m.GraphName, folder: Path) -> Exported:
    graph = GRAPHS[name](Checkpoint(checkpoint))
    graph = replace(graph, lengths=graph.lengths[:3])
    artifact = export_coreml(graph, folder, {}, CoreMLOptions("fp16", (8, 16)))
    return graph, artifact, folder / f"{name}.mlpackage"


@pytest.fixture(scope="module")
def denoiser(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return _exported(tiny_checkpoint, "denoiser", tmp_path_factory.mktemp("denoiser"))


@pytest.fixture
def broken(denoiser: Exported, tmp_path: Path) -> Callable[[Callable[[Any], None]], Exported]:
    """The denoiser's package with its program edited."""

    def edit(change: Callable[[Any], None]) -> Exported:
        graph, artifact, path = denoiser
        copy = tmp_path / path.name
        shutil.copytree(path, copy)
        spec = ct.proto.Model_pb2.Model()
        spec.ParseFromString((copy / MODEL).read_bytes())
        change(spec)
        (copy / MODEL).write_bytes(spec.SerializeToString())
        return graph, artifact, copy

    return edit


def _operations(spec: Any, function: str) -> Any:
    (block,) = spec.mlProgram.functions[function].block_specializations.values()
    return block.operations


def _verified(exported: Exported) -> list[m.Parity]:
    graph, artifact, path = exported
    return verify_package(graph, artifact, Package(path), Verification())


def test_a_right_package_passes(denoiser: Exported) -> None:
    assert {figure.length for figure in _verified(denoiser)} == {1, 7, 118, 8, 9, 16}


def test_one_changed_weight_is_refused(denoiser: Exported, tmp_path: Path) -> None:
    graph, artifact, path = denoiser
    copy = tmp_path / path.name
    shutil.copytree(path, copy)
    weights = bytearray((copy / WEIGHTS).read_bytes())
    # One number of one matrix, in the midst of the file: its sign and its exponent.
    position = len(weights) // 2 + 1
    weights[position] ^= 0b1100_0000
    (copy / WEIGHTS).write_bytes(weights)
    with pytest.raises(ParityError, match="denoiser"):
        verify_package(graph, artifact, Package(copy), Verification())


def test_one_swapped_operation_is_refused(broken: Callable[[Callable[[Any], None]], Exported]) -> None:
    def swap(spec: Any) -> None:
        (sine,) = [op for op in _operations(spec, "frames_16") if op.type == "sin"]
        sine.type = "cos"

    with pytest.raises(ParityError, match="frames = 9"):
        _verified(broken(swap))


def test_a_mislabelled_function_is_refused(broken: Callable[[Callable[[Any], None]], Exported]) -> None:
    def swap(spec: Any) -> None:
        functions = spec.mlProgram.functions
        shorter, longer = ct.proto.MIL_pb2.Function(), ct.proto.MIL_pb2.Function()
        shorter.CopyFrom(functions["frames_8"])
        longer.CopyFrom(functions["frames_16"])
        functions["frames_8"].CopyFrom(longer)
        functions["frames_16"].CopyFrom(shorter)

    with pytest.raises(ParityError, match="frames_8"):
        _verified(broken(swap))


def test_a_function_that_the_manifest_does_not_name_is_refused(denoiser: Exported) -> None:
    graph, artifact, path = denoiser
    fewer = msgspec.structs.replace(artifact, functions={"frames_8": artifact.functions["frames_8"]})
    with pytest.raises(ParityError, match="frames_16"):
        verify_package(graph, fewer, Package(path), Verification())


def test_nan_on_zeros_is_refused(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The norm that fp16 breaks: on a row of zeros it divides nothing by nothing."""

    def careless(self: CoreMLKernels, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        largest = x.abs().amax(dim=-1, keepdim=True)
        scaled = x / largest
        return scaled * torch.rsqrt((scaled * scaled).mean(dim=-1, keepdim=True)) * weight

    monkeypatch.setattr(CoreMLKernels, "rms_norm", careless)
    with pytest.raises(ParityError, match="not finite on zeros"):
        _exported(tiny_checkpoint, "conditioner", tmp_path)


def _small_package(folder: Path, compute: Callable[[Any], Any], shape: tuple[int, ...] = (2, 3)) -> Path:
    @_program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        return compute(x)

    path = folder / "small.mlpackage"
    ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    ).save(str(path))
    return path


def test_an_unknown_operation_is_named(tmp_path: Path) -> None:
    path = _small_package(tmp_path, lambda x: mb.erf(x=x, name="suspect"))
    with pytest.raises(EvaluationError, match=r"erf \(suspect\)"):
        Package(path)


def test_a_known_operation_in_an_unknown_form_is_named(tmp_path: Path) -> None:
    path = _small_package(tmp_path, lambda x: mb.concat(values=[x, x], axis=0, interleave=True))
    with pytest.raises(EvaluationError, match="interleave"):
        Package(path).run("main", {"x": np.zeros((2, 3), np.float32)})


def test_a_folder_that_is_no_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="not a package"):
        Package(tmp_path)


def test_fp16_rounds_between_operations_only_where_the_program_says_so(tmp_path: Path) -> None:
    path = _small_package(
        tmp_path, lambda x: mb.cast(x=mb.mul(x=mb.cast(x=x, dtype="fp16"), y=np.float16(7)), dtype="fp32"), (1,)
    )
    package, tenth = Package(path), np.float32(0.1)
    (exact,) = package.run("main", {"x": np.array([tenth])}, half=False).values()
    (rounded,) = package.run("main", {"x": np.array([tenth])}).values()
    assert exact[0] == tenth * 7
    assert rounded[0] == np.float16(tenth) * np.float16(7)
    assert rounded[0] != exact[0]


A = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7.5
INDICES = np.array([[2, 0], [-1, 1]], np.int32)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("slice_by_index", {"x": A, "begin": [0, -2, 1], "end": [2, 3, 4], "stride": [1, 1, 2]}),
        ("slice_by_index", {"x": A, "begin": [1, 0, 0], "end": [0, 0, 2], "end_mask": [False, True, False],
                            "squeeze_mask": [True, False, False]}),
        ("slice_by_index", {"x": A, "begin": [0, 1, 2], "end": [0, 0, 0], "begin_mask": [True, False, False],
                            "end_mask": [True, True, True]}),
        ("gather", {"x": A, "indices": INDICES, "axis": 1, "validate_indices": False}),
        ("gather", {"x": A, "indices": np.int32(1), "axis": -1, "validate_indices": False}),
        ("reshape", {"x": A, "shape": [4, -1]}),
        ("expand_dims", {"x": A, "axes": [0, 3]}),
        ("squeeze", {"x": A[:, :1], "axes": [1]}),
        ("transpose", {"x": A, "perm": [2, 0, 1]}),
        ("concat", {"values": [A, A + 1], "axis": 1}),
        ("stack", {"values": [A, A + 1], "axis": 1}),
        ("tile", {"x": A, "reps": [1, 2, 3]}),
        ("split", {"x": A, "split_sizes": [1, 3], "axis": 2}),
        ("matmul", {"x": A, "y": A, "transpose_y": True}),
        ("linear", {"x": A, "weight": A[0], "bias": A[0, :, 0]}),
        ("gelu", {"x": A, "mode": "TANH_APPROXIMATION"}),
        ("gelu", {"x": A, "mode": "EXACT"}),
        ("softmax", {"x": A, "axis": 1}),
        ("clip", {"x": A, "alpha": -1.0, "beta": 2.0}),
        ("log", {"x": np.abs(A)}),
        ("rsqrt", {"x": np.abs(A)}),
        ("reduce_max", {"x": A, "axes": [-1], "keep_dims": True}),
        ("reduce_mean", {"x": A, "axes": [0, 2], "keep_dims": False}),
        ("select", {"cond": A > 0, "a": A, "b": -A}),
        ("real_div", {"x": A, "y": A + 0.25}),
        ("sub", {"x": A, "y": np.float32(2)}),
        ("greater_equal", {"x": A, "y": np.float32(0.5)}),
        ("equal", {"x": A, "y": np.float32(0.5)}),
        ("cast", {"x": A, "dtype": "int32"}),
    ],
)  # fmt: skip
def test_operations_agree_with_coremltools_own_inference(name: str, arguments: dict[str, Any]) -> None:
    """coremltools computes operations on constants with NumPy; that is another implementation than ours."""
    expected: list[Any] = []
    defaults: dict[str, Any] = {}

    @_program(input_specs=[mb.TensorSpec(shape=(1,))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        given = {key: np.asarray(v, np.int32) if _is_ints(v) else v for key, v in arguments.items()}
        made = getattr(mb, name)(**given)
        operation = (made[0] if isinstance(made, (list, tuple)) else made).op
        expected.extend(output.val for output in operation.outputs)
        defaults.update({k: v for k, v in operation.default_inputs().items() if v is not None})
        return mb.add(x=x, y=np.float32(0))

    def tensor(value: Any) -> Any:
        if isinstance(value, list) and isinstance(value[0], np.ndarray):
            return [torch.from_numpy(each) for each in value]
        return torch.as_tensor(value) if isinstance(value, (list, np.ndarray)) else value

    given = {key: tensor(value) for key, value in {**defaults, **arguments}.items()}
    actual = OPERATIONS[name](**given)
    results = actual if isinstance(actual, tuple) else (actual,)
    assert len(results) == len(expected)
    for result, value in zip(results, expected, strict=True):
        assert result.shape == value.shape
        np.testing.assert_allclose(result.numpy(), value, rtol=1e-5, atol=1e-6)


def _is_ints(value: Any) -> bool:
    return isinstance(value, list) and type(value[0]) is int


@pytest.mark.parametrize("bits", [4, 6])
def test_palettes_and_scales_agree_with_coremltools(bits: int) -> None:
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 1 << bits, (6, 4)).astype(
        types.nptype_from_builtin(types.string_to_builtin(f"uint{bits}"))
    )
    lut = rng.standard_normal((3, 1, 1 << bits, 1)).astype(np.float32)
    data = rng.integers(-127, 127, (6, 4)).astype(np.int8)
    scale, offset = rng.random((3, 2)).astype(np.float32), rng.integers(-9, 9, (3, 2)).astype(np.int8)
    expected: list[Any] = []

    @_program(input_specs=[mb.TensorSpec(shape=(1,))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        palettized = mb.constexpr_lut_to_dense(indices=indices, lut=lut)
        quantized = mb.constexpr_blockwise_shift_scale(data=data, scale=scale, offset=offset)
        expected.extend(made.op.materialized_val_inference() for made in (palettized, quantized))
        return mb.add(x=x, y=np.float32(0))

    dense = OPERATIONS["constexpr_lut_to_dense"](
        indices=torch.from_numpy(indices.astype(np.int32)), lut=torch.from_numpy(lut)
    )
    scaled = OPERATIONS["constexpr_blockwise_shift_scale"](
        data=torch.from_numpy(data), scale=torch.from_numpy(scale), offset=torch.from_numpy(offset)
    )
    for actual, value in zip((dense, scaled), expected, strict=True):
        assert isinstance(actual, torch.Tensor)
        np.testing.assert_allclose(actual.numpy(), value, rtol=1e-6)


@pytest.mark.parametrize("eps", [1e-5, 1e-6])
@pytest.mark.parametrize("size", [0.0, 1e-6, 1e-2, 1.0, 3e4])
def test_the_norm_is_exact_at_any_size_and_never_overflows_fp16(size: float, eps: float) -> None:
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0)) * size
    x[1] = 0
    x[2, 5] *= 300
    x = x.clamp(-6e4, 6e4)
    weight = torch.ones(64)
    expected = TorchKernels().rms_norm(x, weight, eps)
    torch.testing.assert_close(CoreMLKernels().rms_norm(x, weight, eps), expected, rtol=1e-5, atol=1e-6)
    half = CoreMLKernels().rms_norm(x.half(), weight.half(), eps).float()
    assert torch.isfinite(half).all()
    assert (half - expected).norm() <= 5e-3 * expected.norm() + 1e-6
