"""A list of prompts as people write it: text, JSON or a table, told apart by what is in it; checked whole.

lofi piano                                                  a prompt
{"prompt": "rain", "seconds": 20, "format": "ogg"}          a line that begins with { is JSON

prompt,seconds,seed                                         a first line that names options: a table (CSV), by
rain,20,7                                                   commas, semicolons or tabs
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from sa3_edge.clips.choices import all_of, has_choices, one_of
from sa3_edge.clips.files import encoding_of, named_by, slug
from sa3_edge.clips.options import ClipOptions, FileOptions, about, options_of, type_of
from sa3_edge.clips.request import build_piece, line_options, typed_options
from sa3_edge.errors import RequestError, did_you_mean

_OF_FILES = tuple(name for name, each in options_of(FileOptions).items() if about(each).in_lists)
KEYS = (*options_of(ClipOptions), *_OF_FILES, "takes")
MOST_TAKES = 1000  # of a line
_CHOICE = re.compile(r"\{[^{}\":]*\|")  # {rain|wind} begins a prompt, not JSON
_SEVERAL = "|"  # between the values of an option in one cell of a table


@dataclass(frozen=True)
class Line:
    """A clip that a list asks for, by the number of its line.

    files: how the clip is stored; its `output`, if the line names one, is within the list's folder
    take: which of the line's takes, of successive seeds, from 0
    """

    number: int
    options: ClipOptions
    files: FileOptions
    take: int = 0
    takes: int = 1

    @property
    def name(self) -> str:
        """The clip's name in the folder, if no clip of another line has it. Raises RequestError by its template."""
        output, template = self.files.output, None
        if output is None:
            template, seed = self.files.name, self.options.seed
            usual = f"{self.number:04d}-{slug(self.options.prompt)}"
            stem = usual if template is None else named_by(template, self.options, seed)
            output = Path(f"{stem}.{encoding_of(self.files).format}")
        if self.takes > 1 and "{seed" not in (template or ""):
            output = output.with_name(f"{output.stem}-{self.take + 1}{output.suffix}")
        return output.as_posix()


def read_list(
    path: Path,
    defaults: ClipOptions,
    usual_seconds: float | None = None,
    files: FileOptions | None = None,
    *,
    every: bool = False,
) -> list[Line]:
    """All clips that a file asks for; as `parse_list`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"the list {path} cannot be read: {error}") from None
    return parse_list(text, str(path), path.parent, defaults, usual_seconds, files, every=every)


def parse_list(
    text: str,
    name: str,
    folder: Path,
    defaults: ClipOptions,
    usual_seconds: float | None = None,
    files: FileOptions | None = None,
    *,
    every: bool = False,
) -> list[Line]:
    """All clips that a list asks for, checked as far as that is possible without the model.

    Of a prompt with choices, `every` one is made, else one a clip, which is the same each time that the list is read.
    `name` is what messages call it; files that it names are relative to `folder`. `usual_seconds` is for lines that
    make a clip from text and, like `defaults`, say no length. Raises RequestError with the line's number.
    """
    lines: list[Line] = []
    drawn: Counter[str] = Counter()

    def draw(prompt: str) -> list[str]:
        if not has_choices(prompt):
            return [prompt]
        if every:
            return all_of(prompt)
        drawn[prompt] += 1
        return [one_of(prompt, drawn[prompt])]

    named: dict[str, int] = {}  # the lines that name their clips
    first = next(filter(str.strip, text.split("\n")), "")
    delimiter = _delimiter(first, a_table=name.lower().endswith((".csv", ".tsv")))
    said = _lines(text, name) if delimiter is None else _rows(text, name, delimiter)
    for number, data in said:
        try:
            shape = {key: value for key, value in data.items() if key not in (*_OF_FILES, "takes")}
            options = line_options(shape, defaults, folder, strict=delimiter is None)
            for line in _clips(number, options.with_usual_seconds(usual_seconds), data, files or FileOptions(), draw):
                name_of_line = line.name
                other = named.setdefault(name_of_line.lower(), number) if line.files.output else number
                if other != number:
                    raise RequestError(f"line {other} has the output {name_of_line} as well")
                lines.append(line)
        except RequestError as error:
            raise RequestError(f"{name}, line {number}: {error}") from None
    if not lines:
        raise RequestError(f"the list {name} has no prompts")
    return lines


def _lines(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """What each line says, by its number."""
    # Not splitlines: what else Unicode calls the end of a line may stand in a prompt.
    a_prompt_a_line = not name.lower().endswith(".jsonl")
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        if (line.startswith("{") and not _CHOICE.match(line)) or (line and not a_prompt_a_line):
            data = _json_line(line, f"{name}, line {number}")
            for key in data:
                _check_known(key, f"{name}, line {number}")
            yield number, data
        elif line:
            yield number, {"prompt": line}


def _json_line(line: str, where: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{where}: not JSON: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("prompt"), str):
        raise RequestError(f'{where}: must be an object with a "prompt"')
    return data


def _delimiter(first: str, *, a_table: bool) -> str | None:
    """What separates the cells of a table that begins with this line; None if it is no table's."""
    delimiters = sorted(",;\t", key=first.count, reverse=True)
    if a_table:
        return delimiters[0]
    cells = _cells(first, delimiters[0])
    return delimiters[0] if len(cells) > 1 and "prompt" in cells and set(cells) <= set(KEYS) else None


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for row in csv.reader([line], delimiter=delimiter) for cell in row]


