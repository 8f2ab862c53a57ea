"""Several takes of one prompt or of one clip in a folder, and the page that shows them."""

from dataclasses import replace
from pathlib import Path

from sa3_edge.cli import generate
from sa3_edge.cli.display import print_json, print_line
from sa3_edge.clips.files import encoding_of, slug
from sa3_edge.clips.options import ClipOptions, FileOptions
from sa3_edge.clips.record import model_of, read_record
from sa3_edge.errors import RequestError
from sa3_edge.models.catalog import DEFAULT

MOST = 200  # takes that one page still shows well


def run(clip: ClipOptions, takes: int, files: FileOptions, options: generate.RunOptions) -> None:
    """Make so many takes into a folder, `files.output` or one named after the prompt, and its page."""
    if not 1 <= takes <= MOST:
        raise RequestError(f"--takes must be from 1 to {MOST}, got {takes}")
    folder = files.output or Path(slug(clip.prompt))
    if folder == generate.STDOUT or folder.suffix or folder.is_file():
        raise RequestError(f"takes go into a folder; -o {folder} is none")
    if files.save_latents is not None:
        raise RequestError("--save-latents does not go with --takes")
    kind = encoding_of(files).format
    if files.name is None:
        files = replace(files, output=folder / f"{slug(clip.prompt)}.{kind}", format=None)
    else:
        files = replace(files, output=folder, format=kind)
    made_here = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        generate.run(clip, takes, files, options)
    finally:
        if made_here and not any(folder.iterdir()):
            folder.rmdir()
    show(folder, options.json, quiet=options.quiet)


def vary(
    file: Path, takes: int, amount: float, prompt: str | None, files: FileOptions, options: generate.RunOptions
) -> None:
    """Make takes that begin with a clip, each as far from it as `amount` says (0.01 to 1), and their page.

    The prompt, and the model where `options` names none, are the clip's own.
    """
    try:
        record = read_record(file)
    except RequestError as error:
        if prompt is None:
            raise RequestError(f"{error}; say with --prompt what to hear") from None
        record = None
    if not options.model:
        options = replace(options, model=model_of(record, file) if record else DEFAULT)
    if prompt is None and record is not None:
        prompt = record.prompt
    clip = ClipOptions(prompt=prompt or "", init_audio=file, noise_level=amount)
    if files.output is None:
        files = replace(files, output=file.with_name(f"{file.stem}-variations"))
    run(clip, takes, files, options)


def show(folder: Path, json: bool, quiet: bool = False) -> None:
    """Write a folder's page and say where it is."""
    from sa3_edge.takes import write_page

    path = write_page(folder)
    if json:
        print_json({"page": str(path)})
    elif not quiet:
        print_line(f"{path}  open it in a browser; no server is needed")
