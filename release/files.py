"""`python release/files.py`: what goes beside the built packages in dist/: the version's notes, a Homebrew formula."""

import hashlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def notes(changelog: str, version: str) -> str:
    """A version's section of the changelog. Raises SystemExit if it has none, or is marked as unreleased."""
    match = re.search(rf"^## {re.escape(version)}([^\n]*)\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if match is None:
        raise SystemExit(f"CHANGELOG.md has no section for {version}")
    return f"# sa3-edge {version}{match[1]}\n\n{match[2].strip()}\n"


def formula(template: str, sdist: Path, version: str) -> str:
    """The Homebrew formula of an sdist; where it will lie, whoever publishes it fills in."""
    digest = hashlib.sha256(sdist.read_bytes()).hexdigest()
    return template.replace("@VERSION@", version).replace("@SDIST@", sdist.name).replace("@SHA256@", digest)


def main() -> None:
    dist = ROOT / "dist"
    sdists = sorted(dist.glob("sa3_edge-*.tar.gz"))
    if len(sdists) != 1:
        raise SystemExit(f"{dist} must hold one sdist, it holds {len(sdists)}")
    version = sdists[0].name.removeprefix("sa3_edge-").removesuffix(".tar.gz")
    (dist / "NOTES.md").write_text(
        notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version), encoding="utf-8"
    )
    template = (ROOT / "release" / "sa3-edge.rb").read_text(encoding="utf-8")
    (dist / "sa3-edge.rb").write_text(formula(template, sdists[0], version), encoding="utf-8")
    sys.stdout.write(f"{dist / 'NOTES.md'}\n{dist / 'sa3-edge.rb'}\n")


if __name__ == "__main__":
    main()
