"""Fails commands in every way, looks at what is left, and writes the table of docs/reliability.md: `make faults`.

    python -m tests.faults [KILLS] [--others N] [--faults NAMES] [--commands NAMES] [--write]

KILLS of each command (50), and N (5) runs of every other fault. What must hold: nothing partial has a final name, a
model that was there is there, whole; but for SIGKILL nothing is left under another name, and it ends with success, or
with words and exit code 1 or 2, or 130 if it was interrupted; the next run works.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.commands import EXPORT, GENERATE, PAGE, ROOT, SERVE, Command, Ended, Place, pull
from tests.faults.injections import FAULTS, Fault, Normal, Trial, has_small_disk, measured, small_disk

_PAGE = ROOT / "docs" / "reliability.md"
_BEGIN, _END = "<!-- faults -->\n", "<!-- /faults -->\n"


@dataclass
class Tally:
    """What became of a command that was failed in one way."""

    runs: int = 0
    worked: int = 0
    refused: int = 0
    ended: int = 0  # by the signal
    partial: int = 0
    left: int = 0
    next_works: bool = True
    wrong: list[str] = field(default_factory=list)

    def add(self, result: Ended, place: Place, command: Command, fault: Fault) -> None:
        """Count a run, and look at what is there now."""
        self.runs += 1
        # Before the first line of ours is read, Python itself ends by the signal.
        by_signal = fault.ends_by_signal and (
            result.killed
            or result.code == 130
            or (result.code < 0 and (not result.said or result.said.endswith("interrupted\n")))
        )
        self.worked += result.code == 0
        self.ended += by_signal
        if not by_signal:
            faults = result.faults()
            self.refused += result.code != 0 and not faults
            self.wrong += [f"{each}: {result.said[-600:]}" for each in faults]
        partial = command.partial(place)
        self.partial += bool(partial)
        self.wrong += [f"partial: {each}" for each in partial]
        left = place.unfinished()
        self.left = len(left)  # what earlier runs left is still there
        if left and fault.name != "killed":
            self.wrong += [f"left: {path}" for path in left]

    def row(self, command: Command, fault: Fault) -> str:
        happened = [
            f"{count} {what}"
            for count, what in (
                (self.worked, "worked"),
                (self.refused, "said why not"),
                (self.ended, "ended by the signal"),
                (self.runs - self.worked - self.refused - self.ended, "OTHERWISE"),
            )
            if count
        ]
        works = "works" if self.next_works else "FAILS"
        cells = (fault.name, f"`{command.name}`", self.runs, ", ".join(happened), self.partial, self.left, works)
        return f"| {' | '.join(map(str, cells))} |"


def tried(command: Command, fault: Fault, count: int, chance: random.Random, normal: Normal | None = None) -> Tally:
    """Fail a command so many times. `normal`: what it takes, else that is measured first."""
    tally = Tally()
    with _place(fault.small_disk) as place:
        command.prepare(place)
        normal = normal or measured(command, place)
        # As many kills as are asked for: some come too late. Of other faults, as many runs.
        while (tally.ended if fault.name == "killed" else tally.runs) < count and tally.runs < 5 * count:
            place.make()
            command.prepare(place)
            result = fault.happens(Trial(command, place, normal, chance))
            place.make()
            if fault.name == "folder vanishes":
                command.prepare(place)
            tally.add(result, place, command, fault)
        after = command.run(place)
        tally.next_works = after.code == 0 and not command.partial(place)
        tally.wrong += [] if tally.next_works else [f"the next run: {after}"]
    return tally


@contextmanager
def _place(small: bool) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="sa3-edge-faults-") as folder, ExitStack() as stack:
        if small:
            stack.enter_context(small_disk(Path(folder)))
        place = Place(Path(folder))
        place.make()
        yield place


def main() -> int:
    """0 if all held."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kills", nargs="?", type=int, default=50)
    parser.add_argument("--others", type=int, default=5)
    parser.add_argument("--faults", default=",".join(fault.name for fault in FAULTS))
    parser.add_argument("--commands", default="generate,export,pull,page,serve")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    asked = parser.parse_args()
    rows = [
        "| fault | command | runs | what happened | partial | left hidden | next run |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(rows))
    wrong: list[str] = []
    mounts = has_small_disk()
    with pull() as pulling:
        commands = [
            each
            for each in (GENERATE, EXPORT, pulling, PAGE, SERVE)
            if each.name.split()[0] in asked.commands.split(",")
        ]
        for fault in FAULTS:
            if fault.name not in asked.faults.split(","):
                continue
            if fault.small_disk and not mounts:
                print(f"SKIPPED: {fault.name}, {fault.how}: needs root, who may mount one", file=sys.stderr)
                continue
            for command in commands:
                if fault.name == "broken pipe" and command.printing is None:
                    continue
                count = asked.kills if fault.name == "killed" else asked.others
                tally = tried(command, fault, count, random.Random(0))  # noqa: S311
                rows.append(tally.row(command, fault))
                print(rows[-1], flush=True)
                for each in tally.wrong:
                    print(f"    {each}", file=sys.stderr, flush=True)
                wrong += tally.wrong
    if asked.write:
        text = _PAGE.read_text(encoding="utf-8")
        before, after = text.index(_BEGIN) + len(_BEGIN), text.index(_END)
        _PAGE.write_text("\n".join([text[:before] + rows[0], *rows[1:]]) + "\n" + text[after:], encoding="utf-8")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
