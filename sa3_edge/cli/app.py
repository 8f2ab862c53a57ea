"""The commands and their options. What they do is in the modules beside this one, loaded when a command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from sa3_edge.cli.defaults import DEPENDENT, defaults
from sa3_edge.cli.options import chosen, takes, takes_those_of
from sa3_edge.clips.options import OUTPUT, ClipOptions, FileOptions, options_of
from sa3_edge.models import catalog

if TYPE_CHECKING:
    from sa3_edge.serve.settings import Settings

app = typer.Typer(
    name="sa3-edge",
    help="Stable Audio 3 small on your own device: text to stereo music and sound.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


class _TakesDefaults(TyperCommand):
    """A command whose options, where they are not typed, are what the user has set as default.

    The defaults are read when it runs: whatever is wrong with them, all else works.
    """

    def invoke(self, ctx: Any) -> Any:
        for name, value in defaults(ctx.params.get("preset")).items():
            if name not in DEPENDENT and ctx.get_parameter_source(name).name == "DEFAULT":
                ctx.params[name] = value
        return super().invoke(ctx)


Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="An installed model's name, a bundle's folder, or demo.")
]
ThreadsOption = Annotated[int | None, typer.Option("--threads", help="CPU threads; one a physical core by default.")]
MaxMemoryOption = Annotated[
    str | None,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        help="What the process may take, as 1.5GB: then smaller tiles, or a refusal before anything is computed.",
    ),
]
ComputeUnitsOption = Annotated[
    str | None,
    typer.Option("--compute-units", help="Where Core ML may run: all, cpu_and_ne, cpu_and_gpu or cpu_only."),
]
_ENGINES = "onnxruntime, openvino, openvino-bf16, coreml or onnxruntime-coreml"
EngineOption = Annotated[str, typer.Option("--engine", help=f"What runs the graphs: {_ENGINES}.")]
CountOption = Annotated[
    int, typer.Option("--count", help="Several clips, of seeds S, S+1, ...", rich_help_panel=OUTPUT)
]
BestOfOption = Annotated[
    int,
    typer.Option(
        "--best-of", help="Make clips of so many seeds, keep the one that measures best.", rich_help_panel=OUTPUT
    ),
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Measure the clip and say its faults; see check.", rich_help_panel=OUTPUT)
]
TakesOption = Annotated[
    int | None,
    typer.Option(
        "--takes",
        help="So many clips into a folder (--output) with a page to hear, compare and star them.",
        rich_help_panel=OUTPUT,
    ),
]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object a clip.", rich_help_panel=OUTPUT)]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.", rich_help_panel=OUTPUT)]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also print engine, bundle and all times.", rich_help_panel=OUTPUT)
]
PlayOption = Annotated[
    bool, typer.Option("--play", help="Play each clip while it is decoded (extra: play).", rich_help_panel=OUTPUT)
]
FormatsOption = Annotated[
    str | None, typer.Option("--formats", help="Formats to export, comma-separated: onnx, coreml.", show_default="onnx")
]
# What --formats was called; for one more release.
OldFormatsOption = Annotated[str | None, typer.Option("--engine", hidden=True)]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="ONNX: balanced (int8 codec; default), fp32, int8 or compact (int8 where it is near enough), exceptions "
        "after it (int8,decoder=fp32; of a block, int8,denoiser.0=fp32). "
        "Core ML: fp16 (default), fp32, int8 or palettized6. Of two formats, each takes it that has it.",
    ),
]

AcceptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        metavar="KEY=VALUE",
        help="Read a value of the config that is not known here as the usual one; may be repeated.",
    ),
]


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
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with errors; may stand anywhere.")] = False,
) -> None:
    """Read by the callback above (version) and, wherever it stands, by `main` (debug)."""


@app.command(cls=_TakesDefaults)
@takes(ClipOptions, FileOptions, without=("prompt",))
def generate(
    prompt: Annotated[str | None, typer.Argument(help='What to hear, e.g. "lofi piano". May be empty.')] = None,
    *,
    model: ModelOption = catalog.DEFAULT,
    engine: EngineOption = "onnxruntime",
    threads: ThreadsOption = None,
    max_memory: MaxMemoryOption = None,
    compute_units: ComputeUnitsOption = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="Of a prompt with choices, {rain|wind} on {tin|wood}, make each; else one a clip."),
    ] = False,
    preset: Annotated[
        str | None,
        typer.Option(help="Options of [preset.NAME] in config.toml; what is typed beside it wins.", metavar="NAME"),
    ] = None,
    count: CountOption = 1,
    best_of: BestOfOption = 1,
    check: CheckOption = False,
    takes: TakesOption = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="A list instead of PROMPT: a prompt or JSON a line, or CSV; - is standard input. --output is its "
            "folder. Resumable.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="CLUSTER",
            help="Make the list's clips on a Ray cluster: ray (this machine), ray://HOST:PORT.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    json: JsonLines = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    play: PlayOption = False,
    **options: Any,
) -> None:
    """Make a clip from a prompt, or from a recording.

    Examples:

    sa3-edge generate "lofi piano" --seconds 90 -o piano.wav

    sa3-edge generate "with brushed drums" --init-audio piano.wav --noise-level 0.6

    sa3-edge generate "drum fill" --init-audio song.flac --inpaint 12:14.5

    sa3-edge generate "lofi piano" --init-audio piano.wav --extend 30
    """
    from sa3_edge.cli import generate as single
    from sa3_edge.cli import prompt_list
    from sa3_edge.cli.standard_input import with_recording_read
    from sa3_edge.clips.files import with_usual
    from sa3_edge.clips.request import with_sections_read
    from sa3_edge.errors import RequestError

    usual = defaults(preset)
    files = with_usual(chosen(FileOptions, options), usual)
    clip = chosen(ClipOptions, options, prompt=prompt)
    if str(prompts) == str(clip.init_audio) == "-":
        raise RequestError("standard input is a list or a recording: --prompts - and --init-audio - do not go together")
    clip = with_recording_read(with_sections_read(clip))
    run = single.RunOptions(
        model,
        engine,
        threads,
        json,
        quiet,
        verbose,
        play,
        single.compute_units(engine, compute_units),
        check,
        best_of,
        on,
        max_memory,
    )
    if on is not None and prompts is None:
        raise RequestError("--on is for a list: --prompts FILE")
    if prompt is None and prompts is None:
        raise RequestError('give a prompt (it may be empty, ""), or a list of them with --prompts')
    if prompt is not None and prompts is not None:
        raise RequestError("a prompt and a list of them do not go together; leave out one of PROMPT and --prompts")
    if takes is not None:
        if prompts is not None or count != 1 or every:
            raise RequestError("--takes does not go with --prompts, --count or --all")
        from sa3_edge.cli import takes as folder_of_takes

        folder_of_takes.run(clip.with_usual_seconds(usual.get("seconds")), takes, files, run)
    elif prompts is None:
        single.run(clip.with_usual_seconds(usual.get("seconds")), count, files, run, every=every)
    elif count != 1:
        raise RequestError("--count does not go with --prompts")
    else:
        prompt_list.run(prompts, clip, usual.get("seconds"), files, run, every)


@app.command()
def history(
    words: Annotated[list[str] | None, typer.Argument(metavar="[WORD]...", help="Only clips with these words.")] = None,
    folder: Annotated[Path, typer.Option("--folder", help="Where to look, and below it.")] = Path(),
    limit: Annotated[int, typer.Option("--limit", help="How many to list.")] = 20,
    opened: Annotated[
        int | None, typer.Option("--open", metavar="N", help="Open the clip of this number instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Find the clips that were made in a folder, the newest first, by their own tags.

    Examples:

    sa3-edge history piano

    sa3-edge history piano --open 1
    """
    from sa3_edge.cli.history import show

    show(folder, words or [], limit, opened, json)


