"""Smaller weights: coremltools' int8 and palettized forms, which Core ML expands when it loads or while it runs."""

from typing import Any

import coremltools.optimize as cto
import numpy as np
from numpy.typing import NDArray

from sa3_export.precision import check_coreml_precision

# Norms, biases and tables smaller than this stay as they are: they cost nothing and are felt most.
_SMALLEST_WEIGHT = 4096
_PALETTE_SIZE = 64  # 6 bits
_ROWS_A_PALETTE = 16
_KMEANS_ROUNDS = 12


def compress(model: Any, precision: str) -> Any:
    """The model with its large weights as `precision` says. Raises ExportRequestError for an unknown one."""
    check_coreml_precision(precision)
    match precision:
        case "int8":
            return cto.coreml.linear_quantize_weights(
                model,
                cto.coreml.OptimizationConfig(
                    cto.coreml.OpLinearQuantizerConfig(
                        mode="linear_symmetric", granularity="per_channel", weight_threshold=_SMALLEST_WEIGHT
                    )
                ),
            )
        case "palettized6":
            return cto.coreml.palettize_weights(
                model,
                cto.coreml.OptimizationConfig(
                    cto.coreml.OpPalettizerConfig(
                        mode="custom",
                        lut_function=_palette,
                        granularity="per_grouped_channel",
                        group_size=_ROWS_A_PALETTE,
                        weight_threshold=_SMALLEST_WEIGHT,
                    )
                ),
            )
    return model


def _palette(weight: NDArray[np.floating[Any]]) -> tuple[NDArray[np.floating[Any]], NDArray[np.uint8]]:
    """A weight's palette (64,) and the place in it of every value, flattened: k-means on a line.

    Sorted values make a round two searches and a difference of sums, so that half a billion weights take a minute;
    coremltools' own k-means needs another package and hours.
    """
    values = np.sort(weight.reshape(-1)).astype(np.float64)
    sums = np.concatenate(([0.0], np.cumsum(values)))
    palette = np.quantile(values, (np.arange(_PALETTE_SIZE) + 0.5) / _PALETTE_SIZE)
    palette += (np.linspace(values[0], values[-1], _PALETTE_SIZE) - palette) / 3  # reach for the tails
    for _ in range(_KMEANS_ROUNDS):
        edges = np.searchsorted(values, (palette[1:] + palette[:-1]) / 2)
        edges = np.concatenate(([0], edges, [len(values)]))
        counts = np.diff(edges)
        palette = np.where(counts > 0, np.diff(sums[edges]) / np.maximum(counts, 1), palette)
    indices = np.searchsorted((palette[1:] + palette[:-1]) / 2, weight.reshape(-1))
    return palette.astype(weight.dtype), indices.astype(np.uint8)
