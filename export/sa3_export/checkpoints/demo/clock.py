"""Where a frame lies in beat, bar and phrase, written into the first two layers before training begins.

Rotary embedding is relative, and at t near 1 all that a frame can look at is noise: a small transformer takes most of
an hour to find the beat, and never finds it at positions it was not trained on. But the architecture can count: one
head of layer 0 sees only memory tokens, whose rotary angles against a constant query give the sines of 14 rotary
frequencies; SwiGLU multiplies exactly (a b = a silu(b) - a silu(-b)); and sums of four rotary frequencies come within
2.4e-4 rad a frame of the frequencies of beats, bars and phrases, an eighth of a radian at the end of a clip of 120 s.

Layer 0's MLP multiplies pairs, layer 1's the pairs' pairs; both clear what they have read. These weights stay as
written (`Clock.restore`); all others are trained.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sa3_export.config.dit import DiTConfig
from sa3_export.networks.dit import DiffusionTransformer
from sa3_export.networks.layers import FeedForward, RMSNorm, member

FREQUENCIES = 14  # rotary frequencies 10000^(-i/16) that are read, i from 0
MEMORY_TOKENS = 32
AMPLITUDE = 2.5  # of the clock's sines in the residual stream: well above noise
_KEPT = range(9, FREQUENCIES)  # slow ones, which stay: they tell where in the clip a frame is

# Frames of a period: two products of a pair each, (i, j, sign of j, sign of the product's angle). Found by trying all.
_PERIODS: dict[int, tuple[tuple[int, int, int, int], tuple[int, int, int, int]]] = {
    4: ((8, 0, 1, 1), (11, 1, -1, -1)),
    5: ((5, 0, -1, -1), (10, 2, -1, -1)),
    8: ((2, 0, 1, 1), (6, 1, -1, 1)),
    10: ((10, 2, -1, -1), (12, 2, -1, -1)),
    16: ((8, 3, -1, 1), (11, 1, -1, -1)),
    20: ((11, 2, 1, 1), (11, 9, -1, 1)),
    32: ((5, 3, -1, 1), (11, 2, 1, 1)),
    40: ((5, 3, -1, -1), (7, 7, 1, 1)),
    64: ((5, 3, -1, -1), (9, 7, 1, -1)),
    80: ((6, 5, -1, 1), (10, 4, 1, 1)),
    128: ((6, 5, -1, -1), (6, 5, -1, -1)),
}
_PAIRS = sorted({pair[:3] for pairs in _PERIODS.values() for pair in pairs})


@dataclass(frozen=True)
class _Channels:
    """Who uses which channels of the residual stream: the latents the first, then these."""

    base: int
    pairs: int
    query: int
    clocks: tuple[int, ...]

    @classmethod
    def of(cls, latents: int, width: int) -> "_Channels":
        base, pairs = latents, latents + 2 * FREQUENCIES
        query = pairs + 2 * len(_PAIRS)
        needed = 2 * len(_PERIODS)
        cleared = [base + 2 * i + part for i in range(FREQUENCIES) if i not in _KEPT for part in (0, 1)]
        clocks = (*cleared, *range(query + 1, width))[:needed]
        if len(clocks) < needed:
            raise ValueError(f"a width of {width} has no room for {latents} latents and the clock")
        return cls(base, pairs, query, clocks)


def angular_frequencies() -> dict[int, float]:
    """Radians a frame, as composed, of each period in frames."""
    rotary = [float(10_000 ** (-i / 16)) for i in range(FREQUENCIES)]

    def angle(i: int, j: int, sign: int, direction: int) -> float:
        return direction * (rotary[i] + sign * rotary[j])

    return {period: angle(*first) + angle(*second) for period, (first, second) in _PERIODS.items()}


class Clock:
    """Writes the clock into a transformer, and writes it again after each step of training."""

    def __init__(self, dit: DiffusionTransformer, config: DiTConfig, max_frames: int, seed: int = 0):
        self._transformer = dit.transformer
        self._latents, self._width, self._head = config.io_channels, config.embed_dim, config.head_dim
        self._max_frames = max_frames
        self._at = _Channels.of(self._latents, self._width)
        self._frozen: list[tuple[Tensor, Tensor, Tensor]] = []  # parameter, where it is frozen, its values there
        if config.num_memory_tokens != MEMORY_TOKENS:
            raise ValueError(f"the clock takes {MEMORY_TOKENS} memory tokens")
        with torch.no_grad():
            self._write_norms()
            self._write_attention(torch.Generator().manual_seed(seed))
            self._write_products()
        self.restore()

    @property
    def constant(self) -> int:
        """The channel of the residual stream that is 1.5 on every frame, from layer 1 on."""
        return self._at.query

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the residual stream after layer 1: cosine and sine of each period, from the shortest."""
        return self._at.clocks

    @torch.no_grad()
    def restore(self) -> None:
        """Undo what a step of training did to the clock."""
        for parameter, mask, values in self._frozen:
            parameter.copy_(torch.where(mask, values, parameter))

    def _freeze(self, parameter: Tensor, *where: Any) -> None:
        mask = torch.zeros(parameter.shape, dtype=torch.bool)
        for index in where:
            mask[index] = True
        self._frozen.append((parameter, mask, parameter.detach().clone()))

    def _write_norms(self) -> None:
        """Nothing but the clock writes into its channels before it is done, and no time or duration moves them."""
        transformer, width, at = self._transformer, self._width, self._at
        own, rest = slice(at.base, at.query + 1), slice(at.base, width)
        transformer.project_in.weight[self._latents :] = 0
        self._freeze(transformer.project_in.weight, (rest,))
        modulation = member(nn.Linear, transformer.global_cond_embedder, 2)
        rows = [slice(part * width + at.base, (part + 1) * width) for part in (0, 1)]
        rows += [slice(part * width + at.base, part * width + at.query + 1) for part in (3, 4)]
        for row in rows:
            modulation.weight[row] = 0
            modulation.bias[row] = 0
        self._freeze(modulation.weight, *rows)
        self._freeze(modulation.bias, *rows)
        for index in (0, 1):
            layer = transformer.blocks[index]
            shift = layer.to_scale_shift_gate.view(6, width)
            for part in (0, 1, 3, 4):
                shift[part, rest] = 0
            shift[2, rest] = shift[5, rest] = -1  # gates of 0.88
            if index == 0:
                shift[1, at.query] = 4.0
            parts = [slice(part * width + at.base, (part + 1) * width) for part in range(6)]
            self._freeze(layer.to_scale_shift_gate, *parts)
            layer.pre_norm.gamma[rest] = layer.ff_norm.gamma[rest] = 1
            self._freeze(layer.pre_norm.gamma, rest)
            self._freeze(layer.ff_norm.gamma, rest)
            local = member(nn.Linear, layer.to_local_embed, 2)
            for writer in (layer.cross_attn.to_out, local, layer.self_attn.to_out, layer.ff.output_projection):
                writer.weight[own] = 0
                if writer.bias is not None:
                    writer.bias[own] = 0
                    if index == 0 and writer is local:
                        writer.bias[at.query] = 1.5  # a constant on frames, which queries can rely on
                    self._freeze(writer.bias, own)
            self._freeze(layer.cross_attn.to_out.weight, own)
            self._freeze(local.weight, own)

    def _write_attention(self, generator: torch.Generator) -> None:
        """Head 0 of layer 0: cosines and sines of the frame's number times the rotary frequencies."""
        transformer, width, head, at = self._transformer, self._width, self._head, self._at
        layer, half = transformer.blocks[0], head // 2
        attention = layer.self_attn
        own = slice(at.base, at.query + 1)
        # The query is constant, by the shift of the norm. The slowest frequency hardly turns: through it all memory
        # tokens get 13 on their logits, while the keys of frames are zero, and their logits too.
        query = torch.zeros(head)
        query[:FREQUENCIES], query[half - 1] = 1.0, 12.0
        for norm in (attention.q_norm, attention.k_norm):
            assert isinstance(norm, RMSNorm)
            norm.gamma.fill_(1.6)
            self._freeze(norm.gamma, slice(None))
        weight = attention.to_qkv.weight
        rows = [slice(part * width, part * width + head) for part in range(3)]
        for row in rows:
            weight[row] = 0
        weight[:head, at.query] = query
        for i in range(FREQUENCIES):
            weight[width + i, at.pairs + 2 * i] = 1.0
            weight[width + half + i, at.pairs + 2 * i + 1] = 1.0
        weight[width + half - 1, at.query + 1] = 1.0
        for index in range(2 * FREQUENCIES):
            weight[2 * width + index, at.base + index] = 1.0
            attention.to_out.weight[at.base + index, index] = 1.0
        attention.to_out.weight[: at.base, :head] = 0
        attention.to_out.weight[at.query + 1 :, :head] = 0
        self._freeze(attention.to_out.weight, (own,), (slice(None), slice(0, head)))
        other = transformer.blocks[1].self_attn.to_out.weight
        self._freeze(other, (own,))

        memory = torch.zeros(MEMORY_TOKENS, width)
        keys = torch.randn(MEMORY_TOKENS, 2 * FREQUENCIES, generator=generator)
        # Orthogonal to each other and to a constant, so that no sine hides behind another.
        keys = torch.linalg.qr(torch.cat((torch.ones(MEMORY_TOKENS, 1), keys), dim=1)).Q[:, 1:]
        memory[:, at.pairs : at.pairs + 2 * FREQUENCIES] = keys / keys.norm(dim=1, keepdim=True)
        memory[:, at.query + 1] = 4.0
        values = self._solve_values(memory, query)
        # Of the scale of the values, the projection takes what the tokens have no room for.
        scale = float(values.norm(dim=1).max()) / 8
        memory[:, at.base : at.base + 2 * FREQUENCIES] = values / scale
        weight[2 * width : 2 * width + head] *= scale
        self._freeze(weight, *rows)
        # Each token's own norm is made 1, so that the norm before attention leaves it as it is.
        filler = torch.randn(MEMORY_TOKENS, self._latents, generator=generator)
        left = width - memory.square().sum(1, keepdim=True)
        if float(left.min()) < 0:
            raise ValueError(f"the clock's memory tokens are too large: {float(left.min()):.1f}")
        memory[:, : self._latents] = filler / filler.norm(dim=1, keepdim=True) * left.sqrt()
        transformer.memory_tokens.copy_(memory)
        self._freeze(transformer.memory_tokens, slice(None))

    def _solve_values(self, memory: Tensor, query: Tensor) -> Tensor:
        """Values (memory tokens, 28) whose mean, as weighted by attention, is the sines of each frame's place."""
        head, half = self._head, self._head // 2
        weight = self._transformer.blocks[0].self_attn.to_qkv.weight
        keys = memory @ weight[self._width : self._width + head].T
        keys = 1.6 * keys / keys.square().mean(1, keepdim=True).sqrt()
        query = 1.6 * query / query.square().mean().sqrt()
        frequencies = 10_000.0 ** (-torch.arange(half).double() / half)
        place = torch.arange(self._max_frames).double()
        logits = torch.zeros(len(place), len(memory), dtype=torch.float64)
        distance = MEMORY_TOKENS + place[:, None] - torch.arange(len(memory))[None].double()
        for i in range(half):
            angle = frequencies[i] * distance
            q, k = query[i].double(), keys[:, i].double()
            k_sine = keys[:, half + i].double()
            # q lies along the cosine; rotating q by its position and k by its own is rotating q by the distance
            logits += q * (k * angle.cos() + k_sine * angle.sin())
        shares = torch.softmax(logits / head**0.5, dim=1)
        angles = place[:, None] * frequencies[:FREQUENCIES]
        wanted = torch.stack((angles.cos(), angles.sin()), dim=-1).flatten(1)
        normal = shares.T @ shares
        normal += torch.eye(len(memory)) * float(normal.diagonal().mean()) * 1e-9
        values = torch.linalg.solve(normal, shares.T @ wanted)
        self.residual = float((shares @ values - wanted).square().mean())
        gate = torch.sigmoid(torch.tensor(2.0)).double()
        solved: Tensor = (values / gate).float()
        return solved

    def _write_products(self) -> None:
        """The MLPs of layers 0 and 1."""
        at, latents = self._at, self._latents
        gate = float(torch.sigmoid(torch.tensor(2.0)))
        base = {i: (at.base + 2 * i, at.base + 2 * i + 1) for i in range(FREQUENCIES)}
        pairs = {pair: (at.pairs + 2 * i, at.pairs + 2 * i + 1) for i, pair in enumerate(_PAIRS)}
        for index in (0, 1):
            # The expected norm of the stream: latents or noise of variance 1, and the clock's sines.
            sines = FREQUENCIES if index == 0 else len(_PAIRS) + len(_KEPT)
            norm = ((latents + sines) / self._width) ** 0.5
            layer = self._transformer.blocks[index]
            units = _Units(layer.ff, norm, gate, AMPLITUDE if index else 1.0)
            if index == 0:
                for (i, j, sign), (cosine, sine) in pairs.items():
                    units.rotate(base[i], base[j], sign, 1, cosine, sine)
                for i in range(FREQUENCIES):
                    if i not in _KEPT:
                        units.clear(*base[i])
            else:
                for number, period in enumerate(sorted(_PERIODS)):
                    (i, j, sign, first), (k, m, other, second) = _PERIODS[period]
                    cosine, sine = at.clocks[2 * number : 2 * number + 2]
                    units.rotate(pairs[i, j, sign], pairs[k, m, other], first * second, first, cosine, sine)
                for channels in pairs.values():
                    units.clear(*channels)
            own = slice(at.base, at.query + 1)
            glu, out = layer.ff.input_projection, layer.ff.output_projection
            hidden = out.in_features
            used = units.used
            self._freeze(glu.weight, slice(0, used), slice(hidden, hidden + used))
            self._freeze(glu.bias, slice(0, used), slice(hidden, hidden + used))
            self._freeze(out.weight, (own,), (slice(None), slice(0, used)))
            self._freeze(out.bias, own)


