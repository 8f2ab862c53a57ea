"""Does an exported graph compute what its PyTorch module computes?"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sa3_edge.manifest import Parity
from sa3_export.errors import ParityError
from sa3_export.graphs.graph import Graph
from sa3_export.precision import Bar

Arrays = Mapping[str, NDArray[Any]]
BEST_SNR_DB = 200.0  # what equal arrays count as: JSON has no infinity


def snr_db(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """Signal-to-noise ratio in dB; not finite output counts as minus infinity."""
    expected = expected.astype(np.float64)
    noise = float(np.square(actual - expected).sum())
    signal = float(np.square(expected).sum())
    if not math.isfinite(noise):
        return -math.inf
    if noise == 0:
        return BEST_SNR_DB
    return min(BEST_SNR_DB, 10 * math.log10(signal / noise)) if signal else -math.inf


def psnr_db(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """Peak signal-to-noise ratio in dB: how far the error lies below the loudest sample."""
    expected = expected.astype(np.float64)
    crest = float(np.square(expected).max() / np.square(expected).mean())
    return min(BEST_SNR_DB, snr_db(actual, expected) + 10 * math.log10(crest))


def measure_parity(
    graph: Graph, run: Callable[[Arrays], Arrays], bar: Bar, lengths: tuple[int, ...] | None = None
) -> list[Parity]:
    """Compare `run` with the graph's module on random inputs of each length; the worst output counts.

    Raises ParityError below the bar.
    """
    measured = []
    for length in lengths or graph.lengths:
        inputs = graph.example(length, seed=length)
        with torch.no_grad():
            expected = graph.module(**inputs)
        named = dict(
            zip(
                (spec.name for spec in graph.outputs),
                expected if isinstance(expected, tuple) else (expected,),
                strict=True,
            )
        )
        actual = run({name: tensor.numpy() for name, tensor in inputs.items()})
        worst, ratio = min(
            ((name, snr_db(actual[name], tensor.numpy())) for name, tensor in named.items()),
            key=lambda pair: pair[1],
        )
        peak_ratio = psnr_db(actual["audio"], named["audio"].numpy()) if "audio" in named else None
        for kind, value, minimum in (("SNR", ratio, bar.snr_db), ("PSNR", peak_ratio, bar.psnr_db)):
            if value is not None and minimum is not None and value < minimum:
                raise ParityError(
                    f"{graph.name}: {worst} differs from {graph.reference} at {graph.leading_axis} = {length}: "
                    f"{value:.1f} dB {kind}, at least {minimum:g} dB are required"
                )
        peak_ratio = None if peak_ratio is None else round(peak_ratio, 1)
        measured.append(Parity(length=length, snr_db=round(ratio, 1), psnr_db=peak_ratio))
    return measured