@app.command("prompts")
def show_prompts(
    words: Annotated[list[str] | None, typer.Argument(metavar="[WORD]...", help="Only those with these words.")] = None,
    json: Json = False,
) -> None:
    """Show prompts to begin with, by kind, and how to write one.

    Example: sa3-edge prompts piano
    """
    from sa3_edge.cli.prompts import show

    show(words or [], json)


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Sound files.")],
    json: Json = False,
) -> None:
    """Measure a clip: its seam as a loop, tempo, loudness (ITU-R BS.1770), true peak, silence, DC, clipped samples.

    The tempo needs the extra "tempo".
    """
    from sa3_edge.cli import check as checking

    checking.run(files, json)


@app.command()
def info(file: Annotated[Path, typer.Argument(help="A clip that sa3-edge made.")], json: Json = False) -> None:
    """Show how a clip was made: the whole request is in its tags."""
    from sa3_edge.cli import regenerate as again

    again.info(file, json)


@app.command()
@takes(ClipOptions, changes=True)
@takes(FileOptions)
def regenerate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Clips that sa3-edge made.")],
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="Another model.", show_default=False)] = "",
    engine: EngineOption = "onnxruntime",
    threads: ThreadsOption = None,
    max_memory: MaxMemoryOption = None,
    compute_units: ComputeUnitsOption = None,
    count: CountOption = 1,
    best_of: BestOfOption = 1,
    check: CheckOption = False,
    takes: TakesOption = None,
    json: JsonLines = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    play: PlayOption = False,
    **options: Any,
) -> None:
    """Render clips again from the requests in their tags, with changes. Several go into a folder, --output.

    Examples:

    sa3-edge regenerate piano.flac --seed 7

    sa3-edge regenerate piano.flac rain.wav --format ogg -o as-ogg

    sa3-edge regenerate fill.wav --init-audio moved/song.flac
    """
    from sa3_edge.cli import generate as single
    from sa3_edge.cli import regenerate as again
    from sa3_edge.errors import RequestError

    changes = {name: options[name] for name in options_of(ClipOptions) if options[name] is not None}
    kept = chosen(FileOptions, options)
    units = single.compute_units(engine, compute_units)
    run = single.RunOptions(
        model, engine, threads, json, quiet, verbose, play, units, check, best_of, max_memory=max_memory
    )
    if takes is None:
        again.regenerate(files, changes, kept, count, run)
    elif count != 1 or len(files) > 1:
        raise RequestError("--takes does not go with --count or several clips")
    else:
        again.takes(files[0], changes, takes, kept, run)


