"""Core ML's operations in PyTorch, one small function an operation, written from their specification.

Arguments have the specification's names. Tensors are fp32, int32 or bool; the evaluator rounds to fp16 between
operations, so none is done here.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sa3_export.errors import EvaluationError

Operation = Callable[..., Tensor | tuple[Tensor, ...]]


def _require(supported: bool, what: str) -> None:
    if not supported:
        raise EvaluationError(f"the evaluator does not compute {what}")


def _ints(values: Tensor | Sequence[int] | int) -> list[int]:
    return [int(value) for value in torch.as_tensor(values).reshape(-1)]


def cast(x: Tensor, dtype: str) -> Tensor:
    """fp16 is a matter of rounding, which the evaluator does on the result's declared type."""
    kinds = {"fp16": torch.float32, "fp32": torch.float32, "int32": torch.int32, "int16": torch.int32}
    kinds |= {"uint16": torch.int32, "int8": torch.int32, "uint8": torch.int32, "bool": torch.bool}
    _require(dtype in kinds, f"a cast to {dtype}")
    return x.to(kinds[dtype])


def concat(values: list[Tensor | float], axis: int, interleave: bool) -> Tensor:
    _require(not interleave, "concat with interleave")
    # Parts of a computed shape are single numbers.
    tensors = [torch.as_tensor(value) for value in values]
    return torch.cat([tensor if tensor.ndim else tensor[None] for tensor in tensors], dim=axis)


def conv(
    x: Tensor,
    weight: Tensor,
    strides: Tensor,
    pad_type: str,
    pad: Tensor,
    dilations: Tensor,
    groups: int,
    bias: Tensor | None = None,
) -> Tensor:
    _require(x.ndim == 3, f"conv of rank {x.ndim}")
    _require(pad_type in {"valid", "same", "custom"}, f"conv with pad_type {pad_type}")
    stride, dilation = _ints(strides)[0], _ints(dilations)[0]
    before, after = 0, 0
    if pad_type == "custom":
        before, after = _ints(pad)
    elif pad_type == "same":
        missing = (math.ceil(x.shape[-1] / stride) - 1) * stride + (weight.shape[-1] - 1) * dilation + 1 - x.shape[-1]
        before, after = max(missing, 0) // 2, max(missing, 0) - max(missing, 0) // 2
    return F.conv1d(F.pad(x, (before, after)), weight, bias, stride, 0, dilation, groups)


def constexpr_blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """(data - offset) * scale, scale and offset repeated over blocks of the data."""
    values = data.float()
    if offset is not None:
        values = values - _over_blocks(offset.float(), data.shape)
    return values * _over_blocks(scale, data.shape)


def constexpr_lut_to_dense(indices: Tensor, lut: Tensor, vector_axis: int | None = None) -> Tensor:
    """Each index replaced by its entry in the palette of its block; lut (blocks per axis.., entries, vector size)."""
    _require(lut.shape[-1] == 1, "constexpr_lut_to_dense with vectors")
    blocks = lut.shape[:-2]
    block_of = torch.arange(math.prod(blocks)).reshape(blocks)
    flat = lut.reshape(-1, lut.shape[-2])
    return flat[_over_blocks(block_of, indices.shape), indices.long()]


