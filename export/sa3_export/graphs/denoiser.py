"""The denoiser's graph: one step."""

from functools import partial

from torch import Tensor, nn

from sa3_export.checkpoints.published import Checkpoint
from sa3_export.graphs.conditioner import SAMPLES as CONDITIONING_SAMPLES
from sa3_export.graphs.conditioner import conditioning_specs
from sa3_export.graphs.graph import Axes, Graph, Sample, Shape, TensorSpec, constant, up_to
from sa3_export.networks.dit import Conditioning, DiffusionTransformer

SAMPLES: dict[str, Sample] = {"t": constant(0.63), "cross_k": CONDITIONING_SAMPLES["cross_k"]}


class DenoiserGraph(nn.Module):
    def __init__(self, dit: DiffusionTransformer):
        super().__init__()
        self.dit = dit

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        cross_k: Tensor,
        cross_v: Tensor,
        global_embed: Tensor,
        local_embed: Tensor,
        key_bias: Tensor,
        frame_bias: Tensor | None = None,  # for targets of fixed lengths, see DiffusionTransformer.denoise
    ) -> Tensor:
        conditioning = Conditioning(cross_k, cross_v, global_embed, local_embed)
        return self.dit.denoise(x, t, conditioning, key_bias, frame_bias)


def build(checkpoint: Checkpoint) -> Graph:
    """The graph, its weights loaded."""
    config = checkpoint.config
    latents: Shape = (1, config.latent_channels, "frames")
    return Graph(
        name="denoiser",
        description="The velocity of latents x at time t.",
        module=DenoiserGraph(checkpoint.dit()),
        inputs=(
            TensorSpec("x", latents, per="step"),
            TensorSpec("t", (1,), sample=SAMPLES["t"], per="step"),
            *conditioning_specs(config),
        ),
        outputs=(TensorSpec("velocity", latents),),
        leading_axis="frames",
        longest=config.max_frames,
        step=1,
        # The longest clip too: its last frames are where rotary angles are largest.
        lengths=up_to(config.max_frames, 1, 7, 118),
        sizes=partial(Axes.of(config).sizes, "denoiser"),
        memory_tokens=config.dit.num_memory_tokens,
        adaptable=checkpoint.adaptable_parameters(dit="dit."),
    )
