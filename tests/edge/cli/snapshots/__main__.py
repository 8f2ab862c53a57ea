"""What the main commands leave on terminals of 40, 80 and 120 columns.

python -m tests.edge.cli.snapshots            writes the snapshots beside this file anew
python -m tests.edge.cli.snapshots FOLDER     writes them there, to be compared

Each runs in a fork of this process, which has loaded what takes long, on a pseudo-terminal that an emulator shows. What
is another machine's, or another day's, is replaced before a line is wrapped: its length would move the line ends.
"""

import contextlib
import fcntl
import itertools
import os
import platform
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyte
import soundfile

from sa3_edge import cli

COLUMNS = (40, 80, 120)
_FAST = ("--model", "demo", "--steps", "1", "--headroom", "0")
COMMANDS = {
    "generate": ["generate", "rain", "--seconds", "1", "--seed", "1", *_FAST, "-o", "rain.wav"],
    "list": ["generate", "--prompts", "list.csv", *_FAST, "-o", "clips"],
    "models": ["models"],
    "doctor": ["doctor"],
    "prompts": ["prompts", "rain"],
    "config": ["config"],
    "check": ["check", "tone.wav"],
    "unknown-model": ["generate", "rain", "--model", "small-musik"],
    "unquoted": ["generate", "lofi", "piano"],
}
# Where there is no terminal nothing is wrapped, however narrow the one beside it is.
STREAMS = ("prompts rain | cat", "prompts 2>/dev/null | head -1", "prompts rain >&-")
_LIST = "prompt,seconds,seed,output\nrain on tin,0.5,1,rain.wav\na prompt that cannot be made,9999,2,\n"
_CONFIG = 'model = "small-sfx"\nseconds = 20\n\n[preset.foley]\nmodel = "small-sfx"\ntrim_silence = true\n'
# Of what is left on the screen: those that are read on a light and on a dark ground. pyte's brown is yellow.
_COLOURS = frozenset({"default", "red", "green", "brown", "blue", "magenta", "cyan"})
_MEASURED = re.compile(r"-?\d+\.\d+(?=[\s,)]|$)")


def screen(arguments: list[str], columns: int, **variables: str) -> tuple[str, set[str]]:
    """What a command leaves on a terminal, with its exit code if that is not 0, and in which colours.

    Raises ValueError for a colour that cannot be read on a light or on a dark ground.
    """
    with tempfile.TemporaryDirectory() as folder:
        child, controller = os.forkpty()
        if child == 0:
            _run(arguments, columns, Path(folder), variables)
        written = b""
        with contextlib.suppress(OSError):  # how Linux ends a terminal that nobody has open
            while chunk := os.read(controller, 65536):
                written += chunk
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.close(controller)
    emulated = pyte.Screen(columns, 200)
    pyte.ByteStream(emulated).feed(written)
    rows = [row.rstrip() for row in emulated.display]
    text = "\n".join(rows).rstrip() + "\n"
    cells = [cell for row in emulated.buffer.values() for cell in row.values() if not cell.data.isspace()]
    colours = {cell.fg for cell in cells}
    if colours - _COLOURS or any(cell.bg != "default" for cell in cells):
        raise ValueError(f"{arguments} is hard to read on a light or on a dark terminal: {colours}")
    return text + (f"exit code {code}\n" if code else ""), colours


def snapshots() -> dict[str, str]:
    """By command, its screens of every width, one below the other."""
    made = {}
    for name, arguments in COMMANDS.items():
        screens = {columns: screen(arguments, columns)[0] for columns in COLUMNS}
        parts = [f"{'-' * columns} {columns}\n{masked(name, text)}" for columns, text in screens.items()]
        made[name] = "\n".join(parts)
    made["streams"] = "\n".join(f"$ sa3-edge {line}\n{_said(line)}" for line in STREAMS)
    return made


def _said(line: str) -> str:
    """What a shell's line says on both streams, with the exit code of its last command."""
    program = f'"{sys.executable}" -m sa3_edge {line}'
    environment = {**os.environ, "COLUMNS": "40", "PYTHONWARNINGS": ""}
    done = subprocess.run(["sh", "-c", program], env=environment, capture_output=True, text=True, check=False)
    return f"{done.stdout}{done.stderr}" + (f"exit code {done.returncode}\n" if done.returncode else "")


