"""What helps after an error, in the command line's words: commands and options to type."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sa3_edge.cli.options import spelled
from sa3_edge.errors import Action, Remedy, Sa3Error

_DEMO = "--model demo (comes with sa3-edge)"


def worded(error: Sa3Error) -> str:
    """The message, and what to do: on the line after it, or going on with the one that says what to do already."""
    message = spelled(str(error))
    if error.remedy is None:
        return message
    return message + ("; " if "\n" in message else "\n") + remedy_line(error.remedy)


def remedy_line(remedy: Remedy) -> str:
    """What to do, in a line or two."""
    return _LINES[remedy.action](*remedy.of)


def install_command(*extras: str) -> str:
    """How to install optional parts of this installation, from wherever it was made: it may be on no index."""
    return _pip("install", _requirement(",".join(extras)))


def this_command() -> str:
    """How the command that runs is typed here: by its name only where a shell would find it."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return _shell(_python(), "-m", "sa3_edge")
    if started.parent == Path() or shutil.which(started.name) is not None:
        return "sa3-edge"
    return _shell(_from_here(started))


def _pip(*arguments: str) -> str:
    """pip of the environment that runs this, whichever is active: "sa3-edge" may be started by its path."""
    return _shell(_python(), "-m", "pip", *arguments)


def _shell(*words: str) -> str:
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _python() -> str:
    return _from_here(Path(sys.executable))


def _from_here(path: Path) -> str:
    """As it is typed from the current folder: .venv/bin/python, .venv\\Scripts\\python.exe."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _requirement(extras: str) -> str:
    """This package with extras, as pip takes it: the folder or address that it was installed from, else its name."""
    try:
        origin = json.loads(metadata.distribution("sa3-edge").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        origin = {}
    address = origin.get("url", "")
    if not address:
        return f"sa3-edge[{extras}]"
    if urlsplit(address).scheme != "file":
        kind = origin.get("vcs_info", {}).get("vcs")
        return f"sa3-edge[{extras}] @ {f'{kind}+' if kind else ''}{address}"
    source = Path(url2pathname(urlsplit(address).path))
    return f"{'.' if source == Path.cwd() else source}[{extras}]"


def _replace(there: str, wanted: str) -> str:
    install = _pip("install", "--force-reinstall", wanted)
    if re.split("[<>=]", wanted)[0] == there:
        return f"To replace it: {install}"
    return f"To replace it: {_pip('uninstall', '--yes', there)}; {install}"


def _pull(model: str, *installed: str) -> str:
    others = [f"--model {name}" for name in installed]
    return f"To get it: {this_command()} pull {model}\nInstalled: {', '.join([*others, _DEMO])}"


_LINES: dict[Action, Callable[..., str]] = {
    "install extra": lambda *extras: f"To install it: {install_command(*extras)}",
    "install package": lambda requirement: f"To install it: {_pip('install', requirement)}",
    "replace package": _replace,
    "reinstall wheel": lambda package: (
        f"To install it: {_pip('install', '--force-reinstall', '--only-binary', package, package)}"
    ),
    "pull model": _pull,
    "choose model": lambda *installed: f"Installed: {', '.join([*(f'--model {name}' for name in installed), _DEMO])}",
    "choose engine": lambda engine: f"Choose another: --engine {engine}",
    "export format": lambda kind: f"Export it with them: --formats onnx,{kind}",
    "use local checkpoint": lambda: "or start from a checkpoint that is here, --from DIR",
    "free disk space": lambda size: (
        f"Free {size}; `{this_command()} models` lists what is installed, `{this_command()} remove NAME` deletes"
    ),
    "name another folder or overwrite": lambda: "Name another folder, or replace a bundle with --overwrite",
    "name the checkpoint": lambda: "Name the checkpoint: --checkpoint DIR",
    "name these adapters": lambda *files: (
        f"Say the same: {' '.join(f'--lora {file}' for file in files) or 'no --lora'}"
    ),
    "accept value": lambda entry: f"If it is but another name for the same: --accept {shlex.quote(entry)}",
    "except graph": lambda graph: f"Except it: --precision int8,{graph}=fp32",
}
