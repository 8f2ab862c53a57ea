"""The commands and their options. What they do is in the modules beside this one, loaded when a command runs."""

from pathlib import Path
from typing import Annotated

import typer

from sa3_edge import models

app = typer.Typer(
    name="sa3-edge",
    help="Stable Audio 3 small on your own device: text to stereo music and sound.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="An installed model's name, a bundle's folder, or demo.")
]
ThreadsOption = Annotated[int | None, typer.Option("--threads", help="CPU threads; all cores by default.")]
ComputeUnitsOption = Annotated[
    str | None,
    typer.Option("--compute-units", help="Where Core ML may run: all, cpu_and_ne, cpu_and_gpu or cpu_only."),
]
EngineOption = Annotated[str, typer.Option("--engine", help="What runs the graphs.")]


def _print_version(value: bool) -> None:
    if value:
        import sa3_edge

        typer.echo(f"sa3-edge {sa3_edge.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with errors.")] = False,
) -> None:
    """Read by `main` (debug) and by the callback above (version)."""


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help='What to hear, e.g. "lofi piano". May be empty.')],
    seconds: Annotated[float, typer.Option("--seconds", "-s", help="Length of the clip.")] = 30.0,
    model: ModelOption = models.DEFAULT,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same music; random by default.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps; the model's own by default.")] = None,
    headroom: Annotated[
        float | None, typer.Option(help="Seconds composed beyond the end and cut off; 6 by default.")
    ] = None,
    engine: EngineOption = "onnxruntime",
    threads: ThreadsOption = None,
    compute_units: ComputeUnitsOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The WAV file to write; named after the prompt by default."),
    ] = None,
    save_latents: Annotated[
        Path | None, typer.Option("--save-latents", help="Also write the latents, (1, C, T) float32 .npy.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a clip from a prompt.

    Example: sa3-edge generate "lofi piano" --seconds 90 -o piano.wav
    """
    from sa3_edge.cli.generate import GenerateOptions, run
    from sa3_edge.pipeline import GenerationRequest

    request = GenerationRequest(prompt, seconds, seed, steps, headroom)
    run(request, GenerateOptions(model, engine, threads, compute_units, output, save_latents, json))


@app.command()
def export(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(help="A checkpoint's folder: model_config.json, model.safetensors, text encoder."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The bundle's folder to make.")] = Path("bundle"),
    synthetic: Annotated[
        str | None,
        typer.Option(help="Random weights instead of a checkpoint: small (published sizes) or tiny."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; the folder's by default.")] = None,
    engine: Annotated[str, typer.Option(help="Formats to export, comma-separated: onnx, coreml.")] = "onnx",
    precision: Annotated[str, typer.Option(help="Of the Core ML packages: fp32, fp16, int8 or palettized6.")] = "fp16",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    json: Json = False,
) -> None:
    """Turn a checkpoint into a bundle of graphs. Needs the extra: pip install "sa3-edge\\[export]".

    Example: sa3-edge export stable-audio-3-small-music --out small-music
    """
    from sa3_edge.cli.export import FormatOptions, run

    run(checkpoint, out, synthetic, FormatOptions(engine, precision), name, overwrite, json)


@app.command()
def inspect(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder, or an installed model's name.")],
    json: Json = False,
) -> None:
    """Verify a bundle and show what is in it."""
    from sa3_edge.cli.inspect import run

    run(bundle, json)


@app.command()
def doctor(json: Json = False) -> None:
    """Show versions, engines, the processor and the models that are installed."""
    from sa3_edge.cli.doctor import run

    run(json)