def _over_blocks(values: Tensor, shape: Sequence[int]) -> Tensor:
    for axis, (blocks, size) in enumerate(zip(values.shape, shape, strict=True)):
        values = values.repeat_interleave(size // blocks, dim=axis)
    return values


def expand_dims(x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + len(_ints(axes))
    for axis in sorted(axis % rank for axis in _ints(axes)):
        x = x.unsqueeze(axis)
    return x


def gather(x: Tensor, indices: Tensor, axis: int, batch_dims: int, validate_indices: bool) -> Tensor:
    _require(batch_dims == 0, "gather with batch_dims")
    indices = torch.as_tensor(indices).long()
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    taken = x.index_select(axis, indices.reshape(-1))
    axis %= x.ndim
    return taken.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def gelu(x: Tensor, mode: str) -> Tensor:
    names = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}
    _require(mode in names, f"gelu with mode {mode}")
    return F.gelu(x, approximate=names[mode])


def matmul(x: Tensor, y: Tensor, transpose_x: bool, transpose_y: bool) -> Tensor:
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


def reshape(x: Tensor, shape: Tensor) -> Tensor:
    """A 0 in the shape keeps that axis, -1 takes what is left."""
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(_ints(shape))])


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    logits = query @ key.mT * query.shape[-1] ** -0.5
    if attn_mask is not None:
        logits = torch.where(attn_mask, logits, -math.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
    return torch.softmax(logits, dim=-1) @ value


def slice_by_index(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    def given(mask: Tensor | None, axis: int) -> bool:
        return mask is not None and bool(mask.reshape(-1)[axis])

    strides = [1] * x.ndim if stride is None else _ints(stride)
    _require(min(strides) > 0, "slice_by_index backwards")
    where: list[int | slice] = []
    for axis, (first, last) in enumerate(zip(_ints(begin), _ints(end), strict=True)):
        if given(squeeze_mask, axis):
            where.append(0 if given(begin_mask, axis) else first)
        else:
            start = None if given(begin_mask, axis) else first
            where.append(slice(start, None if given(end_mask, axis) else last, strides[axis]))
    return x[tuple(where)]


def split(x: Tensor, axis: int, split_sizes: Tensor | None = None, num_splits: int | None = None) -> tuple[Tensor, ...]:
    if split_sizes is not None:
        return torch.split(x, _ints(split_sizes), dim=axis)
    _require(num_splits is not None, "split without sizes")
    return torch.tensor_split(x, int(num_splits or 1), dim=axis)


OPERATIONS: dict[str, Operation] = {
    "abs": lambda x: x.abs(),
    "add": lambda x, y: x + y,
    "cast": cast,
    "clip": lambda x, alpha, beta: x.clamp(alpha, beta),
    "concat": concat,
    "constexpr_blockwise_shift_scale": constexpr_blockwise_shift_scale,
    "constexpr_lut_to_dense": constexpr_lut_to_dense,
    "conv": conv,
    "cos": lambda x: x.cos(),
    "equal": lambda x, y: x == y,
    "expand_dims": expand_dims,
    "gather": gather,
    "gelu": gelu,
    "greater": lambda x, y: x > y,
    "greater_equal": lambda x, y: x >= y,
    "identity": lambda x: x,
    "linear": lambda x, weight, bias=None: F.linear(x, weight, bias),
    "log": lambda x, epsilon: (x + epsilon).log(),
    "matmul": matmul,
    "mul": lambda x, y: x * y,
    "real_div": lambda x, y: x / y,
    "reduce_max": lambda x, axes, keep_dims: x.amax(_ints(axes), keep_dims),
    "reduce_mean": lambda x, axes, keep_dims: x.mean(_ints(axes), keep_dims),
    "reshape": reshape,
    "rsqrt": lambda x, epsilon: torch.rsqrt(x + epsilon),
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "select": lambda cond, a, b: torch.where(cond, a, b),
    "shape": lambda x: torch.tensor(x.shape, dtype=torch.int32),
    "sigmoid": lambda x: x.sigmoid(),
    "silu": lambda x: F.silu(x),
    "sin": lambda x: x.sin(),
    "slice_by_index": slice_by_index,
    "softmax": lambda x, axis: x.softmax(axis),
    "split": split,
    "squeeze": lambda x, axes: x.squeeze(tuple(_ints(axes))),
    "stack": lambda values, axis: torch.stack(values, axis),
    "sub": lambda x, y: x - y,
    "tanh": lambda x: x.tanh(),
    "tile": lambda x, reps: x.repeat(_ints(reps)),
    "transpose": lambda x, perm: x.permute(_ints(perm)),
}