class _Units:
    """Writes hidden units of a SwiGLU one after another."""

    def __init__(self, ff: FeedForward, norm: float, gate: float, amplitude: float):
        self._glu, self._out = ff.input_projection, ff.output_projection
        self._hidden = self._out.in_features
        self._norm, self._gate, self._amplitude, self.used = norm, gate, amplitude, 0

    def _next(self) -> int:
        if self.used == self._hidden:
            raise ValueError(f"{self._hidden} hidden units are too few for the clock")
        unit = self.used
        for weights in (self._glu.weight, self._glu.bias):
            weights[unit] = weights[self._hidden + unit] = 0
        self._out.weight[:, unit] = 0
        self.used += 1
        return unit

    def _product(self, first: int, second: int, to: int, factor: float) -> None:
        for sign in (1.0, -1.0):
            unit = self._next()
            self._glu.weight[unit, first] = self._glu.weight[self._hidden + unit, second] = sign
            self._out.weight[to, unit] = self._amplitude * factor * self._norm**2 / self._gate

    def rotate(self, a: tuple[int, int], b: tuple[int, int], sign: int, direction: int, cosine: int, sine: int) -> None:
        """cos and sin of direction * (angle a + sign * angle b)."""
        self._product(a[0], b[0], cosine, 1.0)
        self._product(a[1], b[1], cosine, -sign)
        self._product(a[1], b[0], sine, direction)
        self._product(a[0], b[1], sine, direction * sign)

    def clear(self, *channels: int) -> None:
        for channel in channels:
            for sign in (1.0, -1.0):
                unit = self._next()
                self._glu.bias[unit] = 1.0
                self._glu.weight[self._hidden + unit, channel] = sign
                self._out.weight[channel, unit] = -sign * self._norm / self._gate