@app.command()
def vary(
    file: Annotated[Path, typer.Argument(help="A clip or another recording.")],
    takes: Annotated[int, typer.Option(help="How many.")] = 6,
    amount: Annotated[float, typer.Option(help="How far from the clip, 0.01 to 1.")] = 0.4,
    prompt: Annotated[str | None, typer.Option(help="What to hear; the clip's own prompt by default.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder; named after the clip by default.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A model; the clip's own by default.")] = None,
    engine: EngineOption = "onnxruntime",
    threads: ThreadsOption = None,
    compute_units: ComputeUnitsOption = None,
    json: Json = False,
) -> None:
    """Make variations of a clip, and a page to compare them.

    Example: sa3-edge vary piano.wav --takes 6 --amount 0.4
    """
    from sa3_edge.cli import generate as single
    from sa3_edge.cli import takes as folder_of_takes

    units = single.compute_units(engine, compute_units)
    run = single.RunOptions(model or "", engine, threads, json, compute_units=units)
    folder_of_takes.vary(file, takes, amount, prompt, FileOptions(output=output), run)


@app.command()
def page(folder: Annotated[Path, typer.Argument(help="A folder of clips.")] = Path(), json: Json = False) -> None:
    """Write FOLDER/index.html: hear, compare and star its clips, without a server.

    Example: sa3-edge page lofi-piano
    """
    from sa3_edge.cli.takes import show

    show(folder, json)


