"""From hidden text states and a duration to the tokens that the diffusion transformer attends to."""

import torch
from torch import Tensor, nn

from sa3_edge.manifest import MASKED_LOGIT
from sa3_export.config.conditioning import ConditionerConfig
from sa3_export.networks.layers import ExpoFourierFeatures

_FOURIER_DIM = 256  # of the reference's NumberEmbedder


class PromptConditioner(nn.Module):
    """Adds the learned padding that fills a prompt up to `max_tokens`.

    All pads are one vector, so they share one cross-attention key: n pads are that key with log(n) on its logit.
    """

    def __init__(self, config: ConditionerConfig):
        super().__init__()
        self.max_tokens = config.max_tokens
        self.padding_embedding = nn.Parameter(torch.zeros(config.text_dim))

    def forward(self, hidden: Tensor, text_mask: Tensor, padding_scale: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden (1, n, W), mask (1, n) of 1 for text and 0 for padding, padding scale (1,) of 1 for the learned
        embedding and 0 for zeros -> tokens (1, n + 1, W), the last one for all pads beyond n, and key bias (n + 1,).
        """
        padding = self.padding_embedding * padding_scale
        text = torch.where(text_mask[..., None] > 0.5, hidden, padding)
        pads = torch.full((1,), self.max_tokens, dtype=torch.float32) - text_mask.shape[1]
        # With no pads left (n = max_tokens) the key is masked.
        pad_bias = torch.where(pads > 0.5, pads.clamp(min=1.0).log(), MASKED_LOGIT)
        bias = torch.cat((torch.zeros_like(text_mask[0]), pad_bias))
        return torch.cat((text, padding[None, None]), dim=1), bias


class _NumberEmbedder(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.embedding = nn.Sequential(ExpoFourierFeatures(_FOURIER_DIM), nn.Linear(_FOURIER_DIM, dim))


class SecondsConditioner(nn.Module):
    """Seconds (1,) -> embedding (1, W); beyond the known range a duration counts as the range's end."""

    def __init__(self, config: ConditionerConfig):
        super().__init__()
        self.min_seconds, self.max_seconds = config.min_seconds, config.max_seconds
        self.embedder = _NumberEmbedder(config.text_dim)

    def forward(self, seconds: Tensor) -> Tensor:
        clamped = seconds.clamp(self.min_seconds, self.max_seconds)
        embed: Tensor = self.embedder.embedding((clamped - self.min_seconds) / (self.max_seconds - self.min_seconds))
        return embed


class Conditioners(nn.Module):
    def __init__(self, config: ConditionerConfig):
        super().__init__()
        self.conditioners = nn.ModuleDict(
            {"prompt": PromptConditioner(config), "seconds_total": SecondsConditioner(config)}
        )

    @property
    def prompt(self) -> PromptConditioner:
        module = self.conditioners["prompt"]
        assert isinstance(module, PromptConditioner)
        return module

    @property
    def seconds_total(self) -> SecondsConditioner:
        module = self.conditioners["seconds_total"]
        assert isinstance(module, SecondsConditioner)
        return module
