"""`sa3-edge verify`."""

from pathlib import Path

import msgspec

from sa3_edge.bundle import Bundle
from sa3_edge.cli.display import print_json, print_line, stage_bars
from sa3_edge.errors import Remedy, Sa3Error
from sa3_edge.models.catalog import resolve_model


def run(name_or_path: str, checkpoint: Path | None, lora: list[str], json: bool) -> None:
    """Check every hash, then run and compare the Core ML packages; print what was measured, and by what."""
    bundle = Bundle.load(resolve_model(name_or_path), trust_cache=False)
    try:
        from sa3_export import AdapterFile
        from sa3_export.coreml.gate import Verification, core_ml_here
        from sa3_export.coreml.verify import verify_bundle
    except ModuleNotFoundError as error:
        raise Sa3Error(
            f"verify needs {error.name}, which is not installed",
            remedy=Remedy("install extra", ("export", "coreml")),
        ) from error
    adapters = [AdapterFile.parse(text) for text in lora]
    core_ml = core_ml_here()
    means = Verification(core_ml).means
    done, total = 0, len(bundle.manifest.graphs)
    with stage_bars({}, quiet=json) as progress:

        def one_bar(graph: str) -> None:
            nonlocal done
            progress("Verifying", done, total)
            done += 1

        measured = verify_bundle(bundle, checkpoint, adapters, core_ml, one_bar)
        progress("Verifying", total, total)
    if json:
        print_json({"bundle": str(bundle.path), "verified_by": means, "parity": msgspec.to_builtins(measured)})
        return
    for graph, figures in measured.items():
        precision = bundle.manifest.graphs[graph].artifacts["coreml"].precision
        worst = min(figures, key=lambda figure: figure.snr_db)
        lengths = len({figure.length for figure in figures})
        print_line(f"{graph:14} {precision:12} {worst.snr_db:6.1f} dB at worst ({worst.length}), {lengths} lengths")
    print_line(f"verified by {means}")
