"""`sa3-edge generate PROMPT`: one prompt, one clip or several of successive seeds."""

from dataclasses import dataclass
from pathlib import Path

from sa3_edge.cli import output
from sa3_edge.cli.display import print_json, stage_bars
from sa3_edge.models import resolve_model
from sa3_edge.pipeline import Pipeline
from sa3_edge.requests import GenerationRequest

STAGES = {
    "text": "Reading the prompt",
    "encode": "Encoding the recording",
    "condition": "Conditioning",
    "denoise": "Denoising",
    "decode": "Decoding",
}


@dataclass(frozen=True)
class RunOptions:
    """How and where to, beside what is asked for."""

    model: str
    engine: str
    threads: int | None
    count: int
    output: Path | None
    save_latents: Path | None
    json: bool


def run(request: GenerationRequest, options: RunOptions) -> None:
    """Generate, write the files, say what was made; each clip as soon as it is there."""
    if options.output is not None:
        output.check_file(options.output, ".wav", "the output")
    if options.save_latents is not None:
        output.check_file(options.save_latents, ".npy", "the latents")

    pipeline = Pipeline.load(resolve_model(options.model), options.engine, threads=options.threads)
    with stage_bars(STAGES, quiet=options.json) as progress:
        for made in pipeline.generate_many(request, options.count, progress):
            audio, latents = options.output, options.save_latents
            if options.count > 1:
                audio = audio and output.with_seed(audio, made.seed)
                latents = latents and output.with_seed(latents, made.seed)
            audio = audio or output.free_name(request.prompt, made.seed)
            written = output.write(made, pipeline, audio, latents)
            if options.json:
                print_json(output.result(request.prompt, made, written, pipeline))
            else:
                output.summarize(made, written)
