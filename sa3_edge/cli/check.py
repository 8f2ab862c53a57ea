"""`sa3-edge check FILE`: what measuring a clip says."""

from collections.abc import Sequence
from pathlib import Path

from sa3_edge.cli.display import note, print_json, print_line
from sa3_edge.cli.options import spelled
from sa3_edge.clips.check import check_file


def run(paths: Sequence[Path], json: bool) -> None:
    """Show measures and faults, file by file."""
    for path in paths:
        check = check_file(path)
        if json:
            print_json({"file": str(path), **check.as_json()})
            continue
        print_line(str(path))
        for line in check.lines():
            print_line(f"  {line}")
        for fault in check.faults():
            note(spelled(fault))