@app.command()
def export(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(help="A checkpoint's folder: model_config.json, model.safetensors, text encoder."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The bundle's folder to make.")] = Path("bundle"),
    synthetic: Annotated[
        str | None,
        typer.Option(help="Random weights instead of a checkpoint: small, medium (published sizes) or tiny."),
    ] = None,
    formats: FormatsOption = None,
    engine: OldFormatsOption = None,
    target: Annotated[
        str | None,
        typer.Option(help="The app it is for: desktop (default), web or android; sets --formats and --precision."),
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[:STRENGTH]",
            help="Merge a LoRA or DoRA adapter (safetensors), 1 as strong as trained; may be repeated.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; the folder's by default.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    precision: PrecisionOption = None,
    accept: AcceptOption = None,
    json: Json = False,
) -> None:
    """Turn a checkpoint into a bundle of graphs. Needs the extra "export".

    Example: sa3-edge export stable-audio-3-small-music --out small-music
    """
    from sa3_edge.cli.export import ExportOptions, run

    options = ExportOptions(
        checkpoint, synthetic, out, formats or engine, precision, lora or [], accept or [], name, overwrite, target
    )
    run(options, json)


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help=f"A published model: {', '.join(catalog.PUBLISHED)}.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Start from a checkpoint's folder instead of downloading.")
    ] = None,
    route: Annotated[
        str | None,
        typer.Option(
            "--source",
            help="optimized: the publisher's files that need no login, rounded to float16 (default where they are); "
            "checkpoint: the gated one in float32.",
        ),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Weights exactly as published: --source checkpoint.")] = False,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the model's licence without being asked.")
    ] = False,
    formats: FormatsOption = None,
    engine: OldFormatsOption = None,
    precision: PrecisionOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Pull again what is installed already.")] = False,
    accept: AcceptOption = None,
    json: Json = False,
) -> None:
    """Download a published model, export it for this machine and install it.

    A cut download goes on at the next pull. Needs the extra "export".

    Example: sa3-edge pull small-music
    """
    from sa3_edge.cli.pull import PullOptions, run

    options = PullOptions(
        model, source, route, exact, formats or engine or "onnx", precision, accept or [], accept_licence, overwrite
    )
    run(options, json)


@app.command("models")
def list_models(json: Json = False) -> None:
    """List the installed models: size, precision, revision."""
    from sa3_edge.cli.models import show

    show(json)


@app.command("config", context_settings={"ignore_unknown_options": True})  # -14 is a value
def config(
    action: Annotated[str | None, typer.Argument(help="set or unset; without, all is shown.")] = None,
    key: Annotated[
        str | None, typer.Argument(help="The setting, or preset.NAME.SETTING; unset takes preset.NAME too.")
    ] = None,
    value: Annotated[str | None, typer.Argument(help='What to set it to; of several values with "|" between.')] = None,
    json: Json = False,
) -> None:
    """Show the defaults and presets in force, and where each comes from; or change the file that holds them.

    Examples:

    sa3-edge config set format flac

    sa3-edge config set preset.foley.seconds 5

    sa3-edge config unset format
    """
    from sa3_edge.cli.config import change, show

    if action is None:
        show(json)
    else:
        change(action, key, value, json)


