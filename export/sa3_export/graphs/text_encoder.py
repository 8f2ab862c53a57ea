"""The text encoder's graph: token ids to hidden states."""

from functools import partial

import torch
from torch import Tensor, nn

from sa3_export.checkpoints.published import Checkpoint
from sa3_export.graphs.graph import Axes, Graph, Sample, TensorSpec, token_ids, up_to
from sa3_export.networks.t5gemma import TextEncoder

SAMPLES: dict[str, Sample] = {"input_ids": token_ids(256)}  # every vocabulary has so many; a bundle does not say more


class TextEncoderGraph(nn.Module):
    def __init__(self, encoder: TextEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden: Tensor = self.encoder(input_ids)
        return hidden


def build(checkpoint: Checkpoint) -> Graph:
    """The graph, its weights loaded."""
    config = checkpoint.config.conditioner
    ids = token_ids(checkpoint.text_config.vocab_size)
    return Graph(
        name="text_encoder",
        description="Token ids of a prompt, without padding, to hidden states.",
        module=TextEncoderGraph(checkpoint.text_encoder()),
        inputs=(TensorSpec("input_ids", (1, "tokens"), torch.int64, ids),),
        outputs=(TensorSpec("hidden", (1, "tokens", config.text_dim)),),
        leading_axis="tokens",
        longest=config.max_tokens,
        step=1,
        lengths=up_to(config.max_tokens, 1, 7),
        sizes=partial(Axes.of(checkpoint.config).sizes, "text_encoder"),
    )
