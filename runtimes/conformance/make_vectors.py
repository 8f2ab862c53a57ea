"""The vectors that every host must pass, written by this host: `python runtimes/conformance/make_vectors.py`.

`--check` writes nothing and names what is out of date: exact vectors by their bytes, runs by their tolerance.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from arithmetic_vectors import arithmetic_vectors
from bundle_vectors import bundle_vectors
from request_vectors import request_vectors
from run_vectors import keep_bundles, make_bundles, run_vectors
from sa3_edge.bundle import Bundle
from sa3_edge.models.catalog import DEMO, resolve_model
from text_vectors import text_vectors
from vector_format import VECTORS, Made, json_file, read_npy

VERSION = 2  # counts up where a host that passed need not pass any more
NEAR = 2e-5  # relative; what another processor's kernels may differ by when vectors are checked


def main() -> int:
    """Exit code 0, or 1 if `--check` finds vectors that are out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the files that are there")
    parser.add_argument(
        "--bundles", type=Path, help="only make the bundles of the runs, in this folder, if it has none or old ones"
    )
    parser.add_argument("--use", type=Path, help="the folder of an earlier --bundles, to save the time of the exports")
    arguments = parser.parse_args()
    if arguments.bundles is not None:
        keep_bundles(arguments.bundles)
        return 0
    if arguments.use is not None:
        made = all_vectors(arguments.use)
    else:
        with tempfile.TemporaryDirectory() as folder:
            make_bundles(Path(folder))
            made = all_vectors(Path(folder))
    if arguments.check:
        differing = out_of_date(made, VECTORS)
        for name in differing:
            print(f"{name} is out of date; run python runtimes/conformance/make_vectors.py", file=sys.stderr)
        return 1 if differing else 0
    shutil.rmtree(VECTORS, ignore_errors=True)
    for name, data in made.items():
        (VECTORS / name).parent.mkdir(parents=True, exist_ok=True)
        (VECTORS / name).write_bytes(data)
    print(f"{len(made)} files, {sum(map(len, made.values()))} bytes in {VECTORS}")
    return 0


def all_vectors(bundles: Path) -> Made:
    """All files; `bundles` is the folder of `make_bundles`."""
    demo = Bundle.load(resolve_model(DEMO))
    text = demo.manifest.text
    return {
        "version.json": json_file({"version": VERSION}),
        **arithmetic_vectors(demo.manifest),
        **text_vectors(demo.resolve(text.tokenizer), text.max_tokens),
        **request_vectors(demo),
        **bundle_vectors(),
        **run_vectors(bundles),
    }


def out_of_date(made: Made, folder: Path) -> list[str]:
    """Names of files that are missing, too many or differ."""
    there = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return sorted(name for name in made.keys() | there.keys() if not _same(made.get(name), there.get(name)))


def _same(ours: bytes | None, theirs: bytes | None) -> bool:
    if ours is None or theirs is None or ours == theirs:
        return ours == theirs
    if not ours.startswith(b"\x93NUMPY"):
        return False
    new, old = read_npy(ours), read_npy(theirs)
    return new.shape == old.shape and float(np.linalg.norm(new - old)) <= NEAR * float(np.linalg.norm(new))


if __name__ == "__main__":
    sys.exit(main())
