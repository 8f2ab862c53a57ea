"""Muon for the matrices of blocks, AdamW for all else, one schedule."""

import torch
from torch import Tensor, nn

# Polar Express (arXiv 2505.16932), four steps: coefficients of x, (x x^T) x and (x x^T)^2 x.
_POLAR = (
    (8.28721, -23.59589, 17.30039),
    (4.10706, -2.94785, 0.54484),
    (3.94869, -2.90890, 0.55182),
    (3.31842, -2.48849, 0.51005),
)


def _parts(matrix: Tensor) -> list[Tensor]:
    """A fused projection (several square parts) as its parts."""
    rows, columns = matrix.shape
    return list(matrix.chunk(rows // columns)) if rows % columns == 0 else [matrix]


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal; parts of equal shape are done in one batch (Jordan 2024)."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                momentum = state.setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(momentum, group["momentum"])
                for part, written in zip(_parts(update), _parts(parameter), strict=True):
                    alike.setdefault((part.shape[0], part.shape[1]), []).append((part, written))
            for (rows, columns), items in alike.items():
                x = torch.stack([part.T if rows > columns else part for part, _ in items])
                x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
                # In float32: bfloat16 takes ten times as long on processors that have no instructions for it.
                for a, b, c in _POLAR:
                    square = torch.bmm(x, x.transpose(1, 2))
                    x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
                length = group["lr"] * max(1.0, rows / columns) ** 0.5
                for made, (_, written) in zip(x, items, strict=True):
                    written.add_(made.T if rows > columns else made, alpha=-length)


class Optimiser:
    """Both optimisers of a module. `fraction` of the training that is done sets the learning rates."""

    def __init__(self, module: nn.Module, muon_lr: float = 0.02, adam_lr: float = 2e-3):
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in module.named_parameters():
            in_block = ".layers." in name and "to_local_embed" not in name
            (matrices if in_block and parameter.ndim == 2 else rest).append(parameter)
        self._parameters = matrices + rest
        self._optimisers = (
            Muon(matrices, muon_lr),
            torch.optim.AdamW(rest, adam_lr, (0.9, 0.98), weight_decay=0.0, fused=True),
        )
        self._rates = (muon_lr, adam_lr)

    def step(self, rate: float) -> float:
        """One step at `rate` of the learning rates -> the gradient's norm before it is clipped to 1."""
        norm = nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimiser, base in zip(self._optimisers, self._rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = base * rate
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return float(norm)

    def state_dict(self) -> list[dict[str, object]]:
        return [optimiser.state_dict() for optimiser in self._optimisers]

    def load_state_dict(self, states: list[dict[str, object]]) -> None:
        for optimiser, state in zip(self._optimisers, states, strict=True):
            optimiser.load_state_dict(state)