def _rows(text: str, name: str, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """What each row of a table says, as text, by the number of its last line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str] = []
    number = 1
    try:
        for row in reader:
            cells, where = [cell.strip() for cell in row], f"{name}, line {number}"
            number = reader.line_num + 1
            if not any(cells):
                continue
            if not header:
                header = cells
                _check_header(header, where)
                continue
            if len(cells) > len(header):
                raise RequestError(f"{where}: {len(cells)} values, and {len(header)} options in the first line")
            yield reader.line_num, _of_row(dict(zip(header, cells, strict=False)))
    except csv.Error as error:
        raise RequestError(f"{name}, line {number}: not CSV: {error}") from None


def _check_header(header: list[str], where: str) -> None:
    if "prompt" not in header:
        raise RequestError(f"{where}: a table's first line names its options, prompt among them")
    for place, key in enumerate(header):
        if not key or key in header[:place]:
            raise RequestError(
                f"{where}: two columns are {key!r}" if key else f"{where}: column {place + 1} has no name"
            )
        _check_known(key, where)


def _of_row(row: Mapping[str, str]) -> dict[str, Any]:
    """What a row says; an empty cell says nothing."""
    types = {name: type_of(ClipOptions, name) for name in options_of(ClipOptions)}
    data: dict[str, Any] = {"prompt": row["prompt"]}
    for name, cell in row.items():
        if cell:
            several = getattr(types.get(name), "__origin__", None) is list
            data[name] = [each.strip() for each in cell.split(_SEVERAL)] if several else cell
    return data


def _check_known(key: str, where: str) -> None:
    if key not in KEYS:
        others = did_you_mean(key, KEYS) or f"; choose {', '.join(KEYS)}"
        raise RequestError(f"{where}: unknown option {key!r}{others}")


def _clips(
    number: int, options: ClipOptions, data: Mapping[str, Any], files: FileOptions, draw: Callable[[str], list[str]]
) -> Iterator[Line]:
    """The clips of one line: as many as its takes, of each prompt that is drawn."""
    build_piece(options)
    files = _files(typed_options({key: data[key] for key in _OF_FILES if key in data}, FileOptions), files)
    takes = _takes(data.get("takes", 1))
    made: list[Line] = []
    for take in range(takes):
        seeded = options if options.seed is None else replace(options, seed=options.seed + take)
        made += [Line(number, replace(seeded, prompt=each), files, take, takes) for each in draw(options.prompt)]
    if files.output is not None:  # one name for all
        made = [replace(line, take=place, takes=len(made)) for place, line in enumerate(made)]
    yield from made


def _files(own: dict[str, Any], files: FileOptions) -> FileOptions:
    """How a line's clips are stored: as it says, else as the whole list's."""
    output = own.get("output")
    if output is None:
        files = replace(files, **own)
        encoding_of(files)
        return files
    outside = output.is_absolute() or PureWindowsPath(output).drive or ".." in PurePath(output).parts
    if outside or not output.name:
        raise RequestError(f"output {str(output)!r} is not within the list's folder")
    if not output.suffix:
        raise RequestError(f"output {str(output)!r} has no suffix, as in {output}.wav")
    said = own.get("format")
    if said not in (None, output.suffix.lower().removeprefix(".")):
        raise RequestError(f"output {str(output)!r} is no {said} file; leave out `format` or change one")
    files = replace(files, **{**own, "format": None})
    encoding_of(files, output.suffix)
    return files


def _takes(given: Any) -> int:
    takes = int(given) if isinstance(given, str) and given.isdecimal() and len(given) < 9 else given
    if not isinstance(takes, int) or isinstance(takes, bool) or not 1 <= takes <= MOST_TAKES:
        raise RequestError(f"takes must be a whole number from 1 to {MOST_TAKES}, got {given!r:.100}")
    return takes
