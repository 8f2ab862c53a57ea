"""`sa3-edge inspect`."""

import msgspec

from sa3_edge.bundle import Bundle
from sa3_edge.cli.display import print_json, print_line
from sa3_edge.engines.inspection import check_graphs
from sa3_edge.manifest import Tensor
from sa3_edge.models.catalog import resolve_model


def _signature(tensors: list[Tensor]) -> str:
    return ", ".join(f"{t.name} ({', '.join(map(str, t.shape))})" for t in tensors)


def run(name_or_path: str, json: bool) -> None:
    """Verify every hash anew, then print the manifest, whole or in short."""
    bundle = Bundle.load(resolve_model(name_or_path), trust_cache=False)
    manifest = bundle.manifest
    check_graphs(bundle)
    if json:
        print_json({"path": str(bundle.path), "id": bundle.id, "manifest": msgspec.to_builtins(manifest)})
        return
    model, audio, sampler = manifest.model, manifest.audio, manifest.sampler
    print_line(f"{model.name}  ({bundle.path})")
    if model.synthetic:
        print_line("untrained: random weights, what it makes is noise")
    print_line(f"revision   {model.revision}")
    for adapter in model.adapters:
        print_line(f"adapter    {adapter.file}, strength {adapter.strength:g}")
    print_line(f"licence    {model.licence}")
    print_line(
        f"audio      {audio.channels} x {audio.sample_rate} Hz, up to {manifest.max_seconds:g} s "
        f"({audio.max_frames} frames of {audio.samples_per_frame} samples)"
    )
    print_line(f"sampler    {sampler.objective}, {sampler.steps} steps, cfg {sampler.cfg:g}")
    for name, graph in manifest.graphs.items():
        print_line(f"\n{name}: {graph.description}")
        print_line(f"  in   {_signature(graph.inputs)}")
        print_line(f"  out  {_signature(graph.outputs)}")
        for format, artifact in graph.artifacts.items():
            size = sum(file.bytes for file in artifact.files) / 1e6
            worst = min((parity.snr_db for parity in artifact.parity), default=float("nan"))
            print_line(f"  {format} {artifact.precision}, {size:.1f} MB, {worst:.0f} dB against PyTorch")
    print_line(f"\nall {sum(1 for _ in bundle.files())} files are whole (SHA-256)")