@app.command()
def remove(
    model: Annotated[str, typer.Argument(help="An installed model's name.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove an installed model; what other models need stays."""
    from sa3_edge.cli.models import remove as run

    run(model, yes, json)


lora_commands = typer.Typer(help="LoRA adapters by name, for generate --lora NAME[:STRENGTH].", no_args_is_help=True)
app.add_typer(lora_commands, name="lora")


@lora_commands.command("add")
def lora_add(
    file: Annotated[Path, typer.Argument(help="The adapter, a .safetensors file.")],
    name: Annotated[str | None, typer.Option("--name", help="What it is to be called; the file's name.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the one of this name.")] = False,
    json: Json = False,
) -> None:
    """Copy an adapter into the user's data under a name.

    Example: sa3-edge lora add tape.safetensors
    """
    from sa3_edge.cli.lora import add

    add(file, name, overwrite, json)


@lora_commands.command("list")
def lora_list(json: Json = False) -> None:
    """List the adapters that have names: size, kind, rank."""
    from sa3_edge.cli.lora import show

    show(json)


@lora_commands.command("remove")
def lora_remove(name: Annotated[str, typer.Argument(help="The adapter's name.")], json: Json = False) -> None:
    """Delete the copy that has this name; the file that it was added from stays."""
    from sa3_edge.cli.lora import remove

    remove(name, json)


@app.command()
def inspect(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder, or an installed model's name.")],
    json: Json = False,
) -> None:
    """Verify a bundle and show what is in it."""
    from sa3_edge.cli.inspect import run

    run(bundle, json)


@app.command()
def verify(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder, or an installed model's name.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Compare with PyTorch and these weights, not with the bundle's ONNX graphs.")
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[:STRENGTH]", help="With --checkpoint: what export merged; may be repeated."),
    ] = None,
    json: Json = False,
) -> None:
    """Verify a bundle's Core ML packages again, on any machine. Needs the extras export and coreml.

    Example: sa3-edge verify small-music
    """
    from sa3_edge.cli.verify import run

    run(bundle, checkpoint, lora or [], json)


@app.command()
def doctor(
    bundle: Annotated[
        str | None,
        typer.Option(help="Instead, on a Mac: where Core ML plans to run each operation of this bundle's packages."),
    ] = None,
    json: Json = False,
) -> None:
    """Show versions, engines, the processor and the models that are installed."""
    if bundle is not None:
        from sa3_edge.cli import compute_plan

        compute_plan.run(bundle, json)
        return
    from sa3_edge.cli.doctor import run

    run(json)


FolderOption = Annotated[
    Path | None,
    typer.Option(help="Where clips are kept; sa3-edge in your music folder by default.", show_default=False),
]
IdleOption = Annotated[
    float, typer.Option("--idle-unload", help="Free the model after so many seconds without work; 0 keeps it.")
]
_QUEUE = 16


def _settings(
    model: ModelOption = catalog.DEFAULT,
    folder: FolderOption = None,
    idle_unload: IdleOption = 600.0,
    engine: EngineOption = "onnxruntime",
    threads: ThreadsOption = None,
    compute_units: ComputeUnitsOption = None,
    *,
    queue: int = _QUEUE,
) -> "Settings":
    """What serve, ui and mcp share."""
    from sa3_edge.cli.serve import settings

    return settings(model, folder, engine, threads, compute_units, idle_unload, queue)


@app.command(cls=_TakesDefaults)
@takes_those_of(_settings, without=("queue",))
def serve(
    host: Annotated[
        str, typer.Option(help="The address to listen on. Another than this machine's own asks clients for a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 8765,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another host name that clients may use. Repeatable.")
    ] = None,
    queue: Annotated[int, typer.Option(help="How many generations may wait; more are refused.")] = _QUEUE,
    **options: Any,
) -> None:
    """Serve an HTTP API and a page on this machine. Needs the extra "serve".

    Example: sa3-edge serve --model small-music
    """
    from sa3_edge.cli.serve import run

    run(_settings(**options, queue=queue), host, port, allow_host or [], browser=False)


@app.command(cls=_TakesDefaults)
@takes_those_of(_settings, without=("queue",))
def ui(**options: Any) -> None:
    """Open the page in your browser. Needs the extra `serve`."""
    from sa3_edge.cli.serve import run

    run(_settings(**options), "127.0.0.1", 0, [], browser=True)


@app.command(cls=_TakesDefaults)
@takes_those_of(_settings, without=("queue",))
def mcp(**options: Any) -> None:
    """Be a tool of an agent: Model Context Protocol over stdio. Needs the extra `mcp`."""
    from sa3_edge.cli.serve import run_mcp

    run_mcp(_settings(**options))
