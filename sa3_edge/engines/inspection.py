"""Looks at every graph of a bundle, whichever engine would run it; no engine needs to be installed."""

from sa3_edge.bundle import Bundle
from sa3_edge.engines.coreml.engine import package_folder
from sa3_edge.engines.onnx_file import check_onnx


def check_graphs(bundle: Bundle) -> None:
    """Raise EngineError or BundleError for a graph that no export writes, or that reads files the manifest lacks."""
    for name, graph in bundle.manifest.graphs.items():
        for format, artifact in graph.artifacts.items():
            if format == "onnx":
                check_onnx(bundle, name, artifact)
            elif format == "coreml":
                bundle.check_folder(package_folder(bundle, artifact))
