"""`sa3-edge inspect`."""

import msgspec

from sa3_edge.bundle import Bundle
from sa3_edge.cli.display import print_json
from sa3_edge.manifest import Tensor
from sa3_edge.models.catalog import resolve_model


def _signature(tensors: list[Tensor]) -> str:
    return ", ".join(f"{t.name} ({', '.join(map(str, t.shape))})" for t in tensors)


def run(name_or_path: str, json: bool) -> None:
    """Verify every hash anew, then print the manifest, whole or in short."""
    bundle = Bundle.load(resolve_model(name_or_path), trust_cache=False)
    manifest = bundle.manifest
    if json:
        print_json({"path": str(bundle.path), "id": bundle.id, "manifest": msgspec.to_builtins(manifest)})
        return
    model, audio, sampler = manifest.model, manifest.audio, manifest.sampler
    print(f"{model.name}  ({bundle.path})")
    if model.synthetic:
        print("untrained: random weights, what it makes is noise")
    print(f"revision   {model.revision}")
    for adapter in model.adapters:
        print(f"adapter    {adapter.file}, strength {adapter.strength:g}")
    print(f"licence    {model.licence}")
    print(
        f"audio      {audio.channels} x {audio.sample_rate} Hz, up to {manifest.max_seconds:g} s "
        f"({audio.max_frames} frames of {audio.samples_per_frame} samples)"
    )
    print(f"sampler    {sampler.objective}, {sampler.steps} steps, guidance {sampler.guidance:g}")
    for name, graph in manifest.graphs.items():
        print(f"\n{name}: {graph.description}")
        print(f"  in   {_signature(graph.inputs)}")
        print(f"  out  {_signature(graph.outputs)}")
        for kind, artifact in graph.artifacts.items():
            size = sum(file.bytes for file in artifact.files) / 1e6
            worst = min((parity.snr_db for parity in artifact.parity), default=float("nan"))
            print(f"  {kind} {artifact.precision}, {size:.1f} MB, {worst:.0f} dB against PyTorch")
    print(f"\nall {sum(1 for _ in bundle.files())} files are whole (SHA-256)")
