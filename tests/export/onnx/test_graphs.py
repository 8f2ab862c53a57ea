"""The exported graphs compute what the reference computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sa3_edge.engines.libraries import load_onnxruntime
from sa3_edge.manifest import Manifest
from tests.conftest import Golden, relative_error
from tests.goldens import NETWORK_TOLERANCE as TOLERANCE
from tests.goldens import tolerance_of

ort = load_onnxruntime()

Run = Callable[..., dict[str, NDArray[Any]]]


def _runner(session: Any) -> Run:
    names = [output.name for output in session.get_outputs()]

    def run(**inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run


@pytest.fixture(scope="module")
def graph(tiny_bundle: Path) -> Callable[[str], Run]:
    def load(name: str) -> Run:
        return _runner(ort.InferenceSession(tiny_bundle / f"{name}.onnx", providers=["CPUExecutionProvider"]))

    return load


@pytest.fixture(scope="module")
def opened_conditioner(tiny_bundle: Path) -> Run:
    """The conditioner with its duration embedding laid open.

    The goldens feed one vector as context token and another as global condition; in the graph both are the duration
    embedding, so it becomes an output (`duration`) and two inputs (`duration_token`, `global_cond`).
    """
    model = onnx.load(tiny_bundle / "conditioner.onnx")
    (producer,) = [node for node in model.graph.node if any("seconds_total" in i and "bias" in i for i in node.input)]
    duration = producer.output[0]
    width = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == duration:
                node.input[index] = "duration_token" if node.op_type == "Unsqueeze" else "global_cond"
    used = {name for node in model.graph.node for name in node.input}
    assert {"duration_token", "global_cond"} <= used
    for name in ("duration_token", "global_cond"):
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width]))
    model.graph.output.append(helper.make_tensor_value_info(duration, TensorProto.FLOAT, [1, width]))
    run = _runner(ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]))

    def named(**inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        outputs = run(**inputs)
        outputs["duration"] = outputs.pop(duration)
        return outputs

    return named


def _conditioner_inputs(**changed: NDArray[Any]) -> dict[str, NDArray[Any]]:
    inputs = {
        "hidden": np.zeros((1, 1, 64), np.float32),
        "padding_scale": np.ones(1, np.float32),
        "seconds": np.full(1, 5.0, np.float32),
        "inpaint_mask": np.zeros((1, 1, 1), np.float32),
        "inpaint_masked_input": np.zeros((1, 16, 1), np.float32),
        **changed,
    }
    return {"text_mask": np.ones(inputs["hidden"].shape[:2], np.float32), **inputs}


@pytest.mark.parametrize("seconds", ["0.5", "5.0", "30.25", "90.0", "120.0", "250.0", "380.0", "384.0", "500.0"])
def test_duration_embedding(opened_conditioner: Run, golden: Golden, seconds: str) -> None:
    unused = np.zeros((1, 64), np.float32)
    inputs = _conditioner_inputs(seconds=np.array([seconds], np.float32))
    duration = opened_conditioner(**inputs, duration_token=unused, global_cond=unused)["duration"]
    assert relative_error(duration, golden[f"seconds.{seconds}"]) < tolerance_of(f"seconds.{seconds}")


@pytest.mark.parametrize("index", [0, 2, 3, 4])
def test_text_encoder(graph: Callable[[str], Run], golden: Golden, index: int) -> None:
    ids = golden[f"prompt.{index}.ids"].astype(np.int64)[None]
    hidden = graph("text_encoder")(input_ids=ids)["hidden"]
    assert relative_error(hidden, golden[f"prompt.{index}.embeds"][:, : ids.shape[1]]) < TOLERANCE


def test_the_graph_holds_the_learned_padding(tiny_bundle: Path, golden: Golden) -> None:
    model = onnx.load(tiny_bundle / "conditioner.onnx")
    (padding,) = [t for t in model.graph.initializer if t.name.endswith("prompt.padding_embedding")]
    expected = golden["prompt.1.embeds"][0]
    assert np.array_equal(np.broadcast_to(numpy_helper.to_array(padding), expected.shape), expected)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("frames", [2, 7, 20])
def test_velocity(
    graph: Callable[[str], Run], opened_conditioner: Run, golden: Golden, frames: int, local: bool
) -> None:
    cross, local_cond = golden[f"dit.L{frames}.cross"], golden[f"dit.L{frames}.local"]
    inpainting = {"inpaint_mask": local_cond[:, :1], "inpaint_masked_input": local_cond[:, 1:]} if local else {}
    conditioning = opened_conditioner(
        **_conditioner_inputs(hidden=cross[:, :256], **inpainting),
        duration_token=cross[:, 256],
        global_cond=golden[f"dit.L{frames}.global"],
    )
    conditioning.pop("duration")
    velocity = graph("denoiser")(x=golden[f"dit.L{frames}.x"], t=np.array([0.63], np.float32), **conditioning)
    expected = golden[f"dit.L{frames}.{'local' if local else 't2a'}.velocity"]
    assert relative_error(velocity["velocity"], expected) < TOLERANCE


@pytest.mark.parametrize("frames", [2, 8, 20])
def test_autoencoder(graph: Callable[[str], Run], golden: Golden, frames: int) -> None:
    audio = graph("decoder")(latents=golden[f"decoder.L{frames}.latents"])["audio"]
    assert relative_error(audio, golden[f"decoder.L{frames}.audio"]) < TOLERANCE
    latents = graph("encoder")(audio=golden[f"encoder.L{frames}.audio"].astype(np.float32))["latents"]
    assert relative_error(latents, golden[f"encoder.L{frames}.latents"]) < TOLERANCE


def test_an_empty_prompt_is_all_padding(graph: Callable[[str], Run], golden: Golden) -> None:
    """One masked position equals 256 explicit pads, whatever lies in its hidden state."""
    conditioner, denoiser = graph("conditioner"), graph("denoiser")
    masked = _conditioner_inputs(hidden=np.full((1, 1, 64), 7.0, np.float32), text_mask=np.zeros((1, 1), np.float32))
    explicit = _conditioner_inputs(hidden=golden["prompt.1.embeds"])
    x, t = golden["dit.L7.x"], np.array([0.9], np.float32)
    velocities = [denoiser(x=x, t=t, **conditioner(**inputs))["velocity"] for inputs in (masked, explicit)]
    assert relative_error(velocities[0], velocities[1]) < 1e-5


def test_weights_are_stored_ready_to_use(tiny_bundle: Path) -> None:
    """No node rearranges weights at run time, and none of the tracer's notes remain."""
    for path in sorted(tiny_bundle.glob("*.onnx")):
        model = onnx.load(path, load_external_data=False)
        weights = {tensor.name for tensor in model.graph.initializer}
        rearranged = [
            n.name
            for n in model.graph.node
            if n.op_type in {"Transpose", "Slice", "Split"} and n.input[0] in weights and "rotary" not in n.input[0]
        ]
        constant = [name for name in rearranged if not _is_table(model, name)]
        assert constant == [], path.name
        assert str(Path(__file__).parents[3]).encode() not in path.read_bytes()


def _is_table(model: onnx.ModelProto, node_name: str) -> bool:
    """Rotary tables are cut to the sequence's length: that slice depends on an input."""
    (node,) = [node for node in model.graph.node if node.name == node_name]
    computed = {name for other in model.graph.node for name in other.output}
    return any(name in computed for name in node.input[1:])


def test_every_parity_figure_is_above_the_bar(manifest: Manifest) -> None:
    for graph in manifest.graphs.values():
        parity = graph.artifacts["onnx"].parity
        assert len(parity) >= 3
        assert all(figure.snr_db >= 80 for figure in parity)
