"""The conditioner's graph: all that the steps of a run share."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from sa3_export.checkpoints.published import Checkpoint
from sa3_export.config.model import ModelConfig
from sa3_export.graphs.graph import Axes, Graph, Sample, TensorSpec, constant, normal, up_to
from sa3_export.networks.conditioners import Conditioners
from sa3_export.networks.dit import DiffusionTransformer


def _keys(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Keys (layers, heads, head_dim, n): normalised, then divided by sqrt(head_dim)."""
    scale: float = shape[2] ** -0.5
    return normal(shape, generator) * scale


SAMPLES: dict[str, Sample] = {"padding_scale": constant(1.0), "seconds": constant(30.25), "cross_k": _keys}


class ConditionerGraph(nn.Module):
    def __init__(self, conditioners: Conditioners, dit: DiffusionTransformer):
        super().__init__()
        self.conditioners, self.dit = conditioners, dit

    def forward(
        self,
        hidden: Tensor,
        text_mask: Tensor,
        padding_scale: Tensor,
        seconds: Tensor,
        inpaint_mask: Tensor,
        inpaint_masked_input: Tensor,
    ) -> tuple[Tensor, ...]:
        tokens, bias = self.conditioners.prompt(hidden, text_mask, padding_scale)
        duration = self.conditioners.seconds_total(seconds)
        context = torch.cat((tokens, duration[None]), dim=1)
        local = torch.cat((inpaint_mask, inpaint_masked_input), dim=1)
        key_bias = torch.cat((bias, torch.zeros(1)))
        return (*self.dit.condition(context, duration, local), key_bias)


def conditioning_specs(config: ModelConfig) -> tuple[TensorSpec, ...]:
    """What the conditioner hands to the denoiser."""
    dit = config.dit
    return (
        TensorSpec("cross_k", (dit.depth, dit.cross_key_heads, dit.head_dim, "keys"), sample=SAMPLES["cross_k"]),
        TensorSpec("cross_v", (dit.depth, dit.num_heads, "keys", dit.head_dim)),
        TensorSpec("global_embed", (1, dit.embed_dim)),
        # Text-to-audio has one local embedding, the last row, for all frames.
        TensorSpec("local_embed", (dit.depth, "rows", dit.embed_dim), pad="repeat_last"),
        TensorSpec("key_bias", ("keys",), pad="mask"),
    )


def build(checkpoint: Checkpoint) -> Graph:
    """The graph, its weights loaded."""
    config = checkpoint.config
    text_dim, max_tokens = config.conditioner.text_dim, config.conditioner.max_tokens
    return Graph(
        name="conditioner",
        description="All that the steps of a run share: cross-attention keys and values, duration, inpainting.",
        module=ConditionerGraph(checkpoint.conditioners(), checkpoint.dit()),
        inputs=(
            TensorSpec("hidden", (1, "tokens", text_dim)),
            TensorSpec("text_mask", (1, "tokens")),
            TensorSpec("padding_scale", (1,), sample=SAMPLES["padding_scale"]),
            TensorSpec("seconds", (1,), sample=SAMPLES["seconds"]),
            TensorSpec("inpaint_mask", (1, 1, "local_frames")),
            TensorSpec("inpaint_masked_input", (1, config.latent_channels, "local_frames")),
        ),
        outputs=conditioning_specs(config),
        leading_axis="tokens",
        longest=max_tokens,
        step=1,
        lengths=up_to(max_tokens, 1, 7),
        sizes=partial(Axes.of(config).sizes, "conditioner"),
        adaptable=checkpoint.adaptable_parameters(dit="dit.", conditioners="conditioners."),
    )