def masked(name: str, text: str) -> str:
    """Measures, whose last digit may be another processor's, with as many # instead."""
    if name not in ("generate", "list", "check"):
        return text
    return _MEASURED.sub(lambda found: "#" * len(found[0]), text) if name == "check" else _levels(text)


def _levels(text: str) -> str:
    return re.sub(r"-?\d+\.\d(?=\s+(LUFS|dBTP))", lambda found: "#" * len(found[0]), text)


def _run(arguments: list[str], columns: int, folder: Path, variables: dict[str, str]) -> None:
    """In the child: the command, in a folder of its own, with a clock that goes on by a hundredth a look."""
    try:
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 200, columns, 0, 0))
        os.chdir(folder)
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        os.environ.clear()
        os.environ.update({"TERM": "xterm-256color", "LANG": "C.UTF-8", "HOME": str(folder), **kept, **variables})
        Path("list.csv").write_text(_LIST, encoding="utf-8")
        config = Path("home/config/sa3-edge/config.toml")
        config.parent.mkdir(parents=True)
        config.write_text(_CONFIG if arguments == ["config"] else "", encoding="utf-8")
        tone = 0.5 * np.sin(np.arange(44100) / 16)
        soundfile.write("tone.wav", np.stack([tone, tone], axis=1), 44100)
        ticks = itertools.count()
        _set(time, perf_counter=lambda: next(ticks) / 100)
        sys.argv = ["sa3-edge", *arguments]
        cli.main()
        sys.stdout.flush()
        os._exit(0)
    except SystemExit as stop:
        sys.stdout.flush()
        os._exit(int(stop.code or 0))
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(99)


def _one_machine_for_all() -> None:
    """Load what takes long, and let this machine look like one that is in nobody's hands."""
    from sa3_edge import bundle
    from sa3_edge.cli import defaults, doctor, remedies
    from sa3_edge.engines import cache, libraries
    from sa3_edge.models import catalog

    for name in ("app", "check", "config", "generate", "models", "prompt_list", "prompts"):
        import_module(f"sa3_edge.cli.{name}")
    libraries.load_onnxruntime()
    home = Path("home")
    _set(defaults, user_config_path=lambda *_, **__: home / "config" / "sa3-edge")
    _set(catalog, user_data_path=lambda *_, **__: home / "share" / "sa3-edge")
    for module in (bundle, cache):
        _set(module, user_cache_path=lambda *_, **__: home / "cache" / "sa3-edge")
    sys.modules["librosa"] = None  # type: ignore[assignment]  # an extra that takes seconds to load
    _set(
        remedies,
        this_command=lambda: "sa3-edge",
        install_command=lambda *extras: f"pip install '.[{','.join(extras)}]'",
    )
    _set(
        doctor,
        install_command=remedies.install_command,
        _version=lambda package: None if package == "sounddevice" else "1.2.3",
        _engine_state=lambda name: (
            f"not available: {name} runs on macOS only, this is Linux; onnxruntime runs everywhere"
            if "coreml" in name
            else f"{name} 1.2.3 on the CPU"
        ),
        _int8_products=lambda: "exact, by the processor's own (VNNI)",
        _model_state=lambda path: "site-packages/sa3_edge/demo",
        _bytes_in=lambda folder: 0,
        processor=lambda: "A processor",
        cores=lambda: 2,
        instruction_sets=lambda: ["avx2", "avx512f", "vnni"],
        memory=lambda: 16 << 30,
        shortage=lambda name: None,
    )
    _set(platform, python_version=lambda: "3.12.3", platform=lambda: "Linux-6.1-x86_64-with-glibc2.36")


def _set(module: Any, **values: Any) -> None:
    for name, value in values.items():
        if not hasattr(module, name):
            raise AttributeError(f"{module.__name__} has no {name} any more")
        setattr(module, name, value)


def main(folder: Path) -> None:
    """Write the snapshots into a folder."""
    _one_machine_for_all()
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in snapshots().items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
